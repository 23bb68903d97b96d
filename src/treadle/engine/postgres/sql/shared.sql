-- Statements that several verbs use. A lease is shown by its id; {clock} is this very moment in microseconds, and :now a
-- moment that the caller names instead, or null. What touches a job for each of a batch finds it by `BETWEEN x AND x` and not
-- by `=`: that leaves the planner one way only, from the batch into the index. With `=` a plan made while the tables were
-- empty went through all of a table for each batch, and took 2 s for 1000 jobs among 20,000. For the same reason some orders are
-- by `n + 0`.

-- part: clock
SELECT coalesce(:now::int8, {clock})

-- part: held
-- Is :lease held at this moment? Result: [number, worker, moment], or no row. The lock keeps `rescue` from removing the lease
-- before this transaction ends, and lets it be renewed. Relies on the unique id of leases.
SELECT k, name, coalesce(:now::int8, {clock}) FROM {ns}.leases
WHERE id = :lease::text AND expires_at > coalesce(:now::int8, {clock}) FOR KEY SHARE

-- part: numbers
-- Take :count numbers, for n and seq alike. Result: one row each, rising.
SELECT nextval('{ns}.numbers') FROM generate_series(1, :count::int8)

-- part: reenter
-- Put running jobs back in line, in the order given. The counters are increments. Relies on the primary key of live.
WITH e AS MATERIALIZED (
    SELECT nextval('{ns}.numbers') AS seq, u.* FROM unnest(
        :n::text::int8[], :state::text::text[], :due_at::text::int8[], :start_by::text::int8[], :suspect::text::boolean[],
        :failures::text::int4[], :crashes::text::int4[], :snoozes::text::int4[], :releases::text::int4[],
        :first_failed_at::text::int8[])
    AS u(n, state, due_at, start_by, suspect, failures, crashes, snoozes, releases, first_failed_at)
), entered AS MATERIALIZED (
    SELECT s.n, s.seq FROM (
        SELECT array_agg(e.n) AS ns, array_agg(e.seq) AS numbers FROM e
        WHERE e.state = 'queued'
            AND ({shared} OR EXISTS (SELECT 1 FROM e JOIN {ns}.live AS l ON l.n BETWEEN e.n AND e.n WHERE l.flow > 0))
    ) AS a, {ns}.enter(a.ns, a.numbers) AS s
)
UPDATE {ns}.live AS l
SET seq = coalesce((SELECT s.seq FROM entered AS s WHERE s.n = e.n), e.seq), state = e.state, due_at = e.due_at, start_by = e.start_by, suspect = e.suspect,
    failures = l.failures + e.failures, crashes = l.crashes + e.crashes, snoozes = l.snoozes + e.snoozes,
    releases = l.releases + e.releases, first_failed_at = coalesce(l.first_failed_at, e.first_failed_at),
    lease = NULL, cancel_requested = false, stuck = false, reason = NULL
FROM e WHERE l.n BETWEEN e.n AND e.n

-- part: finish
-- Move live jobs to the finished ones, and close the edges above them. The counters are increments.
-- Relies on edges_child and the primary key of live.
WITH gone AS (
    DELETE FROM {ns}.live AS l USING unnest(
        :n::text::int8[], :state::text::text[], :failures::text::int4[], :crashes::text::int4[], :snoozes::text::int4[],
        :releases::text::int4[], :took::text::float8[], :reason::text::text[])
    AS e(n, state, failures, crashes, snoozes, releases, took, reason)
    WHERE l.n BETWEEN e.n AND e.n
    RETURNING l.n, l.claimed_at, l.due_at, l.start_by, e.took, l.attempt, l.failures + e.failures AS failures,
        l.crashes + e.crashes AS crashes, l.snoozes + e.snoozes AS snoozes, l.releases + e.releases AS releases, e.state, e.reason
), closed AS (
    UPDATE {ns}.edges AS x SET open = false FROM gone WHERE x.child BETWEEN gone.n AND gone.n AND x.open
)
INSERT INTO {ns}.finished (
    n, finished_at, claimed_at, due_at, start_by, took, attempt, failures, crashes, snoozes, releases, state, reason)
SELECT n, :now::int8, claimed_at, due_at, start_by, took, attempt, failures, crashes, snoozes, releases, state, reason FROM gone

-- part: attempts
-- Record attempts that did not complete.
INSERT INTO {ns}.attempts (n, attempt, outcome, worker, started_at, ended_at, delay, error, exit)
SELECT n, attempt, outcome, worker, started_at, :now::int8, delay, error, exit FROM unnest(
    :n::text::int8[], :attempt::text::int4[], :outcome::text::text[], :worker::text::text[], :started_at::text::int8[],
    :delay::text::float8[], :error::text::text[], :exit::text::text[])
AS e(n, attempt, outcome, worker, started_at, delay, error, exit)
ON CONFLICT (n, attempt) DO NOTHING

-- part: bury
-- Write dead letters; one that was replayed and died again is open again. Relies on the primary key of dead.
INSERT INTO {ns}.dead (n, cause, reason, fingerprint, status, died_at)
SELECT n, cause, reason, fingerprint, 'open', :now::int8
FROM unnest(:n::text::int8[], :cause::text::text[], :reason::text::text[], :fingerprint::text::text[])
    AS e(n, cause, reason, fingerprint)
ON CONFLICT (n) DO UPDATE SET cause = excluded.cause, reason = excluded.reason, fingerprint = excluded.fingerprint,
    status = 'open', died_at = excluded.died_at, changed_by = NULL, changed_at = NULL, note = NULL

-- part: forget
-- Remove every trace of the jobs :ns.
WITH e AS MATERIALIZED (SELECT unnest(:ns::text::int8[]) AS n),
untagged AS (DELETE FROM {ns}.tags AS t USING e, {ns}.jobs AS j
    WHERE j.n = e.n AND j.tags IS NOT NULL AND t.n = j.n
        AND t.tag = ANY(ARRAY(SELECT json_array_elements_text(j.tags::json)))),
live AS (DELETE FROM {ns}.live AS t USING e WHERE t.n = e.n),
finished AS (DELETE FROM {ns}.finished AS t USING e WHERE t.n = e.n),
attempts AS (DELETE FROM {ns}.attempts AS t USING e WHERE t.n = e.n),
dead AS (DELETE FROM {ns}.dead AS t USING e WHERE t.n = e.n),
flows AS (DELETE FROM {ns}.flows AS t USING e WHERE t.n = e.n),
notes AS (DELETE FROM {ns}.notes AS t USING e WHERE t.n = e.n),
up AS (DELETE FROM {ns}.edges AS t USING e WHERE t.child = e.n),
down AS (DELETE FROM {ns}.edges AS t USING e WHERE t.parent = e.n AND NOT EXISTS (SELECT 1 FROM e AS c WHERE c.n = t.child))
DELETE FROM {ns}.jobs AS t USING e WHERE t.n = e.n
