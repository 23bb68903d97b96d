-- Which workers live, and what they hold.

-- part: all
-- Result: [k, id, name, host, pid, queues, tasks, slots, started_at, boot, expires_up, expires_at].
SELECT k, id, name, host, pid, queues, tasks, slots, started_at, boot, expires_up, expires_at
FROM {ns}_leases ORDER BY started_at, id

-- part: running
-- Result: [k, running jobs]; one scan of live.
SELECT lease, count(*) FROM {ns}_live WHERE state = 'running' GROUP BY lease
