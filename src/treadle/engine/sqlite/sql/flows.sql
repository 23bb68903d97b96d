-- What gated jobs and those of tenants need beyond a plain one: where they enter, what they hold, where they wait.

-- part: add
-- :rows holds [n, holds, line, stop, tenant, unique key, its states].
INSERT INTO {ns}_flows
SELECT value ->> 0, value ->> 1, value ->> 2, value ->> 3, NULL, value ->> 4, value ->> 5, value ->> 6 FROM json_each(:rows)

-- part: known
-- Result: [n, line, place, tenant] of those of :ns that have a row.
SELECT f.n, f.line, f.place, f.tenant FROM json_each(:ns) AS e CROSS JOIN {ns}_flows AS f WHERE f.n = e.value

-- part: place
-- Give places in lines. :rows holds [line, place, n].
INSERT INTO {ns}_lines SELECT value ->> 0, value ->> 1, value ->> 2 FROM json_each(:rows)

-- part: placed
-- Say so in the jobs' own rows. :rows as in `place`.
UPDATE {ns}_flows SET place = e.value ->> 1 FROM json_each(:rows) AS e WHERE {ns}_flows.n = e.value ->> 2

-- part: standings
-- :groups holds [queue, priority]. Result: [key, first seq, last seq, weights of the queue].
-- Relies on live_ready, live_suspects and live_gated: each answers with one seek at either end.
SELECT e.key,
    (SELECT min(seq) FROM (
        SELECT min(seq) AS seq FROM {ns}_live WHERE state = 'queued' AND suspect = 0 AND flow < 2
            AND queue = e.value ->> 0 AND priority = e.value ->> 1
        UNION ALL SELECT min(seq) FROM {ns}_live WHERE state = 'queued' AND suspect = 1 AND flow < 2
            AND queue = e.value ->> 0 AND priority = e.value ->> 1
        UNION ALL SELECT min(seq) FROM {ns}_live WHERE state = 'queued' AND flow = 2
            AND queue = e.value ->> 0 AND priority = e.value ->> 1)),
    (SELECT max(seq) FROM (
        SELECT max(seq) AS seq FROM {ns}_live WHERE state = 'queued' AND suspect = 0 AND flow < 2
            AND queue = e.value ->> 0 AND priority = e.value ->> 1
        UNION ALL SELECT max(seq) FROM {ns}_live WHERE state = 'queued' AND suspect = 1 AND flow < 2
            AND queue = e.value ->> 0 AND priority = e.value ->> 1
        UNION ALL SELECT max(seq) FROM {ns}_live WHERE state = 'queued' AND flow = 2
            AND queue = e.value ->> 0 AND priority = e.value ->> 1)),
    (SELECT value FROM {ns}_records WHERE space = 'fair' AND key = e.value ->> 0)
FROM json_each(:groups) AS e

-- part: lasts
-- :groups holds [queue, priority]; only the tenants of :tenants. Result: [key, tenant, last], and a row with a null tenant
-- for each group that has any. Relies on the primary key of tenants.
SELECT e.key, t.tenant, t.last FROM json_each(:groups) AS e CROSS JOIN json_each(:tenants) AS x CROSS JOIN {ns}_tenants AS t
WHERE t.queue = e.value ->> 0 AND t.priority = e.value ->> 1 AND t.tenant = x.value
UNION ALL
SELECT e.key, NULL, NULL FROM json_each(:groups) AS e
WHERE EXISTS (SELECT 1 FROM {ns}_tenants AS t WHERE t.queue = e.value ->> 0 AND t.priority = e.value ->> 1)

-- part: forget-tenants
-- :groups holds [queue, priority].
DELETE FROM {ns}_tenants WHERE (queue, priority) IN (SELECT value ->> 0, value ->> 1 FROM json_each(:groups))

-- part: put-tenants
-- :rows holds [queue, priority, tenant, last].
INSERT OR REPLACE INTO {ns}_tenants SELECT value ->> 0, value ->> 1, value ->> 2, value ->> 3 FROM json_each(:rows)

-- part: leaving
-- What those of :ns that have a row leave behind. Result: [n, line, place, stop].
SELECT f.n, f.line, f.place, f.stop FROM json_each(:ns) AS e CROSS JOIN {ns}_flows AS f WHERE f.n = e.value

-- part: unplace
-- Take jobs out of their lines. :rows holds [line, place, n].
DELETE FROM {ns}_lines WHERE (line, place) IN (SELECT value ->> 0, value ->> 1 FROM json_each(:rows))

-- part: unplaced
UPDATE {ns}_flows SET place = NULL FROM json_each(:rows) AS e WHERE {ns}_flows.n = e.value ->> 2

