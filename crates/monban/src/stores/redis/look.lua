-- look: what is at keys that are watched.
--
--   KEYS  the keys
--
-- Answer: for each key nothing, or the beginning of its value; an empty one if it is no string. A caller that sent CLIENT
-- CACHING YES before is told of the next change. A stranger's value may be longer than the server sends to a client that
-- is subscribed to anything, before it cuts the connection: so no more of it is read than tells one owner from another.
local seen = {}
for at in ipairs(KEYS) do
  local value = beginning(at, 400)
  if type(value) == 'table' then return value end
  seen[at] = value
end
return seen
