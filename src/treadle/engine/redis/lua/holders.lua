-- Who holds leases: `leases` from lease to its number and its end, `who` from the number to the lease, `workers` from lease
-- to {name, host, pid, queues, tasks, slots, since}, `h:NUMBER` the numbers of its running jobs, `x:NUMBER` those among them
-- that are asked to stop. Rests on `rows`.

local function lease_of(lease)
  local text = call('HGET', prefix .. 'leases', lease)
  if not text then return nil, nil end
  local number, ends_at = string.match(text, '^(%d+) (%-?%d+)$')
  return tonumber(number), tonumber(ends_at)
end

-- The lease's number while it holds.
local function holding(lease, now)
  local number, ends_at = lease_of(lease)
  return number and ends_at > now and number or nil
end

local names = {}
local function holder(number)
  if not names[number] then
    local lease = call('HGET', prefix .. 'who', number)
    local text = lease and call('HGET', prefix .. 'workers', lease)
    names[number] = {lease = lease, name = text and cmsgpack.unpack(text)[1] or ''}
  end
  return names[number]
end

-- A job that runs, as its worker is told of it.
local function handed(r)
  return '\155' .. cmsgpack.pack(r.n, r.attempt, r.failures, r.crashes, r.snoozes, r.claimed, r.first_failed, r.start_by,
    r.suspect == 1) .. r.asked
end
