-- Move queued jobs to running under a lease.

-- part: take
-- Claim up to :take jobs of :queue, of them :suspects suspects at most; nothing if a gated job waits in any of :queues, or if
-- any suspect waits anywhere and :alone is true. The ready index is walked in the segments given by :high, :low and :after, in
-- order: where `after` is null, the priorities between the two bounds; else the one priority `high` from that seq on (tenants
-- may stand level). Under an old snapshot, walking over what was claimed long ago cost 29 ms a claim after 300,000 jobs, and
-- 1.3 ms behind a mark. Result: no row if the lease does not hold, else the columns of `Claimed`, then seq, whether any suspect
-- waits, whether a gated job does, and whether tenants share any queue; one row with nulls if there is nothing to claim.
-- Relies on live_ready, live_suspects, live_gated and the unique id of leases.
WITH held AS MATERIALIZED (
    SELECT k, coalesce(:now::int8, {clock}) AS now,
        EXISTS (SELECT 1 FROM {ns}.live WHERE state = 'queued' AND suspect AND flow < 2) AS waits,
        EXISTS (SELECT 1 FROM {ns}.live WHERE state = 'queued' AND flow = 2 AND queue = ANY(:queues::text::text[])) AS gated
    FROM {ns}.leases
    WHERE id = :lease::text AND expires_at > coalesce(:now::int8, {clock}) FOR KEY SHARE
), open AS MATERIALIZED (
    SELECT h.now, p.tasks FROM held AS h CROSS JOIN ({paused}) AS p
    WHERE NOT p.queue AND NOT h.gated AND NOT (:alone::boolean AND h.waits)
), taken AS (
    UPDATE {ns}.live AS l SET state = 'running', attempt = l.attempt + 1, lease = held.k, claimed_at = held.now
    FROM held
    WHERE l.ctid = ANY(ARRAY(
        SELECT c.ctid FROM (
            (SELECT w.ctid, w.priority, w.seq, w.n
             FROM open CROSS JOIN unnest(:high::text::int2[], :low::text::int2[], :after::text::int8[]) AS s(high, low, after)
             CROSS JOIN LATERAL (
                SELECT * FROM (SELECT r.ctid, r.priority, r.seq, r.n FROM {ns}.live AS r
                 WHERE s.after IS NULL AND r.queue = :queue::text AND r.state = 'queued' AND NOT r.suspect AND r.flow < 2
                     AND r.priority < s.high AND r.priority > s.low
                     AND r.task = ANY(open.tasks) AND (r.start_by IS NULL OR r.start_by >= open.now)
                 ORDER BY r.priority DESC, r.seq, r.n LIMIT :take::int8 FOR NO KEY UPDATE SKIP LOCKED) AS inside
                UNION ALL
                SELECT * FROM (SELECT r.ctid, r.priority, r.seq, r.n FROM {ns}.live AS r
                 WHERE s.after IS NOT NULL AND r.queue = :queue::text AND r.state = 'queued' AND NOT r.suspect AND r.flow < 2
                     AND r.priority = s.high AND r.seq >= s.after
                     AND r.task = ANY(open.tasks) AND (r.start_by IS NULL OR r.start_by >= open.now)
                 ORDER BY r.seq, r.n LIMIT :take::int8 FOR NO KEY UPDATE SKIP LOCKED) AS behind
             ) AS w LIMIT :take::int8)
            UNION ALL
            SELECT * FROM (SELECT r.ctid, r.priority, r.seq, r.n FROM open CROSS JOIN {ns}.live AS r
             WHERE r.queue = :queue::text AND r.state = 'queued' AND r.suspect AND r.flow < 2
                 AND r.task = ANY(open.tasks) AND (r.start_by IS NULL OR r.start_by >= open.now)
             ORDER BY r.priority DESC, r.seq, r.n LIMIT :suspects::int8 FOR NO KEY UPDATE OF r SKIP LOCKED) AS suspected
        ) AS c ORDER BY c.priority DESC, c.seq, c.n LIMIT :take::int8))
    RETURNING l.n, l.task, l.queue, l.priority, l.attempt, l.failures, l.crashes, l.snoozes, l.first_failed_at, l.start_by,
        l.suspect, l.seq
)
SELECT t.n, j.id, t.task, j.version, j.codec, t.queue, t.priority, t.attempt, t.failures, t.crashes, t.snoozes, j.enqueued_at,
    h.now, t.first_failed_at, t.start_by, t.suspect, j.args, j.options, j.headers, t.seq, h.waits, h.gated,
    {shared}
