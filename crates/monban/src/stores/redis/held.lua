-- renew, for claims known to hold exclusively.
--
--   KEYS  the keys
--   ARGV  for each: `mb1x:<claim id>:`, TTL in ms
--
-- Puts the expiry off where the key is still the claim's; never creates it. Its last command reads all keys: a caller
-- that sent CLIENT CACHING YES before is told of their next change. Putting an expiry off is a change too, so the
-- read stands last; and no other key is declared, since old servers watch whatever a script declares.
-- Answer: 1 if all are kept, else a list of 1 and 0.
local values = redis.call('MGET', unpack(KEYS))
local kept, all = {}, true
for at, key in ipairs(KEYS) do
  local mine = ARGV[2 * at - 1]
  if values[at] and string.sub(values[at], 1, #mine) == mine then
    redis.call('PEXPIRE', key, ARGV[2 * at])
    kept[at] = 1
  else
    kept[at] = 0
    all = false
  end
end
redis.call('EXISTS', unpack(KEYS))
if all then return 1 end
return kept
