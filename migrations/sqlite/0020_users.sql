-- Users, their sessions in browsers, and their API tokens.
--
-- Sessions and tokens are found by the SHA-256 digest of a random value of 256 bits, which cannot be
-- guessed; the value itself is not stored. Passwords are stored as Argon2id hashes (PHC strings).
CREATE TABLE users (
    id                  TEXT PRIMARY KEY,
    name                TEXT NOT NULL COLLATE NOCASE UNIQUE,
    kind                TEXT NOT NULL CHECK (kind IN ('person', 'service')),
    role                TEXT NOT NULL,
    permissions         TEXT NOT NULL DEFAULT '[]',
    password_hash       TEXT,
    disabled            INTEGER NOT NULL DEFAULT 0,
    created_at          TEXT NOT NULL,
    updated_at          TEXT NOT NULL,
    password_changed_at TEXT,
    last_login_at       TEXT
) STRICT;

CREATE TABLE browser_sessions (
    id           TEXT PRIMARY KEY,
    digest       BLOB NOT NULL UNIQUE,
    user_id      TEXT NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    created_at   TEXT NOT NULL,
    last_used_at TEXT NOT NULL,
    expires_at   TEXT NOT NULL,
    address      TEXT,
    client       TEXT
) STRICT;

CREATE INDEX browser_sessions_by_user ON browser_sessions (user_id);

CREATE TABLE api_tokens (
    id           TEXT PRIMARY KEY,
    digest       BLOB NOT NULL UNIQUE,
    user_id      TEXT NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    name         TEXT NOT NULL,
    permissions  TEXT,
    created_at   TEXT NOT NULL,
    expires_at   TEXT NOT NULL,
    last_used_at TEXT,
    last_address TEXT,
    UNIQUE (user_id, name)
) STRICT;

-- The name of the user who submitted the job; absent if authentication was off.
ALTER TABLE jobs ADD COLUMN submitted_by TEXT;
ALTER TABLE schedules ADD COLUMN owner TEXT;
