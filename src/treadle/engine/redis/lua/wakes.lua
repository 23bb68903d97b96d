-- Who is told of what a script did. Rests on `rows`, which gathers it; part of every script.

local ears_for_jobs
local function job_ears()
  if ears_for_jobs == nil then ears_for_jobs = call('EXISTS', prefix .. 'ears:job') == 1 end
  return ears_for_jobs
end

-- Wakes go to who has said that it listens. A topic without a listener costs one look, and is forgotten at the first call
-- that reaches nobody.
local function say(ears, topic)
  if call('SPUBLISH', prefix .. topic, '') == 0 then call('HDEL', prefix .. ears, topic) end
end

local function wake()
  local topics = {}
  for topic in pairs(woken) do topics[#topics + 1] = topic end
  if #topics > 0 then
    table.sort(topics)
    local ears = call('HMGET', prefix .. 'ears', unpack(topics))
    for i, topic in ipairs(topics) do
      if ears[i] then say('ears', topic) end
    end
  end
  if #ended_jobs > 0 and job_ears() then
    for first = 1, #ended_jobs, 1000 do
      local last = math.min(first + 999, #ended_jobs)
      local ears = call('HMGET', prefix .. 'ears:job', unpack(ended_jobs, first, last))
      for i = 1, last - first + 1 do
        if ears[i] then say('ears:job', ended_jobs[first + i - 1]) end
      end
    end
  end
end
