-- Take back the jobs of leases that ran out or whose worker was seen to end.

-- part: gone
-- Result: [k, id, name] of every such lease. :witnessed holds ids.
SELECT k, id, name FROM {ns}_leases
WHERE NOT CASE WHEN :given THEN expires_at > :wall ELSE boot = :boot AND expires_up > :up END
    OR id IN (SELECT value FROM json_each(:witnessed))

-- part: jobs
-- What the leases :ks held, oldest first; one scan of live, which only a lost worker costs.
-- Result: the columns of `Held`, then the lease's number.
SELECT l.n, j.id, l.queue, l.attempt, l.crashes, j.max_crashes, l.cancel_requested, l.claimed_at, l.suspect, l.due_at, l.start_by,
    l.reason, l.flow, l.priority, l.lease
FROM {ns}_live AS l CROSS JOIN {ns}_jobs AS j ON j.n = l.n
WHERE l.state = 'running' AND l.lease IN (SELECT value FROM json_each(:ks)) ORDER BY l.n

-- part: remove
DELETE FROM {ns}_leases WHERE k IN (SELECT value FROM json_each(:ks))
