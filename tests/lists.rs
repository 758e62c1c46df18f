//! Tests that every list of the API is bounded, and that its pages are complete.

use std::collections::HashMap;

use host::config::{ChannelConfig, RuleConfig, SecretUrl};
use host::model::{JobError, NotificationEvent, now};
use host::storage::{Claim, Outcome};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::harness::{Receiver, TestHost, new_job, password_connection, run, scheduler};

/// A page has at most 1 MiB of entries, in addition to its own fields.
const LARGEST: usize = (1 << 20) + 4096;
/// Results and log lines, which contain whole texts: 4 MiB.
const LARGEST_OF_TEXTS: usize = 5 << 20;

const CONNECTIONS: usize = 150;
const SCHEDULES: usize = 12;
const PAUSES: usize = 110;
const ATTEMPTS: usize = 80;
const RESULTS: usize = 4;
const WAITING: usize = 120;

const DOES: &str = r#"
fn describe() { #{
    summary: "A test", targets: "all", needs: #{ ssh: #{ exec: ["*"] } },
    params: #{ type: "object" }
} }
fn run(job, params) {
    if "seconds" in params { sleep(params.seconds); }
    if "lines" in params {
        let text = ""; text.pad(12000, "x");
        for line in 0..params.lines { log::info(text); }
    }
    if "results" in params {
        let device = ssh::open(job.targets[0]);
        for result in 0..params.results { device.exec("head -c 3000000 /dev/zero | tr '\\0' x"); }
    }
    if "error" in params { throw params.error; }
}
"#;

/// Returns a plugin with a long declaration.
fn declares(number: usize) -> String {
    format!(
        r#"
fn describe() {{
    let text = ""; text.pad(2000, "long ");
    let patterns = []; for n in 0..300 {{ patterns.push(`show ${{n}} of {number} and ` + text.sub_string(0, 100)); }}
    #{{ summary: "Declares much", targets: "all", needs: #{{ ssh: #{{ exec: patterns }} }},
       params: #{{ type: "object", description: text + text + text }} }}
}}
fn run(job, params) {{ () }}"#
    )
}