-- part: first
-- The first of each of :lines, if it was parked because it was not. Result: n.
SELECT l.n FROM json_each(:lines) AS e
CROSS JOIN {ns}_live AS l ON l.n = (SELECT x.n FROM {ns}_lines AS x WHERE x.line = e.value ORDER BY x.place LIMIT 1)
WHERE l.state = 'blocked' AND l.blocked_on = 'key' AND NOT EXISTS (SELECT 1 FROM {ns}_parked AS p WHERE p.n = l.n)

-- part: hold
-- Take slots. :rows holds [name, key, n].
INSERT INTO {ns}_slots SELECT value ->> 0, value ->> 1, value ->> 2 FROM json_each(:rows)

-- part: let-go
-- Give the slots of :ns back. Result: [name, key]. Relies on slots_job.
DELETE FROM {ns}_slots WHERE n IN (SELECT value FROM json_each(:ns)) RETURNING name, key

-- part: park
-- :rows holds [n, blocked_on, name, key, cost, -priority, seq]; the name is null for who waits for its turn.
INSERT INTO {ns}_parked
SELECT value ->> 0, value ->> 2, value ->> 3, value ->> 4, -(value ->> 5), value ->> 6
FROM json_each(:rows) WHERE value ->> 2 IS NOT NULL

-- part: block
-- :rows as in `park`.
UPDATE {ns}_live SET state = 'blocked', blocked_on = e.value ->> 1 FROM json_each(:rows) AS e WHERE {ns}_live.n = e.value ->> 0

-- part: unpark
-- :ns holds numbers. Relies on the primary key of parked.
DELETE FROM {ns}_parked WHERE n IN (SELECT value FROM json_each(:ns))

-- part: come-back
-- Result: the queues of those of :ns. They keep their seq: they stand where they stood.
UPDATE {ns}_live SET state = 'queued', blocked_on = NULL WHERE n IN (SELECT value FROM json_each(:ns)) RETURNING queue

-- part: rooms
-- :keys holds [name, key]. Result: [name, key, tat, interval, closed_until, wakes_at, running, front as JSON, paused].
-- Relies on parked_at and the primary keys of gates, slots and records.
SELECT e.value ->> 0, e.value ->> 1, g.tat, g.interval, g.closed_until, g.wakes_at,
    (SELECT count(*) FROM {ns}_slots AS s WHERE s.name = e.value ->> 0 AND s.key = e.value ->> 1),
    (SELECT json_array(-p.priority, p.seq, p.n) FROM {ns}_parked AS p
        WHERE p.name = e.value ->> 0 AND p.key = e.value ->> 1 ORDER BY p.priority DESC, p.seq, p.n LIMIT 1),
    EXISTS (SELECT 1 FROM {ns}_records AS r
        WHERE r.space = 'paused' AND r.key = 'key' || char(10) || (e.value ->> 0) || char(10) || (e.value ->> 1))
FROM json_each(:keys) AS e LEFT JOIN {ns}_gates AS g ON g.name = e.value ->> 0 AND g.key = e.value ->> 1

-- part: rules
-- Result: [name, rule] of those of :names that have one.
SELECT key, value FROM {ns}_records WHERE space = 'limit' AND key IN (SELECT value FROM json_each(:names))

-- part: running
-- How many jobs hold each of :names under any key. Result: [name, count].
SELECT e.value, (SELECT count(DISTINCT n) FROM {ns}_slots AS s WHERE s.name = e.value) FROM json_each(:names) AS e

-- part: log
-- What was started under strict rules. :keys holds [name, key, since]. Result: [name, key, at, cost], oldest first.
SELECT s.name, s.key, s.at, s.cost FROM json_each(:keys) AS e CROSS JOIN {ns}_starts AS s
WHERE s.name = e.value ->> 0 AND s.key = e.value ->> 1 AND s.at > e.value ->> 2 ORDER BY s.name, s.key, s.at

-- part: put-gates
-- :rows holds [name, key, tat, interval, closed_until, wakes_at].
INSERT OR REPLACE INTO {ns}_gates
SELECT value ->> 0, value ->> 1, value ->> 2, value ->> 3, value ->> 4, value ->> 5 FROM json_each(:rows)

-- part: put-starts
-- :rows holds [name, key, at, cost].
INSERT INTO {ns}_starts SELECT value ->> 0, value ->> 1, value ->> 2, value ->> 3 FROM json_each(:rows) WHERE true
ON CONFLICT DO UPDATE SET cost = cost + excluded.cost

-- part: old-starts
-- Forget what no longer counts. :keys holds [name, key, since].
DELETE FROM {ns}_starts WHERE (name, key, at) IN (
    SELECT s.name, s.key, s.at FROM json_each(:keys) AS e CROSS JOIN {ns}_starts AS s
    WHERE s.name = e.value ->> 0 AND s.key = e.value ->> 1 AND s.at <= e.value ->> 2)

