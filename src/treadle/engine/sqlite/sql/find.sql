-- Look at jobs. A question is put together at load from a head, a source to drive it, the filter, and an order.

-- part: numbers
SELECT j.n

-- part: altered
-- What `alter` must know: [n, id, state, queue, status of the dead letter, id of the lease, flow, priority, blocked_on].
SELECT j.n, j.id, coalesce(l.state, f.state), j.queue, d.status, s.id,
    coalesce((SELECT iif(x.holds IS NOT NULL OR x.line IS NOT NULL, 2, x.tenant IS NOT NULL) FROM {ns}_flows AS x WHERE x.n = j.n), 0),
    j.priority, l.blocked_on

-- part: from-ids
-- Relies on the unique id of jobs.
FROM (SELECT DISTINCT value AS id FROM json_each(:ids)) AS e CROSS JOIN {ns}_jobs AS j ON j.id = e.id

-- part: from-tag
-- Relies on the primary key of tags.
FROM {ns}_tags AS t CROSS JOIN {ns}_jobs AS j ON t.tag = :tag AND j.n = t.n

-- part: from-key
-- Relies on jobs_key.
FROM {ns}_jobs AS j

-- part: from-dead
FROM {ns}_dead AS e CROSS JOIN {ns}_jobs AS j ON j.n = e.n

-- part: from-live
-- Narrowed before it meets the other tables: there may be a million live jobs, and few of the kind asked for.
FROM {ns}_live AS e CROSS JOIN {ns}_jobs AS j
    ON j.n = e.n AND (:states IS NULL OR e.state IN (SELECT value FROM json_each(:states)))
    AND (:lease IS NULL OR e.state = 'running')

-- part: from-ended
-- Relies on finished_age.
FROM {ns}_finished AS e CROSS JOIN {ns}_jobs AS j
    ON j.n = e.n AND e.state IN (SELECT value FROM json_each(:states))

-- part: from-all
-- Relies on the primary key of jobs.
FROM {ns}_jobs AS j

-- part: matching
LEFT JOIN {ns}_live AS l ON l.n = j.n LEFT JOIN {ns}_finished AS f ON f.n = j.n LEFT JOIN {ns}_dead AS d ON d.n = j.n
LEFT JOIN {ns}_leases AS s ON s.k = l.lease AND l.state = 'running'
WHERE (:ids IS NULL OR j.id IN (SELECT value FROM json_each(:ids)))
    AND (:states IS NULL OR coalesce(l.state, f.state) IN (SELECT value FROM json_each(:states)))
    AND (:queues IS NULL OR j.queue IN (SELECT value FROM json_each(:queues)))
    AND (:tasks IS NULL OR j.task IN (SELECT value FROM json_each(:tasks)))
    AND (:lease IS NULL OR s.id = :lease)
    AND (:tag IS NULL OR (j.tags IS NOT NULL AND EXISTS (SELECT 1 FROM json_each(j.tags) WHERE value = :tag)))
    AND (:status IS NULL OR d.status = :status)
    AND (:fingerprint IS NULL OR d.fingerprint = :fingerprint)
    AND (:finished_before IS NULL OR f.finished_at < :finished_before)
    AND j.enqueued_at < :enqueued_before AND j.enqueued_at > :enqueued_after

-- part: key-any
    AND (:key IS NULL OR j.key = :key)

-- part: key-is
    AND j.key = :key

-- part: newest
    AND j.n < :at ORDER BY j.n DESC LIMIT :take

-- part: oldest
    AND j.n > :at ORDER BY j.n LIMIT :take

-- part: place
-- Where a page begins. Result: its number. Relies on the unique id of jobs.
SELECT n FROM {ns}_jobs WHERE id = :id

-- part: jobs
-- Whole jobs, in the order of :ns. Result: the columns of `rows.to_job`.
SELECT j.n, j.id, j.task, j.version, j.codec, j.queue, j.priority, coalesce(l.state, f.state), l.blocked_on,
    coalesce(l.attempt, f.attempt), coalesce(l.failures, f.failures), coalesce(l.crashes, f.crashes),
    coalesce(l.snoozes, f.snoozes), coalesce(l.releases, f.releases), j.enqueued_at, coalesce(l.due_at, f.due_at),
    coalesce(l.start_by, f.start_by), coalesce(l.claimed_at, f.claimed_at), f.finished_at, s.id, s.name,
    coalesce(l.cancel_requested, 0), coalesce(l.stuck, 0), coalesce(l.suspect, 0), j.key, j.tags, j.args, j.options, j.headers,
    f.result, coalesce(l.reason, f.reason),
    (SELECT value FROM {ns}_notes AS p WHERE p.n = j.n AND p.kind = 'progress' ORDER BY p.k DESC LIMIT 1),
    d.cause, d.reason, d.fingerprint, d.status, d.died_at, d.changed_by, d.changed_at, d.note
