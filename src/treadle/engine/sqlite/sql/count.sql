-- How many jobs there are. An axis that was not asked for is NULL throughout. Put together at load, like `find`.

-- part: groups
-- The general question's head, before a source and the filter of `find`.
SELECT iif(:by_state, coalesce(l.state, f.state), NULL) AS g1, iif(:by_queue, j.queue, NULL) AS g2,
    iif(:by_task, j.task, NULL) AS g3, iif(:by_status, d.status, NULL) AS g4, count(*),
    min(coalesce(l.due_at, f.due_at, j.enqueued_at))

-- part: grouped
GROUP BY g1, g2, g3, g4

-- part: live
-- The common questions about live jobs, without the tables that they do not need.
SELECT iif(:by_state, l.state, NULL) AS g1, iif(:by_queue, l.queue, NULL) AS g2, iif(:by_task, l.task, NULL) AS g3, NULL,
    count(*), min(coalesce(l.due_at, j.enqueued_at))
FROM {ns}_live AS l CROSS JOIN {ns}_jobs AS j
WHERE j.n = l.n AND (:states IS NULL OR l.state IN (SELECT value FROM json_each(:states)))
    AND (:queues IS NULL OR l.queue IN (SELECT value FROM json_each(:queues)))
    AND (:tasks IS NULL OR l.task IN (SELECT value FROM json_each(:tasks)))
GROUP BY g1, g2, g3

-- part: finished
-- The same about finished jobs. Relies on the primary key of jobs.
SELECT iif(:by_state, f.state, NULL) AS g1, iif(:by_queue, j.queue, NULL) AS g2, iif(:by_task, j.task, NULL) AS g3, NULL,
    count(*), min(coalesce(f.due_at, j.enqueued_at))
FROM {ns}_finished AS f CROSS JOIN {ns}_jobs AS j
WHERE j.n = f.n AND (:states IS NULL OR f.state IN (SELECT value FROM json_each(:states)))
    AND (:queues IS NULL OR j.queue IN (SELECT value FROM json_each(:queues)))
    AND (:tasks IS NULL OR j.task IN (SELECT value FROM json_each(:tasks)))
GROUP BY g1, g2, g3
