//! Tests connection profiles: stored with sealed secrets, used by jobs, never disclosed.

use reqwest::Method;
use serde_json::{Value, json};
use sqlx::ConnectOptions as _;

use crate::harness::{TestHost, password_connection, run, scheduler};

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
        assert!(error.contains("scheduler.key not found"), "{error}");
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
        assert!(error.contains("in use by another server"), "{error}");
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
        let with = |field: &str, value: Value| {
            let mut connection =
                json!({ "name": "n", "host": "h", "username": "u", "device_type": "linux" });
            connection[field] = value;
            connection
        };
        for (field, value, said) in [
            ("host", json!("[::1]"), "without brackets"),
            ("host", json!("admin@h"), "the user is a separate field"),
            ("host", json!("h:22"), "the port is a separate field"),
            ("host", json!("ssh://h"), "without a scheme"),
            ("host", json!("a;b"), "expected a host name"),
            ("name", json!("."), "a special meaning in URLs"),
            ("name", json!(".."), "a special meaning in URLs"),
            ("host_key", json!("SHA256:abc"), "expected a fingerprint"),
            (
                "host_key",
                json!("ssh-ed25519 AAAA"),
                "expected a fingerprint",
            ),
            (
                "port",
                json!(70000),
                "expected a whole number from 1 to 65535, got 70000",
            ),
            (
                "port",
                json!("22"),
                "expected a whole number from 1 to 65535, got \"22\"",
            ),
            ("tags", json!({}), "expected a list, got an object"),
        ] {
            let refused = host
                .client
                .post("/api/connections", &with(field, value.clone()))
                .await;
            assert_eq!(refused.status, 422, "{field} {value}: {}", refused.body);
            let error = &refused.body["errors"][0];
            assert_eq!(error["pointer"], format!("/{field}"));
            let message = error["message"].as_str().unwrap();
            assert!(message.contains(said), "{field} {value}: {message}");
        }
        // 128 characters of several bytes each.
        let stored = host
            .client
            .post("/api/connections", &with("name", json!("ü".repeat(128))))
            .await;
        assert_eq!(stored.status, 201, "{}", stored.body);
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

