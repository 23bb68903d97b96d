-- Who has a unique or an idempotency key. Rests on `rows`.
--
-- `u:KEY` and `i:KEY` hold {number, id, digest, since, until}, packed: the job that has the key, when that was stored, and
-- until when it has it at least. A key of a request expires by itself, a unique one with its job. `q:BLOCK` leads from a job's
-- number to the names of its keys. Nobody but `enqueue`, a replay and what removes jobs looks at any of this.

local keyring = later(function()
  local its = {}
  local SLACK = 60000 -- milliseconds by which a key outlives its time, for clocks that do not agree
  local known = {} -- name -> what it holds, false for nothing
  local batch, taken, replaced, names_of = {}, {}, {}, {}

  -- Each verb looks anew: of one script, another may have stored, sent back or removed who had a key.
  function its.begin()
    known, batch, taken, replaced, names_of = {}, {}, {}, {}, {}
  end

  local function held(name)
    if known[name] == nil then
      local text = call('GET', prefix .. name)
      known[name] = false
      if text then
        local n, id, digest, since, til = unpack(cmsgpack.unpack(text))
        known[name] = {n = n, id = id, digest = digest, since = since, til = til or nil}
      end
    end
    return known[name]
  end

  -- The state of who has a key; nothing when it is gone.
  local function state_of(holding)
    local r = row(holding.n)
    return r and r.id == holding.id and r.state or nil
  end

  local function holds(holding, unique, now)
    local _, during, within = unpack(unique)
    if batch[holding.id] then return true end
    local state = state_of(holding)
    for _, each in ipairs(during) do
      if each == state then return true end
    end
    return within and now < holding.since + within
  end

  local function replaceable(holding, unique)
    if not unique[4] then return false end
    local state = state_of(holding)
    return batch[holding.id] or (state ~= nil and state < COMPLETED and state ~= RUNNING)
  end

  -- What speaks against a job, as a verdict, and the id of who has its key.
  function its.judge(unique, request, now)
    if request then
      local holding = held('i:' .. request[1])
      if holding and holding.til > now then return holding.digest == request[2] and 'A' or 'C', holding.id end
    end
    if unique then
      local holding = held('u:' .. unique[1])
      if holding and holds(holding, unique, now) and not replaceable(holding, unique) then return 'D', holding.id end
    end
  end

  local function put_key(name, holding)
    known[name], taken[name] = holding, holding
    local names = names_of[holding.id] or {}
    names[#names + 1] = name
    names_of[holding.id] = names
  end

  -- The job will be stored: it has its keys from now on.
  function its.take(id, unique, request, now)
    batch[id] = true
    if request then put_key('i:' .. request[1], {id = id, digest = request[2], since = now, til = now + request[3]}) end
    if unique then
      local name = 'u:' .. unique[1]
      local before = held(name)
      if before and holds(before, unique, now) then replaced[before.id] = id end
      put_key(name, {id = id, digest = '', since = now, til = unique[3] and now + unique[3] or nil})
    end
  end

  -- Write down who has which key, now that each new job has its number.
  function its.keep(numbers, now)
    for name, holding in pairs(taken) do
      local text = cmsgpack.pack({numbers[holding.id], holding.id, holding.digest, holding.since, holding.til or false})
      call('SET', prefix .. name, text)
      if string.sub(name, 1, 1) == 'i' then
        call('PEXPIRE', prefix .. name, digits(math.ceil((holding.til - now) / 1000) + SLACK))
      end
    end
    local sets = {}
    for id, names in pairs(names_of) do put(sets, 'q', numbers[id], cmsgpack.pack(names)) end
    write(sets)
  end

  -- A job is sent back to a state: it has its key again, unless another has it, which is answered where it may not go then.
  function its.take_back(r, target)
    local name, during = 'u:' .. r.flow.unique[1], {}
    for _, state in ipairs(r.flow.unique[2]) do during[state] = true end
    local holding = held(name)
    if holding and holding.id == r.id then return nil end
    if holding and during[state_of(holding)] then
      if during[target] then return holding.id end
      return nil
    end
    local its_own = {n = r.n, id = r.id, digest = '', since = r.enqueued}
    if holding then its_own.since, its_own.til = holding.since, holding.til end
    known[name] = its_own
    call('SET', prefix .. name, cmsgpack.pack({r.n, r.id, '', its_own.since, its_own.til or false}))
    return nil
  end

  -- Old job -> the new one that replaces it: of those stored before, or of those in the batch.
  function its.replaced_in(this_batch)
    local found = {}
    for old, new in pairs(replaced) do
      if (batch[old] == true) == this_batch then found[#found + 1] = {old, new} end
    end
    return found
  end

  function its.is_new(id) return batch[id] == true end

  -- Jobs are removed: their keys go, or (unless they are `erased`) when their time is over.
  function its.forget(numbers, ids, erased, now)
    for i, n in ipairs(numbers) do
      local field = block_key('q', block_of(n))
      local text = call('HGET', field, n)
      for _, name in ipairs(text and cmsgpack.unpack(text) or {}) do
        local holding = held(name)
        if holding and holding.id == ids[i] then
          if erased or not holding.til or holding.til <= now then
            call('DEL', prefix .. name)
          else
            call('PEXPIRE', prefix .. name, digits(math.ceil((holding.til - now) / 1000) + SLACK))
          end
        end
      end
      if text then call('HDEL', field, n) end
    end
  end

  return its
end)
