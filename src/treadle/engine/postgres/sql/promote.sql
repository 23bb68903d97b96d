-- Queue what is due, expire what came too late.

-- part: late
-- The :take jobs that have missed their start-by deadline first. Result: [n, id, moment, flow]. Relies on live_start_by.
SELECT l.n, j.id, coalesce(:now::int8, {clock}), l.flow FROM {ns}.live AS l JOIN {ns}.jobs AS j ON j.n BETWEEN l.n AND l.n
WHERE l.start_by IS NOT NULL AND l.state <> 'running' AND l.start_by < coalesce(:now::int8, (SELECT {clock}))
ORDER BY l.start_by, l.n LIMIT :take::int8 FOR UPDATE OF l SKIP LOCKED

-- part: queue
-- Queue the :take jobs due first, without those that are late. Whose line is somebody else's comes next time: that may be a
-- user's transaction, and its user slow. Result: [queue] of each. Relies on live_due.
WITH due AS MATERIALIZED (
    SELECT w.n, w.due_at, w.queue, w.priority, w.flow FROM {ns}.live AS w
    WHERE w.state IN ('scheduled', 'retrying') AND w.due_at <= coalesce(:now::int8, (SELECT {clock}))
        AND (w.start_by IS NULL OR w.start_by >= coalesce(:now::int8, (SELECT {clock})))
        AND CASE WHEN w.flow = 2 THEN coalesce((
            SELECT pg_try_advisory_xact_lock(hashtextextended('{ns} line ' || (hashtext(f.line) & 1023), 0)) FROM {ns}.flows AS f
            WHERE f.n BETWEEN w.n AND w.n AND f.line IS NOT NULL AND f.place IS NULL), true) ELSE true END
    ORDER BY w.due_at, w.n LIMIT :take::int8 FOR NO KEY UPDATE SKIP LOCKED
), c AS MATERIALIZED (
    SELECT o.*, nextval('{ns}.numbers') AS number FROM (SELECT due.* FROM due ORDER BY due.due_at, due.n) AS o
), entered AS MATERIALIZED (
    SELECT s.n, s.seq FROM (SELECT array_agg(c.n) AS ns, array_agg(c.number) AS numbers FROM c
        WHERE {shared} OR EXISTS (SELECT 1 FROM c WHERE c.flow > 0)) AS a, {ns}.enter(a.ns, a.numbers) AS s
)
UPDATE {ns}.live AS l SET state = 'queued', seq = coalesce((SELECT s.seq FROM entered AS s WHERE s.n = c.n), c.number)
FROM c WHERE l.n BETWEEN c.n AND c.n
RETURNING l.queue

-- part: next
-- When the next job is due, and when the next key of a limit is looked at. Relies on live_due and gates_wakes.
SELECT min(due_at), (SELECT min(wakes_at) FROM {ns}.gates WHERE wakes_at IS NOT NULL)
FROM {ns}.live WHERE state IN ('scheduled', 'retrying')
