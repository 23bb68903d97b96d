-- Store new jobs. A batch has few kinds: what many jobs have in common travels once, and each job names its kind by place.
-- Numbers are given in a step of their own, here and elsewhere: inside a join they come in the order that the join likes.

-- part: plain
-- Store and queue jobs that are due at once; an id that is known is passed by. Result: how many are new, and the ids of those
-- as JSON unless that is all :total. Relies on the unique id of jobs.
WITH kinds AS MATERIALIZED (
    SELECT * FROM unnest(
        :task::text::text[], :version::text::int4[], :codec::text::text[], :queue::text::text[], :priority::text::int2[],
        :options::text::text[], :headers::text::text[], :key::text::text[], :tags::text::text[], :max_crashes::text::int4[])
    WITH ORDINALITY AS k(task, version, codec, queue, priority, options, headers, key, tags, max_crashes, place)
), moment AS MATERIALIZED (
    SELECT coalesce(:now::int8, {clock}) AS now
), numbered AS MATERIALIZED (
    SELECT nextval('{ns}.numbers') AS n, u.*
    FROM unnest(:ids::text::text[], :kinds::text::int8[], :args::text::text[]) AS u(id, kind, args)
), new AS (
    INSERT INTO {ns}.jobs (
        n, enqueued_at, version, max_crashes, priority, id, task, codec, queue, args, options, headers, key, tags)
    SELECT e.n, moment.now, k.version, k.max_crashes, k.priority, e.id, k.task, k.codec, k.queue, e.args, k.options, k.headers,
        k.key, k.tags
    FROM numbered AS e JOIN kinds AS k ON k.place = e.kind CROSS JOIN moment
    ON CONFLICT (id) DO NOTHING
    RETURNING n, id, queue, priority, task
), entered AS MATERIALIZED (
    SELECT s.n, s.seq FROM (SELECT array_agg(n) AS ns FROM new WHERE {shared}) AS a, {ns}.enter(a.ns, a.ns) AS s
), placed AS (
    INSERT INTO {ns}.live (n, seq, state, queue, priority, task)
    SELECT n, coalesce(s.seq, n), 'queued', queue, priority, task FROM new LEFT JOIN entered AS s USING (n)
)
SELECT count(*), CASE WHEN count(*) < :total::int8 THEN json_agg(id)::text END FROM new

-- part: alike
-- As `plain`, for jobs of one kind, which most batches are of: with no kinds to join a job costs the server two thirds.
WITH moment AS MATERIALIZED (
    SELECT coalesce(:now::int8, {clock}) AS now
), new AS (
    INSERT INTO {ns}.jobs (
        n, enqueued_at, version, max_crashes, priority, id, task, codec, queue, args, options, headers, key, tags)
    SELECT nextval('{ns}.numbers'), (SELECT now FROM moment), :version::int4, :max_crashes::int4, :priority::int2, u.id,
        :task::text, :codec::text, :queue::text, u.args, :options::text, :headers::text, :key::text, :tags::text
    FROM unnest(:ids::text::text[], :args::text::text[]) AS u(id, args)
    ON CONFLICT (id) DO NOTHING
    RETURNING n, id
), entered AS MATERIALIZED (
    SELECT s.n, s.seq FROM (SELECT array_agg(n) AS ns FROM new WHERE {shared}) AS a, {ns}.enter(a.ns, a.ns) AS s
), placed AS (
    INSERT INTO {ns}.live (n, seq, state, queue, priority, task)
    SELECT n, coalesce(s.seq, n), 'queued', :queue::text, :priority::int2, :task::text FROM new LEFT JOIN entered AS s USING (n)
)
SELECT count(*), CASE WHEN count(*) < :total::int8 THEN json_agg(id)::text END FROM new

