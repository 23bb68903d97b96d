-- Move queued jobs to running under a lease. :tasks holds the known names, each between line breaks: looking a name up in a
-- text needs no table built first, and a claim of one job took a fifth less than with an array.

-- part: holder
-- Is :lease held at this moment, does any suspect or any gated job wait at all, and which tasks are paused?
-- Result: its number, 0 or 1, 0 or 1, and names between line breaks or null; or no row.
-- Relies on live_suspects, live_gated, the unique id of leases and the primary key of records.
SELECT k, EXISTS (SELECT 1 FROM {ns}_live WHERE state = 'queued' AND suspect = 1 AND flow < 2),
    EXISTS (SELECT 1 FROM {ns}_live WHERE state = 'queued' AND flow = 2),
    (SELECT group_concat(substr(key, 6), char(10)) FROM {ns}_records
        WHERE space = 'paused' AND key > 'task' || char(10) AND key < 'task' || char(11))
FROM {ns}_leases
WHERE id = :lease AND CASE WHEN :given THEN expires_at > :wall ELSE boot = :boot AND expires_up > :up END

-- part: plain
-- The next :take jobs of :queue that no crash has marked, as one JSON text of `Claimed` rows: with a busy event loop in the
-- process, each row fetched is a chance to lose the interpreter for a while. Relies on live_ready.
SELECT json_group_array(json_array(
    n, id, task, version, codec, queue, priority, attempt, failures, crashes, snoozes, enqueued_at, :now, first_failed_at,
    start_by, json('false'), args, options, headers))
FROM (
    SELECT l.n, j.id, l.task, j.version, j.codec, l.queue, l.priority, l.attempt + 1 AS attempt, l.failures, l.crashes,
        l.snoozes, j.enqueued_at, l.first_failed_at, l.start_by, j.args, j.options, j.headers
    FROM {ns}_live AS l CROSS JOIN {ns}_jobs AS j ON j.n = l.n
    WHERE l.state = 'queued' AND l.suspect = 0 AND l.flow < 2 AND l.queue = :queue
        AND instr(:tasks, char(10) || l.task || char(10)) AND (l.start_by IS NULL OR +l.start_by >= :now)
        AND NOT EXISTS (SELECT 1 FROM {ns}_records WHERE space = 'paused' AND key = :queue)
    ORDER BY l.priority DESC, l.seq, l.n LIMIT :take)

-- part: mixed
-- As `plain`, with at most :suspects suspects among them. Relies on live_ready and live_suspects.
SELECT json_group_array(json_array(
    n, id, task, version, codec, queue, priority, attempt, failures, crashes, snoozes, enqueued_at, :now, first_failed_at,
    start_by, json(iif(suspect, 'true', 'false')), args, options, headers))
FROM (
    SELECT l.n, j.id, l.task, j.version, j.codec, l.queue, l.priority, l.attempt + 1 AS attempt, l.failures, l.crashes,
        l.snoozes, j.enqueued_at, l.first_failed_at, l.start_by, l.suspect, j.args, j.options, j.headers
    FROM (
        SELECT n FROM (
            SELECT n FROM {ns}_live
            WHERE state = 'queued' AND suspect = 0 AND flow < 2 AND queue = :queue
                AND instr(:tasks, char(10) || task || char(10)) AND (start_by IS NULL OR +start_by >= :now)
            ORDER BY priority DESC, seq, n LIMIT :take)
        UNION ALL
        SELECT n FROM (
            SELECT n FROM {ns}_live
            WHERE state = 'queued' AND suspect = 1 AND flow < 2 AND queue = :queue
                AND instr(:tasks, char(10) || task || char(10)) AND (start_by IS NULL OR +start_by >= :now)
            ORDER BY priority DESC, seq, n LIMIT :suspects)
    ) AS c CROSS JOIN {ns}_live AS l ON l.n = c.n CROSS JOIN {ns}_jobs AS j ON j.n = l.n
    WHERE NOT EXISTS (SELECT 1 FROM {ns}_records WHERE space = 'paused' AND key = :queue)
    ORDER BY l.priority DESC, l.seq, l.n LIMIT :take)

-- part: take
-- Put the chosen under the lease :k. :ns holds their numbers. Relies on the primary key of live.
UPDATE {ns}_live SET state = 'running', attempt = attempt + 1, lease = :k, claimed_at = :now
WHERE n IN (SELECT value FROM json_each(:ns))

-- part: ungated
-- The next :take jobs of :queue that are not gated, and the next :suspects suspects among them besides.
-- Result: [-priority, seq, n, suspect], in order. Relies on live_ready and live_suspects.
SELECT -priority, seq, n, suspect FROM (
    SELECT * FROM (
        SELECT priority, seq, n, suspect FROM {ns}_live
        WHERE state = 'queued' AND suspect = 0 AND flow < 2 AND queue = :queue
            AND instr(:tasks, char(10) || task || char(10)) AND (start_by IS NULL OR +start_by >= :now)
        ORDER BY priority DESC, seq, n LIMIT :take)
    UNION ALL
    SELECT * FROM (
        SELECT priority, seq, n, suspect FROM {ns}_live
        WHERE state = 'queued' AND suspect = 1 AND flow < 2 AND queue = :queue
            AND instr(:tasks, char(10) || task || char(10)) AND (start_by IS NULL OR +start_by >= :now)
        ORDER BY priority DESC, seq, n LIMIT :suspects))
ORDER BY priority DESC, seq, n

-- part: gated
-- The next :chunk gated jobs of :queue, without suspects if :suspects is 0.
-- Result: [-priority, seq, n, suspect, holds, place, place of the first in line], in order. Relies on live_gated.
SELECT -l.priority, l.seq, l.n, l.suspect, f.holds, f.place,
    (SELECT x.place FROM {ns}_lines AS x WHERE x.line = f.line ORDER BY x.place LIMIT 1)
FROM {ns}_live AS l CROSS JOIN {ns}_flows AS f ON f.n = l.n
WHERE l.state = 'queued' AND l.flow = 2 AND l.queue = :queue AND (l.suspect = 0 OR :suspects > 0)
    AND instr(:tasks, char(10) || l.task || char(10)) AND (l.start_by IS NULL OR +l.start_by >= :now)
ORDER BY l.priority DESC, l.seq, l.n LIMIT :chunk

-- part: paused
-- Is :queue paused?
SELECT EXISTS (SELECT 1 FROM {ns}_records WHERE space = 'paused' AND key = :queue)

-- part: chosen
-- Jobs that have just been taken, in the order of :ns, as one JSON text of `Claimed` rows.
SELECT json_group_array(json_array(
    n, id, task, version, codec, queue, priority, attempt, failures, crashes, snoozes, enqueued_at, claimed_at, first_failed_at,
    start_by, json(iif(suspect, 'true', 'false')), args, options, headers))
FROM (
    SELECT l.n, j.id, l.task, j.version, j.codec, l.queue, l.priority, l.attempt, l.failures, l.crashes, l.snoozes,
        j.enqueued_at, l.claimed_at, l.first_failed_at, l.start_by, l.suspect, j.args, j.options, j.headers
    FROM json_each(:ns) AS e CROSS JOIN {ns}_live AS l ON l.n = e.value CROSS JOIN {ns}_jobs AS j ON j.n = l.n ORDER BY e.key)
