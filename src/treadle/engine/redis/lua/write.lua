-- write: compare-and-set each record on its own, in order.
-- include: rows ranking slots turns lines admission gating records
--
-- Parameters: {now, writes}. Result: a list of {done, version that now stands}.

function verbs.write(arg)
  local now, out = the_time(arg[1]), {}
  for i, each in ipairs(arg[2]) do out[i] = write_one(each, now) end
  return cmsgpack.pack(out)
end
