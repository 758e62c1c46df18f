-- What holds jobs back: for as long as it is there, or in windows of time.
CREATE TABLE pauses (
    id         TEXT PRIMARY KEY NOT NULL,
    name       TEXT NOT NULL UNIQUE,
    reason     TEXT,
    plugins    TEXT NOT NULL DEFAULT '[]',   -- JSON: [pattern of names]; none: all
    targets    TEXT,                         -- an expression; NULL: all
    action     TEXT NOT NULL CHECK (action IN ('wait', 'skip')),
    starts_at  DATETIME,
    ends_at    DATETIME,
    windows    TEXT,                         -- JSON: {"cron_expression", "timezone", "minutes"}
    created_at DATETIME NOT NULL,
    updated_at DATETIME NOT NULL
);
