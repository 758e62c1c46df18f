//! Tests the real binary after kills: every acknowledged job still exists and ends.

use std::fs::Permissions;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use host::model::JobStatus;
use serde_json::{Value, json};
use test_devices::Linux;

use crate::harness::{Client, DEADLINE, Server, clean, password_connection, run, scheduler};

#[test]
fn acknowledged_jobs_survive_being_killed_while_they_run_and_are_submitted() {
    run(async {
        let directory = tempfile::tempdir().unwrap();
        let mut acknowledged = Vec::new();
        for round in 0..4_u64 {
            let server = Server::start(directory.path());
            let submitting = tokio::spawn(submit_until_refused(server.client.clone()));
            // Killed while jobs run and are submitted, at another point each time.
            let point = 20 + 15 * round as usize;
            wait_for_jobs(&server.client, acknowledged.len() + point).await;
            server.kill();
            acknowledged.extend(submitting.await.unwrap());
        }
        assert!(
            acknowledged.len() >= 100,
            "{} were acknowledged",
            acknowledged.len()
        );

        let server = Server::start(directory.path());
        for id in &acknowledged {
            let job = wait_for_end(&server.client, id).await;
            // `noop` may run again, so interruptions fail it only if all of its attempts were
            // interrupted.
            let status = job["status"].as_str().unwrap();
            let fits =
                status == "completed" || (status == "failed" && job["error_code"] == "interrupted");
            assert!(fits, "{job}");
        }
        // Jobs without an acknowledgement because of the kill end, too.
        wait_for_stats(&server.client, |of| {
            of("pending") + of("running") + of("retrying") == 0
        })
        .await;
        assert_eq!(server.terminate(), Some(0));
    });
}

#[test]
fn a_job_cut_off_by_a_kill_ends_as_its_plugin_declared() {
    run(async {
        let directory = tempfile::tempdir().unwrap();
        let scripts = directory.path().join("scripts");
        std::fs::create_dir(&scripts).unwrap();
        let source = crate::harness::playbook("sleep(3600);");
        std::fs::write(scripts.join("once.rhai"), &source).unwrap();
        // `playbook` declares that it may submit any plugin.
        let environment = [
            ("SCHEDULER_PLUGINS_SCRIPTS_DIR", "scripts"),
            ("SCHEDULER_POLICY_QUEUE_SUBMIT", "*"),
        ];
        let server = Server::start_with(directory.path(), &environment);
        let id = submit(&server.client, json!({ "plugin": "once" }))
            .await
            .unwrap();
        wait_until(&server.client, &id, |job| job["status"] == "running").await;
        server.kill();

        let server = Server::start_with(directory.path(), &environment);
        let job = wait_for_end(&server.client, &id).await;
        assert_eq!(job["status"], "failed");
        assert_eq!(job["error_code"], "interrupted");
        assert_eq!(job["attempt"], 1, "it is not run again by itself");
        let logs = server
            .client
            .get(&format!("/api/jobs/{id}/logs"))
            .await
            .body;
        assert!(
            logs["logs"]
                .to_string()
                .contains("the server stopped while the job was running"),
            "{logs}"
        );
    });
}

