-- Picking jobs out of lines, and the claim of a queue in which some of them are sorted sets: gated jobs, or tenants.
-- Rests on `rows`, `lines` and `gating`.

-- An entry of a list: the seq and the number.
local function entry_parts(entry)
  local n = tonumber(entry)
  if n then return n, n end
  local seq, number = string.match(entry, '^(%d+):(%d+)$')
  return tonumber(seq), tonumber(number)
end

-- The lines of a queue that hold known tasks, the largest priority first: a list of lists.
local function lines_of(name, known)
  local groups, last = {}, nil
  for _, line in ipairs(call('ZRANGE', prefix .. 'lines:' .. name, 0, -1)) do
    local priority, kind, task = string.match(line, '^(%S+)\n(%S+)\n(.*)$')
    if known[task] then
      if priority ~= last then
        groups[#groups + 1] = {}
        last = priority
      end
      local group = groups[#groups]
      group[#group + 1] = {
        priority = tonumber(priority), line = line, name = name .. '\n' .. line, key = line_key(name, line),
        suspect = SUSPECT[kind], gated = GATED[kind], sorted = SORTED[kind],
      }
      group.mixed = group.mixed or SORTED[kind]
    end
  end
  return groups
end

local function close_if_empty(name, line)
  if call('EXISTS', line.key) == 0 then
    call('ZREM', prefix .. 'lines:' .. name, line.line)
    call('HDEL', prefix .. 'stale', line.name)
  end
end

local MOST_JUDGED = 500 -- gated jobs in one claim: the bound on what those that may not start cost it
local now, lease, paused
local allowed -- what the claim may still take, and what is said of it at its end
local sets, first_time, as_claimed, as_started -- what is written, and what all first attempts share

local function hand_row(r)
  leave(r)
  r.state, r.lease, r.attempt, r.claimed = RUNNING, lease, r.attempt + 1, now
  return handed(enter(r))
end

-- Let the next job of a mixed group run, if it may. Answers 1 when it was taken, 0 when it was not, nothing when the queue
-- ends there.
local function try(line, seq, n, asked, stand, got, mine)
  local virgin = rows[n] == nil and asked and not stand and seq == n
  local r
  if not virgin then
    if rows[n] == nil then rows[n] = asked and decode(n, asked, stand) or false end
    r = rows[n]
    if not r or r.state ~= QUEUED or r.seq ~= seq then
      if not line.sorted then call('HINCRBY', prefix .. 'stale', line.name, -1) end
      return 0
    end
    if r.start_by and r.start_by < now then return 0 end
  end
  if line.gated then
    if allowed.gated <= 0 or allowed.judged <= 0 then
      allowed.more = true
      return nil
    end
    if allowed.judged == MOST_JUDGED then gating.begin() end
    allowed.judged = allowed.judged - 1
    local spot, cause, wakes = gating.judge(flow_of(asked or r.asked), line.priority, seq, n, now)
    if wakes then allowed.wakes = math.min(allowed.wakes or wakes, wakes) end
    if spot then
      if not r then
        r = decode(n, asked)
        rows[n] = r
      end
      leave(r)
      r.state, r.spot, r.cause = BLOCKED, spot, cause
      enter(r)
      return 0
    end
    allowed.gated = allowed.gated - 1
  end
  if virgin then
    put(sets, 's', n, line.gated and as_started or as_claimed)
    hold(lease, n, true)
    got[#got + 1] = '\155' .. cmsgpack.pack(n) .. first_time .. asked
  else
    got[#got + 1] = hand_row(r)
  end
  if line.suspect then allowed.suspects = allowed.suspects - 1 end
  mine[#mine + 1] = n
  return 1
end

-- Read the next entries of a line, with what is stored of their jobs.
local function read_on(line, chunk)
  line.at, line.seqs, line.numbers, line.asked, line.stands = 1, {}, {}, {}, {}
  if line.sorted then
    local flat = call('ZRANGE', line.key, line.taken, line.taken + chunk - 1, 'WITHSCORES')
    for i = 1, #flat, 2 do
      line.numbers[#line.numbers + 1], line.seqs[#line.seqs + 1] = tonumber(flat[i]), tonumber(flat[i + 1])
    end
  else
    for i, entry in ipairs(call('LRANGE', line.key, line.taken, line.taken + chunk - 1)) do
      line.seqs[i], line.numbers[i] = entry_parts(entry)
    end
  end
  line.over = #line.numbers < chunk
  runs(line.numbers, function(block, first, last)
    local asked = call('HMGET', block_key('j', block), unpack(line.numbers, first, last))
    local stands = call('HMGET', block_key('s', block), unpack(line.numbers, first, last))
    for i = first, last do
      line.asked[i], line.stands[i] = asked[i - first + 1], stands[i - first + 1]
    end
  end)
end

-- The line whose next entry stands first; nothing when all are at their end.
local function foremost(group, chunk)
  local best = #group == 1 and group[1]
  if best and best.at and best.at <= #best.numbers and not best.suspect then return best end
  best = nil
  for _, line in ipairs(group) do
    if not line.suspect or allowed.suspects > 0 then
      if not line.at or (line.at > #line.numbers and not line.over) then read_on(line, chunk) end
      local seq, n = line.seqs[line.at], line.numbers[line.at]
      if seq and (not best or seq < best.seqs[best.at] or (seq == best.seqs[best.at] and n < best.numbers[best.at])) then
        best = line
      end
    end
  end
  return best
end

-- Pick from the lines of one priority in the order in which all stand there. Answers how many the queue has given now, and
-- whether it goes on.
local function pick_mixed(group, wanted, count, got, mine)
  local chunk, goes_on = math.max(16, math.min(MOST_JUDGED, math.ceil((wanted - count) / #group))), true
  for _, line in ipairs(group) do line.at, line.taken = nil, 0 end
  while count < wanted do
    local line = foremost(group, chunk)
    if not line then break end
    local at = line.at
    local took = try(line, line.seqs[at], line.numbers[at], line.asked[at], line.stands[at], got, mine)
    if not took then
      goes_on = false
      break
    end
    count = count + took
    line.at, line.taken = at + 1, line.taken + 1
  end
  for _, line in ipairs(group) do
    if line.taken > 0 then
      if line.sorted then call('ZREMRANGEBYRANK', line.key, 0, line.taken - 1) else call('LPOP', line.key, line.taken) end
      line.taken = 0
    end
  end
  return count, goes_on
end
