-- Answers to the questions that a device asks at a login.
-- JSON: [{"question": regular expression, "key": whether it is one key, "value": one of
--   {"shown": text}, {"sealed": base64}, {"credential": "username" | "password" | "secret"}}]
-- Sealed: XChaCha20-Poly1305 under the master key, bound to this row's id, the question and its key.
ALTER TABLE ssh_connections ADD COLUMN answers TEXT NOT NULL DEFAULT '[]';
