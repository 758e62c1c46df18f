//! Tests secrets at rest: bound to the route and the host keys that they were entered for, removed
//! with their job, sealed again for a new version and with a new key.

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::process::Output;
use std::time::Duration;

use chacha20poly1305::aead::{Aead, Generate, KeyInit, Payload};
use chacha20poly1305::{XChaCha20Poly1305, XNonce};
use host::model::HostKeyPlace;
use netssh_lab::{Lab, LabDevice};
use serde_json::{Value, json};
use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection};
use sqlx::{AssertSqlSafe, ConnectOptions as _, Connection as _};
use test_devices::{Linux, Sshd};
use uuid::Uuid;

use crate::harness::{Answer, TestHost, lab_connection, password_connection, run, scheduler};

const OTHER_KEY: &str = "SHA256:47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU";

async fn database(path: &Path) -> SqliteConnection {
    let options = SqliteConnectOptions::new().filename(path);
    options.connect().await.unwrap()
}

async fn execute(path: &Path, sql: &str) {
    let mut database = database(path).await;
    let sql = AssertSqlSafe(sql.to_owned());
    sqlx::raw_sql(sql).execute(&mut database).await.unwrap();
    database.close().await.unwrap();
}

async fn lab(hostname: &str) -> Lab {
    Lab::start(LabDevice::cisco_ios(hostname)).await.unwrap()
}

/// Returns the pointers of a response's errors.
fn pointers(answer: &Answer) -> Vec<&str> {
    assert_eq!(answer.status, 422, "{}", answer.body);
    let errors = answer.body["errors"].as_array().unwrap();
    let pointers = errors
        .iter()
        .map(|error| error["pointer"].as_str().unwrap());
    pointers.collect()
}

impl TestHost {
    async fn put_connection(&self, body: &Value, query: &str) -> Answer {
        let name = body["name"].as_str().unwrap();
        let path = format!("/api/connections/{name}{query}");
        self.client.put(&path, body).await
    }

    async fn test(&self, name: &str) -> Value {
        let path = format!("/api/connections/{name}/test");
        self.client.act(&path).await.body
    }

    async fn secrets_of(&self, name: &str) -> Value {
        let path = format!("/api/connections/{name}");
        self.client.get(&path).await.body["secrets_set"].clone()
    }

    async fn known(&self, host: &str, port: u16, route: &str) -> usize {
        let place = HostKeyPlace {
            host: host.to_owned(),
            port,
            route: route.to_owned(),
        };
        self.app.storage.host_keys(&place).await.unwrap().len()
    }
}

/// Removes the secrets from a request, as a client does to keep them.
fn kept(connection: &Value) -> Value {
    let mut connection = connection.clone();
    for field in ["password", "secret"] {
        connection.as_object_mut().unwrap().remove(field);
    }
    connection
}

#[test]
fn another_host_key_needs_the_secrets_again() {
    run(async {
        let host = TestHost::start().await;
        let lab = lab("core1").await;
        let core = lab_connection("core1", &lab, "cisco_ios");
        host.connect(core.clone()).await;
        let with_pin = |pin: Value| {
            let mut body = kept(&core);
            body["host_key"] = pin;
            body
        };
        // No key is known yet, so a pin could belong to any device.
        let refused = host.put_connection(&with_pin(json!(OTHER_KEY)), "").await;
        assert_eq!(pointers(&refused), ["/password"]);
        let message = refused.body["errors"][0]["message"].as_str().unwrap();
        assert!(message.contains("another host key"), "{message}");
        assert!(
            message.contains("/api/connections/core1/host-keys"),
            "{message}"
        );

        // The known key can be pinned, and the pin can be removed.
        assert_eq!(host.test("core1").await["ok"], true);
        let keys = host
            .client
            .get("/api/connections/core1/host-keys")
            .await
            .body;
        let known = keys["host_keys"][0]["fingerprint"].clone();
        for pin in [
            known.clone(),
            keys["host_keys"][0]["key"].clone(),
            Value::Null,
            known,
        ] {
            let updated = host.put_connection(&with_pin(pin.clone()), "").await;
            assert_eq!(updated.status, 200, "{pin}: {}", updated.body);
            assert_eq!(updated.body["secrets_set"], json!(["password"]));
            let tested = host.test("core1").await;
            assert_eq!(tested["ok"], true, "{pin}: {tested}");
        }
        // Another key requires the secrets, or clearing them.
        let mut other = with_pin(json!(OTHER_KEY));
        assert_eq!(
            pointers(&host.put_connection(&other, "").await),
            ["/password"]
        );
        other["password"] = core["password"].clone();
        assert_eq!(host.put_connection(&other, "").await.status, 200);
        assert_eq!(host.test("core1").await["error_code"], "host_key");
        let cleared = with_pin(Value::Null);
        assert_eq!(
            pointers(&host.put_connection(&cleared, "").await),
            ["/password"]
        );
    });
}

