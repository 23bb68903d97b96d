-- What running jobs say in mid-run.

-- part: write
-- Write notes where the fence holds; a later one of the same kind and name replaces the earlier and gets a new number.
-- Result: places in the batch, from 1, of those for which it holds. The lease is held, so that nobody rescues the job
-- meanwhile; the job itself is not: a user's transaction that completes it kept its whole worker waiting. Relies on the primary keys of live and notes.
WITH held AS MATERIALIZED (
    SELECT k FROM {ns}.leases
    WHERE id = :lease::text AND expires_at > coalesce(:now::int8, {clock}) FOR KEY SHARE
), mine AS MATERIALIZED (
    SELECT a.* FROM held AS h CROSS JOIN unnest(
        :ns::text::int8[], :attempt::text::int4[], :kind::text::text[], :name::text::text[], :value::text::text[],
        :ids::text::text[])
    WITH ORDINALITY AS a(n, attempt, kind, name, value, id, place)
    JOIN {ns}.live AS l ON l.n BETWEEN a.n AND a.n JOIN {ns}.jobs AS j ON j.n BETWEEN a.n AND a.n
    WHERE l.attempt = a.attempt AND l.lease = h.k AND l.state = 'running' AND j.id = a.id
), written AS (
    INSERT INTO {ns}.notes (n, k, kind, name, value)
    SELECT o.n, nextval('{ns}.numbers'), o.kind, o.name, o.value FROM (
        SELECT * FROM (
            SELECT DISTINCT ON (n, kind, name) * FROM mine ORDER BY n, kind, name, place DESC
        ) AS last ORDER BY place) AS o
    ON CONFLICT (n, kind, name) DO UPDATE SET k = excluded.k, value = excluded.value
), stuck AS (
    UPDATE {ns}.live SET stuck = true WHERE ctid = ANY(ARRAY(
        SELECT l.ctid FROM {ns}.live AS l WHERE l.n = ANY(ARRAY(SELECT n FROM mine WHERE kind = 'stuck'))
        FOR NO KEY UPDATE SKIP LOCKED))
)
SELECT place FROM mine