-- part: one
-- As `plain`, for one job: no arrays to take apart, and no row source that is not read (the mere plan for one that calls `enter`
-- cost as much as the row of `live`). Result: one row, none if the id is known. :channel is told, unless null, if a sleeper holds its lock.
-- Relies on the unique id of jobs.
WITH new AS (
    INSERT INTO {ns}.jobs (
        n, enqueued_at, version, max_crashes, priority, id, task, codec, queue, args, options, headers, key, tags)
    VALUES (nextval('{ns}.numbers'), coalesce(:now::int8, {clock}), :version::int4, :max_crashes::int4, :priority::int2,
        :id::text, :task::text, :codec::text, :queue::text, :args::text, :options::text, :headers::text, :key::text, :tags::text)
    ON CONFLICT (id) DO NOTHING
    RETURNING n, queue, priority, task
)
INSERT INTO {ns}.live (n, seq, state, queue, priority, task)
SELECT n, CASE WHEN {shared} THEN {ns}.enter_one(n) ELSE n END, 'queued', queue, priority, task FROM new
RETURNING n, CASE WHEN CASE WHEN pg_try_advisory_lock(hashtextextended(:channel::text, 0))
    THEN NOT pg_advisory_unlock(hashtextextended(:channel::text, 0)) ELSE true END THEN {ns}.tell(:channel::text) END

-- part: timed
-- As `plain`, for jobs with times of their own: :delay and :within in microseconds, :run_at a moment.
-- Result: [id, state] of each that is new. Relies on the unique id of jobs.
WITH kinds AS MATERIALIZED (
    SELECT * FROM unnest(
        :task::text::text[], :version::text::int4[], :codec::text::text[], :queue::text::text[], :priority::text::int2[],
        :options::text::text[], :headers::text::text[], :key::text::text[], :tags::text::text[], :max_crashes::text::int4[],
        :delay::text::int8[], :run_at::text::int8[], :within::text::int8[])
    WITH ORDINALITY
        AS k(task, version, codec, queue, priority, options, headers, key, tags, max_crashes, delay, run_at, within, place)
), moment AS MATERIALIZED (
    SELECT coalesce(:now::int8, {clock}) AS now
), numbered AS MATERIALIZED (
    SELECT nextval('{ns}.numbers') AS n, u.*
    FROM unnest(:ids::text::text[], :kinds::text::int8[], :args::text::text[]) AS u(id, kind, args)
), asked AS MATERIALIZED (
    SELECT e.*, k.*, moment.now, coalesce(moment.now + k.delay, k.run_at) AS due_at,
        coalesce(moment.now + k.delay, k.run_at, moment.now) + k.within AS start_by
    FROM numbered AS e JOIN kinds AS k ON k.place = e.kind CROSS JOIN moment
), new AS (
    INSERT INTO {ns}.jobs (
        n, enqueued_at, version, max_crashes, priority, id, task, codec, queue, args, options, headers, key, tags)
    SELECT n, now, version, max_crashes, priority, id, task, codec, queue, args, options, headers, key, tags FROM asked
    ON CONFLICT (id) DO NOTHING
    RETURNING n
), entered AS MATERIALIZED (
    SELECT s.n, s.seq FROM (
        SELECT array_agg(a.n) AS ns FROM new JOIN asked AS a ON a.n = new.n
        WHERE {shared} AND NOT coalesce(a.due_at > a.now, false)
    ) AS q, {ns}.enter(q.ns, q.ns) AS s
), placed AS (
    INSERT INTO {ns}.live (n, seq, state, queue, priority, task, due_at, start_by)
    SELECT a.n, coalesce(s.seq, a.n), CASE WHEN a.due_at > a.now THEN 'scheduled' ELSE 'queued' END, a.queue, a.priority, a.task,
        a.due_at, a.start_by
    FROM new JOIN asked AS a ON a.n = new.n LEFT JOIN entered AS s ON s.n = a.n
    RETURNING n, state
)
SELECT a.id, p.state FROM placed AS p JOIN asked AS a ON a.n = p.n

-- part: judged
-- The immutable half of jobs whose place was decided before; each brings its number.
INSERT INTO {ns}.jobs (n, enqueued_at, version, max_crashes, priority, id, task, codec, queue, args, options, headers, key, tags)
SELECT e.n, :now::int8, k.version, k.max_crashes, k.priority, e.id, k.task, k.codec, k.queue, e.args, k.options, k.headers, k.key,
    k.tags
FROM unnest(:ns::text::int8[], :ids::text::text[], :kinds::text::int8[], :args::text::text[]) AS e(n, id, kind, args)
JOIN unnest(
    :task::text::text[], :version::text::int4[], :codec::text::text[], :queue::text::text[], :priority::text::int2[],
    :options::text::text[], :headers::text::text[], :key::text::text[], :tags::text::text[], :max_crashes::text::int4[])
