-- Three narrow roles joined by an integer n: what was asked (written once), what is in motion, what has ended.
CREATE TABLE {ns}_meta (name TEXT PRIMARY KEY, value INTEGER NOT NULL) WITHOUT ROWID;
INSERT INTO {ns}_meta VALUES ('seq', 0);

CREATE TABLE {ns}_jobs (
    n INTEGER PRIMARY KEY,
    id TEXT NOT NULL UNIQUE,
    task TEXT NOT NULL,
    version INTEGER NOT NULL,
    codec TEXT NOT NULL,
    queue TEXT NOT NULL,
    priority INTEGER NOT NULL,
    args TEXT NOT NULL,
    options TEXT,
    headers TEXT,
    key TEXT,
    tags TEXT,
    max_crashes INTEGER NOT NULL,
    enqueued_at INTEGER NOT NULL
) STRICT;
CREATE INDEX {ns}_jobs_key ON {ns}_jobs (key) WHERE key IS NOT NULL;

CREATE TABLE {ns}_live (
    n INTEGER PRIMARY KEY,
    seq INTEGER NOT NULL,
    state TEXT NOT NULL,
    queue TEXT NOT NULL,
    priority INTEGER NOT NULL,
    task TEXT NOT NULL,
    attempt INTEGER NOT NULL DEFAULT 0,
    failures INTEGER NOT NULL DEFAULT 0,
    crashes INTEGER NOT NULL DEFAULT 0,
    snoozes INTEGER NOT NULL DEFAULT 0,
    releases INTEGER NOT NULL DEFAULT 0,
    suspect INTEGER NOT NULL DEFAULT 0,
    cancel_requested INTEGER NOT NULL DEFAULT 0,
    stuck INTEGER NOT NULL DEFAULT 0,
    waiting INTEGER NOT NULL DEFAULT 0,
    lease INTEGER,
    claimed_at INTEGER,
    first_failed_at INTEGER,
    due_at INTEGER,
    start_by INTEGER,
    blocked_on TEXT,
    reason TEXT,
    flow INTEGER NOT NULL DEFAULT 0
) STRICT;
-- flow: 0 for a plain job, 1 for one of a tenant, 2 for a gated one, which only the third index knows.
-- No index on lease: every claim would touch it twice. Leases that run out are rare, and then one scan finds their jobs.
CREATE INDEX {ns}_live_ready ON {ns}_live (queue, priority DESC, seq) WHERE state = 'queued' AND suspect = 0 AND flow < 2;
CREATE INDEX {ns}_live_suspects ON {ns}_live (queue, priority DESC, seq) WHERE state = 'queued' AND suspect = 1 AND flow < 2;
CREATE INDEX {ns}_live_gated ON {ns}_live (queue, priority DESC, seq) WHERE state = 'queued' AND flow = 2;
CREATE INDEX {ns}_live_due ON {ns}_live (due_at) WHERE state IN ('scheduled', 'retrying');
CREATE INDEX {ns}_live_start_by ON {ns}_live (start_by) WHERE start_by IS NOT NULL AND state <> 'running';
CREATE INDEX {ns}_live_cancels ON {ns}_live (lease) WHERE cancel_requested = 1;

CREATE TABLE {ns}_finished (
    n INTEGER PRIMARY KEY,
    state TEXT NOT NULL,
    attempt INTEGER NOT NULL,
    failures INTEGER NOT NULL,
    crashes INTEGER NOT NULL,
    snoozes INTEGER NOT NULL,
    releases INTEGER NOT NULL,
    claimed_at INTEGER,
    finished_at INTEGER NOT NULL,
    took REAL,
    due_at INTEGER,
    start_by INTEGER,
    result TEXT,
    reason TEXT
) STRICT;
CREATE INDEX {ns}_finished_age ON {ns}_finished (state, finished_at);

CREATE TABLE {ns}_attempts (
    n INTEGER NOT NULL,
    attempt INTEGER NOT NULL,
    outcome TEXT NOT NULL,
    worker TEXT NOT NULL,
    started_at INTEGER NOT NULL,
    ended_at INTEGER NOT NULL,
    delay REAL,
    error TEXT,
    exit TEXT,
    PRIMARY KEY (n, attempt)
) STRICT, WITHOUT ROWID;

CREATE TABLE {ns}_dead (
    n INTEGER PRIMARY KEY,
    cause TEXT NOT NULL,
    reason TEXT NOT NULL,
    fingerprint TEXT NOT NULL,
    status TEXT NOT NULL,
    died_at INTEGER NOT NULL,
    changed_by TEXT,
    changed_at INTEGER,
    note TEXT
) STRICT;
CREATE INDEX {ns}_dead_status ON {ns}_dead (status, changed_at);

-- An edge is open while its child still waits for its parent.
CREATE TABLE {ns}_edges (
    child INTEGER NOT NULL,
    parent INTEGER NOT NULL,
    on_dead TEXT NOT NULL,
    open INTEGER NOT NULL,
    PRIMARY KEY (child, parent)
) STRICT, WITHOUT ROWID;
CREATE INDEX {ns}_edges_parent ON {ns}_edges (parent);
CREATE INDEX {ns}_edges_open ON {ns}_edges (parent) WHERE open = 1;

