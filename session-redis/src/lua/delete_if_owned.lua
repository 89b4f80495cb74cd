-- KEYS: session. ARGV: owner, member, base of index names.
local head = head_of(KEYS[1])
local answer = not_live(head)
if answer then return answer end
if owner_of(head) ~= ARGV[1] then return CONFLICT end
redis.call('DEL', KEYS[1])
remove(index_of(ARGV[3], ARGV[1]), ARGV[2])
return STORED
