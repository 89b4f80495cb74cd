-- KEYS: new session. ARGV: the first 25 bytes of what came: tag, old member, attempt.
local key = KEYS[1]
if redis.call('GETRANGE', key, '0', '24') ~= ARGV[1] then return MISSING end
redis.call('SET', key, redis.call('GETRANGE', key, '25', '-1'), 'KEEPTTL')
return STORED
