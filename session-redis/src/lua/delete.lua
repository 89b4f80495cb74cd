-- KEYS: session. ARGV: member, base of index names.
local head = head_of(KEYS[1])
local answer = not_live(head)
if answer and answer ~= CORRUPT then return answer end
redis.call('DEL', KEYS[1])
if answer == nil then
  local owner = owner_of(head)
  if owner ~= '' then remove(index_of(ARGV[2], owner), ARGV[1]) end
end
return STORED
