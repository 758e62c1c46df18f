//! Tests notifications: rules, channels, retries, with a real HTTP server and a real mail server
//! that are available, down, slow, or refusing.

use std::path::Path;
use std::process::Command;

use chrono::{DateTime, Utc};
use host::config::{Config, NotificationsConfig, Sources};
use serde_json::{Value, json};

use crate::harness::{
    Certificate, Client, DEADLINE, MailServer, Received, Receiver, Server, TestHost, free_port,
    run, scheduler,
};

const KEY: &str = "0123456789abcdef-key";

/// Fails, or takes some time, as its parameters say.
const PLAIN: &str = r#"
fn describe() { #{
    summary: "A test", targets: "none",
    params: #{ type: "object", properties: #{ throws: #{ type: "string", "default": "" }, seconds: #{ type: "number", "default": 0 } } }
} }
fn run(job, params) {
    sleep(params.seconds);
    if params.throws != "" { throw params.throws; }
}
"#;

/// Fails on the given targets.
const EACH: &str = r#"
fn describe() { #{
    summary: "A test", targets: "each",
    params: #{ type: "object", properties: #{ fails: #{ type: "array", "default": [] } } }
} }
fn run(job, params) { if job.target in params.fails { throw "told to"; } }
"#;

/// Parses the tables of a configuration file like the server. `HOOK` and `CHAT` are the files of
/// the channels' secrets.
fn notifications(directory: &Path, toml: &str) -> NotificationsConfig {
    let file = |name: &str| directory.join(name).display().to_string();
    std::fs::write(file("hook.key"), format!("{KEY}\n")).unwrap();
    let toml = toml
        .replace("HOOK", &file("hook.key"))
        .replace("CHAT", &file("chat-url"));
    let place = tempfile::tempdir().unwrap();
    std::fs::write(place.path().join("config.toml"), toml).unwrap();
    let sources = Sources {
        directory: place.path().to_owned(),
        ..Sources::default()
    };
    Config::load(&sources).unwrap().notifications
}

/// Starts a host with three playbooks and three unreachable devices; `sw-3` has the tag `core`.
async fn start(toml: &str) -> TestHost {
    let playbooks = [("plain", PLAIN), ("each", EACH), ("backup-x", PLAIN)];
    let host = TestHost::with_scripts_and(&playbooks, |config| {
        let directory = config.security.master_key_file.parent().unwrap();
        config.notifications = notifications(directory, toml);
    })
    .await;
    for (name, tag) in [("sw-1", "access"), ("sw-2", "access"), ("sw-3", "core")] {
        host.connect(json!({
            "name": name, "host": "192.0.2.1", "username": "u", "device_type": "cisco_ios",
            "tags": [tag], "password": "p",
        }))
        .await;
    }
    host
}

/// Returns the table of a webhook.
fn hook(name: &str, url: &str) -> String {
    format!(
        "[notifications.channels.{name}]\nkind = 'webhook'\nurl = '{url}'\nsecret_file = 'HOOK'\n"
    )
}

fn rule(on: &str, channels: &str, rest: &str) -> String {
    format!("[[notifications.rules]]\non = [{on}]\nchannels = [{channels}]\n{rest}\n")
}

/// Returns a webhook with one rule.
fn one(receiver: &Receiver, on: &str, rest: &str) -> String {
    [hook("ops", &receiver.url), rule(on, "'ops'", rest)].concat()
}

async fn fail(host: &TestHost, message: &str) -> Value {
    let job = host
        .run_job(json!({ "plugin": "plain", "params": { "throws": message } }))
        .await;
    assert_eq!(job["status"], "failed", "{job}");
    job
}

async fn complete(host: &TestHost) -> Value {
    let job = host.run_job(json!({ "plugin": "plain" })).await;
    assert_eq!(job["status"], "completed", "{job}");
    job
}

async fn listed(client: &Client) -> Vec<Value> {
    let answer = client.get("/api/notifications").await;
    assert_eq!(answer.status, 200, "{}", answer.body);
    answer.body["notifications"].as_array().unwrap().clone()
}

/// Waits until the newest notification satisfies `looks`.
async fn until(client: &Client, looks: impl Fn(&Value) -> bool) -> Value {
    let waiting = async {
        loop {
            if let Some(newest) = listed(client).await.first()
                && looks(newest)
            {
                return newest.clone();
            }
            tokio::task::yield_now().await;
        }
    };
    let seen = tokio::time::timeout(DEADLINE, waiting).await;
    seen.expect("the notification comes to look as it should")
}

fn is_about(message: &Received, job: &Value, event: &str) {
    let body = &message.body;
    assert_eq!(body["job"]["id"], job["id"], "{body}");
    assert_eq!(body["event"], event, "{body}");
    assert_eq!(message.header("x-scheduler-event"), event);
    assert_eq!(body["id"], message.header("x-scheduler-delivery"));
    assert!(message.is_signed_with(KEY));
}

