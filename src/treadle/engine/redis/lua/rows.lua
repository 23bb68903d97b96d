-- What most verbs stand on: the rows of the jobs they touch, and the one write at their end. Rests on `ground`.
--
-- A job is one field, its number, in up to three hashes of a block of 1000 numbers: `j:BLOCK` holds what was asked for and
-- (but for new arguments, or another priority) never changes: the MessagePack of when it was stored and of an array {id, task,
-- version, codec, queue, priority, max_crashes, tags, key, args, options, headers}, which scripts hand on as it is.
-- `s:BLOCK` holds where the job stands, packed, short for a job that nothing special has happened to; a job that is queued
-- for the first time has none. `c:BLOCK` holds a map of what few jobs have. The hash `ids` leads from an id to its number.
-- A job that is gated, has a tenant or was stored with a unique key has a 13th element in `j`: its flow and the length of that.
-- A flow is `h` and the name of the room if it asks for one start in one room and nothing else; `o` (`O`: dead letters stop its
-- line) and the ordering if it has that and nothing else; else the MessagePack of {holds, ordering, whether it stops there,
-- tenant, {unique key, codes of its states}}. While a gated job runs its short text in `s` goes on with its flow, as the byte
-- `gated`, 2, says, so that its end need not read `j`.
-- Plain jobs are claimed and settled as texts that whole batches share (see `claim` and `settle`); all others as rows, which
-- are read once, changed in memory and written together by `commit`, so that a verb that fails has written none.

local SCHEDULED, BLOCKED, QUEUED, RUNNING, RETRYING = 1, 2, 3, 4, 5
local COMPLETED, DEAD, CANCELLED, EXPIRED = 6, 7, 8, 9
local NAMES = {'scheduled', 'blocked', 'queued', 'running', 'retrying', 'completed', 'dead', 'cancelled', 'expired'}
local CODES = {}
for code, name in ipairs(NAMES) do CODES[name] = code end

local NEVER = -4503599627370496 -- stands for "no such time": the year 1827, exact in a double
-- state, cancel, stuck, suspect, parent, cold, gated, lease, attempt, claimed, finished
local SHORT = '<BBBBBBBI4I4dd'
-- and failures, crashes, snoozes, releases, seq, due, start_by, first failed
local LONG = SHORT .. 'I4I4I4I4dddd'
-- and where a gated job is parked (see `gating`), on what, and its place in the line of its ordering
local FULL = LONG .. 'HBd'
local SHORT_SIZE, LONG_SIZE = struct.size(SHORT), struct.size(LONG)
local MARK = 7 -- where the byte `gated` stands in a short text
local ASKED = 10 -- bytes before the array's elements in `j`
local VIRGIN = struct.pack(SHORT, QUEUED, 0, 0, 0, 0, 0, 0, 0, 0, NEVER, NEVER)

-- A table of functions that is made when the first of them is used: what few scripts need costs the others nothing.
local function later(make)
  return setmetatable({}, {__index = function(proxy, name)
    setmetatable(proxy, nil)
    for each, its in pairs(make()) do proxy[each] = its end
    return proxy[name]
  end})
end

-- Whether any of them has been used.
local function made(functions) return getmetatable(functions) == nil end

local function some(time) if time ~= NEVER then return time end end

local ONE_HOLD, ONE_ORDER, STRICT_ORDER = string.byte('hoO', 1, 3)
-- What a job asks of others: {holds, order, stop, fair, unique}; nothing for a plain job. A hold is {limit, name of
-- the room: `LIMIT\nKEY`, cost}.
local flows = {}
local function flow_in(blob)
  local flow = flows[blob]
  if not flow then
    local kind, holds, order, stop, fair, unique, _ = string.byte(blob), {}, nil, false, nil, nil, nil
    if kind == ONE_HOLD then
      local at = string.sub(blob, 2)
      holds = {{string.match(at, '^[^\n]*'), at, 1}}
    elseif kind == ONE_ORDER or kind == STRICT_ORDER then
      order, stop = string.sub(blob, 2), kind == STRICT_ORDER
    else
      _, holds, order, stop, fair, unique = cmsgpack.unpack_limit(blob, 5, 1)
    end
    flow = {
      holds = holds, order = order or nil, stop = stop, fair = fair or nil, unique = unique or nil,
      gated = (order or holds[1]) and 1 or 0, blob = blob,
    }
    flows[blob] = flow
  end
  return flow
