-- Change jobs by an operator's hand, with an audit line in the same step.

-- part: request
-- Ask running jobs to stop. :ns holds numbers.
UPDATE {ns}_live SET cancel_requested = 1, reason = :reason WHERE n IN (SELECT value FROM json_each(:ns))

-- part: returning
-- The unique keys that the jobs :ns were stored with. Result: [n, id, key, its states, since], oldest first.
SELECT j.n, j.id, f.unique_key, f.during, j.enqueued_at
FROM json_each(:ns) AS e CROSS JOIN {ns}_flows AS f ON f.n = e.value CROSS JOIN {ns}_jobs AS j ON j.n = f.n
WHERE f.unique_key IS NOT NULL ORDER BY j.n

-- part: hurry
-- Send waiting jobs to the queue with fresh budgets. :rows holds [n, seq].
UPDATE {ns}_live
SET state = 'queued', seq = e.value ->> 1, due_at = NULL, start_by = NULL, suspect = 0, failures = 0, crashes = 0, snoozes = 0,
    releases = 0, first_failed_at = NULL, reason = NULL
FROM json_each(:rows) AS e WHERE {ns}_live.n = e.value ->> 0

-- part: revive
-- Send finished jobs back with fresh budgets. :rows holds [n, seq]; :state and :due_at are the same for all.
INSERT INTO {ns}_live (n, seq, state, queue, priority, task, attempt, claimed_at, due_at, flow)
SELECT j.n, e.value ->> 1, :state, j.queue, j.priority, j.task, f.attempt, f.claimed_at, :due_at,
    coalesce((SELECT iif(x.holds IS NOT NULL OR x.line IS NOT NULL, 2, x.tenant IS NOT NULL) FROM {ns}_flows AS x WHERE x.n = j.n), 0)
FROM json_each(:rows) AS e CROSS JOIN {ns}_jobs AS j ON j.n = e.value ->> 0 CROSS JOIN {ns}_finished AS f ON f.n = j.n

-- part: prioritise
-- Give waiting jobs another priority. :rows holds [n, seq]; the seq is null for those that do not stand in their queue.
UPDATE {ns}_live
SET priority = :priority, seq = coalesce(e.value ->> 1, seq), state = iif(e.value ->> 1 IS NULL, state, 'queued'),
    blocked_on = iif(e.value ->> 1 IS NULL, blocked_on, NULL)
FROM json_each(:rows) AS e WHERE {ns}_live.n = e.value ->> 0

-- part: priority
UPDATE {ns}_jobs SET priority = :priority WHERE n IN (SELECT value FROM json_each(:ns))

-- part: args
UPDATE {ns}_jobs SET args = :args WHERE n IN (SELECT value FROM json_each(:ns))

-- part: status
-- Close dead letters. A note is kept unless a new one is given.
UPDATE {ns}_dead SET status = :status, changed_by = :actor, changed_at = :now, note = coalesce(:note, note)
WHERE n IN (SELECT value FROM json_each(:ns))

-- part: annotate
UPDATE {ns}_dead SET note = :note WHERE n IN (SELECT value FROM json_each(:ns))

-- part: audit
INSERT INTO {ns}_audit (at, actor, change, note, jobs) VALUES (:now, :actor, :change, :note, :jobs)
