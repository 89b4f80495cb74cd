-- Many renames of the usual case (see rename_first.lua), as save_many.lua does with saves.
-- KEYS, for each: old session, new session. ARGV, for each: record, expiry of the key, expected revision.
local call, sub, byte, told = redis.pcall, string.sub, string.byte, {}
for i = 1, #KEYS / 2 do
  local from, n = KEYS[2 * i - 1], 3 * i
  local head = call('GETRANGE', from, '0', '29')
  told[i] = '0'
  if type(head) == 'string' and byte(head) == 1 and sub(head, 2, 9) == ARGV[n] and byte(head, 30) == 0 then
    local set = call('SET', KEYS[2 * i], ARGV[n - 2], 'NX', 'PXAT', ARGV[n - 1])
    if set and set.ok then
      call('DEL', from)
      told[i] = '1'
    end
  end
end
return table.concat(told)
