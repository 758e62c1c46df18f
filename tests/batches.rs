//! Tests batches: targets by expression, one job per device, canaries and limits, cancellation,
//! reruns.

use std::collections::BTreeMap;

use netssh_lab::{Lab, LabDevice};
use serde_json::{Value, json};

use crate::harness::{TestHost, lab_connection, run};

/// Fails on the given targets, and can wait until the gate is open.
const CHILD: &str = r#"
fn describe() { #{
    summary: "A test", targets: "each", needs: #{ storage: true },
    params: #{ type: "object", properties: #{ fails: #{ type: "array", "default": [] }, waits: #{ type: "boolean", "default": false } } }
} }
fn run(job, params) {
    while params.waits && storage::get("go") == () { sleep(0.01); }
    if job.target in params.fails { throw "told to"; }
    job.target
}
"#;

const GATE: &str = r#"
fn describe() { #{ summary: "Opens the gate", targets: "none", needs: #{ storage: true } } }
fn run(job, params) { storage::set("go", true) }
"#;

async fn host_with_devices(count: usize) -> TestHost {
    let host = TestHost::with_own_scripts(&[("child", CHILD), ("gate", GATE)]).await;
    for number in 1..=count {
        let tag = if number % 2 == 0 { "even" } else { "odd" };
        host.connect(json!({
            "name": format!("sw-{number}"), "host": "192.0.2.1", "username": "u",
            "device_type": "cisco_ios", "tags": ["access", tag], "password": "p",
        }))
        .await;
    }
    host
}

/// Returns how each target's job ended.
async fn children(host: &TestHost, id: &Value) -> BTreeMap<String, String> {
    let url = format!("/api/jobs?parent={}&limit=500", id.as_str().unwrap());
    let answer = host.client.get(&url).await;
    let jobs = answer.body["jobs"].as_array().unwrap().clone();
    let told = jobs.iter().map(|job| {
        // A child job that will never start is not held any more.
        assert!(job["held"] != true || job["status"] == "pending", "{job}");
        let how = match job["error_code"].as_str() {
            Some("not_started") => "not_started",
            _ => job["status"].as_str().unwrap(),
        };
        let target = job["targets"][0].as_str().unwrap();
        (target.to_owned(), how.to_owned())
    });
    told.collect()
}

#[test]
fn an_expression_makes_one_job_a_device() {
    run(async {
        let host = host_with_devices(6).await;
        let job = host
            .run_job(json!({
                "plugin": "child", "targets": ["tag:access and not name:sw-6"],
                "params": { "fails": ["sw-3"] }, "description": "nightly",
            }))
            .await;
        assert_eq!(job["status"], "failed", "{job}");
        assert_eq!(job["error_code"], "batch");
        assert_eq!(job["error_message"], "of 5 targets: 4 completed, 1 failed");
        assert_eq!(job["batch"]["counts"]["completed"], 4);
        assert_eq!(
            job["result"],
            json!({ "completed": ["sw-1", "sw-2", "sw-4", "sw-5"], "failed": ["sw-3"] })
        );
        let told = children(&host, &job["id"]).await;
        assert_eq!(told["sw-3"], "failed");
        assert_eq!(told.len(), 5);
        assert!(job["started_at"].is_string() && job["completed_at"].is_string());
    });
}

#[test]
fn one_name_makes_a_plain_job_and_a_tag_a_batch_of_one() {
    run(async {
        let host = host_with_devices(2).await;
        let plain = host
            .run_job(json!({ "plugin": "child", "targets": ["sw-1"] }))
            .await;
        assert!(plain.get("batch").is_none());
        assert_eq!(plain["result"], "sw-1");
        let batch = host
            .run_job(json!({ "plugin": "child", "targets": ["tag:even"] }))
            .await;
        assert_eq!(batch["status"], "completed", "{batch}");
        assert_eq!(batch["batch"]["counts"]["total"], 1);
    });
}

#[test]
fn a_wrong_expression_says_what_is_wrong() {
    run(async {
        let host = host_with_devices(2).await;
        for (target, told) in [
            ("tag:absent", "no connection matches"),
            ("tag:even and", "expected a target at the end"),
            ("sw-*", "`name:sw-*`"),
            ("tag:even or sw-9", "connection `sw-9` not found"),
            ("sw-9", "connection `sw-9` not found"),
        ] {
            let job = json!({ "plugin": "child", "targets": ["sw-1", target] });
            let answer = host.client.post("/api/jobs", &job).await;
            assert_eq!(answer.status, 422, "{target}: {}", answer.body);
            let error = &answer.body["errors"][0];
            assert_eq!(error["pointer"], "/targets/1");
            let message = error["message"].as_str().unwrap();
            assert!(message.contains(told), "{target}: {message}");
        }
        for (batch, pointer) in [
            (json!({ "canary": -1 }), "/batch/canary"),
            (json!({ "max_failures": "200%" }), "/batch/max_failures"),
            (json!({ "rolling": 1 }), "/batch/rolling"),
        ] {
            let job = json!({ "plugin": "child", "targets": ["tag:access"], "batch": batch });
            let answer = host.client.post("/api/jobs", &job).await;
            assert_eq!(answer.status, 422, "{batch}");
            assert_eq!(
                answer.body["errors"][0]["pointer"], pointer,
                "{}",
                answer.body
            );
        }
    });
}

#[test]
fn a_failed_canary_starts_nothing_more() {
    run(async {
        let host = host_with_devices(6).await;
        let job = host
            .run_job(json!({
                "plugin": "child", "targets": ["tag:access"], "batch": { "canary": 2 },
                "params": { "fails": ["sw-1"] },
            }))
            .await;
        assert_eq!(job["status"], "failed");
        let counts = &job["batch"]["counts"];
        assert_eq!(
            (&counts["failed"], &counts["completed"]),
            (&json!(1), &json!(1))
        );
        assert_eq!(counts["not_started"], 4);
        let logs = host.logs(&job["id"]).await;
        let told = logs.iter().any(|line| {
            line["message"] == "no more child jobs are started: one of 2 canaries failed"
        });
        assert!(told, "{logs:?}");
    });
}

#[test]
fn what_is_left_of_a_batch_runs_again() {
    run(async {
        let host = host_with_devices(5).await;
        let first = host
            .run_job(json!({
                "plugin": "child", "targets": ["tag:access"],
                "batch": { "concurrency": 1, "max_failures": 0 }, "params": { "fails": ["sw-2"] },
            }))
            .await;
        let told = children(&host, &first["id"]).await;
        assert_eq!(told["sw-2"], "failed");
        assert_eq!(told["sw-3"], "not_started");
        let rerun = format!("/api/jobs/{}/rerun", first["id"].as_str().unwrap());

        let mut targets = Vec::new();
        for only in ["failed", "unfinished", "all"] {
            let answer = host.client.post(&rerun, &json!({ "only": only })).await;
            assert_eq!(answer.status, 202, "{}", answer.body);
            let again = host.ended(answer.body["id"].as_str().unwrap()).await;
            assert_eq!(again["params"], first["params"]);
            assert_eq!(again["rerun_of"], first["id"]);
            targets.push(again["targets"].clone());
        }
        assert_eq!(targets[0], json!(["sw-2"]));
        assert_eq!(targets[1], json!(["sw-2", "sw-3", "sw-4", "sw-5"]));
        assert_eq!(targets[2].as_array().unwrap().len(), 5);

        // The same key creates one job; a plain job cannot be rerun in part.
        let keyed = || {
            host.client
                .request(reqwest::Method::POST, &rerun)
                .header("Idempotency-Key", "again")
        };
        let (one, two) = (
            host.client.send(keyed()).await,
            host.client.send(keyed()).await,
        );
        assert_eq!(one.body["id"], two.body["id"]);
        let plain = host.run_job(json!({ "plugin": "gate" })).await;
        let rerun = format!("/api/jobs/{}/rerun", plain["id"].as_str().unwrap());
        let answer = host.client.post(&rerun, &json!({ "only": "failed" })).await;
        assert_eq!(answer.status, 422, "{}", answer.body);
        assert_eq!(host.client.act(&rerun).await.status, 202);
    });
}

#[test]
fn cancelling_a_batch_cancels_its_child_jobs() {
    run(async {
        let host = host_with_devices(6).await;
        let id = host
            .submit(json!({
                "plugin": "child", "targets": ["tag:access"], "batch": { "concurrency": 2 },
                "params": { "waits": true },
            }))
            .await;
        host.until(&id, |job| job["batch"]["counts"]["running"] == 2)
            .await;
        let rerun = host.client.act(&format!("/api/jobs/{id}/rerun")).await;
        assert_eq!(rerun.status, 409, "it has not ended");
        let answer = host.client.act(&format!("/api/jobs/{id}/cancel")).await;
        assert_eq!(answer.status, 202, "{}", answer.body);
        let job = host.ended(&id).await;
        assert_eq!(job["status"], "cancelled", "{job}");
        let counts = &job["batch"]["counts"];
        assert_eq!(
            (&counts["cancelled"], &counts["not_started"]),
            (&json!(2), &json!(4))
        );
    });
}

#[test]
fn a_batch_goes_on_after_a_restart() {
    run(async {
        let host = host_with_devices(4).await;
        let id = host
            .submit(json!({
                "plugin": "child", "targets": ["tag:access"], "batch": { "concurrency": 1 },
                "scheduled_for": chrono::Utc::now() + chrono::TimeDelta::seconds(2),
            }))
            .await;
        let host = host.stop().await.start().await;
        let job = host.ended(&id).await;
        assert_eq!(job["status"], "completed", "{job}");
        assert_eq!(job["batch"]["counts"]["completed"], 4);
    });
}

/// Runs a batch on simulated devices through their command line.
#[test]
fn a_batch_asks_each_device() {
    run(async {
        let host = TestHost::start().await;
        let mut labs = Vec::new();
        for number in 1..=3 {
            let name = format!("r{number}");
            let lab = Lab::start(LabDevice::cisco_ios(&name)).await.unwrap();
            let mut connection = lab_connection(&name, &lab, "cisco_ios");
            connection["tags"] = json!(["lab"]);
            host.connect(connection).await;
            labs.push(lab);
        }
        let job = host
            .run_job(json!({
                "plugin": "ssh-command", "targets": ["tag:lab"],
                "params": { "commands": ["show version"] },
            }))
            .await;
        assert_eq!(job["status"], "completed", "{job}");
    });
}
