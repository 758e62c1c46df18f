//! The log: one line a thing, each line of a job with the job's id.

use serde_json::{Value, json};

use crate::harness::{Server, run, scheduler, scripts_dir};

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
            // Refused after the log is on and the plugins are loaded.
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
