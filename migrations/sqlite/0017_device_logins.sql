-- What is known of the logins to a device: when they were, and which were refused. It survives a restart, so
-- that a restart in a loop locks no account. Credentials are known by HMACs under a key derived from the
-- master key.
CREATE TABLE device_logins (
    address    TEXT PRIMARY KEY NOT NULL,    -- host and port, and the way there
    record     TEXT NOT NULL,                -- JSON: {"logins", "connecting", "refused", "pending"}
    expires_at DATETIME NOT NULL
) WITHOUT ROWID;

CREATE INDEX device_logins_by_expiry ON device_logins (expires_at);
