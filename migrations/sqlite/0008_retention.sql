-- Jobs that have ended, the oldest first: what retention looks at.
CREATE INDEX jobs_ended ON jobs (completed_at, id) WHERE completed_at IS NOT NULL;
