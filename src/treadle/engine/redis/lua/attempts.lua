-- How an attempt ends: the one place where an outcome turns into the job's next state. Rests on `rows`, `holders` and `family`.

local UNSETTLED = 'its worker ended without settling it'

local function next_state(r, kind, delay)
  if kind == 'completed' then return COMPLETED end
  if kind == 'died' then return DEAD end
  if kind == 'cancelled' then return CANCELLED end
  if kind == 'expired' then return EXPIRED end
  if r.cancel == 1 then return CANCELLED end
  if kind == 'retrying' then return RETRYING end
  if kind == 'snoozed' then return SCHEDULED end
  if kind == 'released' then return (delay or 0) > 0 and SCHEDULED or QUEUED end
  return r.crashes + 1 < r.max_crashes and RETRYING or DEAD
end

local function die(r, now, cause, reason, fingerprint)
  warm(r).dead = '\152' .. cmsgpack.pack(cause, reason, fingerprint, 'open', now, nil, nil, nil)
  return end_row(r, DEAD, now, reason)
end

local function record(r, now, said, delay, problem, exit)
  local more = warm(r)
  local line = '\152' .. cmsgpack.pack(r.attempt, said, holder(r.lease).name, r.claimed, now, delay, problem, exit)
  more.tries = (more.tries or '') .. line
  more.ntries = (more.ntries or 0) + 1
end

local COUNTERS = {retrying = 'failures', died = 'failures', snoozed = 'snoozes', released = 'releases', crashed = 'crashes'}

-- `how`: kind, delay (microseconds), seconds (the delay as it is shown), problem, cause, reason, fingerprint, result, exit.
-- `said` is the name under which the attempt is recorded.
local function end_attempt(r, now, how, said)
  local kind = how.kind
  local state = next_state(r, kind, how.delay)
  local delay = state < COMPLETED and state ~= QUEUED and how.delay or nil
  if kind ~= 'completed' then record(r, now, said, delay and how.seconds, how.problem, how.exit) end
  local counter = COUNTERS[kind]
  if counter then r[counter] = r[counter] + 1 end
  if kind == 'retrying' then r.first_failed = r.first_failed or now end
  if kind == 'retrying' or kind == 'snoozed' then r.suspect = 0 end
  if r.gated == 1 then gating.free_slots(r.flow) end
  leave(r)
  r.lease, r.stuck, r.cancel = 0, 0, 0
  if state < COMPLETED and seen(r).reason then warm(r).reason = nil end
  if state == QUEUED then return queue(r) end
  if delay then
    r.state, r.due = state, now + delay
    if kind ~= 'released' then r.start_by = nil end
    return enter(r)
  end
  if kind == 'completed' then
    if how.result then warm(r).result = how.result end
    return end_row(r, COMPLETED, now)
  end
  if kind == 'died' then return die(r, now, how.cause, how.reason, how.fingerprint) end
  if kind == 'crashed' and state == DEAD then
    local exit = how.exit
    return die(r, now, 'worker_lost', exit and exit ~= '' and exit or UNSETTLED, '')
  end
  if kind == 'expired' then return end_row(r, EXPIRED, now) end
  local reason = seen(r).reason
  if kind == 'cancelled' then
    reason = how.reason ~= '' and how.reason or reason or ''
  end
  return end_row(r, state, now, reason)
end
