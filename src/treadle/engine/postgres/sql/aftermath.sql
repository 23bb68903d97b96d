-- What follows from completions in users' transactions, for others to do.

-- part: leave
-- Leave what follows from the end of :ns.
INSERT INTO {ns}.aftermath (n) SELECT * FROM unnest(:ns::text::int8[])

-- part: take
-- Take on what :take jobs have left. Who is seen to by somebody else is passed by. Result: [n, id, whether it is gated, moment].
-- Relies on the primary key of jobs.
WITH gone AS (
    DELETE FROM {ns}.aftermath
    WHERE ctid = ANY(ARRAY(SELECT a.ctid FROM {ns}.aftermath AS a LIMIT :take::int8 FOR UPDATE SKIP LOCKED))
    RETURNING n
)
SELECT g.n, j.id, EXISTS (
        SELECT 1 FROM {ns}.flows AS f WHERE f.n BETWEEN g.n AND g.n AND (f.holds IS NOT NULL OR f.line IS NOT NULL)),
    coalesce(:now::int8, {clock})
FROM gone AS g JOIN {ns}.jobs AS j ON j.n BETWEEN g.n AND g.n

-- part: take-these
-- As `take`, for those of :ns. Relies on the primary keys of aftermath and jobs.
WITH gone AS (
    DELETE FROM {ns}.aftermath WHERE ctid = ANY(ARRAY(
        SELECT a.ctid FROM {ns}.aftermath AS a WHERE a.n = ANY(:ns::text::int8[]) FOR UPDATE SKIP LOCKED))
    RETURNING n
)
SELECT g.n, j.id, EXISTS (
        SELECT 1 FROM {ns}.flows AS f WHERE f.n BETWEEN g.n AND g.n AND (f.holds IS NOT NULL OR f.line IS NOT NULL)),
    coalesce(:now::int8, {clock})
FROM gone AS g JOIN {ns}.jobs AS j ON j.n BETWEEN g.n AND g.n
