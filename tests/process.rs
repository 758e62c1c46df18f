//! The real binary, killed: whatever was acknowledged is there afterwards, and comes to an end.

use std::time::{Duration, Instant};

use host::model::JobStatus;
use serde_json::{Value, json};

use crate::harness::{Client, DEADLINE, Server, password_connection, run};

#[test]
fn acknowledged_jobs_survive_being_killed_while_they_run_and_are_submitted() {
    run(async {
        let directory = tempfile::tempdir().unwrap();
        let mut acknowledged = Vec::new();
        for round in 0..4_u64 {
            let server = Server::start(directory.path());
            let submitting = tokio::spawn(submit_until_refused(server.client.clone()));
            // Killed in the middle of it, at another point each time.
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
            // `noop` may be run again, so being cut off does not fail it, unless it was so each time.
            let status = job["status"].as_str().unwrap();
            let fits =
                status == "completed" || (status == "failed" && job["error_code"] == "interrupted");
            assert!(fits, "{job}");
        }
        // Those whose acknowledgement the kill has cut off come to an end, too.
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
        // The playbook fills the allowed memory.
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

/// What may change a device is on disk before it is sent.
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

/// A batch and its child jobs are in the database alone: it goes on where it was.
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

/// Submits jobs, some of which take their time, until the server is gone; returns those it took.
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

/// Waits until so many jobs have been taken in.
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

/// Asks again until there are as many jobs of each status as there should be.
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

/// Asks again until a job looks as it should. The process tells nobody by itself, so this looks
/// every few milliseconds.
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
