-- release, first part: exclusive holders of keys that nobody else wants, or that one after the other waits for.
--
--   KEYS  1: the fence counter; then all keys; then the order of each, and the expiry of each, in the same order
--   ARGV  1: 'x' if every claim is exclusive and none is to linger, else 'm'
--         2: how many arguments there are for each claim, 1 or 3
--         3 and 4: `<kind>:<n>:<of>:<claimant>`, ms to linger or -1, if they are the same for all; then for each
--         claim: `mb1x:<claim id>:`, and those two if they are not
--
-- If no line exists and every key is its claim's, all are deleted at once, and the answer is 1.
-- If a claim comes alone, and the first in line wants the key for itself and is alive, it is given the key at once, and the
-- answer is 1: what settle would do, without the questions whose answers are known. (Who holds shares or permits would be
-- first. Others who have died are taken out when the next one asks.) Whatever is otherwise, or goes wrong, is left to the
-- second part; a fence that is drawn then is drawn in vain. Each question counts here: to a server that has
-- slept, as between two hand-overs, one costs ten times what it costs one that is awake.
local total = (#KEYS - 1) / 3
local step = ARGV[2] == '1' and 1 or 3
local plain, line = ARGV[1] == 'x', false
if plain and redis.call('EXISTS', unpack(KEYS, total + 2, 2 * total + 1)) == 0 then
  local pcall, other, at = redis.pcall, false, 5
  for claim = 1, total do
    -- Of a stranger's value, which may be of any length, only the beginning; what goes wrong the second part tells.
    if pcall('GETRANGE', KEYS[claim + 1], '0', '53') ~= ARGV[at] then other = true end
    at = at + step
  end
  if not other then
    redis.call('DEL', unpack(KEYS, 2, total + 1))
    return 1
  end
elseif plain and total == 1 then
  line = redis.pcall('ZRANGE', KEYS[3], '0', '1')
end
if line and line[1] and string.sub(line[1], 49, 54) == ':x:0:0' then
  local call, pcall, format, sub = redis.call, redis.pcall, string.format, string.sub
  local key, order, expiry, head, after = KEYS[2], KEYS[3], KEYS[4], line[1], line[2]
  if pcall('GETRANGE', key, '0', '53') == ARGV[5] then
    local time = call('TIME')
    local fence = time[1] * 1000000 + time[2]
    local now = math.floor(fence / 1000)
    local left = (tonumber(pcall('ZSCORE', expiry, head) or '') or 0) - now
    if left >= 1 then
      local whole = '%d'
      local drawn = format(whole, fence)
      if tonumber(drawn) ~= fence then
        whole = '%.0f'
        drawn = format(whole, fence)
      end
      local raw = pcall('SET', KEYS[1], drawn, 'GET')
      local good = type(raw) ~= 'table'
      local before = good and tonumber(raw or '') or 0
      if before > 9000000000000000 then
        call('SET', KEYS[1], raw) -- as it was: nobody has seen the other
        good = false
      elseif before >= fence then
        drawn = format(whole, before + 1)
        call('SET', KEYS[1], drawn)
      end
      if good then
        local id = sub(head, 1, 48)
        left = format(whole, left)
        call('SET', key, 'mb1x:' .. id .. ':' .. drawn .. sub(head, 55), 'PX', left)
        call('ZREM', order, head)
        call('ZREM', expiry, head)
        -- The server writes to its clients in the reverse of the order in which it first had something for them. Who was
        -- granted is in a hurry, who released is in none: so the latter is told first, of nothing. Without the right to
        -- publish, waiters ask again.
        pcall('PUBLISH', 'monban:' .. sub(ARGV[5], 6, 21), '')
        if after then pcall('PUBLISH', 'monban:' .. sub(after, 1, 16), 'h' .. redis.sha1hex(sub(after, 1, 48)) .. ':' .. left) end
        pcall('PUBLISH', 'monban:' .. sub(head, 1, 16), 'g' .. id .. ':' .. drawn .. ':-1')
        return 1
      end
    end
  end
end
