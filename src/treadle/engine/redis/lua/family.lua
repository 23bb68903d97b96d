-- How jobs end, and what the end of a parent means for the children that wait for it. Rests on `rows`, `lines` and `gating`.
--
-- A child keeps its edges (`edges`: parent number, on_dead) and the parents that have not freed it yet (`waits`: a set of
-- numbers as text); a parent has the flag `parent` and the set `k:NUMBER` of its children.

local ended = {}

local function letter_open(r)
  if r.state ~= DEAD then return false end
  local _, _, _, _, status = cmsgpack.unpack_limit(seen(r).dead, 4, 1)
  return status == 'open'
end

local function end_row(r, state, now, reason)
  r.state = state
  r.finished = now
  r.suspect = 0
  if reason then
    warm(r).reason = reason
  elseif seen(r).reason then
    warm(r).reason = nil
  end
  if seen(r).waits then warm(r).waits = nil end
  if r.flow.order then gating.leave_line(r, r.flow.stop and letter_open(r)) end
  ended_jobs[#ended_jobs + 1] = 'job:' .. r.id
  if r.parent == 1 then ended[#ended + 1] = {r = r, state = state} end
  return enter(r)
end

local WAIT, FREE, CANCEL = 1, 2, 3
local function fate(parent, state, on_dead)
  if state < COMPLETED then return WAIT end
  if state == COMPLETED or on_dead == 'run' then return FREE end
  if on_dead == 'hold' and state == DEAD and letter_open(parent) then return WAIT end
  return CANCEL
end

local function on_dead_of(child, parent)
  for _, edge in ipairs(seen(child).edges) do
    if edge[1] == parent.n then return edge[2] end
  end
end

local function children_of(parent)
  if parent.parent ~= 1 then return {} end
  return oldest_first(rows_in(call('SMEMBERS', prefix .. 'k:' .. digits(parent.n))))
end

local function is_free(r) return r.state == BLOCKED and not next(seen(r).waits or {}) end

-- Tell the children of these; returns those that wait for nobody any more, oldest first.
local function tell_children(parents, now)
  local told, list = {}, {}
  for _, each in ipairs(parents) do
    local parent = each.r
    local mark = digits(parent.n)
    for _, child in ipairs(children_of(parent)) do
      local waits = seen(child).waits
      if waits and waits[mark] then
        local its = fate(parent, each.state, on_dead_of(child, parent))
        if its == FREE then
          warm(child).waits[mark] = nil
          touch(child)
        elseif its == CANCEL then
          end_row(leave(child), CANCELLED, now, 'parent ' .. parent.id)
        end
        if not told[child.n] then
          told[child.n] = true
          list[#list + 1] = child
        end
      end
    end
  end
  local free = {}
  for _, child in ipairs(list) do
    if is_free(child) then free[#free + 1] = child end
  end
  return oldest_first(free)
end

local function settle_children(now)
  while #ended > 0 do
    local round = ended
    ended = {}
    for _, child in ipairs(tell_children(round, now)) do admit(leave(child), now) end
  end
end
