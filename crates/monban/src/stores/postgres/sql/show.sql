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
