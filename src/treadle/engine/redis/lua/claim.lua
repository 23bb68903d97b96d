-- claim: move queued jobs to running under a lease, by priority, then by the order of the queue.
-- include: rows ranking slots turns lines admission gating holders picking
--
-- Parameters: {now, lease, wants, tasks, suspects, gated}; a want is {queue, take, up_to}.
-- Result: one text: `L` when the lease is lost, else `C` and the MessagePack of whether more gated jobs stand next, of when
-- what was parked is looked at, and of an array of {number, attempt, failures, crashes, snoozes, claimed, first failed, start
-- by, suspect, and the two values of `j`}.

-- The next entry of a line without taking it; `chunk` at a time are looked at.
local function head(line, chunk)
  local at = line.at or 0
  if not line.entries or at >= #line.entries then
    if line.over then return nil end
    line.entries = call('LRANGE', line.key, line.taken or 0, (line.taken or 0) + chunk - 1)
    line.over = #line.entries < chunk
    line.at, at = 0, 0
    if #line.entries == 0 then return nil end
  end
  if not line.seq then line.seq, line.n = entry_parts(line.entries[at + 1]) end
  return line.seq
end

-- The oldest `wanted` entries of several lines, merged.
local function merged(group, wanted, suspects)
  local chunk = math.max(16, math.ceil(wanted / #group))
  local picked = {}
  while #picked < wanted do
    local best, least
    for _, line in ipairs(group) do
      if not line.suspect or suspects > 0 then
        local seq = head(line, chunk)
        if seq and (not least or seq < least) then best, least = line, seq end
      end
    end
    if not best then break end
    picked[#picked + 1] = {best, best.seq, best.n}
    if best.suspect then suspects = suspects - 1 end
    best.seq = nil
    best.at = best.at + 1
    best.taken = (best.taken or 0) + 1
  end
  for _, line in ipairs(group) do
    if (line.taken or 0) > 0 then call('LPOP', line.key, line.taken) end
    line.taken, line.entries, line.seq, line.over = 0, nil, nil, nil
  end
  return picked
end

-- Up to `wanted` entries out of the lines of one priority: {line, seq, number} of each.
local function take_from(group, wanted, suspects)
  if #group > 1 then return merged(group, wanted, suspects) end
  local line, picked = group[1], {}
  if line.suspect then wanted = math.min(wanted, suspects) end
  if wanted <= 0 then return picked end
  for i, entry in ipairs(call('LPOP', line.key, wanted) or {}) do
    local seq, n = entry_parts(entry)
    picked[i] = {line, seq, n}
  end
  return picked
end

-- A claim whose answer was lost is asked again with the same token, and answered with the same jobs: they would else stay
-- under a lease whose holder does not know of them. The hash `t:NUMBER` keeps, for a lease and by the number before the colon
-- of a token, the last such token, the replies of the verbs beside the claims, and for each claim the numbers of its jobs and
-- how its answer begins. A worker has two claims under way, and both answers may be lost.
local claimed = {} -- place among the replies -> {lease, numbers, begin}

function remember(said, replies)
  local kept, number = {}, nil
  for i, reply in ipairs(replies) do
    if claimed[i] then
      kept[i] = {1, claimed[i][2], claimed[i][3]}
      number = claimed[i][1]
    else
      kept[i] = {0, reply}
    end
  end
  if number then call('HSET', prefix .. 't:' .. number, string.match(said, '^%d+'), cmsgpack.pack({said, kept})) end
end

function repeated(said)
  local at = 3
  while ARGV[at] ~= 'claim' do at = at + 3 + tonumber(ARGV[at + 2]) end
  local number = lease_of(cmsgpack.unpack(ARGV[at + 1])[2])
  local text = number and call('HGET', prefix .. 't:' .. number, string.match(said, '^%d+'))
  if not text then return nil end
  local kept = cmsgpack.unpack(text)
  if kept[1] ~= said then return nil end
  local replies = {}
  for i, each in ipairs(kept[2]) do
    replies[i] = each[2]
    if each[1] == 1 then
      local out = {}
      for _, r in ipairs(rows_in(each[2])) do
        if r.state == RUNNING and r.lease == number then out[#out + 1] = handed(r) end
      end
      replies[i] = each[3] .. '\221' .. struct.pack('>I4', #out) .. table.concat(out)
    end
  end
  return replies
end

-- Claim what may be claimed of these. A late job stands aside from here on, and leaves the queue when `promote` expires it.
local function consider(picked, got, mine)
  local numbers, count, suspects = {}, 0, 0
  for i, each in ipairs(picked) do numbers[i] = each[3] end
  runs(numbers, function(block, first, last)
    local asked = call('HMGET', block_key('j', block), unpack(numbers, first, last))
    local stands = call('HMGET', block_key('s', block), unpack(numbers, first, last))
    local fields = fields_for(sets, 's', block)
    for i = first, last do
      local n, text, stand = numbers[i], asked[i - first + 1], stands[i - first + 1]
      local line, seq = picked[i][1], picked[i][2]
      if rows[n] == nil and text and not stand and seq == n then
        fields[#fields + 1] = n
        fields[#fields + 1] = as_claimed
        got[#got + 1] = handed_first(n) .. text
        mine[#mine + 1] = n
        count = count + 1
      else
        if rows[n] == nil then rows[n] = text and decode(n, text, stand) or false end
        local r = rows[n]
        if not r or r.state ~= QUEUED or r.seq ~= seq then
          call('HINCRBY', prefix .. 'stale', line.name, -1)
        elseif r.start_by and r.start_by < now then
          stand_late(r)
        else
          if line.suspect then suspects = suspects + 1 end
          got[#got + 1] = hand_row(r)
          mine[#mine + 1] = n
          count = count + 1
        end
      end
    end
  end)
  return count, suspects
end

-- The first jobs of a queue that may be claimed; how many there were, and how many suspects among them.
local function pick(name, wanted, known, got, mine)
  local count = 0
  if wanted <= 0 or paused[name] then return 0 end
  for _, group in ipairs(lines_of(name, known)) do
    local goes_on = true
    if group.mixed then
      count, goes_on = pick_mixed(group, wanted, count, got, mine)
    else
      while count < wanted do
        local picked = take_from(group, wanted - count, allowed.suspects)
        if #picked == 0 then break end
        local more, doubtful = consider(picked, got, mine)
        count, allowed.suspects = count + more, allowed.suspects - doubtful
      end
    end
    for _, line in ipairs(group) do close_if_empty(name, line) end
    if count >= wanted or not goes_on then break end
  end
  return count
end

-- What is paused: queues by name, and tasks, which are taken out of those that are known.
local function without_paused(wants, tasks)
  local known, asleep = {}, {}
  for _, task in ipairs(tasks) do known[task] = true end
  if call('EXISTS', prefix .. 'r:paused') == 1 then
    for _, want in ipairs(wants) do asleep[want[1]] = call('HEXISTS', prefix .. 'r:paused', want[1]) == 1 end
    for _, task in ipairs(tasks) do
      if call('HEXISTS', prefix .. 'r:paused', 'task\n' .. task) == 1 then known[task] = nil end
    end
  end
  return known, asleep
end

function verbs.claim(arg, texts, place)
  local wants, known, left = arg[3], nil, 0
  now = the_time(arg[1])
  lease = holding(arg[2], now)
  if not lease then return 'L' end
  flush_indices()
  sets, standings = {}, {}
  allowed = {suspects = arg[5], gated = arg[6], judged = MOST_JUDGED}
  first_time = cmsgpack.pack(1, 0, 0, 0, now, nil, nil, false)
  as_claimed = struct.pack(SHORT, RUNNING, 0, 0, 0, 0, 0, 0, lease, 1, now, NEVER)
  as_started = struct.pack(SHORT, RUNNING, 0, 0, 0, 0, 0, 2, lease, 1, now, NEVER)
  known, paused = without_paused(wants, arg[4])
  local taken, counts, total, mine = {}, {}, 0, {}
  for i, want in ipairs(wants) do
    taken[i], counts[i] = {}, 0
    left = left + want[2]
  end
  for share = 2, 3 do
    for i, want in ipairs(wants) do
      local count = pick(want[1], math.min(want[share] - counts[i], left), known, taken[i], mine)
      counts[i], left, total = counts[i] + count, left - count, total + count
    end
  end
  write(sets)
  hold_all(lease, mine)
  standings = {}
  if allowed.begun then admission.keep(now) end
  local begin = 'C\147' .. cmsgpack.pack(allowed.more == true, allowed.wakes)
  claimed[place] = {lease, mine, begin}
  local parts = {begin .. '\221' .. struct.pack('>I4', total)}
  for i, got in ipairs(taken) do parts[i + 1] = table.concat(got) end
  return table.concat(parts)
end