end

-- Where the flow begins and ends in what was asked for; nothing where there is none.
local function flow_within(asked)
  if string.byte(asked, ASKED) ~= 157 then return nil end
  local last = #asked - 4
  return last - struct.unpack('>I4', asked, last + 1) + 1, last
end

local function flow_of(asked)
  local first, last = flow_within(asked)
  return first and flow_in(string.sub(asked, first, last))
end

local NO_FLOW = {holds = {}, gated = 0}
local function decode(n, asked, stands)
  stands = stands or VIRGIN
  local flow = flow_of(asked) or NO_FLOW
  local _, enqueued = cmsgpack.unpack_limit(asked, 1, 0)
  local _, id, task, version, codec, queue, priority, max_crashes, tags, key = cmsgpack.unpack_limit(asked, 9, ASKED)
  local failures, crashes, snoozes, releases, seq, due, start_by, first_failed = 0, 0, 0, 0, n, NEVER, NEVER, NEVER
  local state, cancel, stuck, suspect, parent, cold, gated, lease, attempt, claimed, finished = struct.unpack(SHORT, stands)
  local longer = gated < 2 and #stands or SHORT_SIZE
  if longer > SHORT_SIZE then
    failures, crashes, snoozes, releases, seq, due, start_by, first_failed =
      struct.unpack('<I4I4I4I4dddd', stands, SHORT_SIZE + 1)
  end
  local spot, cause, place = 0, 0, flow.order and state <= RETRYING and n or NEVER
  if longer > LONG_SIZE then
    spot, cause, place = struct.unpack('<HBd', stands, LONG_SIZE + 1)
  end
  return {
    n = n, asked = asked, id = id, task = task, version = version, codec = codec, queue = queue, priority = priority,
    max_crashes = max_crashes, tags = tags, key = key, enqueued = enqueued, state = state, cancel = cancel, stuck = stuck,
    suspect = suspect, parent = parent, cold = cold, lease = lease, attempt = attempt, claimed = some(claimed),
    finished = some(finished), failures = failures, crashes = crashes, snoozes = snoozes, releases = releases, seq = seq,
    due = some(due), start_by = some(start_by), first_failed = some(first_failed), flow = flow, gated = flow.gated,
    spot = spot, cause = cause, place = some(place),
  }
end

local function is_plain(r)
  return r.seq == r.n and not r.due and not r.start_by and not r.first_failed
    and r.failures + r.crashes + r.snoozes + r.releases == 0
end

local function encode(r)
  local claimed, finished = r.claimed or NEVER, r.finished or NEVER
  local ordinary = r.spot == 0 and r.place == (r.flow.order and r.state <= RETRYING and r.n or nil)
  if ordinary and is_plain(r) then
    local mark, tail = r.gated, ''
    if mark == 1 and r.state == RUNNING then mark, tail = 2, r.flow.blob end
    return struct.pack(SHORT, r.state, r.cancel, r.stuck, r.suspect, r.parent, r.cold, mark, r.lease, r.attempt, claimed,
      finished) .. tail
  end
  local long = struct.pack(LONG, r.state, r.cancel, r.stuck, r.suspect, r.parent, r.cold, r.gated, r.lease, r.attempt, claimed,
    finished, r.failures, r.crashes, r.snoozes, r.releases, r.seq, r.due or NEVER, r.start_by or NEVER, r.first_failed or NEVER)
  if r.gated == 0 then return long end
  return long .. struct.pack('<HBd', r.spot, r.cause, r.place or NEVER)
end

local rows = {} -- number -> row, or false where nothing is stored
local dirty = {}

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

local function row_of(id)
  local n = call('HGET', prefix .. 'ids', id)
  return n and row(tonumber(n)) or false
end

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

-- What the end of every script calls: the one write of all that was changed.
function commit()
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
