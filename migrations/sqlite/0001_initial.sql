-- Times are RFC 3339 UTC text with microseconds and a final Z, so that text order is time order.
-- Ids are UUIDs (v7) as lower-case text. JSON columns hold JSON text.

CREATE TABLE jobs (
    id               TEXT PRIMARY KEY NOT NULL,
    job_type         TEXT NOT NULL,                 -- the plugin's name
    plugin_digest    TEXT,                          -- what the last attempt ran; NULL before the first
    payload          TEXT NOT NULL,                 -- the parameters, JSON
    targets          TEXT NOT NULL DEFAULT '[]',    -- JSON: [{"connection_id", "name"}]
    status           TEXT NOT NULL CHECK (status IN ('pending', 'running', 'completed', 'failed', 'cancelled', 'retrying')),
    priority         INTEGER NOT NULL DEFAULT 0,
    description      TEXT,
    dry_run          INTEGER NOT NULL DEFAULT 0,
    parent_id        TEXT REFERENCES jobs (id) ON DELETE CASCADE,
    depth            INTEGER NOT NULL DEFAULT 0,    -- how many ancestors it has
    created_at       DATETIME NOT NULL,
    started_at       DATETIME,
    completed_at     DATETIME,
    scheduled_for    DATETIME,                      -- as asked for at submission
    ready_at         DATETIME NOT NULL,             -- when it may run next: scheduled_for, then each retry's time
    cron_expression  TEXT,
    timeout_seconds  INTEGER,
    attempt          INTEGER NOT NULL DEFAULT 0,    -- the fence: counts claims, never goes back
    retry_count      INTEGER NOT NULL DEFAULT 0,
    max_retries      INTEGER NOT NULL DEFAULT 0,
    on_interrupt     TEXT NOT NULL DEFAULT 'fail' CHECK (on_interrupt IN ('fail', 'retry')),
    cancel_requested INTEGER NOT NULL DEFAULT 0,
    error_code       TEXT,
    error_message    TEXT,
    worker_id        TEXT,
    progress         TEXT,                          -- JSON: {"done", "total", "message"}
    result           TEXT,                          -- JSON
    idempotency_key  TEXT UNIQUE,
    request_digest   TEXT                           -- SHA-256 of the request that carried the key
);

CREATE INDEX jobs_newest ON jobs (created_at DESC, id DESC);
CREATE INDEX jobs_by_status ON jobs (status, created_at DESC, id DESC);
CREATE INDEX jobs_by_plugin ON jobs (job_type, created_at DESC, id DESC);
CREATE INDEX jobs_by_parent ON jobs (parent_id) WHERE parent_id IS NOT NULL;
CREATE INDEX jobs_waiting ON jobs (ready_at) WHERE status IN ('pending', 'retrying');

-- Which connections a job was submitted for; `jobs.targets` holds the same in order.
CREATE TABLE job_targets (
    job_id        TEXT NOT NULL REFERENCES jobs (id) ON DELETE CASCADE,
    name          TEXT NOT NULL,
    connection_id TEXT NOT NULL,
    PRIMARY KEY (job_id, name)
) WITHOUT ROWID;
CREATE INDEX job_targets_by_name ON job_targets (name, job_id);

CREATE TABLE job_results (
    id          TEXT PRIMARY KEY NOT NULL,
    job_id      TEXT NOT NULL REFERENCES jobs (id) ON DELETE CASCADE,
    attempt     INTEGER NOT NULL,
    target      TEXT NOT NULL,
    kind        TEXT NOT NULL CHECK (kind IN ('exec', 'configure', 'save')),
    command     TEXT NOT NULL,
    output      TEXT NOT NULL,
    error       TEXT,
    exit_code   INTEGER,
    truncated   INTEGER NOT NULL DEFAULT 0,
    executed_at DATETIME NOT NULL,
    duration_ms INTEGER NOT NULL
);
CREATE INDEX job_results_by_job ON job_results (job_id, id);

CREATE TABLE job_logs (
    id        INTEGER PRIMARY KEY AUTOINCREMENT,
    job_id    TEXT NOT NULL REFERENCES jobs (id) ON DELETE CASCADE,
    level     TEXT NOT NULL CHECK (level IN ('debug', 'info', 'warn', 'error')),
    message   TEXT NOT NULL,
    timestamp DATETIME NOT NULL,
    context   TEXT                                  -- JSON object
);
CREATE INDEX job_logs_by_job ON job_logs (job_id, id);

CREATE TABLE ssh_connections (
    id              TEXT PRIMARY KEY NOT NULL,
    name            TEXT NOT NULL,
    host            TEXT NOT NULL,
    port            INTEGER NOT NULL,
    username        TEXT NOT NULL,
    device_type     TEXT NOT NULL,
    timeout_seconds INTEGER NOT NULL,
    tags            TEXT NOT NULL DEFAULT '[]',     -- JSON: [string]
    host_key        TEXT,                           -- pinned: SHA256:… or an OpenSSH public key
    -- Sealed: XChaCha20-Poly1305 under the master key, bound to this row's id and the field's name.
    password        BLOB,
    private_key     BLOB,
    passphrase      BLOB,
    secret          BLOB,
    -- Set for a connection given inline with a job: it is that job's alone, and goes with it.
    owner_job_id    TEXT REFERENCES jobs (id) ON DELETE CASCADE,
    created_at      DATETIME NOT NULL,
    updated_at      DATETIME NOT NULL
);
CREATE UNIQUE INDEX ssh_connections_by_name ON ssh_connections (name) WHERE owner_job_id IS NULL;
CREATE INDEX ssh_connections_by_owner ON ssh_connections (owner_job_id) WHERE owner_job_id IS NOT NULL;

-- Host keys accepted at first sight, one per address and algorithm.
CREATE TABLE host_keys (
    host        TEXT NOT NULL,
    port        INTEGER NOT NULL,
    algorithm   TEXT NOT NULL,
    key         TEXT NOT NULL,
    fingerprint TEXT NOT NULL,
    first_seen  DATETIME NOT NULL,
    PRIMARY KEY (host, port, algorithm)
) WITHOUT ROWID;

-- What plugins keep between jobs.
CREATE TABLE plugin_storage (
    plugin     TEXT NOT NULL,
    key        TEXT NOT NULL,
    value      TEXT NOT NULL,                       -- JSON
    updated_at DATETIME NOT NULL,
    PRIMARY KEY (plugin, key)
) WITHOUT ROWID;

-- Facts about this database, such as the value that tells whether the master key is the right one.
CREATE TABLE meta (
    key   TEXT PRIMARY KEY NOT NULL,
    value BLOB NOT NULL
) WITHOUT ROWID;
