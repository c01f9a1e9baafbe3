-- renew, for claims known to hold exclusively.
--
--   KEYS  the keys
--   ARGV  1: how many arguments there are for each claim, 1 or 2; 2: TTL in ms, if it is the same for all; then for
--         each claim: `mb1x:<claim id>:<fence>:`, and its TTL if it is not
--
-- Puts the expiry off where the key is still the claim's, by that grant; never creates it. Its last command reads all keys: a caller
-- that sent CLIENT CACHING YES before is told of their next change. Putting an expiry off is a change too, so the
-- read stands last; and no other key is declared, since old servers watch whatever a script declares.
-- Answer: 1 if all are kept, else a list of 1 and 0.
local step, ttl, at = tonumber(ARGV[1]), ARGV[2], 3
local kept, all = {}, true
for claim, key in ipairs(KEYS) do
  local mine = ARGV[at]
  if step == 2 then ttl = ARGV[at + 1] end
  local value = beginning(claim, #mine)
  if type(value) == 'table' then return value end
  if value == mine then
    redis.call('PEXPIRE', key, ttl)
    kept[claim] = 1
  else
    kept[claim] = 0
    all = false
  end
  at = at + step
end
redis.call('EXISTS', unpack(KEYS))
if all then return 1 end
return kept
