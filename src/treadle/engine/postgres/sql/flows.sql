-- What gated jobs and those of tenants need beyond a plain one: what they hold, where they wait, who has which key.
--
-- Nobody waits in a circle: whoever changes several things takes live rows first, then the ends of lines, starts and gates, each in
-- order. A transaction waits for gates once; holding some, it only tries the next. Live rows are only tried under gates.
--
-- What is looked up for each of a batch is found by `BETWEEN`, as in `shared`, by comparing rows where the index has two columns
-- (the second once more, as the planner guesses that two rows bound a ninth of all), or in a `LATERAL` of its own. An equality
-- lets a plan that was made when the table was empty, and is kept, read the whole table for each batch.

-- part: add
INSERT INTO {ns}.flows (n, holds, line, stop, tenant, unique_key, during)
SELECT * FROM unnest(:n::text::int8[], :holds::text::text[], :line::text::text[], :stop::text::boolean[], :tenant::text::text[],
    :unique_key::text::text[], :during::text::text[])

-- part: queue-up
-- Wait until whoever gives places in the lines of :ns is done, so that places come in the order of commits.
SELECT pg_advisory_xact_lock(hashtextextended('{ns} line ' || o.h, 0)) FROM (
    SELECT DISTINCT hashtext(line) & 1023 AS h FROM {ns}.flows
    WHERE n = ANY(:ns::text::int8[]) AND line IS NOT NULL AND place IS NULL ORDER BY h) AS o

-- part: try-up
-- As `queue-up`, without a wait: who gives places may be a user's transaction, and its user slow. Result: those of :ns whose
-- line is somebody else's; `promote` tries again with them.
SELECT o.n FROM (
    SELECT n, line FROM {ns}.flows WHERE n = ANY(:ns::text::int8[]) AND line IS NOT NULL AND place IS NULL OFFSET 0) AS o
WHERE NOT pg_try_advisory_xact_lock(hashtextextended('{ns} line ' || (hashtext(o.line) & 1023), 0))

-- part: line-up
-- As `queue-up`, for lines that are named.
SELECT pg_advisory_xact_lock(hashtextextended('{ns} line ' || o.h, 0)) FROM (
    SELECT DISTINCT hashtext(line) & 1023 AS h FROM unnest(:lines::text::text[]) AS e(line) ORDER BY h) AS o

-- part: ends
-- Let nobody else leave the lines of :ns before this transaction ends.
SELECT pg_advisory_xact_lock(hashtextextended('{ns} end ' || o.h, 0)) FROM (
    SELECT DISTINCT hashtext(line) & 1023 AS h FROM {ns}.flows
    WHERE (SELECT EXISTS (SELECT 1 FROM {ns}.lines))
        AND n = ANY(:ns::text::int8[]) AND line IS NOT NULL AND place IS NOT NULL ORDER BY h) AS o

-- part: unplace
-- Take jobs out of their lines; those of :dead that stop theirs stay. So do, unless they are :sure, those that are still live,
-- and those that died meanwhile and stop theirs. Result: n. Relies on the primary keys of flows and lines.
DELETE FROM {ns}.lines AS x USING {ns}.flows AS f
WHERE (SELECT EXISTS (SELECT 1 FROM {ns}.lines)) AND f.n = ANY(:ns::text::int8[]) AND NOT (f.stop AND f.n = ANY((SELECT :dead::text::int8[])::int8[])) AND (x.line, x.place) >= (f.line, f.place)
    AND (x.line, x.place) <= (f.line, f.place) AND x.place BETWEEN f.place AND f.place
    AND (f.n = ANY((SELECT :sure::text::int8[])::int8[]) OR NOT EXISTS (SELECT 1 FROM {ns}.live AS l WHERE l.n BETWEEN f.n AND f.n)
        AND NOT (f.stop AND EXISTS (SELECT 1 FROM {ns}.finished AS d WHERE d.n BETWEEN f.n AND f.n AND d.state = 'dead')))
RETURNING x.n

-- part: unplaced
UPDATE {ns}.flows SET place = NULL WHERE n = ANY(:ns::text::int8[])

