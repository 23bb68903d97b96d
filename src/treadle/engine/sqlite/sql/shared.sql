-- Statements that several verbs use.

-- part: seq
-- Take :count numbers, for n and seq alike. Result: the last of them, and whether any queue has tenants.
-- Relies on the primary key of meta.
UPDATE {ns}_meta SET value = value + :count WHERE name = 'seq' RETURNING value, EXISTS (SELECT 1 FROM {ns}_tenants)

-- part: held
-- Is :lease held at this moment? Result: its number and its worker's name, or no row. Relies on the unique id of leases.
SELECT k, name FROM {ns}_leases
WHERE id = :lease AND CASE WHEN :given THEN expires_at > :wall ELSE boot = :boot AND expires_up > :up END

-- part: reenter
-- Put running or waiting jobs back in line. :rows holds
-- [n, seq, state, due_at, start_by, suspect, failures, crashes, snoozes, releases, first_failed_at], counters as increments.
UPDATE {ns}_live
SET seq = e.value ->> 1, state = e.value ->> 2, due_at = e.value ->> 3, start_by = e.value ->> 4, suspect = e.value ->> 5,
    failures = failures + (e.value ->> 6), crashes = crashes + (e.value ->> 7), snoozes = snoozes + (e.value ->> 8),
    releases = releases + (e.value ->> 9), first_failed_at = coalesce(first_failed_at, e.value ->> 10),
    lease = NULL, cancel_requested = 0, stuck = 0, reason = NULL
FROM json_each(:rows) AS e WHERE {ns}_live.n = e.value ->> 0

-- part: finish
-- Copy live jobs to the finished ones. :rows holds
-- [n, state, failures, crashes, snoozes, releases, took, reason], counters as increments.
INSERT INTO {ns}_finished
SELECT l.n, e.value ->> 1, l.attempt, l.failures + (e.value ->> 2), l.crashes + (e.value ->> 3),
    l.snoozes + (e.value ->> 4), l.releases + (e.value ->> 5), l.claimed_at, :now, e.value ->> 6, l.due_at, l.start_by,
    NULL, e.value ->> 7
FROM json_each(:rows) AS e CROSS JOIN {ns}_live AS l WHERE l.n = e.value ->> 0

-- part: unlive
-- Remove jobs that have been copied to the finished ones. :ns holds their numbers.
DELETE FROM {ns}_live WHERE n IN (SELECT value FROM json_each(:ns))

-- part: attempts
-- Record attempts that did not complete. :rows holds
-- [n, attempt, outcome, worker, started_at, delay, error, exit].
INSERT OR REPLACE INTO {ns}_attempts
SELECT value ->> 0, value ->> 1, value ->> 2, value ->> 3, value ->> 4, :now, value ->> 5, value ->> 6, value ->> 7
FROM json_each(:rows)

-- part: bury
-- Write dead letters; one that was replayed and died again is open again. :rows holds [n, cause, reason, fingerprint].
INSERT OR REPLACE INTO {ns}_dead
SELECT value ->> 0, value ->> 1, value ->> 2, value ->> 3, 'open', :now, NULL, NULL, NULL FROM json_each(:rows)

-- part: forget
-- The tables from which a job's every trace goes, one statement each; see also `untag`. :ns holds numbers.
DELETE FROM {ns}_jobs WHERE n IN (SELECT value FROM json_each(:ns))

-- part: forget-live
DELETE FROM {ns}_live WHERE n IN (SELECT value FROM json_each(:ns))

-- part: forget-finished
DELETE FROM {ns}_finished WHERE n IN (SELECT value FROM json_each(:ns))

-- part: forget-attempts
DELETE FROM {ns}_attempts WHERE n IN (SELECT value FROM json_each(:ns))

-- part: forget-dead
DELETE FROM {ns}_dead WHERE n IN (SELECT value FROM json_each(:ns))

-- part: forget-notes
DELETE FROM {ns}_notes WHERE n IN (SELECT value FROM json_each(:ns))

-- part: forget-flows
DELETE FROM {ns}_flows WHERE n IN (SELECT value FROM json_each(:ns))

-- part: forget-edges-up
DELETE FROM {ns}_edges WHERE child IN (SELECT value FROM json_each(:ns))

-- part: forget-edges-down
DELETE FROM {ns}_edges WHERE parent IN (SELECT value FROM json_each(:ns))

-- part: untag
-- Remove the tags of jobs; the job rows must still be there. :ns holds numbers. Relies on the primary key of tags.
DELETE FROM {ns}_tags WHERE (tag, n) IN (
    SELECT t.value, j.n FROM json_each(:ns) AS e CROSS JOIN {ns}_jobs AS j CROSS JOIN json_each(j.tags) AS t
    WHERE j.n = e.value AND j.tags IS NOT NULL)
