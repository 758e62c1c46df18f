//! Compares a database of a million jobs with one of a handful.

use std::time::Instant;

use chrono::{TimeDelta, Utc};
use host::config::Config;
use sqlx::{Connection, SqliteConnection};

use super::{Server, bursts, heading, median, row, submit_to_start};

/// Number of ended jobs in the database, of waiting jobs, and of repetitions of each request.
const HISTORY: u32 = 1_000_000;
const WAITING: u32 = 100_000;
const ASKED: usize = 200;

/// Measures the same requests and the same work with a million ended jobs and with a handful.
pub(super) async fn measure() {
    let (few, stop_few) = Server::start(keep_all()).await;
    let (many, stop_many) = Server::start(keep_all()).await;
    add_history(&few, 1_000).await;
    add_history(&many, HISTORY).await;
    heading();
    let long_ago = Utc::now() - TimeDelta::days(80);
    let far = format!("created_before={}", long_ago.format("%Y-%m-%dT%H:%M:%SZ"));
    let questions = [
        ("list", "/api/jobs?limit=50".to_owned()),
        (
            "list by status",
            "/api/jobs?limit=50&status=failed".to_owned(),
        ),
        (
            "list by plugin",
            "/api/jobs?limit=50&plugin=plugin-7".to_owned(),
        ),
        (
            "list by status and plugin",
            "/api/jobs?limit=50&status=cancelled&plugin=plugin-7".to_owned(),
        ),
        (
            "list by target",
            "/api/jobs?limit=50&target=device-77".to_owned(),
        ),
        (
            "list by target, status and plugin",
            "/api/jobs?limit=50&target=device-77&status=failed&plugin=plugin-17".to_owned(),
        ),
        ("list, far back", format!("/api/jobs?limit=50&{far}")),
        (
            "list, far back, by status",
            format!("/api/jobs?limit=50&status=failed&{far}"),
        ),
        ("counts", "/api/jobs/stats".to_owned()),
        ("a job", "/api/jobs/NEWEST".to_owned()),
        ("a job's results", "/api/jobs/NEWEST/results".to_owned()),
        ("a job's log", "/api/jobs/NEWEST/logs".to_owned()),
        ("a job's child jobs", "/api/jobs?parent=NEWEST".to_owned()),
    ];
    let newest = [newest(&few).await, newest(&many).await];
    for (name, url) in &questions {
        let urls = newest.each_ref().map(|id| url.replace("NEWEST", id));
        let (mut of_few, mut of_many) = (Vec::new(), Vec::new());
        for time in 0..=ASKED {
            for (server, url, times) in [
                (&few, &urls[0], &mut of_few),
                (&many, &urls[1], &mut of_many),
            ] {
                let begun = Instant::now();
                server.get(url).await;
                // The first request warms up.
                if time > 0 {
                    times.push(begun.elapsed());
                }
            }
        }
        let ratio = median(&of_many).as_secs_f64() / median(&of_few).as_secs_f64();
        row(name, &of_many, Some(ratio));
    }
    for server in [&few, &many] {
        work(server).await;
    }
    add_waiting(&many).await;
    work(&many).await;
    stop_few.await;
    stop_many.await;
}

async fn newest(server: &Server) -> String {
    let newest = server.get("/api/jobs?limit=1").await;
    newest["jobs"][0]["id"].as_str().unwrap().to_owned()
}

async fn work(server: &Server) {
    let stats = server.get("/api/jobs/stats").await;
    let of = |status: &str| stats["by_status"][status].as_u64().unwrap();
    println!(
        "-- with {} completed and {} waiting jobs",
        of("completed"),
        of("pending")
    );
    submit_to_start(server).await;
    bursts(server).await;
}

fn keep_all() -> Config {
    let mut config = Config::default();
    config.retention.jobs_per_plugin = 0;
    config.retention.days = 0;
    config.retention.failed_days = 0;
    config
}

/// Adds jobs with a later start time.
async fn add_waiting(server: &Server) {
    let mut database = SqliteConnection::connect(&server.app.config.database.url)
        .await
        .unwrap();
    sqlx::query(
        "INSERT INTO jobs (id, job_type, payload, targets, status, created_at, scheduled_for, ready_at)
         WITH RECURSIVE number (n) AS (SELECT 0 UNION ALL SELECT n + 1 FROM number WHERE n + 1 < ?1),
              job AS (SELECT n, strftime('%Y-%m-%dT%H:%M:%f000Z', 'now') AS now,
                             strftime('%Y-%m-%dT%H:%M:%f000Z', 'now', '+' || (1 + n % 365) || ' days') AS at
                      FROM number)
         SELECT printf('01900000-0000-7000-b000-%012x', n), 'noop', '{}', '[]', 'pending', now, at, at FROM job",
    )
    .bind(WAITING)
    .execute(&mut database)
    .await
    .unwrap();
    database.close().await.unwrap();
}

/// Adds ended jobs of the last ninety days, of 20 plugins on 1,000 devices, each with a log line and a
/// result.
async fn add_history(server: &Server, jobs: u32) {
    let mut database = SqliteConnection::connect(&server.app.config.database.url)
        .await
        .unwrap();
    for sql in [
        "INSERT INTO jobs (id, job_type, payload, targets, status, created_at, started_at, completed_at,
                           ready_at, attempt, worker_id, error_code, error_message)
         WITH RECURSIVE number (n) AS (SELECT 0 UNION ALL SELECT n + 1 FROM number WHERE n + 1 < ?1),
              job AS (SELECT n, strftime('%Y-%m-%dT%H:%M:%f000Z', 'now', '-' || ((?1 - n) * 7776000.0 / ?1) || ' seconds') AS at
                      FROM number)
         SELECT printf('01900000-0000-7000-8000-%012x', n), 'plugin-' || (n % 20), '{\"commands\":[\"show version\"]}',
                '[{\"connection_id\":\"01900000-0000-7000-9000-000000000000\",\"name\":\"device-' || (n % 1000) || '\"}]',
                CASE WHEN n % 97 = 0 THEN 'cancelled' WHEN n % 31 = 0 THEN 'failed' ELSE 'completed' END,
                at, at, at, at, 1, 'worker', NULL, NULL FROM job",
        "INSERT INTO job_targets (job_id, name, connection_id, created_at, job_type)
         SELECT id, json_extract(targets, '$[0].name'), json_extract(targets, '$[0].connection_id'), created_at, job_type
         FROM jobs LIMIT ?1",
        "INSERT INTO job_logs (job_id, level, message, timestamp)
         SELECT id, 'info', 'job started', created_at FROM jobs LIMIT ?1",
        "INSERT INTO job_results (id, job_id, attempt, target, kind, command, output, executed_at, duration_ms)
         SELECT replace(id, '-8000-', '-a000-'), id, 1, json_extract(targets, '$[0].name'), 'exec', 'show version',
                'Cisco IOS Software, Version 15.2(4)M7', created_at, 40
         FROM jobs LIMIT ?1",
    ] {
        sqlx::query(sql).bind(jobs).execute(&mut database).await.unwrap();
    }
    database.close().await.unwrap();
}
