-- When a user was registered, by the clock of this service, as long as nobody has looked into his mailbox. The sync point is
-- by his mail server's clock, and zero as long as that is not known.

ALTER TABLE users ADD COLUMN began_ms INTEGER;
UPDATE users SET began_ms = sync_point_ms, sync_point_ms = 0 WHERE unread IS NULL AND told = x'' AND sync_point_ms > 0;
