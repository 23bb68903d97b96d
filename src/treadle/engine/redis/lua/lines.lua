-- Where jobs stand: the indices, and how a row enters and leaves them. Rests on `rows`, `ranking` and `gating`.
--
-- A line holds the queued jobs of one (queue, priority, kind, task); the sorted set `lines:QUEUE` names them. Kinds:
--   n  plain jobs, s  suspects among them: lists. An entry is the job's number, or `seq:number` for one that came back. One
--      whose job has left the queue otherwise than by a claim stays behind and is thrown away by the claim that meets it.
--   f  jobs in a queue that tenants share, t  suspects among them: sorted sets of numbers by seq.
--   g  gated jobs, h  suspects among them: as well.
--   l  late ones, as well: a claim moves them here, where none looks at them, until `promote` expires them. They wait still:
--      where tenants share the queue, others are placed beside them.
-- So a claim where no job is gated looks at no gated job, and one that does finds them in the order in which all stand.
local pushes, push_order = {}, {}
local held = {}
local finished = {}

local slots_come, slots_go = {}, {} -- see `gating`
local turns_come, turns_go = {}, {}

local SORTED = {f = true, t = true, g = true, h = true}
local GATED = {g = true, h = true}
local SUSPECT = {s = true, t = true, h = true}

local function line_name(priority, kind, task) return digits(priority) .. '\n' .. kind .. '\n' .. task end
local function line_key(queue, line) return prefix .. 'l:' .. queue .. '\n' .. line end

local function kind_of(r)
  if r.gated == 1 then return r.suspect == 1 and 'h' or 'g' end
  if shared(r.queue, r.priority) then return r.suspect == 1 and 't' or 'f' end
  return r.suspect == 1 and 's' or 'n'
end

local function held_by(lease)
  local mine = held[lease]
  if not mine then
    mine = {}
    held[lease] = mine
  end
  return mine
end

local function hold(lease, n, here) held_by(lease)[n] = here end

