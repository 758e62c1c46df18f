//! Connection profiles: stored with their secrets sealed, used by jobs, never told.

use serde_json::{Value, json};

use crate::harness::{TestHost, password_connection, run};

fn core1() -> Value {
    json!({
        "name": "core-1", "host": "192.0.2.1", "username": "admin", "device_type": "cisco_ios",
        "password": "hunter2-password", "secret": "hunter2-enable", "tags": ["core"]
    })
}

#[test]
fn a_connection_is_stored_and_told_without_its_secrets() {
    run(async {
        let host = TestHost::start().await;
        let created = host.client.post("/api/connections", &core1()).await;
        assert_eq!(created.status, 201, "{}", created.body);
        assert_eq!(created.body["port"], 22);
        assert_eq!(created.body["timeout_seconds"], 30);
        assert_eq!(created.body["secrets_set"], json!(["password", "secret"]));
        assert_eq!(
            created.headers["location"].to_str().unwrap(),
            format!("/api/connections/{}", created.body["id"].as_str().unwrap())
        );
        let by_name = host.client.get("/api/connections/core-1").await;
        let by_id = host
            .client
            .get(created.headers["location"].to_str().unwrap())
            .await;
        let listed = host.client.get("/api/connections").await;
        assert_eq!(by_name.body, created.body);
        assert_eq!(by_id.body, created.body);
        assert_eq!(listed.body["connections"], json!([created.body]));
        for answer in [created, by_name, by_id, listed] {
            assert!(!answer.text.contains("hunter2"), "{}", answer.text);
        }
    });
}

#[test]
fn no_secret_stands_in_the_files_or_in_the_log_of_an_error() {
    run(async {
        let host = TestHost::start().await;
        host.connect(core1()).await;
        let again = host.client.post("/api/connections", &core1()).await;
        assert_eq!(again.status, 409, "{}", again.body);
        assert!(!again.text.contains("hunter2"));
        let wrong = json!({ "name": "x", "host": "h", "username": "u", "device_type": "linux", "password": { "hunter2": 1 } });
        let wrong = host.client.post("/api/connections", &wrong).await;
        assert_eq!(wrong.status, 422);
        assert_eq!(wrong.body["errors"][0]["pointer"], "/password");
        let wrong = json!({ "name": "x", "host": "h", "username": "u", "device_type": "linux", "password": 12345678 });
        let wrong = host.client.post("/api/connections", &wrong).await;
        assert_eq!(wrong.status, 422);
        assert!(!wrong.text.contains("12345678"), "{}", wrong.text);

        let stopped = host.stop().await;
        for file in std::fs::read_dir(stopped.path("")).unwrap() {
            let path = file.unwrap().path();
            if path.is_file() {
                let bytes = std::fs::read(&path).unwrap();
                assert!(
                    !bytes.windows(7).any(|window| window == b"hunter2"),
                    "{}",
                    path.display()
                );
            }
        }
    });
}

#[test]
fn the_files_are_for_their_owner_alone() {
    use std::os::unix::fs::PermissionsExt;
    run(async {
        let host = TestHost::start().await;
        host.connect(core1()).await;
        for name in [
            "scheduler.db",
            "scheduler.db-wal",
            "apalis_queue.db",
            "scheduler.key",
        ] {
            let mode = std::fs::metadata(host.path(name))
                .unwrap()
                .permissions()
                .mode();
            assert_eq!(mode & 0o777, 0o600, "{name}");
        }
    });
}

#[test]
fn another_master_key_does_not_start() {
    run(async {
        let host = TestHost::start().await;
        host.connect(core1()).await;
        let config = host.app.config.clone();
        let stopped = host.stop().await;
        let refused = async || {
            let refused = host::app::App::build(config.clone()).await;
            format!("{:#}", refused.err().expect("it does not start"))
        };
        std::fs::remove_file(stopped.path("scheduler.key")).unwrap();
        let error = refused().await;
        assert!(error.contains("scheduler.key is not there"), "{error}");
        assert!(
            !stopped.path("scheduler.key").exists(),
            "no other is made in its place"
        );
        let other = TestHost::start().await;
        std::fs::copy(other.path("scheduler.key"), stopped.path("scheduler.key")).unwrap();
        let error = refused().await;
        assert!(
            error.contains("scheduler.key is not the master key"),
            "{error}"
        );
    });
}