-- part: first
-- The first of each line of :ns, if it was parked because it was not, locked. Result: n. Relies on the primary key of lines.
-- Whoever has it locked is waited for: nobody looks at a line again, and a claim may still have locked what was queued when it
-- looked and has been parked since. Nothing is looked up while nobody waits for a turn. Relies on live_turns.
SELECT l.n FROM {ns}.live AS l
WHERE (SELECT EXISTS (SELECT 1 FROM {ns}.live WHERE state = 'blocked' AND blocked_on = 'key')) AND l.n = ANY(ARRAY(
        SELECT (SELECT x.n FROM {ns}.lines AS x WHERE x.line = e.line ORDER BY x.place LIMIT 1)
        FROM (SELECT DISTINCT line FROM {ns}.flows WHERE (SELECT EXISTS (SELECT 1 FROM {ns}.lines)) AND n = ANY(:ns::text::int8[]) AND line IS NOT NULL) AS e))
    AND l.state = 'blocked' AND l.blocked_on = 'key' AND NOT EXISTS (SELECT 1 FROM {ns}.parked AS p WHERE p.n BETWEEN l.n AND l.n)
FOR NO KEY UPDATE OF l

-- part: hold
-- Take slots, for jobs with several holds.
INSERT INTO {ns}.slots (name, key, n) SELECT * FROM unnest(:name::text::text[], :key::text::text[], :n::text::int8[])

-- part: let-go
-- Give the slots of :ns back, but not of those that are still live unless they are :sure. Relies on slots_of.
DELETE FROM {ns}.slots AS s
WHERE (SELECT EXISTS (SELECT 1 FROM {ns}.slots)) AND s.n = ANY(:ns::text::int8[])
    AND (s.n = ANY((SELECT :sure::text::int8[])::int8[]) OR NOT EXISTS (SELECT 1 FROM {ns}.live AS l WHERE l.n BETWEEN s.n AND s.n))

-- part: freed
-- Where somebody is parked at what :ns held, but not at what those hold that are still live unless they are :sure.
-- Result: [name, key, how many, rule]. Relies on parked_at and the primary keys of flows and records.
SELECT o.name, o.key, count(*), (SELECT value FROM {ns}.records WHERE space = 'limit' AND records.key = o.name) FROM (
    SELECT h.value ->> 0 AS name, h.value ->> 1 AS key
    FROM {ns}.flows AS f CROSS JOIN LATERAL json_array_elements(f.holds::json) AS h(value)
    WHERE ((SELECT EXISTS (SELECT 1 FROM {ns}.parked)) OR {probed}) AND f.n = ANY(:ns::text::int8[]) AND f.holds IS NOT NULL
        AND (f.n = ANY((SELECT :sure::text::int8[])::int8[]) OR NOT EXISTS (SELECT 1 FROM {ns}.live AS l WHERE l.n BETWEEN f.n AND f.n))) AS o
WHERE {probed} OR EXISTS (SELECT 1 FROM {ns}.parked AS p WHERE p.name = o.name AND p.key BETWEEN o.key AND o.key)
GROUP BY o.name, o.key

