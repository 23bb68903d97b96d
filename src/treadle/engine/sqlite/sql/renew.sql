-- Open or extend a lease, and tell which of its jobs are asked to stop.

-- part: open
-- Open a lease; one that is there already stays as it is. Relies on the unique id of leases.
INSERT INTO {ns}_leases (id, name, host, pid, queues, tasks, slots, started_at, beat, boot, expires_up, expires_at)
VALUES (:lease, :name, :host, :pid, :queues, :tasks, :slots, :wall, 0, :boot, :up + :length, :wall + :length)
ON CONFLICT (id) DO NOTHING

-- part: extend
-- Nothing happens to a lease that has run out. Relies on the unique id of leases.
UPDATE {ns}_leases SET beat = :beat, boot = :boot, expires_up = :up + :length, expires_at = :wall + :length
WHERE id = :lease AND CASE WHEN :given THEN expires_at > :wall ELSE boot = :boot AND expires_up > :up END

-- part: cancels
-- Result: ids of the lease's running jobs that are asked to stop. Relies on live_cancels.
SELECT j.id FROM {ns}_leases AS s CROSS JOIN {ns}_live AS l ON l.lease = s.k CROSS JOIN {ns}_jobs AS j ON j.n = l.n
WHERE s.id = :lease AND l.cancel_requested = 1 AND l.state = 'running' ORDER BY l.n
