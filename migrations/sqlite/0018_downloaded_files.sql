-- Files that jobs have downloaded into the operator's directory, for the limits per plugin and in all.
-- `path` is relative to that directory. Files of before this version count for no plugin.
CREATE TABLE downloaded_files (
    path          TEXT PRIMARY KEY,
    plugin        TEXT NOT NULL,
    bytes         INTEGER NOT NULL CHECK (bytes >= 0),
    downloaded_at TEXT NOT NULL
) WITHOUT ROWID;
