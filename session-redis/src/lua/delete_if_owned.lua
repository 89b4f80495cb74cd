-- KEYS: session, the owner's index if the first try asked for it. ARGV: owner, member, base of index names.
local head = head_of(KEYS[1])
local answer = not_live(head)
if answer then return answer end
if owner_of(head) ~= ARGV[1] then return CONFLICT end
if not remove(index_of(ARGV[3], ARGV[1]), ARGV[2]) then return ARGV[1] end
redis.call('DEL', KEYS[1])
return STORED
