-- Checks a fence inside the caller's own transaction: `SELECT monban.fence_check('account:1', 42)`.
--
-- Fails with SQLSTATE MB001 unless this fence is that of the last grant of the key, shares included (or of a claim that holds
-- permits), and bars further grants until the transaction has ended: who waits goes on waiting, renewal and release are not
-- held up. So nothing that a later holder did, or a later reader saw, is ever overwritten by this transaction, whatever
-- became of the lease meanwhile.
--
-- Why it is enough. Every grant locks the head row FOR UPDATE and raises its fence there; the check locks it FOR KEY SHARE
-- and reads the fence of the locked version, whatever the isolation level: under REPEATABLE READ a head that has changed
-- since the snapshot is an error 40001, and the transaction is to be repeated. A head that was removed as idle, or lost in a
-- crash, is an error too: then nothing is known of later grants.
--
-- It bars grants, so it is not everybody's, as functions are when they are made. Only when it is made: what an administrator grants
-- stays. An empty one is made first, since rights that the database gives to whatever is made (ALTER DEFAULT PRIVILEGES) leave no
-- trace of whether anybody has granted this one.
DO $$ BEGIN
  IF pg_catalog.to_regprocedure('monban.fence_check(bytea, bigint)') IS NULL THEN
    CREATE FUNCTION monban.fence_check(key bytea, fence bigint) RETURNS void LANGUAGE plpgsql AS 'BEGIN END';
    REVOKE EXECUTE ON FUNCTION monban.fence_check(bytea, bigint) FROM PUBLIC;
  END IF;
END $$;

CREATE OR REPLACE FUNCTION monban.fence_check(key bytea, fence bigint) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_column
DECLARE
  last bigint;
  name text := encode($1, 'escape');
BEGIN
  SELECT h.fence INTO last FROM monban.head AS h WHERE h.key = $1 FOR KEY SHARE;
  IF last IS NULL THEN
    RAISE EXCEPTION 'monban knows of no grant of % any more, so its fence % is not valid', name, $2 USING ERRCODE = 'MB001';
  ELSIF last IS DISTINCT FROM $2 AND NOT EXISTS (SELECT FROM monban.claim AS c WHERE c.key = $1 AND c.held AND c.fence = $2) THEN
    RAISE EXCEPTION 'fence % of % is not valid: it was granted anew, with fence %', $2, name, last USING ERRCODE = 'MB001';
  END IF;
END $$;

CREATE OR REPLACE FUNCTION monban.fence_check(key text, fence bigint) RETURNS void LANGUAGE sql AS
$$ SELECT monban.fence_check(pg_catalog.convert_to($1, 'UTF8'), $2) $$;

-- The same by a name that needs no schema before it, where there is a schema `public` and whoever runs this may add to it. It runs
-- as its caller, who needs the right to the other one. Where others may add to `public`, they can have one of this name too, which
-- accepts whatever it is told: `strangers.sql` looks for it, and who writes `monban.fence_check` does not call it.
DO $$ BEGIN
  CREATE OR REPLACE FUNCTION public.monban_fence_check(key bytea, fence bigint) RETURNS void LANGUAGE sql AS
    'SELECT monban.fence_check($1, $2)';
  CREATE OR REPLACE FUNCTION public.monban_fence_check(key text, fence bigint) RETURNS void LANGUAGE sql AS
    'SELECT monban.fence_check($1, $2)';
EXCEPTION WHEN insufficient_privilege OR invalid_schema_name OR invalid_function_definition OR wrong_object_type THEN
  RAISE NOTICE 'there is no monban_fence_check outside the schema monban: write monban.fence_check';
END $$;
