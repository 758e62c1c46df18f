//! Tests schedules: jobs start at their times, exactly once, and according to the policies.

use std::time::{Duration, Instant};

use chrono::{DateTime, Utc};
use serde_json::{Value, json};

use crate::harness::{DEADLINE, TestHost, run};

const EACH_SECOND: &str = "* * * * * *";
/// Never due during a test.
const YEARLY: &str = "0 0 1 1 *";

fn schedule(name: &str, cron: &str, rest: &Value) -> Value {
    let mut schedule = json!({ "name": name, "plugin": "noop", "cron_expression": cron });
    let fields = schedule.as_object_mut().unwrap();
    fields.extend(rest.as_object().unwrap().clone());
    schedule
}

async fn create(host: &TestHost, schedule: &Value) -> Value {
    let answer = host.client.post("/api/schedules", schedule).await;
    assert_eq!(answer.status, 201, "{}", answer.body);
    answer.body
}

async fn show(host: &TestHost, name: &str) -> Value {
    host.client
        .get(&format!("/api/schedules/{name}"))
        .await
        .body
}

async fn until(host: &TestHost, name: &str, looks: impl Fn(&Value) -> bool) -> Value {
    let waiting = async {
        loop {
            let schedule = show(host, name).await;
            if looks(&schedule) {
                return schedule;
            }
            tokio::task::yield_now().await;
        }
    };
    let seen = tokio::time::timeout(DEADLINE, waiting).await;
    seen.expect("the schedule comes to look as it should")
}

/// Returns the jobs of a schedule, oldest first.
async fn jobs_of(host: &TestHost, schedule: &Value) -> Vec<Value> {
    let answer = host.client.get("/api/jobs?limit=500").await;
    let jobs = answer.body["jobs"].as_array().unwrap().iter().rev();
    jobs.filter(|job| job["schedule_id"] == schedule["id"])
        .cloned()
        .collect()
}

fn time(value: &Value) -> DateTime<Utc> {
    value.as_str().unwrap().parse().unwrap()
}

fn outcome_is(start: &'static str) -> impl Fn(&Value) -> bool {
    move |schedule| {
        let outcome = schedule["last_outcome"].as_str();
        outcome.is_some_and(|outcome| outcome.starts_with(start))
    }
}

#[test]
fn a_schedule_fires_to_the_second_and_each_time_once() {
    run(async {
        let host = TestHost::start().await;
        let made = create(
            &host,
            &schedule("beat", EACH_SECOND, &json!({ "overlap": "allow" })),
        )
        .await;
        assert_eq!(made["next_runs"].as_array().unwrap().len(), 5);
        let started = Instant::now();
        let jobs = loop {
            let jobs = jobs_of(&host, &made).await;
            if jobs.len() >= 3 {
                break jobs;
            }
            assert!(started.elapsed() < DEADLINE);
            tokio::task::yield_now().await;
        };
        let off = host.client.act("/api/schedules/beat/disable").await;
        assert_eq!(off.body["next_run_at"], Value::Null, "{}", off.body);
        let times: Vec<_> = jobs.iter().map(|job| time(&job["scheduled_for"])).collect();
        for pair in times.windows(2) {
            assert_eq!((pair[1] - pair[0]).num_seconds(), 1, "{times:?}");
        }
        assert_eq!(jobs[0]["cron_expression"], EACH_SECOND);
        // A machine that pauses for a moment delays some of them, not all.
        let late = jobs
            .iter()
            .map(|job| time(&job["created_at"]) - time(&job["scheduled_for"]));
        assert!(late.min().unwrap().num_milliseconds() < 900);
    });
}

#[test]
fn a_time_that_comes_while_the_last_job_runs_is_skipped_and_says_so() {
    run(async {
        let host = TestHost::start().await;
        let rest = json!({ "params": { "seconds": 60 } });
        let made = create(&host, &schedule("slow", EACH_SECOND, &rest)).await;
        let seen = until(&host, "slow", outcome_is("skipped: the previous job")).await;
        assert_eq!(jobs_of(&host, &made).await.len(), 1, "{seen}");
    });
}

#[test]
fn of_the_times_that_come_while_the_last_job_runs_one_waits() {
    run(async {
        let host = TestHost::start().await;
        let rest = json!({ "params": { "seconds": 60 }, "overlap": "queue" });
        let made = create(&host, &schedule("slow", EACH_SECOND, &rest)).await;
        until(
            &host,
            "slow",
            outcome_is("skipped: another job is already waiting"),
        )
        .await;
        let jobs = jobs_of(&host, &made).await;
        assert_eq!(jobs.len(), 1);
        let first = jobs[0]["id"].as_str().unwrap();
        host.client.act(&format!("/api/jobs/{first}/cancel")).await;
        let seen = until(&host, "slow", |schedule| schedule["last_job_id"] != first).await;
        let second = host.job(seen["last_job_id"].as_str().unwrap()).await;
        assert_eq!(second["schedule_id"], made["id"]);
    });
}