-- part: watch
-- Whoever fills these keys, or limits as a whole, is held for a moment, so that none of them ends without a look at what has just been parked there.
-- Where one is ending already, or there are too many, the key is looked at again. Relies on live_holding, slots_at and the
-- primary key of gates.
WITH asked AS MATERIALIZED (
    SELECT *, key = chr(10) AS whole, name || E'\n' || CASE WHEN key = chr(10) THEN '' ELSE key END AS low,
        CASE WHEN key = chr(10) THEN name || E'\x0b' ELSE name || E'\n' || key END AS high
    FROM unnest(:name::text::text[], :key::text::text[], :running::text::int8[]) AS e(name, key, running)
), kept AS MATERIALIZED (
    SELECT e.name, e.key, h.n FROM asked AS e CROSS JOIN LATERAL (
        SELECT * FROM (SELECT l.n FROM {ns}.live AS l WHERE l.state = 'running' AND l.hold BETWEEN e.low AND e.high
            LIMIT :most::int8 FOR KEY SHARE SKIP LOCKED) AS one
        UNION ALL
        SELECT * FROM (SELECT l.n FROM {ns}.slots AS s JOIN {ns}.live AS l ON l.n BETWEEN s.n AND s.n
            WHERE NOT e.whole AND s.name = e.name AND s.key = e.key AND (l.state = 'running') IS TRUE
            LIMIT :most::int8 FOR KEY SHARE OF l SKIP LOCKED) AS several
        UNION ALL
        SELECT * FROM (SELECT l.n FROM {ns}.slots AS s JOIN {ns}.live AS l ON l.n BETWEEN s.n AND s.n
            WHERE e.whole AND s.name = e.name AND (l.state = 'running') IS TRUE
            LIMIT :most::int8 FOR KEY SHARE OF l SKIP LOCKED) AS anywhere) AS h
), missed AS MATERIALIZED (
    SELECT e.name, e.key, :now::int8 + CASE WHEN e.running > :most::int8 THEN :later::int8 ELSE 0 END AS at FROM asked AS e
    WHERE e.running > :most::int8 OR e.running > (SELECT count(DISTINCT k.n) FROM kept AS k WHERE k.name = e.name AND k.key = e.key)
)
UPDATE {ns}.gates AS g SET wakes_at = least(coalesce(g.wakes_at, m.at), m.at)
FROM missed AS m WHERE (g.name, g.key) >= (m.name, m.key) AND (g.name, g.key) <= (m.name, m.key)
    AND g.key BETWEEN m.key AND m.key

-- part: park
INSERT INTO {ns}.parked (n, name, key, cost, priority, seq)
SELECT * FROM unnest(:n::text::int8[], :name::text::text[], :key::text::text[], :cost::text::int8[], :priority::text::int2[],
    :seq::text::int8[])

-- part: block
UPDATE {ns}.live AS l SET state = 'blocked', blocked_on = e.blocked_on
FROM unnest(:n::text::int8[], :blocked_on::text::text[]) AS e(n, blocked_on) WHERE l.n BETWEEN e.n AND e.n

-- part: unpark
DELETE FROM {ns}.parked WHERE n = ANY(:ns::text::int8[])

-- part: come-back
-- Result: the queues of those of :ns. They keep their seq: they stand where they stood.
WITH back AS (UPDATE {ns}.live SET state = 'queued', blocked_on = NULL WHERE n = ANY(:ns::text::int8[]) RETURNING queue)
SELECT DISTINCT queue FROM back

-- part: lock-limits
-- See to it that no rule of these limits is written before this transaction ends. Result: the names that somebody is writing now.
SELECT name FROM (SELECT DISTINCT unnest({names}) AS name) AS e
WHERE NOT pg_try_advisory_xact_lock_shared(hashtextextended('{ns} limit ' || name, 0))

-- part: add-gates
-- See to it that these keys have rows; a new one that somebody else is about to add is left to him. Each is looked for by itself:
-- joined, by a plan made while the table was empty, every key was compared with every row (40 us a job where 1,000 keys were).
INSERT INTO {ns}.gates (name, key, tat, interval, closed_until)
SELECT o.name, o.key, 0, 0, 0 FROM (
    SELECT * FROM unnest({names}, {keys}) AS e(name, key)
    WHERE (SELECT true FROM {ns}.gates AS g WHERE g.name = e.name AND g.key = e.key LIMIT 1) IS NULL ORDER BY name COLLATE "C", key COLLATE "C" OFFSET 0) AS o
WHERE pg_try_advisory_xact_lock(hashtextextended('{ns} gate ' || (hashtext(o.name || o.key) & 1023), 0))
ON CONFLICT DO NOTHING

