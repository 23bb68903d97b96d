-- write: compare-and-set each record on its own, in order.
-- include: rows records
--
-- Parameters: a list of writes. Result: a list of {done, version that now stands}.

function verbs.write(writes)
  local out = {}
  for i, each in ipairs(writes) do out[i] = write_one(each) end
  return cmsgpack.pack(out)
end
