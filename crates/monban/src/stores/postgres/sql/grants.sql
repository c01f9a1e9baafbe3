-- The version of the functions. It is the last of all, so that functions that are not complete have none: whoever opens the schema
-- compares this number with its own, replaces what is earlier, and leaves what is later.
CREATE OR REPLACE FUNCTION monban.version() RETURNS integer LANGUAGE sql IMMUTABLE AS $$ SELECT 1 $$;

-- What a role needs that locks; it need not own any of this. `app` stands for it:
--
--   GRANT USAGE ON SCHEMA monban TO app;
--   GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA monban TO app;
--
-- What a role needs that checks fences, whether it locks or not: the first of these, and
--
--   GRANT EXECUTE ON FUNCTION monban.fence_check(bytea, bigint) TO app;
