-- Which jobs a filter means. Rests on `rows` and `holders`.
--
-- A filter is a map of the fields that are set: ids, states (codes), queues, tasks, lease, tag, key, status, fingerprint,
-- enqueued_before, enqueued_after, finished_before.

local function set_of(list)
  if not list then return nil end
  local set = {}
  for _, each in ipairs(list) do set[each] = true end
  return set
end

local function prepared(where)
  local cold = where.tag or where.key or where.status or where.fingerprint
  return {
    where = where, lease = where.lease and (lease_of(where.lease) or -1), states = set_of(where.states),
    queues = set_of(where.queues), tasks = set_of(where.tasks), cold = cold,
  }
end

local function letter_of(r)
  local dead = seen(r).dead
  if not dead then return nil, nil end
  local _, _, _, fingerprint, status = cmsgpack.unpack_limit(dead, 4, 1)
  return status, fingerprint
end

local function has_tag(r, tag)
  for _, each in ipairs(r.tags or {}) do
    if each == tag then return true end
  end
  return false
end

local function fits(r, filter)
  local where = filter.where
  if filter.states and not filter.states[r.state] then return false end
  if filter.queues and not filter.queues[r.queue] then return false end
  if filter.tasks and not filter.tasks[r.task] then return false end
  if filter.lease and r.lease ~= filter.lease then return false end
  if where.enqueued_before and r.enqueued >= where.enqueued_before then return false end
  if where.enqueued_after and r.enqueued <= where.enqueued_after then return false end
  if where.finished_before and not (r.finished and r.finished < where.finished_before) then return false end
  if not filter.cold then return true end
  if where.tag and not has_tag(r, where.tag) then return false end
  if where.key and r.key ~= where.key then return false end
  if not where.status and not where.fingerprint then return true end
  local status, fingerprint = letter_of(r)
  if where.status and status ~= where.status then return false end
  return not where.fingerprint or fingerprint == where.fingerprint
end

-- The numbers among which all that fits must be, sorted, or nothing when every job must be looked at.
local function candidates(where)
  local numbers
  if where.ids then
    numbers = {}
    for _, n in pairs(numbers_of(where.ids)) do numbers[#numbers + 1] = n end
  elseif where.lease then
    flush_indices()
    local number = lease_of(where.lease)
    numbers = number and call('SMEMBERS', prefix .. 'h:' .. number) or {}
  elseif where.states then
    numbers = {}
    for _, state in ipairs(where.states) do
      if state < DEAD then return nil end
      for _, n in ipairs(call('ZRANGE', prefix .. 'f:' .. state, 0, -1)) do numbers[#numbers + 1] = n end
    end
  else
    return nil
  end
  local sorted, taken = {}, {}
  for _, n in ipairs(numbers) do
    n = tonumber(n)
    if not taken[n] then
      taken[n] = true
      sorted[#sorted + 1] = n
    end
  end
  table.sort(sorted)
  return sorted
end

-- Visit rows in the order of age until `visit` says to stop; `from` is a number that is passed by, with all before it.
-- At most `most` jobs are looked at where no index helps. Answers the last number looked at when there may be more.
local function walk(where, newest, from, most, visit)
  local list = candidates(where)
  local filter = prepared(where)
  local looked = 0
  local function part(numbers)
    fetch(numbers)
    for _, n in ipairs(numbers) do
      local r = rows[n]
      if r and fits(r, filter) and visit(r) then return true end
    end
  end
  if list then
    local chunk = {}
    for i = 1, #list do
      local n = list[newest and #list + 1 - i or i]
      if not from or (newest and n < from) or (not newest and n > from) then chunk[#chunk + 1] = n end
      if #chunk == 500 then
        if part(chunk) then return end
        chunk = {}
      end
    end
    part(chunk)
    return
  end
  local start = from and digits(block_of(from))
  local blocks = newest and call('ZREVRANGEBYSCORE', prefix .. 'blocks', start or '+inf', '-inf')
    or call('ZRANGEBYSCORE', prefix .. 'blocks', start or '-inf', '+inf')
  for _, block in ipairs(blocks) do
    local numbers = call('HKEYS', block_key('j', tonumber(block)))
    local chunk = {}
    for _, n in ipairs(numbers) do
      n = tonumber(n)
      if not from or (newest and n < from) or (not newest and n > from) then chunk[#chunk + 1] = n end
    end
    table.sort(chunk, newest and function(a, b) return a > b end or nil)
    if part(chunk) then return end
    looked = looked + #numbers
    for _, n in ipairs(chunk) do
      if rows[n] and not rows[n].dirty then rows[n] = nil end
    end
    if #chunk > 0 and looked >= most then return chunk[#chunk] end
  end
end
