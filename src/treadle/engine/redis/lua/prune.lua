-- prune: delete finished jobs older or more than the retention allows, the longest finished of each state first.
-- include: rows ranking slots turns lines admission gating family keyring removal
--
-- Parameters: {now, limit, completed, completed_count, cancelled, expired, dead, audit, lines}: ages in microseconds, false for
-- ever, and how many lines of the audit may go.
-- Result: how many were deleted.

local CHUNK = 200
local now, room, doomed

-- Completed jobs stand in the order in which they ended, and those of one moment are put in the order of age here.
local function prune_completed(age, keep)
  local list, meta = prefix .. 'f:6', prefix .. 'meta'
  local gone = tonumber(call('HGET', meta, 'gone') or '0')
  local surplus = keep and call('LLEN', list) - gone - keep or 0
  local place, kept = 0, {}
  if not age and surplus <= 0 then return end
  while room > 0 do
    local group = call('LRANGE', list, 0, CHUNK - 1)
    if #group == 0 then break end
    local all = rows_in(group)
    local last = all[#all]
    while last and #group >= CHUNK do -- the whole of the last moment
      local more = call('LRANGE', list, #group, #group + CHUNK - 1)
      if #more == 0 then break end
      local beyond = false
      local found = rows_in(more)
      for _, n in ipairs(more) do group[#group + 1] = n end
      for _, r in ipairs(found) do
        all[#all + 1] = r
        if r.finished ~= last.finished then beyond = true end
      end
      if beyond or #more < CHUNK then break end
    end
    table.sort(all, function(a, b)
      if a.finished ~= b.finished then return a.finished < b.finished end
      return a.n < b.n
    end)
    local stay, over = {}, false
    for _, r in ipairs(all) do
      local old = age and r.finished < now - age
      if over or room <= 0 or not (place < surplus or old) then
        over = true
        stay[#stay + 1] = r.n
      else
        place = place + 1
        if needed(r) then
          kept[#kept + 1] = r.n
        else
          doomed[#doomed + 1] = r
          room = room - 1
        end
      end
    end
    if #stay == #group then break end -- as nearly always: nothing to do yet
    call('LPOP', list, #group)
    if #all < #group then call('HINCRBY', meta, 'gone', #all - #group) end
    if #stay > 0 then
      for i = #stay, 1, -1 do call('LPUSH', list, stay[i]) end
      break
    end
  end
  for i = #kept, 1, -1 do call('LPUSH', list, kept[i]) end
end

-- The others stand in sorted sets by the time of their end.
local function prune_sorted(name, ended_before, permits)
  local key, from = prefix .. name, 0
  while room > 0 do
    local numbers = call('ZRANGEBYSCORE', key, '-inf', ended_before, 'LIMIT', from, CHUNK)
    if #numbers == 0 then return end
    from = from + #numbers
    for _, r in ipairs(rows_in(numbers)) do
      if room > 0 and permits(r) and not needed(r) then
        doomed[#doomed + 1] = r
        room = room - 1
      end
    end
  end
end

-- Forget keys of limits at rest: some of those that have a meter, going on where the last prune stopped, and all throttles.
local function forget_rooms()
  local cursor = call('HGET', prefix .. 'meta', 'meters') or '0'
  local found = call('HSCAN', prefix .. 'meters', cursor, 'COUNT', 1000)
  admission.drop_idle(found[2], now)
  if found[1] ~= cursor then call('HSET', prefix .. 'meta', 'meters', found[1]) end
  local flat = call('HGETALL', prefix .. 'throttled')
  for i = 1, #flat, 2 do
    if tonumber(flat[i + 1]) <= now then call('HDEL', prefix .. 'throttled', flat[i]) end
  end
end

-- Lines of the audit stand in the order in which they were written, each as the packed array that `alter` made.
local function forget_lines(before_moment, most)
  local key = prefix .. 'audit'
  while most > 0 do
    local group = call('LRANGE', key, 0, math.min(CHUNK, most) - 1)
    local old = 0
    for _, line in ipairs(group) do
      if cmsgpack.unpack(line)[1] >= before_moment then break end
      old = old + 1
    end
    if old > 0 then call('LTRIM', key, old, -1) end
    if old < CHUNK then return end
    most = most - old
  end
end

local function always() return true end
local function before(age) return '(' .. digits(now - age) end

function verbs.prune(arg)
  now, room, doomed = the_time(arg[1]), arg[2], {}
  flush_indices()
  prune_completed(arg[3], arg[4])
  local completed = #doomed
  if arg[5] then prune_sorted('f:8', before(arg[5]), always) end
  if arg[6] then prune_sorted('f:9', before(arg[6]), always) end
  if arg[7] then
    prune_sorted('f:resolved', '+inf', function(r)
      local changed_at = select(8, cmsgpack.unpack_limit(seen(r).dead, 7, 1))
      return changed_at < now - arg[7]
    end)
  end
  for i = completed + 1, #doomed do leave(doomed[i]) end
  drop_rows(doomed, false, now)
  forget_rooms()
  if arg[8] then forget_lines(now - arg[8], arg[9]) end
  return #doomed
end
