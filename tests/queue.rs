//! Tests the queue: scheduled times, priorities, retries, and a lost queue file.

use host::dispatch::{Queue, Waiter};
use serde_json::json;
use uuid::Uuid;

use crate::harness::{DEADLINE, TestHost, password_connection, playbook, run};

fn waiter(id: Uuid, priority: i32) -> Waiter {
    Waiter { id, priority }
}

#[test]
fn a_job_runs_at_its_time_and_not_before() {
    run(async {
        let host = TestHost::start().await;
        let time = chrono::Utc::now() + chrono::TimeDelta::milliseconds(1_200);
        let id = host
            .submit(json!({ "plugin": "noop", "scheduled_for": time }))
            .await;
        assert_eq!(host.job(&id).await["status"], "pending");
        let job = host.ended(&id).await;
        let started: chrono::DateTime<chrono::Utc> =
            job["started_at"].as_str().unwrap().parse().unwrap();
        assert!(started >= time, "{started} is not before {time}");
    });
}

#[test]
fn jobs_without_a_place_wait_and_the_more_urgent_goes_first() {
    run(async {
        let host = TestHost::start_with(|config| config.worker.concurrency = 1).await;
        let blocker = host
            .submit(json!({ "plugin": "noop", "params": { "seconds": 1 } }))
            .await;
        host.running(&blocker).await;
        // One more job is already prefetched.
        let next = host.submit(json!({ "plugin": "noop" })).await;
        let mut order = Vec::new();
        for (name, priority) in [("low", -10), ("high", 10), ("middle", 0)] {
            let id = host
                .submit(json!({ "plugin": "noop", "priority": priority, "description": name }))
                .await;
            order.push(id);
        }
        host.ended(&next).await;
        let mut started = Vec::new();
        for id in &order {
            let job = host.ended(id).await;
            let text = |field: &str| job[field].as_str().unwrap().to_owned();
            started.push((text("started_at"), text("description")));
        }
        started.sort();
        let names: Vec<_> = started.into_iter().map(|(_, name)| name).collect();
        assert_eq!(names, ["high", "middle", "low"]);
    });
}

/// Urgent jobs that keep arriving do not starve the others.
#[test]
fn what_has_waited_long_goes_before_what_is_urgent() {
    run(async {
        let directory = tempfile::tempdir().unwrap();
        let url = format!("sqlite:{}", directory.path().join("queue.db").display());
        let queue = Queue::open(&url).await.unwrap();
        let (low, high) = (Uuid::now_v7(), Uuid::now_v7());
        queue.push(&[waiter(low, -100)]).await.unwrap();
        for _ in 0..20 {
            queue.age().await.unwrap();
        }
        queue.push(&[waiter(high, 100)]).await.unwrap();
        let (sender, mut delivered) = tokio::sync::mpsc::unbounded_channel();
        let consuming = queue.consume("w", 1, move |id| {
            let sender = sender.clone();
            async move { sender.send(id).unwrap() }
        });
        tokio::select! {
            ended = consuming => panic!("the consumer ended: {ended:?}"),
            first = delivered.recv() => assert_eq!(first, Some(low)),
        }
    });
}

/// An urgent job waits only for the batch taken before it and the batch taken with it.
#[test]
fn what_is_urgent_waits_for_less_than_two_takings() {
    run(async {
        let directory = tempfile::tempdir().unwrap();
        let url = format!("sqlite:{}", directory.path().join("queue.db").display());
        let queue = Queue::open(&url).await.unwrap();
        let ids: Vec<_> = (0..20).map(|_| Uuid::now_v7()).collect();
        let jobs: Vec<_> = ids.iter().map(|id| waiter(*id, 0)).collect();
        queue.push(&jobs).await.unwrap();
        let (sender, mut delivered) = tokio::sync::mpsc::unbounded_channel();
        let (open, gate) = tokio::sync::watch::channel(false);
        // Blocks after each job until the gate is open.
        let consuming = queue.consume("w", 4, move |id| {
            let (sender, mut gate) = (sender.clone(), gate.clone());
            async move {
                sender.send(id).unwrap();
                gate.wait_for(|open| *open).await.unwrap();
            }
        });
        let urgent = Uuid::now_v7();
        let order = async {
            let mut order = vec![delivered.recv().await.unwrap()];
            queue.push(&[waiter(urgent, 100)]).await.unwrap();
            open.send(true).unwrap();
            while order.len() < 21 {
                order.push(delivered.recv().await.unwrap());
            }
            order
        };
        let order = tokio::select! {
            ended = consuming => panic!("the consumer ended: {ended:?}"),
            order = tokio::time::timeout(DEADLINE, order) => order.unwrap(),
        };
        let place = order.iter().position(|id| *id == urgent);
        assert!(
            place.is_some_and(|place| (4..8).contains(&place)),
            "{place:?}"
        );

        let removals = ids.iter().map(|id| queue.remove(*id));
        for removed in futures::future::join_all(removals).await {
            removed.unwrap();
        }
        assert_eq!(queue.length().await.unwrap(), 1, "all but the urgent one");
    });
}

#[test]
fn a_failure_on_the_way_is_tried_again() {
    run(async {
        let host = TestHost::start().await;
        // A port without a listener refuses connections at once.
        let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let port = free.local_addr().unwrap().port();
        drop(free);
        host.connect(json!({
            "name": "gone", "host": "127.0.0.1", "port": port, "username": "u", "password": "p",
            "device_type": "linux"
        }))
        .await;
        let id = host
            .submit(json!({ "plugin": "collect-facts", "targets": ["gone"], "max_retries": 5 }))
            .await;
        let job = host.until(&id, |job| job["status"] == "retrying").await;
        assert_eq!(job["retry_count"], 1);
        assert_eq!(job["error_code"], "network", "{job}");
        assert!(job["next_attempt_at"].is_string());

        let answer = host.client.act(&format!("/api/jobs/{id}/cancel")).await;
        assert_eq!(
            answer.body["status"], "cancelled",
            "in its delay it is cancelled at once"
        );
    });
}

