-- Many saves of the usual case (see save_first.lua), one after the other; all others are left to a call of their own.
-- KEYS: sessions. ARGV, for each: record, expiry of the key, expected revision. The answer: 1 or 0 for each, as text.
-- A command that fails must not end it. Numbers are written as text, here and elsewhere: the server would print them.
local call, sub, byte, told = redis.pcall, string.sub, string.byte, {}
for i, key in ipairs(KEYS) do
  local n = 3 * i
  local head = call('GETRANGE', key, '0', '29')
  told[i] = '0'
  if type(head) == 'string' and byte(head) == 1 and sub(head, 2, 9) == ARGV[n] and byte(head, 30) == 0
    and call('SET', key, ARGV[n - 2], 'PXAT', ARGV[n - 1]).ok then
    told[i] = '1'
  end
end
return table.concat(told)
