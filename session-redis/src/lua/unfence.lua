-- KEYS: the owner's index. ARGV: the fence's member.
remove(KEYS[1], ARGV[1])
return STORED
