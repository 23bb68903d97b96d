-- Removing a job and all that leads to it. Rests on `rows`, `family` and `keyring`.

-- True while a live job names this one as a parent.
local function needed(r)
  for _, child in ipairs(children_of(r)) do
    if child.state < COMPLETED then return true end
  end
  return false
end

-- Remove rows that stand in no index any more.
local function drop_rows(list, erased, now)
  local ids, numbers = {}, {}
  for _, r in ipairs(list) do
    for _, child in ipairs(children_of(r)) do
      local more, left = warm(child), {}
      for _, edge in ipairs(more.edges or {}) do
        if edge[1] ~= r.n then left[#left + 1] = edge end
      end
      more.edges = #left > 0 and left or nil
      touch(child)
    end
    for _, edge in ipairs(seen(r).edges or {}) do call('SREM', prefix .. 'k:' .. digits(edge[1]), r.n) end
    if r.parent == 1 then call('DEL', prefix .. 'k:' .. digits(r.n)) end
    ids[#ids + 1] = r.id
    numbers[#numbers + 1] = r.n
    rows[r.n] = false
  end
  in_parts(ids, 1000, function(...) call('HDEL', prefix .. 'ids', ...) end)
  keyring.forget(numbers, ids, erased, now)
  local blocks, order = by_block(numbers)
  for _, block in ipairs(order) do
    for _, kind in ipairs({'j', 's', 'c'}) do
      in_parts(blocks[block], 1000, function(...) call('HDEL', block_key(kind, block), ...) end)
    end
    if call('EXISTS', block_key('j', block)) == 0 then call('ZREM', prefix .. 'blocks', block) end
  end
end
