-- Removing a job and all that leads to it. Rests on `rows` and `family`.

-- True while a live job names this one as a parent.
local function needed(r)
  for _, child in ipairs(children_of(r)) do
    if child.state < COMPLETED then return true end
  end
  return false
end

-- Remove rows that stand in no index any more. `removed` gathers ids and numbers for one removal at the end.
local function drop_rows(list)
  local ids, blocks = {}, {}
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
    local block = block_of(r.n)
    blocks[block] = blocks[block] or {}
    table.insert(blocks[block], r.n)
    rows[r.n] = false
  end
  in_parts(ids, 1000, function(...) call('HDEL', prefix .. 'ids', ...) end)
  for block, numbers in pairs(blocks) do
    in_parts(numbers, 1000, function(...) call('HDEL', block_key(block), ...) end)
    if call('EXISTS', block_key(block)) == 0 then call('ZREM', prefix .. 'blocks', block) end
  end
end
