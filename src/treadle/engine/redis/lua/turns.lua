-- Whose turn it is: the lines of orderings. Rests on `rows`.
--
-- Who enters a line stands behind all others of it. Two hashes keep, by ordering, the number of who is first (`turns`) and of
-- who is last (`ends`) of each line; a third, `beside`, by number, who stands before and who behind, as two packed numbers, 0
-- for nobody: of those that do not stand alone. Who is first may have somebody before him there who has gone: nobody looks.
-- (As one sorted set, `ORDERING\nPLACE NUMBER`, whose first was asked for by ZLEXCOUNT, it cost 2 us more for each job.)

local turns = later(function()
  local its = {}
  local TURNS, ENDS, BESIDE = prefix .. 'turns', prefix .. 'ends', prefix .. 'beside'
  local first_of, last_of = {}, {} -- by ordering, 0 for nobody; nothing where it is not known
  local before, behind = {}, {} -- by number, as well
  local moves = {} -- what is still to be done: ordering, number, and whether it comes
  local served, served_numbers = {}, {} -- orderings, and who goes from the front of each

  local function read_numbers(key, names, into)
    local unknown = {}
    for _, name in ipairs(names) do
      if not into[name] then
        into[name] = 0
        unknown[#unknown + 1] = name
      end
    end
    for first = 1, #unknown, 1000 do
      local last = math.min(first + 999, #unknown)
      for i, text in ipairs(call('HMGET', key, unpack(unknown, first, last))) do
        if text then into[unknown[first + i - 1]] = tonumber(text) end
      end
    end
  end

  local function read_beside(numbers)
    for first = 1, #numbers, 1000 do
      local last = math.min(first + 999, #numbers)
      for i, text in ipairs(call('HMGET', BESIDE, unpack(numbers, first, last))) do
        local n = numbers[first + i - 1]
        if text then before[n], behind[n] = struct.unpack('<dd', text) else before[n], behind[n] = 0, 0 end
      end
    end
  end

  local function know(n)
    if not behind[n] then read_beside({n}) end
  end

  -- Read at once who is first of these.
  function its.foresee(orders) read_numbers(TURNS, orders, first_of) end

  -- The number of who is first in a line, or nothing.
  function its.first(order)
    local first = first_of[order]
    if not first then
      its.foresee({order})
      first = first_of[order]
    end
    return first ~= 0 and first or nil
  end

  function its.come(order, n)
    local at = #moves
    moves[at + 1], moves[at + 2], moves[at + 3] = order, n, true
  end

  function its.go(order, n)
    local at = #moves
    moves[at + 1], moves[at + 2], moves[at + 3] = order, n, false
  end

  -- Somebody goes who has run, so that he was first.
  function its.served(order, n)
    if #moves > 0 then return its.go(order, n) end
    local at = #served + 1
    served[at], served_numbers[at] = order, n
  end

  local function keep_served()
    local orders, numbers = served, served_numbers
    local fields, gone, empty, f, g, e = {}, {}, {}, 0, 0, 0
    for first = 1, #numbers, 1000 do
      local texts = call('HMGET', BESIDE, unpack(numbers, first, math.min(first + 999, #numbers)))
      for i = 1, #texts do
        local order, n, next_one, _ = orders[first + i - 1], numbers[first + i - 1], 0, nil
        if texts[i] then
          _, next_one = struct.unpack('<dd', texts[i])
          g = g + 1
          gone[g] = n
        end
        first_of[order], before[n], behind[n] = next_one, nil, nil
        if next_one == 0 then
          last_of[order] = 0
          e = e + 1
          empty[e] = order
        else
          fields[f + 1], fields[f + 2] = order, next_one
          f = f + 2
        end
      end
    end
    served, served_numbers = {}, {}
    set_short(TURNS, fields)
    in_parts(gone, 1000, function(...) call('HDEL', BESIDE, ...) end)
    in_parts(empty, 1000, function(...) call('HDEL', TURNS, ...) end)
    in_parts(empty, 1000, function(...) call('HDEL', ENDS, ...) end)
  end

  local function enter(order, n, touched)
    local last = last_of[order]
    before[n], behind[n] = last, 0
    last_of[order] = n
    if last == 0 then
      first_of[order] = n
    else
      if last == first_of[order] then before[last] = 0 else know(last) end
      behind[last] = n
      touched[last], touched[n] = true, true
    end
  end

  local function leave(order, n, touched)
    local was_first, was_last = first_of[order] == n, last_of[order] == n
    know(n)
    local one, other = before[n], behind[n]
    if not was_first and one == 0 then return end -- he is in no line
    before[n], behind[n] = 0, 0
    if one + other > 0 then touched[n] = true end
    if was_first then
      first_of[order] = other
    else
      know(one)
      behind[one] = other
      touched[one] = true
    end
    if was_last then
      last_of[order] = was_first and 0 or one
    elseif not was_first then
      know(other)
      before[other] = one
      touched[other] = true
    end
  end

  local function store(key, names, text_of)
    local fields, gone = {}, {}
    for name in pairs(names) do
      local text = text_of(name)
      if text then fields[#fields + 1], fields[#fields + 2] = name, text else gone[#gone + 1] = name end
    end
    set_short(key, fields)
    in_parts(gone, 1000, function(...) call('HDEL', key, ...) end)
  end

  local function keep_moves()
    local named, touched, orders, lasts = {}, {}, {}, {}
    for i = 1, #moves, 3 do
      local order = moves[i]
      if not named[order] then
        named[order] = true
        orders[#orders + 1] = order
      end
    end
    its.foresee(orders)
    read_numbers(ENDS, orders, last_of)
    for _, order in ipairs(orders) do
      local last = last_of[order]
      if last ~= first_of[order] and not behind[last] then lasts[#lasts + 1] = last end
    end
    read_beside(lasts)
    for i = 1, #moves, 3 do
      local change = moves[i + 2] and enter or leave
      change(moves[i], moves[i + 1], touched)
    end
    moves = {}
    store(TURNS, named, function(order) return first_of[order] ~= 0 and first_of[order] end)
    store(ENDS, named, function(order) return last_of[order] ~= 0 and last_of[order] end)
    store(BESIDE, touched, function(n)
      return before[n] + behind[n] > 0 and struct.pack('<dd', before[n], behind[n])
    end)
  end

  -- Carry out who comes and who goes, and write it.
  function its.keep()
    if #served > 0 then keep_served() end
    if #moves > 0 then keep_moves() end
  end

  return its
end)
