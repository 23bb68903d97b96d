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
    if known[task] and kind ~= 'l' then
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

local MOST_JUDGED = 1000 -- gated jobs in one claim: the bound on what those that may not start cost it
local now, lease, paused
local allowed -- what the claim may still take, and what is said of it at its end
local sets, first_time, as_claimed, as_started -- what is written, and what all first attempts share

-- How the text of a job begins that is handed out for the first time; what was asked for follows.
local function handed_first(n)
  if n < 4294967296 then return struct.pack('>BBI4', 155, 206, n) .. first_time end
  return '\155' .. cmsgpack.pack(n) .. first_time
end

local function hand_row(r)
  leave(r)
  r.state, r.lease, r.attempt, r.claimed = RUNNING, lease, r.attempt + 1, now
  return handed(enter(r))
end

local KINDS = {[ONE_HOLD] = 'h', [ONE_ORDER] = 'o', [STRICT_ORDER] = 'O'}

-- The short way of gated jobs that run for the first time and have nothing against them, as many as stand one behind the other
-- in a group's only line. Answers how many. (Counted by hand: `#` looks for the end of a table each time.)
local function start_at_once(line, wanted, got, mine)
  local numbers, seqs, stands, kinds, whats = line.numbers, line.seqs, line.stands, line.kinds, line.whats
  local starts, first, asked = admission.starts, turns.first, line.asked
  local from, most = line.at, math.min(wanted, allowed.gated, allowed.judged, #numbers - line.at + 1)
  local its_block, fields, f, g, m = nil, nil, 0, #got, #mine
  local at = from
  while at < from + most do
    local n, kind, what = numbers[at], kinds[at], whats[at]
    if not kind or rows[n] ~= nil or stands[at] or seqs[at] ~= n then break end
    if kind == ONE_HOLD then
      if not starts(what, now) then break end
    elseif first(what) ~= n then
      break
    end
    local block = (n - n % BLOCK) / BLOCK
    if block ~= its_block then
      its_block, fields = block, fields_for(sets, 's', block)
      f = #fields
    end
    fields[f + 1], fields[f + 2] = n, as_started .. KINDS[kind] .. what
    got[g + 1], got[g + 2] = handed_first(n), asked[at]
    mine[m + 1] = n
    f, g, m, at = f + 2, g + 2, m + 1, at + 1
  end
  local count = at - from
  allowed.judged, allowed.gated = allowed.judged - count, allowed.gated - count
  line.at, line.taken = at, line.taken + count
  return count
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
    if r.start_by and r.start_by < now then
      stand_late(r)
      return 0
    end
  end
  if line.gated then
    if allowed.gated <= 0 or allowed.judged <= 0 then
      allowed.more = true
      return nil
    end
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
    put(sets, 's', n, line.gated and as_started .. flow_of(asked).blob or as_claimed)
    got[#got + 1] = handed_first(n) .. asked
  else
    got[#got + 1] = hand_row(r)
  end
  if line.suspect then allowed.suspects = allowed.suspects - 1 end
  mine[#mine + 1] = n
  return 1
end

-- What the next jobs to be judged ask for, if it is one thing; what there is to know of their rooms and lines is read at once.
local function foresee(line, count)
  local kinds, whats, rooms_asked, orders_asked = line.kinds, {}, {}, {}
  for i = 1, count do
    local asked = line.asked[i]
    local first, last = 0, 0
    if asked then first, last = flow_within(asked) end
    local kind = string.byte(asked or '', first)
    if KINDS[kind] then
      local what = string.sub(asked, first + 1, last)
      kinds[i], whats[i] = kind, what
      local asked_of = kind == ONE_HOLD and rooms_asked or orders_asked
      asked_of[#asked_of + 1] = what
    end
  end
  line.whats = whats
  if #rooms_asked > 0 then admission.foresee(rooms_asked) end
  turns.foresee(orders_asked)
end

-- Read the next entries of a line, with what is stored of their jobs. Of gated ones no more than may be taken, and one that
-- says whether there are more: a worker that may start 100 asks for 1,000 jobs, and would have 500 read each time.
local function read_on(line, chunk)
  if line.gated then
    if not allowed.begun then gating.begin() end
    allowed.begun = true
    local left = math.min(allowed.gated, allowed.judged)
    chunk = left <= 0 and 1 or math.min(chunk, math.max(16, left + 1))
  end
  line.at, line.seqs, line.numbers, line.asked, line.stands, line.kinds = 1, {}, {}, {}, {}, {}
  if line.sorted then
    local numbers, seqs = line.numbers, line.seqs
    for i, member in ipairs(call('ZRANGE', line.key, line.taken, line.taken + chunk - 1)) do
      if #member == 16 then
        local n = tonumber(member)
        numbers[i], seqs[i] = n, n
      else
        numbers[i], seqs[i] = tonumber(string.sub(member, 1, 16)), tonumber(string.sub(member, 17))
      end
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
  if line.gated and allowed.gated > 0 then
    foresee(line, math.min(#line.numbers, allowed.gated, allowed.judged))
  end
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
  local chunk, goes_on = math.max(16, math.min(MOST_JUDGED + 1, math.ceil((wanted - count) / #group))), true
  for _, line in ipairs(group) do line.at, line.taken = nil, 0 end
  while count < wanted do
    local line = foremost(group, chunk)
    if not line then break end
    local at_once = #group == 1 and line.gated and not line.suspect and start_at_once(line, wanted - count, got, mine) or 0
    count = count + at_once
    if at_once == 0 then
      local at = line.at
      local took = try(line, line.seqs[at], line.numbers[at], line.asked[at], line.stands[at], got, mine)
      if not took then
        goes_on = false
        break
      end
      count = count + took
      line.at, line.taken = at + 1, line.taken + 1
    end
  end
  for _, line in ipairs(group) do
    if line.taken > 0 then
      if line.sorted then call('ZREMRANGEBYRANK', line.key, 0, line.taken - 1) else call('LPOP', line.key, line.taken) end
      line.taken = 0
    end
  end
  return count, goes_on
end