#[test]
fn an_operator_names_the_key_of_a_replaced_device_and_keeps_the_secrets() {
    run(async {
        let host = TestHost::start().await;
        let old = Linux::start();
        let bastion = password_connection("bastion", &old.ssh, "linux");
        host.connect(bastion.clone()).await;
        let mut core = password_connection("core", &test_devices::linux().ssh, "linux");
        core["jump"] = json!("bastion");
        host.connect(core).await;
        assert_eq!(host.test("core").await["ok"], true);

        // The bastion presents a key that differs from the known one: because of other hardware, or
        // of an attacker in the path.
        let forged = format!(
            "UPDATE host_keys SET key = 'ssh-ed25519 AAAA', fingerprint = '{OTHER_KEY}' WHERE port = {}",
            old.ssh.port
        );
        execute(&host.path("scheduler.db"), &forged).await;
        let refused = host.test("core").await;
        assert_eq!(refused["error_code"], "host_key", "{refused}");
        let message = refused["error"].as_str().unwrap();
        assert!(message.contains("--trust FINGERPRINT"), "{message}");

        let path = "/api/connections/bastion/host-keys";
        let invalid = host
            .client
            .post(path, &json!({ "fingerprint": "SHA256:abc" }))
            .await;
        assert_eq!(pointers(&invalid), ["/fingerprint"]);
        let key = json!({ "fingerprint": old.ssh.host_key_fingerprint });
        let trusted = host.client.post(path, &key).await;
        assert_eq!(trusted.status, 200, "{}", trusted.body);
        assert_eq!(trusted.body["pinned"], key["fingerprint"]);
        for name in ["bastion", "core"] {
            assert_eq!(host.secrets_of(name).await, json!(["password"]));
            let tested = host.test(name).await;
            assert_eq!(tested["ok"], true, "{name}: {tested}");
        }
    });
}

#[test]
fn known_host_keys_are_not_forgotten_while_secrets_depend_on_them() {
    run(async {
        let host = TestHost::start().await;
        let lab = lab("core1").await;
        let mut core = lab_connection("core1", &lab, "cisco_ios");
        host.connect(core.clone()).await;
        core["name"] = json!("core1-too");
        host.connect(core.clone()).await;
        let path = "/api/connections/core1/host-keys";
        // No key is known, so the deletion removes nothing.
        assert_eq!(host.client.delete(path).await.status, 204);

        assert_eq!(host.test("core1").await["ok"], true);
        let refused = host.client.delete(path).await;
        assert_eq!(refused.status, 409, "{}", refused.body);
        let detail = refused.body["detail"].as_str().unwrap();
        assert!(detail.contains("`core1`, `core1-too`"), "{detail}");
        assert_eq!(host.test("core1").await["ok"], true);

        // A connection with a pin does not depend on the known keys.
        let key = host.client.get(path).await.body["host_keys"][0]["fingerprint"].clone();
        let pin = json!({ "fingerprint": key });
        let pinned = host.client.post(path, &pin).await;
        assert_eq!(pinned.status, 200, "{}", pinned.body);
        let forgotten = host
            .client
            .delete(&format!("{path}?forget_secrets=true"))
            .await;
        assert_eq!(forgotten.status, 204, "{}", forgotten.body);
        assert_eq!(host.secrets_of("core1").await, json!(["password"]));
        assert_eq!(host.secrets_of("core1-too").await, json!([]));
        assert_eq!(host.client.get(path).await.body["host_keys"], json!([]));
        assert_eq!(host.test("core1").await["ok"], true);
    });
}

