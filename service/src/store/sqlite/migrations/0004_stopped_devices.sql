-- A stop is for the devices that are there when it is asked for: each until it registers again.

ALTER TABLE devices ADD COLUMN stopped INTEGER NOT NULL DEFAULT 0;
UPDATE devices SET stopped = 1 WHERE user IN (SELECT key FROM users WHERE stopped = 1);
ALTER TABLE users DROP COLUMN stopped;
