//! Tests the command line with a running server: stdout, stderr, and exit codes.

use std::io::{BufRead as _, BufReader, Write};
use std::process::{Output, Stdio};

use serde_json::{Value, json};

use crate::harness::{TestHost, playbook, run, scheduler, scripts_dir};

/// Runs the client against a host in this process, outside of its threads.
async fn client(host: &TestHost, arguments: &[&str]) -> Output {
    with_stdin(host, arguments, "").await
}

async fn with_stdin(host: &TestHost, arguments: &[&str], stdin: &str) -> Output {
    let mut command = scheduler();
    command
        .args(arguments)
        .env("SCHEDULER_URL", host.client.url(""));
    let stdin = stdin.to_owned();
    let ended = tokio::task::spawn_blocking(move || {
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        // A client that does not read its input has closed it.
        let _ = child.stdin.take().unwrap().write_all(stdin.as_bytes());
        child.wait_with_output().unwrap()
    });
    ended.await.unwrap()
}

fn stdout(output: &Output) -> &str {
    std::str::from_utf8(&output.stdout).unwrap()
}

fn stderr(output: &Output) -> &str {
    std::str::from_utf8(&output.stderr).unwrap()
}

/// Lines appear while the command runs, and are not repeated at its end.
#[test]
fn a_running_command_is_watched() {
    run(async {
        let host = TestHost::with_server().await;
        let go = tempfile::NamedTempFile::new().unwrap();
        let command = format!(
            "echo begun; while [ -e {} ]; do :; done; echo done",
            go.path().display()
        );
        let id = host
            .submit(json!({
                "plugin": "ssh-command", "targets": ["server"], "params": { "commands": [command] },
            }))
            .await;
        let mut watching = scheduler();
        watching
            .args(["job", "watch", &id])
            .env("SCHEDULER_URL", host.client.url(""))
            .stdout(Stdio::piped())
            .stderr(Stdio::null());
        let watched = tokio::task::spawn_blocking(move || {
            let mut child = watching.spawn().unwrap();
            let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
            let mut seen = Vec::new();
            while seen.last().map(String::as_str) != Some("begun") {
                seen.push(lines.next().unwrap().unwrap());
            }
            // Ends the command only after its first line was seen.
            drop(go);
            seen.extend(lines.map(Result::unwrap));
            (seen, child.wait().unwrap())
        });
        let (seen, status) = watched.await.unwrap();
        assert_eq!(status.code(), Some(0), "{seen:?}");
        assert!(seen[0].starts_with("── server: echo begun;") && seen[0].ends_with("(runs)"));
        assert_eq!(seen[1..3], ["begun", "done"]);
        assert!(seen[3].starts_with("── server: echo begun;") && seen[3].contains("(ended after"));
        assert_eq!(seen[4..], [""]);
    });
}

/// All of the output appears while the command runs; another command follows.
#[test]
fn the_output_of_a_command_that_waits_is_shown_once() {
    run(async {
        let host = TestHost::with_server().await;
        let go = tempfile::NamedTempFile::new().unwrap();
        let command = format!(
            "echo begun; while [ -e {} ]; do :; done",
            go.path().display()
        );
        let mut waiting = scheduler();
        waiting
            .args([
                "job",
                "submit",
                "ssh-command",
                "--target",
                "server",
                "--wait",
            ])
            .args([
                "--param",
                &format!("commands={}", json!([command, "echo x"])),
            ])
            .env("SCHEDULER_URL", host.client.url(""))
            .stdout(Stdio::piped())
            .stderr(Stdio::null());
        let waited = tokio::task::spawn_blocking(move || {
            let mut child = waiting.spawn().unwrap();
            let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
            let mut seen = Vec::new();
            while seen.last().map(String::as_str) != Some("begun") {
                seen.push(lines.next().unwrap().unwrap());
            }
            drop(go);
            seen.extend(lines.map(Result::unwrap));
            (seen, child.wait().unwrap())
        });
        let (seen, status) = waited.await.unwrap();
        assert_eq!(status.code(), Some(0), "{seen:?}");
        let count = |line: &str| seen.iter().filter(|seen| *seen == line).count();
        assert_eq!((count("begun"), count("x")), (1, 1), "{seen:?}");
        let headers = |end: &str| {
            let of_first = |line: &&String| line.starts_with("── server: echo begun;");
            seen.iter()
                .filter(of_first)
                .filter(|line| line.contains(end))
                .count()
        };
        assert_eq!(
            (headers("(runs)"), headers("(ended after ")),
            (1, 1),
            "{seen:?}"
        );
    });
}