#[test]
fn the_command_line_says_which_option_keeps_or_forgets_secrets() {
    run(async {
        let host = TestHost::start().await;
        let lab = lab("core1").await;
        host.connect(lab_connection("core1", &lab, "cisco_ios"))
            .await;
        assert_eq!(host.test("core1").await["ok"], true);
        host.connect(json!({
            "name": "behind", "host": "192.0.2.9", "username": "admin", "device_type": "linux",
            "jump": "core1", "password": "hunter2"
        }))
        .await;
        let url = host.client.url("");
        let connection = async |arguments: &[&str]| {
            let mut command = scheduler();
            command
                .arg("connection")
                .args(arguments)
                .env("SCHEDULER_URL", &url);
            let output = tokio::task::spawn_blocking(move || command.output().unwrap());
            let output = output.await.unwrap();
            (output.status.code().unwrap(), said(&output))
        };
        let (code, text) = connection(&["host-keys", "core1", "--forget"]).await;
        assert_eq!(code, 5, "{text}");
        for part in [
            "`behind`, `core1`",
            "--trust FINGERPRINT",
            "--forget-secrets",
        ] {
            assert!(text.contains(part), "{text}");
        }
        let (code, text) = connection(&["edit", "core1", "--host-key", OTHER_KEY]).await;
        assert_eq!(code, 5, "{text}");
        let how = "scheduler connection host-keys core1 --trust KEY";
        assert!(
            text.contains(how) && text.contains("--clear password"),
            "{text}"
        );

        let edit = ["edit", "core1", "--port", "2222", "--clear", "password"];
        let (code, text) = connection(&edit).await;
        assert_eq!(code, 5, "{text}");
        let flag = "--forget-secrets-of-dependents";
        assert!(text.contains("`behind`") && text.contains(flag), "{text}");

        let (code, text) = connection(&["host-keys", "core1", "--trust", OTHER_KEY]).await;
        assert_eq!(code, 0, "{text}");
        assert!(text.contains(OTHER_KEY), "{text}");
        assert_eq!(host.secrets_of("core1").await, json!(["password"]));
        let (code, text) = connection(&[&edit[..], &[flag]].concat()).await;
        assert_eq!(code, 0, "{text}");
        for name in ["core1", "behind"] {
            assert_eq!(host.secrets_of(name).await, json!([]), "{name}");
        }
    });
}

#[test]
fn a_jump_host_moves_only_with_the_secrets_of_those_behind_it() {
    run(async {
        let host = TestHost::start().await;
        let (first, second) = (Linux::start(), Linux::start());
        let bastion = |ssh: &Sshd| password_connection("bastion", ssh, "linux");
        host.connect(bastion(&first.ssh)).await;
        let device = &test_devices::linux().ssh;
        let mut core = password_connection("core", device, "linux");
        core["jump"] = json!(["bastion"]);
        host.connect(core.clone()).await;
        let mut open = json!({
            "name": "open", "host": "192.0.2.9", "username": "admin", "device_type": "linux",
            "jump": "bastion"
        });
        host.connect(open.clone()).await;

        // No key of the device is known: another jump host could lead to any device.
        let moved = bastion(&second.ssh);
        let refused = host.put_connection(&moved, "").await;
        assert_eq!(pointers(&refused), ["/forget_secrets_of_dependents"]);
        let message = refused.body["errors"][0]["message"].as_str().unwrap();
        assert!(
            message.contains("`core`") && !message.contains("`open`"),
            "{message}"
        );
        assert_eq!(host.test("core").await["ok"], true, "nothing was changed");

        // Now its key is known, and the device has to present it on any route.
        let updated = host.put_connection(&moved, "").await;
        assert_eq!(updated.status, 200, "{}", updated.body);
        let tested = host.test("core").await;
        assert_eq!(tested["ok"], true, "{tested}");
        assert_eq!(second.ssh.accepted_logins(), 1);
        let route = |ssh: &Sshd| format!("[\"{}:{}\"]", ssh.host, ssh.port);
        assert_eq!(
            host.known(&device.host, device.port, &route(&second.ssh))
                .await,
            1
        );

        // Another name for the same host does not change the route.
        let mut renamed = kept(&moved);
        renamed["name"] = json!("bastion2");
        let path = "/api/connections/bastion";
        assert_eq!(host.client.put(path, &renamed).await.status, 200);
        core = host.client.get("/api/connections/core").await.body;
        assert_eq!(core["jump"], json!(["bastion2"]));
        assert_eq!(host.test("core").await["ok"], true);

        // Without a known key, the operator decides.
        let keys = "/api/connections/core/host-keys?forget_secrets=true";
        assert_eq!(host.client.delete(keys).await.status, 204);
        open["jump"] = json!("bastion2");
        open["password"] = json!("hunter2");
        assert_eq!(host.put_connection(&open, "").await.status, 200);
        let mut back = bastion(&first.ssh);
        back["name"] = json!("bastion2");
        let refused = host.put_connection(&back, "").await;
        assert_eq!(pointers(&refused), ["/forget_secrets_of_dependents"]);
        let forget = "?forget_secrets_of_dependents=true";
        let updated = host.put_connection(&back, forget).await;
        assert_eq!(updated.status, 200, "{}", updated.body);
        assert_eq!(host.secrets_of("open").await, json!([]));
    });
}

