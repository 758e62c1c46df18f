//! Tests limits on the disk space of jobs, devices and logs.

use std::path::Path;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use test_devices::Linux;

use crate::database::{SmallDisk, fill, free, submit, until, until_status};
use crate::harness::{DEADLINE, Server, TestHost, password_connection, playbook, run};

/// The server checks the free space at intervals.
const FRESH: Duration = Duration::from_secs(2);

#[test]
fn a_nearly_full_disk_takes_no_new_jobs_and_ends_those_that_run() {
    run(async {
        let disk = SmallDisk::new();
        let command = Server::command(disk.directory.path());
        let server = Server::spawn(disk.mounted_of(128, &command), None);
        let (client, files) = (&server.client, disk.files(&server));
        let running = submit(client, 3600.0).await;
        until_status(client, &running, "running").await;
        let ending = submit(client, FRESH.as_secs_f64()).await;
        until_status(client, &ending, "running").await;
        // A twentieth of the 128 MiB has to be free.
        let mut filler = std::fs::File::create(files.join("filler")).unwrap();
        let free_now = || {
            let space = rustix::fs::statvfs(&files).unwrap();
            space.f_bavail * space.f_frsize
        };
        while free_now() > 6_400_000 {
            std::io::Write::write_all(&mut filler, &[1; 65_536]).unwrap();
        }
        drop(filler);

        let health = until(client, "/health", |status, _| status == 503).await;
        assert_eq!(health["storage"]["disk_low"], true, "{health}");
        assert_eq!(health["storage"]["disk_full"], false, "{health}");
        let problem = health["storage"]["problem"].as_str().unwrap();
        assert!(problem.contains("database.min_free_mb"), "{problem}");
        let answer = client.post("/api/jobs", &json!({ "plugin": "noop" })).await;
        assert_eq!(answer.status, 507, "{}", answer.body);
        assert_eq!(answer.body["type"], "/problems/disk-low");
        let detail = answer.body["detail"].as_str().unwrap();
        assert!(detail.contains("bytes are free"), "{detail}");
        let rerun = client.act(&format!("/api/jobs/{ending}/rerun")).await;
        assert!(rerun.status == 507 || rerun.status == 409, "{}", rerun.body);

        until_status(client, &ending, "completed").await;
        let answer = client.act(&format!("/api/jobs/{running}/cancel")).await;
        assert_eq!(answer.status, 202, "{}", answer.body);
        until_status(client, &running, "cancelled").await;

        free(&files);
        until(client, "/health", |status, _| status == 200).await;
        let id = submit(client, 0.0).await;
        until_status(client, &id, "completed").await;
    });
}

async fn download_host(
    linux: &Linux,
    files: &Path,
    configure: impl FnOnce(&mut host::config::Config),
) -> TestHost {
    // The parameter `file` is the file's name; two plugins have the same source.
    let source = r#"
        fn describe() {
            #{ summary: "A test", targets: "each", needs: #{ ssh: #{ download: true } },
               params: #{ type: "object", properties: #{ remote: #{ type: "string" },
                                                        file: #{ type: "string" } } } }
        }
        fn run(job, params) { ssh::open().download(params.remote, params.file) }
    "#;
    let files = files.to_owned();
    let host = TestHost::with_scripts_and(&[("fetch", source), ("other", source)], |config| {
        config.devices.files_dir = Some(files);
        configure(config);
    })
    .await;
    host.connect(password_connection("r1", &linux.ssh, "linux"))
        .await;
    host
}

async fn download(host: &TestHost, plugin: &str, remote: &Path, file: &str) -> Value {
    host.run_job(json!({
        "plugin": plugin, "targets": ["r1"],
        "params": { "remote": remote.to_str().unwrap(), "file": file },
    }))
    .await
}

