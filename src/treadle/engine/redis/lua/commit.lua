-- The end of every script: carry out the verbs asked for, in order, then write what they changed and wake who waits.
--
-- KEYS[1] is the namespace as a hash tag, `{NAMESPACE}`: every key begins with it, so all of them share one slot. ARGV holds
-- for each call: a verb, the MessagePack of its parameters, how many texts go with it, and these. Result: one reply each.

local replies, at = {}, 1
while ARGV[at] do
  local count = tonumber(ARGV[at + 2])
  local texts = {}
  for i = 1, count do texts[i] = ARGV[at + 2 + i] end
  replies[#replies + 1] = verbs[ARGV[at]](cmsgpack.unpack(ARGV[at + 1]), texts)
  at = at + 3 + count
end
commit()
wake()
return replies