#[test]
fn the_secrets_of_an_edited_row_reach_no_other_device() {
    run(async {
        let host = TestHost::start().await;
        let (lab, other) = (lab("core1").await, lab("other").await);
        let mut core = lab_connection("core1", &lab, "cisco_ios");
        core["answers"] = json!([{ "question": "Role", "answer": "hunter2-role" }]);
        host.connect(core).await;
        let job = json!({
            "plugin": "ssh-command", "targets": ["core1"], "params": { "commands": ["show version"] }
        });
        let path = host.path("scheduler.db");
        let before = lab.addr().port();
        for edit in [
            format!("port = {}", other.addr().port()),
            "username = 'somebody'".to_owned(),
            format!("host_key = '{OTHER_KEY}'"),
            "host = 'localhost'".to_owned(),
        ] {
            let sql = format!("UPDATE ssh_connections SET {edit} WHERE name = 'core1'");
            execute(&path, &sql).await;
            let ended = host.run_job(job.clone()).await;
            assert_eq!(ended["error_code"], "invalid", "{edit}: {ended}");
            let message = ended["error_message"].as_str().unwrap();
            for part in [
                "the password of connection `core1`",
                "another address, user, route or host key",
                "scheduler connection edit core1 --ask-password",
            ] {
                assert!(message.contains(part), "{edit}: {message}");
            }
            let back = format!(
                "UPDATE ssh_connections SET port = {before}, host = '127.0.0.1', host_key = NULL,
                        username = '{}' WHERE name = 'core1'",
                lab.device().username
            );
            execute(&path, &back).await;
        }
        assert_eq!((other.logins(), other.refused_logins()), (0, 0));
        let ended = host.run_job(job).await;
        assert_eq!(ended["status"], "completed", "{ended}");
    });
}

#[test]
fn the_password_of_a_jump_host_is_not_sent_by_the_way_of_another() {
    run(async {
        let host = TestHost::start().await;
        let (mine, bastion) = (Linux::start(), Linux::start());
        host.connect(password_connection("mine", &mine.ssh, "linux"))
            .await;
        host.connect(password_connection("bastion", &bastion.ssh, "linux"))
            .await;
        // Any host to which `mine` forwards would receive the bastion's password.
        let mut core = password_connection("core", &test_devices::linux().ssh, "linux");
        core["jump"] = json!(["mine", "bastion"]);
        host.connect(core).await;
        let refused = host.test("core").await;
        assert_eq!(refused["error_code"], "invalid", "{refused}");
        let message = refused["error"].as_str().unwrap();
        assert!(
            message.contains("`bastion`, which is reached by a different route"),
            "{message}"
        );
        assert_eq!(bastion.ssh.accepted_logins(), 0);

        // The bastion's key is known from its own route, and it has to present the same key here.
        assert_eq!(host.test("bastion").await["ok"], true);
        let tested = host.test("core").await;
        assert_eq!(tested["ok"], true, "{tested}");
        let forged = format!(
            "UPDATE host_keys SET key = 'ssh-ed25519 AAAA', fingerprint = '{OTHER_KEY}' WHERE port = {}",
            bastion.ssh.port
        );
        execute(&host.path("scheduler.db"), &forged).await;
        assert_eq!(host.test("core").await["error_code"], "host_key");
    });
}

#[test]
fn host_keys_are_known_by_their_route() {
    run(async {
        let host = TestHost::start().await;
        let bastion = Linux::start();
        let device = &test_devices::linux().ssh;
        host.connect(password_connection("bastion", &bastion.ssh, "linux"))
            .await;
        let mut core = password_connection("core", device, "linux");
        core["jump"] = json!("bastion");

        // A test of an unsaved connection stores no keys, not even that of the jump host.
        let tested = host.client.post("/api/connections/test", &core).await.body;
        assert_eq!(tested["ok"], true, "{tested}");
        let route = format!("[\"{}:{}\"]", bastion.ssh.host, bastion.ssh.port);
        let known = async || {
            (
                host.known(&device.host, device.port, &route).await,
                host.known(&device.host, device.port, "[]").await,
                host.known(&bastion.ssh.host, bastion.ssh.port, "[]").await,
            )
        };
        assert_eq!(known().await, (0, 0, 0));
        host.connect(core.clone()).await;
        assert_eq!(host.test("core").await["ok"], true);
        assert_eq!(known().await, (1, 0, 1));

        // Another device at the same address behind the jump host; the direct route has its own
        // known key.
        let sql = format!(
            "UPDATE host_keys SET key = 'ssh-ed25519 AAAA', fingerprint = '{OTHER_KEY}' WHERE route <> '[]'"
        );
        execute(&host.path("scheduler.db"), &sql).await;
        assert_eq!(host.test("core").await["error_code"], "host_key");
        let unsaved = host.client.post("/api/connections/test", &core).await.body;
        assert_eq!(unsaved["error_code"], "host_key", "{unsaved}");
        let direct = password_connection("direct", device, "linux");
        host.connect(direct).await;
        assert_eq!(host.test("direct").await["ok"], true);
        assert_eq!(known().await, (1, 1, 1));
    });
}

