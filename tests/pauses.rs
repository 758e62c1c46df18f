//! Tests pauses: covered jobs, their release, recurring windows; and concurrency limits of plugins.

use chrono::{DateTime, TimeDelta, Utc};
use serde_json::{Value, json};

use crate::harness::{TestHost, run};

const ONE: &str = r#"
fn describe() { #{
    summary: "A test", targets: "each", needs: #{ queue: #{ submit: ["*"] } },
    params: #{ type: "object" }
} }
fn run(job, params) {
    if "child" in params {
        let child = queue::submit(params.child, #{}, #{ targets: [job.target] });
        return queue::wait(child).status;
    }
    if "seconds" in params { sleep(params.seconds); }
}
"#;

/// Starts a host with two identical plugins and three devices, two of which have the tag `core`.
async fn host() -> TestHost {
    host_and(|_| {}).await
}

async fn host_and(configure: impl FnOnce(&mut host::config::Config)) -> TestHost {
    let host = TestHost::with_scripts_and(&[("push-vlan", ONE), ("backup", ONE)], configure).await;
    for (name, tags) in [
        ("core-1", vec!["core"]),
        ("core-2", vec!["core"]),
        ("edge-1", vec![]),
    ] {
        host.connect(json!({
            "name": name, "host": "192.0.2.1", "username": "u", "password": "p",
            "device_type": "linux", "tags": tags,
        }))
        .await;
    }
    host
}

async fn pause(host: &TestHost, pause: Value) -> Value {
    let answer = host.client.post("/api/pauses", &pause).await;
    assert_eq!(answer.status, 201, "{}", answer.body);
    answer.body
}

async fn end(host: &TestHost, name: &str) {
    let answer = host.client.delete(&format!("/api/pauses/{name}")).await;
    assert_eq!(answer.status, 204, "{}", answer.body);
}

fn job(plugin: &str, target: &str) -> Value {
    json!({ "plugin": plugin, "targets": [target] })
}

fn time(value: &Value) -> DateTime<Utc> {
    value.as_str().unwrap().parse().unwrap()
}

#[test]
fn everything_waits_until_the_pause_is_removed_over_a_restart_too() {
    run(async {
        let host = host().await;
        let made = pause(
            &host,
            json!({ "name": "night", "reason": "no one is here" }),
        )
        .await;
        assert_eq!(made["in_force"], true);
        assert_eq!(made["until"], json!(null));
        let id = host.submit(job("backup", "core-1")).await;
        let looks = |job: &Value| job["paused_by"]["pause"] == "night";
        let held = host.until(&id, looks).await;
        assert_eq!(held["status"], "pending");
        assert_eq!(held["paused_by"]["reason"], "no one is here");
        let cancelled = host.submit(job("backup", "core-2")).await;
        host.until(&cancelled, looks).await;
        host.client
            .act(&format!("/api/jobs/{cancelled}/cancel"))
            .await;
        let cancelled = host.ended(&cancelled).await;
        assert_eq!(cancelled["status"], "cancelled");
        assert_eq!(cancelled["paused_by"], json!(null));

        let host = host.stop().await.start().await;
        host.until(&id, looks).await;
        end(&host, "night").await;
        let ended = host.ended(&id).await;
        assert_eq!(ended["status"], "completed", "{ended}");
        assert_eq!(ended["paused_by"], json!(null));
        let logs = host.logs(&ended["id"]).await;
        let says = "job paused: pause `night`, until it is removed: no one is here";
        assert!(logs.iter().any(|line| line["message"] == says), "{logs:?}");
    });
}

#[test]
fn only_what_it_is_for_is_held_back() {
    run(async {
        let host = host().await;
        let frozen = json!({ "name": "freeze", "plugins": ["push-*"], "targets": "tag:core" });
        pause(&host, frozen).await;
        let held = host.submit(job("push-vlan", "core-1")).await;
        host.until(&held, |job| job["paused_by"]["pause"] == "freeze")
            .await;
        for job in [job("push-vlan", "edge-1"), job("backup", "core-1")] {
            assert_eq!(host.run_job(job).await["status"], "completed");
        }
        // The parent waits for the child job.
        let mut parent = job("backup", "core-2");
        parent["params"] = json!({ "child": "push-vlan" });
        assert_eq!(host.run_job(parent).await["result"], "completed");

        // Replaced by a pause of another device.
        let other = json!({ "name": "freeze", "plugins": ["push-*"], "targets": "core-2" });
        let answer = host.client.put("/api/pauses/freeze", &other).await;
        assert_eq!(answer.status, 200, "{}", answer.body);
        assert_eq!(host.ended(&held).await["status"], "completed");
    });
}

#[test]
fn a_window_that_ends_lets_jobs_go_by_itself() {
    run(async {
        let host = host().await;
        let until = host::model::now() + TimeDelta::milliseconds(1_500);
        pause(&host, json!({ "name": "short", "ends_at": until })).await;
        let id = host.submit(job("backup", "core-1")).await;
        let held = host
            .until(&id, |job| job["paused_by"]["pause"] == "short")
            .await;
        assert_eq!(time(&held["paused_by"]["until"]), time(&json!(until)));
        let ended = host.ended(&id).await;
        assert_eq!(ended["status"], "completed");
        let late = time(&ended["started_at"]) - until;
        assert!(late >= TimeDelta::zero(), "{late} before its end");
        // Without the event, the job would start at the next poll, up to half a minute later.
        assert!(late < TimeDelta::seconds(20), "{late} after its end");
        let over = host.client.get("/api/pauses/short").await.body;
        assert_eq!(over["in_force"], false);
    });
}

#[test]
fn recurring_windows_hold_in_their_minutes() {
    run(async {
        let host = host().await;
        let always = json!({ "cron_expression": "* * * * *", "minutes": 5 });
        let made = pause(&host, json!({ "name": "always", "windows": always })).await;
        assert_eq!(made["in_force"], true, "{made}");
        assert_eq!(made["next_starts"].as_array().unwrap().len(), 5);
        // A year's first minute, in which no test runs.
        let never =
            json!({ "cron_expression": "0 0 1 1 *", "timezone": "Europe/Berlin", "minutes": 1 });
        let made = pause(&host, json!({ "name": "never", "windows": never })).await;
        assert_eq!(made["in_force"], false, "{made}");
        end(&host, "always").await;
        let ended = host.run_job(job("backup", "core-1")).await;
        assert_eq!(ended["status"], "completed");
    });
}

#[test]
fn a_window_that_is_ended_leaves_the_definition_over_a_restart_too() {
    run(async {
        let host = host().await;
        let windows = json!({ "cron_expression": "0 0 * * *", "minutes": 1440, "timezone": "UTC" });
        pause(&host, json!({ "name": "daily", "windows": windows })).await;
        let id = host.submit(job("backup", "core-1")).await;
        host.until(&id, |job| job["paused_by"]["pause"] == "daily")
            .await;
        let shown = host.client.get("/api/pauses/daily").await.body;
        assert_eq!(
            (&shown["held_jobs"], &shown["in_force"]),
            (&json!(1), &json!(true))
        );

        let ended = host.client.act("/api/pauses/daily/end").await;
        assert_eq!(ended.status, 200, "{}", ended.body);
        assert_eq!(ended.body["in_force"], false);
        assert_eq!(ended.body["windows"], windows);
        assert_eq!(ended.body["next_starts"], shown["next_starts"]);
        assert_eq!(host.ended(&id).await["status"], "completed");
        let again = host.client.act("/api/pauses/daily/end").await;
        assert_eq!(again.status, 409, "{}", again.body);
        assert_eq!(host.client.act("/api/pauses/none/end").await.status, 404);

        let host = host.stop().await.start().await;
        let listed = host.client.get("/api/pauses").await.body;
        assert_eq!(listed["pauses"][0], ended.body);
        let id = host.submit(job("backup", "core-1")).await;
        assert_eq!(host.ended(&id).await["status"], "completed");

        // A replaced definition applies at once.
        let body = json!({ "name": "daily", "windows": windows });
        let replaced = host.client.put("/api/pauses/daily", &body).await;
        assert_eq!(replaced.body["in_force"], true, "{}", replaced.body);

        // A pause without windows is over.
        pause(&host, json!({ "name": "now", "targets": "tag:core" })).await;
        let over = host.client.act("/api/pauses/now/end").await;
        assert_eq!(over.body["in_force"], false, "{}", over.body);
        assert_eq!(over.body["next_starts"], json!([]));
        assert!(time(&over.body["ends_at"]) <= Utc::now());
    });
}

#[test]
fn what_is_left_out_is_cancelled_and_a_batch_goes_on_without_it() {
    run(async {
        let host = host().await;
        let skipping = json!({
            "name": "broken", "targets": "core-2", "action": "skip", "reason": "its disk is dying",
        });
        pause(&host, skipping).await;
        let alone = host.run_job(job("backup", "core-2")).await;
        assert_eq!(alone["status"], "cancelled", "{alone}");
        assert_eq!(alone["error_code"], "skipped");
        assert_eq!(
            alone["error_message"],
            "job skipped: pause `broken`, until it is removed: its disk is dying"
        );
        let batch = json!({
            "plugin": "backup", "targets": ["name:*"], "batch": { "concurrency": 1 },
        });
        let batch = host.run_job(batch).await;
        let counts = &batch["batch"]["counts"];
        assert_eq!(counts["completed"], 2, "{batch}");
        assert_eq!(counts["cancelled"], 1, "{batch}");
    });
}

#[test]
fn parked_child_jobs_are_withdrawn_when_their_batch_is_cancelled_or_deleted() {
    run(async {
        let host = host().await;
        let holds = |count: u32| move |pause: &Value| pause["held_jobs"] == count;
        let batch =
            json!({ "plugin": "backup", "targets": ["name:*"], "batch": { "concurrency": 3 } });
        pause(&host, json!({ "name": "night" })).await;
        let cancelled = host.submit(batch.clone()).await;
        host.until_page("/api/pauses/night", holds(3)).await;
        let answer = host
            .client
            .act(&format!("/api/jobs/{cancelled}/cancel"))
            .await;
        assert_eq!(answer.status, 202, "{}", answer.body);
        host.until_page("/api/pauses/night", holds(0)).await;

        let deleted = host.submit(batch.clone()).await;
        host.until_page("/api/pauses/night", holds(3)).await;
        let answer = host.client.delete(&format!("/api/jobs/{deleted}")).await;
        assert_eq!(answer.status, 204, "{}", answer.body);
        host.until_page("/api/pauses/night", holds(0)).await;
        end(&host, "night").await;

        // Child jobs that wait for a device; the job that holds it is unaffected.
        let mut long = job("push-vlan", "core-1");
        long["params"] = json!({ "seconds": 3_600 });
        let long = host.submit(long).await;
        host.running(&long).await;
        let waits = |devices: &Value| {
            let devices = devices["devices"].as_array().unwrap();
            let jobs = devices
                .iter()
                .map(|device| device["waiting"].as_array().unwrap().len());
            jobs.sum::<usize>()
        };
        let busy = json!({ "plugin": "backup", "targets": ["tag:core"] });
        let batch = host.submit(busy).await;
        host.until_page("/api/devices", |devices| waits(devices) == 1)
            .await;
        host.client.act(&format!("/api/jobs/{batch}/cancel")).await;
        let left = host
            .until_page("/api/devices", |devices| waits(devices) == 0)
            .await;
        assert_eq!(left["devices"][0]["held_by"], json!([long]), "{left}");
    });
}

#[test]
fn what_makes_no_sense_is_refused() {
    run(async {
        let host = host().await;
        pause(&host, json!({ "name": "there" })).await;
        let cases = [
            (json!({ "name": "a b" }), "/name"),
            (json!({ "name": "x", "plugins": ["backpu"] }), "/plugins/0"),
            (
                json!({ "name": "x", "targets": "tag:core and" }),
                "/targets",
            ),
            (json!({ "name": "x", "targets": "core-9" }), "/targets"),
            (
                json!({ "name": "x", "ends_at": "2020-01-01T00:00:00Z" }),
                "/ends_at",
            ),
            (
                json!({ "name": "x", "starts_at": "2030-01-02T00:00:00Z", "ends_at": "2030-01-01T00:00:00Z" }),
                "/ends_at",
            ),
            (
                json!({ "name": "x", "windows": { "cron_expression": "61 * * * *", "minutes": 1 } }),
                "/windows/cron_expression",
            ),
            (
                json!({ "name": "x", "windows": { "cron_expression": "0 * * * *", "timezone": "Mars/Base", "minutes": 1 } }),
                "/windows/timezone",
            ),
            (
                json!({ "name": "x", "windows": { "cron_expression": "0 * * * *", "minutes": 0 } }),
                "/windows/minutes",
            ),
            (
                json!({ "name": "x", "windows": { "cron_expression": "0 0 30 2 *", "minutes": 1 } }),
                "/windows/cron_expression",
            ),
            (
                json!({ "name": "x", "ends_at": "+10000-01-01T00:00:00Z" }),
                "/ends_at",
            ),
            (json!({ "name": "x", "until": "tomorrow" }), "/until"),
        ];
        for (pause, pointer) in cases {
            let answer = host.client.post("/api/pauses", &pause).await;
            assert_eq!(answer.status, 422, "{pause}: {}", answer.body);
            assert_eq!(
                answer.body["errors"][0]["pointer"], pointer,
                "{}",
                answer.body
            );
        }
        let near = host
            .client
            .post(
                "/api/pauses",
                &json!({ "name": "x", "plugins": ["backpu"] }),
            )
            .await;
        assert!(near.body.to_string().contains("`backup`"), "{}", near.body);
        let taken = host
            .client
            .post("/api/pauses", &json!({ "name": "there" }))
            .await;
        assert_eq!(taken.status, 409, "{}", taken.body);
        assert_eq!(host.client.delete("/api/pauses/nowhere").await.status, 404);
    });
}

#[test]
fn jobs_of_a_limited_plugin_share_its_places_and_keep_nobody_from_their_devices() {
    run(async {
        let host = host_and(|config| {
            let limited = host::config::PluginPolicy {
                max_running: Some(1),
                ..Default::default()
            };
            config.policy.plugins.insert("backup".to_owned(), limited);
        })
        .await;
        let mut long = job("backup", "core-1");
        long["params"] = json!({ "seconds": 3_600 });
        let first = host.submit(long).await;
        host.running(&first).await;
        let second = host.submit(job("backup", "core-2")).await;
        host.until(&second, |job| {
            job["waiting_for"] == json!(["plugin backup"])
        })
        .await;
        // Its device is free for other jobs.
        let other = host.run_job(job("push-vlan", "core-2")).await;
        assert_eq!(other["status"], "completed");
        host.client.act(&format!("/api/jobs/{first}/cancel")).await;
        assert_eq!(host.ended(&second).await["status"], "completed");

        // A child job of the same plugin needs no slot of its own.
        let mut parent = job("backup", "edge-1");
        parent["params"] = json!({ "child": "backup" });
        assert_eq!(host.run_job(parent).await["result"], "completed");
    });
}
