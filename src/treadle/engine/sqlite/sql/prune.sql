-- Delete finished jobs that are older or more than wanted; never one that a live job names as a parent.

-- part: old
-- The :take jobs of :state that ended before :before, longest finished first. Result: n. Relies on finished_age.
SELECT f.n FROM {ns}_finished AS f
WHERE f.state = :state AND f.finished_at < :before
    AND NOT EXISTS (SELECT 1 FROM {ns}_edges AS x JOIN {ns}_live AS c ON c.n = x.child WHERE x.parent = f.n)
ORDER BY f.finished_at, f.n LIMIT :take

-- part: dead
-- The :take dead letters that were closed before :before, longest finished first. Result: n. Relies on dead_status.
SELECT f.n FROM {ns}_dead AS d CROSS JOIN {ns}_finished AS f ON f.n = d.n
WHERE d.status = 'resolved' AND d.changed_at < :before AND f.state = 'dead'
    AND NOT EXISTS (SELECT 1 FROM {ns}_edges AS x JOIN {ns}_live AS c ON c.n = x.child WHERE x.parent = f.n)
ORDER BY f.finished_at, f.n LIMIT :take

-- part: many
-- How many completed jobs there are. Relies on finished_age.
SELECT count(*) FROM {ns}_finished WHERE state = 'completed'

-- part: many-old
-- Of the :excess longest finished completed jobs, those that may go, :take at most. Result: n. Relies on finished_age.
SELECT o.n FROM (
    SELECT f.n, f.finished_at FROM {ns}_finished AS f
    WHERE f.state = 'completed' ORDER BY f.finished_at, f.n LIMIT :excess) AS o
WHERE NOT EXISTS (SELECT 1 FROM {ns}_edges AS x JOIN {ns}_live AS c ON c.n = x.child WHERE x.parent = o.n)
ORDER BY o.finished_at, o.n LIMIT :take

-- part: audit
-- Remove those of the oldest :take lines of the audit that were written before :before. Relies on the primary key of audit.
DELETE FROM {ns}_audit WHERE k IN (SELECT k FROM {ns}_audit ORDER BY k LIMIT :take) AND at < :before
