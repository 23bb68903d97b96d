-- Queue what is due, expire what came too late.

-- part: late
-- The :take jobs that have missed their start-by deadline first. Result: [n, id]. Relies on live_start_by.
SELECT l.n, j.id FROM {ns}_live AS l CROSS JOIN {ns}_jobs AS j ON j.n = l.n
WHERE l.start_by IS NOT NULL AND l.state <> 'running' AND l.start_by < :now
ORDER BY l.start_by, l.n LIMIT :take

-- part: due
-- The :take jobs due first, without those that are late. Result: [n, queue]. Relies on live_due.
SELECT l.n, l.queue FROM {ns}_live AS l
WHERE l.state IN ('scheduled', 'retrying') AND l.due_at <= :now AND (l.start_by IS NULL OR +l.start_by >= :now)
ORDER BY l.due_at, l.n LIMIT :take

-- part: queue
-- :ns holds numbers in the order in which they enter; :first is the first new seq.
UPDATE {ns}_live SET state = 'queued', seq = :first + e.key FROM json_each(:ns) AS e WHERE {ns}_live.n = e.value

-- part: next
-- When the next job is due. Relies on live_due.
SELECT min(due_at) FROM {ns}_live WHERE state IN ('scheduled', 'retrying')
