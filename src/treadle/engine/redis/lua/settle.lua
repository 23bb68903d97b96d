-- settle: end attempts, then tell the children once for the whole batch.
-- include: rows holders family attempts
--
-- Parameters: {now, lease, settlements}; a settlement is {number, id, attempt, kind, ...}: nothing more or the result for
-- `completed`; {delay, seconds, problem or false} for `retrying`; {delay, seconds} for `snoozed`; {cause, reason,
-- fingerprint, problem or false} for `died`; {reason} for `cancelled`; {delay, seconds, exit} for `crashed`.
-- Result: one character for each: D (done), A (already) or L (lost).

local function how_of(s)
  local kind = s[4]
  local how = {kind = kind}
  if kind == 'completed' then
    how.result = s[5]
  elseif kind == 'retrying' or kind == 'snoozed' or kind == 'crashed' then
    how.delay, how.seconds = s[5], s[6]
    if kind == 'crashed' then how.exit = s[7] else how.problem = s[7] or nil end
  elseif kind == 'died' then
    how.cause, how.reason, how.fingerprint, how.problem = s[5], s[6], s[7], s[8] or nil
  elseif kind == 'cancelled' then
    how.reason = s[5]
  end
  return how
end

function verbs.settle(arg)
  local now, lease, settlements = the_time(arg[1]), arg[2], arg[3]
  local ends_at = lease_end(lease)
  local holds = ends_at and ends_at > now
  local numbers, out = {}, {}
  for i, s in ipairs(settlements) do numbers[i] = s[1] end
  fetch(numbers)
  for i, s in ipairs(settlements) do
    local r = rows[s[1]]
    if not r or r.id ~= s[2] or r.attempt ~= s[3] then
      out[i] = 'L'
    elseif r.state == COMPLETED then
      out[i] = 'A'
    elseif r.lease ~= lease or not holds then
      out[i] = 'L'
    else
      end_attempt(r, now, how_of(s), s[4])
      out[i] = 'D'
    end
  end
  settle_children(now)
  return table.concat(out)
end