#[test]
fn ctrl_c_stops_following_and_says_that_the_job_continues() {
    run(async {
        let waits = playbook("sleep(600);");
        let host = TestHost::with_playbook("waits", &waits).await;
        let mut waiting = scheduler();
        waiting
            .args(["job", "submit", "waits", "--wait"])
            .env("SCHEDULER_URL", host.client.url(""))
            .stdout(Stdio::null())
            .stderr(Stdio::piped());
        let waited = tokio::task::spawn_blocking(move || {
            let mut child = waiting.spawn().unwrap();
            let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
            let mut seen = Vec::new();
            while !seen
                .last()
                .is_some_and(|line: &String| line.ends_with("is running"))
            {
                seen.push(lines.next().unwrap().unwrap());
            }
            let killed = std::process::Command::new("kill")
                .args(["-INT", &child.id().to_string()])
                .status();
            assert!(killed.unwrap().success());
            seen.extend(lines.map(Result::unwrap));
            (seen, child.wait().unwrap())
        });
        let (seen, status) = waited.await.unwrap();
        assert_eq!(status.code(), Some(130), "{seen:?}");
        let said = seen.join("\n");
        let id = said.split_whitespace().nth(1).unwrap();
        assert_eq!(host.job(id).await["status"], "running");
        assert!(said.contains("it continues on the server"), "{said}");
        assert!(
            said.contains(&format!("scheduler job cancel {id}")),
            "{said}"
        );
        host.client
            .post(&format!("/api/jobs/{id}/cancel"), &json!({}))
            .await;
        host.ended(id).await;
    });
}

#[test]
fn all_lines_of_a_long_log_are_printed() {
    run(async {
        let writes = playbook("for n in 0..5003 { log::info(`line ${n}`); }");
        let host = TestHost::with_playbook("writes", &writes).await;
        let job = host.run_job(json!({ "plugin": "writes" })).await;
        assert_eq!(job["status"], "completed", "{job}");
        let id = job["id"].as_str().unwrap();
        let printed = client(&host, &["job", "logs", id]).await;
        let lines: Vec<&str> = stdout(&printed)
            .lines()
            .filter(|line| line.contains(" line "))
            .collect();
        assert_eq!(lines.len(), 5003);
        assert!(lines[5002].ends_with("line 5002"), "{}", lines[5002]);
        let as_json = client(&host, &["job", "logs", id, "-o", "json"]).await;
        let logs: Value = serde_json::from_str(stdout(&as_json)).unwrap();
        let logs = logs["logs"].as_array().unwrap();
        let last = logs.iter().rfind(|line| line["message"] == "line 5002");
        assert!(logs.len() >= 5003 && last.is_some());
    });
}

