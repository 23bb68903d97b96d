-- gates: the keys of limits at which jobs run or are parked.
-- include: rows ranking slots turns lines admission gating
--
-- Parameters: {limits or false for all, how many at most}. Result: a list of {limit, key (`\n`: the limit as a whole), running,
-- parked, when it is looked at next or false}, packed.

local function parked_at(at) return call('ZLEXCOUNT', prefix .. 'parked', '[' .. at .. '\n0', '(' .. at .. '\n:') end

function verbs.gates(arg)
  local limits, most = arg[1], arg[2]
  local names, taken, wanted = {}, {}, limits and {}
  local function take(at)
    if not taken[at] then
      taken[at] = true
      names[#names + 1] = at
    end
  end
  local function look_from(from)
    local count = 0
    gating.rooms_from(from, function(at)
      if string.sub(at, 1, #from) ~= from or count >= most then return true end
      count = count + 1
      take(at)
    end)
  end
  for _, limit in ipairs(limits or {}) do
    wanted[limit] = true
    look_from(limit .. '\n')
  end
  if not limits then look_from('') end
  for _, at in ipairs(slots.rooms()) do
    if not wanted or wanted[string.match(at, '^[^\n]*')] then take(at) end
  end
  table.sort(names)
  local out = {}
  for i = 1, math.min(most, #names) do
    local at = names[i]
    local limit, key = string.match(at, '^([^\n]*)\n(.*)$')
    local wakes_at = tonumber(call('ZSCORE', prefix .. 'gates', at)) or false
    local running = key == '\n' and 0 or slots.running(at) -- there stands something else, see `slots`
    out[i] = {limit, key, running, parked_at(at), wakes_at}
  end
  return cmsgpack.pack(out)
end
