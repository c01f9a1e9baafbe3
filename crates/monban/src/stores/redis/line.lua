-- The line of one key: what the scripts share.
--
-- The key itself holds `mb1x:<claim id>:<fence>:<claimant>` (exclusive), `mb1l:<claim id>:<fence>:<since, µs>:
-- <claimant>` (lingering), or `mb1m:<capacity>:<used>` (a marker, while readers or permits hold). Anything else,
-- of any type, belongs to a program that is not monban.
-- Beside it, only while needed: `order`, a sorted set of members `<claim id>:<kind>:<n>:<of>:<claimant>`, a waiter
-- with a score above WAITERS (µs, in the order of joining), a holder of a share or of permits with a score below 0
-- (minus its fence, or minus µs); and between the two, `s<claim id>` with the seat of a holder, and `c` with
-- CAPACITY + the capacity that the waiters ask for. `expiry`: the members again, score = when they die, in ms.
local time = redis.call('TIME')
local us = time[1] * 1000000 + time[2]
local now = math.floor(us / 1000)
local WAITERS, CAPACITY, SEATS = 10000000000, 5000000000, 4000000000
local CAP = 500       -- members handled at most in one go; what is left over is asked for again
local FULL = 8000000000 -- `used` of a marker whose holders cannot be told any more: it blocks until it expires

local function text(number) return string.format('%.0f', number) end

-- The value at a key, false if there is none. Of a stranger's, which may be of any length, only the beginning: all that
-- is monban's is shorter.
local function read(key)
  local value = redis.pcall('GETRANGE', key, 0, 1999)
  if value == '' then return redis.call('EXISTS', key) == 1 and value end
  if type(value) ~= 'table' then return value end
  if string.find(value.err, 'WRONGTYPE', 1, true) then return '' end
  error(value.err)
end

local function kind(value) return value and string.sub(value, 1, 5) end

local function parts(member)
  local k, n, of = string.match(member, '^%x+:(%a):(%d+):(%d+):')
  return k, tonumber(n), tonumber(of)
end

local function marker(value)
  local capacity, used = string.match(value or '', '^mb1m:(%d+):(%d+)$')
  return tonumber(capacity), tonumber(used)
end

-- What the counter holds if it cannot be counted up, which only somebody else can have written there.
local spent = false

-- The greater of the last fence + 1 and the time, so that a lost counter does no harm. Nothing if the counter is spent:
-- it is left as it is, and whoever wanted the fence is told.
local function mint(counter)
  local raw = redis.pcall('GET', counter)
  if type(raw) == 'table' then
    if not string.find(raw.err, 'WRONGTYPE', 1, true) then error(raw.err) end
    spent = 'no string'
    return
  end
  local before = tonumber(raw or '') or 0
  if before ~= before then before = 0 end -- "nan" reads as a number
  if before > 9000000000000000 then
    spent = string.sub(raw, 1, 40)
    return
  end
  local fence = math.max(before + 1, us)
  redis.call('SET', counter, text(fence))
  return fence
end

local function refuse() error('the fence counter is spent: ' .. spent, 0) end

local function mark(key, capacity, used, ttl)
  local left = redis.call('PTTL', key)
  if left > ttl then ttl = left end
  redis.call('SET', key, 'mb1m:' .. text(capacity) .. ':' .. text(used), 'PX', text(ttl))
  return 'mb1m:' .. text(capacity) .. ':' .. text(used)
end

-- Takes `n` off the marker; without holders the key is free.
local function unmark(key, value, n)
  local capacity, used = marker(value)
  if not used then return value end
  if used <= n then
    redis.call('DEL', key)
    return false
  end
  redis.call('SET', key, 'mb1m:' .. text(capacity) .. ':' .. text(used - n), 'KEEPTTL')
  return 'mb1m:' .. text(capacity) .. ':' .. text(used - n)
end

-- Only a grant names its claim by the id. Whoever knows that could forge a grant, and channels may be open to people who
-- have no business with the keys: so whatever is told before names the claim by the SHA-1 of its id.
local function tell(what, member, more)
  local id = string.sub(member, 1, 48)
  if what ~= 'g' then id = redis.sha1hex(id) end
  redis.call('PUBLISH', 'monban:' .. string.sub(member, 1, 16), what .. id .. (more or ''))
