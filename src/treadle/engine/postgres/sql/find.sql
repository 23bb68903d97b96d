-- Look at jobs. A question is put together at load from a head, a source to drive it, the filters asked for, and an order.

-- part: numbers
SELECT j.n

-- part: altered
-- What `alter` must know: [n, id, state, queue, status of the dead letter, id of the lease, flow, priority, blocked_on].
SELECT j.n, j.id, coalesce(l.state, f.state), j.queue, d.status, s.id, {flow}, j.priority, l.blocked_on

-- part: from-ids
-- Relies on the unique id of jobs.
FROM (SELECT DISTINCT unnest(:ids::text::text[]) COLLATE "C" AS id) AS e JOIN {ns}.jobs AS j ON j.id = e.id

-- part: from-tag
-- Relies on the primary key of tags.
FROM {ns}.tags AS t JOIN {ns}.jobs AS j ON t.tag = :tag::text AND j.n = t.n

-- part: from-key
-- Relies on jobs_key.
FROM {ns}.jobs AS j

-- part: from-dead
FROM {ns}.dead AS e JOIN {ns}.jobs AS j ON j.n = e.n

-- part: from-live
-- Narrowed before it meets the other tables: there may be a million live jobs, and few of the kind asked for.
FROM {ns}.live AS e JOIN {ns}.jobs AS j ON j.n = e.n AND (:states::text IS NULL OR e.state = ANY(:states::text::text[]))
    AND (:lease::text IS NULL OR e.state = 'running')

-- part: from-ended
-- Relies on finished_age.
FROM {ns}.finished AS e JOIN {ns}.jobs AS j ON j.n = e.n AND e.state = ANY(:states::text::text[])

-- part: from-all
-- Relies on the primary key of jobs.
FROM {ns}.jobs AS j

-- part: matching
LEFT JOIN {ns}.live AS l ON l.n = j.n LEFT JOIN {ns}.finished AS f ON f.n = j.n LEFT JOIN {ns}.dead AS d ON d.n = j.n
LEFT JOIN {ns}.leases AS s ON s.k = l.lease AND l.state = 'running'
WHERE true

-- part: by-states
    AND coalesce(l.state, f.state) = ANY(:states::text::text[])

-- part: by-queues
    AND j.queue = ANY(:queues::text::text[])

-- part: by-tasks
    AND j.task = ANY(:tasks::text::text[])

-- part: by-lease
    AND s.id = :lease::text

-- part: by-tag
    AND j.tags IS NOT NULL AND EXISTS (SELECT 1 FROM json_array_elements_text(j.tags::json) AS g(tag) WHERE g.tag = :tag::text)

-- part: by-key
    AND j.key = :key::text

-- part: by-status
    AND d.status = :status::text

-- part: by-fingerprint
    AND d.fingerprint = :fingerprint::text

-- part: by-finished-before
    AND f.finished_at < :finished_before::int8

-- part: by-enqueued-before
    AND j.enqueued_at < :enqueued_before::int8

-- part: by-enqueued-after
    AND j.enqueued_at > :enqueued_after::int8

-- part: by-ns
    AND j.n = ANY(:ns::text::int8[])

-- part: newest
    AND j.n < :at::int8 ORDER BY j.n DESC LIMIT :take::int8

-- part: oldest
    AND j.n > :at::int8 ORDER BY j.n LIMIT :take::int8

-- part: place
-- Where a page begins. Result: its number. Relies on the unique id of jobs.
SELECT n FROM {ns}.jobs WHERE id = :id::text

-- part: jobs
-- Whole jobs, in the order of :ns. Result: the columns of `rows.to_job`.
SELECT j.n, j.id, j.task, j.version, j.codec, j.queue, j.priority, coalesce(l.state, f.state), l.blocked_on,
    coalesce(l.attempt, f.attempt), coalesce(l.failures, f.failures), coalesce(l.crashes, f.crashes),
    coalesce(l.snoozes, f.snoozes), coalesce(l.releases, f.releases), j.enqueued_at, coalesce(l.due_at, f.due_at),
    coalesce(l.start_by, f.start_by), coalesce(l.claimed_at, f.claimed_at), f.finished_at, s.id, s.name,
    coalesce(l.cancel_requested, false), coalesce(l.stuck, false), coalesce(l.suspect, false), j.key, j.tags, j.args, j.options,
    j.headers, f.result, coalesce(l.reason, f.reason),
    (SELECT p.value FROM {ns}.notes AS p WHERE p.n = j.n AND p.kind = 'progress' ORDER BY p.k DESC LIMIT 1),
    d.cause, d.reason, d.fingerprint, d.status, d.died_at, d.changed_by, d.changed_at, d.note
