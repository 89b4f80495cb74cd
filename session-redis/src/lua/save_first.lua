-- The usual case, before anything else is defined: a plain record of nobody at the expected revision, and nobody's again.
-- KEYS and ARGV as in save.lua.
if not KEYS[2] then
  local head = redis.call('GETRANGE', KEYS[1], '0', '29')
  if string.byte(head) == 1 and string.sub(head, 2, 9) == ARGV[5] and string.byte(head, 30) == 0 then
    redis.call('SET', KEYS[1], ARGV[1], 'PXAT', ARGV[2])
    return 1
  end
end
