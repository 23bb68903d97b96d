-- What running jobs say in mid-run.

-- part: held
-- Result: the key of each of :rows ([n, attempt, kind, name, value, id]) for which the fence holds. Relies on the primary key of live.
SELECT e.key FROM json_each(:rows) AS e CROSS JOIN {ns}_live AS l CROSS JOIN {ns}_jobs AS j
WHERE l.n = e.value ->> 0 AND l.attempt = e.value ->> 1 AND l.lease = :k AND l.state = 'running'
    AND j.n = l.n AND j.id = e.value ->> 5

-- part: write
-- A later note of one kind and name replaces the earlier and gets a new number. :rows as in `held`.
INSERT OR REPLACE INTO {ns}_notes (n, kind, name, value)
SELECT value ->> 0, value ->> 2, value ->> 3, value ->> 4 FROM json_each(:rows)

-- part: stuck
-- :ns holds numbers.
UPDATE {ns}_live SET stuck = 1 WHERE n IN (SELECT value FROM json_each(:ns))