#[test]
fn trying_passwords_in_a_loop_is_stopped() {
    run(async {
        let host = TestHost::start().await;
        let lab = lab("core1").await;
        let mut codes = Vec::new();
        let mut connection = lab_connection("core1", &lab, "cisco_ios");
        let right = connection["password"].clone();
        for number in 0..8 {
            connection["password"] = json!(format!("wrong{number}"));
            let tested = host.client.post("/api/connections/test", &connection).await;
            codes.push(tested.body["error_code"].clone());
        }
        let refused = lab.refused_logins();
        assert_eq!(codes[..5], vec![json!("authentication"); 5], "{codes:?}");
        assert_eq!(codes[5..], vec![json!("unavailable"); 3], "{codes:?}");
        assert_eq!(refused, 5);
        // The rate limit applies to the saved connection of the same device as well; a job with
        // another password is not affected.
        connection["password"] = right;
        host.connect(connection).await;
        let tested = host.test("core1").await;
        assert_eq!(tested["error_code"], "unavailable", "{tested}");
        let job = json!({
            "plugin": "ssh-command", "targets": ["core1"], "params": { "commands": ["show version"] }
        });
        let ended = host.run_job(job).await;
        assert_eq!(ended["status"], "completed", "{ended}");
    });
}

/// Returns the number of sealed values of inline connections in the database.
async fn sealed_inline(path: &Path) -> i64 {
    let mut database = database(path).await;
    sqlx::query_scalar(
        "SELECT count(password) + count(secret) + sum(answers LIKE '%sealed%') FROM ssh_connections
         WHERE owner_job_id IS NOT NULL",
    )
    .fetch_one(&mut database)
    .await
    .unwrap()
}

#[test]
fn inline_secrets_are_removed_when_their_job_ends() {
    run(async {
        let host = TestHost::start().await;
        let path = host.path("scheduler.db");
        let lab = lab("core1").await;
        let inline = |port: u16| {
            let mut connection = lab_connection("", &lab, "cisco_ios");
            connection.as_object_mut().unwrap().remove("name");
            connection["port"] = json!(port);
            connection["secret"] = json!("hunter2-enable");
            connection["answers"] = json!([{ "question": "Role", "answer": "hunter2-role" }]);
            connection
        };
        let job = |port: u16| {
            json!({
                "plugin": "ssh-command", "connection": inline(port),
                "params": { "commands": ["show version"] }
            })
        };
        let port = lab.addr().port();
        let completed = host.run_job(job(port)).await;
        assert!(completed["status"].is_string(), "{completed}");
        assert_eq!(sealed_inline(&path).await, 0);

        // A retry needs the secrets; a job that has ended does not, whatever its status.
        let closed = crate::harness::free_port();
        let failed = host.run_job(job(closed)).await;
        assert_eq!(failed["status"], "failed", "{failed}");
        assert_eq!(sealed_inline(&path).await, 0);
        let mut retried = job(closed);
        retried["max_retries"] = json!(5);
        let id = host.submit(retried).await;
        host.until(&id, |job| job["status"] == "retrying").await;
        assert_eq!(sealed_inline(&path).await, 3);
        let cancelled = host.client.act(&format!("/api/jobs/{id}/cancel")).await;
        assert_eq!(cancelled.status, 202, "{}", cancelled.body);
        assert_eq!(host.ended(&id).await["status"], "cancelled");
        assert_eq!(sealed_inline(&path).await, 0);

        // Free pages contain no remains: a long value has pages of its own.
        let mut long = job(closed);
        long["connection"]["password"] = json!("p".repeat(40_000));
        long["max_retries"] = json!(5);
        let id = host.submit(long).await;
        host.until(&id, |job| job["status"] == "retrying").await;
        let mut open = database(&path).await;
        let (password, answers): (Vec<u8>, String) = sqlx::query_as(
            "SELECT password, answers FROM ssh_connections WHERE password IS NOT NULL",
        )
        .fetch_one(&mut open)
        .await
        .unwrap();
        open.close().await.unwrap();
        host.client.act(&format!("/api/jobs/{id}/cancel")).await;
        assert_eq!(host.ended(&id).await["status"], "cancelled");

        let rerun = format!("/api/jobs/{}/rerun", completed["id"].as_str().unwrap());
        let refused = host.client.post(&rerun, &json!({})).await;
        assert_eq!(refused.status, 409, "{}", refused.body);
        let detail = refused.body["detail"].as_str().unwrap();
        assert!(detail.contains("were removed when it ended"), "{detail}");

        let _stopped = host.stop().await;
        let bytes = std::fs::read(&path).unwrap();
        let parts = password
            .chunks_exact(64)
            .chain(answers.as_bytes().chunks_exact(64));
        let parts: HashSet<&[u8]> = parts.collect();
        let left = bytes.windows(64).filter(|window| parts.contains(window));
        assert_eq!(left.count(), 0, "parts of sealed values are in the file");
    });
}

