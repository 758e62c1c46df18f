//! Tests concurrency limits per device: a connection's limit holds, and a waiting job does not
//! block others.

use serde_json::{Value, json};

use crate::harness::{TestHost, password_connection, run};

const SLEEPS: &str = r#"
fn describe() { #{
    summary: "A test", targets: "all", needs: #{ queue: #{ submit: ["*"] } },
    params: #{ type: "object" }
} }
fn run(job, params) {
    if "child" in params {
        let child = queue::submit("sleeps", #{ seconds: 0 }, #{ targets: job.targets });
        return queue::wait(child).status;
    }
    sleep(params.seconds);
}
"#;

async fn host(concurrency: usize) -> TestHost {
    let each = SLEEPS.replace(r#"targets: "all""#, r#"targets: "each""#);
    let playbooks = [("sleeps", SLEEPS), ("each", &each)];
    let host = TestHost::with_scripts_and(&playbooks, |config| {
        config.worker.concurrency = concurrency;
    })
    .await;
    for (name, most) in [("one", 1), ("two", 2), ("other", 1)] {
        host.connect(json!({
            "name": name, "host": "192.0.2.1", "username": "u", "password": "p",
            "device_type": "linux", "max_sessions": most,
        }))
        .await;
    }
    host
}

fn job(target: &str, seconds: u32) -> serde_json::Value {
    json!({ "plugin": "sleeps", "targets": [target], "params": { "seconds": seconds } })
}

#[test]
fn one_job_at_a_time_on_a_device_and_who_waits_takes_no_place() {
    run(async {
        let host = host(2).await;
        let first = host.submit(job("one", 3_600)).await;
        host.running(&first).await;
        let mut waiting = Vec::new();
        for _ in 0..3 {
            waiting.push(host.submit(job("one", 0)).await);
        }
        let seen = host
            .until(&waiting[0], |job| job["waiting_for"] == json!(["one"]))
            .await;
        assert_eq!(seen["status"], "pending");
        // One of the two slots is free, because only one job sleeps.
        let other = host.run_job(job("other", 0)).await;
        assert_eq!(other["status"], "completed");

        let answer = host.client.get("/api/devices").await;
        let one = &answer.body["devices"][0];
        assert_eq!(one["connection"], "one", "{}", answer.body);
        assert_eq!(one["held_by"], json!([first]));
        assert_eq!(one["waiting"], json!(waiting));

        host.client
            .act(&format!("/api/jobs/{}/cancel", waiting[1]))
            .await;
        host.client.act(&format!("/api/jobs/{first}/cancel")).await;
        let mut ended = Vec::new();
        for id in &waiting {
            ended.push(host.ended(id).await);
        }
        assert_eq!(ended[0]["status"], "completed");
        assert_eq!(ended[1]["status"], "cancelled");
        assert_eq!(ended[2]["status"], "completed");
        assert!(
            ended[0]["completed_at"].as_str() <= ended[2]["started_at"].as_str(),
            "one after the other"
        );
        let idle = async {
            while host.client.get("/api/devices").await.body["devices"] != json!([]) {
                tokio::task::yield_now().await;
            }
        };
        idle.await;
    });
}

/// The waiting child job is deleted with its batch, and must not block the device's queue.
#[test]
fn a_batch_that_is_deleted_while_it_waits_leaves_the_device_to_others() {
    run(async {
        let host = host(2).await;
        let first = host.submit(job("one", 3_600)).await;
        host.running(&first).await;
        let batch = json!({
            "plugin": "each", "targets": ["name:one"], "params": { "seconds": 0 },
        });
        let batch = host.submit(batch).await;
        let url = format!("/api/jobs?parent={batch}");
        let child = host.client.get(&url).await.body["jobs"][0]["id"].clone();
        host.until(child.as_str().unwrap(), |job| {
            job["waiting_for"] == json!(["one"])
        })
        .await;
        host.client.act(&format!("/api/jobs/{batch}/cancel")).await;
        host.ended(&batch).await;
        let deleted = host.client.delete(&format!("/api/jobs/{batch}")).await;
        assert_eq!(deleted.status, 204, "{}", deleted.body);
        host.client.act(&format!("/api/jobs/{first}/cancel")).await;
        host.ended(&first).await;
        let next = host.run_job(job("one", 0)).await;
        assert_eq!(next["status"], "completed");
    });
}

#[test]
fn as_many_as_the_connection_allows() {
    run(async {
        let host = host(4).await;
        let mut jobs = Vec::new();
        for _ in 0..3 {
            jobs.push(host.submit(job("two", 3_600)).await);
        }
        host.running(&jobs[0]).await;
        host.running(&jobs[1]).await;
        host.until(&jobs[2], |job| job["waiting_for"] == json!(["two"]))
            .await;
        host.client
            .act(&format!("/api/jobs/{}/cancel", jobs[0]))
            .await;
        host.running(&jobs[2]).await;
    });
}

#[test]
fn a_child_job_shares_its_parents_device() {
    run(async {
        let host = host(1).await;
        let parent = host
            .run_job(json!({ "plugin": "sleeps", "targets": ["one"], "params": { "child": true } }))
            .await;
        assert_eq!(parent["result"], "completed", "{parent}");
    });
}

#[test]
fn a_device_that_refuses_the_password_is_left_alone() {
    run(async {
        let host = TestHost::start().await;
        let mut connection = password_connection("server", &test_devices::linux().ssh, "linux");
        connection["password"] = json!("wrong");
        host.connect(connection).await;
        let mut codes = Vec::new();
        for _ in 0..3 {
            let job = host
                .run_job(json!({ "plugin": "collect-facts", "targets": ["server"] }))
                .await;
            codes.push(job["error_code"].clone());
        }
        assert_eq!(codes, ["authentication", "authentication", "unavailable"]);
        let answer = host.client.get("/api/devices").await;
        let open_circuits = &answer.body["open_circuits"][0];
        assert!(open_circuits["retry_after_seconds"].as_u64().unwrap() <= 60);
        assert!(!open_circuits["reason"].as_str().unwrap().contains("wrong"));
    });
}

#[test]
fn open_circuits_are_listed_in_pages() {
    run(async {
        let host = TestHost::start().await;
        for number in [2, 3] {
            // Nothing listens there.
            host.connect(json!({
                "name": format!("gone-{number}"), "host": format!("127.0.0.{number}"), "port": 9,
                "username": "u", "password": "p", "device_type": "linux",
            }))
            .await;
            for _ in 0..3 {
                let target = format!("gone-{number}");
                let job =
                    json!({ "plugin": "collect-facts", "targets": [target], "max_retries": 0 });
                assert_eq!(host.run_job(job).await["error_code"], "network");
            }
        }
        let addresses = |page: &Value| {
            let open = page["open_circuits"].as_array().unwrap().iter();
            open.map(|open| open["address"].clone()).collect::<Vec<_>>()
        };
        let path = "/api/devices/open-circuits";
        let all = host.client.get(path).await.body;
        assert_eq!(addresses(&all), ["127.0.0.2:9", "127.0.0.3:9"], "{all}");
        assert_eq!(all["next_cursor"], Value::Null);
        let first = host.client.get(&format!("{path}?limit=1")).await.body;
        assert_eq!(addresses(&first), ["127.0.0.2:9"]);
        let cursor = first["next_cursor"].as_str().unwrap();
        let second = host
            .client
            .get(&format!("{path}?limit=1&cursor={cursor}"))
            .await;
        assert_eq!(addresses(&second.body), ["127.0.0.3:9"]);
        assert_eq!(second.body["next_cursor"], Value::Null);

        let devices = host.client.get("/api/devices?limit=1").await.body;
        assert_eq!(addresses(&devices), ["127.0.0.2:9"]);
        assert_eq!(devices["open_circuits_more"], true);
    });
}
