-- KEYS: old session, new session, the new owner's index if there is an owner.
-- ARGV: record, expiry of the key, expires_at, old member, new member, expected revision, base of index names.
local from, to, index, record = KEYS[1], KEYS[2], KEYS[3], ARGV[1]
local revision = string.sub(record, 2, 9)
local head = head_of(from)
local answer = not_live(head)
if answer == MISSING then
  local there = head_of(to)
  if not_live(there) == nil and string.sub(there, 2, 9) == revision then return STORED end
end
if answer then return answer end
if string.sub(head, 2, 9) ~= ARGV[6] then return CONFLICT end
if not_live(head_of(to)) ~= MISSING then return OCCUPIED end
redis.call('SET', to, record, 'PXAT', ARGV[2])
redis.call('DEL', from)
local before = owner_of(head)
if before ~= '' then remove(index_of(ARGV[7], before), ARGV[4]) end
if index then add(index, ARGV[5], tonumber(ARGV[3])) end
return STORED