#[test]
fn errors_name_commands_and_options() {
    run(async {
        let host = TestHost::start().await;
        let unknown = client(&host, &["job", "submit", "nop"]).await;
        let said = stderr(&unknown);
        assert!(said.contains("plugin `nop` not found\n"), "{said}");
        assert!(said.contains("`scheduler plugin list`"), "{said}");

        let script = scripts_dir().join("ssh-command.rhai");
        let no_device = client(&host, &["run", script.to_str().unwrap()]).await;
        assert_eq!(no_device.status.code(), Some(2));
        let said = stderr(&no_device);
        assert!(
            said.contains("give --host, --username and --device-type"),
            "{said}"
        );

        let file = tempfile::Builder::new().suffix(".toml").tempfile().unwrap();
        std::fs::write(
            file.path(),
            "[[answers]]\nquestion = \"Role\nanswer = \"hunter2\"\n",
        )
        .unwrap();
        let add = [
            "connection",
            "add",
            "r1",
            "--host",
            "192.0.2.1",
            "--username",
            "u",
            "--device-type",
            "cisco_ios",
            "--answer-file",
            file.path().to_str().unwrap(),
        ];
        let invalid = client(&host, &add).await;
        let said = stderr(&invalid);
        assert!(said.contains("not valid TOML at line 2, column "), "{said}");
        assert!(!said.contains("hunter2"), "{said}");

        let add = [&add[..9], &["--password-stdin"]].concat();
        let added = with_stdin(&host, &add, "hunter2\n").await;
        assert!(added.status.success(), "{added:?}");
        let moved = client(&host, &["connection", "edit", "r1", "--host", "192.0.2.2"]).await;
        let said = stderr(&moved);
        assert!(
            said.contains(
                "give it again with --ask-password or --password-file, or use --clear password"
            ),
            "{said}"
        );
    });
}

#[test]
fn results_say_why_there_are_none() {
    run(async {
        let waits = playbook("sleep(600);");
        let host = TestHost::with_playbook("waits", &waits).await;
        let id = host.submit(json!({ "plugin": "waits" })).await;
        host.running(&id).await;
        let running = client(&host, &["job", "results", &id]).await;
        assert!(
            stderr(&running).contains("the job is running: no results yet"),
            "{running:?}"
        );
        client(&host, &["job", "cancel", &id]).await;
        host.ended(&id).await;
        let ended = client(&host, &["job", "results", &id]).await;
        assert!(
            stderr(&ended).contains("the job stored no results"),
            "{ended:?}"
        );
    });
}

#[test]
fn a_job_is_submitted_followed_and_read() {
    run(async {
        let host = TestHost::start().await;
        let ssh = &test_devices::linux().ssh;
        let port = ssh.port.to_string();
        let add = [
            "connection",
            "add",
            "server",
            "--host",
            &ssh.host,
            "--port",
            &port,
            "--username",
            &ssh.username,
            "--device-type",
            "linux",
            "--password-stdin",
        ];
        let added = with_stdin(&host, &add, &format!("{}\n", ssh.password)).await;
        assert_eq!(added.status.code(), Some(0), "{}", stderr(&added));
        assert!(!stdout(&added).contains(&ssh.password) && !stderr(&added).contains(&ssh.password));

        let submit = [
            "job",
            "submit",
            "ssh-command",
            "--target",
            "server",
            "--param",
            r#"commands=["echo to stdout"]"#,
            "--wait",
        ];
        let done = client(&host, &submit).await;
        assert_eq!(done.status.code(), Some(0), "{}", stderr(&done));
        assert!(stdout(&done).contains("to stdout"), "{}", stdout(&done));
        assert!(stderr(&done).contains("has completed"), "{}", stderr(&done));

        let listed = client(&host, &["job", "list", "--output", "json"]).await;
        let listed: Value = serde_json::from_str(stdout(&listed)).unwrap();
        let id = listed["jobs"][0]["id"].as_str().unwrap().to_owned();
        assert_eq!(listed["jobs"][0]["status"], "completed");
        let shown = client(&host, &["job", "show", &id]).await;
        assert!(stdout(&shown).contains("ssh-command"), "{}", stdout(&shown));
        let results = client(&host, &["job", "results", &id]).await;
        assert!(stdout(&results).contains("to stdout"));

        let plugins = client(&host, &["plugin", "list"]).await;
        assert!(
            stdout(&plugins).contains("push-config"),
            "{}",
            stdout(&plugins)
        );
        let removed = client(&host, &["connection", "rm", "server"]).await;
        assert_eq!(removed.status.code(), Some(0));
    });
}

