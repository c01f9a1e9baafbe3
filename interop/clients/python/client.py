"""redis-py and python-redis-lock as programs that a test can talk to; the words are in `src/driver.rs`.

    client.py redis-py|redis-py-asyncio|python-redis-lock PORT [RETRY_MS]
"""

import asyncio
import os
import sys
import time

import redis
import redis.asyncio
import redis_lock

LONGEST = 60.0


class Sync:
    """`redis.lock.Lock`, blocking."""

    def __init__(self, port, retry):
        self.redis = redis.Redis(port=port)
        self.sleep = {} if retry is None else {"sleep": retry}
        self.held = {}

    def take(self, key, ttl_ms, limit):
        lock = self.redis.lock(key, timeout=ttl_ms / 1000, **self.sleep)
        if limit is None:
            taken = lock.acquire(blocking=False)
        else:
            taken = lock.acquire(blocking=True, blocking_timeout=limit)
        if taken:
            self.held[key] = lock
        return taken

    def release(self, key):
        try:
            self.held.pop(key).release()
        except redis.exceptions.LockNotOwnedError:
            return False
        return True


class Async(Sync):
    """`redis.asyncio.lock.Lock`, on a loop of its own."""

    def __init__(self, port, retry):
        self.loop = asyncio.new_event_loop()
        # One connection for each waiting task would be 1000 of them; the pool's wait is not the server's.
        pool = redis.asyncio.BlockingConnectionPool(port=port, max_connections=50, timeout=LONGEST)
        self.redis = redis.asyncio.Redis(connection_pool=pool)
        self.sleep = {} if retry is None else {"sleep": retry}
        self.held = {}

    def take(self, key, ttl_ms, limit):
        return self.loop.run_until_complete(self.take_soon(key, ttl_ms, limit))

    async def take_soon(self, key, ttl_ms, limit):
        lock = self.redis.lock(key, timeout=ttl_ms / 1000, **self.sleep)
        if limit is None:
            taken = await lock.acquire(blocking=False)
        else:
            taken = await lock.acquire(blocking=True, blocking_timeout=limit)
        if taken:
            self.held[key] = lock
        return taken

    def release(self, key):
        return self.loop.run_until_complete(self.release_soon(key))

    async def release_soon(self, key):
        try:
            await self.held.pop(key).release()
        except redis.exceptions.LockNotOwnedError:
            return False
        return True

    def cycles(self, keys, seconds):
        async def one(key, end, samples):
            while True:
                start = time.monotonic()
                if start >= end:
                    return
                if not await self.take_soon(key, 10_000, LONGEST) or not await self.release_soon(key):
                    raise RuntimeError("a key of one's own was not free")
                samples.append(time.monotonic() - start)

        async def every():
            samples = []
            end = time.monotonic() + seconds
            await asyncio.gather(*(one(f"cycle-{number}", end, samples) for number in range(keys)))
            return samples

        return self.loop.run_until_complete(every())


class Signal:
    """`redis_lock.Lock`, which waits for a list element; it knows whole seconds only."""

    def __init__(self, port, _retry):
        self.redis = redis.StrictRedis(port=port)
        self.held = {}

    def take(self, key, ttl_ms, limit):
        lock = redis_lock.Lock(self.redis, key.removeprefix("lock:"), expire=max(1, ttl_ms // 1000))
        if limit is None:
            taken = lock.acquire(blocking=False)
        else:
            # Its timeout is of whole seconds and at most the TTL; after it the caller asks again.
            timeout = max(1, min(int(limit), ttl_ms // 1000))
            taken = lock.acquire(blocking=True, timeout=timeout)
        if taken:
            self.held[key] = lock
        return taken

    def release(self, key):
        try:
            self.held.pop(key).release()
        except redis_lock.NotAcquired:
            return False
        return True


def cycles(client, keys, seconds):
    if isinstance(client, Async):
        return client.cycles(keys, seconds)
    if keys != 1:
        raise ValueError("a blocking client takes one key at a time")
    samples = []
    end = time.monotonic() + seconds
    while True:
        start = time.monotonic()
        if start >= end:
            return samples
        if not client.take("cycle-0", 10_000, LONGEST) or not client.release("cycle-0"):
            raise RuntimeError("a key of one's own was not free")
        samples.append(time.monotonic() - start)


def count(client, key, ttl_ms, times, path, pause):
    """A counter that loses increments unless one at a time reads and writes it; returns how often another wrote last."""
    me = str(os.getpid())
    others = 0
    for _ in range(times):
        limit = time.monotonic() + LONGEST
        while not client.take(key, ttl_ms, LONGEST):
            if time.monotonic() > limit:
                raise RuntimeError("no turn within a minute")
        with open(path) as file:
            number, last = file.read().split()
        time.sleep(0.001)
        with open(path, "w") as file:
            file.write(f"{int(number) + 1} {me}")
        others += last != me
        if not client.release(key):
            raise RuntimeError("lost the key while counting")
        time.sleep(pause)
    return others


def turns(client, key, start, end, hold):
    """Takes the key again and again between two instants of the monotonic clock; notes asked, from, to."""
    notes = []
    time.sleep(max(0.0, (start - time.monotonic_ns()) / 1e9))
    while True:
        asked = time.monotonic_ns()
        taken = False
        while not taken and time.monotonic_ns() < end:
            taken = client.take(key, 30_000, (end - time.monotonic_ns()) / 1e9)
        if not taken:
            notes.append(f"{asked},0,0")
            return notes
        begun = time.monotonic_ns()
        time.sleep(hold)
        ended = time.monotonic_ns()
        client.release(key)
        notes.append(f"{asked},{begun},{ended}")


def answer(client, words):
    match words:
        case ["try", key, ttl]:
            return "held" if client.take(key, int(ttl), None) else "busy"
        case ["wait", key, ttl, limit]:
            return "held" if client.take(key, int(ttl), int(limit) / 1000) else "busy"
        case ["release", key]:
            return "released" if client.release(key) else "gone"
        case ["count", key, ttl, times, path, pause]:
            return f"done {count(client, key, int(ttl), int(times), path, int(pause) / 1000)}"
        case ["cycles", keys, seconds]:
            samples = sorted(cycles(client, int(keys), float(seconds)))
            return f"cycles {len(samples)} {samples[len(samples) // 2] * 1e6:.0f}"
        case ["turns", key, start, end, hold]:
            return " ".join(["turns", *turns(client, key, int(start), int(end), int(hold) / 1e6)])
    return f"unknown {words}"


def main():
    kinds = {"redis-py": Sync, "redis-py-asyncio": Async, "python-redis-lock": Signal}
    retry = int(sys.argv[3]) / 1000 if len(sys.argv) > 3 else None
    client = kinds[sys.argv[1]](int(sys.argv[2]), retry)
    for line in sys.stdin:
        print(answer(client, line.split()), flush=True)


main()
