-- Keeping claims, and leaving their lines. As in `attempt`: first what holds alone with nobody in line behind it, all at once;
-- then the others one by one. What is answered: k kept, d done, n not there, x locked, e prepare first.

-- Keeps claims that hold by the grant of that fence (shares have none: null); never acquires, and lets who waits alone. It touches
-- the row of the claim, and of a key's head only what a fence check of somebody's transaction does not mind.
CREATE OR REPLACE FUNCTION monban.renew(keys bytea[], ids bytea[], fences bigint[], ttls bigint[], plain boolean, patient boolean)
RETURNS SETOF monban.answer LANGUAGE plpgsql AS $$
#variable_conflict use_column
DECLARE
  e monban.epoch;
  a monban.answer;
  moment bigint := monban.now();
  bound CONSTANT bigint := monban.unlogged();
  done boolean[];
  i integer;
BEGIN
  SELECT * INTO e FROM monban.epoch;
  IF NOT FOUND OR moment + least((SELECT max(t) FROM pg_catalog.unnest(ttls) AS t), bound) > e.until THEN
    FOR i IN 1..pg_catalog.cardinality(keys) LOOP
      a.at := i;
      a.what := 'e';
      RETURN NEXT a;
    END LOOP;
    RETURN;
  END IF;
  a.what := 'k';
  IF plain THEN
    FOR a.at IN
      WITH asked AS MATERIALIZED (
        SELECT * FROM unnest(keys, ids, fences, ttls) WITH ORDINALITY AS u(key, id, fence, ttl, at)
        WHERE moment + ttl <= e.until
      ), ours AS MATERIALIZED (
        SELECT h.ctid AS spot, u.* FROM asked AS u, LATERAL (
          SELECT h.ctid FROM monban.head AS h WHERE h.key = u.key AND h.holder = u.id AND h.fence = u.fence
            AND NOT h.lingers AND h.expires > moment FOR NO KEY UPDATE SKIP LOCKED) AS h
      )
      UPDATE monban.head AS h SET expires = moment + o.ttl FROM ours AS o WHERE h.ctid = o.spot RETURNING o.at
    LOOP
      done[a.at] := true;
      RETURN NEXT a;
    END LOOP;
  END IF;
  FOR i IN SELECT at FROM pg_catalog.unnest(keys) WITH ORDINALITY AS u(key, at) WHERE done[at] IS NULL ORDER BY key, at LOOP
    a.at := i;
    a.what := monban.keep(keys[i], ids[i], fences[i], moment, ttls[i], e.until, patient);
    RETURN NEXT a;
  END LOOP;
END $$;

-- Locks a head; null if somebody else has it locked, false if there is none.
CREATE OR REPLACE FUNCTION monban.grip(k bytea, patient boolean) RETURNS boolean LANGUAGE plpgsql AS $$
BEGIN
  IF patient THEN
    PERFORM pg_catalog.set_config('lock_timeout', '50ms', true);
    PERFORM FROM monban.head WHERE key = k FOR NO KEY UPDATE;
    RETURN FOUND;
  END IF;
  PERFORM FROM monban.head WHERE key = k FOR NO KEY UPDATE SKIP LOCKED;
  IF FOUND THEN
    RETURN true;
  END IF;
  PERFORM FROM monban.head WHERE key = k;
  RETURN CASE WHEN NOT FOUND THEN false END;
END $$;

CREATE OR REPLACE FUNCTION monban.keep(
  k bytea, mine bytea, by bigint, moment bigint, ttl bigint, covered bigint, patient boolean
) RETURNS "char" LANGUAGE plpgsql AS $$
DECLARE
  there boolean := monban.grip(k, patient);
  lasts boolean := moment + ttl > covered;
  h monban.head;
  c monban.claim;