#[test]
fn every_list_is_bounded_and_its_pages_are_complete() {
    run(async {
        let receiver = Receiver::start().await;
        let many: Vec<_> = (0..40)
            .map(|number| (format!("declares-{number}"), declares(number)))
            .collect();
        let mut playbooks: Vec<_> = many
            .iter()
            .map(|(name, source)| (name.as_str(), source.as_str()))
            .collect();
        playbooks.push(("does", DOES));
        let host = TestHost::with_scripts_and(&playbooks, |config| {
            let chat = ChannelConfig::Slack {
                url: Some(SecretUrl::new(receiver.url.clone())),
                url_file: None,
            };
            config
                .notifications
                .channels
                .insert("chat".to_owned(), chat);
            config.notifications.rules = vec![RuleConfig {
                on: vec![NotificationEvent::Failed],
                plugins: Vec::new(),
                targets: None,
                channels: vec!["chat".to_owned()],
            }];
        })
        .await;
        let job = fill(&host).await;

        let found = walk(&host, &job).await;
        for (list, count) in [
            ("/api/connections connections", CONNECTIONS + 1),
            ("/api/schedules schedules", SCHEDULES),
            ("/api/pauses pauses", PAUSES),
            ("/api/plugins plugins", many.len() + 1),
            ("/api/jobs/{id}/attempts attempts", ATTEMPTS),
            ("/api/jobs/{id}/results results", RESULTS),
            ("/api/devices devices", 1),
        ] {
            assert_eq!(found.get(list), Some(&count), "{list} in {found:?}");
        }
        // The host may add lines of its own. Five jobs are not among the waiting ones.
        assert!(found["/api/jobs/{id}/logs logs"] >= 400, "{found:?}");
        assert_eq!(found["/api/jobs jobs"], WAITING + 5, "{found:?}");
        assert!(found["/api/notifications notifications"] >= 1, "{found:?}");
        for list in [
            "/api/plugins/{name}/versions versions",
            "/api/connections/{id}/host-keys host_keys",
        ] {
            assert!(found.contains_key(list), "{list} in {found:?}");
        }

        // The command line reads all pages, too.
        let url = host.client.url("");
        let listing = move || {
            let arguments = ["connection", "list", "--output", "json"];
            let command = scheduler()
                .args(arguments)
                .env("SCHEDULER_URL", url)
                .output();
            serde_json::from_slice::<Value>(&command.unwrap().stdout).unwrap()
        };
        let listed = tokio::task::spawn_blocking(listing).await.unwrap();
        let connections = listed["connections"].as_array().unwrap();
        assert_eq!(connections.len(), CONNECTIONS + 1);
        assert_eq!(listed["next_cursor"], Value::Null);

        // The single resource contains the fields that its list omits.
        let schedule = host.client.get("/api/schedules/nightly-0").await.body;
        assert_eq!(schedule["params"]["text"].as_str().unwrap().len(), 300_000);
        let listed = host.client.get("/api/schedules?limit=1").await.body;
        let listed = &listed["schedules"][0];
        assert_eq!(listed["params"], Value::Null);
        assert!(
            listed["params_bytes"].as_u64().unwrap() > 300_000,
            "{listed}"
        );
        let listed = host.client.get("/api/plugins?limit=1").await.body;
        let (listed, name) = (&listed["plugins"][0], "declares-0");
        assert_eq!(
            (&listed["name"], &listed["cut"]),
            (&json!(name), &json!(true))
        );
        assert_eq!(listed["params_schema"], Value::Null);
        let plugin = host.client.get(&format!("/api/plugins/{name}")).await.body;
        assert_eq!(
            plugin["needs"]["ssh"]["exec"].as_array().unwrap().len(),
            300
        );
        assert_eq!(plugin.get("cut"), None);
        let devices = host.client.get("/api/devices").await.body;
        let device = &devices["devices"][0];
        assert_eq!(device["waiting"].as_array().unwrap().len(), 100);
        assert_eq!(device["waiting_count"], WAITING);
    });
}

/// Stores large entries of every kind. Returns the jobs for paths with an id, by the list.
async fn fill(host: &TestHost) -> HashMap<&'static str, String> {
    let ssh = &test_devices::linux().ssh;
    host.connect(password_connection("server", ssh, "linux"))
        .await;
    let tags: Vec<_> = (0..64).map(|number| format!("{number:0>128}")).collect();
    for number in 0..CONNECTIONS {
        host.connect(json!({
            "name": format!("device-{number}"), "host": "192.0.2.1", "username": "u",
            "password": "p", "device_type": "linux", "tags": tags,
        }))
        .await;
    }
    let post = async |path: &str, body: Value| {
        let answer = host.client.post(path, &body).await;
        assert!(answer.status < 300, "{path}: {}", answer.body);
    };
    let text = "x".repeat(300_000);
    for number in 0..SCHEDULES {
        let name = format!("nightly-{number}");
        post(
            "/api/schedules",
            json!({ "name": name, "plugin": "does", "targets": ["device-0"], "cron_expression": "0 0 1 1 *", "params": { "text": text }, "description": "x".repeat(1_000) }),
        )
        .await;
    }
    let patterns: Vec<_> = (0..100).map(|number| format!("{number:*>100}")).collect();
    for number in 0..PAUSES {
        post(
            "/api/pauses",
            json!({ "name": format!("pause-{number}"), "plugins": patterns, "reason": "x".repeat(1_000), "starts_at": "2999-01-01T00:00:00Z" }),
        )
        .await;
    }

    let logs = host
        .run_job(json!({ "plugin": "does", "targets": ["server"], "params": { "lines": 400 } }))
        .await;
    let results = host
        .run_job(
            json!({ "plugin": "does", "targets": ["server"], "params": { "results": RESULTS } }),
        )
        .await;
    assert_eq!(results["status"], "completed", "{results}");
    let error = "x".repeat(20_000);
    host.run_job(json!({ "plugin": "does", "targets": ["server"], "params": { "error": error, "text": text } }))
        .await;
    let holds =
        json!({ "plugin": "does", "targets": ["device-0"], "params": { "seconds": 600.0 } });
    let holding = host.submit(holds.clone()).await;
    host.running(&holding).await;
    let mut waiting = String::new();
    for _ in 0..WAITING {
        let params = json!({ "seconds": 600.0, "text": "x".repeat(900) });
        let job = json!({ "plugin": "does", "targets": ["device-0"], "params": params, "description": "x".repeat(1_000) });
        waiting = host.submit(job).await;
    }
    host.until(&waiting, |job| job["waiting_for"] == json!(["device-0"]))
        .await;
    let id = |job: &Value| job["id"].as_str().unwrap().to_owned();
    HashMap::from([
        ("logs", id(&logs)),
        ("results", id(&results)),
        ("attempts", with_attempts(host).await),
    ])
}

