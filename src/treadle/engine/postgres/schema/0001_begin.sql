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
    flow int2 NOT NULL DEFAULT 0,
    suspect boolean NOT NULL DEFAULT false,
    cancel_requested boolean NOT NULL DEFAULT false,
    stuck boolean NOT NULL DEFAULT false,
    state text NOT NULL,
    queue text COLLATE "C" NOT NULL,
    task text COLLATE "C" NOT NULL,
    blocked_on text,
    reason text,
    hold text COLLATE "C",
    line text COLLATE "C",
    cost int8
) WITH (fillfactor = 50);
-- flow: 0 for a plain job, 1 for one of a tenant, 2 for a gated one, which only the third index knows.
-- hold: the limit and the key, with a line break between, of a job with one hold: while it runs, its own row is its slot.
-- line, cost: of a gated job, as in flows, and what the first of its holds takes of a rate. They stand here because a claim of
-- 1,000 gated jobs was 1.2 us a job slower where it looked them up.
-- No index on lease: every claim would touch it twice. Leases that run out are rare, and then one scan finds their jobs.
-- The task stands in it for who walks over others' jobs: an executor with nothing to do took 0.5 s to find so among a million
-- when each row had to be looked at, and takes 0.15 s now.
CREATE INDEX live_ready ON {ns}.live (queue, priority DESC, seq, n, task) WHERE state = 'queued' AND NOT suspect AND flow < 2;
CREATE INDEX live_suspects ON {ns}.live (queue, priority DESC, seq, n) WHERE state = 'queued' AND suspect AND flow < 2;
CREATE INDEX live_gated ON {ns}.live (queue, priority DESC, seq, n, task) WHERE state = 'queued' AND flow = 2;
CREATE INDEX live_holding ON {ns}.live (hold) WHERE state = 'running' AND hold IS NOT NULL;
CREATE INDEX live_turns ON {ns}.live (n) WHERE state = 'blocked' AND blocked_on = 'key';
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
CREATE INDEX finished_age ON {ns}.finished (state, finished_at);

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

-- An edge is open while its child still waits for its parent. Its parent, like the name of a slot and the number of who is
-- parked, is in the index of another use as an expression: a plan made while the table was empty finds all indexes equally
-- cheap, takes the one that is less worn, and would read all of it for each batch.
CREATE TABLE {ns}.edges (
    child int8 NOT NULL,
    parent int8 NOT NULL,
    on_dead text NOT NULL,
    open boolean NOT NULL
);
CREATE UNIQUE INDEX edges_child ON {ns}.edges (child, (parent + 0));
CREATE INDEX edges_parent ON {ns}.edges (parent);
CREATE INDEX edges_open ON {ns}.edges (parent) WHERE open;

-- The jobs that were completed in users' transactions, until somebody has done what follows from that.
CREATE TABLE {ns}.aftermath (n int8 PRIMARY KEY);

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

-- What a job asks of others before it may start: the holds as JSON, its line (ordering key) and its tenant. `place` is its
-- place in the line while it is in it (and stays when it completes: it never comes back). And the unique key it was stored
-- with, with its states as JSON. A plain job has no row here.
CREATE TABLE {ns}.flows (
    n int8 PRIMARY KEY,
    place int8,
    stop boolean NOT NULL,
    holds text,
    line text COLLATE "C",
    tenant text COLLATE "C",
    unique_key text COLLATE "C",
    during text
);

CREATE TABLE {ns}.lines (
    place int8 NOT NULL,
    n int8 NOT NULL,
    line text COLLATE "C" NOT NULL,
    PRIMARY KEY (line, place)
);

-- What running jobs with several holds have; a slot is never counted anywhere but here and in live.
CREATE TABLE {ns}.slots (
    n int8 NOT NULL,
    name text COLLATE "C" NOT NULL,
    key text COLLATE "C" NOT NULL
);
CREATE UNIQUE INDEX slots_of ON {ns}.slots (n, (name || E'\n' || key));
CREATE INDEX slots_at ON {ns}.slots (name, key);

