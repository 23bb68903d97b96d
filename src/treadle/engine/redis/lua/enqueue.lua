-- enqueue: store every job, or say of each why not.
-- include: rows family records
--
-- Parameters: {now, ids, lines, line of each job or false when all are of the first, special}; a line is {queue, priority,
-- task}; `special` maps the place of a job that is not plain to {delay, run_at, start_within, edges, guard}, times in
-- microseconds, false for none, an edge {parent id, on_dead}, a guard a write as `write` takes it. With them comes, for each
-- job, the text that `j` keeps, without the time.
-- Result: one text, two characters for each job: the verdict (S A G U R) and the code of its state (0: not stored).

local fresh_ids, fresh_asked = {}, {}

local function store(n, id, asked)
  fresh_ids[#fresh_ids + 1] = id
  fresh_ids[#fresh_ids + 1] = n
  put(fresh_asked, 'j', n, asked)
end

local function row_for(n, asked, special, now)
  local r = decode(n, asked)
  r.state = BLOCKED
  r.due = special[2] or nil
  if special[1] then r.due = now + special[1] end
  if special[3] then r.start_by = (r.due or now) + special[3] end
  rows[n] = r
  return touch(r)
end

local function new_blocks(first, last)
  for block = block_of(first), block_of(last) do call('ZADD', prefix .. 'blocks', block, block) end
end

-- What would become of each job; nothing is written yet.
local function judge(ids, special, known)
  local batch, versions, verdicts, refused = {}, {}, {}, false
  for i, id in ipairs(ids) do
    local guard = special[i] and special[i][5]
    if known[id] or batch[id] then
      verdicts[i] = 'A'
    elseif guard and not passes(guard, versions) then
      verdicts[i] = 'G'
    else
      batch[id] = true
      verdicts[i] = 'S'
    end
  end
  for i, its in pairs(special) do
    if verdicts[i] == 'S' then
      for _, edge in ipairs(its[4] or {}) do
        if not known[edge[1]] and not batch[edge[1]] then
          verdicts[i] = 'U'
          refused = true
        end
      end
    end
  end
  return verdicts, refused
end

local function bind(r, edges, known)
  local list, waits, taken = {}, {}, {}
  for _, edge in ipairs(edges) do
    if not taken[edge[1]] then
      taken[edge[1]] = true
      local parent = row(known[edge[1]])
      parent.parent = 1
      touch(parent)
      call('SADD', prefix .. 'k:' .. digits(parent.n), r.n)
      list[#list + 1] = {parent.n, edge[2]}
      waits[digits(parent.n)] = true
    end
  end
  local more = warm(r)
  more.edges, more.waits = list, waits
end

local function judge_parents(r, now)
  local waits, cancelled_by = {}, nil
  for _, edge in ipairs(seen(r).edges) do
    local parent = rows[edge[1]]
    local its = fate(parent, parent.state, edge[2])
    if its == CANCEL then cancelled_by = cancelled_by or parent end
    if its == WAIT then waits[digits(parent.n)] = true end
  end
  if cancelled_by then
    end_row(leave(r), CANCELLED, now, 'parent ' .. cancelled_by.id)
  else
    warm(r).waits = waits
  end
end

local function answer(ids, verdicts, refused, known)
  local out = {}
  for i, id in ipairs(ids) do
    local verdict, n = verdicts[i], known[id]
    if refused and (verdict == 'S' or (verdict == 'A' and not n)) then verdict = 'R' end
    local state = 0
    if n and verdict ~= 'G' and verdict ~= 'U' and verdict ~= 'R' then
      state = rows[n] == nil and verdict == 'S' and QUEUED or row(n).state
    end
    out[i] = verdict .. state
  end
  return table.concat(out)
end

-- Which of these ids are stored, and all that their edges name.
local function look_up(ids, special)
  local known, parents = numbers_of(ids), {}
  for _, its in pairs(special) do
    for _, edge in ipairs(its[4] or {}) do parents[#parents + 1] = edge[1] end
  end
  if #parents > 0 then
    for id, n in pairs(numbers_of(parents)) do known[id] = n end
  end
  local old = {}
  for _, n in pairs(known) do old[#old + 1] = n end
  fetch(old)
  return known
end

-- Put plain jobs at the end of their lines.
local function line_up(pushed, lines)
  for at, numbers in pairs(pushed) do
    local queue, priority, task = unpack(lines[at])
    local line = digits(priority) .. '\nn\n' .. task
    in_parts(numbers, 1000, function(...) call('RPUSH', line_key(queue, line), ...) end)
    call('ZADD', prefix .. 'lines:' .. queue, -priority, line)
    woken['queue:' .. queue] = true
  end
end

local function bind_all(specials, known, now)
  for _, each in ipairs(specials) do
    if each.edges then bind(each.r, each.edges, known) end
  end
  for _, each in ipairs(specials) do
    if each.edges then judge_parents(each.r, now) end
  end
  while #ended > 0 do
    local round = ended
    ended = {}
    tell_children(round, now)
  end
  for _, each in ipairs(specials) do
    if is_free(each.r) then admit(leave(each.r), now) end
  end
end

function verbs.enqueue(arg, asked)
  local now, ids, lines, which, special = the_time(arg[1]), arg[2], arg[3], arg[4], arg[5]
  local known = look_up(ids, special)
  local verdicts, refused = judge(ids, special, known)
  if refused then return answer(ids, verdicts, true, known) end
  local stored = 0
  for _, verdict in ipairs(verdicts) do
    if verdict == 'S' then stored = stored + 1 end
  end
  if stored == 0 then return answer(ids, verdicts, false, known) end
  local stamp = struct.pack('>BI4I4', 207, math.floor(now / 4294967296), now % 4294967296)
  local first = next_numbers(stored)
  local n, pushed, specials = first, {}, {}
  for i, id in ipairs(ids) do
    if verdicts[i] == 'S' then
      local text, its = stamp .. asked[i], special[i]
      known[id] = n
      store(n, id, text)
      if its then
        if its[5] then write_one(its[5]) end
        local edges = its[4] and #its[4] > 0 and its[4]
        specials[#specials + 1] = {r = enter(row_for(n, text, its, now)), edges = edges}
      else
        local at = which and which[i] or 1
        local line = pushed[at]
        if not line then
          line = {}
          pushed[at] = line
        end
        line[#line + 1] = n
      end
      n = n + 1
    end
  end
  new_blocks(first, n - 1)
  in_parts(fresh_ids, 2000, function(...) call('HSET', prefix .. 'ids', ...) end)
  write(fresh_asked)
  line_up(pushed, lines)
  bind_all(specials, known, now)
  return answer(ids, verdicts, false, known)
end
