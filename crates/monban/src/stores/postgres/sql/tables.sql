-- What monban keeps in a database, format 1. Running it again changes nothing.
--
-- Times are microseconds of the server's clock since 1970. What lives for seconds is in UNLOGGED tables: a transaction
-- that wrote to nothing else does not wait for the disk, and does not burden the log. They keep their rows over an orderly
-- restart and are empty after a crash, and on a standby that was promoted. Nobody may be granted then what somebody may
-- still hold, so a row of a logged table tells how far the past can reach:
--
-- * `reserve`, one row, logged. No claim that is logged nowhere holds beyond `until`, no fence is given beyond `ceiling`,
--   before this row says so on the disk (`prepare` raises both, ahead of need, and `until` a minute and a quarter at most).
-- * `lasting`, logged: claims that hold beyond `until`, since their TTL is longer than a minute. They are restored with the
--   epoch, and bar nothing but their own keys. `logged` in `head` and `claim` says that a claim stands there too.
-- * `epoch`, one row, unlogged: the same numbers for those who ask often. When it is missing, everything was lost; it is
--   made anew with `opens`, before which nothing is granted, at the old `until`, and `floor`, above which fences begin, at the
--   old `ceiling`.
-- * `head`, a row for each key in use, and for some minutes afterwards: the last fence, and the exclusive holder.
--   A verb locks it FOR NO KEY UPDATE; a grant locks it FOR UPDATE; `monban_fence_check` locks it FOR KEY SHARE, which bars
--   grants and nothing else.
-- * `claim`: those who wait, share or have permits, in the order of `place`. `crowd` in the head says whether there may be any: not,
--   when it is false.
--   `slots` is the capacity that a claim wants (0: exclusive, 4294967295: a share), `takes` what it takes of it.
--   Nobody stands before `low`: whoever looks begins there, and not among the many who have left and are not vacuumed yet.
-- * `linger`, logged: places that are kept with no owner. Their copies in `head` are restored with the epoch.
--
-- What is in the tables is of one format, which `reserve` names. The functions have versions beside (`monban.version()`):
-- within a format, programs of both versions work with either functions, and the later ones stay.

-- Whoever runs this may be a superuser, and the names here are to be no stranger's.
SET LOCAL search_path = pg_catalog, pg_temp;

DO $$ BEGIN
  -- Before anything else, so that who comes second waits here, and the functions of a later monban are left as they are.
  PERFORM pg_catalog.set_config('lock_timeout', '0', true), pg_catalog.pg_advisory_xact_lock(7881702167011291749);
  IF pg_catalog.to_regprocedure('monban.version()') IS NOT NULL THEN
    IF monban.version() > 1 THEN
      RAISE EXCEPTION 'the functions of monban in this database are of version %, and these of version 1', monban.version()
        USING HINT = 'Nothing is to be done: programs of an earlier monban work with them.';
    END IF;
  END IF;
  -- One who may not make a schema may own this one.
  IF pg_catalog.to_regnamespace('monban') IS NULL THEN
    CREATE SCHEMA monban;
  END IF;
END $$;

CREATE TABLE IF NOT EXISTS monban.reserve (
  one boolean PRIMARY KEY DEFAULT true CHECK (one),
  format integer NOT NULL,
  until bigint NOT NULL,
  ceiling bigint NOT NULL
);

CREATE UNLOGGED TABLE IF NOT EXISTS monban.epoch (
  one boolean PRIMARY KEY DEFAULT true CHECK (one),
  opens bigint NOT NULL,
  until bigint NOT NULL,
  ceiling bigint NOT NULL,
  floor bigint NOT NULL,
  swept bigint NOT NULL
);

-- Half of each page is left free, so that a new version of a row finds room beside the old one (HOT).
CREATE UNLOGGED TABLE IF NOT EXISTS monban.head (
  fence bigint NOT NULL,
  place bigint NOT NULL DEFAULT 0,
  low bigint NOT NULL DEFAULT 0,
  since bigint NOT NULL DEFAULT 0,
  expires bigint NOT NULL DEFAULT 0,
  crowd boolean NOT NULL DEFAULT false,
  lingers boolean NOT NULL DEFAULT false,
  logged boolean NOT NULL DEFAULT false,
  key bytea PRIMARY KEY,
  holder bytea,
  claimant text
) WITH (fillfactor = 50, autovacuum_vacuum_scale_factor = 0.1, autovacuum_vacuum_cost_delay = 0);

CREATE UNLOGGED TABLE IF NOT EXISTS monban.claim (
  place bigint NOT NULL,
  since bigint NOT NULL,
  expires bigint NOT NULL,
  takes bigint NOT NULL,
  slots bigint NOT NULL,
  fence bigint,
  seat integer,
  held boolean NOT NULL,
  listens boolean NOT NULL,
  logged boolean NOT NULL DEFAULT false,
  key bytea NOT NULL,
  id bytea NOT NULL,
  claimant text NOT NULL,
  PRIMARY KEY (key, place)
) WITH (fillfactor = 70, autovacuum_vacuum_scale_factor = 0.1, autovacuum_vacuum_cost_delay = 0);

CREATE TABLE IF NOT EXISTS monban.lasting (
  key bytea NOT NULL,
  id bytea NOT NULL,
  takes bigint NOT NULL,
  slots bigint NOT NULL,
  fence bigint,
  seat integer,
  since bigint NOT NULL,
  expires bigint NOT NULL,
  claimant text NOT NULL,
  PRIMARY KEY (key, id)
);

CREATE TABLE IF NOT EXISTS monban.linger (
  key bytea PRIMARY KEY,
  id bytea NOT NULL,
  fence bigint NOT NULL,
  since bigint NOT NULL,
  expires bigint NOT NULL,
  claimant text NOT NULL
);

-- One answer to one claim of a batch, told apart by its place `at` there. `what`: g granted, h held, q queued, l lingering,
-- r nobody is granted anything before the epoch opens, b barred by a transaction that has checked a fence,
-- c in use with the capacity in `fence`, m asked in another mode before, x the row is locked: ask again, e prepare first.
DO $$ BEGIN
  CREATE TYPE monban.answer AS
    (at integer, what "char", fence bigint, seat integer, ahead bigint, held bigint, free bigint, who text);
EXCEPTION WHEN duplicate_object THEN NULL;
END $$;

INSERT INTO monban.reserve (format, until, ceiling) VALUES (1, 0, 0) ON CONFLICT DO NOTHING;
