-- Where jobs stand: the indices, and how a row enters and leaves them. Rests on `rows`, `ranking`, `slots`, `turns` and `gating`.
--
-- A line holds the queued jobs of one (queue, priority, kind, task); the sorted set `lines:QUEUE` names them. Kinds:
--   n  plain jobs, s  suspects among them: lists. An entry is the job's number, or `seq:number` for one that came back. One
--      whose job has left the queue otherwise than by a claim stays behind and is thrown away by the claim that meets it.
--   f  jobs in a queue that tenants share, t  suspects among them: sorted sets by seq, of members that name it where it is not
--      the number.
--   g  gated jobs, h  suspects among them: as well.
--   l  late ones, as well: a claim moves them here, where none looks at them, until `promote` expires them. They wait still:
--      where tenants share the queue, others are placed beside them.
-- So a claim where no job is gated looks at no gated job, and one that does finds them in the order in which all stand.
local pushes, push_order = {}, {}
local inserts = {} -- into sorted sets, by key
local held = {}
local batches = {} -- {command, lease, numbers}: what was claimed or settled as one
local finished = {}

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

-- The member of a row in a line that is a sorted set, so that who reads it need not ask for the scores.
local function member_of(r)
  if r.seq == r.n then return padded(r.n) end
  return padded(r.n) .. padded(r.seq)
end

local function hold(lease, n, here)
  local mine = held[lease]
  if not mine then
    mine = {}
    held[lease] = mine
  end
  mine[n] = here
end

local function hold_all(lease, numbers) batches[#batches + 1] = {'SADD', lease, numbers} end
local function let_go_all(lease, numbers) batches[#batches + 1] = {'SREM', lease, numbers} end

local function stand_in_line(r)
  local kind = kind_of(r)
  local line = line_name(r.priority, kind, r.task)
  local standing = standings[r.queue .. '\n' .. r.priority]
  if standing and standing.known then
    standing.head, standing.back = math.min(standing.head or r.seq, r.seq), math.max(standing.back or r.seq, r.seq)
  end
  if SORTED[kind] then
    local key = line_key(r.queue, line)
    local insert = inserts[key]
    if not insert then
      insert = {queue = r.queue, line = line, priority = r.priority}
      inserts[key] = insert
    end
    insert[#insert + 1], insert[#insert + 2] = r.seq, member_of(r)
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
  call('ZADD', line_key(r.queue, line), r.seq, member_of(r))
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

local function insert_all()
  for key, insert in pairs(inserts) do
    in_parts(insert, 2000, function(...) call('ZADD', key, ...) end)
    call('ZADD', prefix .. 'lines:' .. insert.queue, -insert.priority, insert.line)
  end
  inserts = {}
end

local function gone_from_sorted(r, kind)
  insert_all()
  local line = line_name(r.priority, kind, r.task)
  if call('ZREM', line_key(r.queue, line), member_of(r)) == 0 then return false end
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
  insert_all()
  for _, batch in ipairs(batches) do
    in_parts(batch[3], 1000, function(...) call(batch[1], prefix .. 'h:' .. batch[2], ...) end)
  end
  batches = {}
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
  if made(slots) then slots.keep() end
  if made(turns) then turns.keep() end
  if made(gating) then gating.keep() end
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
