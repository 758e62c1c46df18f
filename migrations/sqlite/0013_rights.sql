-- The rights of a job's ancestors, which the job does not exceed: an array of plugins and what they
-- declared. NULL: it has none.
ALTER TABLE jobs ADD COLUMN bounds TEXT;

-- Answers to what devices ask are results, too. SQLite changes no CHECK, so the table is made anew.
CREATE TABLE job_results_new (
    id          TEXT PRIMARY KEY NOT NULL,
    job_id      TEXT NOT NULL REFERENCES jobs (id) ON DELETE CASCADE,
    attempt     INTEGER NOT NULL,
    target      TEXT NOT NULL,
    kind        TEXT NOT NULL CHECK (
        kind IN ('exec', 'configure', 'commit', 'rollback', 'save', 'upload', 'download', 'answer')
    ),
    command     TEXT NOT NULL,
    output      TEXT NOT NULL,
    error       TEXT,
    exit_code   INTEGER,
    truncated   INTEGER NOT NULL DEFAULT 0,
    executed_at DATETIME NOT NULL,
    duration_ms INTEGER NOT NULL
);
INSERT INTO job_results_new
SELECT id, job_id, attempt, target, kind, command, output, error, exit_code, truncated, executed_at, duration_ms
FROM job_results;
DROP TABLE job_results;
ALTER TABLE job_results_new RENAME TO job_results;
CREATE INDEX job_results_by_job ON job_results (job_id, id);
