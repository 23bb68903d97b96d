-- renew: open or extend a lease, and collect cancel requests.
-- include: rows holders
--
-- Parameters: {now, lease, beat, length in microseconds, worker or false}; a worker is {name, host, pid, queues, tasks,
-- slots}. Result: nothing when the lease is lost, else the ids of its jobs that are asked to stop.

function verbs.renew(arg)
  local now, lease, worker = the_time(arg[1]), arg[2], arg[5]
  local number, ends_at = lease_of(lease)
  if not number and arg[3] == 0 and worker then
    number = call('HINCRBY', prefix .. 'meta', 'leases', 1)
    worker[7] = now
    call('HSET', prefix .. 'who', number, lease)
    call('HSET', prefix .. 'workers', lease, cmsgpack.pack(worker))
  elseif not number or ends_at <= now then
    return false
  end
  call('HSET', prefix .. 'leases', lease, digits(number) .. ' ' .. digits(now + arg[4]))
  local out = {}
  for i, r in ipairs(oldest_first(rows_in(call('SMEMBERS', prefix .. 'x:' .. number)))) do out[i] = r.id end
  return out
end