BEGIN
  IF NOT there THEN
    RETURN 'n';
  ELSIF there IS NULL THEN
    RETURN 'x';
  END IF;
  UPDATE monban.head SET expires = moment + ttl, logged = logged OR lasts
    WHERE key = k AND holder = mine AND fence = by AND NOT lingers AND expires > moment
    RETURNING fence, since, claimant INTO h.fence, h.since, h.claimant;
  IF FOUND THEN
    IF lasts THEN
      PERFORM monban.note(k, mine, 0, 0, h.fence, NULL, h.since, moment + ttl, h.claimant);
    END IF;
    RETURN 'k';
  END IF;
  UPDATE monban.claim SET expires = moment + ttl, logged = logged OR lasts
    WHERE key = k AND id = mine AND held AND fence IS NOT DISTINCT FROM by
      AND expires > moment AND place >= (SELECT low FROM monban.head WHERE key = k)
    RETURNING takes, slots, fence, seat, since, claimant INTO c.takes, c.slots, c.fence, c.seat, c.since, c.claimant;
  IF FOUND THEN
    IF lasts THEN
      PERFORM monban.note(k, mine, c.takes, c.slots, c.fence, c.seat, c.since, moment + ttl, c.claimant);
    END IF;
    RETURN 'k';
  END IF;
  RETURN 'n';
END $$;

-- Leaves lines, waiting or holding; or keeps the place for `lingers` with no owner, unless that is null.
CREATE OR REPLACE FUNCTION monban.release(keys bytea[], ids bytea[], lingers bigint[], plain boolean, patient boolean)
RETURNS SETOF monban.answer LANGUAGE plpgsql AS $$
#variable_conflict use_column
DECLARE
  a monban.answer;
  moment bigint := monban.now();
  done boolean[];
  i integer;
BEGIN
  a.what := 'd';
  IF plain THEN
    FOR a.at IN
      WITH asked AS MATERIALIZED (
        SELECT * FROM unnest(keys, ids) WITH ORDINALITY AS u(key, id, at)
      ), ours AS MATERIALIZED (
        SELECT h.ctid AS spot, u.* FROM asked AS u, LATERAL (
          SELECT h.ctid FROM monban.head AS h WHERE h.key = u.key AND h.holder = u.id AND NOT h.crowd
            AND NOT h.lingers AND NOT h.logged AND h.expires > moment FOR NO KEY UPDATE SKIP LOCKED) AS h
      )
      UPDATE monban.head AS h SET holder = NULL FROM ours AS o WHERE h.ctid = o.spot RETURNING o.at
    LOOP
      done[a.at] := true;
      RETURN NEXT a;
    END LOOP;
  END IF;
  FOR i IN SELECT at FROM pg_catalog.unnest(keys) WITH ORDINALITY AS u(key, at) WHERE done[at] IS NULL ORDER BY key, at LOOP
    a.at := i;
    a.what := monban.leave(keys[i], ids[i], moment, lingers[i], patient);
    RETURN NEXT a;
  END LOOP;
END $$;

-- As `release` for one claim that has the key for itself and keeps no place: what a hand-over waits for. A session that hands over
-- does so seldom, and has little of it in its processor's caches: so there are few statements, each of one table and with its row
-- named outright, and what they find goes into variables of their own, not into rows.
CREATE OR REPLACE FUNCTION monban.release_one(k bytea, mine bytea) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
  moment bigint := monban.now();
  spot tid;
  minted bigint;
  lowest bigint;
  crowded boolean;
  opens bigint;
  ceiling bigint;
  covered bigint;
  stood bigint;
  lives bigint;
  hears boolean;
  next bytea;
  who text;
  told text;
BEGIN
  SELECT s.ctid, s.fence + 1, s.low, s.crowd INTO spot, minted, lowest, crowded FROM monban.head AS s
    WHERE s.key = k AND s.holder = mine AND NOT s.lingers AND NOT s.logged AND s.expires > moment FOR UPDATE SKIP LOCKED;
  IF spot IS NOT NULL THEN
    IF NOT crowded THEN
      UPDATE monban.head AS s SET holder = NULL WHERE s.ctid = spot;
      RETURN 'd';
    END IF;
    SELECT greatest(minted, moment, e.floor + 1), e.opens, e.ceiling, e.until INTO minted, opens, ceiling, covered FROM monban.epoch AS e;
    IF moment >= opens AND minted <= ceiling THEN
      -- To the first in line, if he stands where the line begins, lives and wants it for himself, as `settle` would.
      DELETE FROM monban.claim AS c
        WHERE c.key = k AND c.place = lowest AND c.slots = 0 AND NOT c.held AND c.expires > moment AND c.expires <= covered
        RETURNING c.place, c.expires, c.listens, c.id, c.claimant INTO stood, lives, hears, next, who;
      IF stood IS NOT NULL THEN
        -- Whether anybody stands behind him who has joined since is not looked at: `settle` finds out, if nobody does.
        UPDATE monban.head AS s SET fence = minted, low = stood + 1, since = moment, expires = lives, holder = next, claimant = who,
          crowd = s.place > stood WHERE s.ctid = spot;
        IF hears THEN
          told := monban.tell('g', next, ':' || minted::text || ':-1')::text; -- an expression is no statement
        END IF;
        RETURN 'd';
      END IF;
    END IF;
  END IF;
  RETURN monban.leave(k, mine, moment, NULL, true);
