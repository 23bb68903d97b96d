-- The end of every script: carry out the verbs asked for, in order, then write what they changed and wake who waits.
--
-- KEYS[1] is the namespace as a hash tag, `{NAMESPACE}`: every key begins with it, so all of them share one slot. ARGV holds
-- a token (empty but for scripts that claim), what the plan has read before (empty or the MessagePack of a map from space to
-- how often it had been written; when that is no longer so, nothing is done and nothing answered), and for each call a
-- verb, the MessagePack of its parameters, how many texts go with it, and these. Result: one reply for each call.

local token = ARGV[1]
local replies = token ~= '' and repeated(token)
if replies then return replies end
if ARGV[2] ~= '' then
  for space, age in pairs(cmsgpack.unpack(ARGV[2])) do
    if (call('HGET', prefix .. 'meta', 'r:' .. space) or '0') ~= age then return false end
  end
end
replies = {}
local at = 3
while ARGV[at] do
  local count = tonumber(ARGV[at + 2])
  local texts = {}
  for i = 1, count do texts[i] = ARGV[at + 2 + i] end
  replies[#replies + 1] = verbs[ARGV[at]](cmsgpack.unpack(ARGV[at + 1]), texts, #replies + 1)
  at = at + 3 + count
end
if token ~= '' then remember(token, replies) end
commit()
wake()
return replies