-- part: lock-gates
-- Hold the rows of these keys, in order: wait for them if this transaction holds none yet, else only try. A limit as a whole
-- need not be held while nobody waits there, it never closed and nobody is to look at it. Result: [name, key, tat, interval, closed_until, wakes_at] of
-- those that nobody else can change now. Relies on parked_at and the primary keys of gates and records.
WITH asked AS MATERIALIZED (
    SELECT e.name, e.key, e.key <> chr(10)
        OR (SELECT true FROM {ns}.parked AS p WHERE p.name = e.name AND p.key = e.key
            ORDER BY p.name, p.key, p.priority DESC, p.seq, p.n + 0 LIMIT 1) IS NOT NULL
        OR EXISTS (SELECT 1 FROM {ns}.records AS r
            WHERE r.space = 'limit' AND r.key = e.name AND r.value::json ->> 'closed_until' IS NOT NULL)
        OR EXISTS (SELECT 1 FROM {ns}.gates AS g WHERE g.name = e.name AND g.key = e.key AND g.wakes_at IS NOT NULL) AS needed
    FROM unnest({names}, {keys}) AS e(name, key)
)
SELECT * FROM (
    SELECT g.* FROM (SELECT * FROM asked WHERE needed ORDER BY name COLLATE "C", key COLLATE "C") AS e CROSS JOIN LATERAL (
        SELECT g.name, g.key, g.tat, g.interval, g.closed_until, g.wakes_at FROM {ns}.gates AS g
        WHERE g.name = e.name AND g.key = e.key AND coalesce((SELECT current_setting('treadle.gates', true)), '') <> 'held'
        LIMIT 1 FOR NO KEY UPDATE) AS g) AS waited
UNION ALL
SELECT * FROM (
    SELECT g.* FROM (SELECT * FROM asked WHERE needed ORDER BY name COLLATE "C", key COLLATE "C") AS e CROSS JOIN LATERAL (
        SELECT g.name, g.key, g.tat, g.interval, g.closed_until, g.wakes_at FROM {ns}.gates AS g
        WHERE g.name = e.name AND g.key = e.key AND (SELECT current_setting('treadle.gates', true)) = 'held'
        LIMIT 1 FOR NO KEY UPDATE SKIP LOCKED) AS g) AS tried
UNION ALL
SELECT e.name, e.key, 0, 0, 0, NULL FROM asked AS e WHERE NOT e.needed

-- part: mark-held
SELECT set_config('treadle.gates', 'held', true)

-- part: rooms
-- What is to be known of these keys, where it is anything. Result: [name, key, running, front as three columns, paused]; how
-- many run is said only where a rule asks for it. Relies on parked_at, live_holding, slots_at and the primary key of records.
WITH known AS MATERIALIZED (
    SELECT ARRAY(SELECT r.key FROM {ns}.records AS r WHERE r.space = 'limit' AND r.key = ANY({names})
            AND r.value::json ->> 'concurrency' IS NOT NULL) AS counted,
        EXISTS (SELECT 1 FROM {ns}.records WHERE space = 'paused' AND key > E'key\n' AND key < E'key\x0b') AS pauses,
        EXISTS (SELECT 1 FROM {ns}.parked) AS parks, EXISTS (SELECT 1 FROM {ns}.slots) AS several
), rooms AS MATERIALIZED (
    SELECT e.name, e.key,
        CASE WHEN e.name = ANY(k.counted) THEN
            (SELECT count(*) FROM {ns}.live AS l WHERE l.state = 'running' AND l.hold = e.name || E'\n' || e.key) ELSE 0 END
        + CASE WHEN k.several THEN (SELECT count(*) FROM {ns}.slots AS s WHERE s.name = e.name AND s.key = e.key) ELSE 0 END
            AS running,
        -p.priority AS ahead, p.seq, p.n,
        k.pauses AND (SELECT true FROM {ns}.records AS r
            WHERE r.space = 'paused' AND r.key = 'key' || chr(10) || e.name || chr(10) || e.key) IS NOT NULL AS paused
    FROM known AS k CROSS JOIN unnest({names}, {keys}) AS e(name, key)
    LEFT JOIN LATERAL (
        SELECT o.priority, o.seq, o.n FROM {ns}.parked AS o WHERE k.parks AND o.name = e.name AND o.key = e.key
        ORDER BY o.priority DESC, o.seq, o.n + 0 LIMIT 1) AS p ON true
)
SELECT * FROM rooms WHERE running > 0 OR n IS NOT NULL OR paused

-- part: rules
-- Result: [name, rule] of those of these limits that have one.
SELECT key, value FROM {ns}.records WHERE space = 'limit' AND key = ANY({names})

