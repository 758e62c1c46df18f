-- Jobs that have ended and of which nobody was told yet. A row is written in the transaction that
-- ends the job, whatever ends it, while `meta` says that somebody wants to know. A child job is its
-- parent's business.
CREATE TABLE ended_jobs (
    number INTEGER PRIMARY KEY AUTOINCREMENT,                      -- the order in which they ended
    job_id TEXT NOT NULL UNIQUE REFERENCES jobs (id) ON DELETE CASCADE
);

CREATE TRIGGER jobs_note_end AFTER UPDATE OF status ON jobs
WHEN NEW.status IN ('completed', 'failed', 'cancelled') AND NEW.status <> OLD.status
     AND NEW.parent_id IS NULL
     AND EXISTS (SELECT 1 FROM meta WHERE key = 'note_ended_jobs' AND value = x'01')
BEGIN
    INSERT OR IGNORE INTO ended_jobs (job_id) VALUES (NEW.id);
END;

-- The outbox: messages that are to be sent, and for a while those that were. No secret is in it, and
-- no reference: a message outlives its job.
CREATE TABLE notifications (
    id         TEXT PRIMARY KEY NOT NULL,                          -- the receiver sees it: of two with the same one is a repetition
    channel    TEXT NOT NULL,
    event      TEXT NOT NULL,
    job_id     TEXT NOT NULL,
    subject    TEXT NOT NULL,
    text       TEXT NOT NULL,
    body       TEXT NOT NULL,                                      -- JSON: what a webhook gets
    state      TEXT NOT NULL DEFAULT 'waiting' CHECK (state IN ('waiting', 'sent', 'given_up')),
    attempts   INTEGER NOT NULL DEFAULT 0,
    next_at    DATETIME NOT NULL,                                  -- while it waits: not before
    last_error TEXT,
    created_at DATETIME NOT NULL,
    settled_at DATETIME                                            -- when it was sent or given up
);
CREATE INDEX notifications_waiting ON notifications (channel, id, next_at) WHERE state = 'waiting';
CREATE INDEX notifications_settled ON notifications (settled_at, id) WHERE state <> 'waiting';

-- Earlier ends of the same work: how long it takes, and whether it had failed before.
CREATE INDEX jobs_ended_of_plugin ON jobs (job_type, completed_at) WHERE parent_id IS NULL AND completed_at IS NOT NULL;
CREATE INDEX jobs_ended_of_schedule ON jobs (schedule_id, completed_at) WHERE schedule_id IS NOT NULL AND completed_at IS NOT NULL;
