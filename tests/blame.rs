//! Tests which failures count against a device: missing descriptors, a frozen process and a shutdown
//! do not. Refused passwords are remembered, and stopped jobs report the line in flight.

use std::fs::File;
use std::path::Path;
use std::time::{Duration, Instant};

use netssh_lab::{Faults, Lab, LabDevice};
use rustix::process::Signal;
use serde_json::{Value, json};
use test_devices::Linux;

use crate::harness::{
    Client, DEADLINE, Server, TestHost, lab_connection, password_connection, run,
};

/// Returns a playbook with all rights for sessions.
fn playbook(body: &str) -> String {
    format!(
        "fn describe() {{ #{{ summary: \"A test\", targets: \"each\", needs: #{{ ssh: #{{ exec: [\"*\"], configure: true }} }}, \
         params: #{{ type: \"object\" }} }} }}\nfn run(job, params) {{\n{body}\n}}\n"
    )
}

/// Creates a directory in which a server finds one playbook, `it`.
fn directory(body: &str) -> tempfile::TempDir {
    let directory = tempfile::tempdir().unwrap();
    let scripts = directory.path().join("scripts");
    std::fs::create_dir(&scripts).unwrap();
    std::fs::write(scripts.join("it.rhai"), playbook(body)).unwrap();
    directory
}

const SCRIPTS: (&str, &str) = ("SCHEDULER_PLUGINS_SCRIPTS_DIR", "scripts");

async fn connect(client: &Client, connection: &Value) {
    let answer = client.post("/api/connections", connection).await;
    assert_eq!(answer.status, 201, "{}", answer.body);
}

async fn submit(client: &Client, job: Value) -> String {
    let answer = client.post("/api/jobs", &job).await;
    assert_eq!(answer.status, 202, "{}", answer.body);
    answer.body["id"].as_str().unwrap().to_owned()
}

/// Polls a job until `looks` returns true.
async fn until(client: &Client, id: &str, looks: impl Fn(&Value) -> bool) -> Value {
    let begun = Instant::now();
    let mut asked = tokio::time::interval(Duration::from_millis(10));
    loop {
        asked.tick().await;
        let job = client.get(&format!("/api/jobs/{id}")).await.body;
        if looks(&job) {
            return job;
        }
        assert!(begun.elapsed() < DEADLINE, "{job}");
    }
}

fn has_ended(job: &Value) -> bool {
    ["completed", "failed", "cancelled"].contains(&job["status"].as_str().unwrap_or_default())
}

async fn open_circuits(client: &Client) -> Value {
    client.get("/api/devices").await.body["open_circuits"].clone()
}

