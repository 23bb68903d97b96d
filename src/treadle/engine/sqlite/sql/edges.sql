-- Count edges down once for a whole batch of ended parents.

-- part: any-open
-- Does any job wait for a parent at all, and does any hold a slot or stand in a line? Relies on edges_open.
SELECT EXISTS (SELECT 1 FROM {ns}_edges WHERE open = 1), EXISTS (SELECT 1 FROM {ns}_slots) OR EXISTS (SELECT 1 FROM {ns}_lines)

-- part: waiting
-- The open edges below :ns. Result: [parent, child, on_dead], oldest parent first. Relies on edges_open.
SELECT x.parent, x.child, x.on_dead FROM json_each(:ns) AS e CROSS JOIN {ns}_edges AS x
WHERE x.parent = e.value AND x.open = 1

-- part: close
-- Close single edges. :pairs holds [child, parent].
UPDATE {ns}_edges SET open = 0
WHERE (child, parent) IN (SELECT value ->> 0, value ->> 1 FROM json_each(:pairs))

-- part: close-all
-- Close every edge above jobs that wait no more. :ns holds numbers. Relies on the primary key of edges.
UPDATE {ns}_edges SET open = 0 WHERE child IN (SELECT value FROM json_each(:ns)) AND open = 1

-- part: count-down
-- :rows holds [n, how many parents ended well].
UPDATE {ns}_live SET waiting = waiting - (e.value ->> 1)
FROM json_each(:rows) AS e WHERE {ns}_live.n = e.value ->> 0

-- part: freed
-- Those of :rows ([n, ...]) that wait for no parent any more, oldest first. Result: [n, queue, due_at, priority, flow].
SELECT l.n, l.queue, l.due_at, l.priority, l.flow
FROM json_each(:rows) AS e CROSS JOIN {ns}_live AS l ON l.n = e.value ->> 0
WHERE l.state = 'blocked' AND l.waiting = 0 ORDER BY l.n

-- part: free
-- :rows holds [n, state, seq].
UPDATE {ns}_live SET state = e.value ->> 1, seq = e.value ->> 2, blocked_on = NULL
FROM json_each(:rows) AS e WHERE {ns}_live.n = e.value ->> 0