-- part: due
-- The :take keys whose moment has come, earliest first. Result: [name, key]. Relies on gates_wakes.
SELECT name, key FROM {ns}_gates WHERE wakes_at IS NOT NULL AND wakes_at <= :now ORDER BY wakes_at, name, key LIMIT :take

-- part: heads
-- The first :take that are parked at a key. Result: [n, cost]. Relies on parked_at.
SELECT n, cost FROM {ns}_parked WHERE name = :name AND key = :key ORDER BY priority DESC, seq, n LIMIT :take

-- part: look-soon
-- Have the next `promote` look at what is parked at a limit, or at its :key. Relies on parked_at.
INSERT INTO {ns}_gates
SELECT DISTINCT name, key, 0, 0, 0, :now FROM {ns}_parked WHERE name = :name AND (:key IS NULL OR key = :key)
ON CONFLICT DO UPDATE SET wakes_at = min(coalesce(wakes_at, excluded.wakes_at), excluded.wakes_at)

-- part: throttle
-- :rows holds [name, key, until]; a throttle never shortens an earlier one.
INSERT INTO {ns}_gates SELECT value ->> 0, value ->> 1, 0, 0, value ->> 2, NULL FROM json_each(:rows) WHERE true
ON CONFLICT DO UPDATE SET closed_until = max(closed_until, excluded.closed_until)

-- part: gates
-- The keys at which jobs run or are parked, those of :names only if that is not null. Result: [name, key, running, parked,
-- wakes_at].
SELECT t.name, t.key, sum(t.running), sum(t.parked),
    (SELECT g.wakes_at FROM {ns}_gates AS g WHERE g.name = t.name AND g.key = t.key)
FROM (
    SELECT name, key, count(*) AS running, 0 AS parked FROM {ns}_slots GROUP BY name, key
    UNION ALL SELECT name, key, 0, count(*) FROM {ns}_parked GROUP BY name, key) AS t
WHERE :names IS NULL OR t.name IN (SELECT value FROM json_each(:names))
GROUP BY t.name, t.key ORDER BY t.name, t.key LIMIT :take

-- part: held-keys
-- :names holds [kind, key]. Result: [kind, key, id, digest, since, until].
SELECT k.kind, k.key, k.id, k.digest, k.since, k.until FROM json_each(:names) AS e CROSS JOIN {ns}_keys AS k
WHERE k.kind = e.value ->> 0 AND k.key = e.value ->> 1

-- part: put-keys
-- :rows holds [kind, key, id, digest, since, until].
INSERT OR REPLACE INTO {ns}_keys
SELECT value ->> 0, value ->> 1, value ->> 2, value ->> 3, value ->> 4, value ->> 5 FROM json_each(:rows)

-- part: forget-keys
-- Forget the keys of jobs that go; those whose time is not over stay if :kept. :ns holds numbers. Relies on keys_id.
DELETE FROM {ns}_keys WHERE (kind, key) IN (
    SELECT k.kind, k.key FROM json_each(:ns) AS e CROSS JOIN {ns}_jobs AS j ON j.n = e.value
    CROSS JOIN {ns}_keys AS k ON k.id = j.id
    WHERE NOT :kept OR (k.kind = 'unique' AND (k.until IS NULL OR k.until <= :now)))

-- part: old-keys
-- Forget the keys whose time is over, but for those that a job still has. Relies on keys_until.
DELETE FROM {ns}_keys
WHERE until IS NOT NULL AND until <= :now
    AND (kind = 'idempotency' OR NOT EXISTS (SELECT 1 FROM {ns}_jobs AS j WHERE j.id = {ns}_keys.id))

-- part: rest
-- Forget the keys of limits at which nothing counts any more.
DELETE FROM {ns}_gates WHERE tat <= :now AND closed_until <= :now AND wakes_at IS NULL

-- part: rest-starts
DELETE FROM {ns}_starts
WHERE NOT EXISTS (SELECT 1 FROM {ns}_gates AS g WHERE g.name = {ns}_starts.name AND g.key = {ns}_starts.key)

-- part: rest-tenants
-- Forget the tenants of queues in which nobody waits.
DELETE FROM {ns}_tenants
WHERE NOT EXISTS (SELECT 1 FROM {ns}_live AS l WHERE l.state = 'queued' AND l.suspect = 0 AND l.flow < 2
        AND l.queue = {ns}_tenants.queue AND l.priority = {ns}_tenants.priority)
    AND NOT EXISTS (SELECT 1 FROM {ns}_live AS l WHERE l.state = 'queued' AND l.suspect = 1 AND l.flow < 2
        AND l.queue = {ns}_tenants.queue AND l.priority = {ns}_tenants.priority)
    AND NOT EXISTS (SELECT 1 FROM {ns}_live AS l WHERE l.state = 'queued' AND l.flow = 2
        AND l.queue = {ns}_tenants.queue AND l.priority = {ns}_tenants.priority)
