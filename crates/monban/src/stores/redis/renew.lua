-- renew, for any claims that hold.
--
--   KEYS  all keys; then the order of each, and the expiry of each, in the same order
--   ARGV  for each claim: `mb1x:<claim id>:<fence>:`, `<kind>:<n>:<of>:<claimant>`, TTL in ms, its fence or 0
--
-- Puts the expiry off of a claim that holds by that grant and is alive; never creates one. A share or permit holds only
-- while the marker is at the key. Answer: a list of 1, 0, or { 4, what went wrong }.
local function renew(key, order, expiry, mine, rest, ttl, fence)
  local value = redis.pcall('GETRANGE', key, 0, #mine - 1)
  if type(value) == 'table' then
    if not string.find(value.err, 'WRONGTYPE', 1, true) then error(value.err) end
    value = ''
  end
  if value == mine then
    redis.call('PEXPIRE', key, ttl)
    return 1
  end
  local member = string.sub(mine, 6, 53) .. ':' .. rest
  local time = redis.call('TIME')
  local now = math.floor((time[1] * 1000000 + time[2]) / 1000)
  local score = tonumber(redis.call('ZSCORE', order, member) or '')
  local dies = tonumber(redis.call('ZSCORE', expiry, member) or '')
  local marked = string.sub(value, 1, 5) == 'mb1m:' and string.sub(rest, 1, 1) ~= 'x'
  if not (marked and score and score < 0 and dies and dies > now) then return 0 end
  if string.sub(rest, 1, 1) == 'p' and -score ~= fence then return 0 end
  -- A full server refuses ZADD unless the script has written before, and never refuses PEXPIRE: so it comes first.
  for _, side in ipairs({ order, expiry }) do
    redis.call('PEXPIRE', side, math.max(redis.call('PTTL', side), ttl + 1000))
  end
  redis.call('ZADD', expiry, string.format('%.0f', now + ttl), member)
  if redis.call('PTTL', key) < ttl then redis.call('PEXPIRE', key, ttl) end
  return 1
end

local kept = {}
local total = #KEYS / 3
for claim = 1, total do
  local fine, answer = pcall(renew, KEYS[claim], KEYS[total + claim], KEYS[2 * total + claim], ARGV[4 * claim - 3],
    ARGV[4 * claim - 2], tonumber(ARGV[4 * claim - 1]), tonumber(ARGV[4 * claim]))
  kept[claim] = fine and answer or { 4, type(answer) == 'table' and answer.err or tostring(answer) }
end
return kept
