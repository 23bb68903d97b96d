-- gates: the keys of limits at which jobs run or are parked.
-- include: rows ranking lines admission gating
--
-- Parameters: {limits or false for all, how many at most}. Result: a list of {limit, key (`\n`: the limit as a whole), running,
-- parked, when it is looked at next or false}, packed.

local function stand_at(set, at) return call('ZLEXCOUNT', prefix .. set, '[' .. at .. '\n0', '(' .. at .. '\n:') end

function verbs.gates(arg)
  local limits, most = arg[1], arg[2]
  local names, taken = {}, {}
  local function look_from(from, beyond)
    for _, set in ipairs({'slots', 'parked'}) do
      local count = 0
      gating.rooms_in(set, from, function(at)
        if beyond and string.sub(at, 1, #beyond) ~= beyond or count >= most then return true end
        count = count + 1
        if not taken[at] then
          taken[at] = true
          names[#names + 1] = at
        end
      end)
    end
  end
  for _, limit in ipairs(limits or {}) do look_from(limit .. '\n', limit .. '\n') end
  if not limits then look_from('', nil) end
  table.sort(names)
  local out = {}
  for i = 1, math.min(most, #names) do
    local at = names[i]
    local limit, key = string.match(at, '^([^\n]*)\n(.*)$')
    local wakes_at = tonumber(call('ZSCORE', prefix .. 'gates', at)) or false
    out[i] = {limit, key, stand_at('slots', at), stand_at('parked', at), wakes_at}
  end
  return cmsgpack.pack(out)
end
