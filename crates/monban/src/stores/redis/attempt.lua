-- attempt, second part: claims one after the other. Repeating it for a claim changes nothing but its expiry.
--
-- Mine already: its expiry is put off, the answer is the same as before. Else time passes (settle). In line: expiry
-- put off. Not in line: granted if nobody waits and it fits, else joined at the end, or refused without a trace.
--
-- Answers: { 1, fence or µs, seat or -1 }
--          { 0, ahead, head (1 or 0), held (1 or 0), value, ms until it is worth asking again or -1, µs now, a first holder,
--            ms until the key expires, or -1: never }
--          { 2, the other capacity }
--          { 3 } this claim asked in another mode before
--          { 4, what went wrong }

-- The capacity that others use the key with, if it is another one.
local function clash(value, order, of)
  local there = marker(value)
  if not there then
    local asked = redis.call('ZSCORE', order, 'c')
    there = asked and tonumber(asked) - CAPACITY
  end
  if not there or there == of then return end
  if marker(value) then return there end
  for _, member in ipairs(redis.call('ZRANGEBYSCORE', order, WAITERS, '+inf')) do
    if parts(member) ~= 'x' then return there end
  end
  redis.call('ZREM', order, 'c')
end

local function busy(key, order, expiry, value, score, more)
  local held, holders, one = 0, 0, ''
  if value then held, holders = 1, 1 end
  if kind(value) == 'mb1m:' then
    holders = math.max(1, redis.call('ZCOUNT', order, '-inf', '(0'))
    one = redis.call('ZREVRANGEBYSCORE', order, '(0', '-inf', 'LIMIT', 0, 1)[1] or ''
  end
  local waiting = redis.call('ZCOUNT', order, WAITERS, score and '(' .. text(score) or '+inf')
  local left = redis.call('PTTL', key)
  local free = left
  local dies = redis.call('ZRANGE', expiry, 0, 0, 'WITHSCORES')[2]
  if dies and (free < 0 or tonumber(dies) - now < free) then free = math.max(0, tonumber(dies) - now) end
  if more then free = 0 end
  return { 0, holders + waiting, (score and waiting == 0) and 1 or 0, held, string.sub(value or '', 1, 400), free, us, one,
    left }
end

local function attempt(counter, key, order, expiry, id, member, ttl, queue)
  local value = read(key)
  if value and string.sub(value, 6, 53) == id then
    if kind(value) == 'mb1l:' then return busy(key, order, expiry, value, nil, false) end
    if kind(value) == 'mb1x:' then
      if parts(member) ~= 'x' then return { 3 } end
      redis.call('PEXPIRE', key, text(ttl))
      return { 1, tonumber(string.match(value, '^(%d+)', 55)), -1 }
    end
  end
  local was = head(order)
  local dies = redis.call('ZSCORE', expiry, member)
  if dies and tonumber(dies) <= now then
    leave(key, order, expiry, value, member)
  elseif dies then
    -- A full server refuses no write of a script that has written before, and never refuses PEXPIRE: so it takes no
    -- newcomer, and whoever is in line keeps the place and is granted when the time comes.
    redis.call('PEXPIRE', expiry, text(math.max(redis.call('PTTL', expiry), ttl + 1000)))
  end
  local more
  value, more = settle(counter, key, order, expiry, member, was)
  if kind(value) == 'mb1x:' and string.sub(value, 6, 53) == id then
    redis.call('PEXPIRE', key, text(ttl))
    return { 1, tonumber(string.match(value, '^(%d+)', 55)), -1 }
  end
  local score = tonumber(redis.call('ZSCORE', order, member) or '')
  local k, n, of = parts(member)
  if score and score < 0 and (k == 'x' or kind(value) ~= 'mb1m:') then
    -- Who wants the key alone holds by the key alone: somebody else wrote this. And a share or a permit whose marker is
    -- gone is void, also if settle has left it over.
    redis.call('ZREM', order, member, 's' .. id)
    redis.call('ZREM', expiry, member)
    score = nil
  end
  if score then
    redis.call('ZADD', expiry, text(now + ttl), member)
    keep(order, expiry, ttl)
    if score > 0 then return busy(key, order, expiry, value, score, more) end
    if redis.call('PTTL', key) < ttl then redis.call('PEXPIRE', key, text(ttl)) end
    return { 1, -score, tonumber(redis.call('ZSCORE', order, 's' .. id) or '-1') }
  end
  if k ~= 'x' then
    local other = clash(value, order, of)
    if other then return { 2, other } end
  end
  if not more and redis.call('ZCOUNT', order, WAITERS, '+inf') == 0 and fits(value, k, n, of) then
    local _, fence, place = grant(counter, key, order, expiry, value, member, ttl)
    if not fence then refuse() end
    return { 1, fence, place }
  end
  if not queue then return busy(key, order, expiry, value, nil, more) end
  local last = tonumber(redis.call('ZREVRANGE', order, 0, 0, 'WITHSCORES')[2] or '0')
  score = math.max(last + 1, us)
  redis.call('ZADD', order, text(score), member)
  if k ~= 'x' then redis.call('ZADD', order, text(CAPACITY + of), 'c') end
  redis.call('ZADD', expiry, text(now + ttl), member)
  keep(order, expiry, ttl)
  return busy(key, order, expiry, value, score, more)
end

while first <= total do
  local at = 6 + step * (first - 1)
  local shared = step == 1 and 3 or at + 1
  local id = string.sub(ARGV[at], 6, 53)
  local spec = ARGV[shared + 2]
  local member = id .. ':' .. string.sub(spec, 2) .. ARGV[shared]
  local fine, answer = pcall(attempt, KEYS[1], KEYS[1 + first], KEYS[1 + total + first], KEYS[1 + 2 * total + first],
    id, member, tonumber(ARGV[shared + 1]), string.sub(spec, 1, 1) == '+')
  reply[first] = fine and answer or failed(answer)
  first = first + 1
end
return reply
