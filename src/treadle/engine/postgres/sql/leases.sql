-- Which workers live, and what they hold.

-- part: all
-- Result: [k, id, name, host, pid, queues, tasks, slots, started_at, microseconds left].
SELECT k, id, name, host, pid, queues, tasks, slots, started_at, expires_at - coalesce(:now::int8, {clock})
FROM {ns}.leases ORDER BY started_at, id

-- part: running
-- Result: [k, running jobs]; one scan of live.
SELECT lease, count(*) FROM {ns}.live WHERE state = 'running' GROUP BY lease

-- part: held
-- What runs under :lease, oldest first; one scan of live. Result: the columns of `Claimed`; gated ones bear
-- their number turned. Relies on the unique id of leases.
SELECT CASE WHEN l.flow = 2 THEN -l.n ELSE l.n END, j.id, l.task, j.version, j.codec, l.queue, l.priority, l.attempt, l.failures, l.crashes, l.snoozes, j.enqueued_at,
    l.claimed_at, l.first_failed_at, l.start_by, l.suspect, j.args, j.options, j.headers
FROM {ns}.leases AS s JOIN {ns}.live AS l ON l.lease = s.k JOIN {ns}.jobs AS j ON j.n = l.n
WHERE s.id = :lease::text AND l.state = 'running' ORDER BY l.n
