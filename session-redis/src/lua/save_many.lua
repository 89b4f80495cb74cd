-- Many saves of the usual case (see save_first.lua), one after the other; all others are left to a call of their own.
-- KEYS: sessions. ARGV, for each: record, expiry of the key, expected revision. The answer: 1 or 0 for each, as text.
-- A command that fails must not end it. Numbers are written as text, here and elsewhere: the server would print them.
local call, sub, byte, told = redis.pcall, string.sub, string.byte, {}
for i, key in ipairs(KEYS) do
  local record, expected = ARGV[3 * i - 2], ARGV[3 * i]
  local n = 30 + byte(record, 30)
  local head = call('GETRANGE', key, '0', n == 30 and '29' or '284')
  told[i] = '0'
  if type(head) == 'string' and byte(head) == 1 and sub(head, 2, 9) == expected and (n == 30 and byte(head, 30) == 0
    or sub(head, 10, 17) == sub(record, 10, 17) and sub(head, 30, n) == sub(record, 30, n))
    and call('SET', key, record, 'PXAT', ARGV[3 * i - 1]).ok then
    told[i] = '1'
  end
end
return table.concat(told)
