-- Small shared facts: one hash for each space, `r:SPACE`, from key to {version, value}. Rests on `rows` and `gating`.
--
-- How often a space was written stands in `meta`: a plan that has read a space and then writes is told when another came
-- between, and begins again.
-- A write is {space, key, value or false (delete), expected version or false}.

local function version_of(space, name)
  local text = call('HGET', prefix .. 'r:' .. space, name)
  return text and cmsgpack.unpack(text)[1] or 0
end

-- Whether a guard holds, given the versions that the guards before it will leave behind.
local function passes(write, versions)
  local at = write[1] .. '\n' .. write[2]
  local version = versions[at] or version_of(write[1], write[2])
  if write[4] and write[4] ~= version then return false end
  versions[at] = write[3] and version + 1 or 0
  return true
end

-- What is parked at a limit is looked at anew when its rule is written, and at a key when its pause ends.
local function look_at_parked(space, name, value, now)
  if space == 'limit' then
    gating.look_soon(name, nil, now)
  elseif space == 'paused' and not value then
    local limit, key = string.match(name, '^key\n([^\n]*)\n(.*)$')
    if limit then gating.look_soon(limit, key, now) end
  end
end

local function write_one(write, now)
  local space, name, value = write[1], write[2], write[3]
  local version = version_of(space, name)
  if write[4] and write[4] ~= version then return {false, version} end
  call('HINCRBY', prefix .. 'meta', 'r:' .. space, 1)
  if not value then
    call('HDEL', prefix .. 'r:' .. space, name)
    if space == 'paused' then woken['queue:' .. name] = true end
    look_at_parked(space, name, value, now)
    return {true, 0}
  end
  call('HSET', prefix .. 'r:' .. space, name, cmsgpack.pack({version + 1, value}))
  look_at_parked(space, name, value, now)
  return {true, version + 1}
end
