-- Asks for claims: joins their lines, or asks again for those that are there.
--
-- First all at once the claims of keys that nobody has, stands in line for, or was in line for a moment ago: one statement
-- for all if they are exclusive and of different keys (`plain`). Then the others one after the other, in the order of the
-- keys, so that no two transactions wait for each other. No row that is locked is waited for, unless there is but one
-- claim and `patient` says so: one key must not hold up the others. What is locked is answered with x.

CREATE OR REPLACE FUNCTION monban.attempt(
  keys bytea[], ids bytea[], takes bigint[], slots bigint[], ttls bigint[], queues boolean[], claimants text[],
  listens boolean, plain boolean, patient boolean
) RETURNS SETOF monban.answer LANGUAGE plpgsql AS $$
#variable_conflict use_column
DECLARE
  e monban.epoch;
  a monban.answer;
  moment bigint := monban.now();
  bound CONSTANT bigint := monban.unlogged();
  count integer := pg_catalog.cardinality(keys);
  done boolean[];
  i integer;
BEGIN
  SELECT * INTO e FROM monban.epoch;
  IF NOT FOUND OR moment + least((SELECT max(t) FROM pg_catalog.unnest(ttls) AS t), bound) > e.until THEN
    FOR i IN 1..count LOOP
      a.at := i;
      a.what := 'e';
      RETURN NEXT a;
    END LOOP;
    RETURN;
  END IF;
  IF plain AND moment >= e.opens THEN
    FOR a.at, a.fence IN
      WITH asked AS MATERIALIZED (
        SELECT * FROM unnest(keys, ids, ttls, claimants) WITH ORDINALITY AS u(key, id, ttl, claimant, at)
        WHERE moment + ttl <= e.until
      ), free AS MATERIALIZED (
        SELECT h.ctid AS spot, greatest(h.fence + 1, moment, e.floor + 1) AS next, u.*
        FROM asked AS u, LATERAL (
          SELECT h.ctid, h.fence FROM monban.head AS h WHERE h.key = u.key AND NOT h.crowd
            AND (h.holder IS NULL OR h.expires <= moment) FOR UPDATE SKIP LOCKED) AS h
      )
      UPDATE monban.head AS h SET fence = f.next, since = moment, expires = moment + f.ttl, lingers = false, logged = false,
        holder = f.id, claimant = f.claimant
      FROM free AS f WHERE h.ctid = f.spot AND f.next <= e.ceiling
      RETURNING f.at, h.fence
    LOOP
      a.what := 'g';
      done[a.at] := true;
      RETURN NEXT a;
    END LOOP;
  END IF;
  FOR i IN SELECT at FROM pg_catalog.unnest(keys) WITH ORDINALITY AS u(key, at) WHERE done[at] IS NULL ORDER BY key, at LOOP
    a := monban.ask(keys[i], ids[i], takes[i], slots[i], moment, ttls[i], queues[i], claimants[i], listens, patient, e);
    a.at := i;
    RETURN NEXT a;
  END LOOP;
END $$;

-- As `attempt` for one claim that wants the key for itself: by far the most frequent, and mostly the key is free, or somebody
-- has it and the line behind him is in order. A statement costs more than what it does here, and a row with arrays more than a text:
-- so there is one look at both rows, and one statement for what follows. The answer is what `monban.said` makes of one.
CREATE OR REPLACE FUNCTION monban.attempt_one(k bytea, mine bytea, ttl bigint, queue boolean, who text, hears boolean)
RETURNS text LANGUAGE plpgsql AS $$
#variable_conflict use_column
DECLARE
  e monban.epoch;
  r record;
  moment bigint := monban.now();
  next bigint;
  ahead bigint := 0;
  waits bigint;
  fits boolean := true;
