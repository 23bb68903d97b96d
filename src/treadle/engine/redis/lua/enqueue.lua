-- enqueue: store every job, or say of each why not.
-- include: rows ranking slots turns lines admission gating family records keyring
--
-- Parameters: {now, ids, lines, line of each job or false when all are of the first, special, with_rows}; a line is {queue,
-- priority, task, kind (n: plain, g: gated)}; `special` maps the place of a job that asks for more to {delay, run_at,
-- start_within, edges, guard, unique, request}, times in microseconds, false for none, an edge {parent id, on_dead}, a guard a
-- write as `write` takes it, unique {key, states, within, replaces}, a request {key, digest, ttl}. `with_rows`: some must be
-- looked at one by one, so that all are, in the order of the batch. With them comes, for each job, the text that `j` keeps,
-- without the time.
-- Result: one text, two characters for each job: the verdict (S A G U R D C) and the code of its state (0: not stored). Where
-- another job has a key, a list of that text and the MessagePack of a list of {place, that job's id}.

local fresh_ids, fresh_asked = {}, {}

local function store(n, id, asked)
  fresh_ids[#fresh_ids + 1] = id
  fresh_ids[#fresh_ids + 1] = n
  put(fresh_asked, 'j', n, asked)
end

local NOTHING_MORE = {}
local function row_for(n, asked, special, now)
  local r = decode(n, asked)
  r.state, r.place = BLOCKED, nil
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
local function judge_one(id, its, versions, now)
  local unique, request = its[6], its[7]
  if unique or request then
    local against, holder = keyring.judge(unique, request, now)
    if against then return against, holder end
  end
  if its[5] and not passes(its[5], versions) then return 'G' end
  if unique or request then keyring.take(id, unique, request, now) end
  return 'S'
end

local function judge(ids, special, known, now)
  local batch, versions, verdicts, refused, holders = {}, {}, {}, false, {}
  for i, id in ipairs(ids) do
    if known[id] or batch[id] then
      verdicts[i] = 'A'
    else
      verdicts[i] = 'S'
      if special[i] then verdicts[i], holders[i] = judge_one(id, special[i], versions, now) end
      if verdicts[i] == 'S' then batch[id] = true end
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
  return verdicts, refused, holders
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

local function state_now(id, n, verdict)
  if not n or verdict == 'G' or verdict == 'U' or verdict == 'R' then return 0 end
  if rows[n] == nil and verdict == 'S' then return QUEUED end
  local r = row(n)
  return r and r.id == id and r.state or 0
end

-- What was said because of another job of a refused batch does not stand.
local function answer(ids, verdicts, refused, known, holders)
  local out, others = {}, {}
  if next(holders) then
    local missing = {}
    for _, id in pairs(holders) do
      if not known[id] then missing[#missing + 1] = id end
    end
    for id, n in pairs(numbers_of(missing)) do known[id] = n end
  end
  for i, id in ipairs(ids) do
    local verdict, holder = verdicts[i], holders[i]
    local n = known[holder or id]
    if refused and (verdict == 'S' or (verdict == 'A' and not holder and not n) or (holder and keyring.is_new(holder))) then
      verdict, holder = 'R', nil
    end
    if holder then others[#others + 1] = {i, holder} end
    out[i] = verdict .. state_now(holder or id, n, verdict)
  end
  if next(others) then return {table.concat(out), cmsgpack.pack(others)} end
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

-- Put jobs that need no row at the end of their lines.
local function line_up(pushed, lines)
  for at, numbers in pairs(pushed) do
    local queue, priority, task, kind = unpack(lines[at])
    local line = line_name(priority, kind, task)
    local key = line_key(queue, line)
    if kind == 'n' then
      in_parts(numbers, 1000, function(...) call('RPUSH', key, ...) end)
    else
      local flat = {}
      for i, n in ipairs(numbers) do flat[2 * i - 1], flat[2 * i] = n, padded(n) end
      in_parts(flat, 2000, function(...) call('ZADD', key, ...) end)
    end
    call('ZADD', prefix .. 'lines:' .. queue, -priority, line)
    woken['queue:' .. queue] = true
  end
end

-- Those that lose a unique key: cancelled at once, or stored so if they are of this batch.
local function replace(this_batch, known, now)
  for _, pair in ipairs(keyring.replaced_in(this_batch)) do
    local r = this_batch and rows[known[pair[1]]] or row_of(pair[1])
    if r.state == QUEUED then gone_from_line(r) end
    end_row(leave(r), CANCELLED, now, 'replaced by ' .. pair[2])
  end
  if not this_batch then settle_children(now) end
end

local function bind_all(specials, known, now, keyed)
  for _, each in ipairs(specials) do
    if each.edges then bind(each.r, each.edges, known) end
  end
  if keyed then replace(true, known, now) end
  for _, each in ipairs(specials) do
    if each.edges and each.r.state == BLOCKED then judge_parents(each.r, now) end
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

-- Store those that may be: as rows when `with_rows`, else as texts, each at the end of its line at once.
local function store_all(arg, asked, verdicts, known, with_rows, now)
  local ids, lines, which, special = arg[2], arg[3], arg[4], arg[5]
  local stored = 0
  flush_indices() -- who was freed before stands before these
  for _, verdict in ipairs(verdicts) do
    if verdict == 'S' then stored = stored + 1 end
  end
  local stamp = struct.pack('>BI4I4', 207, math.floor(now / 4294967296), now % 4294967296)
  local first = next_numbers(stored)
  local n, pushed, specials = first, {}, {}
  for i, id in ipairs(ids) do
    if verdicts[i] == 'S' then
      local text, its = stamp .. asked[i], special[i] or NOTHING_MORE
      known[id] = n
      store(n, id, text)
      if its[5] then write_one(its[5], now) end
      if with_rows then
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
        if lines[at][4] == 'g' then gating.line_up(flow_of(text), n) end
      end
      n = n + 1
    end
  end
  new_blocks(first, n - 1)
  in_parts(fresh_ids, 2000, function(...) call('HSET', prefix .. 'ids', ...) end)
  write(fresh_asked)
  line_up(pushed, lines)
  return specials
end

local function any_shared(lines)
  for _, line in ipairs(lines) do
    if shared(line[1], line[2]) then return true end
  end
  return false
end

function verbs.enqueue(arg, asked)
  local now, ids, special = the_time(arg[1]), arg[2], arg[5]
  fresh_ids, fresh_asked = {}, {}
  keyring.begin()
  local known = look_up(ids, special)
  local verdicts, refused, holders = judge(ids, special, known, now)
  local any = false
  for _, verdict in ipairs(verdicts) do any = any or verdict == 'S' end
  if refused or not any then return answer(ids, verdicts, refused, known, holders) end
  local keyed, with_rows = false, arg[6] or any_shared(arg[3])
  for _, its in pairs(special) do keyed = keyed or its[6] or its[7] end -- false for none
  if keyed then
    replace(false, known, now)
    with_rows = with_rows or #keyring.replaced_in(true) > 0
  end
  local specials = store_all(arg, asked, verdicts, known, with_rows, now)
  if keyed then keyring.keep(known, now) end
  bind_all(specials, known, now, keyed)
  call_next(now)
  return answer(ids, verdicts, false, known, holders)
end
