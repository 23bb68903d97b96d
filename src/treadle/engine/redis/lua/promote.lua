-- promote: queue what is due, in due order, expire what missed its start-by deadline, and look at the keys of limits whose
-- moment has come, `limit` of each.
-- include: rows ranking slots turns lines admission gating family
--
-- Parameters: {now, limit}. Result: {queued, expired, next due as text or nothing}.

local function late_ones(now, limit)
  local numbers = call('ZRANGEBYSCORE', prefix .. 'late', '-inf', '(' .. digits(now), 'LIMIT', 0, limit)
  return rows_in(numbers)
end

-- The first `limit` that are due and not past their deadline.
local function due_ones(now, limit)
  local found, from = {}, 0
  while #found < limit do
    local numbers = call('ZRANGEBYSCORE', prefix .. 'due', '-inf', digits(now), 'LIMIT', from, limit)
    if #numbers == 0 then break end
    from = from + #numbers
    for _, r in ipairs(rows_in(numbers)) do
      if #found < limit and not (r.start_by and r.start_by < now) then found[#found + 1] = r end
    end
  end
  return found
end

function verbs.promote(arg)
  local now, limit = the_time(arg[1]), arg[2]
  local late = limit > 0 and late_ones(now, limit) or {}
  for _, r in ipairs(late) do
    if r.state == QUEUED then gone_from_line(r) end
    end_row(leave(r), EXPIRED, now)
  end
  local due = due_ones(now, limit)
  for _, r in ipairs(due) do queue(leave(r)) end
  settle_children(now)
  call_next(now)
  local freed = 0
  if call('EXISTS', prefix .. 'gates') == 1 then freed = gating.look(now, limit) end
  local first = tonumber(call('ZRANGE', prefix .. 'due', 0, 0, 'WITHSCORES')[2])
  local gate = tonumber(call('ZRANGE', prefix .. 'gates', 0, 0, 'WITHSCORES')[2])
  if gate then first = math.min(first or gate, gate) end
  return {#due + freed, #late, first and digits(first) or false}
end
