-- Gated jobs: what is parked, and who comes back when there is room. Rests on `slots`, `turns` and `admission`.
--
-- The sorted set `parked` has a member `LIMIT\nKEY\nSTAND` for each job parked at a limit, all with score 0, so that they sort
-- as text; a stand is its priority turned round, its seq and its number. The set `waiting` holds the numbers of those that are
-- parked because it is not their turn. A row says where it is parked by `spot`: 0 not at all, 1 for its turn, else a number as
-- `admission.judge` answers it; `cause` is 1 (key) or 2 (limit).

local freed, limit_of, moved = {}, {}, {} -- slots that came free by room, its limit, and orderings that somebody left
local any_freed = false

gating = later(function()
  local its = {}
  local parks, waits
  local seats = {} -- by number: whether he is parked for his turn from now on

  -- Write down who waits for his turn.
  function its.keep()
    if not next(seats) then return end
    local sit, rise = {}, {}
    for n, sits in pairs(seats) do
      if sits then sit[#sit + 1] = n else rise[#rise + 1] = n end
    end
    in_parts(rise, 1000, function(...) call('SREM', prefix .. 'waiting', ...) end)
    in_parts(sit, 1000, function(...) call('SADD', prefix .. 'waiting', ...) end)
    seats = {}
  end

  -- Whether anything is parked at a limit.
  function its.parks()
    if parks == nil then parks = call('EXISTS', prefix .. 'parked') == 1 end
    return parks
  end

  -- Whether anybody is parked because it is not his turn.
  local function anybody_waits()
    if waits == nil then waits = call('EXISTS', prefix .. 'waiting') == 1 end
    return waits
  end

  -- The name of a room, from where a job is parked.
  local function room_at(flow, spot)
    local hold = flow.holds[math.floor(spot / 2)]
    return spot % 2 == 0 and admission.whole_of(hold[1]) or hold[2], hold
  end

  function its.park(r)
    if r.spot == 1 then
      seats[r.n] = true
      waits = true
    else
      call('ZADD', prefix .. 'parked', 0, room_at(r.flow, r.spot) .. '\n' .. admission.stand_of(r.priority, r.seq, r.n))
      parks = true
    end
  end

  function its.unpark(r)
    if r.spot == 1 then
      seats[r.n] = false
    else
      call('ZREM', prefix .. 'parked', room_at(r.flow, r.spot) .. '\n' .. admission.stand_of(r.priority, r.seq, r.n))
    end
    r.spot, r.cause = 0, 0
  end

  function its.take_place(r, number)
    r.place = number
    turns.come(r.flow.order, r.n)
  end

  -- New jobs that enter their line with their number as their place.
  function its.line_up(flow, n)
    if flow.order then turns.come(flow.order, n) end
  end

  -- Who comes next matters only where somebody waits.
  local function call_behind(order)
    if anybody_waits() then
      moved[order] = true
      any_freed = true
    end
  end

  -- Give up the place of a row that has ended, unless nothing may pass it.
  function its.leave_line(r, keeps)
    if r.flow.order and r.place and not keeps then
      turns.go(r.flow.order, r.n)
      call_behind(r.flow.order)
      r.place = nil
    end
  end

  local function one_more(name, limit)
    local count = freed[name]
    freed[name] = count and count + 1 or 1
    limit_of[name] = limit
  end

  -- Whom a slot that comes free makes room for matters only where somebody is parked.
  local function call_for(at)
    if its.parks() then
      local limit = string.match(at, '^[^\n]*')
      one_more(at, limit)
      one_more(admission.whole_of(limit), limit)
      any_freed = true
    end
  end

  -- Give back what a running job held.
  function its.free_slots(flow)
    slots.add_all(flow.holds, -1)
    for _, hold in ipairs(flow.holds) do call_for(hold[2]) end
  end

  local function served(order, n)
    turns.served(order, n)
    call_behind(order)
  end

  -- This was completed where it stands, as `settle` does with what nothing special has happened to.
  function its.completed(n, blob)
    local kind = string.byte(blob)
    if kind == ONE_HOLD then
      local at = string.sub(blob, 2)
      slots.add(at, -1)
      return call_for(at)
    end
    if kind == ONE_ORDER or kind == STRICT_ORDER then return served(string.sub(blob, 2), n) end
    local flow = flow_in(blob)
    its.free_slots(flow)
    if flow.order then served(flow.order, n) end
  end

  -- Begin to judge: what was seen before may have changed.
  function its.begin()
    flush_indices()
    admission.forget()
    parks, waits = nil, nil
  end

  local function park_at(flow, spot, til, stand, now)
    local at, hold = room_at(flow, spot)
    local room = admission.room(hold[1], at, now)
    if not room.front or stand < room.front then room.front = stand end
    if til then admission.wake_at(at, til) end
    return at, admission.wakes_at(at)
  end

  -- Let a queued job start, or say where it is to be parked, why, and when that or what stands behind it is looked at.
  function its.judge(flow, priority, seq, n, now)
    local spot, cause, til
    if flow.order and turns.first(flow.order) ~= n then
      spot, cause = 1, 1
    else
      spot, cause, til = admission.judge(flow.holds, priority, seq, n, now)
    end
    if not spot then
      slots.add_all(flow.holds, 1)
      return nil
    end
    local parked_at, wakes
    if spot > 1 then parked_at, wakes = park_at(flow, spot, til, admission.stand_of(priority, seq, n), now) end
    for _, hold in ipairs(flow.holds) do
      if hold[2] ~= parked_at and admission.room(hold[1], hold[2], now).front then
        admission.wake_at(hold[2], now)
        wakes = math.min(wakes or now, admission.wakes_at(hold[2]))
      end
    end
    return spot, cause, wakes
  end

  local function come_back(r)
    leave(r)
    r.state = QUEUED
    woken['queue:' .. r.queue] = true
    return enter(r)
  end

  local function call_first(orders)
    local numbers, called = {}, {}
    turns.foresee(orders)
    for _, order in ipairs(orders) do numbers[#numbers + 1] = turns.first(order) end
    for first = 1, #numbers, 1000 do
      local last = math.min(first + 999, #numbers)
      for i, waits_here in ipairs(call('SMISMEMBER', prefix .. 'waiting', unpack(numbers, first, last))) do
        if waits_here == 1 then called[#called + 1] = numbers[first + i - 1] end
      end
    end
    for _, r in ipairs(rows_in(called)) do come_back(r) end
  end

  -- No more are read than could start beside each other, and one: with 10,000 parked at a rate of 100 a minute each look took
  -- 45 ms.
  local function call_parked(room, most, ended, now)
    local bound = admission.most(room)
    if bound then most = math.min(most, bound + 1) end
    local low, high = '[' .. room.at .. '\n0', '(' .. room.at .. '\n:'
    local names = call('ZRANGEBYLEX', prefix .. 'parked', low, high, 'LIMIT', 0, most + 1)
    local numbers, costs = {}, {}
    for i = 1, math.min(most, #names) do numbers[i] = tonumber(string.sub(names[i], -16)) end
    local list = rows_in(numbers)
    for i, r in ipairs(list) do
      local _, hold = room_at(r.flow, r.spot)
      costs[i] = r.spot % 2 == 1 and hold[3] or 1
    end
    local count = admission.release(room, costs, #names > most, now, ended)
    for i = 1, count do come_back(list[i]) end
    return count
  end

  -- Call whom the ends of this verb made room for: the first in line, and the first parked of each key.
  function its.call_next(now)
    its.begin()
    local orders, names = {}, {}
    for order in pairs(moved) do orders[#orders + 1] = order end
    table.sort(orders)
    call_first(orders)
    if its.parks() then
      for at in pairs(freed) do
        local rule = admission.rule_of(limit_of[at])
        if rule.concurrency or rule.closed_until then names[#names + 1] = at end
      end
      table.sort(names)
      for _, at in ipairs(names) do
        local limit, count = limit_of[at], freed[at]
        local room = admission.room(limit, at, now)
        local bounded = room.whole and room.rule.closed_until or not room.whole and room.rule.concurrency
        if bounded and room.front then call_parked(room, count, true, now) end
      end
    end
    moved, freed, any_freed = {}, {}, false
    admission.keep(now)
  end

  -- Look at the rooms whose moment has come; how many jobs came back.
  function its.look(now, limit)
    its.begin()
    local left = limit
    for _, at in ipairs(call('ZRANGEBYSCORE', prefix .. 'gates', '-inf', digits(now), 'LIMIT', 0, limit)) do
      if left > 0 then
        local room = admission.room(string.match(at, '^[^\n]*'), at, now)
        left = left - call_parked(room, left, false, now)
      end
    end
    admission.keep(now)
    return limit - left
  end

  -- The names of the rooms in which some are parked, from one name on, as long as `visit` does not say to stop.
  function its.rooms_from(from, visit)
    local low = '[' .. from
    while true do
      local name = call('ZRANGEBYLEX', prefix .. 'parked', low, '+', 'LIMIT', 0, 1)[1]
      local at = name and string.match(name, '^(.*)\n%d+$')
      if not at or visit(at) then return end
      low = '(' .. at .. '\n:'
    end
  end

  -- Have the next `promote` look at what is parked at a limit, or at one key of it.
  function its.look_soon(limit, key, now)
    admission.forget_rules()
    its.begin()
    if key then
      local at = limit .. '\n' .. key
      if admission.room(limit, at, now).front then admission.wake_at(at, now) end
      return
    end
    its.rooms_from(limit .. '\n', function(at)
      if string.sub(at, 1, #limit + 1) ~= limit .. '\n' then return true end
      admission.wake_at(at, now)
    end)
  end

  -- Close a key until a moment, if it is not closed for longer.
  function its.throttle(at, til)
    local before = tonumber(call('HGET', prefix .. 'throttled', at))
    if not before or til > before then call('HSET', prefix .. 'throttled', at, digits(til)) end
  end

  return its
end)

local function call_next(now)
  if any_freed then gating.call_next(now) end
end
