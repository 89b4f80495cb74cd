-- The usual case, before anything else is defined: a plain record of nobody at the expected revision goes, as nobody's,
-- where nothing is. KEYS and ARGV as in rename.lua.
if not KEYS[3] then
  local head = redis.call('GETRANGE', KEYS[1], '0', '29')
  if string.byte(head) == 1 and string.sub(head, 2, 9) == ARGV[6] and string.byte(head, 30) == 0
    and redis.call('SET', KEYS[2], ARGV[1], 'NX', 'PXAT', ARGV[2]) then
    redis.call('DEL', KEYS[1])
    return 1
  end
end
