-- rescue: take back every job of leases that ran out or that a witness saw end, and remove those leases.
-- include: rows ranking slots turns lines admission gating holders family attempts
--
-- Parameters: {now, witnesses, delay in microseconds, delay in seconds}; a witness is {lease, exit, spared}.
-- Result: the MessagePack array of {id, attempt, lease, state}.

function verbs.rescue(arg)
  local now, told = the_time(arg[1]), {}
  for _, witness in ipairs(arg[2]) do told[witness[1]] = {exit = witness[2], spared = witness[3]} end
  local gone, flat = {}, call('HGETALL', prefix .. 'leases')
  for i = 1, #flat, 2 do
    local _, ends_at = lease_of(flat[i])
    if told[flat[i]] or ends_at <= now then gone[#gone + 1] = flat[i] end
  end
  table.sort(gone)
  flush_indices()
  local out = {}
  for _, lease in ipairs(gone) do
    local number = lease_of(lease)
    for _, r in ipairs(oldest_first(rows_in(call('SMEMBERS', prefix .. 'h:' .. number)))) do
      local attempt, witness = r.attempt, told[lease] or {}
      if witness.spared and r.max_crashes > 1 then
        end_attempt(r, now, {kind = 'released', exit = witness.exit}, 'released')
      else
        r.suspect = 1
        end_attempt(r, now, {kind = 'crashed', delay = arg[3], seconds = arg[4], exit = witness.exit}, 'rescued')
      end
      out[#out + 1] = {r.id, attempt, lease, NAMES[r.state]}
    end
    flush_indices()
    call('HDEL', prefix .. 'leases', lease)
    call('HDEL', prefix .. 'workers', lease)
    call('HDEL', prefix .. 'who', number)
    call('HDEL', prefix .. 'ears', 'lease:' .. lease)
    call('DEL', prefix .. 'h:' .. number, prefix .. 'x:' .. number, prefix .. 't:' .. number)
  end
  settle_children(now)
  call_next(now)
  return cmsgpack.pack(out)
end
