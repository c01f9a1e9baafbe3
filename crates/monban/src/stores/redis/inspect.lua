-- inspect: what is at a key and in its line. Reads only.
--
--   KEYS  the key, its order, its expiry
--   ARGV  'w' if what is not monban's is to be shown even if nobody waits, else 'o'
--
-- The value of another program may be long: it is read only if it is shown.
-- Answer: { type, value, PTTL, µs now, { member, score, dies, seat or -1, ... } }, members in order of their scores.
local value = redis.pcall('GETRANGE', KEYS[1], 0, 2)
local kind = redis.call('TYPE', KEYS[1]).ok
local time = redis.call('TIME')
local members = {}
local all = redis.call('ZRANGE', KEYS[2], 0, -1, 'WITHSCORES')
for at = 1, #all, 2 do
  local score = tonumber(all[at + 1])
  if score < 0 or score > 10000000000 then
    members[#members + 1] = all[at]
    members[#members + 1] = score
    members[#members + 1] = tonumber(redis.call('ZSCORE', KEYS[3], all[at]) or '0')
    members[#members + 1] = tonumber(redis.call('ZSCORE', KEYS[2], 's' .. string.sub(all[at], 1, 48)) or '-1')
  end
end
local shown = kind == 'string' and (ARGV[1] == 'w' or #members > 0 or value == 'mb1')
return { kind, shown and redis.call('GET', KEYS[1]) or '', redis.call('PTTL', KEYS[1]), time[1] * 1000000 + time[2], members }
