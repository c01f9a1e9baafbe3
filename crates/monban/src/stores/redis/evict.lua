-- evict: frees by hand what inspect showed, if it is still there.
--
--   KEYS  the fence counter, the key, its order, its expiry
--   ARGV  'c' and a claim id, or 'f' and the value of a program that is not monban
--
-- The owner is told by a message, then time passes. Answer: 1, or 0 if something else is there by now.
local counter, key, order, expiry = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local value = read(key)
local was = head(order)
local done = 0
if ARGV[1] == 'f' then
  if redis.call('TYPE', key).ok == 'string' and redis.call('GET', key) == ARGV[2] then done = redis.call('DEL', key) end
elseif value and string.sub(value, 6, 53) == ARGV[2] and (kind(value) == 'mb1x:' or kind(value) == 'mb1l:') then
  done = redis.call('DEL', key)
  tell('l', ARGV[2])
else
  for _, member in ipairs(redis.call('ZRANGE', order, 0, -1)) do
    if string.sub(member, 1, 48) == ARGV[2] then
      leave(key, order, expiry, value, member)
      tell('l', ARGV[2])
      done = 1
    end
  end
end
if done == 1 then pcall(settle, counter, key, order, expiry, nil, was) end
return done
