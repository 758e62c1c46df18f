-- A device's jobs of one plugin are found without looking at the device's other jobs.
ALTER TABLE job_targets ADD COLUMN job_type TEXT NOT NULL DEFAULT '';
UPDATE job_targets SET job_type = (SELECT job_type FROM jobs WHERE id = job_id);
DROP INDEX job_targets_newest;
CREATE INDEX job_targets_newest ON job_targets (name, created_at DESC, job_id DESC, job_type);
