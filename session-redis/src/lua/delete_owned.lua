-- KEYS: the owner's index. ARGV: owner, member to keep or nothing, head of session names.
local function name_of(member)
  local hex = string.gsub(member, '.', function(byte) return string.format('%02x', string.byte(byte)) end)
  return ARGV[3] .. string.sub(hex, 1, 8) .. '-' .. string.sub(hex, 9, 12) .. '-' .. string.sub(hex, 13, 16)
    .. '-' .. string.sub(hex, 17, 20) .. '-' .. string.sub(hex, 21)
end
local removed = 0
for _, member in ipairs(redis.call('ZRANGE', KEYS[1], '0', '-1')) do
  if member ~= ARGV[2] then
    local key = name_of(member)
    local head = head_of(key)
    if not_live(head) == nil and owner_of(head) == ARGV[1] then
      redis.call('DEL', key)
      removed = removed + 1
    end
    redis.call('ZREM', KEYS[1], member)
  end
end
settle(KEYS[1])
return removed
