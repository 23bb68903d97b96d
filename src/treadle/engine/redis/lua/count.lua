-- count: how many jobs there are, by the axes asked for, and since when the oldest of each kind waits.
-- include: rows holders looking
--
-- Parameters: {filter, axes, from number or false, how many to look at}.
-- Result: {number to go on from or nothing, MessagePack array of {key, count, oldest}}; to be added up over the calls.

local AXES = {
  state = function(r) return NAMES[r.state] end,
  queue = function(r) return r.queue end,
  task = function(r) return r.task end,
  status = function(r) return (letter_of(r)) end,
}

function verbs.count(arg)
  local where, axes, from, most = unpack(arg)
  local groups, order = {}, {}
  local cursor = walk(where, false, from, most, function(r)
    local parts = {}
    for i, axis in ipairs(axes) do
      local value = AXES[axis](r)
      parts[i] = value and cmsgpack.pack(value) or '\192'
    end
    local name = table.concat(parts)
    local group = groups[name]
    local since = r.due or r.enqueued
    if not group then
      groups[name] = {count = 1, oldest = since}
      order[#order + 1] = name
    else
      group.count = group.count + 1
      if since < group.oldest then group.oldest = since end
    end
  end)
  local out = {'\221' .. struct.pack('>I4', #order)}
  for i, name in ipairs(order) do
    local group = groups[name]
    out[i + 1] = '\147' .. string.char(144 + #axes) .. name .. cmsgpack.pack(group.count, group.oldest)
  end
  return {cursor and digits(cursor) or false, table.concat(out)}
end
