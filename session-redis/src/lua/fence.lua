-- KEYS: the owner's index. ARGV: the fence's member, its milliseconds.
local until_when = now() + ARGV[2]
redis.call('ZADD', KEYS[1], -until_when, ARGV[1])
cover(KEYS[1], until_when)
return STORED
