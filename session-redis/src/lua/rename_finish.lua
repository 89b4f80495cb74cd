-- KEYS: new session. ARGV: the first 26 bytes of what came: tag, old member, tag of the record, revision.
local key = KEYS[1]
if redis.call('GETRANGE', key, 0, 25) ~= ARGV[1] then return MISSING end
redis.call('SET', key, redis.call('GETRANGE', key, 17, -1), 'KEEPTTL')
return STORED