END $$;

CREATE OR REPLACE FUNCTION monban.leave(k bytea, mine bytea, moment bigint, lingering bigint, patient boolean)
RETURNS "char" LANGUAGE plpgsql AS $$
DECLARE
  there boolean := monban.grip(k, patient);
  h monban.head;
  c monban.claim;
BEGIN
  IF NOT there THEN
    RETURN 'n';
  ELSIF there IS NULL THEN
    RETURN 'x';
  END IF;
  SELECT * INTO h FROM monban.head WHERE key = k;
  IF h.holder = mine AND h.expires > moment THEN
    IF h.logged THEN
      PERFORM monban.strike(k, mine);
    END IF;
    IF h.lingers THEN
      RETURN 'd'; -- by an earlier release
    ELSIF lingering IS NOT NULL THEN
      PERFORM pg_catalog.set_config('synchronous_commit', 'on', true); -- as in `prepare`: a crash must not forget it
      INSERT INTO monban.linger (key, id, fence, since, expires, claimant)
        VALUES (k, mine, h.fence, moment, moment + lingering, h.claimant)
        ON CONFLICT (key) DO UPDATE SET (id, fence, since, expires, claimant) =
          (excluded.id, excluded.fence, excluded.since, excluded.expires, excluded.claimant);
      UPDATE monban.head SET lingers = true, logged = false, since = moment, expires = moment + lingering WHERE key = k;
      IF h.crowd THEN
        -- Whoever is the first to wait now knows another instant at which it may be free.
        PERFORM monban.tell('a', id, '') FROM
          (SELECT id, listens FROM monban.claim WHERE key = k AND place >= h.low AND expires > moment
            ORDER BY place LIMIT 1) AS first WHERE listens;
      END IF;
      RETURN 'd';
    END IF;
    UPDATE monban.head SET holder = NULL, logged = false WHERE key = k;
  ELSE
    -- One whose turn came with the end of a holder that nobody has looked at is in line still.
    DELETE FROM monban.claim WHERE key = k AND place >= h.low AND id = mine AND expires > moment RETURNING logged INTO c.logged;
    there := FOUND;
    IF c.logged THEN
      PERFORM monban.strike(k, mine);
    END IF;
  END IF;
  PERFORM monban.settle(k, moment, NULL);
  RETURN CASE WHEN there THEN 'd' ELSE 'n' END;
END $$;

-- Frees by hand what a listing showed, lingering or not.
CREATE OR REPLACE FUNCTION monban.evict(k bytea, whose bytea) RETURNS "char" LANGUAGE plpgsql AS $$
DECLARE
  there boolean := monban.grip(k, true);
  moment bigint := monban.now();
BEGIN
  IF NOT there THEN
    RETURN 'n';
  END IF;
  DELETE FROM monban.linger WHERE key = k AND id = whose;
  PERFORM monban.strike(k, whose);
  UPDATE monban.head SET holder = NULL, lingers = false, logged = false WHERE key = k AND holder = whose AND expires > moment;
  IF NOT FOUND THEN
    DELETE FROM monban.claim WHERE key = k AND id = whose AND expires > moment;
  END IF;
  there := FOUND;
  IF there THEN
    PERFORM monban.tell('l', whose, '');
  END IF;
  PERFORM monban.settle(k, moment, NULL);
  RETURN CASE WHEN there THEN 'd' ELSE 'n' END;
END $$;
