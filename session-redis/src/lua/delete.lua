-- KEYS: session, its owner's index if the first try asked for it. ARGV: member, base of index names.
local head = head_of(KEYS[1])
local answer = not_live(head)
if answer and answer ~= CORRUPT then return answer end
if answer == nil then
  local owner = owner_of(head)
  if owner ~= '' and not remove(index_of(ARGV[2], owner), ARGV[1]) then return owner end
end
redis.call('DEL', KEYS[1])
return STORED
