-- What is done now and then, and not by every claim: the reserve is raised ahead of need, the epoch made anew after a
-- crash, and what is left of keys that nobody uses is removed.

-- Makes sure that claims may live until `until`: says so in the reserve first, ahead of need, and makes the epoch anew if it
-- was lost. What is missing in `epoch` by then is missing since a crash: see `tables.sql`.
CREATE OR REPLACE FUNCTION monban.prepare(ttl bigint) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
  r monban.reserve;
  e monban.epoch;
  moment bigint;
  margin CONSTANT bigint := 5000000;
BEGIN
  PERFORM set_config('synchronous_commit', 'on', true); -- whatever the database's setting: it is what the promise rests on
  PERFORM set_config('lock_timeout', '2s', true);
  SELECT * INTO STRICT r FROM monban.reserve FOR UPDATE;
  SELECT * INTO e FROM monban.epoch;
  moment := monban.now();
  IF NOT FOUND THEN
    e.opens := greatest(r.until, moment);
    e.floor := r.ceiling;
    e.until := 0;
    e.ceiling := 0;
    INSERT INTO monban.epoch (opens, until, ceiling, floor, swept) VALUES (e.opens, 0, 0, e.floor, moment);
    INSERT INTO monban.head (key, fence, since, expires, lingers, holder, claimant)
      SELECT key, fence, since, expires, true, id, claimant FROM monban.linger WHERE expires > moment ON CONFLICT DO NOTHING;
  END IF;
  -- A quarter of the TTL ahead, so that it is seldom done; and the reserve is further than what is used of it by a margin.
  -- A standby that is promoted without the last raise of it knows too little: only a synchronous one is safe.
  e.until := greatest(e.until, moment + ttl + greatest(ttl / 4, margin));
  -- Fences are about what the clock shows, or the floor: a day of them more than any claim needs that may be asked for.
  e.ceiling := greatest(e.ceiling, greatest(e.until, e.floor) + 86400000000);
  UPDATE monban.reserve SET until = greatest(r.until, e.until + margin), ceiling = greatest(r.ceiling, e.ceiling);
  UPDATE monban.epoch SET until = e.until, ceiling = e.ceiling;
END $$;

-- Removes what is left of keys that are not used any more; at most once a minute whoever asks, and so many at a time.
--
-- A head is removed when its fence is not above the `floor` that an earlier sweep, at least a minute before, has made
-- known: whoever finds the head missing has read that floor, or a higher one, and begins above it.
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
  -- Not while the next sweep follows at once: the floor that it goes by is to be known for a minute. And no further than the
  -- reserve reaches, wherever the clock has been.
  IF removed < most THEN
    UPDATE monban.epoch SET floor = greatest(floor, least(moment, until) - idle), swept = moment;
  END IF;
  RETURN removed;
END $$;