#[test]
fn a_failed_job_is_told_of_with_a_signature() {
    run(async {
        let receiver = Receiver::start().await;
        let toml = [
            "[notifications]\nboard_url = 'https://noc.example.com/board'\n".to_owned(),
            one(&receiver, "'failed'", ""),
        ]
        .concat();
        let host = start(&toml).await;
        complete(&host).await;
        let job = fail(&host, "no \"way\"").await;
        let message = receiver.next().await;
        is_about(&message, &job, "failed");
        assert!(!message.is_signed_with("another key altogether"));
        let body = &message.body;
        assert_eq!(body["summary"], "plain failed: script");
        let error = body["error"]["message"].as_str().unwrap();
        assert!(error.contains("no \"way\""), "{body}");
        let link = format!(
            "https://noc.example.com/board/jobs/{}",
            job["id"].as_str().unwrap()
        );
        assert_eq!(body["url"], json!(link));
        assert!(body["failed_devices"].is_null());
        for private in ["params", "result"] {
            assert!(body["job"].get(private).is_none(), "{body}");
        }
        let sent = until(&host.client, |newest| newest["state"] == "sent").await;
        assert_eq!(sent["id"], body["id"]);
        assert_eq!(sent["attempts"], 1);
        assert_eq!(listed(&host.client).await.len(), 1, "nothing of the other");
    });
}

/// Only the last attempt ends a job.
#[test]
fn an_attempt_that_is_tried_again_is_not_told_of() {
    run(async {
        let receiver = Receiver::start().await;
        let toml = one(&receiver, "'failed', 'completed', 'cancelled'", "");
        let host = TestHost::start_with(|config| {
            let directory = config.security.master_key_file.parent().unwrap();
            config.notifications = notifications(directory, &toml);
            config.worker.retry_delay_seconds = 0;
        })
        .await;
        host.connect(json!({
            "name": "away", "host": "127.0.0.1", "port": free_port(), "username": "u",
            "device_type": "linux", "password": "p",
        }))
        .await;
        let job = host
            .run_job(json!({
                "plugin": "ssh-command", "targets": ["away"], "max_retries": 1,
                "params": { "commands": ["true"] },
            }))
            .await;
        assert_eq!(job["attempt"], 2, "{job}");
        let message = receiver.next().await;
        is_about(&message, &job, "failed");
        assert_eq!(message.body["job"]["attempt"], 2);
        assert_eq!(
            message.body["summary"],
            "ssh-command failed on away: network"
        );
        // Another notification would have been sent before this one.
        let next = host.run_job(json!({ "plugin": "noop" })).await;
        is_about(&receiver.next().await, &next, "completed");
    });
}

#[test]
fn what_a_receiver_was_away_for_is_sent_when_it_is_back() {
    run(async {
        let port = free_port();
        let url = format!("http://127.0.0.1:{port}/hook/s3cret");
        let toml = [
            "[notifications]\nretry_seconds = 1\n".to_owned(),
            hook("ops", &url),
            rule("'failed'", "'ops'", ""),
        ]
        .concat();
        let host = start(&toml).await;
        let jobs = [fail(&host, "one").await, fail(&host, "two").await];
        let waiting = |newest: &Value| newest["state"] == "waiting";
        until(&host.client, waiting).await;
        let told = async {
            loop {
                let first = listed(&host.client).await.pop().unwrap();
                // The channel backs off, and reports until when.
                let next_at = first["next_at"].as_str().unwrap();
                let next_at: DateTime<Utc> = next_at.parse().unwrap();
                if first["attempts"].as_u64() > Some(0) && next_at > Utc::now() {
                    return first;
                }
                tokio::task::yield_now().await;
            }
        };
        let told = tokio::time::timeout(DEADLINE, told).await.unwrap();
        let error = told["last_error"].as_str().unwrap();
        assert!(error.contains("refused"), "{error}");
        let health = host.client.get("/api/health").await;
        assert_eq!(health.status, 200, "jobs run all the same");
        assert_eq!(health.body["notifications"]["status"], "unhealthy");
        assert!(!health.text.contains("s3cret"), "{}", health.text);

        let receiver = Receiver::listen(&format!("127.0.0.1:{port}")).await;
        for job in &jobs {
            is_about(&receiver.next().await, job, "failed");
        }
        let sent = until(&host.client, |newest| newest["state"] == "sent").await;
        assert_eq!(sent["job_id"], jobs[1]["id"]);
    });
}

