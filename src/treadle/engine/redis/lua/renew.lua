-- renew: open or extend a lease, and collect cancel requests.
-- include: rows holders
--
-- Parameters: {now, lease, beat, length in microseconds, worker or false}; a worker is {name, host, pid, queues, tasks,
-- slots}. Result: nothing when the lease is lost, else the ids of its jobs that are asked to stop.

function verbs.renew(arg)
  local now, lease, worker = the_time(arg[1]), arg[2], arg[5]
  local ends_at = lease_end(lease)
  if not ends_at and arg[3] == 0 and worker then
    worker[7] = now
    call('HSET', prefix .. 'workers', lease, cmsgpack.pack(worker))
  elseif not ends_at or ends_at <= now then
    return false
  end
  call('HSET', prefix .. 'leases', lease, digits(now + arg[4]))
  local out = {}
  for i, r in ipairs(oldest_first(rows_in(call('SMEMBERS', prefix .. 'x:' .. lease)))) do out[i] = r.id end
  return out
end