-- Jobs that wait at a key of a limit, or at a limit as a whole (the key is a line break). Who waits for its turn is not here.
CREATE TABLE {ns}.parked (
    n int8 PRIMARY KEY,
    cost int8 NOT NULL,
    seq int8 NOT NULL,
    priority int2 NOT NULL,
    name text COLLATE "C" NOT NULL,
    key text COLLATE "C" NOT NULL
);
CREATE INDEX parked_at ON {ns}.parked (name, key, priority DESC, seq, (n + 0));

-- Whoever judges at a key of a limit, or gives room back there, holds its row.
CREATE TABLE {ns}.gates (
    tat int8 NOT NULL,
    interval int8 NOT NULL,
    closed_until int8 NOT NULL,
    wakes_at int8,
    name text COLLATE "C" NOT NULL,
    key text COLLATE "C" NOT NULL,
    PRIMARY KEY (name, key)
) WITH (fillfactor = 70);
CREATE INDEX gates_closed ON {ns}.gates (closed_until) WHERE closed_until > 0;
CREATE INDEX gates_wakes ON {ns}.gates (wakes_at, name, key) WHERE wakes_at IS NOT NULL;

-- The log of a strict limit: what was started at each moment that still counts.
CREATE TABLE {ns}.starts (
    at int8 NOT NULL,
    cost int8 NOT NULL,
    name text COLLATE "C" NOT NULL,
    key text COLLATE "C" NOT NULL,
    PRIMARY KEY (name, key, at)
);

CREATE TABLE {ns}.keys (
    since int8 NOT NULL,
    until int8,
    kind text COLLATE "C" NOT NULL,
    key text COLLATE "C" NOT NULL,
    id text COLLATE "C" NOT NULL,
    digest text NOT NULL,
    PRIMARY KEY (kind, key)
);
CREATE INDEX keys_id ON {ns}.keys (id);
CREATE INDEX keys_until ON {ns}.keys (until) WHERE until IS NOT NULL;

-- The place given last to each tenant of a queue at one priority, since the queue was last found empty. Those without a tenant
-- are the tenant '': their row says that tenants share the queue, and whoever enters it holds that row.
CREATE TABLE {ns}.tenants (
    last int8,
    priority int2 NOT NULL,
    queue text COLLATE "C" NOT NULL,
    tenant text COLLATE "C" NOT NULL,
    PRIMARY KEY (queue, priority, tenant)
);

-- Where jobs stand that enter their queues with numbers of their own, in the order of these, and the places in their lines of
-- those that want one. Called with a whole batch if any of it has a flow or tenants share any queue; with null it is not run at
-- all. It does what `engine/ranking.py` does for other engines, for a whole batch at once: one by one, the row of a tenant was
-- written for each of its jobs, and each write walked over those before it (5,000 jobs of one tenant took longer than 5 s).
CREATE FUNCTION {ns}.enter(jobs int8[], numbers int8[]) RETURNS TABLE (n int8, seq int8)
LANGUAGE plpgsql STRICT AS $$
#variable_conflict use_column
DECLARE
    part record;
    shared boolean;
    fair_from int8;
    head int8;
    back int8;
