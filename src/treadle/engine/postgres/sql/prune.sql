-- Delete finished jobs that are older or more than wanted; never one that a live job names as a parent.

-- part: old
-- The :take jobs of :state that ended more than :age microseconds ago, longest finished first. Result: n. Relies on finished_age.
SELECT f.n FROM {ns}.finished AS f
WHERE f.state = :state::text AND f.finished_at < coalesce(:now::int8, (SELECT {clock})) - :age::int8
    AND NOT EXISTS (SELECT 1 FROM {ns}.edges AS x JOIN {ns}.live AS c ON c.n BETWEEN x.child AND x.child
        WHERE x.parent BETWEEN f.n AND f.n)
ORDER BY f.finished_at, f.n LIMIT :take::int8 FOR UPDATE OF f SKIP LOCKED

-- part: dead
-- The :take dead letters that were closed more than :age microseconds ago, longest finished first. Result: n.
-- Relies on dead_status.
SELECT f.n FROM {ns}.dead AS d JOIN {ns}.finished AS f ON f.n = d.n
WHERE d.status = 'resolved' AND d.changed_at < coalesce(:now::int8, (SELECT {clock})) - :age::int8 AND f.state = :state::text
    AND NOT EXISTS (SELECT 1 FROM {ns}.edges AS x JOIN {ns}.live AS c ON c.n = x.child WHERE x.parent = f.n)
ORDER BY f.finished_at, f.n LIMIT :take::int8 FOR UPDATE OF f SKIP LOCKED

-- part: many
-- How many completed jobs there are. Relies on finished_age.
SELECT count(*) FROM {ns}.finished WHERE state = 'completed'

-- part: many-old
-- Of the :excess longest finished completed jobs, those that may go, :take at most. Result: n. Relies on finished_age.
SELECT f.n FROM (
    SELECT l.n FROM {ns}.finished AS l WHERE l.state = 'completed' ORDER BY l.finished_at, l.n LIMIT :excess::int8) AS o
JOIN {ns}.finished AS f ON f.n BETWEEN o.n AND o.n
WHERE NOT EXISTS (SELECT 1 FROM {ns}.edges AS x JOIN {ns}.live AS c ON c.n BETWEEN x.child AND x.child
        WHERE x.parent BETWEEN f.n AND f.n)
ORDER BY f.finished_at, f.n LIMIT :take::int8 FOR UPDATE OF f SKIP LOCKED

-- part: childless
-- Those of :ns, which are locked by now, that no live job names as a parent: one may have been stored while they were looked for.
-- Result: n. Relies on edges_parent and the primary key of live.
SELECT e.n FROM unnest(:ns::text::int8[]) AS e(n)
WHERE NOT EXISTS (SELECT 1 FROM {ns}.edges AS x JOIN {ns}.live AS c ON c.n BETWEEN x.child AND x.child
        WHERE x.parent BETWEEN e.n AND e.n)

-- part: audit
-- Remove those of the oldest :take lines of the audit that were written more than :age microseconds ago; who prunes beside us
-- has the others. Relies on the primary key of audit.
DELETE FROM {ns}.audit WHERE k = ANY(ARRAY(SELECT a.k FROM {ns}.audit AS a ORDER BY a.k LIMIT :take::int8 FOR UPDATE SKIP LOCKED))
    AND at < coalesce(:now::int8, (SELECT {clock})) - :age::int8
