-- Start the gated jobs in whose way nothing stands, a whole batch at once. A statement is walk, then turns or weigh, then start.

-- part: hold-starts
-- See to it that nobody else starts jobs of the limits :limits before this transaction ends: wait for it if this transaction holds
-- no rows of keys and no such locks yet, else only try. Which it has is noted for `weigh`; not those whose rule somebody writes
-- now. Judging claims share these locks: they keep each other off by the rows of keys. From here on this transaction only
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

-- part: walk
-- The first :take jobs of :queue, of them :cap gated ones at most, locked, and whether it is their turn. The indices are walked in
-- the segments given by :high, :low and :after, as in claim/take: in a drain of 150,000 each claim walked over up to 150,000 entries
-- of jobs that had been claimed, 3 ms and more. Who stands where his number of entry says is looked for up to there: what lies
-- behind him in his line is not read. Relies on live_ready, live_gated and the primary keys of leases and lines.
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
    SELECT b.* FROM open CROSS JOIN (SELECT priority, seq, n FROM gated OFFSET greatest(:cap::int8 - 1, 0) LIMIT 1) AS g
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
    SELECT c.*, c.line IS NULL OR coalesce(
        (SELECT x.n FROM {ns}.lines AS x WHERE x.line = c.line AND x.place <= c.seq ORDER BY x.place LIMIT 1),
        (SELECT x.n FROM {ns}.lines AS x WHERE x.line = c.line ORDER BY x.place LIMIT 1)) = c.n AS turn
    FROM (SELECT at, priority, seq, n, suspect, hold, line, cost FROM gated
        UNION ALL SELECT p.at, p.priority, p.seq, p.n, false, NULL, NULL, NULL FROM plain AS p LEFT JOIN bound AS b ON true
            WHERE b.n IS NULL OR (-p.priority, p.seq, p.n) < (-b.priority, b.seq, b.n)) AS c
    ORDER BY c.priority DESC, c.seq, c.n LIMIT :take::int8

