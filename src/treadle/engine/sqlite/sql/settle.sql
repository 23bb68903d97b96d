-- End attempts. A batch of completed jobs takes three statements: complete-bare (or complete), unlive, any-open.

-- part: complete-bare
-- As `complete`, for jobs that have no result and took no time to speak of. :rows holds n * 65536 + attempt.
-- Relies on the primary key of live.
INSERT INTO {ns}_finished
SELECT l.n, 'completed', l.attempt, l.failures, l.crashes, l.snoozes, l.releases, l.claimed_at, :now, 0.0,
    l.due_at, l.start_by, NULL, NULL
FROM json_each(:rows) AS e CROSS JOIN {ns}_live AS l
WHERE l.n = e.value >> 16 AND l.attempt = e.value & 65535 AND l.lease = :k AND l.state = 'running'

-- part: complete
-- Copy completed jobs to the finished ones, where the fence holds; the count of changes tells whether it held for all.
-- :rows holds [n, attempt, result, took]. Relies on the primary key of live.
INSERT INTO {ns}_finished
SELECT l.n, 'completed', l.attempt, l.failures, l.crashes, l.snoozes, l.releases, l.claimed_at, :now, e.value ->> 3,
    l.due_at, l.start_by, e.value ->> 2, NULL
FROM json_each(:rows) AS e CROSS JOIN {ns}_live AS l
WHERE l.n = e.value ->> 0 AND l.attempt = e.value ->> 1 AND l.lease = :k AND l.state = 'running'

-- part: unlive-some
-- Remove those of :ns that have just been copied. Result: [n, attempt].
DELETE FROM {ns}_live WHERE n IN (
    SELECT f.n FROM json_each(:ns) AS e CROSS JOIN {ns}_finished AS f WHERE f.n = e.value)
RETURNING n, attempt

-- part: already
-- Which attempts are completed. :rows holds [n, attempt, id]. Result: keys. Relies on the primary key of finished.
SELECT e.key FROM json_each(:rows) AS e CROSS JOIN {ns}_finished AS f CROSS JOIN {ns}_jobs AS j
WHERE f.n = e.value ->> 0 AND f.attempt = e.value ->> 1 AND f.state = 'completed' AND j.n = f.n AND j.id = e.value ->> 2

-- part: held
-- The jobs for which the fence holds. :rows holds [n, attempt, id].
-- Result: [key, n, id, queue, attempt, crashes, max_crashes, cancel_requested, claimed_at, suspect, due_at, start_by, reason,
-- flow, priority].
SELECT e.key, l.n, j.id, l.queue, l.attempt, l.crashes, j.max_crashes, l.cancel_requested, l.claimed_at, l.suspect, l.due_at,
    l.start_by, l.reason, l.flow, l.priority
FROM json_each(:rows) AS e CROSS JOIN {ns}_live AS l ON l.n = e.value ->> 0 CROSS JOIN {ns}_jobs AS j ON j.n = l.n
WHERE l.attempt = e.value ->> 1 AND l.lease = :k AND l.state = 'running' AND j.id = e.value ->> 2

-- part: ids
-- :ns holds numbers. Result: [n, id].
SELECT j.n, j.id FROM json_each(:ns) AS e CROSS JOIN {ns}_jobs AS j WHERE j.n = e.value
