-- settle: end attempts, then tell the children once for the whole batch.
-- include: rows ranking slots turns lines admission gating holders family attempts
--
-- Parameters: {now, lease, numbers, when each was claimed, attempts, outcomes, results, twice}, and the MessagePack of the ids,
-- which few settlements look at, as a text. `outcomes` maps the place of a settlement that is not a plain completion to {kind,
-- ...}: {delay, seconds, problem or false} for `retrying` and `released`; {delay, seconds} for `snoozed`; {cause, reason,
-- fingerprint, problem or false} for `died`; {reason} for `cancelled`; {delay, seconds, exit} for `crashed`.
-- `results` maps the place of a completion to its result. `twice`: some job stands in the batch more than once.
-- Result: one character for each: D (done), A (already) or L (lost).

local function how_of(kind, s, result)
  local how = {kind = kind, result = result}
  if kind == 'retrying' or kind == 'snoozed' or kind == 'released' or kind == 'crashed' then
    how.delay, how.seconds = s[2], s[3]
    if kind == 'crashed' then how.exit = s[4] else how.problem = s[4] or nil end
  elseif kind == 'died' then
    how.cause, how.reason, how.fingerprint, how.problem = s[2], s[3], s[4], s[5] or nil
  elseif kind == 'cancelled' then
    how.reason = s[2]
  end
  return how
end

-- What becomes of a completed job, from where it stands: jobs claimed together stand alike, so a batch computes it once. With
-- it, what a gated job holds.
local function completions(lease, now)
  local known = {}
  return function(stand)
    local tail
    if string.byte(stand, MARK) == 2 then
      stand, tail = string.sub(stand, 1, SHORT_SIZE), string.sub(stand, SHORT_SIZE + 1)
    end
    local its = known[stand]
    if its == nil then
      its = false
      if #stand == SHORT_SIZE then
        local state, cancel, stuck, suspect, parent, cold, gated, holder_of, attempt, claimed = struct.unpack(SHORT, stand)
        if state == RUNNING and holder_of == lease and (tail or gated == 0) and cancel + stuck + suspect + parent + cold == 0 then
          local was = math.min(gated, 1)
          its = {
            attempt = attempt, claimed = claimed,
            bare = struct.pack(SHORT, COMPLETED, 0, 0, 0, 0, 0, was, 0, attempt, claimed, now),
            with_result = struct.pack(SHORT, COMPLETED, 0, 0, 0, 0, 1, was, 0, attempt, claimed, now),
          }
        end
      end
      known[stand] = its
    end
    return its, tail
  end
end

-- Complete the plain ones; the places of all others. The moment of the claim is looked at as well as the number: a replica that
-- was promoted before it had everything hands out the same numbers again.
local function complete_plain(arg, ids_of, lease, now, out)
  local numbers, moments, attempts, outcomes, results = arg[3], arg[4], arg[5], arg[6], arg[7]
  local completion, sets, others, done, d, o = completions(lease, now), {}, {}, {}, #finished, 0
  local heard = job_ears() and ids_of()
  runs(numbers, function(block, first, last)
    local stands = call('HMGET', block_key('s', block), unpack(numbers, first, last))
    local fields = fields_for(sets, 's', block)
    local f = #fields
    for i = first, last do
      local n, stand = numbers[i], stands[i - first + 1]
      local its, tail
      if stand and not outcomes[i] and rows[n] == nil then its, tail = completion(stand) end
      if its and its.attempt == attempts[i] and its.claimed == moments[i] then
        fields[f + 1], fields[f + 2] = n, results[i] and its.with_result or its.bare
        f = f + 2
        if results[i] then put(sets, 'c', n, cmsgpack.pack({result = results[i]})) end
        if tail then gating.completed(n, tail) end
        d, o = d + 1, o + 1
        finished[d], done[o] = n, n
        if heard then ended_jobs[#ended_jobs + 1] = 'job:' .. heard[i] end
        out[i] = 'D'
      else
        others[#others + 1] = i
      end
    end
  end)
  write(sets)
  let_go_all(lease, done)
  return others
end

function verbs.settle(arg, texts)
  local now, numbers, attempts, outcomes, results = the_time(arg[1]), arg[3], arg[5], arg[6], arg[7]
  local lease = holding(arg[2], now)
  local others, out, ids = {}, {}, nil
  local function ids_of()
    ids = ids or cmsgpack.unpack(texts[1])
    return ids
  end
  if lease and not arg[8] then
    others = complete_plain(arg, ids_of, lease, now, out)
  else
    for i = 1, #numbers do others[i] = i end
  end
  local wanted = {}
  for at, i in ipairs(others) do wanted[at] = numbers[i] end
  fetch(wanted)
  if #others > 0 then ids_of() end
  for _, i in ipairs(others) do
    local r = rows[numbers[i]]
    if not r or r.id ~= ids[i] or r.attempt ~= attempts[i] then
      out[i] = 'L'
    elseif r.state == COMPLETED then
      out[i] = 'A'
    elseif not lease or r.lease ~= lease then
      out[i] = 'L'
    else
      local kind = outcomes[i] and outcomes[i][1] or 'completed'
      end_attempt(r, now, how_of(kind, outcomes[i], results[i]), kind)
      out[i] = 'D'
    end
  end
  settle_children(now)
  call_next(now)
  return table.concat(out)
end