FROM unnest(:ns::text::int8[]) WITH ORDINALITY AS e(n, place) JOIN {ns}.jobs AS j ON j.n = e.n
LEFT JOIN {ns}.live AS l ON l.n = j.n LEFT JOIN {ns}.finished AS f ON f.n = j.n LEFT JOIN {ns}.dead AS d ON d.n = j.n
LEFT JOIN {ns}.leases AS s ON s.k = l.lease AND l.state = 'running'
ORDER BY e.place

-- part: attempts
-- Result: [n, the columns of `AttemptRecord`]. Relies on the primary key of attempts.
SELECT n, attempt, outcome, worker, started_at, ended_at, delay, error, exit
FROM {ns}.attempts WHERE n = ANY(:ns::text::int8[]) ORDER BY n, attempt

-- part: parents
-- Result: [child, id, on_dead, state], oldest first. Relies on edges_child.
SELECT x.child, j.id, x.on_dead, coalesce(l.state, f.state)
FROM {ns}.edges AS x JOIN {ns}.jobs AS j ON j.n = x.parent
LEFT JOIN {ns}.live AS l ON l.n = j.n LEFT JOIN {ns}.finished AS f ON f.n = j.n
WHERE x.child = ANY(:ns::text::int8[]) ORDER BY j.n

-- part: children
-- Result: [parent, id, on_dead, state], oldest first. Relies on edges_parent.
SELECT x.parent, j.id, x.on_dead, coalesce(l.state, f.state)
FROM {ns}.edges AS x JOIN {ns}.jobs AS j ON j.n = x.child
LEFT JOIN {ns}.live AS l ON l.n = j.n LEFT JOIN {ns}.finished AS f ON f.n = j.n
WHERE x.parent = ANY(:ns::text::int8[]) ORDER BY j.n

-- part: notes
-- Result: [n, kind, name, value], in the order written. Relies on the primary key of notes.
SELECT n, kind, name, value FROM {ns}.notes WHERE n = ANY(:ns::text::int8[]) ORDER BY k

-- part: flows
-- Result: [n, holds, line, stop, tenant]. Relies on the primary key of flows. The subquery has the numbers read once: without it
-- they were read for each row of a table that nobody had analysed yet, 1.5 s for 1,000 jobs among 10,000.
SELECT n, holds, line, stop, tenant FROM {ns}.flows WHERE n = ANY((SELECT :ns::text::int8[])::int8[])

-- part: parked
-- Where those of :ns wait that may not start. Result: [n, limit, key, id of the first in line, its state]. Relies on the primary
-- keys of parked and lines.
SELECT p.n, p.name, p.key, NULL, NULL FROM {ns}.parked AS p WHERE p.n = ANY((SELECT :ns::text::int8[])::int8[])
UNION ALL
SELECT x.n, NULL, NULL, CASE WHEN j.n <> x.n THEN j.id END, coalesce(h.state, f.state)
FROM {ns}.live AS l JOIN {ns}.flows AS x ON x.n = l.n
CROSS JOIN LATERAL (SELECT y.n FROM {ns}.lines AS y WHERE y.line = x.line ORDER BY y.place LIMIT 1) AS first
JOIN {ns}.jobs AS j ON j.n = first.n
LEFT JOIN {ns}.live AS h ON h.n = j.n LEFT JOIN {ns}.finished AS f ON f.n = j.n
WHERE l.n = ANY((SELECT :ns::text::int8[])::int8[]) AND l.state = 'blocked' AND l.blocked_on = 'key'
    AND NOT EXISTS (SELECT 1 FROM {ns}.parked AS p WHERE p.n = l.n)

-- part: few-live
-- Are there at most :few live jobs? Then sorting them is cheaper than walking all jobs by age.
SELECT count(*) <= :few::int8 FROM (SELECT 1 FROM {ns}.live LIMIT :few::int8 + 1) AS few

-- part: few-ended
-- The same for finished jobs of :states. Relies on finished_age.
SELECT count(*) <= :few::int8
FROM (SELECT 1 FROM {ns}.finished WHERE state = ANY(:states::text::text[]) LIMIT :few::int8 + 1) AS few