-- part: running
-- How many jobs hold each of :names under any key. Result: [name, count]. Relies on live_holding and slots_at.
SELECT e.name,
    (SELECT count(*) FROM {ns}.live AS l WHERE l.state = 'running' AND l.hold >= e.name || E'\n' AND l.hold < e.name || E'\x0b')
    + (SELECT count(DISTINCT n) FROM {ns}.slots AS s WHERE s.name = e.name)
FROM unnest(:names::text::text[]) AS e(name)

-- part: log
-- What was started under strict rules. Result: [name, key, at, cost], oldest first.
SELECT s.* FROM unnest(:name::text::text[], :key::text::text[], :since::text::int8[]) AS e(name, key, since) CROSS JOIN LATERAL (
    SELECT s.name, s.key, s.at, s.cost FROM {ns}.starts AS s
    WHERE s.name = e.name AND s.key = e.key AND s.at > e.since ORDER BY s.at OFFSET 0) AS s

-- part: put-gates
UPDATE {ns}.gates AS g SET tat = e.tat, interval = e.interval, closed_until = e.closed_until, wakes_at = e.wakes_at
FROM unnest(:name::text::text[], :key::text::text[], :tat::text::int8[], :interval::text::int8[], :closed_until::text::int8[],
    :wakes_at::text::int8[]) AS e(name, key, tat, interval, closed_until, wakes_at)
WHERE (g.name, g.key) >= (e.name, e.key) AND (g.name, g.key) <= (e.name, e.key) AND g.key BETWEEN e.key AND e.key

-- part: put-starts
INSERT INTO {ns}.starts (name, key, at, cost)
SELECT * FROM unnest(:name::text::text[], :key::text::text[], :at::text::int8[], :cost::text::int8[])
ON CONFLICT (name, key, at) DO UPDATE SET cost = starts.cost + excluded.cost

-- part: old-starts
-- Forget what no longer counts.
DELETE FROM {ns}.starts AS s
USING unnest(:name::text::text[], :key::text::text[], :since::text::int8[]) AS e(name, key, since)
WHERE (s.name, s.key) >= (e.name, e.key) AND (s.name, s.key, s.at) <= (e.name, e.key, e.since)
    AND s.key BETWEEN e.key AND e.key

-- part: due
-- The :take keys whose moment has come, earliest first. Result: [name, key, moment]. Relies on gates_wakes.
SELECT name, key, coalesce(:now::int8, {clock}) FROM {ns}.gates
WHERE wakes_at IS NOT NULL AND wakes_at <= coalesce(:now::int8, (SELECT {clock})) ORDER BY wakes_at, name, key LIMIT :take::int8

-- part: heads
-- The first that are parked at each key, :take of each, locked; who is being changed by somebody else is passed by.
-- Result: [name, key, how many are parked there, :take at most, n, cost], in order; n is null where none is found.
-- Relies on parked_at.
SELECT e.name, e.key, (SELECT count(*) FROM (SELECT 1 FROM {ns}.parked AS p WHERE p.name = e.name AND p.key = e.key LIMIT e.take) AS o),
    h.n, h.cost
FROM unnest(:name::text::text[], :key::text::text[], :take::text::int8[]) WITH ORDINALITY AS e(name, key, take, place)
LEFT JOIN LATERAL (
    SELECT p.n, p.cost, p.priority, p.seq FROM {ns}.parked AS p JOIN {ns}.live AS l ON l.n BETWEEN p.n AND p.n
    WHERE p.name = e.name AND p.key = e.key AND l.state = 'blocked'
    ORDER BY p.priority DESC, p.seq, p.n + 0 LIMIT e.take FOR NO KEY UPDATE OF l SKIP LOCKED) AS h ON true
ORDER BY e.place, h.priority DESC, h.seq, h.n

-- part: lock-rules
-- Let nobody judge by the rules of :names before this transaction ends.
SELECT pg_advisory_xact_lock(hashtextextended('{ns} limit ' || o.name, 0)) FROM (
    SELECT DISTINCT name COLLATE "C" AS name FROM unnest(:names::text::text[]) AS e(name) ORDER BY name COLLATE "C") AS o

