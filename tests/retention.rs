//! Tests retention: old jobs are deleted, and nothing else.

use host::config::RetentionConfig;
use host::retention;
use serde_json::json;
use sqlx::{Connection, SqliteConnection};

use crate::harness::{TestHost, playbook, run};

const CHILD: &str = r#"
fn describe() { #{ summary: "A test", targets: "each" } }
fn run(job, params) { if job.target == "bad" { throw "told to"; } }
"#;

fn keep(days: u32, failed_days: u32, jobs_per_plugin: u32) -> RetentionConfig {
    RetentionConfig {
        days,
        failed_days,
        jobs_per_plugin,
        max_mb: 0,
    }
}

/// Makes a job and its child jobs look as if they had ended days ago.
async fn age(host: &TestHost, id: &str, days: u32) {
    let url = format!("sqlite:{}", host.path("scheduler.db").display());
    let mut database = SqliteConnection::connect(&url).await.unwrap();
    let ended = chrono::Utc::now() - chrono::TimeDelta::days(days.into());
    let ended = ended.to_rfc3339_opts(chrono::SecondsFormat::Micros, true);
    sqlx::query("UPDATE jobs SET completed_at = ? WHERE id = ? OR parent_id = ?")
        .bind(ended)
        .bind(id)
        .bind(id)
        .execute(&mut database)
        .await
        .unwrap();
    database.close().await.unwrap();
}

async fn is_there(host: &TestHost, id: &str) -> bool {
    host.client.get(&format!("/api/jobs/{id}")).await.status == 200
}

#[test]
fn jobs_are_kept_as_long_as_they_may_be_and_children_as_long_as_their_parent() {
    run(async {
        let playbooks = [("child", CHILD), ("plain", &*playbook("1"))];
        let host = TestHost::with_own_scripts(&playbooks).await;
        for name in ["good", "bad"] {
            host.connect(json!({
                "name": name, "host": "192.0.2.1", "username": "u", "password": "p",
                "device_type": "linux", "tags": ["all"],
            }))
            .await;
        }
        let batch = json!({ "plugin": "child", "targets": ["tag:all"] });
        let jobs = [
            ("old", json!({ "plugin": "plain" }), 100, false),
            ("young", json!({ "plugin": "plain" }), 80, true),
            ("failed batch", batch.clone(), 100, true),
            ("old failed batch", batch, 400, false),
            (
                "failed",
                json!({ "plugin": "child", "targets": ["bad"] }),
                100,
                true,
            ),
        ];
        let mut ids = Vec::new();
        for (_, job, days, _) in &jobs {
            let id = host.submit(job.clone()).await;
            host.ended(&id).await;
            age(&host, &id, *days).await;
            ids.push(id);
        }
        let waiting = host
            .submit(json!({ "plugin": "plain", "scheduled_for": "2999-01-01T00:00:00Z" }))
            .await;

        let config = keep(90, 365, 0);
        let deleted = retention::sweep(&*host.app.storage, &config).await.unwrap();
        assert_eq!(deleted, 4, "a job, and a batch of two");
        for ((name, .., stays), id) in jobs.iter().zip(&ids) {
            assert_eq!(is_there(&host, id).await, *stays, "{name}");
        }
        assert!(is_there(&host, &waiting).await);
        let children = host
            .client
            .get(&format!("/api/jobs?parent={}", ids[2]))
            .await;
        assert_eq!(children.body["jobs"].as_array().unwrap().len(), 2);

        let forever = keep(0, 0, 0);
        assert_eq!(
            retention::sweep(&*host.app.storage, &forever)
                .await
                .unwrap(),
            0
        );
        let health = host.client.get("/api/health").await.body;
        assert!(health["storage"]["bytes"].as_u64().unwrap() > 0, "{health}");
        assert_eq!(health["storage"]["disk_full"], false);
    });
}

#[test]
fn the_newest_of_each_plugin_are_kept() {
    run(async {
        let host =
            TestHost::with_own_scripts(&[("a", &playbook("1")), ("b", &playbook("1"))]).await;
        let mut ids = Vec::new();
        for plugin in ["a", "b", "a", "a"] {
            let job = host.run_job(json!({ "plugin": plugin })).await;
            ids.push(job["id"].as_str().unwrap().to_owned());
        }
        let deleted = retention::sweep(&*host.app.storage, &keep(0, 0, 2))
            .await
            .unwrap();
        assert_eq!(deleted, 1);
        assert!(!is_there(&host, &ids[0]).await, "the oldest of three");
        for id in &ids[1..] {
            assert!(is_there(&host, id).await);
        }
    });
}

#[test]
fn space_is_given_back() {
    run(async {
        let big = playbook("let text = \"x\"; while text.len < 1000000 { text += text; } text");
        let host = TestHost::with_own_scripts(&[("big", &big)]).await;
        for _ in 0..5 {
            let job = host.run_job(json!({ "plugin": "big" })).await;
            assert_eq!(job["status"], "completed", "{}", job["error_message"]);
        }
        let before = host.app.storage.size().await.unwrap();
        retention::sweep(&*host.app.storage, &keep(0, 0, 1))
            .await
            .unwrap();
        let after = host.app.storage.size().await.unwrap();
        assert!(after.bytes < before.bytes / 2, "{before:?} {after:?}");
    });
}

/// Restores the setting of an earlier version, with which the file could only grow.
#[test]
fn a_database_that_gives_no_space_back_is_made_anew_at_the_start() {
    run(async {
        let host = TestHost::with_own_scripts(&[("plain", &playbook("1"))]).await;
        let id = host.submit(json!({ "plugin": "plain" })).await;
        host.ended(&id).await;
        let stopped = host.stop().await;
        let url = format!("sqlite:{}", stopped.path("scheduler.db").display());
        let mut database = SqliteConnection::connect(&url).await.unwrap();
        sqlx::raw_sql("PRAGMA auto_vacuum = NONE; VACUUM")
            .execute(&mut database)
            .await
            .unwrap();
        assert_eq!(auto_vacuum(&url).await, 0);
        database.close().await.unwrap();

        let host = stopped.start().await;
        assert_eq!(auto_vacuum(&url).await, 2);
        assert!(is_there(&host, &id).await);
    });
}

async fn auto_vacuum(url: &str) -> i64 {
    let mut database = SqliteConnection::connect(url).await.unwrap();
    let mode = sqlx::query_scalar("PRAGMA auto_vacuum")
        .fetch_one(&mut database)
        .await
        .unwrap();
    database.close().await.unwrap();
    mode
}

#[test]
fn the_oldest_jobs_go_while_the_database_is_too_large() {
    run(async {
        let big = playbook("let text = \"x\"; while text.len < 400000 { text += text; } text");
        let host = TestHost::with_own_scripts(&[("big", &big), ("small", &playbook("1"))]).await;
        let small = host.run_job(json!({ "plugin": "small" })).await;
        let mut ids = vec![small["id"].as_str().unwrap().to_owned()];
        for _ in 0..5 {
            let job = host.run_job(json!({ "plugin": "big" })).await;
            ids.push(job["id"].as_str().unwrap().to_owned());
        }
        let waiting = host
            .submit(json!({ "plugin": "small", "scheduled_for": "2999-01-01T00:00:00Z" }))
            .await;
        let config = RetentionConfig {
            max_mb: 2,
            ..keep(0, 0, 0)
        };
        let size = || async { host.app.storage.size().await.unwrap() };
        assert!(size().await.bytes > 2 << 20, "{:?}", size().await);
        let deleted = retention::sweep(&*host.app.storage, &config).await.unwrap();
        let after = size().await;
        assert!(after.bytes - after.free <= 2 << 20, "{after:?}");
        let gone = usize::try_from(deleted).unwrap();
        assert!((1..=5).contains(&gone), "{deleted}");
        for (number, id) in ids.iter().enumerate() {
            assert_eq!(is_there(&host, id).await, number >= gone, "{number}");
        }
        assert!(is_there(&host, &waiting).await, "it has not ended");
    });
}

#[test]
fn storage_of_plugins_deletes_no_jobs() {
    run(async {
        let stores = r#"
            fn describe() { #{ summary: "A test", targets: "none", needs: #{ storage: true } } }
            fn run(job, params) {
                let text = "x";
                while text.len < 3000000 { text += text; }
                storage::set("large", text);
            }
        "#;
        let host = TestHost::with_own_scripts(&[("stores", stores)]).await;
        let job = host.run_job(json!({ "plugin": "stores" })).await;
        assert_eq!(job["status"], "completed", "{job}");
        let config = RetentionConfig {
            max_mb: 2,
            ..keep(0, 0, 0)
        };
        let size = host.app.storage.size().await.unwrap();
        assert!(size.bytes - size.free > 2 << 20, "{size:?}");
        let deleted = retention::sweep(&*host.app.storage, &config).await.unwrap();
        assert_eq!(deleted, 0);
    });
}