BEGIN
  SELECT h.ctid AS spot, h.fence, h.place, h.low, h.since, h.expires, h.crowd, h.lingers, h.holder, h.claimant,
    e.opens, e.until, e.ceiling, e.floor
    INTO r FROM monban.epoch AS e, monban.head AS h WHERE h.key = k FOR UPDATE OF h SKIP LOCKED;
  IF FOUND AND moment + ttl <= r.until AND moment >= r.opens THEN
    IF NOT r.crowd AND (r.holder IS NULL OR r.expires <= moment) THEN
      next := greatest(r.fence + 1, moment, r.floor + 1);
      IF next <= r.ceiling THEN
        UPDATE monban.head AS h SET fence = next, since = moment, expires = moment + ttl, lingers = false, logged = false,
          holder = mine, claimant = who WHERE h.ctid = r.spot;
        RETURN 'g:' || next::text;
      END IF;
    ELSIF r.holder <> mine AND r.expires > moment THEN
      IF r.crowd THEN
        SELECT count(*), max(c.expires), coalesce(bool_and(c.id <> mine AND c.expires > moment), true) INTO ahead, waits, fits
          FROM monban.claim AS c WHERE c.key = k AND c.place >= r.low;
      END IF;
      IF fits THEN
        IF queue THEN
          INSERT INTO monban.claim (place, since, expires, takes, slots, held, listens, key, id, claimant)
            VALUES (r.place + 1, moment, moment + ttl, 0, 0, false, hears, k, mine, who);
          -- The line begins with him if nobody was there: `release_one` looks nowhere else.
          UPDATE monban.head AS h SET place = r.place + 1, low = CASE WHEN r.crowd THEN r.low ELSE r.place + 1 END, crowd = true
            WHERE h.ctid = r.spot;
        END IF;
        -- In the place of a fence, a number that no earlier grant was above.
        RETURN pg_catalog.concat(CASE WHEN r.lingers THEN 'l' ELSE 'h' END, ':', greatest(r.fence, moment), '::', ahead + 1, ':',
          moment - r.since, ':', greatest(waits, r.expires) - moment, ':', r.claimant);
      END IF;
    END IF;
  END IF;
  SELECT * INTO e FROM monban.epoch;
  IF NOT FOUND OR moment + least(ttl, monban.unlogged()) > e.until THEN
    RETURN 'e';
  END IF;
  RETURN monban.said(monban.ask(k, mine, 0, 0, moment, ttl, queue, who, hears, true, e));
END $$;

CREATE OR REPLACE FUNCTION monban.ask(
  k bytea, mine bytea, weight bigint, capacity bigint, moment bigint, ttl bigint, queue boolean, who text, hears boolean,
  patient boolean, e monban.epoch
) RETURNS monban.answer LANGUAGE plpgsql AS $$
#variable_conflict use_column
DECLARE
  a monban.answer;
  h monban.head;
  c monban.claim;
  there bigint;
  used bigint;
  waits bigint;
  fits boolean;
  able boolean;
  lasts boolean := moment + ttl > e.until;
