-- The usual case, before anything else is defined: a record that lasts, at the expected revision, of nobody and nobody's
-- again, or with an owner and an expiry that stay. No index changes then. KEYS and ARGV as in save.lua.
local sub, byte, record = string.sub, string.byte, ARGV[1]
local n = 30 + byte(record, 30)
local head = redis.call('GETRANGE', KEYS[1], '0', n == 30 and '29' or '284')
if byte(head) == 1 and sub(head, 2, 9) == ARGV[5] and (n == 30 and byte(head, 30) == 0
  or sub(head, 10, 17) == sub(record, 10, 17) and sub(head, 30, n) == sub(record, 30, n)) then
  redis.call('SET', KEYS[1], record, 'PXAT', ARGV[2])
  return 1
end