/// The server is killed after it sent the notification to a receiver that refused it.
#[test]
fn what_was_not_sent_when_the_server_was_killed_is_sent_after_its_start() {
    run(async {
        let receiver = Receiver::start().await;
        receiver.answers(503);
        let directory = tempfile::tempdir().unwrap();
        std::fs::write(directory.path().join("hook.key"), KEY).unwrap();
        let toml = one(&receiver, "'completed'", "").replace("HOOK", "hook.key");
        std::fs::write(directory.path().join("config.toml"), toml).unwrap();
        let server = Server::start(directory.path());
        let answer = server
            .client
            .post("/api/jobs", &json!({ "plugin": "noop" }))
            .await;
        assert_eq!(answer.status, 202, "{}", answer.body);
        let refused = receiver.next().await;
        server.kill();

        receiver.answers(200);
        let server = Server::start(directory.path());
        let message = receiver.next().await;
        is_about(&message, &answer.body, "completed");
        assert_eq!(
            message.header("x-scheduler-delivery"),
            refused.header("x-scheduler-delivery"),
            "so that a receiver which took both can tell"
        );
        until(&server.client, |newest| newest["state"] == "sent").await;
        assert_eq!(server.terminate(), Some(0));
    });
}

/// Restores the state of a kill between the end of a job and its notification.
#[test]
fn a_job_that_had_ended_when_the_server_was_killed_is_told_of() {
    run(async {
        let receiver = Receiver::start().await;
        let host = start(&one(&receiver, "'failed'", "")).await;
        let job = fail(&host, "told").await;
        let first = receiver.next().await;
        until(&host.client, |newest| newest["state"] == "sent").await;
        let database = host.path("scheduler.db");
        let stopped = host.stop().await;
        // Fires the trigger like the end of the attempt.
        for status in ["running", "failed"] {
            execute(&database, &format!("UPDATE jobs SET status = '{status}'")).await;
        }
        let _host = stopped.start().await;
        let again = receiver.next().await;
        is_about(&again, &job, "failed");
        assert_ne!(again.body["id"], first.body["id"]);
    });
}