/// Creates a job with many attempts, each with a long error.
async fn with_attempts(host: &TestHost) -> String {
    let later = now() + chrono::TimeDelta::days(1_000);
    let job = host::model::NewJob {
        scheduled_for: Some(later),
        ..new_job(Uuid::now_v7())
    };
    let storage = &host.app.storage;
    storage.add_job(&job, &[], None).await.unwrap();
    for _ in 0..ATTEMPTS {
        let claimed = storage.claim_job(job.id, "w", None, later).await.unwrap();
        let claim = Claim {
            job_id: job.id,
            attempt: claimed.unwrap().attempt,
            worker_id: "w".to_owned(),
        };
        let error = JobError::new("timeout", "x".repeat(16_000));
        let ended = storage
            .finish_job(&claim, Outcome::Retry(error, later), later)
            .await;
        assert!(ended.unwrap());
    }
    job.id.to_string()
}

/// Reads all pages of every list in the OpenAPI document. Returns the number of entries of each.
async fn walk(host: &TestHost, jobs: &HashMap<&str, String>) -> HashMap<String, usize> {
    let specification = host.client.get("/api/openapi.json").await.body;
    let mut found = HashMap::new();
    for (path, methods) in specification["paths"].as_object().unwrap() {
        let answer = &methods["get"]["responses"]["200"]["content"]["application/json"]["schema"];
        let Some(field) = entries_of(&specification, answer) else {
            continue;
        };
        let end = path.rsplit('/').next().unwrap();
        // Without authentication there are none. Their number is bounded: users, and those of a user.
        if ["users", "sessions", "tokens"].contains(&end) {
            continue;
        }
        let id = if path.contains("/jobs/") {
            &jobs[end]
        } else {
            "device-0"
        };
        let url = path.replace("{id}", id).replace("{name}", "does");
        let largest = match end {
            "logs" | "results" => LARGEST_OF_TEXTS,
            _ => LARGEST,
        };
        let (mut next, mut count) = (url.clone(), 0);
        loop {
            let page = host.client.get(&next).await;
            assert_eq!(page.status, 200, "{next}: {}", page.text);
            assert!(
                page.text.len() <= largest,
                "{next}: {} bytes",
                page.text.len()
            );
            count += page.body[&field].as_array().unwrap().len();
            next = match (&page.body["next_cursor"], &page.body["next_after"]) {
                (Value::String(cursor), _) => format!("{url}?cursor={cursor}"),
                (_, Value::String(after)) => format!("{url}?after={after}"),
                (_, Value::Number(after)) => format!("{url}?after={after}"),
                _ => break,
            };
        }
        found.insert(format!("{path} {field}"), count);
    }
    found
}

/// Returns the field with a list's entries, if the response is a list: it has no id, and the field
/// is an array of objects.
fn entries_of(specification: &Value, schema: &Value) -> Option<String> {
    let name = schema["$ref"].as_str()?.rsplit('/').next()?;
    let fields = specification["components"]["schemas"][name]["properties"].as_object()?;
    if fields.contains_key("id") {
        return None;
    }
    let is_list = |field: &&String| {
        let field = &fields[*field];
        field["type"] == "array" && field["items"]["$ref"].is_string()
    };
    fields.keys().find(is_list).cloned()
}
