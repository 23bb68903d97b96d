-- Where jobs of tenants enter their queue: start-time fair queueing, worked out at the entry, so that no claim pays for it.
-- Rests on `rows`.
--
-- The sorted set `tenants:QUEUE PRIORITY` keeps the place given last to each tenant; it exists while tenants share the queue
-- at that priority. Places far behind the first that waits mean nothing any more and go.

local STEP = 1000 -- between two jobs of a tenant of weight 1
local WIDEST = STEP / 0.001 -- of the least weight there may be, today or tomorrow
local standings = {} -- of this script: queue and priority -> see `standing_of`, false where nobody shares

local function tenants_of(queue, priority) return prefix .. 'tenants:' .. queue .. '\n' .. priority end

local function shared(queue, priority)
  local name = queue .. '\n' .. priority
  local known = standings[name]
  if known == nil then
    known = call('EXISTS', tenants_of(queue, priority)) == 1 and {queue = queue, priority = priority, shared = true} or false
    standings[name] = known
  end
  return known and known.shared
end

local ranking = later(function()
  local its = {}

  -- The first entry of a list from one of its ends whose job is queued there still; those before it are thrown away.
  local function live_end(line, name, from_head)
    while true do
      local entry = call('LINDEX', line, from_head and 0 or -1)
      if not entry then return nil end
      local seq = tonumber(entry) or tonumber(string.match(entry, '^%d+'))
      local r = row(tonumber(entry) or tonumber(string.match(entry, ':(%d+)$')))
      if r and r.state == QUEUED and r.seq == seq then return seq end
      call(from_head and 'LPOP' or 'RPOP', line)
      call('HINCRBY', prefix .. 'stale', name, -1)
    end
  end

  local function ends_of(queue, line)
    local name = queue .. '\n' .. line
    local key = prefix .. 'l:' .. name
    if string.match(line, '^%S+\n[ns]\n') then return live_end(key, name, true), live_end(key, name, false) end
    local first, last = call('ZRANGE', key, 0, 0, 'WITHSCORES'), call('ZREVRANGE', key, 0, 0, 'WITHSCORES')
    return tonumber(first[2]), tonumber(last[2])
  end

  local function weights_of(queue)
    local text = call('HGET', prefix .. 'r:fair', queue)
    return text and cjson.decode(cmsgpack.unpack(text)[2]) or {}
  end

  -- The first and the last place that is taken, and the weights.
  local function standing_of(queue, priority)
    local its_shared, head, back = shared(queue, priority), nil, nil
    flush_indices()
    for _, line in ipairs(call('ZRANGEBYSCORE', prefix .. 'lines:' .. queue, -priority, -priority)) do
      local first, last = ends_of(queue, line)
      if first then head, back = math.min(head or first, first), math.max(back or last, last) end
    end
    local standing = {
      queue = queue, priority = priority, shared = its_shared, head = head, back = back, weights = weights_of(queue), known = true,
    }
    standings[queue .. '\n' .. priority] = standing
    return standing
  end

  local function fair_place(standing, tenant, number)
    local key = tenants_of(standing.queue, standing.priority)
    if not standing.shared and standing.back then call('ZADD', key, standing.back, '') end
    standing.shared = true
    local place = standing.head or number
    local last = tonumber(call('ZSCORE', key, tenant))
    if last then
      local exact = STEP / (standing.weights[tenant] or 1)
      local step = math.floor(exact + 0.5)
      if step - exact == 0.5 and step % 2 == 1 then step = step - 1 end -- halves to the even number, as elsewhere
      step = math.max(1, step)
      place = math.max(place, last + step)
    end
    call('ZADD', key, place, tenant)
    if not standing.trimmed then
      standing.trimmed = true
      call('ZREMRANGEBYSCORE', key, '-inf', '(' .. digits((standing.head or place) - WIDEST))
    end
    return place
  end

  -- The place of one more job, whose place would be `number` if there were no tenants.
  function its.enter(r, number)
    local standing = standings[r.queue .. '\n' .. r.priority]
    if not standing or not standing.known then standing = standing_of(r.queue, r.priority) end
    if not standing.head and standing.shared then
      call('DEL', tenants_of(r.queue, r.priority))
      standing.shared = false
    end
    local place = number
    if r.flow.fair or standing.shared then place = fair_place(standing, r.flow.fair or '', number) end
    standing.head = math.min(standing.head or place, place)
    standing.back = math.max(standing.back or place, place)
    return place
  end

  return its
end)

local function place_of(r, number)
  if not r.flow.fair and not shared(r.queue, r.priority) then return number end
  return ranking.enter(r, number)
end
