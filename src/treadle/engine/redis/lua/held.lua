-- held: what runs under a lease, as `claim` handed it out.
-- include: rows holders
--
-- Parameters: {lease}. Result: the MessagePack array of what `claim` answers for each job, oldest first.

function verbs.held(arg)
  local number = lease_of(arg[1])
  local out = {}
  if number then
    for i, r in ipairs(oldest_first(rows_in(call('SMEMBERS', prefix .. 'h:' .. number)))) do out[i] = handed(r) end
  end
  return '\221' .. struct.pack('>I4', #out) .. table.concat(out)
end
