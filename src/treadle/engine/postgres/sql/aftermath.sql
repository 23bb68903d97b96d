-- What follows from completions in users' transactions, for others to do, and from some of our own, for a transaction behind them.

-- part: leave
-- Leave what follows from the end of :ns.
INSERT INTO {ns}.aftermath (n) SELECT * FROM unnest(:ns::text::int8[])

-- part: leave-waited-for
-- As `leave`, if anybody waits for room or for a turn, whatever for, and for those that this transaction has ended.
-- Result: n of each, if so. Relies on live_turns and the primary key of finished.
INSERT INTO {ns}.aftermath (n) SELECT e.n FROM unnest(:ns::text::int8[]) AS e(n)
WHERE (SELECT EXISTS (SELECT 1 FROM {ns}.parked) OR EXISTS (SELECT 1 FROM {ns}.slots)
        OR EXISTS (SELECT 1 FROM {ns}.live WHERE state = 'blocked' AND blocked_on = 'key') OR {probed})
    AND EXISTS (SELECT 1 FROM {ns}.finished AS f WHERE f.n BETWEEN e.n AND e.n AND f.xmin = pg_current_xact_id()::xid)
RETURNING n

-- part: take
-- Take on what jobs have left: those of :ns, or if that is null the first :take. Who is seen to by somebody else is passed by,
-- and so is who has a child that somebody holds: that may be a user's transaction, and its user slow.
-- Result: [n, id, whether it is gated, moment]. Relies on edges_open and the primary keys of live and jobs.
WITH left_over AS MATERIALIZED (
    SELECT a.n FROM {ns}.aftermath AS a
    WHERE :ns::text IS NULL OR a.n = ANY((SELECT :ns::text)::int8[]) LIMIT :take::int8 FOR UPDATE SKIP LOCKED
), kids AS MATERIALIZED (
    SELECT x.parent, x.child FROM {ns}.edges AS x WHERE x.parent = ANY(ARRAY(SELECT n FROM left_over)) AND x.open
), held AS MATERIALIZED (
    SELECT l.n FROM {ns}.live AS l WHERE l.n = ANY(ARRAY(SELECT child FROM kids)) ORDER BY l.n FOR NO KEY UPDATE SKIP LOCKED
), gone AS (
    DELETE FROM {ns}.aftermath AS a
    WHERE a.n = ANY(ARRAY(SELECT n FROM left_over EXCEPT SELECT parent FROM kids WHERE child <> ALL(ARRAY(SELECT n FROM held))))
    RETURNING a.n
)
SELECT g.n, j.id, EXISTS (
        SELECT 1 FROM {ns}.flows AS f WHERE f.n BETWEEN g.n AND g.n AND (f.holds IS NOT NULL OR f.line IS NOT NULL)),
    coalesce(:now::int8, {clock})
FROM gone AS g JOIN {ns}.jobs AS j ON j.n BETWEEN g.n AND g.n

-- part: take-last
-- As `take`, for those of :ns, which are about to go: whoever sees to one of them, or holds a child, is waited for.
-- Relies on the primary keys of aftermath and jobs.
WITH gone AS (DELETE FROM {ns}.aftermath WHERE n = ANY(:ns::text::int8[]) RETURNING n)
SELECT g.n, j.id, EXISTS (
        SELECT 1 FROM {ns}.flows AS f WHERE f.n BETWEEN g.n AND g.n AND (f.holds IS NOT NULL OR f.line IS NOT NULL)),
    coalesce(:now::int8, {clock})
FROM gone AS g JOIN {ns}.jobs AS j ON j.n BETWEEN g.n AND g.n
