-- Who holds leases: `leases` from lease to its end, `workers` from lease to {name, host, pid, queues, tasks, slots, since},
-- `h:LEASE` the numbers of its running jobs, `x:LEASE` those among them that are asked to stop. Rests on `rows`.

local names = {}
local function worker_name(lease)
  if names[lease] == nil then
    local text = call('HGET', prefix .. 'workers', lease)
    names[lease] = text and cmsgpack.unpack(text)[1] or ''
  end
  return names[lease]
end

local function lease_end(lease)
  local text = call('HGET', prefix .. 'leases', lease)
  return text and tonumber(text)
end
