-- Sets KEYS[1] to ARGV[3] if the fence ARGV[2] is not lower than the highest that the hash KEYS[2] has for the
-- seat ARGV[1], and remembers the fence there. Answers 1 if it was set, 0 if it was refused.
--
-- Fences are decimal digits without leading zeros, up to 2^63-1. Numbers of Lua are exact to 2^53 only, so they
-- are compared as text: the longer is greater, and of equal length the one that comes later.
if #ARGV ~= 3 or not string.match(ARGV[2], '^%d+$') then
    return redis.error_reply('ERR expected SEAT FENCE VALUE, and digits for the fence')
end
local seat, fence = ARGV[1], ARGV[2]
local highest = redis.call('HGET', KEYS[2], seat)
if highest and (#fence < #highest or (#fence == #highest and fence < highest)) then
    return 0
end
redis.call('HSET', KEYS[2], seat, fence)
redis.call('SET', KEYS[1], ARGV[3])
return 1
