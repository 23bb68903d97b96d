-- Count edges down once for a whole batch of ended parents. What a parent's end means is read after the parent has left the
-- live jobs: a child stored meanwhile holds the parent there until its edges can be seen.

-- part: met
-- Settle the edges below completed jobs: children that wait for nobody any more go to the queue, oldest first, or wait for
-- their time; so does for a moment who would enter a line that is somebody else's now (see `try-up` in `flows`). Does nothing
-- at all while no job waits for a parent. The children are held before their edges, as whoever cancels
-- one does. Result: [queue, state] of each child touched.
-- Relies on edges_open and the primary keys of finished and live.
WITH kids AS MATERIALIZED (
    SELECT l.n FROM {ns}.live AS l
    WHERE l.n = ANY(ARRAY(SELECT x.child FROM {ns}.edges AS x
        WHERE (SELECT EXISTS (SELECT 1 FROM {ns}.edges WHERE open)) AND x.parent = ANY(:ns::text::int8[]) AND x.open))
    ORDER BY l.n FOR NO KEY UPDATE
), met AS (
    UPDATE {ns}.edges AS x SET open = false
    WHERE (SELECT count(*) FROM kids) > 0 AND x.parent = ANY(:ns::text::int8[]) AND x.open
        AND EXISTS (SELECT 1 FROM {ns}.finished AS f WHERE f.n = x.parent AND (f.state = 'completed') IS TRUE OFFSET 0)
        AND NOT EXISTS (SELECT 1 FROM {ns}.aftermath AS m WHERE m.n = x.parent OFFSET 0)
    RETURNING x.child
), counted AS MATERIALIZED (
    SELECT o.n, o.met, o.late, nextval('{ns}.numbers') AS seq FROM (
        SELECT child AS n, count(*)::int4 AS met, NOT coalesce((
            SELECT pg_try_advisory_xact_lock(hashtextextended('{ns} line ' || (hashtext(f.line) & 1023), 0)) FROM {ns}.flows AS f
            WHERE f.n BETWEEN child AND child AND f.line IS NOT NULL AND f.place IS NULL), true) AS late
        FROM met GROUP BY child ORDER BY child) AS o
), held AS MATERIALIZED (
    SELECT c.*, l.flow, CASE WHEN l.waiting <> c.met THEN 'blocked'
        WHEN c.late OR l.due_at > coalesce(:now::int8, {clock}) THEN 'scheduled' ELSE 'queued' END AS state,
        coalesce(l.due_at, :now::int8, {clock}) AS due_at
    FROM counted AS c JOIN {ns}.live AS l ON l.n BETWEEN c.n AND c.n WHERE l.state = 'blocked' FOR NO KEY UPDATE OF l
), entered AS MATERIALIZED (
    SELECT s.n, s.seq FROM (
        SELECT array_agg(c.n) AS ns, array_agg(c.seq) AS numbers FROM held AS c
        WHERE c.state = 'queued' AND ({shared} OR EXISTS (SELECT 1 FROM held WHERE flow > 0))
    ) AS a, {ns}.enter(a.ns, a.numbers) AS s
)
UPDATE {ns}.live AS l
SET waiting = l.waiting - c.met, state = c.state, blocked_on = CASE WHEN c.state = 'blocked' THEN l.blocked_on END,
    seq = CASE WHEN c.state = 'queued' THEN coalesce((SELECT s.seq FROM entered AS s WHERE s.n = c.n), c.seq) ELSE l.seq END,
    due_at = CASE WHEN c.state = 'scheduled' THEN c.due_at ELSE l.due_at END
FROM held AS c WHERE l.n BETWEEN c.n AND c.n
RETURNING l.queue, l.state

-- part: any-open
-- Does any job wait for a parent at all? Relies on edges_open.
SELECT EXISTS (SELECT 1 FROM {ns}.edges WHERE open)

-- part: waiting
-- The open edges below :ns. Result: [parent, child, on_dead], oldest parent first. Relies on edges_open.
SELECT parent, child, on_dead FROM {ns}.edges WHERE parent = ANY(:ns::text::int8[]) AND open ORDER BY parent, child

-- part: doomed
-- Which of :ns still wait for parents, locked: one may have been sent back by an operator, and run. Result: n. Relies on the
-- primary key of live.
SELECT n FROM {ns}.live WHERE n = ANY(:ns::text::int8[]) AND waiting > 0 ORDER BY n FOR UPDATE

-- part: hold
-- Hold children before their edges, as whoever cancels one does. Relies on the primary key of live.
SELECT n FROM {ns}.live WHERE n = ANY(:ns::text::int8[]) ORDER BY n FOR NO KEY UPDATE

-- part: close
-- Close single edges. Result: [child] of each that was open. Relies on edges_child.
UPDATE {ns}.edges AS x SET open = false
FROM unnest(:child::text::int8[], :parent::text::int8[]) AS e(child, parent)
WHERE x.child BETWEEN e.child AND e.child AND x.parent BETWEEN e.parent AND e.parent AND x.open
RETURNING x.child

-- part: count-down
-- Take :met parents off the count of each; those with none left go to the queue, oldest first, or wait for their time, as those
-- of :late do for a moment.
-- Result: [queue, state] of each. Relies on the primary key of live.
WITH c AS MATERIALIZED (
    SELECT o.n, o.met, nextval('{ns}.numbers') AS seq
    FROM (SELECT * FROM unnest(:n::text::int8[], :met::text::int4[]) AS u(n, met) ORDER BY n) AS o
), held AS MATERIALIZED (
    SELECT c.*, l.flow,
        CASE WHEN l.waiting <> c.met THEN 'blocked'
            WHEN l.due_at > :now::int8 OR c.n = ANY((SELECT :late::text::int8[])::int8[]) THEN 'scheduled' ELSE 'queued' END AS state,
        coalesce(l.due_at, :now::int8) AS due_at
    FROM c JOIN {ns}.live AS l ON l.n BETWEEN c.n AND c.n WHERE l.state = 'blocked' FOR NO KEY UPDATE OF l
), entered AS MATERIALIZED (
    SELECT s.n, s.seq FROM (
        SELECT array_agg(c.n) AS ns, array_agg(c.seq) AS numbers FROM held AS c
        WHERE c.state = 'queued' AND ({shared} OR EXISTS (SELECT 1 FROM held WHERE flow > 0))
    ) AS a, {ns}.enter(a.ns, a.numbers) AS s
)
UPDATE {ns}.live AS l
SET waiting = l.waiting - c.met, state = c.state, blocked_on = CASE WHEN c.state = 'blocked' THEN l.blocked_on END,
    seq = CASE WHEN c.state = 'queued' THEN coalesce((SELECT s.seq FROM entered AS s WHERE s.n = c.n), c.seq) ELSE l.seq END,
    due_at = CASE WHEN c.state = 'scheduled' THEN c.due_at ELSE l.due_at END
FROM held AS c WHERE l.n BETWEEN c.n AND c.n
RETURNING l.queue, l.state

-- part: ids
-- Result: [n, id] of the jobs :ns. Relies on the primary key of jobs.
SELECT n, id FROM {ns}.jobs WHERE n = ANY(:ns::text::int8[])
