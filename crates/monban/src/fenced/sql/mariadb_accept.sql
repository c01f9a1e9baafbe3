-- Accepts the fence if no higher one has been accepted: affects one row, which stays locked until the
-- transaction ends. The counter makes it affect the row for an equal fence too (the same holder again), which
-- MariaDB would otherwise report as no row. The parameters stand in the order (resource, seat, fence).
UPDATE monban_fence
JOIN (SELECT ? AS resource, ? AS seat, ? AS fence) AS shown
  ON monban_fence.resource = shown.resource AND monban_fence.seat = shown.seat
SET monban_fence.fence = shown.fence, monban_fence.accepted = monban_fence.accepted + 1
WHERE monban_fence.fence <= shown.fence
