-- What is done now and then, and not by every claim: the reserve is raised ahead of need, the epoch made anew after a
-- crash, and what is left of keys that nobody uses is removed.

-- Makes sure that claims may live for `ttl`, or for a minute if that is longer: says so in the reserve first, ahead of need,
-- and makes the epoch anew if it was lost. What is missing in `epoch` by then is missing since a crash: see `tables.sql`.
--
-- The minute bounds how long a crash bars all keys, whatever TTL anybody asks for. What holds for longer than the reserve
-- says is logged by itself, on every grant and renewal, and comes back here.
CREATE OR REPLACE FUNCTION monban.prepare(ttl bigint) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
  r monban.reserve;
  e monban.epoch;
  moment bigint;
  margin CONSTANT bigint := 5000000;
  need CONSTANT bigint := least(ttl, monban.unlogged());
BEGIN
  PERFORM pg_catalog.set_config('synchronous_commit', 'on', true); -- whatever the database's setting: it is what the promise rests on
  PERFORM pg_catalog.set_config('lock_timeout', '2s', true);
  SELECT * INTO STRICT r FROM monban.reserve FOR UPDATE;
  SELECT * INTO e FROM monban.epoch;
  moment := monban.now();
  IF FOUND AND moment + need + margin / 5 <= e.until THEN
    RETURN; -- somebody else has done it while this one waited for the row
  ELSIF NOT FOUND THEN
    e.opens := greatest(r.until, moment);
    e.floor := r.ceiling;
    e.until := 0;
    e.ceiling := 0;
    INSERT INTO monban.epoch (opens, until, ceiling, floor, swept) VALUES (e.opens, 0, 0, e.floor, moment);
    INSERT INTO monban.head (key, fence, since, expires, lingers, holder, claimant)
      SELECT key, fence, since, expires, true, id, claimant FROM monban.linger WHERE expires > moment ON CONFLICT DO NOTHING;
    INSERT INTO monban.head (key, fence, since, expires, logged, holder, claimant)
      SELECT key, fence, since, expires, true, id, claimant FROM monban.lasting WHERE slots = 0 AND expires > moment
      ON CONFLICT DO NOTHING;
    -- Of keys that are shared, or have permits, the last fence is not known; the floor is above it.
    WITH made AS (
      INSERT INTO monban.head (key, fence, place, crowd)
        SELECT key, e.floor, count(*), true FROM monban.lasting WHERE slots <> 0 AND expires > moment GROUP BY key
        ON CONFLICT DO NOTHING RETURNING key
    )
    INSERT INTO monban.claim (place, since, expires, takes, slots, fence, seat, held, listens, logged, key, id, claimant)
      SELECT row_number() OVER (PARTITION BY l.key ORDER BY l.since, l.id), l.since, l.expires, l.takes, l.slots, l.fence, l.seat,
        true, false, true, l.key, l.id, l.claimant
      FROM monban.lasting AS l JOIN made ON made.key = l.key WHERE l.slots <> 0 AND l.expires > moment;
  END IF;
  -- A quarter of the TTL ahead, so that it is seldom done; and the reserve is further than what is used of it by a margin.
  -- A standby that is promoted without the last raise of it knows too little: only a synchronous one is safe.
  e.until := greatest(e.until, moment + need + greatest(need / 4, margin));
  -- Fences are about what the clock shows, or the floor: a day of them more than any claim needs that may be asked for.
  e.ceiling := greatest(e.ceiling, greatest(e.until, e.floor) + 86400000000);
  UPDATE monban.reserve SET until = greatest(r.until, e.until + margin), ceiling = greatest(r.ceiling, e.ceiling);
  UPDATE monban.epoch SET until = e.until, ceiling = e.ceiling;
END $$;

-- Removes what is left of keys that are not used any more; at most once a minute whoever asks, and so many at a time.
--
-- A head is removed when its fence is not above the `floor` that an earlier sweep, at least a minute before, has made
-- known: whoever finds the head missing has read that floor, or a higher one, and begins above it. The floor follows the clock; after
-- a crash, which puts it a day ahead, it follows the fences of those that are idle, or none of them would go for that day.
CREATE OR REPLACE FUNCTION monban.sweep(most integer) RETURNS integer LANGUAGE plpgsql AS $$
DECLARE
  e monban.epoch;
  k bytea;
  moment bigint := monban.now();
  idle CONSTANT bigint := 60000000;
  removed integer;
BEGIN
  SELECT * INTO e FROM monban.epoch FOR UPDATE SKIP LOCKED;
  IF NOT FOUND OR moment < e.swept + idle THEN
    RETURN -1;
  END IF;
  FOR k IN SELECT key FROM monban.claim WHERE expires < moment - idle
      UNION SELECT key FROM monban.head WHERE crowd AND holder IS NOT NULL AND expires < moment - idle LIMIT 1000 LOOP
    IF monban.grip(k, false) THEN
      PERFORM monban.settle(k, moment, NULL);
    END IF;
  END LOOP;
  DELETE FROM monban.head WHERE key IN (
    SELECT key FROM monban.head WHERE NOT crowd AND fence <= e.floor AND (holder IS NULL OR expires < moment - idle)
    LIMIT most FOR UPDATE SKIP LOCKED);
  GET DIAGNOSTICS removed = ROW_COUNT;
  DELETE FROM monban.linger WHERE expires < moment - idle;
  DELETE FROM monban.lasting WHERE expires < moment - idle;
  -- Not while the next sweep follows at once: the floor that it goes by is to be known for a minute. And no further than the
  -- reserve reaches, wherever the clock has been.
  IF removed < most THEN
    UPDATE monban.epoch SET swept = moment, floor = greatest(floor, least(moment, until) - idle, CASE WHEN floor > moment THEN
      (SELECT max(fence) FROM monban.head WHERE NOT crowd AND (holder IS NULL OR expires < moment - idle)) END);
  END IF;
  RETURN removed;
END $$;