/// Returns the place at which the host keys of a directly connected device are stored.
fn place(ssh: &test_devices::Sshd) -> host::model::HostKeyPlace {
    host::model::HostKeyPlace {
        host: ssh.host.clone(),
        port: ssh.port,
        route: "[]".to_owned(),
    }
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

        // Another device at the same address.
        let second = test_devices::Linux::start();
        let seen = host
            .app
            .storage
            .host_keys(&place(&first.ssh))
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
            .add_host_key(&place(&second.ssh), known, now)
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

/// Returns a connection with an answer of each kind.
fn with_answers() -> Value {
    let mut connection = core1();
    connection["answers"] = json!([
        { "question": "Select a role", "answer": "hunter2-role" },
        { "question": "(?i)accept", "answer": "yes", "secret": false },
        { "question": "any key", "answer": " ", "secret": false, "key": true },
        { "question": "Ops word", "credential": "password" },
        { "question": "Who are you", "credential": "username" }
    ]);
    connection
}

fn shown_answers() -> Value {
    json!([
        { "question": "Select a role", "secret": true, "set": true, "key": false },
        { "question": "(?i)accept", "answer": "yes", "secret": false, "key": false },
        { "question": "any key", "answer": " ", "secret": false, "key": true },
        { "question": "Ops word", "credential": "password", "secret": true, "key": false },
        { "question": "Who are you", "credential": "username", "secret": false, "key": false }
    ])
}

#[test]
fn answers_are_stored_and_shown_without_the_secret_ones() {
    run(async {
        let host = TestHost::start().await;
        let created = host.client.post("/api/connections", &with_answers()).await;
        assert_eq!(created.status, 201, "{}", created.body);
        assert_eq!(created.body["answers"], shown_answers());
        let shown = host.client.get("/api/connections/core-1").await;
        let listed = host.client.get("/api/connections").await;
        assert_eq!(shown.body, created.body);
        assert_eq!(listed.body["connections"][0], created.body);
        for answer in [created, shown, listed] {
            assert!(!answer.text.contains("hunter2"), "{}", answer.text);
        }
        let stopped = host.stop().await;
        for name in ["scheduler.db", "scheduler.db-wal"] {
            let bytes = std::fs::read(stopped.path(name)).unwrap_or_default();
            assert!(
                !bytes.windows(7).any(|window| window == b"hunter2"),
                "{name}"
            );
        }
    });
}

#[test]
fn an_update_keeps_the_answers_marked_as_set() {
    run(async {
        let host = TestHost::start().await;
        let created = host.client.post("/api/connections", &with_answers()).await;
        let put = async |answers: Option<Value>| {
            let mut body = json!({
                "name": "core-1", "host": "192.0.2.1", "username": "admin",
                "device_type": "cisco_ios"
            });
            if let Some(answers) = answers {
                body["answers"] = answers;
            }
            host.client.put("/api/connections/core-1", &body).await
        };
        // Without the field, all answers are kept.
        assert_eq!(put(None).await.body["answers"], shown_answers());
        // The answers of a GET can be sent back.
        let answers = created.body["answers"].clone();
        assert_eq!(put(Some(answers)).await.body["answers"], shown_answers());
        // In another order, and only some of them.
        let fewer = json!([
            { "question": "Ops word", "credential": "secret" },
            { "question": "Select a role", "set": true }
        ]);
        let updated = put(Some(fewer)).await;
        assert_eq!(updated.status, 200, "{}", updated.body);
        assert_eq!(
            updated.body["answers"],
            json!([
                { "question": "Ops word", "credential": "secret", "secret": true, "key": false },
                { "question": "Select a role", "secret": true, "set": true, "key": false }
            ])
        );
        for nothing in [json!([]), Value::Null] {
            assert_eq!(put(Some(nothing)).await.body["answers"], json!([]));
        }
        // No stored answer is left to keep.
        let refused = put(Some(json!([{ "question": "Select a role", "set": true }]))).await;
        assert_eq!(refused.status, 422);
        assert_eq!(refused.body["errors"][0]["pointer"], "/answers/0/set");
    });
}

#[test]
fn invalid_answers_are_rejected_field_by_field() {
    run(async {
        let host = TestHost::start().await;
        let entry =
            |question: &str, answer: &str| json!({ "question": question, "answer": answer });
        let many: Vec<Value> = (0..17).map(|n| entry(&format!("q{n}"), "a")).collect();
        for (answers, pointer) in [
            (json!(many), "/answers"),
            (json!("yes"), "/answers"),
            (json!([entry("", "a")]), "/answers/0/question"),
            (json!([entry(&"q".repeat(513), "a")]), "/answers/0/question"),
            (json!([entry("(", "a")]), "/answers/0/question"),
            (json!([entry("\\w{999}", "a")]), "/answers/0/question"),
            (json!([entry("a\nb", "a")]), "/answers/0/question"),
            (json!([entry(".*", "a")]), "/answers/0/question"),
            (
                json!([entry("q", "a"), entry("q", "b")]),
                "/answers/1/question",
            ),
            (json!([{ "answer": "hunter2" }]), "/answers/0"),
            (json!([entry("q", "hunter2\n")]), "/answers/0/answer"),
            (
                json!([entry("q", &"hunter2".repeat(147))]),
                "/answers/0/answer",
            ),
            (
                json!([{ "question": "q", "answer": 12_345_678 }]),
                "/answers/0/answer",
            ),
            (
                json!([{ "question": "q", "answer": "hunter2", "key": true }]),
                "/answers/0/answer",
            ),
            (json!([{ "question": "q" }]), "/answers/0/answer"),
            (
                json!([{ "question": "q", "answer": "hunter2", "credential": "password" }]),
                "/answers/0/answer",
            ),
            (
                json!([{ "question": "q", "answer": "hunter2", "set": true }]),
                "/answers/0/answer",
            ),
            (json!([{ "question": "q", "set": true }]), "/answers/0/set"),
            (
                json!([{ "question": "q", "credential": "passphrase" }]),
                "/answers/0/credential",
            ),
            (
                json!([{ "question": "q", "credential": "password", "secret": false }]),
                "/answers/0/secret",
            ),
            (
                json!([{ "question": "q", "credential": "password", "key": true }]),
                "/answers/0/key",
            ),
            (
                json!([{ "question": "q", "answer": "a", "echo": true }]),
                "/answers/0/echo",
            ),
        ] {
            let mut connection = core1();
            connection["answers"] = answers.clone();
            for path in ["/api/connections", "/api/connections/test"] {
                let refused = host.client.post(path, &connection).await;
                assert_eq!(refused.status, 422, "{answers}");
                let first = &refused.body["errors"][0];
                assert_eq!(first["pointer"], pointer, "{answers}: {}", refused.body);
                assert!(!refused.text.contains("hunter2"), "{}", refused.text);
                assert!(!refused.text.contains("12345678"), "{}", refused.text);
            }
            let job = json!({
                "plugin": "ssh-command", "connection": connection, "params": { "commands": ["true"] }
            });
            let refused = host.client.post("/api/jobs", &job).await;
            assert_eq!(refused.status, 422, "{answers}");
            let first = &refused.body["errors"][0]["pointer"];
            assert_eq!(first, &format!("/connection{pointer}"), "{}", refused.body);
        }
        // The connection has no password that could be the answer.
        let mut connection = core1();
        connection["password"] = Value::Null;
        connection["answers"] = json!([{ "question": "q", "credential": "password" }]);
        let refused = host.client.post("/api/connections", &connection).await;
        assert_eq!(
            refused.body["errors"][0]["pointer"],
            "/answers/0/credential"
        );
    });
}

#[test]
fn stored_answers_must_be_given_again_for_another_address() {
    run(async {
        let host = TestHost::start().await;
        host.connect(with_answers()).await;
        let moved = |answers: Option<Value>| {
            let mut body = core1();
            body["host"] = json!("192.0.2.2");
            if let Some(answers) = answers {
                body["answers"] = answers;
            }
            body
        };
        let put = async |body: Value| host.client.put("/api/connections/core-1", &body).await;
        let pointer = |refused: &Value| refused["errors"][0]["pointer"].clone();
        let refused = put(moved(None)).await;
        assert_eq!(
            (refused.status, pointer(&refused.body)),
            (422, json!("/answers"))
        );
        let kept = json!([{ "question": "Select a role", "set": true }]);
        let refused = put(moved(Some(kept))).await;
        assert_eq!(
            (refused.status, pointer(&refused.body)),
            (422, json!("/answers/0/set"))
        );
        // An update neither discloses a secret answer nor moves it to another question.
        for (entry, place) in [
            (
                json!({ "question": "Select a role", "set": true, "secret": false }),
                "/answers/0/secret",
            ),
            (
                json!({ "question": "Select a role", "set": true, "key": true }),
                "/answers/0/key",
            ),
            (
                json!({ "question": "Select", "set": true }),
                "/answers/0/set",
            ),
        ] {
            let mut body = core1();
            body["answers"] = json!([entry]);
            let refused = put(body).await;
            assert_eq!(
                (refused.status, pointer(&refused.body)),
                (422, json!(place))
            );
        }
        // The password cannot be removed while an answer uses it.
        let mut body = core1();
        body["password"] = Value::Null;
        let refused = put(body).await;
        assert_eq!(
            (refused.status, pointer(&refused.body)),
            (422, json!("/answers"))
        );
        let again = json!([
            { "question": "Select a role", "answer": "2" },
            { "question": "Ops word", "credential": "password" }
        ]);
        let updated = put(moved(Some(again))).await;
        assert_eq!(updated.status, 200, "{}", updated.body);
    });
}

/// zebra over telnet behind SSH asks for a second password, and for another one at `enable`.
#[test]
fn answers_reach_a_device_that_asks_before_its_prompt() {
    run(async {
        let host = TestHost::start().await;
        let zebra = test_devices::Zebra::start();
        let mut connection = password_connection("edge2", &zebra.ssh, "frr");
        let test = async |connection: &Value| {
            let tested = host.client.post("/api/connections/test", connection).await;
            assert_eq!(tested.status, 200, "{}", tested.body);
            assert!(!tested.text.contains(&zebra.password), "{}", tested.text);
            tested.body
        };
        assert_eq!(test(&connection).await["ok"], false);

        connection["answers"] = json!([{ "question": "^Password: ?$", "answer": zebra.password }]);
        let unsaved = test(&connection).await;
        assert_eq!(unsaved["prompt"], "edge2>", "{unsaved}");
        connection["secret"] = json!(zebra.enable_secret);
        host.connect(connection.clone()).await;
        let saved = host.client.act("/api/connections/edge2/test").await.body;
        assert_eq!(saved["prompt"], "edge2#", "{saved}");

        let job = host
            .run_job(json!({
                "plugin": "ssh-command", "connection": connection,
                "params": { "commands": ["show version"] }
            }))
            .await;
        assert_eq!(job["status"], "completed", "{job}");
        assert!(!job.to_string().contains(zebra.password.as_str()));
    });
}

#[test]
fn answers_reach_keyboard_interactive() {
    run(async {
        let host = TestHost::start().await;
        let linux = test_devices::Linux::start_with(&test_devices::LinuxOptions {
            keyboard_interactive: true,
            ..test_devices::LinuxOptions::default()
        });
        let mut connection = password_connection("server", &linux.ssh, "linux");
        let tested = host.client.post("/api/connections/test", &connection).await;
        assert_eq!(tested.body["ok"], true, "{}", tested.body);
        connection["answers"] =
            json!([{ "question": "^Password: $", "answer": linux.ssh.password }]);
        connection["password"] = Value::Null;
        let tested = host.client.post("/api/connections/test", &connection).await;
        assert_eq!(tested.body["ok"], true, "{}", tested.body);
        connection["answers"] = json!([{ "question": "^Role: $", "answer": "1" }]);
        let tested = host.client.post("/api/connections/test", &connection).await;
        assert_eq!(tested.body["error_code"], "authentication");
        let error = tested.body["error"].as_str().unwrap();
        assert!(error.contains("\"Password:\""), "{error}");
    });
}

#[test]
fn answers_are_given_by_flags_and_files() {
    run(async {
        let host = TestHost::start().await;
        let url = host.client.url("");
        let scheduler = async |arguments: &[&str]| {
            let mut command = scheduler();
            command.args(arguments).env("SCHEDULER_URL", &url);
            let output = tokio::task::spawn_blocking(move || command.output().unwrap());
            let output = output.await.unwrap();
            let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
            let (stdout, stderr) = (text(output.stdout), text(output.stderr));
            assert!(!format!("{stdout}{stderr}").contains("hunter2"), "{stderr}");
            (output.status.code().unwrap(), stdout, stderr)
        };
        let directory = tempfile::tempdir().unwrap();
        let file = |name: &str, text: &str| {
            let path = directory.path().join(name);
            std::fs::write(&path, text).unwrap();
            path.to_str().unwrap().to_owned()
        };
        let toml = file(
            "answers.toml",
            "[[answers]]\nquestion = 'role \\[1-3\\]:'\nanswer = \"hunter2\"\n\
             [[answers]]\nquestion = \"Ops word\"\ncredential = \"password\"\n",
        );
        let password = file("password", "a password\n");
        let (code, _, stderr) = scheduler(&[
            "connection",
            "add",
            "core1",
            "--host",
            "192.0.2.1",
            "--username",
            "admin",
            "--device-type",
            "cisco_ios",
            "--password-file",
            &password,
            "--answer-file",
            &toml,
            "--answer",
            "(?i)accept=yes",
        ])
        .await;
        assert_eq!(code, 0, "{stderr}");
        let (_, shown, _) = scheduler(&["connection", "show", "core1"]).await;
        let expected =
            "role \\[1-3\\]: -> (hidden); Ops word -> the password; (?i)accept -> \"yes\"\n";
        assert!(shown.contains(expected), "{shown}");

        // Changing another field keeps the answers.
        let edit = ["connection", "edit", "core1"];
        let with = |more: &[&'static str]| [&edit[..], more].concat();
        let (code, _, stderr) = scheduler(&with(&["--tag", "core"])).await;
        assert_eq!(code, 0, "{stderr}");
        let (_, shown, _) = scheduler(&["connection", "show", "core1"]).await;
        assert!(shown.contains(expected), "{shown}");

        // A file replaces all answers, and may keep some.
        let json = r#"{ "answers": [{ "question": "role \\[1-3\\]:", "set": true }] }"#;
        let json = file("answers.json", json);
        let (code, _, stderr) =
            scheduler(&["connection", "edit", "core1", "--answer-file", &json]).await;
        assert_eq!(code, 0, "{stderr}");
        let (_, shown, _) = scheduler(&["connection", "show", "core1"]).await;
        assert!(shown.contains("role \\[1-3\\]: -> (hidden)\n"), "{shown}");

        let (code, _, _) = scheduler(&with(&["--clear", "answers"])).await;
        let (_, shown, _) = scheduler(&["connection", "show", "core1"]).await;
        assert!(code == 0 && !shown.contains("role"), "{shown}");

        // The error names an invalid file but does not quote it.
        for (name, text) in [
            (
                "broken.toml",
                "[[answers]]\nquestion = \"q\"\nanswer = hunter2\n",
            ),
            (
                "broken.json",
                "{ \"answers\": [{ \"question\": \"q\", \"answer\": hunter2 }] }",
            ),
            ("other.toml", "hunter2 = 1\n"),
            (
                "other.json",
                "[{ \"question\": \"q\", \"answer\": \"hunter2\" }]",
            ),
        ] {
            let path = file(name, text);
            let (code, _, stderr) =
                scheduler(&["connection", "edit", "core1", "--answer-file", &path]).await;
            assert_eq!(code, 2, "{name}: {stderr}");
            let said = match name {
                "broken.toml" => "not valid TOML at line 3, column ",
                "broken.json" => "not valid JSON at line 1, column ",
                _ => "expected `answers`, a list of tables",
            };
            assert!(stderr.contains(name) && stderr.contains(said), "{stderr}");
            assert!(!stderr.contains("hunter2"), "{stderr}");
        }
        let (code, _, stderr) = scheduler(&with(&["--answer", "no text"])).await;
        assert_eq!(code, 2, "{stderr}");
    });
}

#[test]
fn the_digest_of_a_request_does_not_tell_its_password() {
    run(async {
        let host = TestHost::start().await;
        let body = json!({
            "plugin": "ssh-command", "params": { "commands": ["show clock"] }, "connection": {
                "host": "192.0.2.1", "username": "admin", "password": "Winter2026!",
                "device_type": "cisco_ios",
            },
        })
        .to_string();
        let submit = async || {
            let request = host.client.request(Method::POST, "/api/jobs");
            let request = request
                .header("Idempotency-Key", "k1")
                .header("Content-Type", "application/json")
                .body(body.clone());
            host.client.send(request).await
        };
        let first = submit().await;
        let path = host.path("scheduler.db");
        let database = sqlx::sqlite::SqliteConnectOptions::new().filename(path);
        let mut database = database.connect().await.unwrap();
        let stored: String =
            sqlx::query_scalar("SELECT request_digest FROM jobs WHERE idempotency_key = 'k1'")
                .fetch_one(&mut database)
                .await
                .unwrap();
        assert_eq!(first.status, 202, "{}", first.body);
        assert_eq!(submit().await.body["id"], first.body["id"]);
        assert_eq!(stored.len(), 64);
        assert_ne!(stored, host::model::digest_of(body.as_bytes()));
        // Migrated jobs have no digest, because earlier versions stored it without a key; their
        // idempotency keys are refused.
        sqlx::query("UPDATE jobs SET request_digest = NULL")
            .execute(&mut database)
            .await
            .unwrap();
        assert_eq!(submit().await.status, 409);
    });
}
