-- find: jobs as they are now, one page of them.
-- include: rows turns holders looking
--
-- Parameters: {filter, limit, after id or false, newest first, details, from number or false, how many to look at}.
-- Result: {number to go on from or nothing, MessagePack array of jobs}.

local function kin(list)
  local out = {}
  for i, each in ipairs(list) do out[i] = {each[1].id, each[2], NAMES[each[1].state]} end
  return #out > 0 and cmsgpack.pack(out) or '\144'
end

local function parents_of(r)
  local numbers, how, list = {}, {}, {}
  for i, edge in ipairs(seen(r).edges or {}) do
    numbers[i] = edge[1]
    how[edge[1]] = edge[2]
  end
  for i, parent in ipairs(oldest_first(rows_in(numbers))) do list[i] = {parent, how[parent.n]} end
  return list
end

local function offspring(r)
  if r.parent ~= 1 then return {} end
  local list = {}
  for i, child in ipairs(oldest_first(rows_in(call('SMEMBERS', prefix .. 'k:' .. digits(r.n))))) do
    for _, edge in ipairs(seen(child).edges) do
      if edge[1] == r.n then list[i] = {child, edge[2]} end
    end
  end
  return list
end

-- Where a job waits that may not start: {limit, key or false, id of the first in line, its state}. See `gating`.
local function parked_of(r)
  if r.state ~= BLOCKED or r.spot == 0 then return '\192' end
  if r.spot > 1 then
    local limit, at = unpack(r.flow.holds[math.floor(r.spot / 2)])
    return cmsgpack.pack({limit, r.spot % 2 == 1 and string.sub(at, #limit + 2), false, false})
  end
  local order = r.flow.order
  local n = turns.first(order)
  local first = n and n ~= r.n and row(n)
  return cmsgpack.pack({false, false, first and first.id, first and NAMES[first.state]})
end

local function details_of(r)
  local more = seen(r)
  local tries = '\221' .. struct.pack('>I4', more.ntries or 0) .. (more.tries or '')
  local notes = more.notes and next(more.notes) and cmsgpack.pack(more.notes) or '\128'
  return tries .. kin(parents_of(r)) .. kin(offspring(r)) .. notes .. parked_of(r)
end

local BLOCKED_ON = {'parents', 'key', 'limit'}

local function shown(r, details)
  local more = seen(r)
  local held_by = r.lease ~= 0 and holder(r.lease) or {}
  local blocked_on = r.state == BLOCKED and BLOCKED_ON[r.cause + 1] or nil
  local front = cmsgpack.pack(NAMES[r.state], blocked_on, r.attempt, r.failures, r.crashes,
    r.snoozes, r.releases, r.due, r.start_by, r.claimed, r.finished, held_by.lease, held_by.name, r.cancel == 1, r.stuck == 1,
    r.suspect == 1, more.result, more.reason, more.progress)
  local rest = details and details_of(r) or '\144\144\144\192\192'
  return '\220\0\27' .. front .. (more.dead or '\192') .. rest .. r.asked
end

function verbs.find(arg)
  local where, limit, after, newest, details, from, most = unpack(arg)
  if after and not from then
    local last = row_of(after)
    if not last then return {false, '\144'} end
    from = last.n
  end
  local out = {''}
  local cursor
  if limit > 0 then
    cursor = walk(where, newest, from, most, function(r)
      out[#out + 1] = shown(r, details)
      return #out > limit
    end)
  end
  out[1] = '\221' .. struct.pack('>I4', #out - 1)
  return {cursor and digits(cursor) or false, table.concat(out)}
end