FROM held AS h LEFT JOIN (taken AS t JOIN {ns}.jobs AS j ON j.n BETWEEN t.n AND t.n) ON true

-- part: ungated
-- The next :take jobs of :queue that are not gated, and the next :suspects suspects among them besides, locked.
-- Result: [-priority, seq, n, suspect]. Relies on live_ready and live_suspects.
WITH open AS MATERIALIZED (SELECT p.tasks, coalesce(:now::int8, {clock}) AS now FROM ({paused}) AS p WHERE NOT p.queue)
SELECT sound.* FROM open CROSS JOIN LATERAL (
    SELECT -r.priority, r.seq, r.n, 0 FROM {ns}.live AS r
    WHERE r.queue = :queue::text AND r.state = 'queued' AND NOT r.suspect AND r.flow < 2
        AND r.task = ANY(open.tasks) AND (r.start_by IS NULL OR r.start_by >= open.now)
    ORDER BY r.priority DESC, r.seq, r.n LIMIT :take::int8 FOR NO KEY UPDATE SKIP LOCKED) AS sound
UNION ALL
SELECT * FROM (
    SELECT -r.priority, r.seq, r.n, 1 FROM open CROSS JOIN {ns}.live AS r
    WHERE r.queue = :queue::text AND r.state = 'queued' AND r.suspect AND r.flow < 2
        AND r.task = ANY(open.tasks) AND (r.start_by IS NULL OR r.start_by >= open.now)
    ORDER BY r.priority DESC, r.seq, r.n LIMIT :suspects::int8 FOR NO KEY UPDATE OF r SKIP LOCKED) AS suspected

-- part: gated
-- The next :chunk gated jobs of :queue behind (:high, :after, :behind), without suspects if :suspects is 0; not locked yet, so that
-- whoever waits for the same keys finds them in the same order. What is needed to judge them is noted for the statements that
-- follow in the same exchange. Result: [-priority, seq, n, suspect, holds, place, line]. Relies on live_gated.
WITH open AS MATERIALIZED (
    SELECT p.tasks, coalesce(:now::int8, {clock}) AS now FROM ({paused}) AS p WHERE NOT p.queue
), candidates AS MATERIALIZED (
SELECT l.priority, l.seq, l.n, l.suspect, l.hold, f.holds, f.place, f.line
FROM open CROSS JOIN LATERAL (
    SELECT r.priority, r.seq, r.n, r.suspect, r.hold FROM {ns}.live AS r
    WHERE r.queue = :queue::text AND r.state = 'queued' AND r.flow = 2 AND (NOT r.suspect OR :suspects::int8 > 0)
        AND r.priority <= :high::int2 AND (r.priority < :high::int2 OR (r.seq, r.n) > (:after::int8, :behind::int8))
        AND r.task = ANY(open.tasks) AND (r.start_by IS NULL OR r.start_by >= open.now)
    ORDER BY r.priority DESC, r.seq, r.n LIMIT :chunk::int8) AS l
JOIN {ns}.flows AS f ON f.n BETWEEN l.n AND l.n
), keys AS MATERIALIZED (
    SELECT split_part(hold, E'\n', 1) AS name, split_part(hold, E'\n', 2) AS key FROM candidates WHERE hold IS NOT NULL
    UNION SELECT h.value ->> 0, h.value ->> 1
    FROM candidates CROSS JOIN LATERAL json_array_elements(holds::json) AS h(value) WHERE hold IS NULL AND holds IS NOT NULL
), rooms AS MATERIALIZED (
    SELECT name, key FROM keys UNION ALL SELECT DISTINCT name, chr(10) FROM keys
), noted AS MATERIALIZED (
    SELECT set_config('treadle.candidates', coalesce(array_agg(n)::text, '{}'), true),
        set_config('treadle.lines', coalesce((array_agg(DISTINCT line) FILTER (WHERE line IS NOT NULL))::text, '{}'), true),
        (SELECT set_config('treadle.names', coalesce(array_agg(name)::text, '{}'), true)
            || set_config('treadle.keys', coalesce(array_agg(key)::text, '{}'), true) FROM rooms)
    FROM candidates
)
SELECT -c.priority, c.seq, c.n, c.suspect::int4, c.holds, c.place, c.line
FROM candidates AS c CROSS JOIN noted ORDER BY c.priority DESC, c.seq, c.n

