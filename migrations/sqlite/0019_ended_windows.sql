-- When a window of a pause was ended early: the windows that had begun by then are over.
ALTER TABLE pauses ADD COLUMN ended_at TEXT;
