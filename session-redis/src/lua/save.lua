-- KEYS: session, the new owner's index if there is an owner, the old owner's index if the first try asked for it.
-- ARGV: record, expiry of the key, expires_at, member, expected revision, base of index names.
local key, record, expires = KEYS[1], ARGV[1], tonumber(ARGV[3])
local head = head_of(key)
local answer = not_live(head)
if answer then return answer end
local current = revision_of(head)
if current ~= ARGV[5] then
  if current == revision_of(record) then return STORED end
  return CONFLICT
end
local before, after = owner_of(head), owner_of(record)
if before ~= '' and before ~= after and not remove(index_of(ARGV[6], before), ARGV[4]) then return before end
redis.call('SET', key, record, 'PXAT', ARGV[2])
if after ~= '' then
  add(KEYS[2], ARGV[4], expires)
  if expiry_of(head) > expires then settle(KEYS[2]) end
end
return STORED
