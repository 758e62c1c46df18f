-- What is being sent to a device and may change it: noted before, and gone with its result. What is
-- left here after a crash says how far a job had come.
CREATE TABLE in_flight (
    id       TEXT PRIMARY KEY NOT NULL,
    job_id   TEXT NOT NULL REFERENCES jobs (id) ON DELETE CASCADE,
    attempt  INTEGER NOT NULL,
    target   TEXT NOT NULL,
    kind     TEXT NOT NULL,
    command  TEXT NOT NULL,
    began_at DATETIME NOT NULL
) WITHOUT ROWID;
CREATE INDEX in_flight_by_job ON in_flight (job_id);
