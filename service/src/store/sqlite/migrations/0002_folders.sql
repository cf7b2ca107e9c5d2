-- What is watched beside the inbox (a JSON list of ids), and up to where each folder was synchronised (a JSON list of
-- pairs: the folder's id or null for the inbox, Exchange's SyncState).

ALTER TABLE users ADD COLUMN folders     TEXT NOT NULL DEFAULT '[]';
ALTER TABLE users ADD COLUMN sync_states TEXT NOT NULL DEFAULT '[]';
