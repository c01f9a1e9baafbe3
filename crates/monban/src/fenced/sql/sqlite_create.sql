-- The guard table: for every resource, and every seat of it (-1: the holder of the whole), the highest fence
-- that has written. One row is one sequence of grants.
CREATE TABLE IF NOT EXISTS monban_fence (
    resource TEXT NOT NULL,
    seat INTEGER NOT NULL,
    fence INTEGER NOT NULL CHECK (fence >= 0),
    PRIMARY KEY (resource, seat)
) WITHOUT ROWID
