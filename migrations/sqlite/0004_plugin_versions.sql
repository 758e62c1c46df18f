-- Every version of a plugin that was loaded.
CREATE TABLE plugin_versions (
    plugin     TEXT NOT NULL,
    digest     TEXT NOT NULL,
    kind       TEXT NOT NULL,
    first_seen DATETIME NOT NULL,
    last_seen  DATETIME NOT NULL,                      -- when it was loaded last
    PRIMARY KEY (plugin, digest)
);

-- The files a version is made of: a job that is tried again runs what it began with.
CREATE TABLE plugin_files (
    digest TEXT NOT NULL,
    path   TEXT NOT NULL,                              -- of a module; of the plugin itself, its file's name
    module INTEGER NOT NULL,                           -- 0: the plugin itself
    bytes  BLOB NOT NULL,
    PRIMARY KEY (digest, module, path)
);

CREATE INDEX jobs_by_version ON jobs (job_type, plugin_digest);
