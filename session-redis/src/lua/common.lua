-- Part of every script. A record begins with: tag (1 byte), revision (8), expires_at (8), checksum (4),
-- created_at (8), length of the owner (1), owner. See layout.rs.
local MISSING, STORED, CONFLICT, CORRUPT = 0, 1, 2, 3
local LASTING, BRIEF = 1, 2

local function head_of(key)
  return redis.call('GETRANGE', key, '0', '284')
end

local function revision_of(head)
  return string.sub(head, 2, 9)
end

local function owner_of(head)
  return string.sub(head, 31, 30 + string.byte(head, 30))
end

local function expiry_of(head)
  return struct.unpack('>i8', head, 10)
end

local function now()
  local time = redis.call('TIME')
  return time[1] * 1000 + math.floor(time[2] / 1000)
end

-- What an operation answers on a key that holds no live record.
local function not_live(head)
  local tag = string.byte(head)
  if tag == nil then return MISSING end
  if (tag ~= LASTING and tag ~= BRIEF) or #head < 30 then return CORRUPT end
  if tag == BRIEF and now() >= expiry_of(head) then return MISSING end
  return nil
end

local function index_of(base, owner)
  return base .. redis.sha1hex(owner)
end

-- While a slot moves, a key of it that was not declared, or that has just gone, may be on the other node: then a command
-- on it raises an error, and half a script would be done. So indexes are met with pcall, and before anything is changed.

-- The index expires with the last of its sessions. A server may write a score with an exponent, but no time.
local function settle(index)
  local last = redis.pcall('ZRANGE', index, '-1', '-1', 'WITHSCORES')
  if last[2] then redis.call('PEXPIREAT', index, tonumber(last[2])) end
end

-- The index lives as long as this session.
local function cover(index, expires)
  local until_when = redis.pcall('PEXPIRETIME', index)
  if type(until_when) == 'number' and until_when < expires then
    redis.call('PEXPIREAT', index, expires)
  end
end

-- Adds a session to an owner's index; whoever adds a new one sweeps out what has expired.
local function add(index, member, expires)
  if redis.call('ZADD', index, expires, member) == 1 then
    redis.call('ZREMRANGEBYSCORE', index, '0', now())
  end
  cover(index, expires)
end

-- Takes a session out of an owner's index; false when the index is out of reach: come back with it declared.
local function remove(index, member)
  local removed = redis.pcall('ZREM', index, member)
  if removed == 1 then settle(index) end
  return type(removed) == 'number'
end

