-- release, first part: exclusive holders of keys that nobody else wants.
--
--   KEYS  1: the fence counter; then for each claim: the key, its order, its expiry
--   ARGV  1: 'x' if every claim is exclusive and none is to linger, else 'm'; then for each claim:
--         `mb1x:<claim id>:`, `<kind>:<n>:<of>:<claimant>`, ms to linger or -1
--
-- If no line exists and every key is its claim's, all are deleted at once, and the answer is 1.
local total = (#KEYS - 1) / 3
if ARGV[1] == 'x' and redis.call('EXISTS', unpack(KEYS, 2)) == total then
  local keys = {}
  for claim = 1, total do keys[claim] = KEYS[3 * claim - 1] end
  local other = false
  local values = redis.call('MGET', unpack(keys))
  for claim = 1, total do
    if not values[claim] or string.sub(values[claim], 1, 54) ~= ARGV[3 * claim - 1] then other = true end
  end
  if not other then
    redis.call('DEL', unpack(keys))
    return 1
  end
end