#[test]
fn a_job_that_a_crash_cut_off_is_told_of() {
    run(async {
        let receiver = Receiver::start().await;
        let directory = tempfile::tempdir().unwrap();
        std::fs::write(directory.path().join("hook.key"), KEY).unwrap();
        std::fs::create_dir(directory.path().join("scripts")).unwrap();
        std::fs::write(directory.path().join("scripts/plain.rhai"), PLAIN).unwrap();
        let toml = one(&receiver, "'failed'", "").replace("HOOK", "hook.key");
        std::fs::write(directory.path().join("config.toml"), toml).unwrap();
        let scripts = [("SCHEDULER_PLUGINS_SCRIPTS_DIR", "scripts")];
        let server = Server::start_with(directory.path(), &scripts);
        let long = json!({ "plugin": "plain", "params": { "seconds": 3600 } });
        let answer = server.client.post("/api/jobs", &long).await;
        let url = format!("/api/jobs/{}", answer.body["id"].as_str().unwrap());
        let running = async {
            while server.client.get(&url).await.body["status"] != "running" {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(DEADLINE, running).await.unwrap();
        server.kill();
        let _server = Server::start_with(directory.path(), &scripts);
        let message = receiver.next().await;
        is_about(&message, &answer.body, "failed");
        assert_eq!(message.body["error"]["code"], "interrupted");
    });
}

#[test]
fn a_batch_is_one_message_that_names_the_failed_devices() {
    run(async {
        let receiver = Receiver::start().await;
        let host = start(&one(&receiver, "'failed', 'completed'", "")).await;
        let job = host
            .run_job(json!({
                "plugin": "each", "targets": ["name:sw-*"], "params": { "fails": ["sw-2"] },
            }))
            .await;
        assert_eq!(job["status"], "failed", "{job}");
        let message = receiver.next().await;
        is_about(&message, &job, "failed");
        let body = &message.body;
        assert_eq!(body["summary"], "each failed on 1 of 3 devices: sw-2");
        assert_eq!(body["failed_devices"]["count"], 1);
        let devices = body["failed_devices"]["devices"].as_array().unwrap();
        assert_eq!(devices.len(), 1, "{body}");
        assert_eq!(devices[0]["name"], "sw-2");
        assert_eq!(devices[0]["error_code"], "script");
        assert_eq!(body["job"]["batch"]["counts"]["completed"], 2);
        // A notification of a child job would have been sent before this one.
        let next = complete(&host).await;
        is_about(&receiver.next().await, &next, "completed");
    });
}

#[test]
fn a_job_that_completes_after_one_that_failed_has_recovered() {
    run(async {
        let receiver = Receiver::start().await;
        let host = start(&one(&receiver, "'recovered', 'cancelled'", "")).await;
        complete(&host).await;
        fail(&host, "once").await;
        let recovered = complete(&host).await;
        let message = receiver.next().await;
        is_about(&message, &recovered, "recovered");
        assert_eq!(message.body["summary"], "plain has recovered");
        complete(&host).await;

        // The same plugin on another device counts separately.
        for (target, fails) in [("sw-1", json!(["sw-1"])), ("sw-2", json!([]))] {
            host.run_job(json!({
                "plugin": "each", "targets": [target], "params": { "fails": fails },
            }))
            .await;
        }
        let again = host
            .run_job(json!({ "plugin": "each", "targets": ["sw-1"] }))
            .await;
        let message = receiver.next().await;
        is_about(&message, &again, "recovered");
        assert_eq!(message.body["summary"], "each has recovered on sw-1");

        let waits = json!({ "plugin": "plain", "scheduled_for": "2999-01-01T00:00:00Z" });
        let id = host.submit(waits).await;
        host.client.act(&format!("/api/jobs/{id}/cancel")).await;
        is_about(&receiver.next().await, &json!({ "id": id }), "cancelled");
    });
}

#[test]
fn a_schedule_recovers_by_itself() {
    run(async {
        let receiver = Receiver::start().await;
        let host = start(&one(&receiver, "'failed', 'recovered'", "")).await;
        let schedule = |throws: &str| {
            json!({
                "name": "nightly", "plugin": "plain", "cron_expression": "0 0 1 1 *",
                "params": { "throws": throws },
            })
        };
        let made = host.client.post("/api/schedules", &schedule("x")).await;
        assert_eq!(made.status, 201, "{}", made.body);
        let trigger = async || {
            let answer = host.client.act("/api/schedules/nightly/trigger").await;
            host.ended(answer.body["id"].as_str().unwrap()).await
        };
        let failed = trigger().await;
        let message = receiver.next().await;
        is_about(&message, &failed, "failed");
        assert_eq!(message.body["schedule"], "nightly");
        // A job of the same plugin outside of the schedule does not hide the schedule's recovery.
        let _ = complete(&host).await;
        assert_eq!(receiver.next().await.body["event"], "recovered");
        let changed = host
            .client
            .put("/api/schedules/nightly", &schedule(""))
            .await;
        assert_eq!(changed.status, 200, "{}", changed.body);
        let recovered = trigger().await;
        is_about(&receiver.next().await, &recovered, "recovered");
    });
}

#[test]
fn rules_choose_by_event_plugin_and_device() {
    run(async {
        let [backups, core, all] = [
            Receiver::start().await,
            Receiver::start().await,
            Receiver::start().await,
        ];
        let toml = [
            hook("backups", &backups.url),
            hook("core", &core.url),
            hook("all", &all.url),
            rule("'failed'", "'backups'", "plugins = ['backup-*']"),
            rule(
                "'failed'",
                "'core'",
                "targets = 'tag:core and not name:lab-*'",
            ),
            rule("'failed'", "'all'", ""),
            rule("'failed', 'completed'", "'all'", "plugins = ['backup-*']"),
        ]
        .concat();
        let host = start(&toml).await;
        let plain = fail(&host, "x").await;
        let backup = host
            .run_job(json!({ "plugin": "backup-x", "params": { "throws": "x" } }))
            .await;
        let completed = host.run_job(json!({ "plugin": "backup-x" })).await;
        let on = async |targets: Value, fails: Value| {
            host.run_job(json!({
                "plugin": "each", "targets": targets, "params": { "fails": fails },
            }))
            .await
        };
        let access = on(json!(["sw-1"]), json!(["sw-1"])).await;
        // In a batch, only the failed targets count.
        let other = on(json!(["name:sw-*"]), json!(["sw-2"])).await;
        let of_core = on(json!(["name:sw-*"]), json!(["sw-2", "sw-3"])).await;

        is_about(&backups.next().await, &backup, "failed");
        is_about(&core.next().await, &of_core, "failed");
        for (job, event) in [
            (&plain, "failed"),
            // Two rules, one message.
            (&backup, "failed"),
            (&completed, "completed"),
            (&access, "failed"),
            (&other, "failed"),
            (&of_core, "failed"),
        ] {
            is_about(&all.next().await, job, event);
        }
        let of_channel =
            |name: &str, all: &[Value]| all.iter().filter(|each| each["channel"] == name).count();
        let all = listed(&host.client).await;
        assert_eq!(of_channel("backups", &all), 1, "{all:?}");
        assert_eq!(of_channel("core", &all), 1, "{all:?}");
    });
}

#[test]
fn a_job_that_takes_much_longer_than_usual_is_slow() {
    run(async {
        let receiver = Receiver::start().await;
        let toml = [
            "[notifications]\nslow_seconds = 1\n".to_owned(),
            one(&receiver, "'slow'", "plugins = ['plain']"),
        ]
        .concat();
        let host = start(&toml).await;
        let takes = async |seconds: f64| {
            host.run_job(json!({ "plugin": "plain", "params": { "seconds": seconds } }))
                .await
        };
        // Four runs are too few to compute the usual duration.
        for _ in 0..4 {
            takes(0.0).await;
        }
        takes(1.5).await;
        takes(0.0).await;
        let slow = takes(1.5).await;
        let message = receiver.next().await;
        is_about(&message, &slow, "slow");
        let body = &message.body;
        assert!(body["usual_duration_ms"].as_i64().unwrap() < 500, "{body}");
        assert!(body["duration_ms"].as_i64().unwrap() >= 1_500, "{body}");
    });
}

fn mail_toml(port: u16, rest: &str) -> String {
    format!(
        "[notifications]\nsmtp_host = 'localhost'\nsmtp_port = {port}\n\
         from = 'Job Scheduler <jobs@example.com>'\n{rest}\n\
         [notifications.channels.mail]\nkind = 'email'\n\
         to = ['ops@example.com', 'Night Shift <night@example.com>']\n"
    )
}

#[test]
fn a_mail_says_what_happened_and_nothing_of_it_becomes_a_header() {
    run(async {
        let server = MailServer::start(None);
        let toml = [
            mail_toml(server.port, "smtp_tls = 'none'"),
            rule("'failed'", "'mail'", ""),
        ]
        .concat();
        let host = start(&toml).await;
        let job = host
            .run_job(json!({
                "plugin": "plain", "params": { "throws": "x\r\nBcc: thief@example.com\r\n.\r\nQUIT" },
                "description": "für\nBcc: thief@example.com",
            }))
            .await;
        let (headers, body) = server.next().await;
        for header in [
            "Subject: plain failed: script",
            "From: \"Job Scheduler\" <jobs@example.com>",
            "Auto-Submitted: auto-generated",
            "X-Scheduler-Event: failed",
            // The envelope of the message.
            "X-MailFrom: jobs@example.com",
            "X-RcptTo: ops@example.com, night@example.com",
        ] {
            assert!(
                headers.lines().any(|line| line == header),
                "{header}: {headers}"
            );
        }
        let to = headers.lines().find(|line| line.starts_with("To: "));
        let to = to.unwrap();
        assert!(to.contains("ops@example.com") && to.contains("<night@example.com>"));
        assert!(!headers.contains("\nBcc:"), "{headers}");
        assert!(body.contains(job["id"].as_str().unwrap()), "{body}");
        assert!(body.contains("thief@example.com"), "as text: {body}");
    });
}

#[test]
fn a_mail_is_not_sent_in_clear_and_not_again_when_it_is_refused() {
    run(async {
        let server = MailServer::start(None);
        let host = start(&mail_toml(server.port, "")).await;
        let test = json!({ "channel": "mail" });
        let tried = host.client.post("/api/notifications/test", &test).await;
        assert_eq!(tried.body["ok"], false, "{}", tried.body);
        let error = tried.body["error"].as_str().unwrap();
        assert!(error.contains("STARTTLS"), "{error}");

        let toml = [
            mail_toml(server.port, "smtp_tls = 'none'").replace("ops@", "nobody@"),
            rule("'failed'", "'mail'", ""),
        ]
        .concat();
        let host = start(&toml).await;
        fail(&host, "x").await;
        let newest = until(&host.client, |newest| newest["state"] == "given_up").await;
        assert_eq!(newest["attempts"], 1);
        let error = newest["last_error"].as_str().unwrap();
        assert!(
            error.contains("550") && error.contains("no such user here"),
            "{error}"
        );
    });
}

#[test]
fn a_mail_server_that_wants_encryption_and_a_login_gets_both() {
    run(async {
        let directory = tempfile::tempdir().unwrap();
        let certificate = certificate(directory.path());
        let mails = MailServer::start(Some(&certificate));
        let file = |name: &str| directory.path().join(name);
        std::fs::write(file("password"), "pa ss\n").unwrap();
        let login = "smtp_username = 'jobs'\nsmtp_password_file = 'password'";
        let toml = [
            mail_toml(mails.port, login),
            rule("'completed'", "'mail'", ""),
        ]
        .concat();
        std::fs::write(file("config.toml"), toml).unwrap();
        // The server rejects an unknown certificate.
        let server = Server::start(directory.path());
        let test = json!({ "channel": "mail" });
        let tried = server.client.post("/api/notifications/test", &test).await;
        assert_eq!(tried.body["ok"], false, "{}", tried.body);
        let error = tried.body["error"].as_str().unwrap();
        assert!(error.contains("TLS certificate of the server"), "{error}");
        assert!(
            !error.contains("Context"),
            "words, no names of types: {error}"
        );
        assert_eq!(server.terminate(), Some(0));

        let trusted = certificate.certificate.display().to_string();
        let server = Server::start_with(directory.path(), &[("SSL_CERT_FILE", &trusted)]);
        let tried = server.client.post("/api/notifications/test", &test).await;
        assert_eq!(tried.body["ok"], true, "{}", tried.body);
        let (headers, _) = mails.next().await;
        assert!(
            headers.contains("Subject: Test of channel mail"),
            "{headers}"
        );
        assert_eq!(server.terminate(), Some(0));

        // A refused login can be corrected, so the notification is retried.
        std::fs::write(file("password"), "another").unwrap();
        let server = Server::start_with(directory.path(), &[("SSL_CERT_FILE", &trusted)]);
        let job = json!({ "plugin": "noop" });
        let answer = server.client.post("/api/jobs", &job).await;
        assert_eq!(answer.status, 202, "{}", answer.body);
        let waiting = until(&server.client, |newest| newest["attempts"] == 1).await;
        assert_eq!(waiting["state"], "waiting");
        let error = waiting["last_error"].as_str().unwrap();
        assert!(
            error.contains("535") && !error.contains("another"),
            "{error}"
        );
    });
}

/// Creates a self-signed certificate for `localhost`.
fn certificate(directory: &Path) -> Certificate {
    let certificate = Certificate {
        certificate: directory.join("mail.pem"),
        key: directory.join("mail.key"),
    };
    let made = Command::new("openssl")
        .args("req -x509 -nodes -newkey ec -pkeyopt ec_paramgen_curve:P-256 -days 2".split(' '))
        .args(["-subj", "/CN=localhost"])
        .args(["-addext", "subjectAltName=DNS:localhost"])
        .args(["-addext", "basicConstraints=critical,CA:FALSE", "-keyout"])
        .arg(&certificate.key)
        .arg("-out")
        .arg(&certificate.certificate)
        .output()
        .expect("openssl is not installed; run: cargo xtask setup");
    let told = String::from_utf8_lossy(&made.stderr);
    assert!(made.status.success(), "{told}");
    certificate
}

#[test]
fn slack_gets_a_text_and_its_url_is_shown_nowhere() {
    run(async {
        let receiver = Receiver::start().await;
        let url = receiver.url.clone();
        let toml = [
            "[notifications.channels.chat]\nkind = 'slack'\nurl_file = 'CHAT'\n".to_owned(),
            rule("'failed'", "'chat'", ""),
        ]
        .concat();
        let playbooks = [("plain", PLAIN)];
        let host = TestHost::with_scripts_and(&playbooks, |config| {
            let directory = config.security.master_key_file.parent().unwrap();
            std::fs::write(directory.join("chat-url"), format!("{url}\n")).unwrap();
            config.notifications = notifications(directory, &toml);
        })
        .await;
        receiver.answers(404);
        let job = fail(&host, "<!channel> & co").await;
        let message = receiver.next().await;
        let fields = message.body.as_object().unwrap();
        assert_eq!(fields.len(), 1, "{}", message.text);
        let text = message.body["text"].as_str().unwrap();
        assert!(text.starts_with("plain failed: script\n"), "{text}");
        assert!(text.contains("&lt;!channel&gt; &amp; co"), "{text}");
        assert!(text.contains(job["id"].as_str().unwrap()), "{text}");

        let refused = until(&host.client, |newest| newest["state"] == "given_up").await;
        assert_eq!(refused["attempts"], 1, "a refusal is final");
        assert_eq!(refused["last_error"], "status 404 Not Found");
        for path in ["/api/notifications", "/api/health"] {
            let answer = host.client.get(path).await;
            assert!(!answer.text.contains("s3cret"), "{}", answer.text);
        }
    });
}

#[test]
fn a_channel_that_hangs_holds_up_no_other() {
    run(async {
        // A server that accepts connections and sends nothing.
        let hanging = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/", hanging.local_addr().unwrap());
        let receiver = Receiver::start().await;
        let toml = [
            hook("hangs", &url),
            hook("ops", &receiver.url),
            rule("'failed'", "'hangs', 'ops'", ""),
        ]
        .concat();
        let host = start(&toml).await;
        let first = fail(&host, "one").await;
        let (_held, _) = hanging.accept().await.unwrap();
        let second = fail(&host, "two").await;
        is_about(&receiver.next().await, &first, "failed");
        is_about(&receiver.next().await, &second, "failed");
        let waiting = host.client.get("/api/notifications?state=waiting").await;
        let waiting = waiting.body["notifications"].as_array().unwrap();
        let hanging = waiting.iter().filter(|each| each["channel"] == "hangs");
        let attempts: Vec<_> = hanging.map(|each| &each["attempts"]).collect();
        assert_eq!(attempts, [0, 0], "the first is still being sent");
        // Nor does it block the shutdown.
        host.stop().await;
    });
}

/// A receiver may fail on one message only.
#[test]
fn a_message_that_is_not_taken_holds_up_no_other() {
    run(async {
        let receiver = Receiver::start().await;
        let toml = [
            // The delay exceeds the duration of the test.
            "[notifications]\nretry_seconds = 3600\n".to_owned(),
            one(&receiver, "'failed'", ""),
        ]
        .concat();
        let host = start(&toml).await;
        receiver.answers(500);
        let first = fail(&host, "one").await;
        let refused = receiver.next().await;
        is_about(&refused, &first, "failed");
        until(&host.client, |newest| newest["attempts"] == 1).await;
        receiver.answers(200);
        let second = fail(&host, "two").await;
        is_about(&receiver.next().await, &second, "failed");
        until(&host.client, |newest| newest["state"] == "sent").await;
        let waiting = host.client.get("/api/notifications?state=waiting").await;
        let waiting = waiting.body["notifications"].as_array().unwrap();
        assert_eq!(waiting.len(), 1);
        assert_eq!(waiting[0]["job_id"], first["id"]);
    });
}

#[test]
fn without_rules_nothing_is_noted() {
    run(async {
        let receiver = Receiver::start().await;
        let host = start(&hook("ops", &receiver.url)).await;
        fail(&host, "x").await;
        let noted = host.app.storage.ended_jobs(10).await.unwrap();
        assert!(noted.is_empty());
        assert!(listed(&host.client).await.is_empty());
        let test = json!({ "channel": "ops" });
        let tried = host.client.post("/api/notifications/test", &test).await;
        assert_eq!(tried.body["ok"], true, "{}", tried.body);
        let message = receiver.next().await;
        assert_eq!(message.body["event"], "test");
        assert!(message.is_signed_with(KEY));
    });
}

#[test]
fn what_waits_for_a_channel_that_is_gone_is_given_up() {
    run(async {
        let url = format!("http://127.0.0.1:{}/", free_port());
        let toml = [hook("gone", &url), rule("'failed'", "'gone'", "")].concat();
        let host = start(&toml).await;
        fail(&host, "x").await;
        until(&host.client, |newest| newest["state"] == "waiting").await;
        let mut stopped = host.stop().await;
        stopped.configure(|config| config.notifications = NotificationsConfig::default());
        let host = stopped.start().await;
        let newest = until(&host.client, |newest| newest["state"] == "given_up").await;
        assert_eq!(newest["last_error"], "the channel is no longer configured");
        fail(&host, "y").await;
        let noted = host.app.storage.ended_jobs(10).await.unwrap();
        assert!(noted.is_empty());
    });
}

/// Runs a statement on the database of a stopped host.
async fn execute(database: &Path, statement: &str) {
    let pool = sqlx::SqlitePool::connect(&format!("sqlite:{}", database.display()))
        .await
        .unwrap();
    let statement = sqlx::AssertSqlSafe(statement.to_owned());
    sqlx::query(statement).execute(&pool).await.unwrap();
    pool.close().await;
}

/// Starts a host with messages for an unreachable channel, each with this state and these times of
/// delivery and creation.
async fn start_with_messages(count: u32, state: &str, next_at: &str, created_at: &str) -> TestHost {
    let url = format!("http://127.0.0.1:{}/", free_port());
    let toml = [hook("ops", &url), rule("'failed'", "'ops'", "")].concat();
    let host = start(&toml).await;
    let database = host.path("scheduler.db");
    let stopped = host.stop().await;
    execute(
        &database,
        &format!(
            "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {count})
             INSERT INTO notifications (id, channel, event, job_id, subject, text, body, state,
                                        next_at, created_at, settled_at)
             SELECT printf('00000000-0000-7000-8000-%012d', i), 'ops', 'failed',
                    '00000000-0000-7000-8000-000000000000', 's', 't', '{{}}', '{state}',
                    '{next_at}', '{created_at}', iif('{state}' = 'waiting', NULL, '{next_at}')
             FROM n"
        ),
    )
    .await;
    stopped.start().await
}

const FAR: &str = "2999-01-01T00:00:00.000000Z";
const LONG_AGO: &str = "2020-01-01T00:00:00.000000Z";

#[test]
fn of_too_many_that_wait_the_oldest_are_given_up() {
    run(async {
        let host = start_with_messages(10_000, "waiting", FAR, FAR).await;
        let job = fail(&host, "one too many").await;
        until(&host.client, |newest| newest["job_id"] == job["id"]).await;
        let answer = host.client.get("/api/notifications?state=given_up").await;
        let given_up = answer.body["notifications"].as_array().unwrap();
        assert_eq!(given_up.len(), 1, "{}", answer.body);
        assert_eq!(given_up[0]["id"], "00000000-0000-7000-8000-000000000001");
        let error = given_up[0]["last_error"].as_str().unwrap();
        assert!(error.contains("more than 10000 notifications"), "{error}");
    });
}

#[test]
fn a_message_that_is_too_old_is_given_up_when_it_fails_once_more() {
    run(async {
        let host = start_with_messages(1, "waiting", LONG_AGO, LONG_AGO).await;
        let newest = until(&host.client, |newest| newest["state"] == "given_up").await;
        assert_eq!(newest["attempts"], 1);
        let error = newest["last_error"].as_str().unwrap();
        assert!(error.contains("refused"), "{error}");
    });
}

#[test]
fn what_is_done_with_is_kept_for_a_while() {
    run(async {
        let host = start_with_messages(10_050, "sent", FAR, FAR).await;
        let page = host.client.get("/api/notifications?limit=2").await;
        let cursor = page.body["next_cursor"].as_str().unwrap();
        let next = format!("/api/notifications?limit=2&cursor={cursor}");
        let next = host.client.get(&next).await;
        assert_eq!(
            next.body["notifications"][0]["id"],
            "00000000-0000-7000-8000-000000010048"
        );
        let first = "/api/notifications?limit=500&cursor=00000000-0000-7000-8000-000000000051";
        let there = host.client.get(first).await;
        let there = there.body["notifications"].as_array().unwrap().len();
        assert_eq!(there, 0, "the start has removed the oldest");
    });
}

#[test]
fn a_secret_that_cannot_be_read_stops_the_start_and_names_the_key() {
    let directory = tempfile::tempdir().unwrap();
    let refused = |toml: &str| {
        std::fs::write(directory.path().join("config.toml"), toml).unwrap();
        let output = Server::command(directory.path()).output().unwrap();
        assert_eq!(output.status.code(), Some(1), "{toml}");
        String::from_utf8(output.stderr).unwrap()
    };
    let toml = hook("ops", "https://example.com/s3cret").replace("HOOK", "hook.key");
    let told = refused(&toml);
    assert!(
        told.contains("failed to read hook.key (notifications.channels.ops.secret_file)"),
        "{told}"
    );
    std::fs::write(directory.path().join("hook.key"), "short").unwrap();
    let told = refused(&toml);
    assert!(told.contains("at least 16 bytes"), "{told}");
    let told = refused(&toml.replace("secret_file", "secrets_file"));
    assert!(
        told.contains("notifications.channels.ops.secrets_file") && !told.contains("s3cret"),
        "{told}"
    );
    std::fs::write(directory.path().join("url"), "hooks.example.com/s3cret").unwrap();
    let told = refused("[notifications.channels.chat]\nkind = 'slack'\nurl_file = 'url'\n");
    assert!(
        told.contains("notifications.channels.chat.url_file") && !told.contains("s3cret"),
        "{told}"
    );
}

#[test]
fn channels_are_tried_and_notifications_listed_from_the_command_line() {
    run(async {
        let receiver = Receiver::start().await;
        let host = start(&one(&receiver, "'failed'", "")).await;
        let client = async |arguments: &[&str]| {
            let mut command = scheduler();
            command
                .args(arguments)
                .env("SCHEDULER_URL", host.client.url(""));
            let ended = tokio::task::spawn_blocking(move || command.output().unwrap());
            let output = ended.await.unwrap();
            let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
            (
                output.status.code(),
                text(output.stdout),
                text(output.stderr),
            )
        };
        let (code, _, told) = client(&["notification", "list"]).await;
        assert!(code == Some(0) && told.contains("no notifications"));
        let (code, _, told) = client(&["notification", "test", "ops"]).await;
        assert!(code == Some(0) && told.starts_with("sent within"), "{told}");
        assert_eq!(receiver.next().await.body["event"], "test");
        receiver.answers(410);
        let (code, _, told) = client(&["notification", "test", "ops"]).await;
        assert_eq!(code, Some(1));
        assert!(
            told.contains("failed to send to channel `ops`: status 410 Gone"),
            "{told}"
        );
        let (code, _, told) = client(&["notification", "test", "opps"]).await;
        assert_eq!(code, Some(4));
        assert!(
            told.contains("channel `opps` not found; known: ops"),
            "{told}"
        );

        fail(&host, "x").await;
        until(&host.client, |newest| newest["state"] == "given_up").await;
        let (code, table, _) = client(&["notification", "list", "--state", "given_up"]).await;
        assert_eq!(code, Some(0));
        assert!(
            table.contains("plain failed: script") && table.contains("status 410 Gone"),
            "{table}"
        );
        let (code, _, told) = client(&["notification", "list", "--state", "lost"]).await;
        assert_eq!(code, Some(5), "{told}");
        let (_, answer, _) = client(&["notification", "list", "-o", "json"]).await;
        let answer: Value = serde_json::from_str(&answer).unwrap();
        assert_eq!(answer["notifications"][0]["event"], "failed");
    });
}
