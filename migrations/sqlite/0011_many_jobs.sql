-- So that a million jobs are listed, filtered and counted as fast as a hundred.

-- How many jobs there are, by the hour in which they were submitted and by status. Kept by triggers,
-- because a job's status changes in many ways and all of them count.
CREATE TABLE job_counts (
    hour   TEXT NOT NULL,                       -- `2026-11-28T03`, UTC
    status TEXT NOT NULL,
    jobs   INTEGER NOT NULL,
    PRIMARY KEY (hour, status)
) WITHOUT ROWID;
INSERT INTO job_counts SELECT substr(created_at, 1, 13), status, count(*) FROM jobs GROUP BY 1, 2;

CREATE TRIGGER jobs_count_new AFTER INSERT ON jobs BEGIN
    INSERT INTO job_counts VALUES (substr(new.created_at, 1, 13), new.status, 1)
    ON CONFLICT (hour, status) DO UPDATE SET jobs = jobs + 1;
END;
CREATE TRIGGER jobs_count_change AFTER UPDATE OF status ON jobs WHEN old.status <> new.status BEGIN
    UPDATE job_counts SET jobs = jobs - 1
    WHERE hour = substr(old.created_at, 1, 13) AND status = old.status;
    INSERT INTO job_counts VALUES (substr(new.created_at, 1, 13), new.status, 1)
    ON CONFLICT (hour, status) DO UPDATE SET jobs = jobs + 1;
END;
CREATE TRIGGER jobs_count_gone AFTER DELETE ON jobs BEGIN
    UPDATE job_counts SET jobs = jobs - 1
    WHERE hour = substr(old.created_at, 1, 13) AND status = old.status;
    DELETE FROM job_counts WHERE hour = substr(old.created_at, 1, 13) AND jobs = 0;
END;

CREATE INDEX jobs_by_plugin_and_status ON jobs (job_type, status, created_at DESC, id DESC);
CREATE INDEX jobs_of_parent ON jobs (parent_id, created_at DESC, id DESC) WHERE parent_id IS NOT NULL;

-- A device's jobs, the newest first.
ALTER TABLE job_targets ADD COLUMN created_at DATETIME NOT NULL DEFAULT '';
UPDATE job_targets SET created_at = (SELECT created_at FROM jobs WHERE id = job_id);
DROP INDEX job_targets_by_name;
CREATE INDEX job_targets_newest ON job_targets (name, created_at DESC, job_id DESC);
