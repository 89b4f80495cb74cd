-- KEYS: session, its owner's index if the first try asked for it.
-- ARGV: member, base of index names, and the owner if only a session of that owner is to end.
local head, wanted = head_of(KEYS[1]), ARGV[3]
local answer = not_live(head)
-- A logout must work on a damaged session, too.
if answer and (answer ~= CORRUPT or wanted) then return answer end
if answer == nil then
  local owner = owner_of(head)
  if wanted and wanted ~= owner then return CONFLICT end
  if owner ~= '' and not remove(index_of(ARGV[2], owner), ARGV[1]) then return owner end
end
redis.call('DEL', KEYS[1])
return STORED
