-- enqueue: store every job, or say of each why not.
-- include: rows family records
--
-- Parameters: {now, jobs}; a job is {id, task, queue, priority, version, codec, delay, run_at, start_within, max_crashes,
-- args, options, headers, tags, key, edges, guard}, times in microseconds, an edge {parent id, on_dead}, a guard a write as
-- `write` takes it.
-- Result: one text, two characters for each job: the verdict (S A G U R) and the code of its state (0: not stored).

local function row_for(n, job, now)
  local due = job[8]
  if job[7] then due = now + job[7] end
  local start_by
  if job[9] then start_by = (due or now) + job[9] end
  local r = {
    n = n, state = BLOCKED, cancel = 0, stuck = 0, suspect = 0, parent = 0, priority = job[4], version = job[5], attempt = 0,
    failures = 0, crashes = 0, snoozes = 0, releases = 0, max_crashes = job[10], seq = n, enqueued = now, due = due,
    start_by = start_by, id = job[1], queue = job[3], task = job[2], codec = job[6], lease = '', cold = '', 
    tail = cmsgpack.pack(job[11], job[12], job[13]),
  }
  if job[14] or job[15] then r.more = {tags = job[14], key = job[15]} end
  rows[n] = r
  fresh[#fresh + 1] = r.id
  fresh[#fresh + 1] = n
  return touch(r)
end

local function new_blocks(first, last)
  for block = block_of(first), block_of(last) do call('ZADD', prefix .. 'blocks', block, block) end
end

-- What would become of each job; nothing is written yet.
local function judge(jobs, known)
  local batch, versions, verdicts, refused = {}, {}, {}, false
  for i, job in ipairs(jobs) do
    if known[job[1]] or batch[job[1]] then
      verdicts[i] = 'A'
    elseif job[17] and not passes(job[17], versions) then
      verdicts[i] = 'G'
    else
      batch[job[1]] = true
      verdicts[i] = 'S'
    end
  end
  for i, job in ipairs(jobs) do
    if verdicts[i] == 'S' then
      for _, edge in ipairs(job[16] or {}) do
        if not known[edge[1]] and not batch[edge[1]] then
          verdicts[i] = 'U'
          refused = true
        end
      end
    end
  end
  return verdicts, refused
end

local function bind(r, edges, known, now)
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

local function answer(jobs, verdicts, refused, known)
  local out = {}
  for i, job in ipairs(jobs) do
    local verdict, n = verdicts[i], known[job[1]]
    if refused and (verdict == 'S' or (verdict == 'A' and not n)) then verdict = 'R' end
    local state = 0
    if n and verdict ~= 'G' and verdict ~= 'U' and verdict ~= 'R' then state = row(n).state end
    out[i] = verdict .. state
  end
  return table.concat(out)
end

function verbs.enqueue(arg)
  local now, jobs = the_time(arg[1]), arg[2]
  local ids = {}
  for i, job in ipairs(jobs) do ids[i] = job[1] end
  local known = numbers_of(ids)
  local parents, plain = {}, true
  for _, job in ipairs(jobs) do
    if job[17] then plain = false end
    for _, edge in ipairs(job[16] or {}) do
      plain = false
      parents[#parents + 1] = edge[1]
    end
  end
  if #parents > 0 then
    for id, n in pairs(numbers_of(parents)) do known[id] = n end
  end
  local old = {}
  for _, n in pairs(known) do old[#old + 1] = n end
  fetch(old)
  local verdicts, refused = judge(jobs, known)
  if refused then return answer(jobs, verdicts, true, known) end
  local stored = {}
  for i, job in ipairs(jobs) do
    if verdicts[i] == 'S' then stored[#stored + 1] = job end
  end
  local n = next_numbers(#stored) - 1
  for i, job in ipairs(stored) do
    if job[17] then write_one(job[17]) end
    known[job[1]] = n + i
    local r = row_for(n + i, job, now)
    if plain then
      r.state = (r.due and r.due > now) and SCHEDULED or QUEUED
      if r.state == QUEUED then woken['queue:' .. r.queue] = true end
    end
    enter(r)
  end
  if #stored > 0 then new_blocks(n + 1, n + #stored) end
  if plain then return answer(jobs, verdicts, false, known) end
  for _, job in ipairs(stored) do
    if job[16] and #job[16] > 0 then bind(rows[known[job[1]]], job[16], known, now) end
  end
  for _, job in ipairs(stored) do
    if job[16] and #job[16] > 0 then judge_parents(rows[known[job[1]]], now) end
  end
  while #ended > 0 do
    local round = ended
    ended = {}
    tell_children(round, now)
  end
  for _, job in ipairs(stored) do
    local r = rows[known[job[1]]]
    if is_free(r) then admit(leave(r), now) end
  end
  return answer(jobs, verdicts, false, known)
end
