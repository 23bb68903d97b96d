-- append: `enqueue` for plain jobs that are due at once and new, where no tenants share their queues: most there are.
-- include: ground
--
-- It stands on next to nothing, for what a script stands on is made anew at each call: it took two thirds of the time of one job.
--
-- Parameters: {now, ids, lines, line of each job or false when all are of the first}; a line is {queue, priority, task}. With
-- them comes, for each job, the text that `j` keeps, without the time.
-- Result: 1, or 0 when nothing was done, since there is more to this batch: then `enqueue` is asked.

function verbs.append(arg, asked)
  local ids, lines, which = arg[2], arg[3], arg[4]
  if next(numbers_of(ids)) then return 0 end
  for _, line in ipairs(lines) do
    if call('EXISTS', prefix .. 'tenants:' .. line[1] .. '\n' .. line[2]) == 1 then return 0 end
  end
  local new, count = {}, #ids
  for _, id in ipairs(ids) do
    if new[id] then return 0 end
    new[id] = true
  end
  local now = the_time(arg[1])
  local stamp = struct.pack('>BI4I4', 207, math.floor(now / 4294967296), now % 4294967296)
  local first = next_numbers(count)
  local flat, sets, pushed = {}, {}, {}
  for i = 1, #lines do pushed[i] = {} end
  for i = 1, count do
    local n, line = first + i - 1, pushed[which and which[i] or 1]
    flat[2 * i - 1], flat[2 * i] = ids[i], n
    line[#line + 1] = n
    put(sets, 'j', n, stamp .. asked[i])
  end
  for block = block_of(first), block_of(first + count - 1) do call('ZADD', prefix .. 'blocks', block, block) end
  in_parts(flat, 2000, function(...) call('HSET', prefix .. 'ids', ...) end)
  write(sets)
  for i, line in ipairs(lines) do
    local queue, name = line[1], digits(line[2]) .. '\nn\n' .. line[3]
    in_parts(pushed[i], 1000, function(...) call('RPUSH', prefix .. 'l:' .. queue .. '\n' .. name, ...) end)
    call('ZADD', prefix .. 'lines:' .. queue, -line[2], name)
    woken['queue:' .. queue] = true
  end
  return 1
end
