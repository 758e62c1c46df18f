-- Sealed values are bound to the way to their device as well (version 2); those of before are sealed
-- again at the first start. See `sealing.rs`.

-- Host keys are known by the address and the route to it: two devices behind different jump hosts may
-- have the same address. Those of before, which were known by the address alone, are known by the direct
-- route and by the routes of the connections that there are.
CREATE TABLE routed_host_keys (
    host        TEXT NOT NULL,                      -- in lower case
    port        INTEGER NOT NULL,
    route       TEXT NOT NULL,                      -- JSON: ["host:port" of each jump host, from here to the device]
    algorithm   TEXT NOT NULL,
    key         TEXT NOT NULL,
    fingerprint TEXT NOT NULL,
    first_seen  DATETIME NOT NULL,
    PRIMARY KEY (host, port, route, algorithm)
) WITHOUT ROWID;

INSERT INTO routed_host_keys (host, port, route, algorithm, key, fingerprint, first_seen)
SELECT host, port, '[]', algorithm, key, fingerprint, first_seen FROM host_keys;

-- Names of jump hosts: a connection's own, and before them those of the first one's connection, and so on.
WITH RECURSIVE ways (id, hops) AS (
    SELECT id, jump FROM ssh_connections WHERE owner_job_id IS NULL AND jump <> '[]'
    UNION ALL
    SELECT ways.id,
           (SELECT json_group_array(value) FROM (SELECT value FROM json_each(first.jump)
                                                 UNION ALL
                                                 SELECT value FROM json_each(ways.hops)))
    FROM ways
    JOIN ssh_connections AS first
      ON first.owner_job_id IS NULL AND first.name = json_extract(ways.hops, '$[0]')
    WHERE first.jump <> '[]' AND json_array_length(ways.hops) <= 8
),
whole_ways (id, hops) AS (
    SELECT id, hops FROM ways
    WHERE json_array_length(hops) = (SELECT max(json_array_length(others.hops)) FROM ways AS others
                                     WHERE others.id = ways.id)
),
routes (host, port, route) AS (
    SELECT DISTINCT lower(connection.host), connection.port,
           (SELECT json_group_array(lower(hop.host) || ':' || hop.port)
            FROM (SELECT value FROM json_each(whole_ways.hops) ORDER BY key) AS name
            JOIN ssh_connections AS hop
              ON hop.owner_job_id IS NULL AND hop.name = name.value)
    FROM whole_ways JOIN ssh_connections AS connection ON connection.id = whole_ways.id
)
INSERT OR IGNORE INTO routed_host_keys (host, port, route, algorithm, key, fingerprint, first_seen)
SELECT known.host, known.port, routes.route, known.algorithm, known.key, known.fingerprint, known.first_seen
FROM routes JOIN host_keys AS known ON known.host = routes.host AND known.port = routes.port;

DROP TABLE host_keys;
ALTER TABLE routed_host_keys RENAME TO host_keys;

-- A connection that was given with a job loses its secrets when the job has ended, whichever statement ends
-- it. The row stays, for as long as the job: it says that the connection was the job's own. What is
-- overwritten by as many bytes is overwritten in its place, on all of its pages; what is set to NULL at
-- once may stay on pages that are free then.
CREATE TRIGGER jobs_forget_secrets AFTER UPDATE OF status ON jobs
WHEN NEW.status IN ('completed', 'failed', 'cancelled') AND NEW.status <> OLD.status
BEGIN
    UPDATE ssh_connections
    SET password = zeroblob(length(password)), private_key = zeroblob(length(private_key)),
        passphrase = zeroblob(length(passphrase)), secret = zeroblob(length(secret)),
        answers = printf('%.*c', octet_length(answers), ' ')
    WHERE owner_job_id = NEW.id;
    UPDATE ssh_connections
    SET password = NULL, private_key = NULL, passphrase = NULL, secret = NULL, answers = '[]'
    WHERE owner_job_id = NEW.id;
END;

UPDATE ssh_connections
SET password = zeroblob(length(password)), private_key = zeroblob(length(private_key)),
    passphrase = zeroblob(length(passphrase)), secret = zeroblob(length(secret)),
    answers = printf('%.*c', octet_length(answers), ' ')
WHERE owner_job_id IN (SELECT id FROM jobs WHERE status IN ('completed', 'failed', 'cancelled'));
UPDATE ssh_connections
SET password = NULL, private_key = NULL, passphrase = NULL, secret = NULL, answers = '[]'
WHERE owner_job_id IN (SELECT id FROM jobs WHERE status IN ('completed', 'failed', 'cancelled'));
