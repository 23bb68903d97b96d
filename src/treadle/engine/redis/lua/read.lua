-- read: records of a space.
-- include: rows
--
-- Parameters: {space, keys or false}. Result: {how often the space was written, a flat list of key and
-- packed {version, value}}.

function verbs.read(arg)
  local space = prefix .. 'r:' .. arg[1]
  local age = call('HGET', prefix .. 'meta', 'r:' .. arg[1]) or '0'
  if not arg[2] then return {age, call('HGETALL', space)} end
  local out, taken = {}, {}
  for _, name in ipairs(arg[2]) do
    local text = not taken[name] and call('HGET', space, name)
    taken[name] = true
    if text then
      out[#out + 1] = name
      out[#out + 1] = text
    end
  end
  return {age, out}
end