#[test]
fn exit_codes_tell_how_it_ended() {
    run(async {
        let host = TestHost::start().await;
        let code = async |arguments: &[&str]| client(&host, arguments).await.status.code().unwrap();
        assert_eq!(code(&["job", "submit", "noop", "--wait"]).await, 0);
        assert_eq!(
            code(&["job", "submit", "noop", "--param", "fail=true", "--wait"]).await,
            1
        );
        assert_eq!(code(&["job", "submit"]).await, 2);
        assert_eq!(
            code(&["job", "list", "--url", "http://127.0.0.1:1"]).await,
            3
        );
        assert_eq!(code(&["job", "submit", "nothing"]).await, 4);
        assert_eq!(
            code(&["job", "submit", "noop", "--param", "seconds=-1"]).await,
            5
        );
    });
}

#[test]
fn a_refusal_names_its_places_on_stderr_alone() {
    run(async {
        let host = TestHost::start().await;
        let refused = client(&host, &["job", "submit", "noop", "--param", "seconds=soon"]).await;
        assert_eq!(stdout(&refused), "");
        assert!(
            stderr(&refused).contains("/params/seconds"),
            "{}",
            stderr(&refused)
        );
    });
}

#[test]
fn a_waiting_job_is_cancelled() {
    run(async {
        let host = TestHost::start().await;
        let id = host
            .submit(json!({ "plugin": "noop", "scheduled_for": "2999-01-01T00:00:00Z" }))
            .await;
        assert_eq!(
            client(&host, &["job", "cancel", &id]).await.status.code(),
            Some(0)
        );
        assert_eq!(host.job(&id).await["status"], "cancelled");
        assert_eq!(
            client(&host, &["job", "watch", &id]).await.status.code(),
            Some(1)
        );
        assert_eq!(
            client(&host, &["job", "cancel", &id]).await.status.code(),
            Some(5)
        );
    });
}

