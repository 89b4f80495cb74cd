-- KEYS: old session, the old owner's index if the first try asked for it.
-- ARGV: what is left behind (tag, new member, attempt), expiry of its key, old member, expected revision, base of index names.
local key = KEYS[1]
local head = head_of(key)
if head == ARGV[1] then return STORED end
local answer = not_live(head)
if answer then return answer end
if string.sub(head, 2, 9) ~= ARGV[4] then return CONFLICT end
local before = owner_of(head)
local index
if before ~= '' then
  index = index_of(ARGV[5], before)
  if fence_of(index) > now() then return FENCED end
  -- Evicted, or on another node while the slot moves: come back with the key declared.
  if index ~= KEYS[2] and not holds(index, ARGV[3]) then return before end
end
if index then remove(index, ARGV[3]) end
redis.call('SET', key, ARGV[1], 'PXAT', ARGV[2])
return STORED
