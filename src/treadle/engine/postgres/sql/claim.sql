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

-- part: hold-starts
-- See to it that nobody else starts jobs of the limits :limits before this transaction ends: wait for it if this transaction holds
-- no rows of keys and no such locks yet, else only try. Which it has is noted for `start-clear`; not those whose rule somebody
-- writes now. Judging claims share these locks: they keep each other off by the rows of keys. From here on this transaction only
-- tries.
WITH asked AS MATERIALIZED (
    SELECT name, hashtext(name) & 255 AS h FROM unnest(:limits::text::text[]) AS e(name)
), locked AS MATERIALIZED (
    SELECT h, CASE WHEN (SELECT current_setting('treadle.gates', true)) = 'held'
        THEN pg_try_advisory_xact_lock(hashtextextended('{ns} starts ' || h, 0))
        ELSE pg_advisory_xact_lock(hashtextextended('{ns} starts ' || h, 0)) IS NOT NULL END AS got
    FROM (SELECT DISTINCT h FROM asked ORDER BY h) AS o
)
SELECT set_config('treadle.limits', coalesce((array_agg(a.name) FILTER (WHERE l.got
        AND pg_try_advisory_xact_lock_shared(hashtextextended('{ns} limit ' || a.name, 0))))::text, '{}'), true),
    CASE WHEN bool_or(l.got) THEN set_config('treadle.gates', 'held', true) END
FROM asked AS a JOIN locked AS l ON l.h = a.h