BEGIN
    WITH placed AS (
        UPDATE {ns}.flows AS f SET place = u.number FROM unnest(jobs, numbers) AS u(n, number)
        WHERE f.n BETWEEN u.n AND u.n AND f.line IS NOT NULL AND f.place IS NULL RETURNING f.line, f.place, f.n
    )
    INSERT INTO {ns}.lines (line, place, n) SELECT p.line, p.place, p.n FROM placed AS p;
    FOR part IN
        SELECT j.queue, j.priority, array_agg(u.n ORDER BY u.number) AS ns, array_agg(u.number ORDER BY u.number) AS numbers,
            array_agg(f.tenant ORDER BY u.number) AS tenants, min(u.number) FILTER (WHERE f.tenant IS NOT NULL) AS first_fair
        FROM unnest(jobs, numbers) AS u(n, number) JOIN {ns}.jobs AS j ON j.n BETWEEN u.n AND u.n
        LEFT JOIN {ns}.flows AS f ON f.n BETWEEN u.n AND u.n
        GROUP BY j.queue, j.priority ORDER BY j.queue, j.priority
    LOOP
        PERFORM FROM {ns}.tenants AS t WHERE t.queue = part.queue AND t.priority = part.priority AND t.tenant = '' FOR UPDATE;
        shared := FOUND;
        IF shared OR part.first_fair IS NOT NULL THEN
            SELECT least(a.head, b.head, c.head), greatest(a.back, b.back, c.back) INTO head, back
            FROM (SELECT min(seq) AS head, max(seq) AS back FROM {ns}.live
                    WHERE state = 'queued' AND NOT suspect AND flow < 2 AND queue = part.queue AND priority = part.priority) AS a,
                (SELECT min(seq) AS head, max(seq) AS back FROM {ns}.live
                    WHERE state = 'queued' AND suspect AND flow < 2 AND queue = part.queue AND priority = part.priority) AS b,
                (SELECT min(seq) AS head, max(seq) AS back FROM {ns}.live
                    WHERE state = 'queued' AND flow = 2 AND queue = part.queue AND priority = part.priority) AS c;
            IF shared AND head IS NULL THEN
                DELETE FROM {ns}.tenants AS t WHERE t.queue = part.queue AND t.priority = part.priority;
                shared := false;
            END IF;
        END IF;
        fair_from := CASE WHEN shared THEN 0 ELSE part.first_fair END;
        -- Those before the first of a tenant stand where their numbers say.
        RETURN QUERY SELECT u.n, u.number FROM unnest(part.ns, part.numbers) AS u(n, number)
        WHERE u.number < coalesce(fair_from, u.number + 1);
        CONTINUE WHEN fair_from IS NULL;
        IF NOT shared THEN
            SELECT least(head, min(u.number)), greatest(back, max(u.number)) INTO head, back
            FROM unnest(part.numbers) AS u(number) WHERE u.number < fair_from;
            INSERT INTO {ns}.tenants (queue, priority, tenant, last) VALUES (part.queue, part.priority, '', back)
            ON CONFLICT DO NOTHING;
            head := coalesce(head, fair_from);
        END IF;
        RETURN QUERY
        WITH mine AS (
            SELECT u.n, coalesce(u.tenant, '') AS tenant,
                row_number() OVER (PARTITION BY coalesce(u.tenant, '') ORDER BY u.number) - 1 AS before
            FROM unnest(part.ns, part.numbers, part.tenants) AS u(n, number, tenant) WHERE u.number >= fair_from
        ), tenant AS MATERIALIZED (
            SELECT m.tenant, t.last, greatest(1, round(1000 / coalesce((r.value::json ->> m.tenant)::float8, 1)))::int8 AS step
            FROM (SELECT DISTINCT m.tenant FROM mine AS m) AS m
            LEFT JOIN {ns}.tenants AS t ON t.queue = part.queue AND t.priority = part.priority AND t.tenant = m.tenant
            LEFT JOIN {ns}.records AS r ON r.space = 'fair' AND r.key = part.queue
        ), given AS MATERIALIZED (
            SELECT m.n, m.tenant, greatest(head, t.last + t.step) + m.before * t.step AS seq
            FROM mine AS m JOIN tenant AS t ON t.tenant = m.tenant
        ), kept AS (
            INSERT INTO {ns}.tenants AS t (queue, priority, tenant, last)
            SELECT part.queue, part.priority, g.tenant, max(g.seq) FROM given AS g GROUP BY g.tenant
            ON CONFLICT (queue, priority, tenant) DO UPDATE SET last = excluded.last
        )
        SELECT g.n, g.seq FROM given AS g;
    END LOOP;
END $$;

-- As `enter`, for one job whose number is its own: where it stands.
CREATE FUNCTION {ns}.enter_one(job int8) RETURNS int8 LANGUAGE plpgsql STRICT AS $$
BEGIN
    RETURN (SELECT s.seq FROM {ns}.enter(ARRAY[job], ARRAY[job]) AS s);
END $$;

-- Notify a channel if somebody sleeps on it. Called behind the insert of a job: by then this transaction has its number, and what
-- is asked here is asked anew, so a sleeper either is seen or sees that somebody still writes (`wake.py`).
CREATE FUNCTION {ns}.tell(name text) RETURNS void LANGUAGE plpgsql STRICT AS $$
BEGIN
    IF EXISTS (SELECT 1 FROM {ns}.idle AS i WHERE i.channel = name
            AND i.until > (date_part('epoch', clock_timestamp()) * 1e6)::int8) THEN
        PERFORM pg_notify(name, '');
    END IF;
END $$;