#[test]
fn a_second_server_does_not_take_the_database() {
    run(async {
        let host = TestHost::start().await;
        let second = host::app::App::build(host.app.config.clone()).await;
        let error = format!("{:#}", second.err().expect("it does not start"));
        assert!(error.contains("in use by another scheduler"), "{error}");
    });
}

#[test]
fn an_update_keeps_the_secrets_it_does_not_mention() {
    run(async {
        let host = TestHost::start().await;
        host.connect(core1()).await;
        let mut changed = json!({
            "name": "core-1", "host": "192.0.2.1", "username": "admin", "device_type": "cisco_xe"
        });
        let updated = host.client.put("/api/connections/core-1", &changed).await;
        assert_eq!(updated.status, 200, "{}", updated.body);
        assert_eq!(updated.body["device_type"], "cisco_xe");
        assert_eq!(updated.body["secrets_set"], json!(["password", "secret"]));

        changed["secret"] = Value::Null;
        changed["name"] = json!("renamed");
        let updated = host.client.put("/api/connections/core-1", &changed).await;
        assert_eq!(updated.body["secrets_set"], json!(["password"]));
        assert_eq!(host.client.get("/api/connections/core-1").await.status, 404);
        assert_eq!(
            host.client.get("/api/connections/renamed").await.status,
            200
        );
        assert_eq!(
            host.client.delete("/api/connections/renamed").await.status,
            204
        );
        assert_eq!(
            host.client.delete("/api/connections/renamed").await.status,
            404
        );
    });
}

#[test]
fn a_bad_connection_is_refused_field_by_field() {
    run(async {
        let host = TestHost::start().await;
        let bad = json!({
            "name": "a b", "host": "", "port": 0, "username": "", "device_type": "typewriter",
            "timeout_seconds": 0, "tags": [""], "host_key": "abc", "password": ""
        });
        let answer = host.client.post("/api/connections", &bad).await;
        assert_eq!(answer.status, 422);
        let errors = answer.body["errors"].as_array().unwrap();
        let pointers: Vec<_> = errors
            .iter()
            .map(|error| error["pointer"].as_str().unwrap())
            .collect();
        assert_eq!(
            pointers,
            [
                "/name",
                "/host",
                "/port",
                "/username",
                "/timeout_seconds",
                "/tags",
                "/host_key",
                "/password",
                "/device_type"
            ]
        );
        let platform = errors[8]["message"].as_str().unwrap();
        assert!(
            platform.contains("cisco_ios"),
            "it names what there is: {platform}"
        );
        let unnamed = json!({ "host": "h", "username": "u", "device_type": "linux" });
        let answer = host.client.post("/api/connections", &unnamed).await;
        assert_eq!(answer.body["errors"][0]["pointer"], "/name");
    });
}

#[test]
fn a_key_with_a_passphrase_logs_in() {
    run(async {
        let host = TestHost::start().await;
        let ssh = &test_devices::linux().ssh;
        host.connect(json!({
            "name": "server", "host": ssh.host, "port": ssh.port, "username": ssh.username,
            "device_type": "linux", "private_key": ssh.encrypted_private_key,
            "passphrase": ssh.passphrase
        }))
        .await;
        let test = host.client.act("/api/connections/server/test").await;
        assert_eq!(test.body["ok"], true, "{}", test.body);
        assert!(test.body["prompt"].is_string());
    });
}

#[test]
fn a_wrong_password_is_told_and_tried_once() {
    run(async {
        let host = TestHost::start().await;
        let linux = test_devices::Linux::start();
        let mut connection = password_connection("server", &linux.ssh, "linux");
        connection["password"] = json!("not-the-password");
        host.connect(connection).await;
        let job = host
            .run_job(json!({
                "plugin": "ssh-command", "targets": ["server"],
                "params": { "commands": ["true"] }, "max_retries": 3
            }))
            .await;
        assert_eq!(
            job["status"], "failed",
            "bad credentials are not tried again: {job}"
        );
        assert_eq!(job["error_code"], "authentication");
        assert!(!job.to_string().contains("not-the-password"));
        assert_eq!(linux.ssh.failed_passwords(), 1);
    });
}

