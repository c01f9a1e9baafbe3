-- attempt, first part: claims on keys that nobody uses.
--
--   KEYS  1: the fence counter; then for each claim: the key, its order, its expiry
--   ARGV  1: 'x' if every claim is exclusive, else 'm'; then for each claim:
--         `mb1x:<claim id>:`, `:<claimant>`, TTL in ms, and `+` (queue) or `-` (leave) with `<kind>:<n>:<of>`
--
-- If no key and no line exists, every claim is granted: the server's time is read once, one block of fences
-- is reserved, each key is written. The answer is then one number, the fence of the first claim; those of the
-- others follow it. A key that stands twice in the batch leaves the rest to the second part.
-- No function is defined before this is done: defining them costs more than all of it.
local total = (#KEYS - 1) / 3
local first = 1
local reply = {}
if ARGV[1] == 'x' and redis.call('EXISTS', unpack(KEYS, 2)) == 0 then
  local time = redis.call('TIME')
  local fence = time[1] * 1000000 + time[2]
  local before = tonumber(redis.call('SET', KEYS[1], string.format('%.0f', fence + total - 1), 'GET') or '')
  if before and before > 9000000000000000 then
    redis.call('SET', KEYS[1], string.format('%.0f', before))
    return redis.error_reply('ERR the fence counter is out of range')
  end
  if before and before >= fence then
    fence = before + 1
    redis.call('SET', KEYS[1], string.format('%.0f', fence + total - 1))
  end
  while first <= total do
    local at = 4 * first - 2
    local value = ARGV[at] .. string.format('%.0f', fence + first - 1) .. ARGV[at + 1]
    if not redis.call('SET', KEYS[3 * first - 1], value, 'PX', ARGV[at + 2], 'NX') then break end
    reply[first] = { 1, fence + first - 1, -1 }
    first = first + 1
  end
  if first > total then return fence end
end