FROM json_each(:ns) AS e CROSS JOIN {ns}_jobs AS j ON j.n = e.value
LEFT JOIN {ns}_live AS l ON l.n = j.n LEFT JOIN {ns}_finished AS f ON f.n = j.n LEFT JOIN {ns}_dead AS d ON d.n = j.n
LEFT JOIN {ns}_leases AS s ON s.k = l.lease AND l.state = 'running'
ORDER BY e.key

-- part: attempts
-- Result: [n, the columns of `AttemptRecord`].
SELECT a.n, a.attempt, a.outcome, a.worker, a.started_at, a.ended_at, a.delay, a.error, a.exit
FROM json_each(:ns) AS e CROSS JOIN {ns}_attempts AS a WHERE a.n = e.value ORDER BY a.n, a.attempt

-- part: parents
-- Result: [child, id, on_dead, state], oldest first.
SELECT x.child, j.id, x.on_dead, coalesce(l.state, f.state)
FROM json_each(:ns) AS e CROSS JOIN {ns}_edges AS x ON x.child = e.value CROSS JOIN {ns}_jobs AS j ON j.n = x.parent
LEFT JOIN {ns}_live AS l ON l.n = j.n LEFT JOIN {ns}_finished AS f ON f.n = j.n ORDER BY j.n

-- part: children
-- Result: [parent, id, on_dead, state], oldest first. Relies on edges_parent.
SELECT x.parent, j.id, x.on_dead, coalesce(l.state, f.state)
FROM json_each(:ns) AS e CROSS JOIN {ns}_edges AS x ON x.parent = e.value CROSS JOIN {ns}_jobs AS j ON j.n = x.child
LEFT JOIN {ns}_live AS l ON l.n = j.n LEFT JOIN {ns}_finished AS f ON f.n = j.n ORDER BY j.n

-- part: notes
-- Result: [n, kind, name, value], in the order written.
SELECT p.n, p.kind, p.name, p.value FROM json_each(:ns) AS e CROSS JOIN {ns}_notes AS p WHERE p.n = e.value ORDER BY p.k

-- part: flows
-- Result: [n, holds, line, stop, tenant].
SELECT x.n, x.holds, x.line, x.stop, x.tenant FROM json_each(:ns) AS e CROSS JOIN {ns}_flows AS x WHERE x.n = e.value

-- part: parked
-- Where those of :ns wait that may not start. Result: [n, limit, key, id of the first in line, its state]. Relies on the primary
-- keys of parked and lines.
SELECT p.n, p.name, p.key, NULL, NULL FROM json_each(:ns) AS e CROSS JOIN {ns}_parked AS p WHERE p.n = e.value
UNION ALL
SELECT x.n, NULL, NULL, iif(j.n = x.n, NULL, j.id), coalesce(h.state, f.state)
FROM json_each(:ns) AS e CROSS JOIN {ns}_live AS l ON l.n = e.value AND l.state = 'blocked' AND l.blocked_on = 'key'
CROSS JOIN {ns}_flows AS x ON x.n = l.n
CROSS JOIN {ns}_jobs AS j ON j.n = (SELECT y.n FROM {ns}_lines AS y WHERE y.line = x.line ORDER BY y.place LIMIT 1)
LEFT JOIN {ns}_live AS h ON h.n = j.n LEFT JOIN {ns}_finished AS f ON f.n = j.n
WHERE NOT EXISTS (SELECT 1 FROM {ns}_parked AS p WHERE p.n = l.n)

-- part: few-live
-- Are there at most :few live jobs? Then sorting them is cheaper than walking all jobs by age.
SELECT count(*) <= :few FROM (SELECT 1 FROM {ns}_live LIMIT :few + 1)

-- part: few-ended
-- The same for finished jobs of :states. Relies on finished_age.
SELECT count(*) <= :few
FROM (SELECT 1 FROM {ns}_finished WHERE state IN (SELECT value FROM json_each(:states)) LIMIT :few + 1)
