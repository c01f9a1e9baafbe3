-- release, second part: claims one after the other. Repeating it is told the same while it can be.
--
-- An exclusive holder: the key is deleted, or lingers. A waiter, a share, permits: the member leaves. Then time passes,
-- which hands the key to the head of the line; where the key lingers the head is told to ask, since it waits for something
-- else now. What follows the deletion may fail, for a side key that is spoilt: the release has happened all the same, and
-- the head is granted when it asks again.
-- Answer: for each claim 1 (was there), 0, or { 4, what went wrong }.
local function release(counter, key, order, expiry, mine, member, linger)
  local value = read(key)
  if value and string.sub(value, 6, 54) == string.sub(mine, 6) then
    if kind(value) == 'mb1l:' then return 1 end
    if kind(value) == 'mb1x:' then
      if linger >= 0 then
        redis.call('PEXPIRE', key, text(linger)) -- never refused by a full server, nor is what follows it
        local fence, claimant = string.match(value, '^(%d+):(.*)$', 55)
        redis.call('SET', key, 'mb1l:' .. string.sub(mine, 6) .. fence .. ':' .. text(us) .. ':' .. claimant,
          'PX', text(linger))
      else
        redis.call('DEL', key)
      end
      pcall(settle, counter, key, order, expiry)
      local next = linger >= 0 and head(order)
      if next then pcall(tell, 'a', next) end
      return 1
    end
  end
  if redis.call('EXISTS', order, expiry) == 0 then return 0 end
  local was = head(order)
  local dies = tonumber(redis.call('ZSCORE', expiry, member) or '')
  local score = tonumber(redis.call('ZSCORE', order, member) or '')
  -- A holder without its marker holds nothing any more.
  local there = dies and score and dies > now and (score > 0 or kind(value) == 'mb1m:')
  if dies or score then leave(key, order, expiry, value, member) end
  pcall(settle, counter, key, order, expiry, nil, was)
  return there and 1 or 0
end

local reply = {}
for claim = 1, total do
  local at = 5 + step * (claim - 1)
  local shared = step == 1 and 3 or at + 1
  local mine = ARGV[at]
  local member = string.sub(mine, 6, 54) .. ARGV[shared]
  local fine, answer = pcall(release, KEYS[1], KEYS[1 + claim], KEYS[1 + total + claim], KEYS[1 + 2 * total + claim],
    mine, member, tonumber(ARGV[shared + 1]))
  reply[claim] = fine and answer or failed(answer)
end
return reply