end

-- What a script answers for a claim that could not be looked after. The other claims of the batch are.
local function failed(why) return { 4, type(why) == 'table' and why.err or tostring(why) } end

-- Side keys outlive their last member a little, so that a line of the dead does not stay for ever.
local function keep(order, expiry, ttl)
  ttl = tonumber(ttl) + 1000
  if redis.call('PTTL', order) < ttl then redis.call('PEXPIRE', order, text(ttl)) end
  if redis.call('PTTL', expiry) < ttl then redis.call('PEXPIRE', expiry, text(ttl)) end
end

local function tidy(order, expiry)
  if redis.call('EXISTS', expiry) == 0 then redis.call('DEL', order) end
end

-- Takes a member out; the value at the key as it is afterwards.
local function leave(key, order, expiry, value, member)
  local score = redis.call('ZSCORE', order, member)
  redis.call('ZREM', order, member, 's' .. string.sub(member, 1, 48))
  redis.call('ZREM', expiry, member)
  if score and tonumber(score) < 0 then
    local _, n = parts(member)
    return unmark(key, value, n)
  end
  return value
end

local function head(order)
  return redis.call('ZRANGEBYSCORE', order, WAITERS, '+inf', 'LIMIT', 0, 1)[1]
end

local function fits(value, k, n, of)
  if not value then return true end
  if k == 'x' then return false end
  local capacity, used = marker(value)
  return capacity == of and used + n <= of
end

-- The lowest seat that nobody has: the seats below it are as many as their numbers say.
local function seat(order)
  local taken = redis.call('ZCOUNT', order, 0, SEATS)
  local low, high = 0, taken
  if taken == 0 or redis.call('ZCOUNT', order, 0, taken - 1) == taken then return taken end
  while low < high do
    local middle = math.floor((low + high) / 2)
    if redis.call('ZCOUNT', order, 0, middle) == middle + 1 then low = middle + 1 else high = middle end
  end
  return low
end

-- Grants: writes the key for the claim. The value at the key, the fence (or the time) and the seat. Without a fence, if the
-- counter is spent, nothing is written.
local function grant(counter, key, order, expiry, value, member, ttl)
  local k, n, of = parts(member)
  local id = string.sub(member, 1, 48)
  if k == 'x' then
    local fence = mint(counter)
    if not fence then return value end
    value = 'mb1x:' .. id .. ':' .. text(fence) .. string.match(member, '^%x+:%a:%d+:%d+(:.*)$')
    redis.call('SET', key, value, 'PX', text(ttl))
    redis.call('ZREM', order, member)
    redis.call('ZREM', expiry, member)
    return value, fence, -1
  end
  local _, used = marker(value)
  local score, place = us, -1
  if k == 'p' then
    score = mint(counter)
    if not score then return value end
    place = seat(order)
    redis.call('ZADD', order, place, 's' .. id)
  else
    -- Shares have no fence; those granted in one µs stand in order all the same.
    local least = tonumber(redis.call('ZRANGE', order, 0, 0, 'WITHSCORES')[2] or '0')
    score = math.max(us, 1 - least)
  end
  redis.call('ZADD', order, text(-score), member)
  redis.call('ZADD', expiry, text(now + ttl), member)
  keep(order, expiry, ttl)
  return mark(key, of, (used or 0) + n, ttl), score, place
end

-- Makes the two sets agree again after one of them was evicted or deleted by hand.
local function repair(key, order, expiry, value)
  local orphans, sum = false, 0
  for _, member in ipairs(redis.call('ZRANGE', expiry, 0, -1)) do
    if not redis.call('ZSCORE', order, member) then
      redis.call('ZREM', expiry, member)
      orphans = true
    end
  end
  local left = redis.call('PTTL', key)
  if left < 1 then left = 30000 end
  local all = redis.call('ZRANGE', order, 0, -1, 'WITHSCORES')
  for at = 1, #all, 2 do
    local member, score = all[at], tonumber(all[at + 1])
    if score < 0 or score > WAITERS then
      if not redis.call('ZSCORE', expiry, member) then redis.call('ZADD', expiry, text(now + left), member) end
      if score < 0 then
        local _, n = parts(member)
        sum = sum + n
      end
    end
  end
  keep(order, expiry, left)
  local capacity, used = marker(value)
  if not used then return value end
  if orphans then sum = FULL end
  if sum > 0 and sum ~= used then
    value = 'mb1m:' .. text(capacity) .. ':' .. text(sum)
    redis.call('SET', key, value, 'KEEPTTL')
  end
  return value
