-- Queue what is due, expire what came too late.

-- part: late
-- The :take jobs that have missed their start-by deadline first. Result: [n, id, flow]. Relies on live_start_by.
SELECT l.n, j.id, l.flow FROM {ns}_live AS l CROSS JOIN {ns}_jobs AS j ON j.n = l.n
WHERE l.start_by IS NOT NULL AND l.state <> 'running' AND l.start_by < :now
ORDER BY l.start_by, l.n LIMIT :take

-- part: due
-- The :take jobs due first, without those that are late. Result: [n, queue, priority, flow].
-- Relies on live_due.
SELECT l.n, l.queue, l.priority, l.flow FROM {ns}_live AS l
WHERE l.state IN ('scheduled', 'retrying') AND l.due_at <= :now AND (l.start_by IS NULL OR +l.start_by >= :now)
ORDER BY l.due_at, l.n LIMIT :take

-- part: queue
-- :rows holds [n, seq].
UPDATE {ns}_live SET state = 'queued', seq = e.value ->> 1 FROM json_each(:rows) AS e WHERE {ns}_live.n = e.value ->> 0

-- part: next
-- When the next job is due, and when the next key of a limit is looked at. Relies on live_due and gates_wakes.
SELECT min(due_at), (SELECT min(wakes_at) FROM {ns}_gates WHERE wakes_at IS NOT NULL)
FROM {ns}_live WHERE state IN ('scheduled', 'retrying')
