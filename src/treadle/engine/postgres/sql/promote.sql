-- Queue what is due, expire what came too late.

-- part: late
-- The :take jobs that have missed their start-by deadline first. Result: [n, id, moment]. Relies on live_start_by.
SELECT l.n, j.id, coalesce(:now::int8, {clock}) FROM {ns}.live AS l JOIN {ns}.jobs AS j ON j.n = l.n
WHERE l.start_by IS NOT NULL AND l.state <> 'running' AND l.start_by < coalesce(:now::int8, (SELECT {clock}))
ORDER BY l.start_by, l.n LIMIT :take::int8 FOR UPDATE OF l SKIP LOCKED

-- part: queue
-- Queue the :take jobs due first, without those that are late. Result: [queue] of each. Relies on live_due.
UPDATE {ns}.live AS l SET state = 'queued', seq = c.seq
FROM (
    SELECT o.n, nextval('{ns}.numbers') AS seq FROM (
        SELECT w.n FROM {ns}.live AS w
        WHERE w.state IN ('scheduled', 'retrying') AND w.due_at <= coalesce(:now::int8, (SELECT {clock}))
            AND (w.start_by IS NULL OR w.start_by >= coalesce(:now::int8, (SELECT {clock})))
        ORDER BY w.due_at, w.n LIMIT :take::int8 FOR NO KEY UPDATE SKIP LOCKED) AS o
) AS c WHERE l.n = c.n
RETURNING l.queue

-- part: next
-- When the next job is due. Relies on live_due.
SELECT min(due_at) FROM {ns}.live WHERE state IN ('scheduled', 'retrying')
