-- claim: move queued jobs to running under a lease, by priority, then by the order of the queue.
-- include: rows holders
--
-- Parameters: {now, lease, wants, tasks, suspects}; a want is {queue, take, up_to}.
-- Result: one text: `L` when the lease is lost, else `C` and the MessagePack array of what a worker is handed.

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
      group[#group + 1] = {line = line, name = name .. '\n' .. line, key = line_key(name, line), suspect = kind == 's'}
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

-- The first rows of a queue that may be claimed, out of their lines. A late job leaves its line here and the queue when
-- `promote` expires it.
local function pick(name, wanted, known, suspects, now)
  local got = {}
  if wanted <= 0 or call('HEXISTS', prefix .. 'r:paused', name) == 1 then return got end
  for _, group in ipairs(lines_of(name, known)) do
    while #got < wanted do
      local picked = take_from(group, wanted - #got, suspects)
      if #picked == 0 then break end
      local numbers = {}
      for i, each in ipairs(picked) do numbers[i] = each[3] end
      fetch(numbers)
      for _, each in ipairs(picked) do
        local line, r = each[1], rows[each[3]]
        if not r or r.state ~= QUEUED or r.seq ~= each[2] then
          call('HINCRBY', prefix .. 'stale', line.name, -1)
        elseif not r.start_by or r.start_by >= now then
          if line.suspect then suspects = suspects - 1 end
          got[#got + 1] = r
        end
      end
    end
    for _, line in ipairs(group) do close_if_empty(name, line) end
    if #got >= wanted then break end
  end
  return got
end

local function handed(r)
  return '\220\0\19' .. cmsgpack.pack(r.n, r.id, r.task, r.version, r.codec, r.queue, r.priority, r.attempt, r.failures,
    r.crashes, r.snoozes, r.enqueued, r.claimed, r.first_failed, r.start_by, r.suspect == 1) .. r.tail
end

function verbs.claim(arg)
  local now, lease, wants = the_time(arg[1]), arg[2], arg[3]
  local ends_at = lease_end(lease)
  if not ends_at or ends_at <= now then return 'L' end
  flush_indices()
  local known, suspects, left = {}, arg[5], 0
  for _, task in ipairs(arg[4]) do known[task] = true end
  local taken = {}
  for i, want in ipairs(wants) do
    taken[i] = {}
    left = left + want[2]
  end
  for share = 2, 3 do
    for i, want in ipairs(wants) do
      local got = taken[i]
      for _, r in ipairs(pick(want[1], math.min(want[share] - #got, left), known, suspects, now)) do
        leave(r)
        r.state, r.lease, r.attempt, r.claimed = RUNNING, lease, r.attempt + 1, now
        enter(r)
        if r.suspect == 1 then suspects = suspects - 1 end
        left = left - 1
        got[#got + 1] = r
      end
    end
  end
  local out = {'C', ''}
  for _, got in ipairs(taken) do
    for _, r in ipairs(got) do out[#out + 1] = handed(r) end
  end
  out[2] = '\221' .. struct.pack('>I4', #out - 2)
  return table.concat(out)
end
