-- Which workers live, and what they hold.

-- part: all
-- Result: [k, id, name, host, pid, queues, tasks, slots, started_at, boot, expires_up, expires_at].
SELECT k, id, name, host, pid, queues, tasks, slots, started_at, boot, expires_up, expires_at
FROM {ns}_leases ORDER BY started_at, id

-- part: running
-- Result: [k, running jobs]; one scan of live.
SELECT lease, count(*) FROM {ns}_live WHERE state = 'running' GROUP BY lease

-- part: held
-- What runs under :lease, as one JSON text of `Claimed` rows; one scan of live. Relies on the unique id of leases.
SELECT json_group_array(json_array(
    n, id, task, version, codec, queue, priority, attempt, failures, crashes, snoozes, enqueued_at, claimed_at, first_failed_at,
    start_by, json(iif(suspect, 'true', 'false')), args, options, headers))
FROM (
    SELECT l.*, j.id, j.version, j.codec, j.enqueued_at, j.args, j.options, j.headers
    FROM {ns}_leases AS s CROSS JOIN {ns}_live AS l ON l.lease = s.k CROSS JOIN {ns}_jobs AS j ON j.n = l.n
    WHERE s.id = :lease AND l.state = 'running' ORDER BY l.n)
