// redlock and redis-semaphore as programs that a test can talk to; the words are in `src/driver.rs`.
//
//     client.js redlock|redis-semaphore PORT [RETRY_MS]
'use strict';

const fs = require('node:fs');
const readline = require('node:readline');
const { setTimeout: sleep } = require('node:timers/promises');
const Redis = require('ioredis');
const Redlock = require('redlock');
const { Mutex } = require('redis-semaphore');

const LONGEST = 60_000;
const now = () => process.hrtime.bigint();
const millis = (from) => Number(now() - from) / 1e6;

/** redlock's `lock` and `unlock`. */
class ByRedlock {
  constructor(redis, retry) {
    this.redlock = new Redlock([redis], { retryCount: 0 });
    this.redis = redis;
    this.delay = retry ?? 200;
  }

  async take(key, ttl, limit) {
    const start = now();
    for (;;) {
      // It counts its tries and knows no limit of time: so it tries once, and its usual pauses are made here.
      const lock = await this.redlock.lock(key, ttl).catch((error) => {
        if (error.name === 'LockError') return null;
        throw error;
      });
      if (lock) return lock;
      const left = limit === null ? 0 : limit - millis(start);
      if (left <= 0) return null;
      await sleep(Math.min(left, this.delay + (Math.random() - 0.5) * this.delay));
    }
  }

  async release(lock) {
    return lock.unlock().then(() => true, (error) => {
      if (error.name === 'LockError') return false;
      throw error;
    });
  }
}

/** redis-semaphore's `Mutex`, which puts `mutex:` before the key. */
class BySemaphore {
  constructor(redis, retry) {
    this.redis = redis;
    this.delay = retry === undefined ? {} : { retryInterval: retry };
  }

  async take(key, ttl, limit) {
    const name = key.startsWith('mutex:') ? key.slice('mutex:'.length) : key;
    const options = { lockTimeout: ttl, acquireTimeout: limit ?? LONGEST, acquireAttemptsLimit: limit === null ? 1 : undefined, refreshInterval: 0, ...this.delay };
    const mutex = new Mutex(this.redis, name, options);
    return (await mutex.tryAcquire()) ? mutex : null;
  }

  async release(mutex) {
    const owned = (await this.redis.get(mutex._key)) === mutex.identifier;
    await mutex.release();
    return owned;
  }
}

/** The measured release: without the look that tells tests whether the key was still owned. */
async function free(client, lock) {
  await (lock instanceof Mutex ? lock.release() : client.release(lock));
}

async function count(client, key, ttl, times, path, pause) {
  const me = String(process.pid);
  let others = 0;
  for (let turn = 0; turn < times; turn += 1) {
    const lock = await client.take(key, ttl, LONGEST);
    if (!lock) throw new Error('no turn within a minute');
    const [number, last] = fs.readFileSync(path, 'utf8').trim().split(' ');
    await sleep(1);
    fs.writeFileSync(path, `${Number(number) + 1} ${me}`);
    if (last !== me) others += 1;
    if (!(await client.release(lock))) throw new Error('lost the key while counting');
    await sleep(pause);
  }
  return others;
}

async function cycles(client, keys, seconds) {
  const samples = [];
  const start = now();
  const one = async (key) => {
    while (millis(start) < seconds * 1000) {
      const begun = now();
      const lock = await client.take(key, 10_000, LONGEST);
      if (!lock) throw new Error('a key of one\'s own was not free');
      await free(client, lock);
      samples.push(millis(begun) * 1000);
    }
  };
  await Promise.all(Array.from({ length: keys }, (_, number) => one(`cycle-${number}`)));
  samples.sort((a, b) => a - b);
  return [samples.length, Math.round(samples[samples.length >> 1])];
}

async function turns(client, key, start, end, hold) {
  const notes = [];
  await sleep(Math.max(0, Number(start - now()) / 1e6));
  for (;;) {
    const asked = now();
    const lock = await client.take(key, 30_000, Math.max(1, Number(end - asked) / 1e6));
    if (!lock) {
      notes.push(`${asked},0,0`);
      return notes;
    }
    const begun = now();
    await sleep(hold / 1000);
    const ended = now();
    await free(client, lock);
    notes.push(`${asked},${begun},${ended}`);
    if (now() >= end) return notes;
  }
}

async function answer(client, held, words) {
  const [verb, key, ...rest] = words;
  switch (verb) {
    case 'try':
    case 'wait': {
      const lock = await client.take(key, Number(rest[0]), verb === 'try' ? null : Number(rest[1]));
      if (lock) held.set(key, lock);
      return lock ? 'held' : 'busy';
    }
    case 'release': {
      const lock = held.get(key);
      held.delete(key);
      return (await client.release(lock)) ? 'released' : 'gone';
    }
    case 'count':
      return `done ${await count(client, key, Number(rest[0]), Number(rest[1]), rest[2], Number(rest[3]))}`;
    case 'cycles':
      return `cycles ${(await cycles(client, Number(key), Number(rest[0]))).join(' ')}`;
    case 'turns':
      return ['turns', ...(await turns(client, key, BigInt(rest[0]), BigInt(rest[1]), Number(rest[2])))].join(' ');
    default:
      return `unknown ${words}`;
  }
}

async function main() {
  const [kind, port, retry] = process.argv.slice(2);
  const kinds = { redlock: ByRedlock, 'redis-semaphore': BySemaphore };
  const client = new kinds[kind](new Redis(Number(port)), retry === undefined ? undefined : Number(retry));
  const held = new Map();
  for await (const line of readline.createInterface({ input: process.stdin })) {
    process.stdout.write(`${await answer(client, held, line.trim().split(' '))}\n`);
  }
  process.exit(0);
}

main().catch((error) => {
  process.stderr.write(`${error.stack}\n`);
  process.exit(1);
});