/// Returns a value in the format of version 1.
fn version1(key: &[u8; 32], place: &str, text: &str) -> Vec<u8> {
    let nonce = XNonce::generate();
    let payload = Payload {
        msg: text.as_bytes(),
        aad: place.as_bytes(),
    };
    let cipher = XChaCha20Poly1305::new(key.into());
    let sealed = cipher.encrypt(&nonce, payload).unwrap();
    [&[1][..], &nonce[..], &sealed[..]].concat()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Creates a database of schema 14, with values of version 1.
async fn old_database(path: &Path, key: &[u8; 32], bastion: &Sshd, device: &Sshd) -> (Uuid, Uuid) {
    let migrations = Path::new(env!("CARGO_MANIFEST_DIR")).join("../migrations/sqlite");
    let mut migrator = sqlx::migrate::Migrator::new(migrations).await.unwrap();
    migrator
        .migrations
        .to_mut()
        .retain(|migration| migration.version <= 14);
    let options = SqliteConnectOptions::new()
        .filename(path)
        .create_if_missing(true);
    let mut database = options.connect().await.unwrap();
    migrator.run(&mut database).await.unwrap();
    let mut sql = format!(
        "INSERT INTO meta VALUES ('master_key_check', x'{}');",
        hex(&version1(key, "master_key_check", "master_key_check"))
    );
    let now = "2026-01-01T00:00:00.000000Z";
    let (ended, waiting) = (Uuid::now_v7(), Uuid::now_v7());
    for (id, status) in [(ended, "failed"), (waiting, "pending")] {
        sql.push_str(&format!(
            "INSERT INTO jobs (id, job_type, payload, targets, status, created_at, ready_at, scheduled_for,
                               idempotency_key, request_digest)
             VALUES ('{id}', 'ssh-command', '{{}}', '[]', '{status}', '{now}', '2990-01-01T00:00:00.000000Z',
                     '2990-01-01T00:00:00.000000Z', '{id}', 'plain');"
        ));
    }
    for (name, ssh, jump, owner) in [
        ("bastion", bastion, "[]", None),
        ("core", device, "[\"bastion\"]", None),
        ("ended", device, "[]", Some(ended)),
        ("waiting", device, "[\"bastion\"]", Some(waiting)),
    ] {
        let id = Uuid::now_v7();
        let password = version1(
            key,
            &format!("ssh_connections/{id}/password"),
            &ssh.password,
        );
        let answer = version1(
            key,
            &format!("ssh_connections/{id}/answers/line/Role"),
            "hunter2",
        );
        let answer = data_encoding::BASE64.encode(&answer);
        let owner = owner.map_or("NULL".to_owned(), |owner| format!("'{owner}'"));
        sql.push_str(&format!(
            "INSERT INTO ssh_connections (id, name, host, port, username, device_type, timeout_seconds, jump,
                                          password, answers, owner_job_id, created_at, updated_at)
             VALUES ('{id}', '{name}', '{}', {}, '{}', 'linux', 30, '{jump}', x'{}',
                     '[{{\"question\":\"Role\",\"key\":false,\"value\":{{\"sealed\":\"{answer}\"}}}}]',
                     {owner}, '{now}', '{now}');",
            ssh.host,
            ssh.port,
            ssh.username,
            hex(&password)
        ));
    }
    for ssh in [bastion, device] {
        let (algorithm, _) = ssh.host_key.split_once(' ').unwrap();
        let key = ssh
            .host_key
            .split_whitespace()
            .take(2)
            .collect::<Vec<_>>()
            .join(" ");
        sql.push_str(&format!(
            "INSERT INTO host_keys VALUES ('{}', {}, '{algorithm}', '{key}', '{}', '{now}');",
            ssh.host, ssh.port, ssh.host_key_fingerprint
        ));
    }
    sqlx::raw_sql(AssertSqlSafe(sql))
        .execute(&mut database)
        .await
        .unwrap();
    database.close().await.unwrap();
    (ended, waiting)
}

