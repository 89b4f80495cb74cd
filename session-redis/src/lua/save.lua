-- KEYS: session, the new owner's index if there is an owner.
-- ARGV: record, expiry of the key, expires_at, member, expected revision, base of index names.
local key, index, record, expires = KEYS[1], KEYS[2], ARGV[1], tonumber(ARGV[3])
local head = head_of(key)
local answer = not_live(head)
if answer then return answer end
local current = string.sub(head, 2, 9)
if current ~= ARGV[5] then
  if current == string.sub(record, 2, 9) then return STORED end
  return CONFLICT
end
redis.call('SET', key, record, 'PXAT', ARGV[2])
local before = owner_of(head)
if before ~= '' and before ~= owner_of(record) then
  remove(index_of(ARGV[6], before), ARGV[4])
end
if index then
  add(index, ARGV[4], expires)
  if expiry_of(head) > expires then settle(index) end
end
return STORED