WITH ORDINALITY AS k(task, version, codec, queue, priority, options, headers, key, tags, max_crashes, place)
ON k.place = e.kind

-- part: live
-- Place each job where it belongs; :enters says which have a line or a tenant. Relies on the primary key of jobs.
WITH e AS MATERIALIZED (
    SELECT * FROM unnest(
        :n::text::int8[], :state::text::text[], :due_at::text::int8[], :start_by::text::int8[], :waiting::text::int4[],
        :blocked_on::text::text[], :flow::text::int2[], :enters::text::boolean[], :hold::text::text[],
        :line::text::text[], :cost::text::int8[])
    AS u(n, state, due_at, start_by, waiting, blocked_on, flow, enters, hold, line, cost)
), entered AS MATERIALIZED (
    SELECT s.n, s.seq FROM (SELECT array_agg(e.n) AS ns FROM e
        WHERE e.state = 'queued' AND ({shared} OR EXISTS (SELECT 1 FROM e WHERE e.enters))) AS a,
        {ns}.enter(a.ns, a.ns) AS s
)
INSERT INTO {ns}.live (
    n, seq, state, queue, priority, task, due_at, start_by, waiting, blocked_on, flow, hold, line, cost)
SELECT e.n, coalesce(s.seq, e.n), e.state, j.queue, j.priority, j.task, e.due_at, e.start_by, e.waiting, e.blocked_on, e.flow,
    e.hold, e.line, e.cost
FROM e JOIN {ns}.jobs AS j ON j.n BETWEEN e.n AND e.n LEFT JOIN entered AS s ON s.n = e.n

-- part: ended
-- Jobs that a parent's bad end cancels as they come.
INSERT INTO {ns}.finished (n, state, attempt, failures, crashes, snoozes, releases, finished_at, due_at, start_by, reason)
SELECT n, 'cancelled', 0, 0, 0, 0, 0, :now::int8, due_at, start_by, reason
FROM unnest(:n::text::int8[], :reason::text::text[], :due_at::text::int8[], :start_by::text::int8[])
    AS e(n, reason, due_at, start_by)

-- part: tags
-- Let the jobs :ids be found by the tags they were stored with. Relies on the unique id of jobs.
INSERT INTO {ns}.tags (tag, n)
SELECT DISTINCT t.tag, j.n
FROM {ns}.jobs AS j CROSS JOIN json_array_elements_text(j.tags::json) AS t(tag)
WHERE j.id = ANY(:ids::text::text[]) AND j.tags IS NOT NULL
ON CONFLICT (tag, n) DO NOTHING

-- part: edges
INSERT INTO {ns}.edges (child, parent, on_dead, open)
SELECT * FROM unnest(:child::text::int8[], :parent::text::int8[], :on_dead::text::text[], :open::text::boolean[])

-- part: hold-parents
-- Let no parent end before this transaction does: its end must find the edges that are written here. Claims and renewals pass.
-- Relies on the unique id of jobs.
SELECT l.n FROM {ns}.jobs AS j JOIN {ns}.live AS l ON l.n BETWEEN j.n AND j.n
WHERE j.id = ANY(:parents::text::text[]) ORDER BY l.n + 0 FOR KEY SHARE OF l

-- part: hold-ended
-- Let no parent that has ended be sent back, resolved, erased or pruned meanwhile. Asked before and behind `hold-parents`: who is
-- sent back at this moment is found there, and who ends at this moment here. Relies on the unique id of jobs.
SELECT f.n FROM {ns}.jobs AS j JOIN {ns}.finished AS f ON f.n BETWEEN j.n AND j.n
WHERE j.id = ANY(:parents::text::text[]) ORDER BY f.n + 0 FOR KEY SHARE OF f

-- part: known
-- What is known of these ids. Result: [id, n, state, status of the dead letter]. Relies on the unique id of jobs.
SELECT j.id, j.n, coalesce(l.state, f.state), d.status
FROM {ns}.jobs AS j
LEFT JOIN {ns}.live AS l ON l.n BETWEEN j.n AND j.n LEFT JOIN {ns}.finished AS f ON f.n BETWEEN j.n AND j.n
LEFT JOIN {ns}.dead AS d ON d.n BETWEEN j.n AND j.n
WHERE j.id = ANY(:ids::text::text[])
