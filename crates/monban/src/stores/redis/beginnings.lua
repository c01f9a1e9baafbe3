-- beginnings: reads keys that are watched; what held and look share.
--
-- Of a stranger's value, which may be of any length, only the beginning is read. But an old server watches all keys that the
-- script declares anew with each command of it that reads: to read many one by one costs the square of their number. So they are
-- read at once if none is long. What tells the length counts as a command that writes, and writes nothing; a full server refuses
-- it, and then they are read one by one.
local function all_are_short()
  for _, key in ipairs(KEYS) do
    local length = redis.pcall('SETRANGE', key, '0', '')
    if type(length) ~= 'number' or length >= 2000 then return false end
  end
  return true
end

local values = #KEYS > 1 and all_are_short() and redis.pcall('MGET', unpack(KEYS))
if values and values.err then values = false end

-- So many bytes of what is at a key: false if there is nothing, an empty text if it is no string; a table if it may not be read.
local function beginning(at, length)
  if values then return values[at] and string.sub(values[at], 1, length) end
  local value = redis.pcall('GETRANGE', KEYS[at], '0', length - 1)
  if type(value) == 'table' then return string.find(value.err, 'WRONGTYPE', 1, true) and '' or value end
  return (value ~= '' or redis.call('EXISTS', KEYS[at]) == 1) and value
end
