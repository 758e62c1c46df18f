//! Tests cancellation: by request, by timeout, by shutdown.

use std::time::{Duration, Instant};

use netssh_lab::{Lab, LabDevice};
use serde_json::{Value, json};
use sqlx::ConnectOptions;
use sqlx::sqlite::SqliteConnectOptions;

use crate::harness::{TestHost, component, lab_connection, password_connection, playbook, run};

/// Limit for a stop in a test on a busy machine; on a quiet one it takes milliseconds.
const SOON: Duration = Duration::from_secs(10);

async fn cancel(host: &TestHost, id: &str) -> (u16, Value) {
    let answer = host.client.act(&format!("/api/jobs/{id}/cancel")).await;
    (answer.status, answer.body)
}

#[test]
fn a_waiting_job_is_cancelled_at_once() {
    run(async {
        let host = TestHost::start().await;
        let id = host
            .submit(json!({ "plugin": "noop", "scheduled_for": "2999-01-01T00:00:00Z" }))
            .await;
        let (status, body) = cancel(&host, &id).await;
        assert_eq!((status, &body["status"]), (202, &json!("cancelled")));
        let job = host.job(&id).await;
        assert_eq!(job["status"], "cancelled");
        assert_eq!(job["attempt"], 0);

        let (status, _) = cancel(&host, &id).await;
        assert_eq!(status, 409, "it has ended");
        let (status, _) = cancel(&host, "01a20b6c-0c48-7463-ae47-0df747c0413d").await;
        assert_eq!(status, 404);
    });
}

