-- Three narrow roles joined by a number n: what was asked (written once), what is in motion, what has ended.
CREATE TABLE {ns}.meta (name text PRIMARY KEY, value int8 NOT NULL);

-- Numbers for n and seq alike.
CREATE SEQUENCE {ns}.numbers;

CREATE TABLE {ns}.jobs (
    n int8 PRIMARY KEY,
    enqueued_at int8 NOT NULL,
    version int4 NOT NULL,
    max_crashes int4 NOT NULL,
    priority int2 NOT NULL,
    id text COLLATE "C" NOT NULL CONSTRAINT jobs_id UNIQUE,
    task text NOT NULL,
    codec text NOT NULL,
    queue text NOT NULL,
    args text NOT NULL,
    options text,
    headers text,
    key text COLLATE "C",
    tags text
);
CREATE INDEX jobs_key ON {ns}.jobs (key) WHERE key IS NOT NULL;

-- Half of each page stays free for the row that a claim writes: on the same page it costs a tenth less.
CREATE TABLE {ns}.live (
    n int8 PRIMARY KEY,
    seq int8 NOT NULL,
    lease int8,
    claimed_at int8,
    first_failed_at int8,
    due_at int8,
    start_by int8,
    attempt int4 NOT NULL DEFAULT 0,
    failures int4 NOT NULL DEFAULT 0,
    crashes int4 NOT NULL DEFAULT 0,
    snoozes int4 NOT NULL DEFAULT 0,
    releases int4 NOT NULL DEFAULT 0,
    waiting int4 NOT NULL DEFAULT 0,
    priority int2 NOT NULL,
    suspect boolean NOT NULL DEFAULT false,
    cancel_requested boolean NOT NULL DEFAULT false,
    stuck boolean NOT NULL DEFAULT false,
    state text NOT NULL,
    queue text COLLATE "C" NOT NULL,
    task text COLLATE "C" NOT NULL,
    blocked_on text,
    reason text
) WITH (fillfactor = 50);
-- No index on lease: every claim would touch it twice. Leases that run out are rare, and then one scan finds their jobs.
CREATE INDEX live_ready ON {ns}.live (queue, priority DESC, seq) WHERE state = 'queued' AND NOT suspect;
CREATE INDEX live_suspects ON {ns}.live (queue, priority DESC, seq) WHERE state = 'queued' AND suspect;
CREATE INDEX live_due ON {ns}.live (due_at, n) WHERE state IN ('scheduled', 'retrying');
CREATE INDEX live_start_by ON {ns}.live (start_by, n) WHERE start_by IS NOT NULL AND state <> 'running';
CREATE INDEX live_cancels ON {ns}.live (lease) WHERE cancel_requested;

CREATE TABLE {ns}.finished (
    n int8 PRIMARY KEY,
    finished_at int8 NOT NULL,
    claimed_at int8,
    due_at int8,
    start_by int8,
    took float8,
    attempt int4 NOT NULL,
    failures int4 NOT NULL,
    crashes int4 NOT NULL,
    snoozes int4 NOT NULL,
    releases int4 NOT NULL,
    state text NOT NULL,
    result text,
    reason text
);
CREATE INDEX finished_age ON {ns}.finished (state, finished_at, n);

CREATE TABLE {ns}.attempts (
    n int8 NOT NULL,
    started_at int8 NOT NULL,
    ended_at int8 NOT NULL,
    delay float8,
    attempt int4 NOT NULL,
    outcome text NOT NULL,
    worker text NOT NULL,
    error text,
    exit text,
    PRIMARY KEY (n, attempt)
);

CREATE TABLE {ns}.dead (
    n int8 PRIMARY KEY,
    died_at int8 NOT NULL,
    changed_at int8,
    cause text NOT NULL,
    reason text NOT NULL,
    fingerprint text NOT NULL,
    status text NOT NULL,
    changed_by text,
    note text
);
CREATE INDEX dead_status ON {ns}.dead (status, changed_at);

-- An edge is open while its child still waits for its parent.
CREATE TABLE {ns}.edges (
    child int8 NOT NULL,
    parent int8 NOT NULL,
    on_dead text NOT NULL,
    open boolean NOT NULL,
    PRIMARY KEY (child, parent)
);
CREATE INDEX edges_parent ON {ns}.edges (parent);
CREATE INDEX edges_open ON {ns}.edges (parent) WHERE open;

CREATE TABLE {ns}.tags (tag text COLLATE "C" NOT NULL, n int8 NOT NULL, PRIMARY KEY (tag, n));

-- A note that is written again gets a new k: the largest is the latest.
CREATE TABLE {ns}.notes (
    n int8 NOT NULL,
    k int8 NOT NULL,
    kind text NOT NULL,
    name text NOT NULL,
    value text NOT NULL,
    PRIMARY KEY (n, kind, name)
);

CREATE TABLE {ns}.records (
    space text NOT NULL,
    key text COLLATE "C" NOT NULL,
    value text NOT NULL,
    version int8 NOT NULL,
    PRIMARY KEY (space, key)
);

CREATE TABLE {ns}.leases (
    k int8 GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    started_at int8 NOT NULL,
    expires_at int8 NOT NULL,
    beat int8 NOT NULL,
    pid int8 NOT NULL,
    slots int8 NOT NULL,
    id text COLLATE "C" NOT NULL CONSTRAINT leases_id UNIQUE,
    name text NOT NULL,
    host text NOT NULL,
    queues text NOT NULL,
    tasks text NOT NULL
);

CREATE TABLE {ns}.audit (
    k int8 GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    at int8 NOT NULL,
    actor text NOT NULL,
    change text NOT NULL,
    note text,
    jobs text NOT NULL
);

-- Who sleeps until a channel is notified. It says nothing that a restart of the server need keep.
CREATE UNLOGGED TABLE {ns}.idle (
    channel text COLLATE "C" NOT NULL,
    waiter text COLLATE "C" NOT NULL,
    until int8 NOT NULL,
    PRIMARY KEY (channel, waiter)
);
