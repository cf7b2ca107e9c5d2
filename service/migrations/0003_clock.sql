-- Whether the sync point of a newcomer is by the clock of this service, because his mail server's was not known.

ALTER TABLE users ADD COLUMN sync_by_our_clock INTEGER NOT NULL DEFAULT 0;
UPDATE users SET sync_by_our_clock = 1 WHERE unread IS NULL AND told = x'';
