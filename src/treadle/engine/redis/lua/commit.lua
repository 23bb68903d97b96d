-- The end of every script: carry out the verbs asked for, in order, then write what they changed and wake who waits.
--
-- KEYS[1] is the namespace as a hash tag, `{NAMESPACE}`: every key begins with it, so all of them share one slot. ARGV holds
-- pairs: a verb, and the MessagePack of its parameters. Result: one reply for each pair.

local replies = {}
for i = 1, #ARGV, 2 do
  replies[#replies + 1] = verbs[ARGV[i]](cmsgpack.unpack(ARGV[i + 1]))
end
commit()
wake()
return replies