#[test]
fn every_attempt_is_kept_and_a_plugin_says_what_is_worth_one() {
    run(async {
        let describe = |retry: &str| {
            format!(
                r#"fn describe() {{ #{{ summary: "A test", targets: "none", retry: {retry} }} }}
                   fn run(job, params) {{
                       if job.attempt < 3 {{ throw #{{ code: "flaky", message: `attempt ${{job.attempt}}` }}; }}
                       throw #{{ code: "network", message: "attempt 3" }};
                   }}"#
            )
        };
        let (retried, not_retried) = (
            describe(r#"#{ on: ["flaky"], not_on: ["network"] }"#),
            describe("#{ }"),
        );
        let playbooks = [("retried", &*retried), ("once", &*not_retried)];
        let host = TestHost::with_scripts_and(&playbooks, |config| {
            config.worker.retry_delay_seconds = 0;
        })
        .await;
        let job = host
            .run_job(json!({ "plugin": "retried", "max_retries": 9 }))
            .await;
        assert_eq!(job["status"], "failed", "{job}");
        assert_eq!(job["error_code"], "network", "{job}");
        let url = format!("/api/jobs/{}/attempts", job["id"].as_str().unwrap());
        let attempts = host.client.get(&url).await.body["attempts"].clone();
        let told: Vec<_> = attempts
            .as_array()
            .unwrap()
            .iter()
            .map(|attempt| {
                (
                    attempt["status"].as_str().unwrap(),
                    attempt["error_message"].as_str().unwrap(),
                )
            })
            .collect();
        let expected = ["attempt 1", "attempt 2", "attempt 3"];
        let told_messages: Vec<_> = told.iter().map(|(_, message)| *message).collect();
        assert!(
            told_messages
                .iter()
                .zip(expected)
                .all(|(told, expected)| told.contains(expected)),
            "{told:?}"
        );
        assert_eq!(
            told.iter().map(|(status, _)| *status).collect::<Vec<_>>(),
            ["retrying", "retrying", "failed"]
        );
        assert!(attempts[0]["next_attempt_at"].is_string());

        let job = host
            .run_job(json!({ "plugin": "once", "max_retries": 9 }))
            .await;
        assert_eq!(
            (&job["attempt"], &job["error_code"]),
            (&json!(1), &json!("flaky"))
        );
    });
}

#[test]
fn what_was_sent_to_a_device_is_not_sent_again() {
    run(async {
        let host = TestHost::start().await;
        let mut connection = password_connection("server", &test_devices::linux().ssh, "linux");
        connection["timeout_seconds"] = json!(1);
        host.connect(connection).await;
        let job = host
            .run_job(json!({
                "plugin": "ssh-command", "targets": ["server"],
                "params": { "commands": ["sleep 30"] }, "max_retries": 5
            }))
            .await;
        assert_eq!(job["status"], "failed", "{job}");
        assert_eq!(job["error_code"], "timeout");
        assert_eq!(
            (&job["attempt"], &job["retry_count"]),
            (&json!(1), &json!(0))
        );
    });
}

#[test]
fn a_hundred_jobs_at_once_all_end() {
    run(async {
        let host = TestHost::start().await;
        let jobs =
            futures::future::join_all((0..100).map(|_| host.run_job(json!({ "plugin": "noop" }))))
                .await;
        assert!(jobs.iter().all(|job| job["status"] == "completed"));
        assert!(jobs.iter().all(|job| job["attempt"] == 1));
    });
}

#[test]
fn a_lost_queue_file_is_made_again() {
    run(async {
        let host = TestHost::start_with(|config| config.worker.shutdown_grace_seconds = 0).await;
        let id = host
            .submit(json!({ "plugin": "noop", "scheduled_for": "2999-01-01T00:00:00Z" }))
            .await;
        let running = host
            .submit(json!({ "plugin": "noop", "params": { "seconds": 3600 } }))
            .await;
        host.running(&running).await;
        let stopped = host.stop().await;
        std::fs::write(
            stopped.path("apalis_queue.db"),
            "this is no database, whatever its name says",
        )
        .unwrap();
        let _ = std::fs::remove_file(stopped.path("apalis_queue.db-wal"));
        let host = stopped.start().await;
        assert_eq!(host.job(&id).await["status"], "pending");
        // Its playbook declares that it may run again.
        host.running(&running).await;
        let job = host.run_job(json!({ "plugin": "noop" })).await;
        assert_eq!(job["status"], "completed");
    });
}

#[test]
fn a_plugin_that_was_removed_fails_the_jobs_that_wait_for_it() {
    run(async {
        let host = TestHost::with_own_scripts(&[("p", &playbook("1"))]).await;
        let time = chrono::Utc::now() + chrono::TimeDelta::milliseconds(500);
        let id = host
            .submit(json!({ "plugin": "p", "scheduled_for": time }))
            .await;
        std::fs::remove_file(host.path("scripts/p.rhai")).unwrap();
        host.client.act("/api/plugins/reload").await;
        let job = host.ended(&id).await;
        assert_eq!(job["status"], "failed");
        assert_eq!(job["error_code"], "not_found", "{job}");
    });
}
