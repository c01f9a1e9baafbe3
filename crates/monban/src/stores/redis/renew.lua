-- renew, for any claims, waiting or holding.
--
--   KEYS  all keys; then the order of each, in the same order
--   ARGV  for each claim: `mb1x:<claim id>:`, `<kind>:<n>:<of>:<claimant>`, TTL in ms
--
-- Puts the expiry off of a claim that is there and alive; never creates one. A share or permit holds only
-- while the marker is at the key. Answer: a list of 1 and 0.
local kept = {}
local total = #KEYS / 2
for claim = 1, total do
  local key, order = KEYS[claim], KEYS[total + claim]
  local expiry = string.sub(order, 1, 12) .. 'e' .. string.sub(order, 14)
  local mine, ttl = ARGV[3 * claim - 2], tonumber(ARGV[3 * claim])
  local value = redis.pcall('GET', key)
  if type(value) == 'table' then
    if not string.find(value.err, 'WRONGTYPE', 1, true) then return value end
    value = ''
  end
  kept[claim] = 0
  if value and string.sub(value, 1, 54) == mine then
    redis.call('PEXPIRE', key, ttl)
    kept[claim] = 1
  else
    local member = string.sub(mine, 6, 53) .. ':' .. ARGV[3 * claim - 1]
    local time = redis.call('TIME')
    local now = math.floor((time[1] * 1000000 + time[2]) / 1000)
    local score = tonumber(redis.call('ZSCORE', order, member) or '')
    local dies = tonumber(redis.call('ZSCORE', expiry, member) or '')
    local marked = value and string.sub(value, 1, 5) == 'mb1m:'
    if score and dies and dies > now and (score > 0 or marked) then
      redis.call('ZADD', expiry, string.format('%.0f', now + ttl), member)
      for _, side in ipairs({ order, expiry }) do
        if redis.call('PTTL', side) < ttl + 1000 then redis.call('PEXPIRE', side, ttl + 1000) end
      end
      if score < 0 and redis.call('PTTL', key) < ttl then redis.call('PEXPIRE', key, ttl) end
      kept[claim] = 1
    end
  end
end
return kept
