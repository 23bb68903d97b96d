-- leases: every lease not yet removed.
-- include: rows
--
-- Parameters: {now}. Result: a list of {now, lease, ends_at, packed worker, how many jobs it holds}, times as text.

function verbs.leases(arg)
  local now, out = the_time(arg[1]), {}
  local flat = call('HGETALL', prefix .. 'leases')
  for i = 1, #flat, 2 do
    local lease = flat[i]
    local number, ends_at = string.match(flat[i + 1], '^(%d+) (%-?%d+)$')
    local worker = call('HGET', prefix .. 'workers', lease)
    out[#out + 1] = {digits(now), lease, ends_at, worker, call('SCARD', prefix .. 'h:' .. number)}
  end
  return out
end
