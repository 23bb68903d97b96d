-- alter: apply one change to the oldest jobs that match, and write the audit line.
-- include: rows ranking slots turns lines admission gating holders family keyring removal looking
--
-- Parameters: {now, filter, limit, actor, change}; a change is a map with `kind` (cancel, replay, resolve, annotate,
-- prioritise, erase) and what it carries: reason, delay (microseconds), args, note, priority. Result: the MessagePack array of
-- {id, state before, state after or false (erased), done, id of who has its unique key or false}.

local changes = {}

function changes.cancel(r, change, now)
  if r.state < RUNNING or r.state == RETRYING then
    if r.state == QUEUED then gone_from_line(r) end
    return end_row(leave(r), CANCELLED, now, change.reason)
  end
  if r.state ~= RUNNING then return nil end
  woken['lease:' .. holder(r.lease).lease] = true
  call('SADD', prefix .. 'x:' .. r.lease, r.n)
  r.cancel = 1
  warm(r).reason = change.reason
  return touch(r)
end

local function letter_changed(r, status, actor, now, note)
  local _, cause, reason, fingerprint, old, died_at, by, at, text = cmsgpack.unpack_limit(seen(r).dead, 8, 1)
  if status then old, by, at = status, actor, now end
  warm(r).dead = '\152' .. cmsgpack.pack(cause, reason, fingerprint, old, died_at, by, at, note or text)
end

-- Write down anew what was asked for, with another priority or other arguments.
local function ask_again(r, args)
  local ends_at = cmsgpack.unpack_limit(r.asked, 12, ASKED)
  local old, options, headers = select(11, cmsgpack.unpack_limit(r.asked, 12, ASKED))
  local rest = cmsgpack.pack(r.id, r.task, r.version, r.codec, r.queue, r.priority, r.max_crashes, r.tags, r.key, args or old,
    options, headers)
  local flow = ends_at >= 0 and string.sub(r.asked, ends_at + 1) or ''
  r.asked = string.sub(r.asked, 1, ASKED) .. rest .. flow
  r.asked_anew = true
end

function changes.replay(r, change, now, actor)
  local later = change.delay > 0
  local sent_back = r.state >= DEAD
  if not sent_back and not ((r.state == SCHEDULED or r.state == RETRYING) and not later) then return nil end
  if r.flow.unique then
    local holder = keyring.take_back(r, later and SCHEDULED or QUEUED)
    if holder then return nil, holder end
  end
  leave(r)
  if r.state == DEAD then letter_changed(r, 'replayed', actor, now, change.note) end
  if change.args then ask_again(r, change.args) end
  r.failures, r.crashes, r.snoozes, r.releases, r.suspect = 0, 0, 0, 0, 0
  r.first_failed, r.start_by, r.finished = nil, nil, nil
  r.due = later and now + change.delay or nil
  local more = warm(r)
  more.result, more.reason = nil, nil
  return admit(r, now)
end

function changes.resolve(r, change, now, actor)
  if not letter_open(r) then return nil end
  letter_changed(r, 'resolved', actor, now, change.note)
  call('ZADD', prefix .. 'f:resolved', r.finished, padded(r.n))
  if r.flow.order then gating.leave_line(r, false) end
  if r.parent == 1 then ended[#ended + 1] = {r = r, state = DEAD} end
  return touch(r)
end

function changes.annotate(r, change)
  if not seen(r).dead then return nil end
  letter_changed(r, nil, nil, nil, change.note)
  return touch(r)
end

function changes.prioritise(r, change)
  if r.state > RETRYING or r.state == RUNNING then return nil end
  if r.priority == change.priority then return r end
  local stands = r.state == QUEUED or r.spot > 0
  if r.state == QUEUED then gone_from_line(r) end
  if stands then leave(r) end
  r.priority = change.priority
  ask_again(r)
  if stands then return queue(r) end
  return touch(r)
end

function changes.erase(r, change, now)
  if r.state == RUNNING then return nil end
  if r.state < COMPLETED then
    if r.state == QUEUED then gone_from_line(r) end
    end_row(leave(r), CANCELLED, now)
  else
    if r.flow.order then gating.leave_line(r, false) end
    if r.parent == 1 then ended[#ended + 1] = {r = r, state = CANCELLED} end
  end
  return r
end

function verbs.alter(arg)
  local now, where, limit, actor, change = the_time(arg[1]), arg[2], arg[3], arg[4], arg[5]
  local chosen = {}
  keyring.begin()
  if limit > 0 then
    walk(where, false, nil, math.huge, function(r)
      chosen[#chosen + 1] = touch(r)
      return #chosen >= limit
    end)
  end
  local out, changed, erased = {}, {}, {}
  for i, r in ipairs(chosen) do
    local before = NAMES[r.state]
    local moved, holder = changes[change.kind](r, change, now, actor)
    local done = moved ~= nil
    if done then changed[#changed + 1] = r.id end
    out[i] = {r.id, before, NAMES[r.state], done, holder or false}
    if done and change.kind == 'erase' then
      out[i][3] = false
      erased[#erased + 1] = r
    end
  end
  settle_children(now)
  if #erased > 0 then
    flush_indices()
    for _, r in ipairs(erased) do leave(r) end
    drop_rows(erased, true, now)
  end
  call_next(now)
  if #changed > 0 and actor then
    local note = change.note
    if change.kind == 'cancel' then note = change.reason ~= '' and change.reason or nil end
    local line = '\149' .. cmsgpack.pack(now, actor, change.kind, changed, note)
    call('RPUSH', prefix .. 'audit', line)
  end
  return cmsgpack.pack(out)
end