-- part: look-soon
-- Have the next `promote` look at what is parked at a limit, or at its :key. Relies on parked_at.
UPDATE {ns}.gates AS g SET wakes_at = least(coalesce(g.wakes_at, m.now), m.now)
FROM (SELECT DISTINCT name, key FROM {ns}.parked
        WHERE name = :name::text AND (:key::text IS NULL OR key = :key::text) ORDER BY name, key) AS p,
    (SELECT coalesce(:now::int8, {clock}) AS now) AS m
WHERE g.name = p.name AND g.key = p.key

-- part: wake-gates
-- Have the next `promote` look at these keys, whoever changes them now.
UPDATE {ns}.gates AS g SET wakes_at = least(coalesce(g.wakes_at, :now::int8), :now::int8)
FROM (SELECT * FROM unnest(:name::text::text[], :key::text::text[]) AS e(name, key) ORDER BY name COLLATE "C", key COLLATE "C") AS e
WHERE g.name = e.name AND g.key = e.key

-- part: throttle
-- A throttle never shortens an earlier one.
INSERT INTO {ns}.gates (name, key, tat, interval, closed_until)
SELECT name, key, 0, 0, max(coalesce(:now::int8, {clock}) + length)
FROM unnest(:name::text::text[], :key::text::text[], :length::text::int8[]) AS e(name, key, length)
GROUP BY name, key ORDER BY name COLLATE "C", key COLLATE "C"
ON CONFLICT (name, key) DO UPDATE SET closed_until = greatest(gates.closed_until, excluded.closed_until)

-- part: gates
-- The keys at which jobs run or are parked, those of :names only if that is not null. Result: [name, key, running, parked,
-- wakes_at].
SELECT t.name, t.key, sum(t.running)::int8, sum(t.parked)::int8,
    (SELECT g.wakes_at FROM {ns}.gates AS g WHERE g.name = t.name AND g.key = t.key)
FROM (
    SELECT name, key, count(*) AS running, 0 AS parked FROM {ns}.slots GROUP BY name, key
    UNION ALL SELECT split_part(hold, E'\n', 1), split_part(hold, E'\n', 2), count(*), 0
    FROM {ns}.live WHERE state = 'running' AND hold > '' GROUP BY hold
    UNION ALL SELECT name, key, 0, count(*) FROM {ns}.parked GROUP BY name, key) AS t
WHERE :names::text IS NULL OR t.name = ANY(:names::text::text[])
GROUP BY t.name, t.key ORDER BY t.name, t.key LIMIT :take::int8

-- part: hold-keys
-- Let nobody else ask for these keys before this transaction ends; a new one gets a row without a job.
-- Result: [kind, key, id, digest, since, until]. Relies on the primary key of keys.
INSERT INTO {ns}.keys AS k (kind, key, id, digest, since)
SELECT kind, key, '', '', 0 FROM (
    SELECT DISTINCT kind COLLATE "C" AS kind, key COLLATE "C" AS key
    FROM unnest(:kind::text::text[], :key::text::text[]) AS e(kind, key) ORDER BY kind, key) AS o
ON CONFLICT (kind, key) DO UPDATE SET digest = k.digest
RETURNING k.kind, k.key, k.id, k.digest, k.since, k.until

-- part: put-keys
UPDATE {ns}.keys AS k SET id = e.id, digest = e.digest, since = e.since, until = e.until
FROM unnest(:kind::text::text[], :key::text::text[], :id::text::text[], :digest::text::text[], :since::text::int8[],
    :until::text::int8[]) AS e(kind, key, id, digest, since, until)
WHERE k.kind = e.kind AND k.key = e.key

-- part: drop-keys
-- Remove the rows that nobody took.
DELETE FROM {ns}.keys AS k USING unnest(:kind::text::text[], :key::text::text[]) AS e(kind, key)
WHERE k.kind = e.kind AND k.key = e.key AND k.id = ''

-- part: hold-holders
-- Keep the jobs that have these keys as they are until this transaction ends. Relies on the unique id of jobs.
SELECT l.n FROM unnest(:kind::text::text[], :key::text::text[]) AS e(kind, key)
JOIN {ns}.keys AS k ON k.kind = e.kind AND k.key = e.key JOIN {ns}.jobs AS j ON j.id = k.id JOIN {ns}.live AS l ON l.n = j.n
ORDER BY l.n FOR UPDATE OF l

