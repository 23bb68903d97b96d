-- What every verb stands on: the clock, the rows of the jobs it touches, and the one write at its end.
--
-- A job is one field, its number, in up to three hashes of a block of 1000 numbers: `j:BLOCK` holds what was asked for and
-- (but for a replay with new arguments) never changes: the MessagePack of when it was stored and of an array {id, task,
-- version, codec, queue, priority, max_crashes, tags, key, args, options, headers}, which scripts hand on as it is.
-- `s:BLOCK` holds where the job stands, packed, short for a job that nothing special has happened to; a job that is queued
-- for the first time has none. `c:BLOCK` holds a map of what few jobs have. The hash `ids` leads from an id to its number.
-- Plain jobs are claimed and settled as texts that whole batches share (see `claim` and `settle`); all others as rows, which
-- are read once, changed in memory and written together by `commit`, so that a verb that fails has written none.

local call = redis.call
local prefix = KEYS[1] .. ':'
local verbs = {}
local remember, repeated -- a claim's, see `claim`

local SCHEDULED, BLOCKED, QUEUED, RUNNING, RETRYING = 1, 2, 3, 4, 5
local COMPLETED, DEAD, CANCELLED, EXPIRED = 6, 7, 8, 9
local NAMES = {'scheduled', 'blocked', 'queued', 'running', 'retrying', 'completed', 'dead', 'cancelled', 'expired'}
local CODES = {}
for code, name in ipairs(NAMES) do CODES[name] = code end

local BLOCK = 1000
local NEVER = -4503599627370496 -- stands for "no such time": the year 1827, exact in a double
-- state, cancel, stuck, suspect, parent, cold, lease, attempt, claimed, finished
local SHORT = '<BBBBBBI4I4dd'
-- and failures, crashes, snoozes, releases, seq, due, start_by, first failed
local LONG = SHORT .. 'I4I4I4I4dddd'
local SHORT_SIZE = struct.size(SHORT)
local ASKED = 10 -- bytes before the array's elements in `j`
local VIRGIN = struct.pack(SHORT, QUEUED, 0, 0, 0, 0, 0, 0, 0, NEVER, NEVER)

local clock
local function the_time(named)
  if named then return named end
  if not clock then
    local seconds = call('TIME')
    clock = seconds[1] * 1000000 + seconds[2]
  end
  return clock
end

-- Redis takes whole numbers of any size from a script, but Lua's own `..` keeps 14 digits.
local function digits(number) return string.format('%.0f', number) end
local function padded(number) return string.format('%016.0f', number) end

local function in_parts(list, size, use)
  for first = 1, #list, size do use(unpack(list, first, math.min(first + size - 1, #list))) end
end

local function some(time) if time ~= NEVER then return time end end

local function decode(n, asked, stands)
  stands = stands or VIRGIN
  local _, enqueued = cmsgpack.unpack_limit(asked, 1, 0)
  local _, id, task, version, codec, queue, priority, max_crashes, tags, key = cmsgpack.unpack_limit(asked, 9, ASKED)
  local failures, crashes, snoozes, releases, seq, due, start_by, first_failed = 0, 0, 0, 0, n, NEVER, NEVER, NEVER
  local state, cancel, stuck, suspect, parent, cold, lease, attempt, claimed, finished = struct.unpack(SHORT, stands)
  if #stands > SHORT_SIZE then
    failures, crashes, snoozes, releases, seq, due, start_by, first_failed =
      struct.unpack('<I4I4I4I4dddd', stands, SHORT_SIZE + 1)
  end
  return {
    n = n, asked = asked, id = id, task = task, version = version, codec = codec, queue = queue, priority = priority,
    max_crashes = max_crashes, tags = tags, key = key, enqueued = enqueued, state = state, cancel = cancel, stuck = stuck,
    suspect = suspect, parent = parent, cold = cold, lease = lease, attempt = attempt, claimed = some(claimed),
    finished = some(finished), failures = failures, crashes = crashes, snoozes = snoozes, releases = releases, seq = seq,
    due = some(due), start_by = some(start_by), first_failed = some(first_failed),
  }
end

