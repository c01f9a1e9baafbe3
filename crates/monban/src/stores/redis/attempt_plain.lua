-- attempt, first part: claims on keys that nobody uses.
--
--   KEYS  1: the fence counter; then all keys; then the order of each, and the expiry of each, in the same order
--   ARGV  1: 'x' if every claim is exclusive, else 'm'
--         2: how many arguments there are for each claim, 1 or 4
--         3 to 5: `:<claimant>`, TTL in ms, and `+` (queue) or `-` (leave) with `<kind>:<n>:<of>`, if they are the
--         same for all; then for each claim: `mb1x:<claim id>:`, and those three if they are not
--
-- If no line exists, every key is written that does not exist: the server's time is read once, one block of fences
-- is reserved. The answer is then one number, the fence of the first claim; those of the others follow it. From the
-- first key that exists on (it may stand twice in the batch), or without a counter, the rest is left to the second part.
-- No function is defined before this is done: defining them costs more than all of it. What can be text is text: a server
-- writes each number that it is handed by way of a float.
local total = (#KEYS - 1) / 3
local step = ARGV[2] == '1' and 1 or 4
local first = 1
local reply = {}
if ARGV[1] == 'x' and redis.call('EXISTS', unpack(KEYS, total + 2, 2 * total + 1)) == 0 then
  local call, format, ARGV, KEYS = redis.call, string.format, ARGV, KEYS
  local tail, ttl = ARGV[3], ARGV[4]
  local time = call('TIME')
  local fence = time[1] * 1000000 + time[2]
  -- An integer is quicker to write than a float without decimals, where the server's integers are long enough.
  local whole = '%d'
  local last = format(whole, fence + total - 1)
  if tonumber(last) ~= fence + total - 1 then
    whole = '%.0f'
    last = format(whole, fence + total - 1)
  end
  -- What goes wrong here the second part tells for each claim: one that holds already needs no fence.
  local raw = redis.pcall('SET', KEYS[1], last, 'GET')
  local good = type(raw) ~= 'table'
  local before = good and tonumber(raw or '')
  if before and before > 9000000000000000 then
    call('SET', KEYS[1], raw) -- as it was: nobody has seen the other
    good = false
  elseif before and before >= fence then
    fence = before + 1
    last = format(whole, fence + total - 1)
    call('SET', KEYS[1], last)
  end
  local at = 6
  while good and first <= total do
    if step == 4 then tail, ttl = ARGV[at + 1], ARGV[at + 2] end
    local own = first == total and last or format(whole, fence + first - 1)
    if not call('SET', KEYS[first + 1], ARGV[at] .. own .. tail, 'PX', ttl, 'NX') then break end
    first = first + 1
    at = at + step
  end
  if first > total then return fence end
  for claim = 1, first - 1 do reply[claim] = { 1, fence + claim - 1, -1 } end
end