local function stand_in_line(r)
  local kind = kind_of(r)
  local line = line_name(r.priority, kind, r.task)
  local standing = standings[r.queue .. '\n' .. r.priority]
  if standing and standing.known then
    standing.head, standing.back = math.min(standing.head or r.seq, r.seq), math.max(standing.back or r.seq, r.seq)
  end
  if SORTED[kind] then
    call('ZADD', line_key(r.queue, line), r.seq, padded(r.n))
    call('ZADD', prefix .. 'lines:' .. r.queue, -r.priority, line)
    return
  end
  local name = r.queue .. '\n' .. line
  local push = pushes[name]
  if not push then
    push = {queue = r.queue, line = line, priority = r.priority}
    pushes[name] = push
    push_order[#push_order + 1] = name
  end
  push[#push + 1] = r.seq == r.n and r.n or digits(r.seq) .. ':' .. digits(r.n)
end

-- A claim came upon a row whose start-by deadline is over, and has taken it out of its line.
local function stand_late(r)
  local line = line_name(r.priority, 'l', r.task)
  call('ZADD', line_key(r.queue, line), r.seq, padded(r.n))
  call('ZADD', prefix .. 'lines:' .. r.queue, -r.priority, line)
end

local function enter(r)
  local state = r.state
  if state == QUEUED then
    stand_in_line(r)
  elseif state == RUNNING then
    hold(r.lease, r.n, true)
  elseif state == SCHEDULED or state == RETRYING then
    call('ZADD', prefix .. 'due', r.due, padded(r.n))
  elseif state == COMPLETED then
    finished[#finished + 1] = r.n
  elseif state ~= BLOCKED then
    call('ZADD', prefix .. 'f:' .. state, r.finished, padded(r.n))
  elseif r.spot > 0 then
    gating.park(r)
  end
  if r.start_by and state <= QUEUED then call('ZADD', prefix .. 'late', r.start_by, padded(r.n)) end
  return touch(r)
end

local function leave(r)
  local state = r.state
  if state == RUNNING then
    hold(r.lease, r.n, false)
    if r.cancel == 1 then call('SREM', prefix .. 'x:' .. r.lease, r.n) end
  elseif state == SCHEDULED or state == RETRYING then
    call('ZREM', prefix .. 'due', padded(r.n))
  elseif state == COMPLETED then
    call('HINCRBY', prefix .. 'meta', 'gone', 1)
  elseif state >= DEAD then
    call('ZREM', prefix .. 'f:' .. state, padded(r.n))
    if state == DEAD then call('ZREM', prefix .. 'f:resolved', padded(r.n)) end
  elseif r.spot > 0 then
    gating.unpark(r)
  end
  if r.start_by and state <= QUEUED then call('ZREM', prefix .. 'late', padded(r.n)) end
  return r
end

local STALE = 1000
-- A list more than half of whose entries are stale is written anew: the price of one look at each entry, once in a while.
local function stale_in(name)
  local stale = call('HINCRBY', prefix .. 'stale', name, 1)
  return stale >= STALE and stale * 2 >= call('LLEN', prefix .. 'l:' .. name)
end

local function swept(name, leaving)
  local line = prefix .. 'l:' .. name
  local entries, kept = call('LRANGE', line, 0, -1), {}
  for first = 1, #entries, BLOCK do
    local numbers = {}
    for i = first, math.min(first + BLOCK - 1, #entries) do
      numbers[#numbers + 1] = tonumber(entries[i]) or tonumber(string.match(entries[i], ':(%d+)$'))
    end
    fetch(numbers)
    for i, n in ipairs(numbers) do
      local entry = entries[first + i - 1]
      local seq = tonumber(entry) or tonumber(string.match(entry, '^%d+'))
      local other = rows[n]
      if other and other ~= leaving and other.state == QUEUED and other.seq == seq then kept[#kept + 1] = entry end
    end
  end
  call('DEL', line)
  in_parts(kept, 1000, function(...) call('RPUSH', line, ...) end)
  call('HDEL', prefix .. 'stale', name)
end

local function gone_from_sorted(r, kind)
  local line = line_name(r.priority, kind, r.task)
  if call('ZREM', line_key(r.queue, line), padded(r.n)) == 0 then return false end
  if call('EXISTS', line_key(r.queue, line)) == 0 then call('ZREM', prefix .. 'lines:' .. r.queue, line) end
  return true
end

-- A queued row goes otherwise than by a claim.
local function gone_from_line(r)
  local kinds = r.gated == 1 and {'g', 'h'} or {'f', 't'}
  standings[r.queue .. '\n' .. r.priority] = nil
  local found = gone_from_sorted(r, kinds[r.suspect + 1]) or (r.start_by and gone_from_sorted(r, 'l'))
  if not found and r.gated == 0 then
    local name = r.queue .. '\n' .. line_name(r.priority, r.suspect == 1 and 's' or 'n', r.task)
    if stale_in(name) then swept(name, r) end
  end
end

function flush_indices()
  for _, name in ipairs(push_order) do
    local push = pushes[name]
    in_parts(push, 1000, function(...) call('RPUSH', prefix .. 'l:' .. name, ...) end)
    call('ZADD', prefix .. 'lines:' .. push.queue, -push.priority, push.line)
  end
  if #push_order > 0 then pushes, push_order = {}, {} end
  for lease, mine in pairs(held) do
    local came, went = {}, {}
    for n, here in pairs(mine) do
      if here then came[#came + 1] = n else went[#went + 1] = n end
    end
    in_parts(went, 1000, function(...) call('SREM', prefix .. 'h:' .. lease, ...) end)
    in_parts(came, 1000, function(...) call('SADD', prefix .. 'h:' .. lease, ...) end)
    held[lease] = nil
  end
  if #finished > 0 then
    in_parts(finished, 1000, function(...) call('RPUSH', prefix .. 'f:6', ...) end)
    finished = {}
  end
  if #slots_go + #slots_come + #turns_go + #turns_come > 0 then
    in_parts(slots_go, 1000, function(...) call('ZREM', prefix .. 'slots', ...) end)
    if #slots_come > 0 then
      local new = call('EXISTS', prefix .. 'slots') == 0
      if new then call('ZADD', prefix .. 'slots', 0, LONGER) end
      in_parts(slots_come, 2000, function(...) call('ZADD', prefix .. 'slots', ...) end)
      if new then call('ZREM', prefix .. 'slots', LONGER) end
    end
    in_parts(turns_go, 1000, function(...) call('ZREM', prefix .. 'turns', ...) end)
    in_parts(turns_come, 2000, function(...) call('ZADD', prefix .. 'turns', ...) end)
    slots_come, slots_go, turns_come, turns_go = {}, {}, {}, {}
  end
end

local function queue(r)
  local number = next_numbers(1)
  r.state = QUEUED
  if r.flow.order and not r.place then gating.take_place(r, number) end
  r.seq = place_of(r, number)
  woken['queue:' .. r.queue] = true
  return enter(r)
end

-- Queue the row if it is due, else keep it for its time. The row must have left what it stood in.
local function admit(r, now)
  if not r.due or r.due <= now then return queue(r) end
  r.state = SCHEDULED
  return enter(r)
end
