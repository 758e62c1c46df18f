-- Digests of requests are HMACs under a key derived from the master key. The digests of before were plain
-- SHA-256, which lets a password in a request be guessed. A request that repeats an old Idempotency-Key is
-- refused, since it cannot be compared.
UPDATE jobs SET request_digest = NULL WHERE request_digest IS NOT NULL;
UPDATE schedules SET request_digest = NULL WHERE request_digest IS NOT NULL;