#[test]
fn a_host_key_that_changes_is_refused() {
    run(async {
        let host = TestHost::start().await;
        let first = test_devices::Linux::start();
        host.connect(password_connection("server", &first.ssh, "linux"))
            .await;
        let test = || host.client.act("/api/connections/server/test");
        assert_eq!(test().await.body["ok"], true);

        // The same address with another device behind it.
        let second = test_devices::Linux::start();
        let seen = host
            .app
            .storage
            .host_keys(&first.ssh.host, first.ssh.port)
            .await
            .unwrap();
        assert_eq!(seen.len(), 1);
        let known = (
            seen[0].algorithm.as_str(),
            seen[0].key.as_str(),
            seen[0].fingerprint.as_str(),
        );
        let now = chrono::Utc::now();
        host.app
            .storage
            .add_host_key(&second.ssh.host, second.ssh.port, known, now)
            .await
            .unwrap();
        let moved = password_connection("moved", &second.ssh, "linux");
        host.connect(moved).await;
        let refused = host.client.act("/api/connections/moved/test").await.body;
        assert_eq!(refused["ok"], false, "{refused}");
        assert_eq!(refused["error_code"], "host_key");
        let message = refused["error"].as_str().unwrap();
        assert!(
            message.contains(&first.ssh.host_key_fingerprint),
            "{message}"
        );
        assert!(
            message.contains(&second.ssh.host_key_fingerprint),
            "{message}"
        );
    });
}

#[test]
fn an_inline_connection_is_the_jobs_alone() {
    run(async {
        let host = TestHost::start().await;
        let mut connection = password_connection("", &test_devices::linux().ssh, "linux");
        connection.as_object_mut().unwrap().remove("name");
        let job = host
            .run_job(json!({
                "plugin": "ssh-command", "connection": connection, "params": { "commands": ["echo hi"] }
            }))
            .await;
        assert_eq!(job["status"], "completed", "{job}");
        assert_eq!(job["targets"], json!(["inline"]));
        let listed = host.client.get("/api/connections").await.body;
        assert_eq!(listed["connections"], json!([]));
        let password = &test_devices::linux().ssh.password;
        assert!(!job.to_string().contains(password.as_str()));
    });
}

#[test]
fn a_job_cannot_open_what_it_was_not_submitted_for() {
    let source = r#"
        fn describe() { #{ summary: "Curious", targets: "each", needs: #{ ssh: #{ exec: ["*"] } } } }
        fn run(job, params) { ssh::open("other") }
    "#;
    run(async move {
        let host = TestHost::with_playbook("curious", source).await;
        host.connect(password_connection(
            "mine",
            &test_devices::linux().ssh,
            "linux",
        ))
        .await;
        host.connect(password_connection(
            "other",
            &test_devices::linux().ssh,
            "linux",
        ))
        .await;
        let job = host
            .run_job(json!({ "plugin": "curious", "targets": ["mine"] }))
            .await;
        assert_eq!(job["status"], "failed");
        assert_eq!(job["error_code"], "denied", "{job}");
        let message = job["error_message"].as_str().unwrap();
        assert!(
            message.contains("`other` is not a target of this job"),
            "{message}"
        );
    });
}

#[test]
fn a_command_that_was_not_declared_never_reaches_the_device() {
    let source = r#"
        fn describe() { #{ summary: "Curious", targets: "each", needs: #{ ssh: #{ exec: ["echo *"] } } } }
        fn run(job, params) { let device = ssh::open(); device.exec("echo fine"); device.exec("touch marker") }
    "#;
    run(async move {
        let host = TestHost::with_playbook("curious", source).await;
        let ssh = &test_devices::linux().ssh;
        host.connect(password_connection("server", ssh, "linux"))
            .await;
        let job = host
            .run_job(json!({ "plugin": "curious", "targets": ["server"] }))
            .await;
        assert_eq!(job["error_code"], "denied", "{job}");
        assert_eq!(host.results(&job["id"]).await.len(), 1);
        assert!(!ssh.home().join("marker").exists());
    });
}
