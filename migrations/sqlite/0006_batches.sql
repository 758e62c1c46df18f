-- A batch is a job that runs nothing itself: one child job per target, started as its options say.
ALTER TABLE jobs ADD COLUMN batch TEXT;                            -- JSON: its options; NULL for any other job
ALTER TABLE jobs ADD COLUMN held INTEGER NOT NULL DEFAULT 0;       -- 1: a batch itself, and a child job that its batch has not started
ALTER TABLE jobs ADD COLUMN rerun_of TEXT;                         -- the job that this one does once more
ALTER TABLE schedules ADD COLUMN batch TEXT;                       -- JSON: options for its batches

DROP INDEX jobs_waiting;
CREATE INDEX jobs_waiting ON jobs (ready_at, id) WHERE status IN ('pending', 'retrying') AND held = 0;
DROP INDEX jobs_by_parent;
CREATE INDEX jobs_by_parent ON jobs (parent_id, status, held, error_code) WHERE parent_id IS NOT NULL;
CREATE INDEX jobs_unfinished_batches ON jobs (id) WHERE batch IS NOT NULL AND status IN ('pending', 'running');

-- How many jobs may have sessions to the device at once.
ALTER TABLE ssh_connections ADD COLUMN max_sessions INTEGER NOT NULL DEFAULT 1 CHECK (max_sessions BETWEEN 1 AND 64);

-- Every attempt at a job and how it ended.
CREATE TABLE job_attempts (
    job_id        TEXT NOT NULL REFERENCES jobs (id) ON DELETE CASCADE,
    attempt       INTEGER NOT NULL,
    plugin_digest TEXT,
    worker_id     TEXT NOT NULL,
    started_at    DATETIME NOT NULL,
    ended_at      DATETIME,
    status        TEXT NOT NULL,                                   -- what the job became with it; `running` until then
    error_code    TEXT,
    error_message TEXT,
    next_at       DATETIME,                                        -- of one that is tried again: when
    PRIMARY KEY (job_id, attempt)
) WITHOUT ROWID;
