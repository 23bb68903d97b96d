-- Store new jobs. Plain ones take three statements: seq, jobs, live.

-- part: jobs
-- The immutable half; an id that is known is passed by, and the count of changes tells. Relies on the unique id of jobs.
INSERT INTO {ns}_jobs
VALUES {row: (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)}
ON CONFLICT (id) DO NOTHING

-- part: stored
-- Which of a batch were new. Parameters: :first, :last. Result: their numbers. Relies on the primary key of jobs.
SELECT n FROM {ns}_jobs WHERE n BETWEEN :first AND :last

-- part: live-plain
-- Queue every job of a batch that is due at once. Parameters: :first, :last. Relies on the primary key of jobs.
INSERT INTO {ns}_live (n, seq, state, queue, priority, task)
SELECT n, n, 'queued', queue, priority, task FROM {ns}_jobs WHERE n BETWEEN :first AND :last

-- part: live
-- Place each job where it belongs. :rows holds [n, state, due_at, start_by, waiting, blocked_on, seq, flow].
INSERT INTO {ns}_live (n, seq, state, queue, priority, task, due_at, start_by, waiting, blocked_on, flow)
SELECT j.n, e.value ->> 6, e.value ->> 1, j.queue, j.priority, j.task, e.value ->> 2, e.value ->> 3, e.value ->> 4,
    e.value ->> 5, e.value ->> 7
FROM json_each(:rows) AS e CROSS JOIN {ns}_jobs AS j WHERE j.n = e.value ->> 0

-- part: ended
-- Jobs that a parent's bad end cancels as they come. :rows holds [n, reason, due_at, start_by].
INSERT INTO {ns}_finished
SELECT value ->> 0, 'cancelled', 0, 0, 0, 0, 0, NULL, :now, NULL, value ->> 2, value ->> 3, NULL, value ->> 1
FROM json_each(:rows)

-- part: tags
-- :rows holds [tag, n].
INSERT OR IGNORE INTO {ns}_tags SELECT value ->> 0, value ->> 1 FROM json_each(:rows)

-- part: edges
-- :rows holds [child, parent, on_dead, open].
INSERT INTO {ns}_edges SELECT value ->> 0, value ->> 1, value ->> 2, value ->> 3 FROM json_each(:rows)

-- part: known
-- What is known of these ids. Result: [id, n, state, status of the dead letter]. Relies on the unique id of jobs.
SELECT j.id, j.n, coalesce(l.state, f.state), d.status
FROM json_each(:ids) AS e CROSS JOIN {ns}_jobs AS j ON j.id = e.value
LEFT JOIN {ns}_live AS l ON l.n = j.n LEFT JOIN {ns}_finished AS f ON f.n = j.n LEFT JOIN {ns}_dead AS d ON d.n = j.n
