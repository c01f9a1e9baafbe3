-- renew, for claims known to hold exclusively.
--
--   KEYS  the keys
--   ARGV  1: how many arguments there are for each claim, 1 or 2; 2: TTL in ms, if it is the same for all; then for
--         each claim: `mb1x:<claim id>:<fence>:`, and its TTL if it is not
--
-- Puts the expiry off where the key is still the claim's, by that grant; never creates it. Its last command reads all keys: a caller
-- that sent CLIENT CACHING YES before is told of their next change. Putting an expiry off is a change too, so the
-- read stands last; and no other key is declared, since old servers watch whatever a script declares.
-- Of a stranger's value, which may be of any length, only the beginning is read. But old servers watch all that is declared
-- anew with each reading command: to read many keys one by one costs them the square. So they are read at once if none is long,
-- which a command tells that counts as writing, and writes nothing. (A full server refuses it.)
-- Answer: 1 if all are kept, else a list of 1 and 0.
local step, ttl, at = tonumber(ARGV[1]), ARGV[2], 3
local kept, all = {}, true
local short, values = #KEYS > 1, {}
for _, key in ipairs(KEYS) do
  local length = short and redis.pcall('SETRANGE', key, '0', '')
  short = type(length) == 'number' and length < 2000
end
if short then values = redis.pcall('MGET', unpack(KEYS)) end
short = short and not values.err
for claim, key in ipairs(KEYS) do
  local mine = ARGV[at]
  if step == 2 then ttl = ARGV[at + 1] end
  local value
  if short then value = string.sub(values[claim] or '', 1, #mine) else value = redis.pcall('GETRANGE', key, 0, #mine - 1) end
  if type(value) == 'table' and not string.find(value.err, 'WRONGTYPE', 1, true) then return value end
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