fn names(directory: &Path) -> Vec<String> {
    let files = std::fs::read_dir(directory).unwrap();
    let mut names: Vec<_> = files
        .map(|file| file.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

#[test]
fn downloads_are_limited_in_number_and_size_per_plugin_and_in_all() {
    run(async {
        let linux = Linux::start();
        let (small, large) = (
            linux.ssh.home().join("small.bin"),
            linux.ssh.home().join("large.bin"),
        );
        std::fs::write(&small, vec![1; 1000]).unwrap();
        std::fs::write(&large, vec![2; 900_000]).unwrap();
        let files = tempfile::tempdir().unwrap();
        let host = download_host(&linux, files.path(), |config| {
            config.devices.files_plugin_max_count = 2;
            config.devices.files_plugin_max_mb = 1;
            config.devices.files_max_count = 3;
        })
        .await;
        let expect_refused = |job: &Value, key: &str| {
            assert_eq!(job["status"], "failed", "{job}");
            assert_eq!(job["error_code"], "limit", "{job}");
            let message = job["error_message"].as_str().unwrap();
            assert!(
                message.contains(key) && message.contains("files with"),
                "{message}"
            );
        };
        for file in ["a", "b"] {
            let job = download(&host, "fetch", &small, file).await;
            assert_eq!(job["status"], "completed", "{job}");
        }
        let job = download(&host, "fetch", &small, "c").await;
        expect_refused(&job, "devices.files_plugin_max_count allows 2 files");
        // Replacing a file does not count as another one, regardless of how its name is written.
        let job = download(&host, "fetch", &large, "./b").await;
        assert_eq!(job["status"], "completed", "{job}");
        let job = download(&host, "fetch", &large, "a").await;
        expect_refused(&job, "devices.files_plugin_max_mb");
        assert_eq!(
            std::fs::read(files.path().join("a")).unwrap(),
            vec![1; 1000]
        );

        let job = download(&host, "other", &small, "d").await;
        assert_eq!(job["status"], "completed", "{job}");
        let job = download(&host, "other", &small, "e").await;
        expect_refused(&job, "devices.files_max_count allows 3 files");
        assert_eq!(names(files.path()), ["a", "b", "d"], "no parts are left");

        // A file that was removed by hand does not count any more, even after a restart.
        std::fs::remove_file(files.path().join("b")).unwrap();
        let left_over = "x.cfg.0193a5f2b6c87d3e9f10a2b3c4d5e6f7.part";
        std::fs::write(files.path().join(left_over), "half").unwrap();
        let host = host.stop().await.start().await;
        assert_eq!(names(files.path()), ["a", "d"], "the part is removed");
        let job = download(&host, "fetch", &large, "e").await;
        assert_eq!(job["status"], "completed", "{job}");
    });
}

#[test]
fn a_job_that_logs_without_end_fills_neither_log() {
    run(async {
        const CHATTY: &str = r#"
            let text = "x"; while text.len < 10000 { text += text; }
            for number in 0..30000 { log::info(number + " " + text); }
            throw "the end";
        "#;
        let directory = tempfile::tempdir().unwrap();
        let log = directory.path().join("server.log");
        let scripts = tempfile::tempdir().unwrap();
        std::fs::write(scripts.path().join("chatty.rhai"), playbook(CHATTY)).unwrap();
        let environment = [
            ("SCHEDULER_LOGGING_FILE", log.to_str().unwrap()),
            ("SCHEDULER_LOGGING_FORMAT", "json"),
            (
                "SCHEDULER_PLUGINS_SCRIPTS_DIR",
                scripts.path().to_str().unwrap(),
            ),
            ("SCHEDULER_POLICY_QUEUE_SUBMIT", "*"),
        ];
        let server = Server::start_with(directory.path(), &environment);
        let client = &server.client;
        let answer = client
            .post("/api/jobs", &json!({ "plugin": "chatty" }))
            .await;
        let id = answer.body["id"].as_str().unwrap().to_owned();
        until_status(client, &id, "failed").await;
        let mut lines = Vec::new();
        let mut after = 0;
        loop {
            let path = format!("/api/jobs/{id}/logs?after={after}");
            let page = client.get(&path).await.body;
            lines.extend(page["logs"].as_array().unwrap().iter().cloned());
            match page["next_after"].as_i64() {
                Some(next) => after = next,
                None => break,
            }
        }
        let texts: Vec<_> = lines
            .iter()
            .map(|line| line["message"].as_str().unwrap())
            .collect();
        let bytes: usize = texts.iter().map(|text| text.len()).sum();
        assert!(bytes <= 17 << 20, "{bytes}");
        assert!(texts.len() < 20_000);
        assert!(
            texts
                .iter()
                .any(|text| text.contains("further lines are dropped"))
        );
        assert!(
            texts.last().unwrap().contains("the end"),
            "the error is kept"
        );

        assert_eq!(server.terminate(), Some(0));
        let log = std::fs::read_to_string(&log).unwrap();
        assert!(log.len() < 1 << 20, "{}", log.len());
        assert!(
            log.contains(&format!("scheduler job logs {id}")),
            "it says where the rest is"
        );
        assert!(
            log.contains("the end"),
            "the job's error is in the server's log"
        );
    });
}

#[test]
fn a_session_log_says_what_a_full_disk_took() {
    run(async {
        let linux = Linux::start();
        let disk = SmallDisk::new();
        let directory = tempfile::tempdir().unwrap();
        let mut command = Server::command(directory.path());
        let in_directory = |name: &str| directory.path().join(name);
        let database = format!("sqlite:{}", in_directory("scheduler.db").display());
        command
            .env("SCHEDULER_DATABASE_URL", database)
            .env(
                "SCHEDULER_SECURITY_MASTER_KEY_FILE",
                in_directory("scheduler.key"),
            )
            .env("SCHEDULER_PLUGINS_CACHE_DIR", in_directory("cache"))
            .env("SCHEDULER_DEVICES_SESSION_LOG_DIR", "logs")
            .env("SCHEDULER_DEVICES_POOL_IDLE_SECONDS", "0");
        let server = Server::spawn(disk.mounted(&command), None);
        let (client, files) = (&server.client, disk.files(&server));
        let connection = password_connection("r1", &linux.ssh, "linux");
        let answer = client.post("/api/connections", &connection).await;
        assert_eq!(answer.status, 201, "{}", answer.body);
        let run_command = |command: &'static str| async move {
            let job = json!({
                "plugin": "ssh-command", "targets": ["r1"], "params": { "commands": [command] },
            });
            let answer = client.post("/api/jobs", &job).await;
            assert_eq!(answer.status, 202, "{}", answer.body);
            let id = answer.body["id"].as_str().unwrap().to_owned();
            until_status(client, &id, "completed").await;
        };
        let log = || std::fs::read_to_string(files.join("logs/r1.log")).unwrap_or_default();
        // A thread of its own writes the log.
        let until_log = |holds: &'static str| async move {
            let begun = Instant::now();
            while !log().contains(holds) {
                assert!(begun.elapsed() < DEADLINE, "{holds}: {}", log());
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        run_command("echo before").await;
        until_log("> echo before").await;
        fill(&files);
        // More than the free space in the last block of the file.
        run_command("seq 5000; echo meanwhile").await;
        run_command("echo still").await;
        free(&files);
        // The log reports the gap without another session.
        until_log("No space left on device]").await;
        run_command("echo after").await;
        until_log("> echo after").await;
        let log = log();
        // Small entries may have fitted into the last block of the file.
        let gaps = log
            .lines()
            .filter_map(|line| line.split_once("[… ")?.1.split_once(' '));
        let missing: u64 = gaps.map(|(bytes, _)| bytes.parse::<u64>().unwrap()).sum();
        assert!(missing > 10_000, "{missing}: {log}");
        for line in log.lines() {
            assert!(line[..4].parse::<u16>().is_ok(), "no line is cut: {line:?}");
        }
        let place = |text: &str| log.find(text).unwrap();
        assert!(place("> echo before") < place("missing from"));
        assert!(place("missing from") < place("> echo after"));
    });
}
