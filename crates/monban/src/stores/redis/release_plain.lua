-- release, first part: exclusive holders of keys that nobody else wants.
--
--   KEYS  1: the fence counter; then all keys; then the order of each, in the same order
--   ARGV  1: 'x' if every claim is exclusive and none is to linger, else 'm'
--         2: how many arguments there are for each claim, 1 or 3
--         3 and 4: `<kind>:<n>:<of>:<claimant>`, ms to linger or -1, if they are the same for all; then for each
--         claim: `mb1x:<claim id>:`, and those two if they are not
--
-- If no line exists and every key is its claim's, all are deleted at once, and the answer is 1.
local total = (#KEYS - 1) / 2
local step = tonumber(ARGV[2])
if ARGV[1] == 'x' and redis.call('EXISTS', unpack(KEYS, total + 2)) == 0 then
  local values = redis.call('MGET', unpack(KEYS, 2, total + 1))
  local sub, other, at = string.sub, false, 5
  for claim = 1, total do
    local value = values[claim]
    if not value or sub(value, 1, 54) ~= ARGV[at] then other = true end
    at = at + step
  end
  if not other then
    redis.call('DEL', unpack(KEYS, 2, total + 1))
    return 1
  end
end
