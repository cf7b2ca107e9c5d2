-- Users, devices, and what the engine wants kept. Times are milliseconds since 1970. Keys are never used twice.

CREATE TABLE users (
    key             INTEGER PRIMARY KEY AUTOINCREMENT,
    id              TEXT    NOT NULL UNIQUE,
    address         TEXT    NOT NULL,
    exchange        TEXT,
    grouping        TEXT    NOT NULL,
    stopped         INTEGER NOT NULL DEFAULT 0,
    vip_importance  INTEGER NOT NULL DEFAULT 0,
    vip_senders     TEXT    NOT NULL DEFAULT '[]',
    -- The subscription; an anchor without one: there is a record, but no subscription.
    subscription    TEXT,
    anchor          TEXT,
    cookie          TEXT,
    -- How far the mail was dealt with. `told`: 16 bytes a mail (`ToldMail::to_bytes`), oldest first.
    sync_point_ms   INTEGER NOT NULL DEFAULT 0,
    told            BLOB    NOT NULL DEFAULT x'',
    unread          INTEGER
) STRICT;

CREATE TABLE devices (
    key             INTEGER PRIMARY KEY AUTOINCREMENT,
    user            INTEGER NOT NULL REFERENCES users (key) ON DELETE CASCADE,
    id              TEXT    NOT NULL,
    push            TEXT    NOT NULL,
    token           TEXT    NOT NULL,
    topic           TEXT    NOT NULL,
    registered_ms   INTEGER NOT NULL,
    active_ms       INTEGER NOT NULL,
    alerts          INTEGER NOT NULL,
    details         INTEGER NOT NULL,
    badges          INTEGER NOT NULL,
    localized       INTEGER NOT NULL,
    sound           TEXT,
    vip_sound       TEXT,
    -- The badge last accepted, and the notice whose fate is unknown.
    badge           INTEGER,
    unsettled_id    BLOB,
    unsettled_mails INTEGER,
    unsettled_newest BLOB,
    UNIQUE (user, id),
    -- A phone has one owner: whoever registers its token last.
    UNIQUE (token, topic, push)
) STRICT;

-- Provider tokens, sealed with the key beside the database.
CREATE TABLE team_tokens (
    team_id         TEXT    NOT NULL,
    key_id          TEXT    NOT NULL,
    issued_ms       INTEGER NOT NULL,
    sealed          BLOB    NOT NULL,
    PRIMARY KEY (team_id, key_id)
) STRICT, WITHOUT ROWID;

-- How far the engine's journal is stored.
CREATE TABLE journal_positions (
    epoch           INTEGER NOT NULL,
    shard           INTEGER NOT NULL,
    seq             INTEGER NOT NULL,
    PRIMARY KEY (epoch, shard)
) STRICT, WITHOUT ROWID;

-- One row, written to find out whether writing works.
CREATE TABLE probe (
    key             INTEGER PRIMARY KEY CHECK (key = 1),
    probes          INTEGER NOT NULL
) STRICT;

INSERT INTO probe VALUES (1, 0);