CREATE TABLE {ns}_tags (tag TEXT NOT NULL, n INTEGER NOT NULL, PRIMARY KEY (tag, n)) STRICT, WITHOUT ROWID;

-- A note that is written again gets a new k: the largest is the latest.
CREATE TABLE {ns}_notes (
    k INTEGER PRIMARY KEY,
    n INTEGER NOT NULL,
    kind TEXT NOT NULL,
    name TEXT NOT NULL,
    value TEXT NOT NULL,
    UNIQUE (n, kind, name)
) STRICT;

CREATE TABLE {ns}_records (
    space TEXT NOT NULL,
    key TEXT NOT NULL,
    value TEXT NOT NULL,
    version INTEGER NOT NULL,
    PRIMARY KEY (space, key)
) STRICT, WITHOUT ROWID;

-- expires_up counts within boot, by the machine's own clock; expires_at is the same moment on the wall.
CREATE TABLE {ns}_leases (
    k INTEGER PRIMARY KEY,
    id TEXT NOT NULL UNIQUE,
    name TEXT NOT NULL,
    host TEXT NOT NULL,
    pid INTEGER NOT NULL,
    queues TEXT NOT NULL,
    tasks TEXT NOT NULL,
    slots INTEGER NOT NULL,
    started_at INTEGER NOT NULL,
    beat INTEGER NOT NULL,
    boot TEXT NOT NULL,
    expires_up INTEGER NOT NULL,
    expires_at INTEGER NOT NULL
) STRICT;

CREATE TABLE {ns}_audit (
    k INTEGER PRIMARY KEY,
    at INTEGER NOT NULL,
    actor TEXT NOT NULL,
    change TEXT NOT NULL,
    note TEXT,
    jobs TEXT NOT NULL
) STRICT;

-- What a job asks of others before it may start: the holds as JSON, its line (ordering key) and its tenant. `place` is its
-- place in the line while it is in it. And the unique key it was stored with, with its states as JSON. A plain job has no row.
CREATE TABLE {ns}_flows (
    n INTEGER PRIMARY KEY,
    holds TEXT,
    line TEXT,
    stop INTEGER NOT NULL,
    place INTEGER,
    tenant TEXT,
    unique_key TEXT,
    during TEXT
) STRICT;

CREATE TABLE {ns}_lines (
    line TEXT NOT NULL,
    place INTEGER NOT NULL,
    n INTEGER NOT NULL,
    PRIMARY KEY (line, place)
) STRICT, WITHOUT ROWID;

-- What running jobs hold; a slot is never counted anywhere else.
CREATE TABLE {ns}_slots (
    name TEXT NOT NULL,
    key TEXT NOT NULL,
    n INTEGER NOT NULL,
    PRIMARY KEY (name, key, n)
) STRICT, WITHOUT ROWID;
CREATE INDEX {ns}_slots_job ON {ns}_slots (n);

-- Jobs that wait at a key of a limit, or at a limit as a whole (the key is a line break). Who waits for its turn is not here.
CREATE TABLE {ns}_parked (
    n INTEGER PRIMARY KEY,
    name TEXT NOT NULL,
    key TEXT NOT NULL,
    cost INTEGER NOT NULL,
    priority INTEGER NOT NULL,
    seq INTEGER NOT NULL
) STRICT;
CREATE INDEX {ns}_parked_at ON {ns}_parked (name, key, priority DESC, seq);

CREATE TABLE {ns}_gates (
    name TEXT NOT NULL,
    key TEXT NOT NULL,
    tat INTEGER NOT NULL,
    interval INTEGER NOT NULL,
    closed_until INTEGER NOT NULL,
    wakes_at INTEGER,
    PRIMARY KEY (name, key)
) STRICT, WITHOUT ROWID;
CREATE INDEX {ns}_gates_wakes ON {ns}_gates (wakes_at, name, key) WHERE wakes_at IS NOT NULL;

-- The log of a strict limit: what was started at each moment that still counts.
CREATE TABLE {ns}_starts (
    name TEXT NOT NULL,
    key TEXT NOT NULL,
    at INTEGER NOT NULL,
    cost INTEGER NOT NULL,
    PRIMARY KEY (name, key, at)
) STRICT, WITHOUT ROWID;

CREATE TABLE {ns}_keys (
    kind TEXT NOT NULL,
    key TEXT NOT NULL,
    id TEXT NOT NULL,
    digest TEXT NOT NULL,
    since INTEGER NOT NULL,
    until INTEGER,
    PRIMARY KEY (kind, key)
) STRICT, WITHOUT ROWID;
CREATE INDEX {ns}_keys_id ON {ns}_keys (id);
CREATE INDEX {ns}_keys_until ON {ns}_keys (until) WHERE until IS NOT NULL;

-- The place given last to each tenant of a queue at one priority, since the queue was last found empty.
CREATE TABLE {ns}_tenants (
    queue TEXT NOT NULL,
    priority INTEGER NOT NULL,
    tenant TEXT NOT NULL,
    last INTEGER NOT NULL,
    PRIMARY KEY (queue, priority, tenant)
) STRICT, WITHOUT ROWID;
