-- Makes sure that the row of this seat of the resource is there, with the fence that is shown if it is the
-- first; it decides nothing. The next statement does.
INSERT IGNORE INTO monban_fence (resource, seat, fence) VALUES (?, ?, ?)
