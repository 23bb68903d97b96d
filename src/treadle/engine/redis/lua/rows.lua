-- What every verb stands on: the clock, the rows of the jobs it touches, and the one write at its end.
--
-- A job is one field, its number, in one of the hashes `j:BLOCK` of 1000 numbers each; its id leads to the number through
-- the hash `ids`. A row is a packed head that changes, a map of what few jobs have (`cold`, unpacked only when looked at)
-- and a tail of three MessagePack values (args, options, headers) that no script ever unpacks on the way of a plain job.
-- Rows are read once, changed in memory and written together by `commit`, so that a verb that fails has written none.

local call = redis.call
local prefix = KEYS[1] .. ':'
local verbs = {}

local SCHEDULED, BLOCKED, QUEUED, RUNNING, RETRYING = 1, 2, 3, 4, 5
local COMPLETED, DEAD, CANCELLED, EXPIRED = 6, 7, 8, 9
local NAMES = {'scheduled', 'blocked', 'queued', 'running', 'retrying', 'completed', 'dead', 'cancelled', 'expired'}
local CODES = {}
for code, name in ipairs(NAMES) do CODES[name] = code end

local BLOCK = 1000
local NEVER = -4503599627370496 -- stands for "no such time": the year 1827, exact in a double
local HEAD = '<BBBBBbI4I4I4I4I4I4I4dddddddI2c0I2c0I2c0I2c0I2c0I4c0'

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

local function decode(n, text)
  local state, cancel, stuck, suspect, parent, priority, version, attempt, failures, crashes, snoozes, releases, max_crashes,
    seq, enqueued, due, start_by, claimed, finished, first_failed, id, queue, task, codec, lease, cold, at =
    struct.unpack(HEAD, text)
  return {
    n = n, state = state, cancel = cancel, stuck = stuck, suspect = suspect, parent = parent, priority = priority,
    version = version, attempt = attempt, failures = failures, crashes = crashes, snoozes = snoozes, releases = releases,
    max_crashes = max_crashes, seq = seq, enqueued = enqueued, due = some(due), start_by = some(start_by),
    claimed = some(claimed), finished = some(finished), first_failed = some(first_failed), id = id, queue = queue,
    task = task, codec = codec, lease = lease, cold = cold, tail = string.sub(text, at),
  }
end

local function encode(r)
  local more = r.more
  if more then r.cold = next(more) and cmsgpack.pack(more) or '' end
  return struct.pack(HEAD, r.state, r.cancel, r.stuck, r.suspect, r.parent, r.priority, r.version, r.attempt, r.failures,
    r.crashes, r.snoozes, r.releases, r.max_crashes, r.seq, r.enqueued, r.due or NEVER, r.start_by or NEVER,
    r.claimed or NEVER, r.finished or NEVER, r.first_failed or NEVER, #r.id, r.id, #r.queue, r.queue, #r.task, r.task,
    #r.codec, r.codec, #r.lease, r.lease, #r.cold, r.cold) .. r.tail
end

-- What few jobs have: tags, key, result, reason, dead, tries, ntries, notes, progress, edges, waits.
local NOTHING = setmetatable({}, {__newindex = function() error('a row without a cold part was written to') end})
local function seen(r)
  if r.more then return r.more end
  if r.cold == '' then return NOTHING end
  r.more = cmsgpack.unpack(r.cold)
  return r.more
end
local function warm(r)
  if not r.more then r.more = r.cold == '' and {} or cmsgpack.unpack(r.cold) end
  return r.more
end

local rows = {} -- number -> row, or false where nothing is stored
local dirty, fresh = {}, {}

local function block_of(n) return (n - n % BLOCK) / BLOCK end
local function block_key(block) return prefix .. 'j:' .. digits(block) end

local function fetch(numbers)
  local blocks, order = {}, {}
  for _, n in ipairs(numbers) do
    if rows[n] == nil then
      rows[n] = false
      local block = block_of(n)
      local wanted = blocks[block]
      if not wanted then
        wanted = {}
        blocks[block] = wanted
        order[#order + 1] = block
      end
      wanted[#wanted + 1] = n
    end
  end
  for _, block in ipairs(order) do
    local wanted = blocks[block]
    local texts = call('HMGET', block_key(block), unpack(wanted))
    for i, n in ipairs(wanted) do
      if texts[i] then rows[n] = decode(n, texts[i]) end
    end
  end
end

local function row(n)
  if rows[n] == nil then fetch({n}) end
  return rows[n]
end

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
    local mine = held[r.lease]
    if not mine then
      mine = {}
      held[r.lease] = mine
    end
    mine[r.n] = true
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
    local mine = held[r.lease]
    if not mine then
      mine = {}
      held[r.lease] = mine
    end
    mine[r.n] = false
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
  local blocks, order = {}, {}
  for _, r in ipairs(dirty) do
    r.dirty = false
    if rows[r.n] then
      local block = block_of(r.n)
      local fields = blocks[block]
      if not fields then
        fields = {}
        blocks[block] = fields
        order[#order + 1] = block
      end
      fields[#fields + 1] = r.n
      fields[#fields + 1] = encode(r)
    end
  end
  for _, block in ipairs(order) do
    in_parts(blocks[block], 2000, function(...) call('HSET', block_key(block), ...) end)
  end
  dirty = {}
  in_parts(fresh, 2000, function(...) call('HSET', prefix .. 'ids', ...) end)
  fresh = {}
end

-- Wakes go to who has said that it listens. A topic without a listener costs one look, and is forgotten at the first call
-- that reaches nobody.
local function say(ears, topic)
  if call('SPUBLISH', prefix .. topic, '') == 0 then call('HDEL', prefix .. ears, topic) end
end

local function wake()
  local topics = {}
  for topic in pairs(woken) do topics[#topics + 1] = topic end
  if #topics > 0 then
    table.sort(topics)
    local ears = call('HMGET', prefix .. 'ears', unpack(topics))
    for i, topic in ipairs(topics) do
      if ears[i] then say('ears', topic) end
    end
  end
  if #ended_jobs > 0 and call('EXISTS', prefix .. 'ears:job') == 1 then
    for first = 1, #ended_jobs, 1000 do
      local last = math.min(first + 999, #ended_jobs)
      local ears = call('HMGET', prefix .. 'ears:job', unpack(ended_jobs, first, last))
      for i = 1, last - first + 1 do
        if ears[i] then say('ears:job', ended_jobs[first + i - 1]) end
      end
    end
  end
end
