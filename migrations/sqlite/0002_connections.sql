-- How a connection is reached beyond its address: by which other connections, with which algorithms
-- and by what else than a stored secret it logs in.
ALTER TABLE ssh_connections ADD COLUMN jump TEXT NOT NULL DEFAULT '[]';   -- JSON: [name of a connection], from here to the device
ALTER TABLE ssh_connections ADD COLUMN algorithms TEXT NOT NULL DEFAULT 'default' CHECK (algorithms IN ('default', 'legacy'));
ALTER TABLE ssh_connections ADD COLUMN certificate TEXT;                   -- an OpenSSH user certificate; public
ALTER TABLE ssh_connections ADD COLUMN agent INTEGER NOT NULL DEFAULT 0;   -- log in with the configured ssh-agent

-- Host names mean the same in any case. Of two spellings the key seen first stands.
DELETE FROM host_keys WHERE EXISTS (
    SELECT 1 FROM host_keys AS other
    WHERE lower(other.host) = lower(host_keys.host) AND other.port = host_keys.port
      AND other.algorithm = host_keys.algorithm AND other.host <> host_keys.host
      AND (other.first_seen, other.host) < (host_keys.first_seen, host_keys.host)
);
UPDATE host_keys SET host = lower(host) WHERE host <> lower(host);
