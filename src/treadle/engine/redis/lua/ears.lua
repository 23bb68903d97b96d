-- Write down what a waiter wants to hear of: a plain HSET is refused when the server's memory is full, which is when workers
-- must go on. KEYS[1] is the hash of one kind of topics, ARGV holds the topics.

for _, topic in ipairs(ARGV) do
  redis.call('HSET', KEYS[1], topic, '1')
end
