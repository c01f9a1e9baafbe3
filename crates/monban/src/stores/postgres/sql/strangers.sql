-- Refuses to go on beside a function in `public` that has the short name of the check and is neither monban's nor a superuser's, whatever
-- its parameters are: a program that calls it trusts its owner, and a check that accepts every fence is worse than none.
--
-- Not where a database that is in use is opened, or its functions are replaced: locks do not need that name, and whoever
-- may add to `public` would keep everybody from them.
DO $$
DECLARE
  found text;
BEGIN
  SELECT pg_catalog.string_agg(p.oid::pg_catalog.regprocedure::text || ' of the role ' || pg_catalog.pg_get_userbyid(p.proowner)::text, ', ')
    INTO found FROM pg_catalog.pg_proc AS p
    WHERE p.proname = 'monban_fence_check' AND p.pronamespace = pg_catalog.to_regnamespace('public')::pg_catalog.oid
      AND NOT EXISTS (SELECT FROM pg_catalog.pg_roles AS r WHERE r.oid = p.proowner AND r.rolsuper)
      AND p.proowner <> (SELECT o.proowner FROM pg_catalog.pg_proc AS o
        WHERE o.oid = pg_catalog.to_regprocedure('monban.fence_check(bytea, bigint)')::pg_catalog.oid);
  IF found IS NOT NULL THEN
    RAISE EXCEPTION 'the check of fences is not monban''s where it is called monban_fence_check: see why there is %, '
      'DROP FUNCTION it, and apply the schema again', found USING ERRCODE = 'MB003';
  END IF;
END $$;