#[test]
fn a_database_of_before_opens_with_its_secrets_bound() {
    run(async {
        let bastion = Linux::start();
        let device = &test_devices::linux().ssh;
        let stopped = TestHost::start().await.stop().await;
        for suffix in ["", "-wal", "-shm"] {
            let _ = std::fs::remove_file(stopped.path(&format!("scheduler.db{suffix}")));
        }
        let key = [7; 32];
        let path = stopped.path("scheduler.db");
        std::fs::write(stopped.path("scheduler.key"), hex(&key)).unwrap();
        let (ended, waiting) = old_database(&path, &key, &bastion.ssh, device).await;

        // Twice: the second start reads the values that the first one has sealed.
        let host = stopped.start().await.stop().await.start().await;
        for name in ["bastion", "core"] {
            let tested = host.test(name).await;
            assert_eq!(tested["ok"], true, "{name}: {tested}");
        }
        let route = format!("[\"{}:{}\"]", bastion.ssh.host, bastion.ssh.port);
        assert_eq!(host.known(&device.host, device.port, &route).await, 1);
        assert_eq!(host.known(&device.host, device.port, "[]").await, 1);
        let mut database = database(&path).await;
        let versions: Vec<(String, Option<Vec<u8>>, Option<String>)> = sqlx::query_as(
            "SELECT name, substr(password, 1, 1), owner_job_id FROM ssh_connections ORDER BY name",
        )
        .fetch_all(&mut database)
        .await
        .unwrap();
        let sealed = Some(vec![2]);
        let expected = [
            ("bastion".to_owned(), sealed.clone(), None),
            ("core".to_owned(), sealed.clone(), None),
            ("ended".to_owned(), None, Some(ended.to_string())),
            ("waiting".to_owned(), sealed, Some(waiting.to_string())),
        ];
        assert_eq!(versions, expected);
        let (digests, answers): (i64, i64) = sqlx::query_as(
            "SELECT (SELECT count(request_digest) FROM jobs),
                    (SELECT count(*) FROM ssh_connections WHERE answers LIKE '%sealed%')",
        )
        .fetch_one(&mut database)
        .await
        .unwrap();
        assert_eq!((digests, answers), (0, 3));

        // A restored value of version 1 cannot be opened any more.
        let id: String = sqlx::query_scalar("SELECT id FROM ssh_connections WHERE name = 'core'")
            .fetch_one(&mut database)
            .await
            .unwrap();
        let old = version1(
            &key,
            &format!("ssh_connections/{id}/password"),
            &device.password,
        );
        let sql = format!(
            "UPDATE ssh_connections SET password = x'{}' WHERE id = '{id}'",
            hex(&old)
        );
        execute(&path, &sql).await;
        let host = host.stop().await.start().await;
        let refused = host.test("core").await;
        assert_eq!(refused["error_code"], "invalid", "{refused}");
    });
}

/// The files of a host, running or stopped, and the command line for them.
struct Files {
    database: PathBuf,
    key: PathBuf,
}

impl Files {
    fn of(path: impl Fn(&str) -> PathBuf) -> Self {
        Self {
            database: path("scheduler.db"),
            key: path("scheduler.key"),
        }
    }

    fn command(&self, arguments: &[&str]) -> std::process::Command {
        let mut command = scheduler();
        let url = format!("sqlite:{}", self.database.display());
        command
            .args(arguments)
            .env("SCHEDULER_DATABASE_URL", url)
            .env("SCHEDULER_SECURITY_MASTER_KEY_FILE", &self.key);
        command
    }

    async fn run(&self, arguments: &[&str]) -> Output {
        let mut command = self.command(arguments);
        tokio::task::spawn_blocking(move || command.output().unwrap())
            .await
            .unwrap()
    }

    async fn rotate(&self) {
        let rotated = self.run(&["key", "rotate"]).await;
        assert!(rotated.status.success(), "{}", said(&rotated));
    }

    fn read(&self, suffix: &str) -> String {
        std::fs::read_to_string(self.beside(suffix)).unwrap()
    }

    fn beside(&self, suffix: &str) -> PathBuf {
        PathBuf::from(format!("{}{suffix}", self.key.display()))
    }
}

fn said(output: &Output) -> String {
    let text = [&output.stdout[..], &output.stderr[..]].concat();
    String::from_utf8(text).unwrap()
}

