-- Whether a gated job may start, and which parked ones may be judged again. Rests on `rows`, `slots` and `lines`.
--
-- A *room* is one key of a limit as it stands in this step, by its name `LIMIT\nKEY`; that of the limit as a whole has the key
-- `\n`, which no hold can have: what waits for a closed limit is parked there. Kept of a room, beside what runs and is parked:
--   meters     a hash: {tat, interval, used}, packed: the moment at which nothing that has started counts any more, the
--              interval under which it was counted, and with a strict rule what started within a period. A field that says
--              nothing any more goes when it is met: each claim that writes some looks at a few others, and `prune` at more.
--              (As keys that expire by themselves they cost 3 us for each start.)
--   log:NAME   with a strict rule, the starts within a period, as a list of `moment cost`, oldest first. Expires as well.
--   throttled  a hash: until when nobody starts there.
--   gates      a sorted set: when what is parked there is looked at next.

local admission = later(function()
  local its = {}
  local RECHECK = 1000000 -- how long those who were freed have time to start before others are freed in their stead
  local SLACK = 60000 -- milliseconds by which a key outlives what it says, for clocks that do not agree
  local FEW = 1000 -- so many meters are not looked through
  local FAR = 2 ^ 62 -- no debt of a rate reaches further: other engines keep moments in 64 bits
  local rooms, rules = {}, {}
  local ruled, tats, moved_on = {}, {}, {} -- by the names of rooms that were foreseen
  local paused, throttled, log_moved = nil, nil, false

  -- What has been read may have changed: by another verb of the script, or by this one outside of `judge`.
  function its.forget()
    rooms, paused, throttled = {}, nil, nil
    ruled, tats, moved_on = {}, {}, {}
  end
  function its.forget_rules() rules = {} end

  function its.rule_of(limit)
    local rule = rules[limit]
    if not rule then
      local text = call('HGET', prefix .. 'r:limit', limit)
      rule = text and cjson.decode(cmsgpack.unpack(text)[2]) or {}
      for name, value in pairs(rule) do
        if value == cjson.null then rule[name] = nil end
      end
      rule.burst, rule.probes = rule.burst or 1, rule.probes or 1
      rule.interval = rule.rate and math.ceil(rule.period / rule.rate) or 0
      rules[limit] = rule
    end
    return rule
  end

  local function within(key, at, ...) return call('ZRANGEBYLEX', key, '[' .. at .. '\n0', '(' .. at .. '\n:', ...) end

  -- Drop what does not count any more.
  local function shorten(room, now)
    local key = prefix .. 'log:' .. room.at
    while true do
      local entry = call('LINDEX', key, 0)
      if not entry then
        room.used = 0
        return
      end
      local at, cost = string.match(entry, '^(%-?%d+) (%d+)$')
      if tonumber(at) > now - room.rule.period then return end
      call('LPOP', key)
      room.used = room.used - cost
      room.changed = true
    end
  end

  local function read_meter(room, now)
    local rule = room.rule
    local meter = call('HGET', prefix .. 'meters', room.at)
    if meter then
      local tat, interval, used = struct.unpack('<ddd', meter)
      room.tat, room.interval = tat, interval
      if rule.strict or used ~= 0 then room.used = used end
    end
    if rule.strict then
      shorten(room, now)
    elseif room.interval ~= 0 and room.interval ~= rule.interval then -- what is owed stays owed in starts
      if room.tat > now then
        room.tat = math.min(FAR, now + math.ceil((room.tat - now) * rule.interval / room.interval))
      end
      room.interval, room.changed = rule.interval, true
    end
  end

  local function pauses()
    if paused == nil then paused = call('EXISTS', prefix .. 'r:paused') == 1 end
    return paused
  end

  local function throttles()
    if throttled == nil then throttled = call('EXISTS', prefix .. 'throttled') == 1 end
    return throttled
  end

  local wholes = {} -- limit -> the name of its room
  function its.whole_of(limit)
    local at = wholes[limit]
    if not at then
      at = limit .. '\n\n'
      wholes[limit] = at
    end
    return at
  end

  function its.room(limit, at, now)
    local room = rooms[at]
    if room then return room end
    local all, rule = its.whole_of(limit), its.rule_of(limit)
    local whole = at == all
    room = {limit = limit, at = at, rule = rule, tat = 0, interval = 0}
    rooms[at] = room
    if whole then
      room.whole = true
      if rule.closed_until then room.running = slots.running_under(limit) end
    else
      if rule.strict then room.used, room.started = 0, 0 end
      if rule.concurrency then room.running = slots.running(at) end
      if pauses() then room.paused = call('HEXISTS', prefix .. 'r:paused', 'key\n' .. at) == 1 end
      if throttles() then room.closed_until = tonumber(call('HGET', prefix .. 'throttled', at) or nil) or false end
      if moved_on[at] then
        room.tat, room.interval, room.changed, moved_on[at] = tats[at], rule.interval, true, nil
      elseif rule.rate then
        read_meter(room, now)
      end
    end
    if gating.parks() then
      local front = within(prefix .. 'parked', at, 'LIMIT', 0, 1)[1]
      room.front = front and string.sub(front, #at + 2)
    end
    return room
  end

  -- The moment from which a start of this cost fits the rate; now or before, if it does.
  local function opens_at(room, cost, now)
    local rule = room.rule
    if not rule.rate then return now end
    if not rule.strict then return room.tat - math.max(rule.burst - cost, 0) * rule.interval end
    local used = room.used + room.started
    if used == 0 or used + cost <= rule.rate then return now end
    local first = 0
    while true do
      local entries = call('LRANGE', prefix .. 'log:' .. room.at, first, first + 99)
      for _, entry in ipairs(entries) do
        local at, spent = string.match(entry, '^(%-?%d+) (%d+)$')
        used = used - spent
        if used == 0 or used + cost <= rule.rate then return at + rule.period end
      end
      if #entries < 100 then return now + rule.period end
      first = first + 100
    end
  end

  -- What this room alone has against a start of this cost: nothing, or 1 (a key) or 2 (a limit), and until when if known.
  local function obstacle(room, cost, now)
    local rule = room.rule
    if room.whole then
      if not rule.closed_until then return nil end
      if now < rule.closed_until then return 2, rule.closed_until end
      if room.running >= rule.probes then return 2 end
      return nil
    end
    if room.paused then return 1 end
    if room.closed_until and now < room.closed_until then return 2, room.closed_until end
    if rule.concurrency and room.running >= rule.concurrency then return 1 end
    local opens = opens_at(room, cost, now)
    if opens > now then return 2, opens end
  end

  local function start(room, cost, now)
    if room.running then room.running = room.running + 1 end
    local rule = room.rule
    if room.whole or not rule.rate then return end
    room.changed = true
    if rule.strict then
      room.tat, room.interval, room.started = now + rule.period, rule.period, room.started + cost
    else
      room.tat, room.interval = math.min(FAR, math.max(room.tat, now) + cost * rule.interval), rule.interval
    end
  end

  -- Where a job stands, as text that sorts: its priority turned round, its seq and its number.
  function its.stand_of(priority, seq, n) return string.format('%03d', 100 - priority) .. padded(seq) .. padded(n) end

  local function stopped_at(room, cost, priority, seq, n, now)
    local cause, til = obstacle(room, cost, now)
    -- Whoever fits where others wait before it would take their room each time, and a large cost would wait for ever.
    if not cause and room.front and room.front < its.stand_of(priority, seq, n) then return 1, now end
    return cause, til
  end

  local function read_meters(names)
    for i, meter in ipairs(call('HMGET', prefix .. 'meters', unpack(names))) do
      local at = names[i]
      if meter then
        local tat, interval, used = struct.unpack('<ddd', meter)
        if used ~= 0 or interval ~= ruled[at].interval then ruled[at] = false end
        tats[at] = tat
      else
        tats[at] = 0
      end
    end
  end

  -- Read at once of these rooms what `starts` must know: all that matters while nothing is paused, throttled or parked, and
  -- the rule is neither strict nor closed.
  function its.foresee(names)
    if pauses() or throttles() or gating.parks() then return end
    local rated, its_limit, rule = {}, '', nil
    for _, at in ipairs(names) do
      if ruled[at] == nil then
        if its_limit == '' or string.sub(at, 1, #its_limit) ~= its_limit then -- most jobs beside each other ask for one limit
          its_limit = string.match(at, '^[^\n]*\n')
          rule = its.rule_of(string.sub(its_limit, 1, -2))
          rule = not rule.strict and not rule.closed_until and rule
        end
        ruled[at] = rule
        if rule and rule.rate then rated[#rated + 1] = at end
      end
    end
    if #rated > 0 then read_meters(rated) end
    slots.foresee(names)
  end

  -- Let a job start in a room that was foreseen, if its rule allows it. Answers whether it does; if not, `judge` says why.
  function its.starts(at, now)
    local rule = ruled[at]
    if not rule or rooms[at] then return false end
    if rule.concurrency and slots.running(at) >= rule.concurrency then return false end
    if rule.rate then
      local tat = tats[at]
      if tat - math.max(rule.burst - 1, 0) * rule.interval > now then return false end
      tats[at], moved_on[at] = math.min(FAR, math.max(tat, now) + rule.interval), true
    end
    slots.add(at, 1)
    return true
  end

  -- Take all that these holds ask for, or say where the first stands that has something against it: the number of the hold,
  -- doubled, and one more if it is the key and not the limit as a whole; with it the cause, and until when.
  function its.judge(holds, priority, seq, n, now)
    for i = 1, #holds do
      local limit, at, cost = unpack(holds[i])
      local all = its.room(limit, its.whole_of(limit), now)
      if all.rule.closed_until or all.front then
        local cause, til = stopped_at(all, cost, priority, seq, n, now)
        if cause then return 2 * i, cause, til end
      end
      local cause, til = stopped_at(its.room(limit, at, now), cost, priority, seq, n, now)
      if cause then return 2 * i + 1, cause, til end
    end
    for i = 1, #holds do
      local limit, at, cost = unpack(holds[i])
      start(rooms[at], cost, now)
      local all, counted = rooms[its.whole_of(limit)], false
      for before = 1, i - 1 do counted = counted or holds[before][1] == limit end
      if not counted then start(all, 1, now) end
    end
  end

  function its.wakes_at(at) return tonumber(call('ZSCORE', prefix .. 'gates', at)) end
  function its.wake_at(at, moment) call('ZADD', prefix .. 'gates', 'LT', moment, at) end

  -- How many jobs could start in a room at once at most; nothing if nothing bounds them.
  function its.most(room)
    local rule = room.rule
    if room.whole then return rule.closed_until and rule.probes or nil end
    local rated = rule.rate and (rule.strict and rule.rate or rule.burst) or math.huge
    local bound = math.min(rated, rule.concurrency or math.huge)
    return bound < math.huge and bound or nil
  end

  -- How many of those parked first in a room, with these costs, go back to be judged; sets when to look again. `more`: others
  -- are parked behind them. `ended`: ends of attempts bring us here, so that what was to be looked at earlier still is.
  function its.release(room, costs, more, now, ended)
    local running, tat, started, changed = room.running, room.tat, room.started, room.changed
    local freed, stopped, til, cause = 0, false, nil, nil
    for _, cost in ipairs(costs) do
      cause, til = obstacle(room, cost, now)
      stopped = cause ~= nil
      if stopped then break end
      start(room, cost, now)
      freed = freed + 1
    end
    room.running, room.tat, room.started, room.changed = running, tat, started, changed
    if more and not stopped then
      til = ended and now + RECHECK or now
    elseif stopped and freed > 0 then
      til = math.min(til or now + RECHECK, now + RECHECK)
    end
    if ended and (more or stopped) then
      local before = its.wakes_at(room.at)
      if before then til = math.min(til or before, before) end
    end
    if til then call('ZADD', prefix .. 'gates', til, room.at) else call('ZREM', prefix .. 'gates', room.at) end
    return freed
  end

  -- Drop what says nothing any more among the meters given as a flat list.
  function its.drop_idle(flat, now)
    for i = 1, #flat, 2 do
      if struct.unpack('<d', flat[i + 1]) <= now then call('HDEL', prefix .. 'meters', flat[i]) end
    end
  end

  -- Write down what was started.
  function its.keep(now)
    local fields = {}
    for at, room in pairs(rooms) do
      if room.changed then
        room.changed = false
        if room.rule.strict and room.started > 0 then
          call('RPUSH', prefix .. 'log:' .. at, digits(now) .. ' ' .. digits(room.started))
          call('PEXPIRE', prefix .. 'log:' .. at, digits(math.max(1, math.ceil((room.tat - now) / 1000)) + SLACK))
          room.used, room.started = room.used + room.started, 0
        end
        fields[#fields + 1] = at
        fields[#fields + 1] = struct.pack('<ddd', room.tat, room.interval, room.used or 0)
      end
    end
    for at in pairs(moved_on) do
      fields[#fields + 1] = at
      fields[#fields + 1] = struct.pack('<ddd', tats[at], ruled[at].interval, 0)
    end
    moved_on = {}
    if #fields == 0 then return end
    in_parts(fields, 2000, function(...) call('HSET', prefix .. 'meters', ...) end)
    if call('HLEN', prefix .. 'meters') > FEW then
      its.drop_idle(call('HRANDFIELD', prefix .. 'meters', math.min(#fields, 100), 'WITHVALUES'), now)
    end
  end

  return its
end)
