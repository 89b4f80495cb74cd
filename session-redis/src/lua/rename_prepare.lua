-- KEYS: new session, the new owner's index if there is an owner.
-- ARGV: what is coming, expiry of the key, expires_at, new member.
-- What is coming: tag, old member (16 bytes), attempt (8), record.
local there = redis.call('GETRANGE', KEYS[1], '0', '309')
local tag = string.byte(there)
if tag == GONE then return BUSY end
if tag == COMING then
  -- An earlier attempt at this rename: go on with that one.
  local same = string.sub(there, 1, 17) == string.sub(ARGV[1], 1, 17)
    and string.sub(there, 27, 34) == string.sub(ARGV[1], 27, 34)
  if same then return string.sub(there, 18, 25) end
  return BUSY
end
if not_live(there) ~= MISSING then
  -- Perhaps this very rename, done before: the old key tells.
  if string.sub(there, 2, 9) == string.sub(ARGV[1], 27, 34) then return CONFLICT end
  return OCCUPIED
end
redis.call('SET', KEYS[1], ARGV[1], 'PXAT', ARGV[2])
if KEYS[2] then add(KEYS[2], ARGV[4], tonumber(ARGV[3])) end
return STORED
