-- How many run under each key of a limit. Rests on `rows`.
--
-- The hash `slots` keeps, by the name of a room (see `admission`), for how many holds jobs run there; a room in which none runs
-- is not in it. A job with several holds of one limit runs once under the limit as a whole: how many of its holds are more
-- than that stands under the limit's own room. Attempts take and give back their slots in the step that starts or ends them,
-- whoever ends them, so nothing of a worker that dies stays taken.
-- (As a sorted set with a member for each running job and hold, counted by ZLEXCOUNT, it cost 2 us more for each job of 1,000
-- keys.)

local slots = later(function()
  local its = {}
  local KEY = prefix .. 'slots'
  local stored, more = {}, {} -- by room: what is written, and what has come or gone since

  local function read(names)
    for first = 1, #names, 1000 do
      local last = math.min(first + 999, #names)
      for i, count in ipairs(call('HMGET', KEY, unpack(names, first, last))) do
        stored[names[first + i - 1]] = count and tonumber(count) or 0
      end
    end
  end

  -- Read at once what is written of these rooms.
  function its.foresee(names)
    local unknown, u = {}, 0
    for _, at in ipairs(names) do
      if not stored[at] then
        stored[at] = 0
        u = u + 1
        unknown[u] = at
      end
    end
    read(unknown)
  end

  function its.running(at)
    if not stored[at] then its.foresee({at}) end
    return stored[at] + (more[at] or 0)
  end

  -- How many jobs run under a limit as a whole.
  function its.running_under(limit)
    its.keep()
    local count, flat = 0, call('HGETALL', KEY)
    for i = 1, #flat, 2 do
      if string.sub(flat[i], 1, #limit + 1) == limit .. '\n' then
        count = count + (flat[i] == limit .. '\n\n' and -1 or 1) * flat[i + 1]
      end
    end
    return count
  end

  -- A slot of a room is taken (1) or given back (-1).
  function its.add(at, one) more[at] = (more[at] or 0) + one end

  -- A job takes what it holds (1), or gives it back (-1).
  function its.add_all(holds, one)
    local limits = {}
    for _, hold in ipairs(holds) do
      its.add(hold[2], one)
      if limits[hold[1]] then its.add(hold[1] .. '\n\n', one) end
      limits[hold[1]] = true
    end
  end

  -- Write what has changed.
  function its.keep()
    if not next(more) then return end
    local unknown, fields, gone, u, f, g = {}, {}, {}, 0, 0, 0
    for at in pairs(more) do
      if not stored[at] then
        u = u + 1
        unknown[u] = at
      end
    end
    read(unknown)
    for at, one in pairs(more) do
      local count = stored[at] + one
      stored[at] = count
      if count > 0 then
        fields[f + 1], fields[f + 2] = at, count
        f = f + 2
      else
        g = g + 1
        gone[g] = at
      end
    end
    more = {}
    set_short(KEY, fields)
    in_parts(gone, 1000, function(...) call('HDEL', KEY, ...) end)
  end

  -- The names of all rooms in which jobs run.
  function its.rooms()
    local names = {}
    for _, at in ipairs(call('HKEYS', KEY)) do
      if not string.match(at, '^[^\n]*\n\n$') then names[#names + 1] = at end
    end
    return names
  end

  return its
end)
