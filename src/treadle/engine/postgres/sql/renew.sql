-- Open or extend a lease, and tell which of its jobs are asked to stop.

-- part: open
-- Open a lease; one that is there already stays as it is. Result: a row if it is new. Relies on the unique id of leases.
INSERT INTO {ns}.leases (started_at, expires_at, beat, pid, slots, id, name, host, queues, tasks)
SELECT m.now, m.now + :length::int8, 0, :pid::int8, :slots::int8, :lease::text, :name::text, :host::text, :queues::text, :tasks::text
FROM (SELECT coalesce(:now::int8, {clock}) AS now) AS m
ON CONFLICT (id) DO NOTHING RETURNING k

-- part: extend
-- Nothing happens to a lease that has run out. Result: a row if it was extended. Relies on the unique id of leases.
UPDATE {ns}.leases SET beat = :beat::int8, expires_at = coalesce(:now::int8, {clock}) + :length::int8
WHERE id = :lease::text AND expires_at > coalesce(:now::int8, {clock}) RETURNING k

-- part: cancels
-- Result: ids of the lease's running jobs that are asked to stop. Relies on live_cancels.
SELECT j.id FROM {ns}.leases AS s JOIN {ns}.live AS l ON l.lease BETWEEN s.k AND s.k JOIN {ns}.jobs AS j ON j.n BETWEEN l.n AND l.n
WHERE s.id = :lease::text AND l.cancel_requested AND l.state = 'running' ORDER BY l.n + 0
