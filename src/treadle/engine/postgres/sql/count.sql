-- How many jobs there are. An axis that was not asked for is null throughout. Put together at load, like `find`.

-- part: groups
-- The general question's head, before a source and the filters of `find`.
SELECT CASE WHEN :by_state::boolean THEN coalesce(l.state, f.state) END AS g1, CASE WHEN :by_queue::boolean THEN j.queue END AS g2,
    CASE WHEN :by_task::boolean THEN j.task END AS g3, CASE WHEN :by_status::boolean THEN d.status END AS g4, count(*),
    min(coalesce(l.due_at, f.due_at, j.enqueued_at))

-- part: grouped
GROUP BY g1, g2, g3, g4