-- part: turns
-- Of the chosen, those that wait for their turn at most, and it is theirs; for queues in which no limit has been met. Nothing is
-- started where one is a suspect or has several holds. Half a thousand are claimed a millisecond sooner than where rules are
-- weighed that are not there. Relies on live_suspects and live_turns.
), known AS MATERIALIZED (
    SELECT c.many, c.behind, NOT c.unjudged
            AND NOT (:suspects::int8 > 0 AND EXISTS (SELECT 1 FROM {ns}.live
                WHERE state = 'queued' AND suspect AND flow < 2 AND queue = :queue::text)) AS judges,
        EXISTS (SELECT 1 FROM {ns}.parked) AS parks,
        EXISTS (SELECT 1 FROM {ns}.live WHERE state = 'blocked' AND blocked_on = 'key') AS turns
    FROM (SELECT count(*) AS many, count(*) FILTER (WHERE NOT turn) AS behind,
        coalesce(bool_or(suspect OR (hold IS NULL AND cost IS NOT NULL)), false) AS unjudged FROM chosen) AS c
), able AS MATERIALIZED (
    SELECT ARRAY(SELECT at FROM chosen WHERE turn AND hold IS NULL) AS at FROM known AS k WHERE k.judges
), unnoted AS MATERIALIZED (
    SELECT json_agg(DISTINCT split_part(hold, E'\n', 1))::text AS names FROM chosen WHERE hold IS NOT NULL

-- part: weigh
-- Of the chosen, those whose turn it is and that neither have to wait for a slot or for their rate, nor behind somebody who waits.
-- They are judged key by key, all that want one or none, and nothing is started where one has several holds or is a suspect. Rules
-- that are strict or closed, keys that are paused or throttled and debts under another rule are not weighed here.
-- What runs is looked up for all asked holds at once, also where no rule asks how much that is: the look marks the index entries
-- of what has ended as dead. Without it each of them stayed, and 1,000 starts under a rate took 9-11 ms to be written instead of 5.
-- It finds who may be near what his rule allows, whatever the rule; how many run is counted for those alone.
-- Only those are started whose limit `hold-starts` has noted. Debts are reckoned as floats and cut short, a little less where they
-- are allowed than where they are made: the largest burst times the longest interval is beyond a whole number here.
-- Relies on live_suspects, live_turns, live_holding, slots_at, parked_at, gates_closed and the primary keys of gates and records.
), known AS MATERIALIZED (
    SELECT c.many, c.behind, NOT c.unjudged
            AND NOT (:suspects::int8 > 0 AND EXISTS (SELECT 1 FROM {ns}.live
                WHERE state = 'queued' AND suspect AND flow < 2 AND queue = :queue::text)) AS judges,
        EXISTS (SELECT 1 FROM {ns}.records WHERE space = 'paused' AND key > E'key\n' AND key < E'key\x0b') AS pauses,
        EXISTS (SELECT 1 FROM {ns}.parked) AS parks, EXISTS (SELECT 1 FROM {ns}.slots) AS several,
        EXISTS (SELECT 1 FROM held AS h JOIN {ns}.gates AS g ON g.closed_until > 0 AND g.closed_until > h.now) AS closes,
        EXISTS (SELECT 1 FROM {ns}.live WHERE state = 'blocked' AND blocked_on = 'key') AS turns
    FROM (SELECT count(*) AS many, count(*) FILTER (WHERE NOT turn) AS behind,
        coalesce(bool_or(suspect OR (hold IS NULL AND cost IS NOT NULL)), false) AS unjudged FROM chosen) AS c
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
        sum(cost::float8) AS cost
    FROM chosen WHERE hold IS NOT NULL AND turn GROUP BY hold
), near AS MATERIALIZED (
    SELECT l.hold FROM {ns}.live AS l WHERE l.state = 'running' AND l.hold = ANY(ARRAY(SELECT hold FROM asked))
    GROUP BY l.hold HAVING count(*) + (SELECT max(jobs) FROM asked) > (SELECT min(concurrency) FROM rules)
), taken AS MATERIALIZED (
    SELECT a.hold FROM (SELECT count(*) AS many FROM near) AS o CROSS JOIN known AS k CROSS JOIN rules AS r
    JOIN asked AS a ON a.name = r.name
    WHERE k.judges AND r.concurrency IS NOT NULL
        AND CASE WHEN a.jobs > r.concurrency THEN true
            WHEN k.several OR (o.many > 0 AND NOT a.hold NOT IN (SELECT hold FROM near)) THEN a.jobs
                + (SELECT count(*) FROM {ns}.live AS l WHERE l.state = 'running' AND l.hold = a.hold)
                + (SELECT count(*) FROM {ns}.slots AS s WHERE s.name = a.name AND s.key = a.key) > r.concurrency
            ELSE false END
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
    SELECT ARRAY(SELECT c.at FROM chosen AS c
        WHERE c.turn AND (c.hold IS NULL OR c.hold NOT IN (SELECT hold FROM hindered))) AS at
    FROM known AS k WHERE k.judges
), unnoted AS MATERIALIZED (
    SELECT json_agg(DISTINCT name)::text AS names FROM asked WHERE name <> ALL({limits})

-- part: start
-- Start those that are able; whoever is not stays as he is. Result: nothing if the lease does not hold; else a row of a number and a
-- text: which of `Flag` hold, and a JSON list of the limits that should have been noted; then for each started the columns of
-- `Claimed` and seq, in any order. (As six more columns of each row they cost half a millisecond for each 1,000.)
), started AS (
    UPDATE {ns}.live AS l SET state = 'running', attempt = l.attempt + 1, lease = held.k, claimed_at = held.now
    FROM held WHERE l.ctid = ANY((SELECT at FROM able)::tid[])
    RETURNING l.n, l.task, l.queue, l.priority, l.attempt, l.failures, l.crashes, l.snoozes, l.first_failed_at, l.start_by,
        l.suspect, l.seq, l.flow
)
SELECT CASE WHEN NOT k.judges OR coalesce((SELECT cardinality(at) FROM able), 0) < k.many - k.behind THEN 1 ELSE 0 END
    + CASE WHEN k.behind > 0 THEN 2 ELSE 0 END
    + CASE WHEN k.many < :take::int8 AND (EXISTS (SELECT 1 FROM bound) OR (SELECT count(*) FROM gated) < (
        SELECT count(*) FROM open CROSS JOIN LATERAL (
            SELECT 1 FROM {ns}.live AS r
            WHERE r.queue = :queue::text AND r.state = 'queued' AND r.flow = 2 AND (NOT r.suspect OR :suspects::int8 > 0)
                AND r.task = ANY(open.tasks) AND (r.start_by IS NULL OR r.start_by >= open.now)
            LIMIT :cap::int8) AS o)) THEN 4 ELSE 0 END
    + CASE WHEN EXISTS (SELECT 1 FROM gated)
        OR EXISTS (SELECT 1 FROM {ns}.live AS r WHERE r.queue = :queue::text AND r.state = 'queued' AND r.flow = 2) THEN 8 ELSE 0 END
    + CASE WHEN NOT k.parks AND NOT k.turns AND NOT {shared} THEN 16 ELSE 0 END,
    (SELECT names FROM unnoted), NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL,
    NULL, NULL
FROM held CROSS JOIN known AS k
UNION ALL
SELECT CASE WHEN t.flow = 2 THEN -t.n ELSE t.n END, j.id, t.task, j.version, j.codec, t.queue, t.priority, t.attempt, t.failures,
    t.crashes, t.snoozes, j.enqueued_at, h.now, t.first_failed_at, t.start_by, t.suspect, j.args, j.options, j.headers, t.seq
FROM held AS h CROSS JOIN started AS t JOIN {ns}.jobs AS j ON j.n BETWEEN t.n AND t.n
