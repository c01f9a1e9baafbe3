-- Wakes those who wait for a lock of python-redis-lock, in its own way, if the lock is free.
--
--   KEYS  `lock:<name>`, `lock-signal:<name>`
--
-- Source: the release script of python-redis-lock 4: its waiters sleep in BLPOP on the signal until the TTL otherwise.
if redis.call('EXISTS', KEYS[1]) == 0 then
  redis.call('DEL', KEYS[2])
  redis.call('LPUSH', KEYS[2], '1')
  redis.call('PEXPIRE', KEYS[2], 1000)
end
return 1
