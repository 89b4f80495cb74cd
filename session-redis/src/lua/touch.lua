-- KEYS: session, its owner's index if the first try asked for it.
-- ARGV: tag, expires_at in 8 bytes, expiry of the key, expires_at, member, expected revision, base of index
-- names.
local key, expires = KEYS[1], tonumber(ARGV[4])
local head = head_of(key)
local answer = not_live(head)
if answer then return answer end
if revision_of(head) ~= ARGV[6] then return CONFLICT end
if expiry_of(head) >= expires then return STORED end
local owner = owner_of(head)
if owner ~= '' then
  local index = index_of(ARGV[7], owner)
  if index == KEYS[2] then
    add(index, ARGV[5], expires)
  elseif redis.pcall('ZADD', index, 'XX', 'CH', expires, ARGV[5]) == 1 then
    cover(index, expires)
  else
    -- Evicted, or on another node while the slot moves: come back with the key declared.
    return owner
  end
end
redis.call('SETRANGE', key, '0', ARGV[1] .. ARGV[6] .. ARGV[2])
redis.call('PEXPIREAT', key, ARGV[3])
return STORED