-- part: lock-starts
-- See to it that no claim that takes the way for clear starts jobs of the candidates' limits before this transaction ends: wait for
-- it if this transaction holds no rows of keys yet, else only try. The keys of limits of which somebody else starts jobs now are
-- struck off the notes: he may have added rows for them.
WITH asked AS MATERIALIZED (
    SELECT name, hashtext(name) & 255 AS h FROM (SELECT DISTINCT unnest({names}) AS name) AS e
), locked AS MATERIALIZED (
    SELECT h, CASE WHEN (SELECT current_setting('treadle.gates', true)) = 'held'
        THEN pg_try_advisory_xact_lock_shared(hashtextextended('{ns} starts ' || h, 0))
        ELSE pg_advisory_xact_lock_shared(hashtextextended('{ns} starts ' || h, 0)) IS NOT NULL END AS got
    FROM (SELECT DISTINCT h FROM asked ORDER BY h) AS o
)
SELECT set_config('treadle.names', coalesce(array_agg(e.name)::text, '{}'), true),
    set_config('treadle.keys', coalesce(array_agg(e.key)::text, '{}'), true)
FROM (SELECT {names} AS names, {keys} AS keys) AS o CROSS JOIN LATERAL unnest(o.names, o.keys) AS e(name, key)
WHERE e.name <> ALL(ARRAY(SELECT a.name FROM asked AS a JOIN locked AS l ON l.h = a.h WHERE NOT l.got))
HAVING EXISTS (SELECT 1 FROM locked WHERE NOT got)

-- part: hold
-- Lock those candidates that still wait in their queue. Result: [n, seq].
SELECT n, seq FROM {ns}.live WHERE n = ANY({candidates}) AND (state = 'queued') IS TRUE FOR NO KEY UPDATE SKIP LOCKED

-- part: first
-- The place of the first in each line of the candidates, which nobody can take away before this transaction ends; a line whose first is
-- about to leave is not among them. Result: [line, place]. Relies on the primary key of lines.
SELECT x.line, x.place
FROM (SELECT e.line, (SELECT f.place FROM {ns}.lines AS f WHERE f.line = e.line ORDER BY f.place LIMIT 1) AS place
    FROM unnest({lines}) AS e(line)) AS o
CROSS JOIN LATERAL (SELECT f.line, f.place FROM {ns}.lines AS f WHERE f.line = o.line AND f.place = o.place
    LIMIT 1 FOR SHARE SKIP LOCKED) AS x

-- part: start
-- Put the chosen under the lease :k. Result: as `chosen`.
WITH started AS (
    UPDATE {ns}.live SET state = 'running', attempt = attempt + 1, lease = :k::int8, claimed_at = :now::int8
    WHERE n = ANY(:ns::text::int8[]) RETURNING *
)
SELECT CASE WHEN l.flow = 2 THEN -l.n ELSE l.n END, j.id, l.task, j.version, j.codec, l.queue, l.priority, l.attempt, l.failures,
    l.crashes, l.snoozes, j.enqueued_at, l.claimed_at, l.first_failed_at, l.start_by, l.suspect, j.args, j.options, j.headers, l.seq
FROM started AS l JOIN {ns}.jobs AS j ON j.n BETWEEN l.n AND l.n

-- part: chosen
-- Jobs that have just been started. Result: the columns of `Claimed`, in any order, and seq; gated ones bear their number turned.
SELECT CASE WHEN l.flow = 2 THEN -l.n ELSE l.n END, j.id, l.task, j.version, j.codec, l.queue, l.priority, l.attempt, l.failures,
    l.crashes, l.snoozes, j.enqueued_at, l.claimed_at, l.first_failed_at, l.start_by, l.suspect, j.args, j.options, j.headers, l.seq
FROM unnest(:ns::text::int8[]) AS e(n) JOIN {ns}.live AS l ON l.n BETWEEN e.n AND e.n
JOIN {ns}.jobs AS j ON j.n BETWEEN e.n AND e.n
