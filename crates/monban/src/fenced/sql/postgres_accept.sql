-- Accepts the fence $3 for the seat $2 of the resource $1 if no higher one has been accepted: affects one row.
-- Otherwise affects none. The row stays locked until the transaction ends; whoever comes meanwhile waits, and
-- then compares with what was committed. An equal fence is the same holder again.
INSERT INTO monban_fence AS seen (resource, seat, fence) VALUES ($1, $2, $3)
ON CONFLICT (resource, seat) DO UPDATE SET fence = excluded.fence
WHERE seen.fence <= excluded.fence