-- part: start-clear
-- Start those of the first :take jobs of :queue that neither have to wait for their turn, for a slot or for their rate, nor behind
-- somebody who waits; of gated ones the first :cap at most. They are judged key by key, all that want one or none, and nothing is
-- started where one has several holds or is a suspect. Rules that are strict or closed, keys that are paused or throttled and
-- debts under another rule are not weighed here. Whoever is not started stays as he is.
-- What runs is looked up for all asked holds at once, also where no rule asks how much that is: the look marks the index entries
-- of what has ended as dead. Without it each of them stayed, and 1,000 starts under a rate took 9-11 ms to be written instead of 5.
-- Only those are started whose limit `hold-starts` has noted. Debts are reckoned as floats and cut short, a little less where they
-- are allowed than where they are made: the largest burst times the longest interval is beyond a whole number here.
-- Result: no row if the lease does not hold; else the columns of `Claimed`, then seq, whether any was not started, whether more
-- gated ones wait behind them or are in somebody else's hands, whether any waits at all, a JSON list of the limits that should
-- have been noted, whether nobody may come back to where he stood before, and the number, in any order; one row with nulls if
-- nothing was started. The indices are walked in the segments given by :high, :low and :after, as in `take`: in a drain of
-- 150,000 each claim walked over up to 150,000 entries of jobs that had been claimed, 3 ms and more.
-- Relies on live_ready, live_suspects, live_gated, live_turns, live_holding, slots_at, parked_at, gates_closed and the primary
-- keys of lines, gates and records.
WITH held AS MATERIALIZED (
    SELECT k, coalesce(:now::int8, {clock}) AS now FROM {ns}.leases
    WHERE id = :lease::text AND expires_at > coalesce(:now::int8, {clock}) FOR KEY SHARE
), open AS MATERIALIZED (
    SELECT p.tasks, h.now FROM held AS h CROSS JOIN ({paused}) AS p WHERE NOT p.queue
), gated AS MATERIALIZED (
    SELECT l.* FROM open CROSS JOIN unnest(:high::text::int2[], :low::text::int2[], :after::text::int8[]) AS s(high, low, after)
    CROSS JOIN LATERAL (
        SELECT * FROM (SELECT r.ctid AS at, r.priority, r.seq, r.n, r.suspect, r.hold, r.line, r.cost FROM {ns}.live AS r
            WHERE s.after IS NULL AND r.queue = :queue::text AND r.state = 'queued' AND r.flow = 2
                AND (NOT r.suspect OR :suspects::int8 > 0) AND r.priority < s.high AND r.priority > s.low
                AND r.task = ANY(open.tasks) AND (r.start_by IS NULL OR r.start_by >= open.now)
            ORDER BY r.priority DESC, r.seq, r.n LIMIT :cap::int8 FOR NO KEY UPDATE SKIP LOCKED) AS inside
        UNION ALL
        SELECT * FROM (SELECT r.ctid AS at, r.priority, r.seq, r.n, r.suspect, r.hold, r.line, r.cost FROM {ns}.live AS r
            WHERE s.after IS NOT NULL AND r.queue = :queue::text AND r.state = 'queued' AND r.flow = 2
                AND (NOT r.suspect OR :suspects::int8 > 0) AND r.priority = s.high AND r.seq >= s.after
                AND r.task = ANY(open.tasks) AND (r.start_by IS NULL OR r.start_by >= open.now)
            ORDER BY r.seq, r.n LIMIT :cap::int8 FOR NO KEY UPDATE SKIP LOCKED) AS behind
    ) AS l LIMIT :cap::int8
), bound AS MATERIALIZED (
    SELECT b.* FROM open CROSS JOIN (SELECT priority, seq, n FROM gated ORDER BY priority, seq DESC, n DESC LIMIT 1) AS g
    CROSS JOIN LATERAL (
        SELECT * FROM (SELECT r.priority, r.seq, r.n FROM {ns}.live AS r
            WHERE r.queue = :queue::text AND r.state = 'queued' AND r.flow = 2 AND (NOT r.suspect OR :suspects::int8 > 0)
                AND r.priority = g.priority AND (r.seq, r.n) > (g.seq, g.n)
                AND r.task = ANY(open.tasks) AND (r.start_by IS NULL OR r.start_by >= open.now)
            ORDER BY r.seq, r.n LIMIT 1) AS level
        UNION ALL
        SELECT * FROM (SELECT r.priority, r.seq, r.n FROM {ns}.live AS r
            WHERE r.queue = :queue::text AND r.state = 'queued' AND r.flow = 2 AND (NOT r.suspect OR :suspects::int8 > 0)
                AND r.priority < g.priority
                AND r.task = ANY(open.tasks) AND (r.start_by IS NULL OR r.start_by >= open.now)
            ORDER BY r.priority DESC, r.seq, r.n LIMIT 1) AS below
        LIMIT 1) AS b
    WHERE (SELECT count(*) FROM gated) = :cap::int8
), plain AS MATERIALIZED (
    SELECT l.* FROM open CROSS JOIN unnest(:high::text::int2[], :low::text::int2[], :after::text::int8[]) AS s(high, low, after)
    CROSS JOIN LATERAL (
        SELECT * FROM (SELECT r.ctid AS at, r.priority, r.seq, r.n FROM {ns}.live AS r
            WHERE s.after IS NULL AND r.queue = :queue::text AND r.state = 'queued' AND NOT r.suspect AND r.flow < 2
                AND r.priority < s.high AND r.priority > s.low
                AND r.task = ANY(open.tasks) AND (r.start_by IS NULL OR r.start_by >= open.now)
            ORDER BY r.priority DESC, r.seq, r.n LIMIT :take::int8 FOR NO KEY UPDATE SKIP LOCKED) AS inside
        UNION ALL
        SELECT * FROM (SELECT r.ctid AS at, r.priority, r.seq, r.n FROM {ns}.live AS r
            WHERE s.after IS NOT NULL AND r.queue = :queue::text AND r.state = 'queued' AND NOT r.suspect AND r.flow < 2
                AND r.priority = s.high AND r.seq >= s.after
                AND r.task = ANY(open.tasks) AND (r.start_by IS NULL OR r.start_by >= open.now)
            ORDER BY r.seq, r.n LIMIT :take::int8 FOR NO KEY UPDATE SKIP LOCKED) AS behind
    ) AS l LIMIT :take::int8
), chosen AS MATERIALIZED (
    SELECT c.*, c.line IS NULL OR (
        SELECT x.n FROM {ns}.lines AS x WHERE x.line = c.line ORDER BY x.place LIMIT 1) = c.n AS turn
    FROM (SELECT at, priority, seq, n, suspect, hold, line, cost FROM gated
        UNION ALL SELECT at, priority, seq, n, false, NULL, NULL, NULL FROM plain) AS c
    LEFT JOIN bound AS b ON true
    WHERE b.n IS NULL OR (-c.priority, c.seq, c.n) < (-b.priority, b.seq, b.n)
    ORDER BY c.priority DESC, c.seq, c.n LIMIT :take::int8
), known AS MATERIALIZED (
    SELECT NOT EXISTS (SELECT 1 FROM chosen WHERE suspect OR (hold IS NULL AND cost IS NOT NULL))
            AND NOT (:suspects::int8 > 0 AND EXISTS (SELECT 1 FROM {ns}.live
                WHERE state = 'queued' AND suspect AND flow < 2 AND queue = :queue::text)) AS judges,
        EXISTS (SELECT 1 FROM {ns}.records WHERE space = 'paused' AND key > E'key\n' AND key < E'key\x0b') AS pauses,
        EXISTS (SELECT 1 FROM {ns}.parked) AS parks, EXISTS (SELECT 1 FROM {ns}.slots) AS several,
        EXISTS (SELECT 1 FROM held AS h JOIN {ns}.gates AS g ON g.closed_until > 0 AND g.closed_until > h.now) AS closes,
        EXISTS (SELECT 1 FROM {ns}.live WHERE state = 'blocked' AND blocked_on = 'key') AS turns
), rules AS MATERIALIZED (
    SELECT e.name, o.rate, o.interval, (r.value::json ->> 'concurrency')::int8 AS concurrency,
        least(o.interval * coalesce((r.value::json ->> 'burst')::float8, 1), 3e18)::int8 AS most
    FROM unnest({limits}) AS e(name) LEFT JOIN {ns}.records AS r ON r.space = 'limit' AND r.key BETWEEN e.name AND e.name
    LEFT JOIN LATERAL (
        SELECT p.rate, (p.period + p.rate - 1) / p.rate AS interval
        FROM (SELECT (r.value::json ->> 'rate')::int8 AS rate, (r.value::json ->> 'period')::int8 AS period) AS p) AS o ON true
    WHERE r.value::json ->> 'closed_until' IS NULL
        AND NOT (o.rate IS NOT NULL AND coalesce((r.value::json ->> 'strict')::boolean, false))
), asked AS MATERIALIZED (
    SELECT hold, split_part(hold, E'\n', 1) AS name, split_part(hold, E'\n', 2) AS key, count(*) AS jobs,
        sum(cost)::int8 AS cost
    FROM chosen WHERE hold IS NOT NULL AND turn GROUP BY hold
), taken AS MATERIALIZED (
    SELECT o.hold FROM (
        SELECT a.hold, r.concurrency, a.jobs + CASE WHEN k.several THEN (
            SELECT count(*) FROM {ns}.slots AS s WHERE s.name = a.name AND s.key = a.key) ELSE 0 END AS jobs
        FROM asked AS a CROSS JOIN known AS k JOIN rules AS r ON r.name = a.name WHERE k.judges AND r.concurrency IS NOT NULL
        UNION ALL SELECT l.hold, NULL, 1 FROM {ns}.live AS l WHERE l.state = 'running' AND l.hold = ANY(ARRAY(
            SELECT a.hold FROM asked AS a))) AS o
    GROUP BY o.hold HAVING sum(o.jobs) > max(o.concurrency)
), kept AS MATERIALIZED (
    SELECT a.hold FROM asked AS a WHERE a.name NOT IN (SELECT name FROM rules)
    UNION ALL SELECT hold FROM taken
    UNION ALL SELECT a.hold FROM known AS k CROSS JOIN asked AS a
    WHERE k.parks AND (SELECT true FROM {ns}.parked AS p
        WHERE p.name = a.name AND p.key IN (a.key, chr(10)) LIMIT 1) IS NOT NULL
    UNION ALL SELECT a.hold FROM known AS k CROSS JOIN asked AS a
    WHERE k.pauses AND (SELECT true FROM {ns}.records AS p
        WHERE p.space = 'paused' AND p.key = 'key' || chr(10) || a.hold) IS NOT NULL
    UNION ALL SELECT a.hold FROM known AS k CROSS JOIN held AS h CROSS JOIN asked AS a
    WHERE k.closes AND (SELECT g.closed_until FROM {ns}.gates AS g WHERE g.name = a.name AND g.key = a.key LIMIT 1) > h.now
), rated AS MATERIALIZED (
    SELECT a.hold, a.name, a.key, r.interval, r.most, least(a.cost * r.interval::float8, 4e18)::int8 AS debt
    FROM rules AS r JOIN asked AS a ON a.name = r.name CROSS JOIN known AS k
    WHERE k.judges AND r.rate IS NOT NULL AND a.hold NOT IN (SELECT hold FROM kept)
), charged AS (
    INSERT INTO {ns}.gates AS g (name, key, tat, interval, closed_until)
    SELECT r.name, r.key, h.now + r.debt, r.interval, 0 FROM rated AS r CROSS JOIN held AS h
    WHERE r.debt <= r.most
    ORDER BY r.name COLLATE "C", r.key COLLATE "C"
    ON CONFLICT (name, key) DO UPDATE
    SET tat = excluded.tat + greatest(g.tat - (SELECT h.now FROM held AS h), 0), interval = excluded.interval
    WHERE g.closed_until <= (SELECT h.now FROM held AS h) AND g.interval IN (0, excluded.interval)
        AND excluded.tat + greatest(g.tat - (SELECT h.now FROM held AS h), 0)
            <= (SELECT h.now FROM held AS h) + (SELECT o.most FROM rules AS o WHERE o.name = g.name)
    RETURNING g.name || E'\n' || g.key AS hold
), hindered AS MATERIALIZED (
    SELECT hold FROM kept
    UNION ALL SELECT r.hold FROM rated AS r WHERE r.hold NOT IN (SELECT hold FROM charged)
), able AS MATERIALIZED (
    SELECT c.at FROM chosen AS c CROSS JOIN known AS k
    WHERE k.judges AND c.turn AND (c.hold IS NULL OR c.hold NOT IN (SELECT hold FROM hindered))
), started AS (
    UPDATE {ns}.live AS l SET state = 'running', attempt = l.attempt + 1, lease = held.k, claimed_at = held.now
    FROM held WHERE l.ctid = ANY(ARRAY(SELECT at FROM able))
    RETURNING l.n, l.task, l.queue, l.priority, l.attempt, l.failures, l.crashes, l.snoozes, l.first_failed_at, l.start_by,
        l.suspect, l.seq, l.flow
)
SELECT CASE WHEN t.flow = 2 THEN -t.n ELSE t.n END, j.id, t.task, j.version, j.codec, t.queue, t.priority, t.attempt, t.failures,
    t.crashes, t.snoozes, j.enqueued_at, h.now, t.first_failed_at, t.start_by, t.suspect, j.args, j.options, j.headers, t.seq,
    (SELECT count(*) FROM able) < (SELECT count(*) FROM chosen),
    (SELECT count(*) FROM chosen) < :take::int8 AND (EXISTS (SELECT 1 FROM bound) OR (SELECT count(*) FROM gated) < (
        SELECT count(*) FROM open CROSS JOIN LATERAL (
            SELECT 1 FROM {ns}.live AS r
            WHERE r.queue = :queue::text AND r.state = 'queued' AND r.flow = 2 AND (NOT r.suspect OR :suspects::int8 > 0)
                AND r.task = ANY(open.tasks) AND (r.start_by IS NULL OR r.start_by >= open.now)
            LIMIT :cap::int8) AS o)),
    EXISTS (SELECT 1 FROM gated)
        OR EXISTS (SELECT 1 FROM {ns}.live AS r WHERE r.queue = :queue::text AND r.state = 'queued' AND r.flow = 2),
    (SELECT json_agg(DISTINCT a.name)::text FROM asked AS a WHERE a.name <> ALL({limits})),
    (SELECT NOT k.parks AND NOT k.turns FROM known AS k) AND NOT {shared}, t.n
FROM held AS h LEFT JOIN (started AS t JOIN {ns}.jobs AS j ON j.n BETWEEN t.n AND t.n) ON true

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
