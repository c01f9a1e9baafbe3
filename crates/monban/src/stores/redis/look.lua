-- look: what is at keys that are watched.
--
--   KEYS  the keys
--
-- Answer: for each key nothing, or the beginning of its value; an empty one if it is no string. A caller that sent CLIENT
-- CACHING YES before is told of the next change. A stranger's value may be longer than the server sends to a client that
-- is subscribed to anything, before it cuts the connection: so no more of it is read than tells one owner from another. Many
-- are read at once if none is long (see held).
local seen = {}
local short, values = #KEYS > 1, {}
for _, key in ipairs(KEYS) do
  local length = short and redis.pcall('SETRANGE', key, '0', '')
  short = type(length) == 'number' and length < 2000
end
if short then values = redis.pcall('MGET', unpack(KEYS)) end
short = short and not values.err
for at, key in ipairs(KEYS) do
  local value
  if short then
    value = values[at] and string.sub(values[at], 1, 400)
  else
    value = redis.pcall('GETRANGE', key, '0', '399')
    if value == '' then value = redis.call('EXISTS', key) == 1 and '' end
  end
  if type(value) == 'table' then
    if not string.find(value.err, 'WRONGTYPE', 1, true) then return value end
    value = ''
  end
  seen[at] = value
end
return seen