/// Waits until a command has created a file.
async fn until_exists(path: &Path) {
    let begun = Instant::now();
    while !path.exists() {
        assert!(begun.elapsed() < DEADLINE, "{}", path.display());
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

async fn labs(count: usize) -> Vec<Lab> {
    let mut labs = Vec::new();
    for number in 0..count {
        let device = LabDevice::cisco_ios(&format!("r{number}"));
        labs.push(Lab::start(device).await.unwrap());
    }
    labs
}

#[test]
fn with_few_descriptors_jobs_wait_and_the_api_answers() {
    run(async {
        const DEVICES: usize = 30;
        let labs = labs(DEVICES).await;
        let directory = directory("ssh::open().exec(\"show version\").ok");
        let log = directory.path().join("log");
        let environment = [SCRIPTS, ("SCHEDULER_WORKER_CONCURRENCY", "30")];
        let file = File::create(&log).unwrap();
        let server = Server::start_with_descriptors(directory.path(), &environment, 64, file);
        let client = &server.client;
        for (number, lab) in labs.iter().enumerate() {
            let name = format!("r{number}");
            connect(client, &lab_connection(&name, lab, "cisco_ios")).await;
        }
        for _ in 0..2 {
            let mut jobs = Vec::new();
            for number in 0..DEVICES {
                let job = json!({ "plugin": "it", "targets": [format!("r{number}")] });
                jobs.push(submit(client, job).await);
            }
            for id in &jobs {
                let job = until(client, id, has_ended).await;
                assert_eq!(job["status"], "completed", "{job}");
                assert_eq!(job["attempt"], 1, "{job}");
            }
            assert_eq!(open_circuits(client).await, json!([]));
        }
        assert_eq!(client.get("/health").await.status, 200);
        assert_eq!(server.terminate(), Some(0));
        let log = std::fs::read_to_string(log).unwrap();
        assert!(!log.contains("Too many open files"), "{log}");
    });
}

/// Lowers the limit after the start, so that the descriptor shares do not protect the server.
#[test]
fn a_login_without_a_descriptor_gets_that_of_an_unused_session() {
    run(async {
        const DEVICES: usize = 12;
        let labs = labs(DEVICES).await;
        let directory = directory("ssh::open().exec(\"show version\").ok");
        let log = directory.path().join("log");
        let file = File::create(&log).unwrap();
        let server = Server::start_logged(directory.path(), &[SCRIPTS], Some(file));
        let client = &server.client;
        for (number, lab) in labs.iter().enumerate() {
            let name = format!("r{number}");
            connect(client, &lab_connection(&name, lab, "cisco_ios")).await;
        }
        let run_on = async |number: usize| {
            let job = json!({ "plugin": "it", "targets": [format!("r{number}")] });
            let id = submit(client, job).await;
            let job = until(client, &id, has_ended).await;
            assert_eq!(job["status"], "completed", "{job}");
        };
        for number in 0..DEVICES / 2 {
            run_on(number).await;
        }
        server.leave_descriptors(0);
        for number in DEVICES / 2..DEVICES {
            run_on(number).await;
        }
        assert_eq!(open_circuits(client).await, json!([]));
        drop(server);
        let log = std::fs::read_to_string(log).unwrap();
        assert!(
            log.contains("the server has no file descriptors left (limit "),
            "{log}"
        );
    });
}

/// A loop of restarts by `kill -9` must not lock an account.
#[test]
fn a_server_that_is_killed_in_a_loop_does_not_try_a_wrong_password_again() {
    run(async {
        let linux = Linux::start();
        let directory = directory("ssh::open().exec(\"id\").ok");
        let mut connection = password_connection("server", &linux.ssh, "linux");
        connection["password"] = json!("wrong");
        let mut unavailable = 0;
        for round in 0..6 {
            let server = Server::start_with(directory.path(), &[SCRIPTS]);
            let client = &server.client;
            if round == 0 {
                connect(client, &connection).await;
            }
            let job = json!({ "plugin": "it", "targets": ["server"] });
            let (before, id) = (linux.ssh.failed_passwords(), submit(client, job).await);
            // Ends as soon as the device has received the password, or no password is sent.
            let begun = Instant::now();
            while linux.ssh.failed_passwords() == before {
                let job = client.get(&format!("/api/jobs/{id}")).await.body;
                if job["error_code"] == "unavailable" {
                    unavailable += 1;
                    break;
                }
                assert!(begun.elapsed() < DEADLINE, "{job}");
            }
            server.kill();
        }
        assert_eq!(linux.ssh.failed_passwords(), 2);
        assert_eq!(unavailable, 4);
        // The database contains nothing of the password.
        let database = std::fs::read(directory.path().join("scheduler.db")).unwrap();
        assert!(!String::from_utf8_lossy(&database).contains("wrong"));
    });
}

/// The reply arrives while the process is stopped, for longer than the command's timeout.
#[test]
fn a_frozen_process_does_not_blame_the_device() {
    run(async {
        let linux = Linux::start();
        let directory = directory(
            "let device = ssh::open();\n\
             let first = device.exec(\"touch first; sleep 1; echo one\").output;\n\
             let second = device.exec(\"touch second; sleep 1; echo two\").output;\n\
             [first, second]",
        );
        let server = Server::start_with(directory.path(), &[SCRIPTS]);
        let client = &server.client;
        let mut connection = password_connection("server", &linux.ssh, "linux");
        connection["timeout_seconds"] = json!(3);
        connect(client, &connection).await;
        let job = json!({ "plugin": "it", "targets": ["server"] });
        let id = submit(client, job).await;
        for file in ["first", "second"] {
            until_exists(&linux.ssh.home().join(file)).await;
            server.signal(Signal::STOP);
            // The length of the freeze, longer than the command's timeout.
            tokio::time::sleep(Duration::from_secs(5)).await;
            server.signal(Signal::CONT);
        }
        let job = until(client, &id, has_ended).await;
        assert_eq!(job["status"], "completed", "{job}");
        assert_eq!(job["result"], json!(["one", "two"]));
        assert_eq!(open_circuits(client).await, json!([]));
    });
}

/// Starts a device that never replies to one line.
async fn silent_at(line: &str) -> Lab {
    let device = LabDevice {
        faults: Faults {
            never_answer: Some(line.to_owned()),
            ..Faults::default()
        },
        ..LabDevice::cisco_ios("r1")
    };
    Lab::start(device).await.unwrap()
}

/// Returns a connection that can configure the device.
fn privileged(lab: &Lab) -> Value {
    let mut connection = lab_connection("r1", lab, "cisco_ios");
    connection["secret"] = json!(lab.device().enable_secret);
    connection
}

const LINE: &str = "ntp server 192.0.2.1";
const CONFIGURES: &str =
    "ssh::open().configure([\"hostname r2\", \"ntp server 192.0.2.1\", \"ntp server 192.0.2.2\"]);";

fn names_the_line(job: &Value) {
    let error = job["error_message"].as_str().unwrap();
    let named =
        format!("`{LINE}` on r1 was being sent; it is unknown whether the device executed it");
    assert!(error.ends_with(&named), "{job}");
}

/// Waits until a job has sent the line.
async fn until_sent(lab: &Lab, client: &Client, id: &str) {
    let sent = |_: &Value| lab.commands().iter().any(|command| command == LINE);
    until(client, id, |job| {
        assert!(!has_ended(job), "{job} {:?}", lab.commands());
        sent(job)
    })
    .await;
}

#[test]
fn a_job_that_sigterm_cuts_off_says_what_was_being_sent() {
    run(async {
        let lab = silent_at(LINE).await;
        let directory = directory(CONFIGURES);
        let environment = [SCRIPTS, ("SCHEDULER_WORKER_SHUTDOWN_GRACE_SECONDS", "0")];
        let server = Server::start_with(directory.path(), &environment);
        connect(&server.client, &privileged(&lab)).await;
        let job = json!({ "plugin": "it", "targets": ["r1"] });
        let id = submit(&server.client, job).await;
        until_sent(&lab, &server.client, &id).await;
        assert_eq!(server.terminate(), Some(0));
        let server = Server::start_with(directory.path(), &environment);
        let job = until(&server.client, &id, has_ended).await;
        assert_eq!(job["error_code"], "interrupted", "{job}");
        names_the_line(&job);
    });
}

#[test]
fn a_job_that_is_cancelled_or_too_slow_says_what_was_being_sent() {
    run(async {
        let lab = silent_at(LINE).await;
        let host = TestHost::with_playbook("it", &playbook(CONFIGURES)).await;
        host.connect(privileged(&lab)).await;
        let job = json!({ "plugin": "it", "targets": ["r1"] });
        let id = host.submit(job).await;
        until_sent(&lab, &host.client, &id).await;
        let answer = host.client.act(&format!("/api/jobs/{id}/cancel")).await;
        assert!(answer.status < 300, "{}", answer.body);
        let job = host.ended(&id).await;
        assert_eq!(job["error_code"], "cancelled", "{job}");
        names_the_line(&job);

        let job = json!({ "plugin": "it", "targets": ["r1"], "timeout_seconds": 2 });
        let job = host.run_job(job).await;
        assert_eq!(job["error_code"], "timeout", "{job}");
        names_the_line(&job);
    });
}

#[test]
fn a_stopped_job_that_only_reads_says_so() {
    run(async {
        let lab = silent_at("show clock").await;
        let source = playbook("ssh::open().exec(\"show clock\");");
        let host = TestHost::with_playbook("it", &source).await;
        host.connect(lab_connection("r1", &lab, "cisco_ios")).await;
        let job = json!({ "plugin": "it", "targets": ["r1"], "timeout_seconds": 2 });
        let job = host.run_job(job).await;
        let error = job["error_message"].as_str().unwrap();
        assert!(
            error.ends_with("`show clock` on r1 was running; no change was being sent to a device"),
            "{job}"
        );
    });
}

#[test]
fn a_job_does_not_wait_for_its_own_sessions() {
    run(async {
        let lab = silent_at("never").await;
        let source = playbook(
            "let open = [];\nfor n in 0..4 { open.push(ssh::open()); }\n\
             let error = #{};\ntry { ssh::open(); } catch (thrown) { error = thrown; }\n\
             open[0].close();\nopen.push(ssh::open());\n[error.code, error.message]",
        );
        let host = TestHost::with_playbook("it", &source).await;
        host.connect(lab_connection("r1", &lab, "cisco_ios")).await;
        let job = json!({ "plugin": "it", "targets": ["r1"] });
        let job = host.run_job(job).await;
        assert_eq!(
            job["result"],
            json!([
                "limit",
                "this job already holds all 4 sessions to r1; close one first"
            ]),
            "{job}"
        );
    });
}

#[test]
fn a_job_says_that_it_waits_for_the_sessions_of_others() {
    run(async {
        let lab = silent_at("show clock").await;
        let source = playbook("ssh::open().exec(params.command);");
        let host = TestHost::start_with(|config| {
            config.devices.max_sessions_per_device = 1;
            let scripts = config
                .security
                .master_key_file
                .parent()
                .unwrap()
                .join("scripts");
            std::fs::create_dir_all(&scripts).unwrap();
            std::fs::write(scripts.join("it.rhai"), &source).unwrap();
            config.plugins.scripts_dir = scripts;
        })
        .await;
        // Two connections to one device.
        for name in ["r1", "same"] {
            host.connect(lab_connection(name, &lab, "cisco_ios")).await;
        }
        let job = |target, command| json!({ "plugin": "it", "targets": [target], "params": { "command": command } });
        let first = host.submit(job("r1", "show clock")).await;
        let begun = Instant::now();
        while !lab.commands().iter().any(|command| command == "show clock") {
            assert!(begun.elapsed() < DEADLINE);
            tokio::task::yield_now().await;
        }
        let second = host.submit(job("same", "show version")).await;
        let waits =
            "waiting for a session to same: session limit reached: its only session is in use";
        let begun = Instant::now();
        loop {
            let lines = host.logs(&json!(second)).await;
            if lines.iter().any(|line| line["message"] == waits) {
                break;
            }
            assert!(begun.elapsed() < DEADLINE, "{lines:?}");
            tokio::task::yield_now().await;
        }
        host.client.act(&format!("/api/jobs/{first}/cancel")).await;
        let job = host.ended(&second).await;
        assert_eq!(job["status"], "completed", "{job}");
    });
}
