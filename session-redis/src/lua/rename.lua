-- KEYS: old session, new session, the new owner's index if there is an owner, the
-- old owner's index if the first try asked for it.
-- ARGV: record, expiry of the key, expires_at, old member, new member, expected revision, base of index names,
-- whether there may be fences.
local from, to, record = KEYS[1], KEYS[2], ARGV[1]
local revision = string.sub(record, 2, 9)
local head = head_of(from)
local answer = not_live(head)
if answer == MISSING then
  local there = head_of(to)
  if not_live(there) == nil and string.sub(there, 2, 9) == revision then return STORED end
end
if answer then return answer end
if string.sub(head, 2, 9) ~= ARGV[6] then return CONFLICT end
local there = head_of(to)
local tag = string.byte(there)
if tag == COMING or tag == GONE then return BUSY end
if not_live(there) ~= MISSING then return OCCUPIED end
local before = owner_of(head)
if before ~= '' and ARGV[8] == '1' then
  local index = index_of(ARGV[7], before)
  if fence_of(index) > now() then return FENCED end
  if index ~= KEYS[3] and index ~= KEYS[4] and not holds(index, ARGV[4]) then return before end
end
-- In this order, so that an index that both share does not go in between.
if owner_of(record) ~= '' then add(KEYS[3], ARGV[5], tonumber(ARGV[3])) end
if before ~= '' then remove(index_of(ARGV[7], before), ARGV[4]) end
redis.call('SET', to, record, 'PXAT', ARGV[2])
redis.call('DEL', from)
return STORED