local function is_plain(r)
  return r.seq == r.n and not r.due and not r.start_by and not r.first_failed
    and r.failures + r.crashes + r.snoozes + r.releases == 0
end

local function encode(r)
  local claimed, finished = r.claimed or NEVER, r.finished or NEVER
  if is_plain(r) then
    return struct.pack(SHORT, r.state, r.cancel, r.stuck, r.suspect, r.parent, r.cold, r.lease, r.attempt, claimed, finished)
  end
  return struct.pack(LONG, r.state, r.cancel, r.stuck, r.suspect, r.parent, r.cold, r.lease, r.attempt, claimed, finished,
    r.failures, r.crashes, r.snoozes, r.releases, r.seq, r.due or NEVER, r.start_by or NEVER, r.first_failed or NEVER)
end

local rows = {} -- number -> row, or false where nothing is stored
local dirty = {}

local function block_of(n) return (n - n % BLOCK) / BLOCK end
local function block_key(kind, block) return prefix .. kind .. ':' .. digits(block) end

-- The numbers that are wanted, by block, in the order of their coming.
local function by_block(numbers, wanted)
  local blocks, order = {}, {}
  for _, n in ipairs(numbers) do
    if not wanted or wanted(n) then
      local block = block_of(n)
      local list = blocks[block]
      if not list then
        list = {}
        blocks[block] = list
        order[#order + 1] = block
      end
      list[#list + 1] = n
    end
  end
  return blocks, order
end

local function fetch(numbers)
  local blocks, order = by_block(numbers, function(n)
    if rows[n] ~= nil then return false end
    rows[n] = false
    return true
  end)
  for _, block in ipairs(order) do
    local list = blocks[block]
    local asked = call('HMGET', block_key('j', block), unpack(list))
    local stands = call('HMGET', block_key('s', block), unpack(list))
    for i, n in ipairs(list) do
      if asked[i] then rows[n] = decode(n, asked[i], stands[i]) end
    end
  end
end

local function row(n)
  if rows[n] == nil then fetch({n}) end
  return rows[n]
end

-- What few jobs have: result, reason, dead, tries, ntries, notes, progress, edges, waits.
local NOTHING = setmetatable({}, {__newindex = function() error('a row without a cold part was written to') end})
local function warm(r)
  if not r.more then
    local text = r.cold == 1 and call('HGET', block_key('c', block_of(r.n)), r.n)
    r.more = text and cmsgpack.unpack(text) or {}
  end
  return r.more
end
local function seen(r) return (r.more or r.cold == 1) and warm(r) or NOTHING end

local function touch(r)
  if not r.dirty then
    r.dirty = true
    dirty[#dirty + 1] = r
  end
  return r
end

local function numbers_of(ids)
  local found = {}
  for first = 1, #ids, 1000 do
    local last = math.min(first + 999, #ids)
    local numbers = call('HMGET', prefix .. 'ids', unpack(ids, first, last))
    for i = 1, last - first + 1 do
      if numbers[i] then found[ids[first + i - 1]] = tonumber(numbers[i]) end
    end
  end
  return found
end

local function row_of(id)
  local n = call('HGET', prefix .. 'ids', id)
  return n and row(tonumber(n)) or false
end

local function next_numbers(count) return call('HINCRBY', prefix .. 'meta', 'n', count) - count + 1 end

local function oldest_first(list)
  table.sort(list, function(a, b) return a.n < b.n end)
  return list
end

local function rows_in(numbers)
  local list = {}
  for i, n in ipairs(numbers) do numbers[i] = tonumber(n) end
  fetch(numbers)
  for _, n in ipairs(numbers) do
    if rows[n] then list[#list + 1] = rows[n] end
  end
  return list
end

-- The indices. A line holds the queued jobs of one (queue, priority, task), suspects apart; its entry is the job's number,
-- or `seq:number` for one that came back. An entry whose job has left the queue otherwise than by a claim stays behind and
-- is thrown away by the claim that meets it.
local pushes, push_order = {}, {}
local held = {}
local finished = {}
local woken, ended_jobs = {}, {}

local function line_of(r) return digits(r.priority) .. '\n' .. (r.suspect == 1 and 's' or 'n') .. '\n' .. r.task end
local function line_key(queue, line) return prefix .. 'l:' .. queue .. '\n' .. line end

-- Fields and texts on their way to the hashes of blocks.
local function fields_for(sets, kind, block)
  local blocks = sets[kind]
  if not blocks then
    blocks = {}
    sets[kind] = blocks
  end
  local fields = blocks[block]
  if not fields then
    fields = {}
    blocks[block] = fields
  end
  return fields
end

local function put(sets, kind, n, text)
  local fields = fields_for(sets, kind, block_of(n))
  fields[#fields + 1] = n
  fields[#fields + 1] = text
end

local function write(sets)
  for kind, blocks in pairs(sets) do
    for block, fields in pairs(blocks) do
      local name = block_key(kind, block)
      in_parts(fields, 2000, function(...) call('HSET', name, ...) end)
    end
  end
end

-- Runs of numbers that stand in one block: `use` is called with the block, the first and the last place of each.
local function runs(numbers, use)
  local first, count = 1, #numbers
  while first <= count do
    local block = block_of(numbers[first])
    local last = first
    while last < count and last - first < 999 and block_of(numbers[last + 1]) == block do last = last + 1 end
    use(block, first, last)
    first = last + 1
  end
end

local function hold(lease, n, here)
  local mine = held[lease]
  if not mine then
    mine = {}
    held[lease] = mine
  end
  mine[n] = here
end

local function enter(r)
  local state = r.state
  if state == QUEUED then
    local line = line_of(r)
    local name = r.queue .. '\n' .. line
    local push = pushes[name]
    if not push then
      push = {queue = r.queue, line = line, priority = r.priority}
      pushes[name] = push
      push_order[#push_order + 1] = name
    end
    push[#push + 1] = r.seq == r.n and r.n or digits(r.seq) .. ':' .. digits(r.n)
  elseif state == RUNNING then
    hold(r.lease, r.n, true)
  elseif state == SCHEDULED or state == RETRYING then
    call('ZADD', prefix .. 'due', r.due, padded(r.n))
  elseif state == COMPLETED then
    finished[#finished + 1] = r.n
  elseif state ~= BLOCKED then
    call('ZADD', prefix .. 'f:' .. state, r.finished, padded(r.n))
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
  end
  if r.start_by and state <= QUEUED then call('ZREM', prefix .. 'late', padded(r.n)) end
  return r
end

local STALE = 1000
-- A line more than half of whose entries are stale is written anew: the price of one look at each entry, once in a while.
local function gone_from_line(r)
  local name = r.queue .. '\n' .. line_of(r)
  local stale = call('HINCRBY', prefix .. 'stale', name, 1)
  if stale < STALE or stale * 2 < call('LLEN', prefix .. 'l:' .. name) then return end
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
      if other and other ~= r and other.state == QUEUED and other.seq == seq then kept[#kept + 1] = entry end
    end
  end
  call('DEL', line)
  in_parts(kept, 1000, function(...) call('RPUSH', line, ...) end)
  call('HDEL', prefix .. 'stale', name)
end

local function flush_indices()
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
end

local function queue(r)
  r.state = QUEUED
  r.seq = next_numbers(1)
  woken['queue:' .. r.queue] = true
  return enter(r)
end

-- Queue the row if it is due, else keep it for its time. The row must have left what it stood in.
local function admit(r, now)
  if not r.due or r.due <= now then return queue(r) end
  r.state = SCHEDULED
  return enter(r)
end

local function commit()
  flush_indices()
  local sets = {}
  for _, r in ipairs(dirty) do
    r.dirty = false
    if rows[r.n] then
      if r.more then
        local cold = next(r.more) and 1 or 0
        if cold == 1 then
          put(sets, 'c', r.n, cmsgpack.pack(r.more))
        elseif r.cold == 1 then
          call('HDEL', block_key('c', block_of(r.n)), r.n)
        end
        r.cold = cold
      end
      if r.asked_anew then put(sets, 'j', r.n, r.asked) end
      put(sets, 's', r.n, encode(r))
    end
  end
  dirty = {}
  write(sets)
end
