-- The live claims of all keys from `low` to before `high` (null: to the end), each line in order. For people and tests; nobody is granted
-- or removed by it, so a claim may be shown as waiting whose turn has come while nobody looked.
CREATE OR REPLACE FUNCTION monban.show(low bytea, high bytea)
RETURNS TABLE (key bytea, id bytea, slots bigint, takes bigint, standing "char", ahead bigint, age bigint, left_ bigint,
               fence bigint, seat integer, claimant text) LANGUAGE sql STABLE AS $$
  WITH clock AS MATERIALIZED (SELECT monban.now() AS moment), line AS (
    SELECT h.key, -1 AS place, h.holder AS id, 0::bigint AS slots, 0::bigint AS takes,
      CASE WHEN h.lingers THEN 'l' ELSE 'h' END::"char" AS standing, h.since, h.expires, h.fence, NULL::integer AS seat, h.claimant
    FROM monban.head AS h, clock WHERE h.holder IS NOT NULL AND h.expires > moment
    UNION ALL
    SELECT c.key, c.place, c.id, c.slots, c.takes, CASE WHEN c.held THEN 'h' ELSE 'w' END::"char", c.since, c.expires, c.fence, c.seat,
      c.claimant
    FROM monban.claim AS c, clock WHERE c.expires > moment
  )
  SELECT l.key, l.id, l.slots, l.takes, l.standing, row_number() OVER (PARTITION BY l.key ORDER BY l.place) - 1, moment - l.since,
    l.expires - moment, l.fence, l.seat, l.claimant
  FROM line AS l, clock WHERE l.key >= low AND (high IS NULL OR l.key < high)
  ORDER BY l.key, l.place
$$;

-- For how long nothing is granted, of any key, after a crash; also if nobody has asked for anything since.
CREATE OR REPLACE FUNCTION monban.opens_in() RETURNS bigint LANGUAGE sql STABLE AS $$
  SELECT greatest(coalesce((SELECT opens FROM monban.epoch), (SELECT until FROM monban.reserve)) - monban.now(), 0)
$$;

-- The keys from `first` to before `beyond` (null: to the end) of which nobody is granted anything before a transaction has ended that has checked their fence:
-- a row for each such transaction. `by` is whose it is, `age` since when it is open, for those who may know, and `ends` what ends it.
--
-- What bars a row is a lock that lets FOR NO KEY UPDATE pass and not FOR UPDATE (`fence.sql`): so both are tried, and let go at once. Not on
-- every row, but where one that locks it may be alive: `xmax` names it, or a list of several (a "multixact"), and lists are numbered apart.
CREATE OR REPLACE FUNCTION monban.barred(first bytea, beyond bytea)
RETURNS TABLE (key bytea, by text, age bigint, ends text) LANGUAGE plpgsql AS $$
#variable_conflict use_column
DECLARE
  k bytea;
  mark xid;
  lockers xid[];
  ours boolean;
  free boolean;
BEGIN
  FOR k IN
    SELECT h.key FROM monban.head AS h
    WHERE h.key >= first AND (beyond IS NULL OR h.key < beyond) AND h.xmax <> '0'::xid
      AND (pg_catalog.mxid_age(h.xmax) > 0
        OR EXISTS (SELECT FROM pg_catalog.pg_locks AS l WHERE l.locktype = 'transactionid' AND l.granted AND l.transactionid = h.xmax))
    ORDER BY h.key
  LOOP
    BEGIN
      PERFORM FROM monban.head AS h WHERE h.key = k FOR NO KEY UPDATE SKIP LOCKED;
      ours := FOUND;
      PERFORM FROM monban.head AS h WHERE h.key = k FOR UPDATE SKIP LOCKED;
      free := FOUND;
      RAISE EXCEPTION 'let go' USING ERRCODE = 'MB002';
    EXCEPTION WHEN SQLSTATE 'MB002' THEN
      CONTINUE WHEN free OR NOT ours;
    WHEN insufficient_privilege THEN
      RETURN; -- who may only read cannot see this
    END;
    SELECT h.xmax INTO mark FROM monban.head AS h WHERE h.key = k;
    BEGIN
      SELECT pg_catalog.array_agg(m.xid) INTO lockers FROM pg_catalog.pg_get_multixact_members(mark) AS m WHERE m.mode = 'keysh';
    EXCEPTION WHEN OTHERS THEN
      lockers := NULL; -- there is no such list
    END;
    -- A list of those who are gone is that of another row.
    IF NOT EXISTS (SELECT FROM pg_catalog.pg_locks WHERE locktype = 'transactionid' AND granted AND transactionid = ANY (lockers)) THEN
      lockers := ARRAY[mark];
    END IF;
    RETURN QUERY
      SELECT k, pg_catalog.concat_ws(', ', CASE WHEN l.pid IS NULL THEN 'a prepared transaction' ELSE 'session ' || l.pid::text END,
          'user ' || coalesce(a.usename::text, p.owner::text), nullif(a.application_name, '')),
        monban.now() - (pg_catalog.date_part('epoch', coalesce(a.xact_start, p.prepared)) * 1000000::double precision)::bigint,
        CASE WHEN l.pid IS NULL THEN 'ROLLBACK PREPARED ' || pg_catalog.quote_literal(p.gid)
          ELSE 'SELECT pg_terminate_backend(' || l.pid::text || ')' END
      FROM pg_catalog.pg_locks AS l
        LEFT JOIN pg_catalog.pg_stat_activity AS a ON a.pid = l.pid
        LEFT JOIN pg_catalog.pg_prepared_xacts AS p ON p.transaction = l.transactionid
      WHERE l.locktype = 'transactionid' AND l.granted AND l.transactionid = ANY (lockers)
      ORDER BY l.pid;
  END LOOP;
END $$;