/// A cancellation reaches a script at any point.
#[test]
fn a_running_job_stops_wherever_it_is() {
    let places = [
        ("sleep", "", "sleep(3600);"),
        ("loop", "", "loop { }"),
        ("function", "fn f(x) { loop { x += 1; } }", "f(1)"),
        ("caught", "", "loop { try { sleep(3600); } catch { } }"),
        (
            "child",
            "",
            r#"let id = queue::submit("sleeper", #{}); queue::wait(id);"#,
        ),
        ("logging", "", r#"loop { log::info("again"); }"#),
    ];
    run(async move {
        for (place, functions, body) in places {
            let source = format!("{functions}\n{}", playbook(body));
            let sleeper = playbook("sleep(3600);");
            let host =
                TestHost::with_own_scripts(&[("busy", &source), ("sleeper", &sleeper)]).await;
            let id = host.submit(json!({ "plugin": "busy" })).await;
            host.running(&id).await;
            if place == "child" {
                let children = format!("/api/jobs?parent={id}&status=running");
                while host.client.get(&children).await.body["jobs"] == json!([]) {
                    tokio::task::yield_now().await;
                }
            }
            let asked = Instant::now();
            let (status, _) = cancel(&host, &id).await;
            assert_eq!(status, 202, "{place}");
            let job = host.ended(&id).await;
            assert_eq!(job["status"], "cancelled", "{place}: {job}");
            assert_eq!(job["error_code"], "cancelled", "{place}");
            assert!(asked.elapsed() < SOON, "{place}: {:?}", asked.elapsed());
            if place == "child" {
                let children = host
                    .client
                    .get(&format!("/api/jobs?parent={id}"))
                    .await
                    .body;
                let child = children["jobs"][0]["id"].as_str().unwrap().to_owned();
                assert_eq!(host.ended(&child).await["status"], "cancelled", "{place}");
            }
        }
    });
}

#[test]
fn a_job_that_waits_for_a_device_stops_and_its_session_is_closed() {
    run(async {
        waits_for_a_device_and_stops("ssh-command").await;
        waits_for_a_device_and_stops("ssh-command-wasm").await;
    });
}

async fn waits_for_a_device_and_stops(plugin: &str) {
    let bundled = component("ssh-command-wasm").parent().unwrap().to_owned();
    let host = TestHost::start_with(|config| config.plugins.components_dir = bundled).await;
    let linux = test_devices::Linux::start();
    host.connect(password_connection("server", &linux.ssh, "linux"))
        .await;
    let id = host
        .submit(json!({
            "plugin": plugin, "targets": ["server"], "params": { "commands": ["echo here", "echo begun; sleep 3600"] }
        }))
        .await;
    host.until(&id, |job| job["progress"]["done"] == 1).await;
    host.until_prints(&id, "begun\n").await;
    cancel(&host, &id).await;
    let job = host.ended(&id).await;

    assert_eq!(job["status"], "cancelled", "{job}");
    let results = host.results(&job["id"]).await;
    assert_eq!(
        results[0]["output"].as_str().unwrap().trim_end(),
        "here",
        "what was done is kept"
    );
    assert_eq!(results[1]["command"], "echo begun; sleep 3600");
    assert_eq!(results[1]["output"], "begun\n");
    assert_eq!(results[1]["error"], "cancelled while running");
    linux.ssh.wait_for_sessions(0);
}

#[test]
fn a_job_that_takes_too_long_fails() {
    run(async {
        // Slower than the limit on operations.
        let busy = playbook(r#"loop { "text".split("e"); }"#);
        let host = TestHost::with_playbook("busy", &busy).await;
        let job = host
            .run_job(json!({ "plugin": "busy", "timeout_seconds": 1 }))
            .await;
        assert_eq!(job["status"], "failed");
        assert_eq!(job["error_code"], "timeout");
        assert!(
            job["error_message"]
                .as_str()
                .unwrap()
                .contains("timeout after 1 s"),
            "{job}"
        );
    });
}

#[test]
fn a_running_job_is_not_deleted() {
    run(async {
        let host = TestHost::start().await;
        let id = host
            .submit(json!({ "plugin": "noop", "params": { "seconds": 3600 } }))
            .await;
        host.running(&id).await;
        let answer = host.client.delete(&format!("/api/jobs/{id}")).await;
        assert_eq!(answer.status, 409, "{}", answer.body);
        cancel(&host, &id).await;
        host.ended(&id).await;
        assert_eq!(
            host.client.delete(&format!("/api/jobs/{id}")).await.status,
            204
        );
    });
}

#[test]
fn a_shutdown_lets_jobs_end_within_the_grace_period() {
    run(async {
        let host = TestHost::start_with(|config| config.worker.shutdown_grace_seconds = 60).await;
        let id = host
            .submit(json!({ "plugin": "noop", "params": { "seconds": 0.5 } }))
            .await;
        host.running(&id).await;
        let host = host.stop().await.start().await;
        assert_eq!(host.job(&id).await["status"], "completed");
    });
}

#[test]
fn after_the_grace_period_a_job_is_recorded_as_interrupted() {
    run(async {
        let endless = playbook("sleep(3600);");
        let again = endless.replace("targets:", "on_interrupt: \"retry\", targets:");
        let playbooks = [("once", endless.as_str()), ("again", again.as_str())];
        let host = TestHost::with_scripts_and(&playbooks, |config| {
            config.worker.shutdown_grace_seconds = 0;
        })
        .await;
        let once = host.submit(json!({ "plugin": "once" })).await;
        let again = host.submit(json!({ "plugin": "again" })).await;
        host.running(&once).await;
        host.running(&again).await;
        let host = host.stop().await.start().await;

        let job = host.job(&once).await;
        assert_eq!(job["status"], "failed", "{job}");
        assert_eq!(job["error_code"], "interrupted");
        let job = host.until(&again, |job| job["status"] == "running").await;
        assert_eq!(job["attempt"], 2, "it runs again");
    });
}

/// Another process locks the database while the job records its write intent.
#[test]
fn a_command_that_was_never_sent_has_one_result_that_does_not_doubt_it() {
    run(async {
        let lab = Lab::start(LabDevice {
            // The login takes longer than locking the database.
            delay: Duration::from_millis(300),
            privileged: true,
            ..LabDevice::cisco_ios("r1")
        });
        let lab = lab.await.unwrap();
        let host = TestHost::start().await;
        host.connect(lab_connection("r1", &lab, "cisco_ios")).await;
        let job = json!({
            "plugin": "ssh-command", "targets": ["r1"], "timeout_seconds": 5,
            "params": { "commands": ["ping 192.0.2.1"] },
        });
        // From here on, the host key is known.
        assert_eq!(host.run_job(job.clone()).await["status"], "completed");
        let ping = "ping 192.0.2.1".to_owned();
        assert!(lab.take_commands().contains(&ping));

        let logins = lab.logins();
        let id = host.submit(job).await;
        // The server records the login before it sends the password, and sets the session up
        // afterwards.
        let logged_in = async {
            while lab.logins() == logins {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(SOON, logged_in).await.unwrap();
        let database = SqliteConnectOptions::new().filename(host.path("scheduler.db"));
        let mut database = database.connect().await.unwrap();
        sqlx::query("BEGIN IMMEDIATE")
            .execute(&mut database)
            .await
            .unwrap();
        let url = format!("/api/jobs/{id}/results");
        for sending in [true, false] {
            let waiting = async {
                let running = || async { host.client.get(&url).await.body["running"] != json!([]) };
                while running().await != sending {
                    tokio::task::yield_now().await;
                }
            };
            tokio::time::timeout(SOON, waiting).await.unwrap();
        }
        sqlx::query("ROLLBACK")
            .execute(&mut database)
            .await
            .unwrap();

        let job = host.ended(&id).await;
        assert_eq!(job["error_code"], "timeout", "{job}");
        let results = host.results(&job["id"]).await;
        assert_eq!(results.len(), 1, "{results:?}");
        assert_eq!(results[0]["command"], ping);
        assert!(!results[0]["error"].as_str().unwrap().contains("nobody"));
        assert!(!lab.commands().contains(&ping));
    });
}