-- part: forget-keys
-- Forget the keys of jobs that go; those whose time is not over stay if :kept. Relies on keys_id.
DELETE FROM {ns}.keys AS k USING {ns}.jobs AS j
WHERE j.n = ANY(:ns::text::int8[]) AND k.id = j.id
    AND (NOT :kept::boolean OR (k.kind = 'unique' AND (k.until IS NULL OR k.until <= coalesce(:now::int8, {clock}))))

-- part: old-keys
-- Forget the keys whose time is over, but for those that a job still has. Relies on keys_until.
DELETE FROM {ns}.keys WHERE (kind, key) IN (
    SELECT k.kind, k.key FROM {ns}.keys AS k
    WHERE k.until IS NOT NULL AND k.until <= coalesce(:now::int8, (SELECT {clock}))
        AND (k.kind = 'idempotency' OR NOT EXISTS (SELECT 1 FROM {ns}.jobs AS j WHERE j.id = k.id))
    FOR UPDATE OF k SKIP LOCKED)

-- part: resting
-- Hold the keys of limits at which nothing seems to count any more. Result: [name, key].
SELECT g.name, g.key FROM {ns}.gates AS g
WHERE g.tat <= coalesce(:now::int8, (SELECT {clock})) AND g.closed_until <= coalesce(:now::int8, (SELECT {clock}))
    AND g.wakes_at IS NULL
    AND NOT EXISTS (SELECT 1 FROM {ns}.slots AS s WHERE s.name = g.name AND s.key = g.key)
    AND NOT EXISTS (SELECT 1 FROM {ns}.live AS l WHERE l.state = 'running' AND l.hold = g.name || E'\n' || g.key)
    AND NOT EXISTS (SELECT 1 FROM {ns}.parked AS p WHERE p.name = g.name AND p.key = g.key)
FOR UPDATE OF g SKIP LOCKED

-- part: rest
-- Forget those of them at which nothing counts now that nobody can come to them: whoever was there at that moment held the row
-- and need not have changed it.
DELETE FROM {ns}.gates AS g USING unnest(:name::text::text[], :key::text::text[]) AS e(name, key)
WHERE g.name = e.name AND g.key = e.key
    AND g.tat <= coalesce(:now::int8, (SELECT {clock})) AND g.closed_until <= coalesce(:now::int8, (SELECT {clock}))
    AND g.wakes_at IS NULL
    AND NOT EXISTS (SELECT 1 FROM {ns}.slots AS s WHERE s.name = g.name AND s.key = g.key)
    AND NOT EXISTS (SELECT 1 FROM {ns}.live AS l WHERE l.state = 'running' AND l.hold = g.name || E'\n' || g.key)
    AND NOT EXISTS (SELECT 1 FROM {ns}.parked AS p WHERE p.name = g.name AND p.key = g.key)

-- part: rest-starts
DELETE FROM {ns}.starts AS s WHERE NOT EXISTS (SELECT 1 FROM {ns}.gates AS g WHERE g.name = s.name AND g.key = s.key)

-- part: rest-tenants
-- Forget the tenants of queues in which nobody waits. Who is held by somebody, perhaps a user's transaction, is passed by.
DELETE FROM {ns}.tenants AS d USING (
    SELECT t.queue, t.priority, t.tenant FROM {ns}.tenants AS t
    WHERE NOT EXISTS (SELECT 1 FROM {ns}.live AS l WHERE l.state = 'queued' AND NOT l.suspect AND l.flow < 2
            AND l.queue = t.queue AND l.priority = t.priority)
        AND NOT EXISTS (SELECT 1 FROM {ns}.live AS l WHERE l.state = 'queued' AND l.suspect AND l.flow < 2
            AND l.queue = t.queue AND l.priority = t.priority)
        AND NOT EXISTS (SELECT 1 FROM {ns}.live AS l WHERE l.state = 'queued' AND l.flow = 2
            AND l.queue = t.queue AND l.priority = t.priority)
    FOR UPDATE OF t SKIP LOCKED) AS g
WHERE d.queue = g.queue AND d.priority = g.priority AND d.tenant = g.tenant
