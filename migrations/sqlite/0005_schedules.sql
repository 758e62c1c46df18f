-- When jobs of a plugin are submitted again.
CREATE TABLE schedules (
    id              TEXT PRIMARY KEY NOT NULL,
    name            TEXT NOT NULL UNIQUE,
    plugin          TEXT NOT NULL,
    params          TEXT,                              -- JSON, as submitted
    targets         TEXT NOT NULL DEFAULT '[]',        -- JSON: [string], as submitted
    cron_expression TEXT NOT NULL,
    timezone        TEXT NOT NULL,                     -- IANA name
    enabled         INTEGER NOT NULL DEFAULT 1,
    misfire         TEXT NOT NULL CHECK (misfire IN ('skip', 'run_once')),
    overlap         TEXT NOT NULL CHECK (overlap IN ('skip', 'queue', 'allow')),
    starts_at       DATETIME,
    ends_at         DATETIME,
    jitter_seconds  INTEGER NOT NULL DEFAULT 0,
    priority        INTEGER,
    max_retries     INTEGER,
    timeout_seconds INTEGER,
    description     TEXT,
    next_run_at     DATETIME,                          -- NULL: disabled, or over
    last_run_at     DATETIME,
    last_job_id     TEXT,
    last_outcome    TEXT,
    created_at      DATETIME NOT NULL,
    updated_at      DATETIME NOT NULL,
    idempotency_key TEXT UNIQUE,                       -- of a POST /api/jobs with cron_expression
    request_digest  TEXT
);
CREATE INDEX schedules_by_next_run ON schedules (next_run_at) WHERE next_run_at IS NOT NULL;

-- Each time of a schedule once. A row is written in the transaction that moves `next_run_at` on;
-- while `due`, its job is yet to be submitted.
CREATE TABLE schedule_ticks (
    schedule_id TEXT NOT NULL REFERENCES schedules (id) ON DELETE CASCADE,
    tick        DATETIME NOT NULL,
    due         INTEGER NOT NULL,
    PRIMARY KEY (schedule_id, tick)
) WITHOUT ROWID;
CREATE INDEX schedule_ticks_due ON schedule_ticks (tick) WHERE due = 1;

-- No reference: jobs stay when their schedule goes.
ALTER TABLE jobs ADD COLUMN schedule_id TEXT;
CREATE INDEX jobs_by_schedule ON jobs (schedule_id, status) WHERE schedule_id IS NOT NULL;
