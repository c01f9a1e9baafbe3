-- The line of one key. Whoever calls these has locked the key's head FOR NO KEY UPDATE.

CREATE OR REPLACE FUNCTION monban.now() RETURNS bigint LANGUAGE sql VOLATILE AS
$$ SELECT (pg_catalog.date_part('epoch', pg_catalog.clock_timestamp()) * 1000000::double precision)::bigint $$;

-- For how long a claim may hold without being logged: see `prepare`.
CREATE OR REPLACE FUNCTION monban.unlogged() RETURNS bigint LANGUAGE sql IMMUTABLE AS $$ SELECT 60000000::bigint $$;

-- Tells a waiter something: `g` it was granted (with its fence and seat), `a` it is worth asking again, `l` it was freed by hand.
-- Every process has a channel of its own, named by the first eight bytes of its claims.
CREATE OR REPLACE FUNCTION monban.tell(what text, id bytea, more text) RETURNS void LANGUAGE sql VOLATILE AS
$$ SELECT pg_catalog.pg_notify('monban_' || pg_catalog.encode(pg_catalog.substr(id, 1, 8), 'hex'),
                               what || pg_catalog.encode(id, 'hex') || more) $$;

-- An answer as a text: what, fence, seat, ahead, held, free, who.
CREATE OR REPLACE FUNCTION monban.said(a monban.answer) RETURNS text LANGUAGE sql STABLE AS
$$ SELECT pg_catalog.concat(a.what, ':', a.fence, ':', a.seat, ':', a.ahead, ':', a.held, ':', a.free, ':', a.who) $$;

-- Writes down a claim that holds beyond the reserve, or holds on: its lease must not be answered before that is on the disk.
CREATE OR REPLACE FUNCTION monban.note(
  k bytea, mine bytea, weight bigint, capacity bigint, by bigint, chair integer, began bigint, ends bigint, who text
) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
  PERFORM pg_catalog.set_config('synchronous_commit', 'on', true); -- as in `prepare`
  INSERT INTO monban.lasting AS l (key, id, takes, slots, fence, seat, since, expires, claimant)
    VALUES (k, mine, weight, capacity, by, chair, began, ends, who)
    ON CONFLICT (key, id) DO UPDATE SET (takes, slots, fence, seat, since, expires, claimant) =
      (excluded.takes, excluded.slots, excluded.fence, excluded.seat, excluded.since, excluded.expires, excluded.claimant);
END $$;

-- Strikes it out. That has to be on the disk too: one that was freed by hand and came back after a crash would be renewed
-- beside whoever was granted the key since.
CREATE OR REPLACE FUNCTION monban.strike(k bytea, mine bytea) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
  DELETE FROM monban.lasting WHERE key = k AND id = mine;
  IF FOUND THEN
    PERFORM pg_catalog.set_config('synchronous_commit', 'on', true);
  END IF;
END $$;

-- Lets time pass: the dead leave, and those whose turn it is are granted, and told unless they are the one who asks (`mine`).
-- False if somebody's turn has come who may not be granted yet: a transaction that has checked a fence is still open,
-- the epoch is not, or the fences in reserve are used up. Whoever is the first to wait is told to ask then, if nobody asks.
CREATE OR REPLACE FUNCTION monban.settle(k bytea, moment bigint, mine bytea) RETURNS boolean LANGUAGE plpgsql AS $$
DECLARE
  h monban.head;
  c monban.claim;
  e monban.epoch;
  capacity bigint;
  used bigint := 0;
  minted bigint;
  chair integer;
  asked boolean := false;
  able boolean := true;
BEGIN
  SELECT * INTO h FROM monban.head WHERE key = k;
  IF h.holder IS NOT NULL AND h.expires <= moment THEN
    h.holder := NULL;
    h.lingers := false;
    h.logged := false;
    IF NOT h.crowd THEN
      UPDATE monban.head SET holder = NULL, lingers = false, logged = false WHERE key = k;
    END IF;
  END IF;
  IF NOT h.crowd THEN
    RETURN true;
  END IF;
  DELETE FROM monban.claim WHERE key = k AND place >= h.low AND expires <= moment;
  IF h.holder IS NULL THEN
    SELECT greatest(max(slots), 1) INTO capacity FROM monban.claim WHERE key = k AND place >= h.low;
    FOR c IN SELECT * FROM monban.claim WHERE key = k AND place >= h.low ORDER BY place LOOP
      used := used + CASE c.slots WHEN 0 THEN capacity ELSE c.takes END;
      EXIT WHEN used > capacity; -- whoever stands behind has this one's weight before him too
      CONTINUE WHEN c.held;
      IF NOT asked THEN
        asked := true;
        PERFORM FROM monban.head WHERE key = k FOR UPDATE SKIP LOCKED;
        able := FOUND;
        SELECT * INTO e FROM monban.epoch;
        able := able AND FOUND AND moment >= e.opens;
      END IF;
      minted := greatest(h.fence + 1, moment, e.floor + 1);
      able := able AND minted <= e.ceiling;
      IF NOT able THEN
        IF mine IS NULL AND c.listens THEN
          PERFORM monban.tell('a', c.id, '');
        END IF;
        EXIT;
      END IF;
      -- A share is given none, and uses one up all the same: then whoever had the key for himself before has the last no more.
      h.fence := minted;
      chair := NULL;
      IF c.slots = 0 THEN
        DELETE FROM monban.claim WHERE key = k AND place = c.place;
        h.holder := c.id;
        h.since := moment;
        h.expires := c.expires;
        h.claimant := c.claimant;
        h.logged := c.expires > e.until;
        IF h.logged THEN
          PERFORM monban.note(k, c.id, 0, 0, minted, NULL, moment, c.expires, c.claimant);
        END IF;
      ELSE
        c.fence := NULL;
        IF c.slots <> 4294967295 THEN
          c.fence := minted;
          -- The lowest seat that nobody has: 0, or one above a seat that is taken.
          SELECT min(free) INTO chair FROM (
            SELECT 0 AS free UNION ALL
            SELECT seat + 1 FROM monban.claim WHERE key = k AND place >= h.low AND seat IS NOT NULL) AS s
          WHERE NOT EXISTS (SELECT FROM monban.claim WHERE key = k AND place >= h.low AND seat = s.free);
        END IF;
        UPDATE monban.claim SET held = true, fence = c.fence, seat = chair, since = moment, logged = c.expires > e.until
          WHERE key = k AND place = c.place;
        IF c.expires > e.until THEN
          PERFORM monban.note(k, c.id, c.takes, c.slots, c.fence, chair, moment, c.expires, c.claimant);
        END IF;
      END IF;
      IF c.listens AND c.id IS DISTINCT FROM mine THEN
        PERFORM monban.tell('g', c.id, ':' || minted::text || ':' || coalesce(chair, -1)::text);
      END IF;
    END LOOP;
  END IF;
  SELECT min(place) INTO used FROM monban.claim WHERE key = k AND place >= h.low;
  UPDATE monban.head SET low = coalesce(used, place + 1), fence = h.fence, holder = h.holder, since = h.since, expires = h.expires, lingers = h.lingers,
    logged = h.logged, claimant = h.claimant, crowd = used IS NOT NULL
  WHERE key = k;
  RETURN able;
END $$;
