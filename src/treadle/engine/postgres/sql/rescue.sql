-- Take back the jobs of leases that ran out or whose worker was seen to end.

-- part: gone
-- Every such lease, locked: claims and settlements under it have ended then, and none begins. :witnessed holds ids. One that ran
-- out and is held by somebody is left for the next time: that may be a user's transaction, in which a job is completed.
-- Result: [k, id, name, moment].
SELECT * FROM (
    SELECT k, id, name, coalesce(:now::int8, {clock}) FROM {ns}.leases
    WHERE id = ANY(:witnessed::text::text[]) ORDER BY id FOR UPDATE) AS seen
UNION ALL
SELECT * FROM (
    SELECT k, id, name, coalesce(:now::int8, {clock}) FROM {ns}.leases
    WHERE expires_at <= coalesce(:now::int8, (SELECT {clock})) AND id <> ALL(:witnessed::text::text[])
    ORDER BY id FOR UPDATE SKIP LOCKED) AS over

-- part: jobs
-- What the leases :ks held, oldest first within each; one scan of live, which only a lost worker costs.
-- Result: the columns of `Held`, then the lease's number.
SELECT l.n, j.id, l.queue, l.attempt, l.crashes, j.max_crashes, l.cancel_requested, l.claimed_at, l.suspect, l.due_at, l.start_by,
    l.reason, l.flow, l.lease
FROM {ns}.live AS l JOIN {ns}.jobs AS j ON j.n = l.n
WHERE l.state = 'running' AND l.lease = ANY(:ks::text::int8[]) ORDER BY l.n FOR UPDATE OF l

-- part: remove
DELETE FROM {ns}.leases WHERE k = ANY(:ks::text::int8[])
