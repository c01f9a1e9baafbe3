-- Accepts the fence ?3 for the seat ?2 of the resource ?1 if no higher one has been accepted: changes one row.
-- Otherwise changes none. In a transaction begun with BEGIN IMMEDIATE there is no other writer until its end.
-- An equal fence is the same holder again.
INSERT INTO monban_fence (resource, seat, fence) VALUES (?1, ?2, ?3)
ON CONFLICT (resource, seat) DO UPDATE SET fence = excluded.fence
WHERE monban_fence.fence <= excluded.fence