#[test]
fn the_master_key_is_rotated_and_each_interruption_leaves_one_that_opens() {
    run(async {
        let host = TestHost::start().await;
        let lab = lab("core1").await;
        host.connect(lab_connection("core1", &lab, "cisco_ios"))
            .await;
        let files = Files::of(|name| host.path(name));
        let refused = files.run(&["key", "rotate"]).await;
        assert!(
            said(&refused).contains("in use by another server"),
            "{}",
            said(&refused)
        );
        let opens = async |host: &TestHost| {
            let tested = host.test("core1").await;
            assert_eq!(tested["ok"], true, "{tested}");
        };
        let stopped = host.stop().await;
        let first = files.read("");
        let backup = stopped.path("backup.db");
        let backup = backup.to_str().unwrap();
        assert!(files.run(&["db", "backup", backup]).await.status.success());
        let rotated = files.run(&["key", "rotate"]).await;
        let text = said(&rotated);
        assert!(
            rotated.status.success() && !text.contains(first.trim()),
            "{text}"
        );
        let second = files.read("");
        assert_ne!(first, second);
        let old_file = text.split("The old key was moved to ").nth(1).unwrap();
        let old_file = old_file.split(": ").next().unwrap();
        assert_eq!(std::fs::read_to_string(old_file).unwrap(), first);
        let host = stopped.start().await;
        opens(&host).await;

        // Interrupted after the database was sealed with the new key, before the new key was in
        // place.
        let stopped = host.stop().await;
        for with_link in [false, true] {
            let before = files.read("");
            files.rotate().await;
            std::fs::rename(&files.key, files.beside(".new")).unwrap();
            std::fs::write(&files.key, &before).unwrap();
            std::fs::set_permissions(&files.key, private()).unwrap();
            for entry in std::fs::read_dir(stopped.path("")).unwrap() {
                let entry = entry.unwrap().path();
                let name = entry.file_name().unwrap().to_string_lossy().into_owned();
                if !with_link && name.starts_with("scheduler.key.old-") {
                    std::fs::remove_file(entry).unwrap();
                }
            }
            let again = files.run(&["key", "rotate"]).await;
            assert!(again.status.success(), "{}", said(&again));
            assert!(!files.beside(".new").exists());
        }
        let before = files.read("");
        files.rotate().await;
        let after = files.read("");
        std::fs::rename(&files.key, files.beside(".new")).unwrap();
        std::fs::write(&files.key, &before).unwrap();
        std::fs::set_permissions(&files.key, private()).unwrap();
        let host = stopped.start().await;
        opens(&host).await;
        assert_eq!(files.read(""), after);
        assert!(!files.beside(".new").exists());

        // Interrupted earlier: the new key was never used.
        let stopped = host.stop().await;
        std::fs::write(files.beside(".new"), hex(&[9; 32])).unwrap();
        std::fs::set_permissions(files.beside(".new"), private()).unwrap();
        let host = stopped.start().await;
        opens(&host).await;
        assert_eq!(files.read(""), after);
        let stopped = host.stop().await;
        files.rotate().await;
        let host = stopped.start().await;
        opens(&host).await;

        // A restored older backup makes the error name the key that it needs.
        let stopped = host.stop().await;
        let restored = files.run(&["db", "restore", backup]).await;
        let text = said(&restored);
        assert!(
            text.contains("is not the master key of this database"),
            "{text}"
        );
        drop(stopped);
    });
}

fn private() -> std::fs::Permissions {
    std::os::unix::fs::PermissionsExt::from_mode(0o600)
}

/// Kills the rotation at different points; afterwards the server starts and every secret opens.
#[test]
fn a_rotation_that_is_killed_loses_no_secret() {
    run(async {
        let host = TestHost::start().await;
        let lab = lab("core1").await;
        host.connect(lab_connection("core1", &lab, "cisco_ios"))
            .await;
        for number in 0..300 {
            let mut connection = lab_connection("core1", &lab, "cisco_ios");
            connection["name"] = json!(format!("other{number}"));
            host.connect(connection).await;
        }
        let files = Files::of(|name| host.path(name));
        let mut stopped = host.stop().await;
        let begun = std::time::Instant::now();
        files.rotate().await;
        let whole = begun.elapsed();
        let (mut killed, mut done) = (0, 0);
        for step in 0..12 {
            let mut rotation = files.command(&["key", "rotate"]).spawn().unwrap();
            let patience = whole.mul_f64(0.3 + 0.07 * f64::from(step));
            let ended = tokio::task::spawn_blocking(move || {
                let deadline = std::time::Instant::now() + patience;
                loop {
                    if rotation.try_wait().unwrap().is_some() {
                        return true;
                    }
                    if std::time::Instant::now() >= deadline {
                        rotation.kill().unwrap();
                        rotation.wait().unwrap();
                        return false;
                    }
                    std::thread::sleep(Duration::from_micros(200));
                }
            });
            match ended.await.unwrap() {
                true => done += 1,
                false => killed += 1,
            }
            let host = stopped.start().await;
            for name in ["core1", "other299"] {
                let connection = host.app.connections.find(name).await.unwrap();
                let endpoint = host.app.connections.endpoint_of(&connection).await;
                let endpoint = endpoint.map_err(|error| error.message);
                assert!(endpoint.is_ok(), "{step}: {:?}", endpoint.err());
            }
            stopped = host.stop().await;
        }
        assert!(killed > 0, "{killed} {done}");
    });
}
