-- look: what is at keys that are watched.
--
--   KEYS  the keys
--
-- Answer: for each key nothing, or the beginning of its value; an empty one if it is no string. A caller that sent CLIENT
-- CACHING YES before is told of the next change. A stranger's value may be longer than the server sends to a client that
-- is subscribed to anything, before it cuts the connection: so no more of it is read than tells one owner from another.
local seen = {}
for at, key in ipairs(KEYS) do
  local value = redis.pcall('GETRANGE', key, 0, 399)
  if type(value) == 'table' then
    if not string.find(value.err, 'WRONGTYPE', 1, true) then return value end
    value = ''
  end
  seen[at] = (value ~= '' or redis.call('EXISTS', key) == 1) and value
end
return seen
