-- What running jobs say in mid-run.

-- part: held
-- Result: the key of each of :rows ([n, attempt, ...]) for which the fence holds. Relies on the primary key of live.
SELECT e.key FROM json_each(:rows) AS e CROSS JOIN {ns}_live AS l
WHERE l.n = e.value ->> 0 AND l.attempt = e.value ->> 1 AND l.lease = :k AND l.state = 'running'

-- part: write
-- A later note of one kind and name replaces the earlier and gets a new number. :rows holds [n, attempt, kind, name, value].
INSERT OR REPLACE INTO {ns}_notes (n, kind, name, value)
SELECT value ->> 0, value ->> 2, value ->> 3, value ->> 4 FROM json_each(:rows)

-- part: stuck
-- :rows holds [n, stuck].
UPDATE {ns}_live SET stuck = e.value ->> 1 FROM json_each(:rows) AS e WHERE {ns}_live.n = e.value ->> 0
