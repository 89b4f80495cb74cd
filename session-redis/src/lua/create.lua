-- KEYS: session, its owner's index. ARGV: record, expiry of the key, expires_at, member.
local there = redis.call('SET', KEYS[1], ARGV[1], 'NX', 'GET', 'PXAT', ARGV[2])
if there then return there end
add(KEYS[2], ARGV[4], tonumber(ARGV[3]))
return STORED
