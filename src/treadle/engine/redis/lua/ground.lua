-- What every script stands on: the clock, the numbers, and the hashes of blocks. See `rows` for what these hold.

local call = redis.call
local prefix = KEYS[1] .. ':'
local verbs = {}
local remember, repeated -- a claim's, see `claim`
local gating -- see there
local woken, ended_jobs = {}, {} -- see `wakes`
local function flush_indices() end -- see `lines`
local function commit() end -- see `rows`

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

local BLOCK = 1000
local function block_of(n) return (n - n % BLOCK) / BLOCK end
local function block_key(kind, block) return prefix .. kind .. ':' .. digits(block) end

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

local function next_numbers(count) return call('HINCRBY', prefix .. 'meta', 'n', count) - count + 1 end

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

-- A hash of up to 512 short texts is a list that is walked for each of them: 9 us to write a job's and 8 to read it where 100
-- were claimed at a time. A longer text makes it a table for good, also when that text has gone again.
local LONGER = string.rep('-', 65)
local function make_table(name)
  if call('EXISTS', name) == 1 then return end
  call('HSET', name, 'longer', LONGER)
  return true
end

-- Set fields of a hash of short texts.
local function set_short(name, fields)
  if #fields == 0 then return end
  local new = make_table(name)
  in_parts(fields, 2000, function(...) call('HSET', name, ...) end)
  if new then call('HDEL', name, 'longer') end
end

local function write(sets)
  for kind, blocks in pairs(sets) do
    for block, fields in pairs(blocks) do
      local name = block_key(kind, block)
      if kind == 's' then
        set_short(name, fields)
      else
        in_parts(fields, 2000, function(...) call('HSET', name, ...) end)
      end
    end
  end
end