/// Returns a host that was down when a schedule was due an hour ago.
async fn after_downtime(misfire: &str) -> (TestHost, Value) {
    let host = TestHost::start().await;
    let made = create(
        &host,
        &schedule("rare", YEARLY, &json!({ "misfire": misfire })),
    )
    .await;
    let database = host.path("scheduler.db");
    let stopped = host.stop().await;
    let hour_ago = Utc::now() - chrono::TimeDelta::hours(1);
    let text = hour_ago.to_rfc3339_opts(chrono::SecondsFormat::Micros, true);
    let pool = sqlx::SqlitePool::connect(&format!("sqlite:{}", database.display()))
        .await
        .unwrap();
    sqlx::query("UPDATE schedules SET next_run_at = ?")
        .bind(text)
        .execute(&pool)
        .await
        .unwrap();
    pool.close().await;
    let host = stopped.start().await;
    let seen = until(&host, "rare", |schedule| {
        schedule["last_outcome"].is_string()
    })
    .await;
    assert_eq!(seen["next_run_at"], made["next_run_at"]);
    (host, seen)
}

#[test]
fn a_time_that_passed_while_the_server_was_down_is_left_out() {
    run(async {
        let (host, seen) = after_downtime("skip").await;
        assert!(outcome_is("skipped: the server was not")(&seen), "{seen}");
        assert!(jobs_of(&host, &seen).await.is_empty());
    });
}

#[test]
fn a_time_that_passed_while_the_server_was_down_is_made_up_for() {
    run(async {
        let (host, _) = after_downtime("run_once").await;
        let seen = until(&host, "rare", outcome_is("submitted")).await;
        assert_eq!(jobs_of(&host, &seen).await.len(), 1);
    });
}

#[test]
fn a_time_whose_job_was_cut_off_by_a_crash_gets_it_and_one_only() {
    run(async {
        let host = TestHost::start().await;
        let made = create(&host, &schedule("rare", YEARLY, &json!({}))).await;
        let database = host.path("scheduler.db");
        let stopped = host.stop().await;
        // Restores the state of a kill between recording the time and submitting the job.
        let pool = sqlx::SqlitePool::connect(&format!("sqlite:{}", database.display()))
            .await
            .unwrap();
        let due = "INSERT INTO schedule_ticks VALUES (?, '2026-01-01T00:00:00.000000Z', 1)
                   ON CONFLICT DO UPDATE SET due = 1";
        let id = made["id"].as_str().unwrap();
        sqlx::query(due).bind(id).execute(&pool).await.unwrap();
        let host = stopped.start().await;
        let seen = until(&host, "rare", outcome_is("submitted")).await;
        let first = seen["last_job_id"].as_str().unwrap().to_owned();
        host.ended(&first).await;

        // And after the submission.
        let stopped = host.stop().await;
        sqlx::query(due).bind(id).execute(&pool).await.unwrap();
        sqlx::query("UPDATE schedules SET last_outcome = NULL")
            .execute(&pool)
            .await
            .unwrap();
        pool.close().await;
        let host = stopped.start().await;
        let seen = until(&host, "rare", outcome_is("submitted")).await;
        assert_eq!(seen["last_job_id"], json!(first));
        assert_eq!(jobs_of(&host, &made).await.len(), 1);
    });
}

#[test]
fn a_schedule_is_triggered_switched_changed_and_removed() {
    run(async {
        let host = TestHost::start().await;
        let off = json!({ "enabled": false });
        let made = create(&host, &schedule("hand", EACH_SECOND, &off)).await;
        assert_eq!(made["next_run_at"], Value::Null);
        let answer = host.client.act("/api/schedules/hand/trigger").await;
        assert_eq!(answer.status, 202, "{}", answer.body);
        host.ended(answer.body["id"].as_str().unwrap()).await;
        // Another schedule shows that time has passed without a job of this one.
        create(&host, &schedule("beat", EACH_SECOND, &json!({}))).await;
        until(&host, "beat", outcome_is("submitted")).await;
        assert_eq!(jobs_of(&host, &made).await.len(), 1);

        let path = format!("/api/schedules/{}", made["id"].as_str().unwrap());
        let rest = json!({ "timezone": "Europe/Berlin", "starts_at": "2999-01-01T00:00:00Z" });
        let changed = host
            .client
            .put(&path, &schedule("hand", "30 2 * * *", &rest))
            .await;
        assert_eq!(changed.body["enabled"], false, "{}", changed.body);
        let on = host.client.act("/api/schedules/hand/enable").await;
        assert_eq!(
            on.body["next_run_at"], "2999-01-01T01:30:00Z",
            "{}",
            on.body
        );
        assert_eq!(on.body["last_outcome"], "triggered");
        assert_eq!(host.client.delete(&path).await.status, 204);
        assert_eq!(host.client.get(&path).await.status, 404);
    });
}

