-- End attempts. A batch of completed jobs takes two statements, in one exchange: complete and edges/met; one with gated jobs a third,
-- aftermath/leave-waited-for. Where a state is only
-- looked at, it is written so that no index on states can be used for it: a plan made for empty tables would.

-- part: complete
-- Move completed jobs to the finished ones, where the fence holds. :result and :took may be null for nothing everywhere. What
-- follows is `refused`, or before that `leave-lines`. Relies on the primary keys of live and finished and the unique id of leases.
WITH held AS MATERIALIZED (
    SELECT k, coalesce(:now::int8, {clock}) AS now FROM {ns}.leases
    WHERE id = :lease::text AND expires_at > coalesce(:now::int8, {clock}) FOR KEY SHARE
), asked AS MATERIALIZED (
    SELECT * FROM unnest(:ns::text::int8[], :attempt::text::int4[], :took::text::float8[], :result::text::text[])
    WITH ORDINALITY AS a(n, attempt, took, result, place)
), gone AS (
    DELETE FROM {ns}.live AS l USING asked AS a, held AS h
    WHERE l.n BETWEEN a.n AND a.n AND l.attempt = a.attempt AND l.lease = h.k AND l.state = 'running'
    RETURNING l.n, h.now, l.claimed_at, l.due_at, l.start_by, coalesce(a.took, 0) AS took, l.attempt, l.failures, l.crashes,
        l.snoozes, l.releases, a.result, l.line, l.seq
), done AS (
    INSERT INTO {ns}.finished (
        n, finished_at, claimed_at, due_at, start_by, took, attempt, failures, crashes, snoozes, releases, state, result)
    SELECT n, now, claimed_at, due_at, start_by, took, attempt, failures, crashes, snoozes, releases, 'completed', result FROM gone
)

-- part: leave-lines
-- Take those that `complete` has moved out of their lines: whoever ran was the first of his. Relies on the primary key of lines.
, unplaced AS (
    DELETE FROM {ns}.lines AS x
    WHERE x.ctid = ANY(ARRAY(
        SELECT coalesce(
            (SELECT CASE WHEN f.n = g.n THEN f.ctid END FROM {ns}.lines AS f
                WHERE f.line = g.line AND f.place <= g.seq ORDER BY f.place LIMIT 1),
            (SELECT CASE WHEN f.n = g.n THEN f.ctid END FROM {ns}.lines AS f WHERE f.line = g.line ORDER BY f.place LIMIT 1))
        FROM gone AS g WHERE g.line IS NOT NULL))
)

-- part: refused
-- Result: [place in the batch, from 1; whether this attempt had completed before] of those that `complete` has not moved.
SELECT a.place, coalesce((
    SELECT (f.state = 'completed') FROM {ns}.finished AS f WHERE f.n = a.n AND f.attempt = a.attempt), false)
FROM asked AS a
WHERE (SELECT count(*) FROM gone) < :total::int8 AND NOT EXISTS (SELECT 1 FROM gone AS g WHERE g.n = a.n AND g.attempt = a.attempt)

-- part: held
-- The jobs for which the fence holds, locked. Result: [place in the batch, from 1; the columns of `Held`].
-- Relies on the primary keys of live and jobs.
SELECT a.place, l.n, j.id, l.queue, l.attempt, l.crashes, j.max_crashes, l.cancel_requested, l.claimed_at, l.suspect, l.due_at,
    l.start_by, l.reason, l.flow
FROM unnest(:ns::text::int8[], :attempt::text::int4[], :ids::text::text[]) WITH ORDINALITY AS a(n, attempt, id, place)
JOIN {ns}.live AS l ON l.n BETWEEN a.n AND a.n JOIN {ns}.jobs AS j ON j.n BETWEEN a.n AND a.n
JOIN {ns}.leases AS s ON s.k = l.lease
WHERE s.id = :lease::text AND l.attempt = a.attempt AND l.state = 'running' AND j.id = a.id
FOR UPDATE OF l

-- part: already
-- Which of these attempts are completed. Result: places in the batch, from 1. Relies on the primary keys of finished and jobs.
SELECT a.place
FROM unnest(:ns::text::int8[], :attempt::text::int4[], :ids::text::text[]) WITH ORDINALITY AS a(n, attempt, id, place)
JOIN {ns}.finished AS f ON f.n BETWEEN a.n AND a.n JOIN {ns}.jobs AS j ON j.n BETWEEN a.n AND a.n
WHERE f.attempt = a.attempt AND (f.state = 'completed') IS TRUE AND j.id = a.id