#[test]
fn a_playbook_runs_without_a_server() {
    let ssh = &test_devices::linux().ssh;
    let directory = tempfile::tempdir().unwrap();
    let password = directory.path().join("password");
    std::fs::write(&password, &ssh.password).unwrap();
    let output = scheduler()
        .arg("run")
        .arg(scripts_dir().join("ssh-command.rhai"))
        .args([
            "--host",
            &ssh.host,
            "--port",
            &ssh.port.to_string(),
            "--username",
            &ssh.username,
        ])
        .args([
            "--device-type",
            "linux",
            "--password-file",
            password.to_str().unwrap(),
        ])
        .args(["--param", r#"commands=["echo here and now"]"#])
        .current_dir(directory.path())
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    assert!(
        stdout(&output).contains("here and now"),
        "{}",
        stdout(&output)
    );
    let left: Vec<_> = std::fs::read_dir(directory.path()).unwrap().collect();
    assert_eq!(left.len(), 1, "nothing is left behind");

    let broken = directory.path().join("broken.rhai");
    std::fs::write(&broken, "fn run(").unwrap();
    let output = scheduler().arg("run").arg(&broken).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(
        stderr(&output).contains("broken.rhai:1:"),
        "{}",
        stderr(&output)
    );
}

#[test]
fn a_schedule_is_added_edited_triggered_and_removed() {
    run(async {
        let host = TestHost::start().await;
        let schedule = async |arguments: &[&str]| {
            let output = client(&host, &[&["schedule"], arguments].concat()).await;
            assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
            stdout(&output).to_owned()
        };
        let cron = ["--plugin", "noop", "--cron", "30 2 * * *"];
        let zone = ["--timezone", "Europe/Berlin", "--misfire", "run_once"];
        schedule(&[&["add", "night"], &cron[..], &zone[..]].concat()).await;
        schedule(&["edit", "night", "--overlap", "queue", "--rename", "nightly"]).await;
        let shown: Value =
            serde_json::from_str(&schedule(&["show", "nightly", "-o", "json"]).await).unwrap();
        assert_eq!(shown["overlap"], "queue", "{shown}");
        assert_eq!(shown["misfire"], "run_once", "{shown}");
        assert!(
            schedule(&["show", "nightly"])
                .await
                .contains("Europe/Berlin")
        );
        schedule(&["disable", "nightly"]).await;
        assert!(schedule(&["list"]).await.contains("off"));
        schedule(&["enable", "nightly"]).await;
        let id = schedule(&["trigger", "nightly"]).await;
        assert_eq!(host.ended(id.trim()).await["status"], "completed");
        let runs = schedule(&["preview", "@daily", "--count", "3"]).await;
        assert_eq!(runs.lines().count(), 3, "{runs}");
        schedule(&["rm", "nightly"]).await;
        let gone = client(&host, &["schedule", "show", "nightly"]).await;
        assert_eq!(gone.status.code(), Some(4));
    });
}

#[test]
fn a_pause_is_added_listed_and_removed() {
    run(async {
        let host = TestHost::start().await;
        let pause = async |arguments: &[&str]| {
            let output = client(&host, &[&["pause"], arguments].concat()).await;
            assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
            format!("{}{}", stdout(&output), stderr(&output))
        };
        let said = pause(&["add", "now", "--reason", "a test", "--plugin", "noop"]).await;
        assert!(
            said.contains("in force until removed with `scheduler pause rm now`"),
            "{said}"
        );
        let id = host.submit(json!({ "plugin": "noop" })).await;
        host.until(&id, |job| job["paused_by"]["pause"] == "now")
            .await;
        for arguments in [&["job", "list"][..], &["job", "show", &id]] {
            let output = client(&host, arguments).await;
            let told = stdout(&output);
            assert!(told.contains("pause now until"), "{told}");
        }
        let window = ["--cron", "0 0 1 1 *", "--minutes", "1"];
        let said = pause(&[&["add", "later", "--skip"], &window[..]].concat()).await;
        assert!(said.contains("in force from"), "{said}");
        let listed = pause(&["list"]).await;
        assert!(
            listed.contains("a test") && listed.contains("skip"),
            "{listed}"
        );
        let said = pause(&["end", "now"]).await;
        assert!(said.contains("pause now ended"), "{said}");
        assert_eq!(host.ended(&id).await["status"], "completed");
        let twice = client(&host, &["pause", "end", "now"]).await;
        assert_ne!(twice.status.code(), Some(0));
        assert!(
            stderr(&twice).contains("is not in force"),
            "{}",
            stderr(&twice)
        );
        pause(&["rm", "now"]).await;
        let gone = client(&host, &["pause", "rm", "now"]).await;
        assert_eq!(gone.status.code(), Some(4));
    });
}

#[test]
fn a_job_that_fails_while_it_is_waited_for_says_why_once() {
    run(async {
        let host = TestHost::with_playbook("breaks", &playbook("throw \"it broke\";")).await;
        for format in ["table", "json"] {
            let arguments = ["job", "submit", "breaks", "--wait", "--output", format];
            let output = client(&host, &arguments).await;
            assert_eq!(output.status.code(), Some(1));
            let said = stderr(&output);
            let expected = usize::from(format == "table");
            let outcomes = said.lines().filter(|line| line.contains("has failed"));
            assert_eq!(outcomes.count(), expected, "{said}");
            let errors = said.matches("it broke").count();
            assert_eq!(errors, expected, "{said}");
        }
    });
}

#[test]
fn an_empty_list_says_what_it_is_a_list_of() {
    run(async {
        let host = TestHost::start().await;
        let output = client(&host, &["job", "list"]).await;
        assert!(stderr(&output).contains("no jobs"), "{}", stderr(&output));
        let output = client(&host, &["job", "list", "--status", "failed"]).await;
        assert!(
            stderr(&output).contains("no job matches"),
            "{}",
            stderr(&output)
        );
    });
}