/// A write intent is on disk before the command is sent.
#[test]
fn after_a_kill_the_job_says_what_was_being_sent() {
    run(async {
        let directory = tempfile::tempdir().unwrap();
        let server = Server::start(directory.path());
        let ssh = &test_devices::linux().ssh;
        let connection = password_connection("server", ssh, "linux");
        let answer = server.client.post("/api/connections", &connection).await;
        assert_eq!(answer.status, 201, "{}", answer.body);
        let source = directory.path().join("sent");
        std::fs::write(&source, "it was sent\n").unwrap();
        let command = format!("tail -f {}", source.display());
        let id = submit(
            &server.client,
            json!({ "plugin": "ssh-command", "targets": ["server"], "params": { "commands": [command.clone()] } }),
        )
        .await
        .unwrap();
        let url = format!("/api/jobs/{id}/results");
        let sent = async {
            loop {
                let answer = server.client.get(&url).await.body;
                if answer["running"][0]["output"] == "it was sent\n" {
                    break;
                }
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(DEADLINE, sent).await.unwrap();
        server.kill();

        let server = Server::start(directory.path());
        let results = server.client.get(&url).await;
        let result = &results.body["results"][0];
        assert_eq!(result["command"], json!(command), "{}", results.body);
        let error = result["error"].as_str().unwrap();
        assert!(
            error.contains("it is unknown whether the device executed it"),
            "{error}"
        );
    });
}

/// A batch and its child jobs exist only in the database, from which it continues.
#[test]
fn a_batch_that_is_killed_twice_comes_to_its_end() {
    run(async {
        const EACH: &str = r#"
            fn describe() { #{ summary: "A test", targets: "each", on_interrupt: "retry" } }
            fn run(job, params) { sleep(0.05); }
        "#;
        let directory = tempfile::tempdir().unwrap();
        let scripts = directory.path().join("scripts");
        std::fs::create_dir(&scripts).unwrap();
        std::fs::write(scripts.join("each.rhai"), EACH).unwrap();
        let environment = [("SCHEDULER_PLUGINS_SCRIPTS_DIR", "scripts")];
        let server = Server::start_with(directory.path(), &environment);
        for number in 0..60 {
            let connection = json!({
                "name": format!("sw-{number}"), "host": "192.0.2.1", "username": "u",
                "password": "p", "device_type": "linux",
            });
            let answer = server.client.post("/api/connections", &connection).await;
            assert_eq!(answer.status, 201, "{}", answer.body);
        }
        let batch = json!({
            "plugin": "each", "targets": ["name:sw-*"],
            "batch": { "canary": 2, "concurrency": 6 },
        });
        let id = submit(&server.client, batch).await.unwrap();
        let has_completed = |most: u64| {
            move |job: &Value| job["batch"]["counts"]["completed"].as_u64().unwrap() >= most
        };
        wait_until(&server.client, &id, has_completed(5)).await;
        server.kill();
        let server = Server::start_with(directory.path(), &environment);
        wait_until(&server.client, &id, has_completed(20)).await;
        server.kill();
        let server = Server::start_with(directory.path(), &environment);
        let batch = wait_for_end(&server.client, &id).await;
        assert_eq!(batch["status"], "completed", "{batch}");
        assert_eq!(batch["batch"]["counts"]["completed"], 60, "{batch}");
    });
}

#[test]
fn sigterm_drains_and_exits_cleanly() {
    run(async {
        let directory = tempfile::tempdir().unwrap();
        let server = Server::start(directory.path());
        let id = submit(
            &server.client,
            json!({ "plugin": "noop", "params": { "seconds": 0.5 } }),
        )
        .await;
        let id = id.unwrap();
        wait_until(&server.client, &id, |job| job["status"] == "running").await;
        assert_eq!(server.terminate(), Some(0));
        let server = Server::start(directory.path());
        let job = wait_for_end(&server.client, &id).await;
        assert_eq!(job["status"], "completed", "it was let end: {job}");
    });
}

#[test]
fn a_bad_configuration_stops_the_start_and_names_the_key() {
    let directory = tempfile::tempdir().unwrap();
    let refused = |name: &str, value: &str| {
        let output = Server::command(directory.path())
            .env(name, value)
            .output()
            .unwrap();
        assert_eq!(output.status.code(), Some(1), "{name}");
        String::from_utf8(output.stderr).unwrap()
    };
    let told = refused("SCHEDULER_WORKER_CONCURRENCY", "many");
    assert!(
        told.contains("worker.concurrency") && told.contains("many"),
        "{told}"
    );
    let told = refused("SCHEDULER_WORKER_CONCURRENZY", "4");
    assert!(told.contains("SCHEDULER_WORKER_CONCURRENZY"), "{told}");
    let told = refused("SCHEDULER_DATABASE_URL", "sqlite:/nowhere/at/all.db");
    assert!(told.contains("/nowhere/at/all.db"), "{told}");
    let told = refused("SCHEDULER_SERVER_HOST", "192.0.2.1");
    assert!(told.contains("server.host"), "{told}");
}

async fn submit(client: &Client, job: Value) -> Option<String> {
    let sent = client
        .request(reqwest::Method::POST, "/api/jobs")
        .json(&job)
        .send()
        .await
        .ok()?;
    let accepted = sent.status() == 202;
    let body: Value = sent.json().await.ok()?;
    accepted.then(|| body["id"].as_str().unwrap().to_owned())
}

/// Submits jobs, some of which take some time, until the server is down; returns the accepted ones.
async fn submit_until_refused(client: Client) -> Vec<String> {
    let mut ids = Vec::new();
    loop {
        let batch = (0..8).map(|n| {
            let seconds = f64::from(n % 3) * 0.05;
            submit(
                &client,
                json!({ "plugin": "noop", "params": { "seconds": seconds } }),
            )
        });
        let answers = futures::future::join_all(batch).await;
        let refused = answers.iter().any(Option::is_none);
        ids.extend(answers.into_iter().flatten());
        if refused {
            return ids;
        }
    }
}

/// Waits until this number of jobs exists.
async fn wait_for_jobs(client: &Client, count: usize) {
    wait_for_stats(client, |of| {
        JobStatus::ALL
            .iter()
            .map(|status| of(status.as_str()))
            .sum::<u64>()
            >= count as u64
    })
    .await;
}

/// Polls the number of jobs by status until `looks` returns true.
async fn wait_for_stats(client: &Client, looks: impl Fn(&dyn Fn(&str) -> u64) -> bool) {
    let begun = Instant::now();
    loop {
        let stats = client.get("/api/jobs/stats").await.body;
        if looks(&|status| stats["by_status"][status].as_u64().unwrap()) {
            return;
        }
        assert!(begun.elapsed() < DEADLINE, "{stats}");
    }
}

async fn wait_for_end(client: &Client, id: &str) -> Value {
    wait_until(client, id, |job| {
        ["completed", "failed", "cancelled"].contains(&job["status"].as_str().unwrap())
    })
    .await
}

/// Polls a job every few milliseconds until `looks` returns true.
async fn wait_until(client: &Client, id: &str, looks: impl Fn(&Value) -> bool) -> Value {
    let begun = Instant::now();
    let mut look_again = tokio::time::interval(Duration::from_millis(5));
    loop {
        look_again.tick().await;
        let answer = client.get(&format!("/api/jobs/{id}")).await;
        assert_eq!(
            answer.status, 200,
            "an acknowledged job is there: {}",
            answer.body
        );
        if looks(&answer.body) {
            return answer.body;
        }
        assert!(begun.elapsed() < DEADLINE, "{}", answer.body);
    }
}

/// Returns the files and directories below a directory that other users may read or write.
fn open_to_others(directory: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        let metadata = path.symlink_metadata().unwrap();
        if metadata.mode() & 0o077 != 0 {
            found.push(path.clone());
        }
        if metadata.is_dir() {
            open_to_others(&path, found);
        }
    }
}

#[test]
fn files_of_the_server_are_closed_to_other_users_whatever_the_umask() {
    run(async {
        let linux = Linux::start();
        std::fs::write(linux.ssh.home().join("startup-config"), "enable secret 5").unwrap();
        let (outer, scripts) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let directory = outer.path().join("state");
        std::fs::create_dir(&directory).unwrap();
        std::fs::set_permissions(&directory, Permissions::from_mode(0o700)).unwrap();
        let downloads = "fn describe() {
                #{ summary: \"A test\", targets: \"each\", needs: #{ ssh: #{ exec: [\"*\"], download: true } } }
            }
            fn run(job, params) {
                let device = ssh::open();
                device.exec(\"true\");
                device.download(\"startup-config\", \"a/new/directory/startup-config\");
            }";
        std::fs::write(scripts.path().join("it.rhai"), downloads).unwrap();
        std::fs::create_dir(directory.join("files")).unwrap();
        std::fs::set_permissions(directory.join("files"), Permissions::from_mode(0o700)).unwrap();

        let server = Server::command(&directory);
        let mut command = clean(Command::new("sh"));
        command
            .args(["-c", "umask 0 && exec \"$@\"", "sh"])
            .arg(server.get_program())
            .args(server.get_args())
            .current_dir(&directory)
            .stdin(Stdio::null());
        let environment = server.get_envs();
        command.envs(environment.filter_map(|(name, value)| Some((name, value?))));
        command
            .env("SCHEDULER_PLUGINS_SCRIPTS_DIR", scripts.path())
            .env("SCHEDULER_PLUGINS_CACHE_DIR", "cache")
            .env("SCHEDULER_DEVICES_FILES_DIR", "files")
            .env("SCHEDULER_DEVICES_SESSION_LOG_DIR", "sessions")
            .env("SCHEDULER_LOGGING_FILE", "logs/scheduler.log");
        let server = Server::spawn(command, None);
        let connection = password_connection("r1", &linux.ssh, "linux");
        let answer = server.client.post("/api/connections", &connection).await;
        assert_eq!(answer.status, 201, "{}", answer.body);
        let job = json!({ "plugin": "it", "targets": ["r1"] });
        let answer = server.client.post("/api/jobs", &job).await;
        assert_eq!(answer.status, 202, "{}", answer.body);
        let job = wait_for_end(&server.client, answer.body["id"].as_str().unwrap()).await;
        assert_eq!(job["status"], "completed", "{job}");
        let mut backup = scheduler();
        backup
            .args(["db", "backup", "backup.db"])
            .current_dir(&directory);
        let backup = backup.output().unwrap();
        assert!(backup.status.success(), "{backup:?}");
        assert_eq!(server.terminate(), Some(0));

        for made in ["scheduler.db", "files/a/new/directory/startup-config"] {
            assert!(directory.join(made).exists(), "{made}");
        }
        for made in ["sessions", "logs"] {
            let files = std::fs::read_dir(directory.join(made)).unwrap();
            assert!(files.count() > 0, "{made}");
        }
        let mut found = Vec::new();
        open_to_others(&directory, &mut found);
        assert!(found.is_empty(), "{found:?}");
    });
}