end

-- Takes out those who have died, the oldest first. The value at the key; whether more may be left.
local function prune(key, order, expiry, value)
  local dead = redis.call('ZRANGEBYSCORE', expiry, '-inf', now, 'LIMIT', 0, CAP)
  if #dead == 0 then return value, false end
  local freed, gone = 0, {}
  for at, member in ipairs(dead) do
    local k, n = parts(member)
    gone[at] = member
    if k ~= 'x' then
      local score = redis.call('ZSCORE', order, member)
      if score and tonumber(score) < 0 then freed = freed + n end
    end
  end
  for _, member in ipairs(dead) do gone[#gone + 1] = 's' .. string.sub(member, 1, 48) end
  redis.call('ZREM', order, unpack(gone))
  redis.call('ZREM', expiry, unpack(dead))
  if freed > 0 then value = unmark(key, value, freed) end
  return value, #dead == CAP
end

-- Lets time pass: the dead leave, and heads that fit now are granted. A grant to the head of the line is a hand-over
-- of state: the key is never free in between. The value at the key; whether more is left to do.
-- The message of a grant brings its fence and its seat, so that it need not be asked for; `a` means: ask.
-- `mine` is told by the answer, not by a message; `was` is the head before anything was taken out.
local function settle(counter, key, order, expiry, mine, was)
  local value = read(key)
  if value and kind(value) ~= 'mb1m:' and was then
    -- Mostly there is nothing to do: one holds, nobody has died, the head is the same, the sets agree.
    local first = redis.call('ZRANGE', order, 0, 0, 'WITHSCORES')
    local dies = redis.call('ZRANGE', expiry, 0, 0, 'WITHSCORES')[2]
    if first[1] == was and tonumber(first[2]) > WAITERS and dies and tonumber(dies) > now
      and redis.call('ZCARD', order) == redis.call('ZCARD', expiry) then return value, false end
  end
  if redis.call('EXISTS', order, expiry) == 0 then return value, false end
  was = was or head(order)
  local members = redis.call('ZCARD', order) - redis.call('ZCOUNT', order, 0, WAITERS)
  if members ~= redis.call('ZCARD', expiry) then value = repair(key, order, expiry, value) end
  local more
  value, more = prune(key, order, expiry, value)
  if kind(value) ~= 'mb1m:' then
    -- The marker is gone, so those who held under it do not hold any more.
    local void = redis.call('ZRANGEBYSCORE', order, '-inf', '(0', 'LIMIT', 0, CAP)
    for _, member in ipairs(void) do
      redis.call('ZREM', order, member, 's' .. string.sub(member, 1, 48))
      redis.call('ZREM', expiry, member)
    end
    more = more or #void == CAP
  end
  local rounds, told, short = 0, {}, false
  local next = head(order)
  while next and not more do
    local dies = tonumber(redis.call('ZSCORE', expiry, next) or '0')
    if dies <= now then
      value = leave(key, order, expiry, value, next)
    else
      local k, n, of = parts(next)
      if not fits(value, k, n, of) then break end
      local fence, place
      value, fence, place = grant(counter, key, order, expiry, value, next, dies - now)
      if not fence then
        short = true
        break
      end
      if next ~= mine then told[#told + 1] = { next, ':' .. text(fence) .. ':' .. text(place) } end
    end
    rounds = rounds + 1
    more = rounds == CAP
    next = head(order)
  end
  if next and next ~= mine and (more or short or next ~= was) then
    -- A new head: it watches the key from now on. Any head goes on with the work that was left over, or hears why not.
    if more or short then tell('a', next) else tell('h', next, ':' .. redis.call('PTTL', key)) end
  end
  -- Last, since the server writes to its clients in the reverse order, and these are the ones in a hurry.
  for _, one in ipairs(told) do tell('g', one[1], one[2]) end
  if short and next == mine then refuse() end
  tidy(order, expiry)
  return value, more
end