BEGIN
  IF patient THEN
    PERFORM pg_catalog.set_config('lock_timeout', '50ms', true);
    SELECT * INTO h FROM monban.head WHERE key = k FOR NO KEY UPDATE;
  ELSE
    SELECT * INTO h FROM monban.head WHERE key = k FOR NO KEY UPDATE SKIP LOCKED;
    IF NOT FOUND THEN
      -- Inserting would wait for whoever writes the row.
      PERFORM FROM monban.head WHERE key = k;
      IF FOUND THEN
        a.what := 'x';
        RETURN a;
      END IF;
    END IF;
  END IF;
  IF h.key IS NULL THEN
    -- Of a new key: mostly it is granted at once.
    there := greatest(moment, e.floor + 1);
    IF capacity = 0 AND moment >= e.opens AND there <= e.ceiling THEN
      INSERT INTO monban.head (key, fence, since, expires, logged, holder, claimant)
        VALUES (k, there, moment, moment + ttl, lasts, mine, who) ON CONFLICT DO NOTHING;
      IF FOUND THEN
        IF lasts THEN
          PERFORM monban.note(k, mine, 0, 0, there, NULL, moment, moment + ttl, who);
        END IF;
        a.what := 'g';
        a.fence := there;
        RETURN a;
      END IF;
    ELSE
      INSERT INTO monban.head (key, fence) VALUES (k, e.floor) ON CONFLICT DO NOTHING;
    END IF;
    IF NOT FOUND THEN
      a.what := 'x';
      RETURN a;
    END IF;
  END IF;
  able := monban.settle(k, moment, mine);
  SELECT * INTO h FROM monban.head WHERE key = k;
  IF h.holder = mine THEN
    IF capacity <> 0 THEN
      a.what := 'm';
      RETURN a;
    END IF;
    IF NOT h.lingers THEN
      UPDATE monban.head SET expires = moment + ttl, logged = logged OR lasts WHERE key = k;
      IF lasts THEN
        PERFORM monban.note(k, mine, 0, 0, h.fence, NULL, h.since, moment + ttl, h.claimant);
      END IF;
      a.what := 'g';
      a.fence := h.fence;
      RETURN a;
    END IF;
    a.what := 'l';
    a.fence := greatest(h.fence, moment);
    a.ahead := 0;
    a.held := moment - h.since;
    a.free := h.expires - moment;
    a.who := h.claimant;
    RETURN a;
  END IF;
  IF h.crowd THEN
    SELECT * INTO c FROM monban.claim WHERE key = k AND place >= h.low AND id = mine;
  END IF;
  IF c.id IS NOT NULL THEN
    IF c.slots <> capacity OR c.takes <> weight THEN
      a.what := 'm';
      RETURN a;
    END IF;
    UPDATE monban.claim SET expires = moment + ttl, listens = hears, logged = logged OR held AND lasts
      WHERE key = k AND place = c.place;
    IF c.held AND lasts THEN
      PERFORM monban.note(k, mine, c.takes, c.slots, c.fence, c.seat, c.since, moment + ttl, c.claimant);
    END IF;
  ELSE
    fits := h.holder IS NULL;
    IF h.crowd THEN
      SELECT max(slots), sum(takes), bool_and(held) AND capacity <> 0 AND fits INTO there, used, fits
        FROM monban.claim WHERE key = k AND place >= h.low;
      IF capacity <> 0 AND there <> 0 AND there <> capacity THEN
        a.what := 'c';
        a.fence := there;
        RETURN a;
      END IF;
      fits := fits AND used + weight <= capacity;
    END IF;
    c.place := h.place + 1;
    IF queue OR fits THEN
      INSERT INTO monban.claim (place, since, expires, takes, slots, held, listens, key, id, claimant)
        VALUES (c.place, moment, moment + ttl, weight, capacity, false, hears, k, mine, who);
      UPDATE monban.head SET place = c.place, crowd = true WHERE key = k;
    END IF;
    IF fits THEN
      able := monban.settle(k, moment, mine);
      SELECT * INTO h FROM monban.head WHERE key = k;
      IF h.holder = mine THEN
        a.what := 'g';
        a.fence := h.fence;
        RETURN a;
      END IF;
      SELECT * INTO c FROM monban.claim WHERE key = k AND place >= h.low AND id = mine;
      IF NOT c.held AND NOT queue THEN
        DELETE FROM monban.claim WHERE key = k AND place = c.place;
        UPDATE monban.head SET crowd = EXISTS (SELECT FROM monban.claim WHERE key = k AND place >= h.low) WHERE key = k;
      END IF;
    END IF;
  END IF;
  IF c.held THEN
    a.what := 'g';
    a.fence := c.fence;
    a.seat := c.seat;
    RETURN a;
  END IF;
  -- Busy: who is ahead, and when silence alone would let this claim in; and a number that no earlier grant was above.
  a.fence := greatest(h.fence, moment);
  SELECT count(*), sum(takes) FILTER (WHERE held), min(expires) FILTER (WHERE held), max(expires) FILTER (WHERE NOT held)
    INTO a.ahead, used, a.free, waits FROM monban.claim WHERE key = k AND place >= h.low AND place < c.place;
  IF h.holder IS NOT NULL THEN
    a.ahead := a.ahead + 1;
    a.what := CASE WHEN h.lingers THEN 'l' ELSE 'h' END;
    a.held := moment - h.since;
    a.who := h.claimant;
    a.free := h.expires;
  ELSIF a.ahead > 0 THEN
    a.what := CASE WHEN used > 0 AND (capacity = 0 OR used + weight > capacity) THEN 'h' ELSE 'q' END;
    SELECT moment - since, claimant INTO a.held, a.who FROM monban.claim WHERE key = k AND place >= h.low ORDER BY place LIMIT 1;
  END IF;
  -- Of a key that nobody holds, why its turn does not help whose it is: all keys are closed, or a transaction bars this one.
  IF a.what IS NULL OR a.what = 'q' THEN
    a.what := CASE WHEN moment < e.opens THEN 'r' WHEN NOT able THEN 'b' ELSE 'q' END;
  END IF;
  IF waits IS NOT NULL THEN
    a.free := greatest(waits, CASE WHEN h.holder IS NOT NULL THEN h.expires END);
  END IF;
  IF moment < e.opens THEN
    a.free := CASE a.what WHEN 'r' THEN e.opens ELSE greatest(a.free, e.opens) END;
  END IF;
  a.free := greatest(a.free - moment, 0);
  IF NOT able AND moment >= e.opens THEN
    a.free := 25000; -- a transaction that has checked a fence tells nobody when it ends
  END IF;
  RETURN a;
END $$;
