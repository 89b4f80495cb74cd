-- KEYS: new session, the new owner's index if there is an owner. ARGV: as rename_finish.lua, new member.
if redis.call('GETRANGE', KEYS[1], '0', '24') ~= ARGV[1] then return MISSING end
redis.call('DEL', KEYS[1])
if KEYS[2] then remove(KEYS[2], ARGV[2]) end
return STORED
