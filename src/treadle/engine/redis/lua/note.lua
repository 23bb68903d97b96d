-- note: write down what running jobs say in mid-run.
-- include: rows ranking slots turns lines admission gating holders
--
-- Parameters: {now, lease, notes}; a note is {number, id, attempt, kind, name, value, for how long a
-- throttle closes a room, in microseconds, and the name of that room}.
-- Result: one character for each: D (done) or L (lost).

function verbs.note(arg)
  local now, lease = the_time(arg[1]), arg[2]
  local number = holding(lease, now)
  local out = {}
  for i, note in ipairs(arg[3]) do
    local r = row(note[1])
    if not number or not r or r.id ~= note[2] or r.attempt ~= note[3] or r.lease ~= number then
      out[i] = 'L'
    else
      local more = warm(r)
      more.notes = more.notes or {}
      more.notes[note[5] == '' and note[4] or note[4] .. '/' .. note[5]] = note[6]
      if note[4] == 'progress' then more.progress = note[6] end
      if note[4] == 'stuck' then r.stuck = 1 end
      if note[4] == 'throttle' and note[7] > 0 then gating.throttle(note[8], now + note[7]) end
      touch(r)
      out[i] = 'D'
    end
  end
  return table.concat(out)
end
