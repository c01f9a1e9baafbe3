-- The guard table: for every resource, and every seat of it (-1: the holder of the whole), the highest fence
-- that has written, and how often. Resources are compared by their bytes: case counts, spaces count.
CREATE TABLE IF NOT EXISTS monban_fence (
    resource VARBINARY(255) NOT NULL,
    seat BIGINT NOT NULL,
    fence BIGINT NOT NULL,
    accepted BIGINT NOT NULL DEFAULT 0,
    PRIMARY KEY (resource, seat)
) ENGINE = InnoDB