#[test]
fn what_is_wrong_with_a_schedule_is_said_with_its_place() {
    run(async {
        let host = TestHost::start().await;
        let wrong = schedule(
            "no spaces",
            "99 * * * *",
            &json!({ "params": { "seconds": "x" }, "targets": ["nowhere"], "jitter_seconds": 100_000 }),
        );
        let answer = host.client.post("/api/schedules", &wrong).await;
        assert_eq!(answer.status, 422);
        let errors = answer.body["errors"].as_array().unwrap();
        let pointers: Vec<_> = errors.iter().map(|error| &error["pointer"]).collect();
        for pointer in [
            "/name",
            "/cron_expression",
            "/params/seconds",
            "/targets/0",
            "/jitter_seconds",
        ] {
            assert!(
                pointers.contains(&&json!(pointer)),
                "{pointer}: {}",
                answer.body
            );
        }
        let unknown = json!({ "name": "x", "plugin": "none", "cron_expression": YEARLY });
        assert_eq!(
            host.client.post("/api/schedules", &unknown).await.status,
            404
        );
        create(&host, &schedule("one", YEARLY, &json!({}))).await;
        let again = schedule("one", YEARLY, &json!({}));
        assert_eq!(host.client.post("/api/schedules", &again).await.status, 409);

        let preview = json!({ "cron_expression": "30 2 * * *", "timezone": "Europe/Berlin" });
        let answer = host.client.post("/api/schedules/preview", &preview).await;
        assert_eq!(
            answer.body["next_runs"].as_array().unwrap().len(),
            5,
            "{}",
            answer.body
        );
        let nowhere = json!({ "cron_expression": YEARLY, "timezone": "Mars/Olympus" });
        let answer = host.client.post("/api/schedules/preview", &nowhere).await;
        assert_eq!(answer.body["errors"][0]["pointer"], "/timezone");
    });
}

#[test]
fn a_job_with_a_cron_expression_is_a_schedule() {
    run(async {
        let host = TestHost::start().await;
        let job = json!({ "plugin": "noop", "cron_expression": EACH_SECOND, "timezone": "UTC" });
        let post = |body: Value| {
            let request = host.client.request(reqwest::Method::POST, "/api/jobs");
            host.client
                .send(request.header("Idempotency-Key", "k").json(&body))
        };
        let answer = post(job.clone()).await;
        assert_eq!(answer.status, 202, "{}", answer.body);
        let id = answer.body["schedule_id"].as_str().unwrap().to_owned();
        assert_eq!(answer.headers["location"], format!("/api/schedules/{id}"));
        assert_eq!(post(job.clone()).await.body, answer.body);
        assert_eq!(post(json!({ "plugin": "noop" })).await.status, 409);
        until(&host, &id, outcome_is("submitted")).await;

        let inline = json!({
            "plugin": "noop", "cron_expression": YEARLY,
            "connection": { "host": "h", "username": "u", "device_type": "linux" }
        });
        let answer = host.client.post("/api/jobs", &inline).await;
        assert_eq!(answer.status, 422);
        assert_eq!(answer.body["errors"][0]["pointer"], "/connection");
        let alone = json!({ "plugin": "noop", "timezone": "UTC" });
        let answer = host.client.post("/api/jobs", &alone).await;
        assert_eq!(answer.body["errors"][0]["pointer"], "/timezone");
    });
}

#[test]
fn a_killed_server_loses_and_doubles_no_time() {
    run(async {
        let directory = tempfile::tempdir().unwrap();
        let server = crate::harness::Server::start(directory.path());
        let rest = json!({ "overlap": "allow", "misfire": "run_once" });
        let beat = schedule("beat", EACH_SECOND, &rest);
        let made = server.client.post("/api/schedules", &beat).await;
        assert_eq!(made.status, 201, "{}", made.body);
        wait_for_jobs(&server, 2).await;
        server.kill();
        let server = crate::harness::Server::start(directory.path());
        let jobs = wait_for_jobs(&server, 5).await;
        let mut times: Vec<_> = jobs
            .iter()
            .map(|job| job["scheduled_for"].to_string())
            .collect();
        times.sort();
        let all = times.len();
        times.dedup();
        assert_eq!(times.len(), all, "each time has one job");
        assert_eq!(server.terminate(), Some(0));
    });
}

async fn wait_for_jobs(server: &crate::harness::Server, count: usize) -> Vec<Value> {
    let deadline = Instant::now() + Duration::from_secs(30);
    loop {
        let answer = server.client.get("/api/jobs").await;
        let jobs = answer.body["jobs"].as_array().unwrap();
        if jobs.len() >= count {
            return jobs.clone();
        }
        assert!(Instant::now() < deadline, "{}", answer.body);
        tokio::task::yield_now().await;
    }
}

#[test]
fn a_schedule_that_was_planned_by_a_wrong_clock_is_brought_forward() {
    run(async {
        let host = TestHost::start().await;
        create(
            &host,
            &schedule("beat", EACH_SECOND, &json!({ "enabled": false })),
        )
        .await;
        let database = host.path("scheduler.db");
        let stopped = host.stop().await;
        let pool = sqlx::SqlitePool::connect(&format!("sqlite:{}", database.display()))
            .await
            .unwrap();
        sqlx::query(
            "UPDATE schedules SET enabled = 1, next_run_at = '2999-01-01T00:00:00.000000Z'",
        )
        .execute(&pool)
        .await
        .unwrap();
        pool.close().await;
        let host = stopped.start().await;
        until(&host, "beat", outcome_is("submitted")).await;
    });
}
