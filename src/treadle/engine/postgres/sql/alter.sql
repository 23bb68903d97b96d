-- Change jobs by an operator's hand, with an audit line in the same step.

-- part: hold-keys
-- Let nobody else ask for the unique keys of the jobs :ns before this transaction ends; one that is gone gets a row without a
-- job. Before any job is held, as in `enqueue`. Result: the keys. Relies on the primary keys of flows and keys.
INSERT INTO {ns}.keys AS k (kind, key, id, digest, since)
SELECT 'unique', key, '', '', 0 FROM (
    SELECT DISTINCT unique_key AS key FROM {ns}.flows
    WHERE n = ANY(:ns::text::int8[]) AND unique_key IS NOT NULL ORDER BY key) AS o
ON CONFLICT (kind, key) DO UPDATE SET digest = k.digest
RETURNING k.key

-- part: returning
-- Which unique keys the jobs :ns were stored with, and who has them. Result: [id, key, its states, since, holder, digest,
-- since when and until when it has the key, state of the holder], oldest first. Relies on the unique id of jobs.
SELECT j.id, f.unique_key, f.during, j.enqueued_at, k.id, k.digest, k.since, k.until, coalesce(l.state, d.state)
FROM {ns}.flows AS f JOIN {ns}.jobs AS j ON j.n = f.n
JOIN {ns}.keys AS k ON k.kind = 'unique' AND k.key = f.unique_key
LEFT JOIN {ns}.jobs AS h ON h.id = k.id LEFT JOIN {ns}.live AS l ON l.n = h.n LEFT JOIN {ns}.finished AS d ON d.n = h.n
WHERE f.n = ANY(:ns::text::int8[]) ORDER BY j.n

-- part: hold-live
-- Keep the live ones among :ns as they are until this transaction ends; they are looked at again afterwards.
SELECT n FROM {ns}.live WHERE n = ANY(:ns::text::int8[]) ORDER BY n FOR UPDATE

-- part: hold-finished
SELECT n FROM {ns}.finished WHERE n = ANY(:ns::text::int8[]) ORDER BY n FOR UPDATE

-- part: request
-- Ask running jobs to stop.
UPDATE {ns}.live SET cancel_requested = true, reason = :reason::text WHERE n = ANY(:ns::text::int8[])

-- part: entered
-- Where the jobs :ns stand that enter their queues, in this order. Result: [n, seq]. Relies on the primary key of flows.
WITH e AS MATERIALIZED (
    SELECT nextval('{ns}.numbers') AS number, u.n FROM unnest(:ns::text::int8[]) AS u(n)
), entered AS MATERIALIZED (
    SELECT s.n, s.seq FROM (
        SELECT array_agg(e.n) AS ns, array_agg(e.number) AS numbers FROM e
        WHERE {shared} OR EXISTS (SELECT 1 FROM e JOIN {ns}.flows AS f ON f.n BETWEEN e.n AND e.n)
    ) AS a, {ns}.enter(a.ns, a.numbers) AS s
)
SELECT e.n, coalesce(s.seq, e.number) FROM e LEFT JOIN entered AS s ON s.n = e.n

-- part: hurry
-- Send waiting jobs to the queue with fresh budgets.
UPDATE {ns}.live AS l
SET state = 'queued', seq = e.seq, due_at = NULL, start_by = NULL, suspect = false, failures = 0, crashes = 0, snoozes = 0,
    releases = 0, first_failed_at = NULL, reason = NULL
FROM unnest(:n::text::int8[], :seq::text::int8[]) AS e(n, seq) WHERE l.n = e.n

-- part: revive
-- Send finished jobs back with fresh budgets; :state and :due_at are the same for all.
WITH gone AS (
    DELETE FROM {ns}.finished AS f USING unnest(:n::text::int8[], :seq::text::int8[]) AS e(n, seq)
    WHERE f.n = e.n RETURNING f.n, e.seq, f.attempt, f.claimed_at
)
INSERT INTO {ns}.live (n, seq, state, queue, priority, task, attempt, claimed_at, due_at, flow, hold, line, cost)
SELECT j.n, g.seq, :state::text, j.queue, j.priority, j.task, g.attempt, g.claimed_at, :due_at::int8, {flow}, {hold},
    {line}, {cost}
FROM gone AS g JOIN {ns}.jobs AS j ON j.n = g.n

-- part: prioritise
-- Give waiting jobs another priority; the seqs are null for those that do not stand in their queue. Relies on the primary key
-- of live.
UPDATE {ns}.live AS l
SET priority = :priority::int2, seq = coalesce(e.seq, l.seq),
    state = CASE WHEN e.seq IS NULL THEN l.state ELSE 'queued' END, blocked_on = CASE WHEN e.seq IS NULL THEN l.blocked_on END
FROM unnest(:n::text::int8[], :seq::text::int8[]) AS e(n, seq) WHERE l.n BETWEEN e.n AND e.n

-- part: priority
-- Say so in the jobs' own rows; before they enter their queues, which look there.
UPDATE {ns}.jobs SET priority = :priority::int2 WHERE n = ANY(:ns::text::int8[])

-- part: args
UPDATE {ns}.jobs SET args = :args::text WHERE n = ANY(:ns::text::int8[])

-- part: status
-- Close dead letters. A note is kept unless a new one is given.
UPDATE {ns}.dead SET status = :status::text, changed_by = :actor::text, changed_at = :now::int8, note = coalesce(:note::text, note)
WHERE n = ANY(:ns::text::int8[])

-- part: annotate
UPDATE {ns}.dead SET note = :note::text WHERE n = ANY(:ns::text::int8[])

-- part: audit
INSERT INTO {ns}.audit (at, actor, change, note, jobs) VALUES (:now::int8, :actor::text, :change::text, :note::text, :jobs::text)
