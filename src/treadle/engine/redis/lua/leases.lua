-- leases: every lease not yet removed.
-- include: rows
--
-- Parameters: {now}. Result: a list of {now, lease, ends_at, packed worker, how many jobs it holds}, times as text.

function verbs.leases(arg)
  local now, out = the_time(arg[1]), {}
  local flat = call('HGETALL', prefix .. 'leases')
  for i = 1, #flat, 2 do
    local lease = flat[i]
    local worker = call('HGET', prefix .. 'workers', lease)
    out[#out + 1] = {digits(now), lease, flat[i + 1], worker, call('SCARD', prefix .. 'h:' .. lease)}
  end
  return out
end
