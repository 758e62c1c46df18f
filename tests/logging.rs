//! Tests the log: one line per event, and the job's id on each line of a job.

use serde_json::{Value, json};

use crate::harness::{Server, playbook, run, scheduler, scripts_dir};

#[test]
fn every_line_of_a_job_carries_its_id_on_the_console_and_in_the_file() {
    run(async {
        let directory = tempfile::tempdir().unwrap();
        let log = directory.path().join("logs/scheduler.log");
        let environment = [
            ("SCHEDULER_LOGGING_FILE", log.to_str().unwrap()),
            ("SCHEDULER_LOGGING_ROTATION", "never"),
        ];
        let server = Server::start_with(directory.path(), &environment);
        let job = json!({ "plugin": "noop", "params": { "seconds": 0.01 } });
        let id = server.client.post("/api/jobs", &job).await.body["id"]
            .as_str()
            .unwrap()
            .to_owned();
        loop {
            let job = server.client.get(&format!("/api/jobs/{id}")).await.body;
            if job["status"] == "completed" {
                break;
            }
        }
        assert_eq!(server.terminate(), Some(0));
        let text = std::fs::read_to_string(&log).unwrap();
        let lines: Vec<Value> = text
            .lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect();
        for message in [
            "job submitted",
            "job started",
            "taking 0.01 s",
            "job completed",
        ] {
            let line = lines.iter().find(|line| line["message"] == message);
            let line = line.unwrap_or_else(|| panic!("no line says {message}: {text}"));
            assert_eq!(line["job_id"], id.as_str(), "{line}");
        }
    });
}

#[test]
fn the_level_is_the_configurations_or_rust_logs() {
    let lines_of = |level: &str, rust_log: Option<&str>| {
        let directory = tempfile::tempdir().unwrap();
        let mut command = scheduler();
        command
            .args(["serve", "--port", "0"])
            .current_dir(directory.path())
            .env("SCHEDULER_LOGGING_LEVEL", level)
            .env("SCHEDULER_PLUGINS_SCRIPTS_DIR", scripts_dir())
            // Refused after the log is set up and the plugins are loaded.
            .env("SCHEDULER_SERVER_HOST", "192.0.2.1")
            .env("SCHEDULER_SERVER_TRUST_NETWORK", "true");
        if let Some(directives) = rust_log {
            command.env("RUST_LOG", directives);
        }
        let output = command.output().unwrap();
        String::from_utf8(output.stderr).unwrap()
    };
    assert!(lines_of("info", None).contains("plugin loaded"));
    assert!(!lines_of("error", None).contains("plugin loaded"));
    assert!(lines_of("error", Some("info")).contains("plugin loaded"));
    assert!(!lines_of("info", Some("host=warn")).contains("plugin loaded"));
}

#[test]
fn a_playbook_forges_no_line_of_any_log() {
    run(async {
        const FORGES: &str = r#"
            let line = "ok\n2031-01-01T00:00:00.000000Z  INFO host::api::terminal: terminal opened";
            log::warn(line + "\r\u001b[2Jgone\u009b2J\u202e\u2028end");
            throw line;
        "#;
        let directory = tempfile::tempdir().unwrap();
        let scripts = tempfile::tempdir().unwrap();
        std::fs::write(scripts.path().join("forges.rhai"), playbook(FORGES)).unwrap();
        for format in ["text", "json"] {
            let console = tempfile::NamedTempFile::new().unwrap();
            let file = directory.path().join(format!("{format}.log"));
            let environment = [
                ("SCHEDULER_LOGGING_FILE", file.to_str().unwrap()),
                ("SCHEDULER_LOGGING_FORMAT", format),
                ("SCHEDULER_SERVER_HOST", "unix:http.sock"),
                (
                    "SCHEDULER_PLUGINS_SCRIPTS_DIR",
                    scripts.path().to_str().unwrap(),
                ),
                ("SCHEDULER_POLICY_QUEUE_SUBMIT", "*"),
            ];
            // The harness reads the server's address from JSON logs only, so the server listens
            // on a known Unix socket.
            let mut command = Server::command(directory.path());
            command.envs(environment).stderr(console.reopen().unwrap());
            let mut server = command.spawn().unwrap();
            let url = format!("unix:{}", directory.path().join("http.sock").display());
            let client = |arguments: &[&str]| {
                let output = scheduler()
                    .args(arguments)
                    .args(["--url", &url])
                    .output()
                    .unwrap();
                (
                    String::from_utf8(output.stdout).unwrap(),
                    String::from_utf8(output.stderr).unwrap(),
                )
            };
            let begun = std::time::Instant::now();
            while !directory.path().join("http.sock").exists() {
                assert!(begun.elapsed() < crate::harness::DEADLINE);
                std::thread::sleep(std::time::Duration::from_millis(10));
            }
            let (_, said) = client(&["job", "submit", "forges", "--wait"]);
            assert!(said.contains("has failed"), "{said}");
            let forged = |line: &&str| line.starts_with("2031-01-01") && line.contains("terminal");
            assert_eq!(said.lines().filter(forged).count(), 0, "{said}");
            let id = said.split_whitespace().nth(1).unwrap();
            let (logged, _) = client(&["job", "logs", id]);
            assert_eq!(logged.lines().filter(forged).count(), 0, "{logged}");
            assert!(logged.contains("ok\\n2031"), "{logged}");
            rustix::process::kill_process(
                rustix::process::Pid::from_child(&server),
                rustix::process::Signal::TERM,
            )
            .unwrap();
            assert!(server.wait().unwrap().success());
            for log in [console.path(), file.as_path()] {
                let log = std::fs::read_to_string(log).unwrap();
                assert!(log.contains("terminal opened"), "{log}");
                assert_eq!(log.lines().filter(forged).count(), 0, "{log}");
                let hidden = |c: char| netssh_core::visible::is_hidden(c) && c != '\n';
                assert!(!log.contains(hidden), "{log:?}");
                if format == "json" {
                    for line in log.lines() {
                        serde_json::from_str::<Value>(line).unwrap();
                    }
                }
            }
        }
    });
}
