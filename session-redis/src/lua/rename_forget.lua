-- KEYS: old session. ARGV: what was left behind.
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return MISSING end
redis.call('DEL', KEYS[1])
return STORED
