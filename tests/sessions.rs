//! Tests a job's sessions: on FRR, on a Linux host, and on simulated devices for the behaviour of
//! vendors' devices.

use std::os::unix::fs::PermissionsExt as _;

use netssh_lab::{Lab, LabDevice, What};
use serde_json::{Value, json};
use sqlx::ConnectOptions;
use sqlx::sqlite::SqliteConnectOptions;
use test_devices::{Frr, Linux};

use crate::harness::{DEADLINE, TestHost, password_connection, run};

/// Returns a playbook with all rights for sessions.
fn playbook(body: &str) -> String {
    format!(
        "fn describe() {{ #{{ summary: \"test\", targets: \"each\", needs: #{{ ssh: #{{ exec: [\"*\"], configure: true }} }}, \
         params: #{{ type: \"object\" }} }} }}\nfn run(job, params) {{\n{body}\n}}\n"
    )
}

async fn with_frr(body: &str, router: &Frr) -> TestHost {
    let host = TestHost::with_playbook("it", &playbook(body)).await;
    host.connect(password_connection("r1", &router.ssh, "frr"))
        .await;
    host
}

async fn with_lab(body: &str, platform: &str) -> (TestHost, Lab) {
    let lab = Lab::start(LabDevice::new(platform, "r1").unwrap())
        .await
        .unwrap();
    let host = TestHost::with_playbook("it", &playbook(body)).await;
    let device = lab.device();
    host.connect(json!({
        "name": "r1", "host": "127.0.0.1", "port": lab.addr().port(),
        "username": device.username, "password": device.password,
        "device_type": platform,
    }))
    .await;
    (host, lab)
}

async fn run_it(host: &TestHost) -> Value {
    host.run_job(json!({ "plugin": "it", "targets": ["r1"] }))
        .await
}

#[test]
fn the_second_job_on_a_device_pays_no_login() {
    run(async {
        let router = Frr::start();
        let host = with_frr("ssh::open().exec(\"show version\").output", &router).await;
        for _ in 0..3 {
            let job = run_it(&host).await;
            assert_eq!(job["status"], "completed", "{job}");
            assert!(job["result"].as_str().unwrap().contains("FRRouting"));
        }
        assert_eq!(router.ssh.accepted_logins(), 1);
        // The host closes its idle sessions when it stops.
        let _stopped = host.stop().await;
        router.ssh.wait_for_sessions(0);
    });
}

#[test]
fn a_session_that_a_job_has_changed_is_not_given_to_the_next() {
    run(async {
        let router = Frr::start();
        let host = with_frr("ssh::open().exec(\"enable\").ok", &router).await;
        for _ in 0..2 {
            assert_eq!(run_it(&host).await["result"], true);
        }
        assert_eq!(router.ssh.accepted_logins(), 2);
    });
}

#[test]
fn commands_in_one_go_leave_a_result_each() {
    run(async {
        let body = "let device = ssh::open();\n\
            let replies = device.exec_all([\"show version\", \"show nonsense\", \"show ip route\"]);\n\
            #{ ok: replies.map(|r| r.ok), commands: replies.map(|r| r.command), prompt: device.prompt }";
        let host = with_frr(body, test_devices::frr()).await;
        let job = run_it(&host).await;
        assert_eq!(job["result"]["ok"], json!([true, false, true]), "{job}");
        assert_eq!(job["result"]["prompt"], "edge1#");
        let results = host.results(&job["id"]).await;
        let commands: Vec<_> = results.iter().map(|result| &result["command"]).collect();
        assert_eq!(commands, ["show version", "show nonsense", "show ip route"]);
        assert_eq!(results[1]["error"], "% Unknown command: show nonsense");
    });
}

#[test]
fn facts_are_what_the_device_says_of_itself() {
    run(async {
        let host = with_frr("ssh::open().facts()", test_devices::frr()).await;
        let job = run_it(&host).await;
        assert_eq!(job["result"]["hostname"], "edge1", "{job}");
        let version = job["result"]["version"].as_str().unwrap();
        assert!(
            version.starts_with(|c: char| c.is_ascii_digit()),
            "{version}"
        );
        let results = host.results(&job["id"]).await;
        assert_eq!(results[0]["command"], "show version");
        assert!(results[0]["output"].as_str().unwrap().contains(version));
    });
}

#[test]
fn a_command_that_asks_is_answered_and_the_answer_is_stored_nowhere() {
    run(async {
        let body = "let reply = ssh::open().send_interactive(\n\
            \"stty -echo; read -r -p 'Token: ' t; stty echo; echo got ${#t}\",\n\
            [#{ expect: \"Token: $\", answer: \"s3cret-token\" }]);\nreply.output";
        let host = TestHost::with_playbook("it", &playbook(body)).await;
        let ssh = &test_devices::linux().ssh;
        host.connect(password_connection("r1", ssh, "linux")).await;
        let job = run_it(&host).await;
        assert_eq!(job["status"], "completed", "{job}");
        assert!(job["result"].as_str().unwrap().ends_with("got 12"), "{job}");
        let stored = format!(
            "{job} {:?} {:?}",
            host.results(&job["id"]).await,
            host.logs(&job["id"]).await
        );
        assert!(!stored.contains("s3cret-token"), "{stored}");
        let results = host.results(&job["id"]).await;
        assert_eq!(results[1]["kind"], "answer");
        assert_eq!(results[1]["command"], "Token:");
        assert_eq!(results[1]["output"], "***");
    });
}

#[test]
fn an_answer_cannot_carry_a_command_past_the_declaration() {
    run(async {
        // `expect` matches the prompt, so the answer would run as a command.
        let body = "ssh::open().send_interactive(\"show version\", [#{ expect: \"#\", answer: \"configure terminal\" }]).ok";
        let source = playbook(body).replace("exec: [\"*\"], configure: true", "exec: [\"show *\"]");
        let host = TestHost::with_playbook("it", &source).await;
        let router = Frr::start();
        host.connect(password_connection("r1", &router.ssh, "frr"))
            .await;
        let job = run_it(&host).await;
        assert_eq!(job["error_code"], "denied", "{job}");
        assert!(host.results(&job["id"]).await.is_empty());
    });
}

/// Regardless of the playbook's error handling, and without any change to the device.
#[test]
fn a_job_of_which_a_result_cannot_be_stored_has_failed() {
    run(async {
        let body = "let device = ssh::open();\n\
            device.exec(\"show version\");\n\
            try { device.configure([\"set system host-name other\"]); } catch (error) { log::info(error.code); }\n\
            \"all is well\"";
        let (host, lab) = with_lab(body, "juniper_junos").await;
        let database = SqliteConnectOptions::new().filename(host.path("scheduler.db"));
        let mut database = database.connect().await.unwrap();
        sqlx::query(
            "CREATE TRIGGER none BEFORE INSERT ON job_results BEGIN SELECT RAISE(ABORT, 'not now'); END",
        )
        .execute(&mut database)
        .await
        .unwrap();
        let job = run_it(&host).await;
        assert_eq!(job["status"], "failed", "{job}");
        assert_eq!(job["error_code"], "internal", "{job}");
        assert!(!job["error_message"].as_str().unwrap().contains("not now"));
        let log = host.logs(&job["id"]).await;
        assert!(
            log.iter().any(|line| line["message"] == "internal"),
            "{log:?}"
        );
        assert!(!lab.running_config().contains("host-name other"));
        let commands = lab.commands();
        assert!(
            !commands.iter().any(|command| command.contains("host-name")),
            "{commands:?}"
        );
    });
}

#[test]
fn a_candidate_takes_effect_by_its_commit() {
    run(async {
        let body = "let device = ssh::open();\n\
            let done = device.configure([\"set interfaces ge-0/0/1 description new\"]);\n\
            #{ diff: done.diff, in_effect: done.in_effect }";
        let (host, lab) = with_lab(body, "juniper_junos").await;
        let job = run_it(&host).await;
        assert_eq!(job["status"], "completed", "{job}");
        assert_eq!(job["result"]["in_effect"], true);
        let diff = job["result"]["diff"].as_str().unwrap();
        assert!(
            diff.contains("+  set interfaces ge-0/0/1 description new"),
            "{diff}"
        );
        assert!(lab.running_config().contains("description new\n"));
        let kinds: Vec<Value> = host
            .results(&job["id"])
            .await
            .iter()
            .map(|result| result["kind"].clone())
            .collect();
        assert_eq!(kinds, ["configure", "commit"]);
    });
}

#[test]
fn a_refused_line_throws_the_candidate_away() {
    run(async {
        let body = "ssh::open().configure([\"set interfaces ge-0/0/1 description new\", \"set nonsense here\"])";
        let (host, lab) = with_lab(body, "juniper_junos").await;
        let before = lab.running_config();
        let job = run_it(&host).await;
        assert_eq!(job["error_code"], "refused", "{job}");
        assert!(
            job["error_message"]
                .as_str()
                .unwrap()
                .contains("line 2 of 2")
        );
        assert_eq!(lab.running_config(), before);
        host.stop().await;
        lab.wait_for_open_sessions(0).await;
        let transcript = lab.transcript();
        assert!(transcript.iter().any(|entry| entry.what == What::Discarded));
        assert!(!transcript.last().unwrap().configures);
    });
}

#[test]
fn a_staged_candidate_is_committed_or_rolled_back_later() {
    run(async {
        let body = "let device = ssh::open();\n\
            let lines = [\"set interfaces ge-0/0/1 description staged\"];\n\
            let staged = device.configure(lines, #{ commit: false });\n\
            let seen = device.exec(\"show version\").ok;\n\
            device.rollback();\n\
            device.configure(lines, #{ commit: false });\n\
            device.commit(#{ comment: \"from a job\" });\n\
            let nothing = \"\";\n\
            try { device.commit(); } catch (e) { nothing = e.code; }\n\
            device.rollback();\n\
            #{ staged: staged.in_effect, seen: seen, nothing: nothing }";
        let (host, lab) = with_lab(body, "juniper_junos").await;
        let before = lab.running_config();
        let job = run_it(&host).await;
        assert_eq!(job["status"], "completed", "{job}");
        assert_eq!(job["result"]["staged"], false);
        assert_eq!(job["result"]["seen"], true);
        assert_eq!(job["result"]["nothing"], "invalid");
        assert_eq!(lab.running_config(), before);
        let committed = lab.transcript();
        let commits = committed
            .iter()
            .filter(|entry| entry.what == What::Committed);
        assert_eq!(commits.count(), 2);
    });
}

#[test]
fn a_platform_without_a_candidate_commits_nothing() {
    run(async {
        let router = Frr::start();
        let body = "let device = ssh::open(); device.commit()";
        let host = with_frr(body, &router).await;
        let job = run_it(&host).await;
        assert_eq!(job["error_code"], "unsupported", "{job}");
    });
}

#[test]
fn what_a_running_command_prints_is_seen_while_it_runs() {
    run(async {
        let linux = Linux::start();
        let go = linux.ssh.home().join("go");
        let body = format!(
            "ssh::open().exec(\"echo first; until [ -e {} ]; do sleep 0.05; done; echo last\").output",
            go.display()
        );
        let host = TestHost::with_playbook("it", &playbook(&body)).await;
        host.connect(password_connection("r1", &linux.ssh, "linux"))
            .await;
        let id = host
            .submit(json!({ "plugin": "it", "targets": ["r1"] }))
            .await;
        let seen = host.until_prints(&id, "first\n").await;
        assert_eq!(seen["running"][0]["target"], "r1");
        assert_eq!(seen["results"], json!([]));
        std::fs::write(&go, "").unwrap();
        let job = host.ended(&id).await;
        assert_eq!(job["result"], "first\nlast");
        let ended = host.client.get(&format!("/api/jobs/{id}/results")).await;
        assert_eq!(ended.body["running"], json!([]));
    });
}

#[test]
fn an_unknown_device_is_found_out() {
    run(async {
        let (host, _lab) = with_lab("()", "arista_eos").await;
        let answer = host.client.act("/api/connections/r1/detect").await;
        assert_eq!(answer.body["ok"], true, "{}", answer.body);
        assert_eq!(answer.body["candidates"][0]["device_type"], "arista_eos");
        let frr = &test_devices::frr().ssh;
        host.connect(password_connection("router", frr, "linux"))
            .await;
        let answer = host.client.act("/api/connections/router/detect").await;
        assert_eq!(answer.body["candidates"][0]["device_type"], "frr");
        assert_eq!(answer.body["device_type"], "linux");
        let linux = &test_devices::linux().ssh;
        host.connect(password_connection("server", linux, "frr"))
            .await;
        let answer = host.client.act("/api/connections/server/detect").await;
        assert_eq!(
            answer.body["candidates"][0]["device_type"], "linux",
            "{}",
            answer.body
        );
    });
}

#[test]
fn an_operators_platform_is_one_like_the_others() {
    run(async {
        let directory = tempfile::tempdir().unwrap();
        let text =
            "name = \"acme\"\nextends = \"frr\"\n[login]\ncommands = [\"terminal length 0\"]\n";
        std::fs::write(directory.path().join("acme.toml"), text).unwrap();
        let host = TestHost::start_with(|config| {
            config.devices.platforms_dir = Some(directory.path().to_owned());
        })
        .await;
        let ssh = &test_devices::frr().ssh;
        host.connect(password_connection("r1", ssh, "acme")).await;
        let job = host
            .run_job(json!({
                "plugin": "ssh-command", "targets": ["r1"],
                "params": { "commands": ["show version"] }
            }))
            .await;
        assert_eq!(job["status"], "completed", "{job}");
        let answer = host
            .client
            .post(
                "/api/connections",
                &json!({ "name": "r2", "host": "h", "username": "u", "password": "p", "device_type": "nonesuch" }),
            )
            .await;
        assert_eq!(answer.status, 422);
        let detail = answer.body.to_string();
        assert!(
            detail.contains("acme") && detail.contains("cisco_ios"),
            "{detail}"
        );
    });
}

#[test]
fn sessions_are_logged_where_the_operator_wants_it_without_secrets() {
    run(async {
        let directory = tempfile::tempdir().unwrap();
        let host = TestHost::start_with(|config| {
            config.devices.session_log_dir = Some(directory.path().to_owned());
        })
        .await;
        let ssh = &test_devices::frr().ssh;
        host.connect(password_connection("r1", ssh, "frr")).await;
        host.run_job(json!({
            "plugin": "ssh-command", "targets": ["r1"],
            "params": { "commands": ["show version"] }
        }))
        .await;
        // A thread of its own writes the log.
        let read = || std::fs::read_to_string(directory.path().join("r1.log"));
        let written = async {
            loop {
                match read() {
                    Ok(log) if log.contains("FRRouting") => return log,
                    _ => tokio::task::yield_now().await,
                }
            }
        };
        let log = tokio::time::timeout(DEADLINE, written).await.unwrap();
        assert!(log.contains("> show version"), "{log}");
        assert!(!log.contains(ssh.password.as_str()), "{log}");
    });
}

#[test]
fn an_output_is_parsed_by_the_operators_templates() {
    run(async {
        let body = "let device = ssh::open();\n\
            let brief = device.parse(device.exec(\"show ip interface brief\"));\n\
            let code = \"\";\n\
            try { parse(\"cisco_ios\", \"show nonsense\", \"\"); } catch (e) { code = e.code; }\n\
            #{ interfaces: brief.map(|i| i.interface), code: code }";
        let lab = Lab::start(LabDevice::cisco_ios("r1")).await.unwrap();
        let directory =
            env!("CARGO_TARGET_TMPDIR").to_owned() + "/ntc-templates/ntc_templates/templates";
        let scripts = tempfile::tempdir().unwrap();
        std::fs::write(scripts.path().join("it.rhai"), playbook(body)).unwrap();
        let host = TestHost::start_with(|config| {
            config.plugins.scripts_dir = scripts.path().to_owned();
            config.devices.templates_dir = Some(directory.into());
        })
        .await;
        host.connect(json!({
            "name": "r1", "host": "127.0.0.1", "port": lab.addr().port(), "secret": "enable",
            "username": "admin", "password": "admin", "device_type": "cisco_ios",
        }))
        .await;
        let job = run_it(&host).await;
        assert_eq!(job["status"], "completed", "{job}");
        assert_eq!(
            job["result"]["interfaces"][1], "GigabitEthernet0/0",
            "{job}"
        );
        assert_eq!(job["result"]["code"], "not_found");
    });
}

/// A template with a pattern that tries every way to split a line before it fails.
const SLOW_TEMPLATE: &str =
    "Value WORD (\\w+)\n\nStart\n  ^(?=(\\w+\\s?)+$$)${WORD}=\\s*$$ -> Record\n";

#[test]
fn parsing_ends_with_its_job() {
    run(async {
        let templates = tempfile::tempdir().unwrap();
        let index = "Template, Hostname, Platform, Command\n\
            slow.textfsm, .*, cisco_ios, show slow\n";
        std::fs::write(templates.path().join("index"), index).unwrap();
        std::fs::write(templates.path().join("slow.textfsm"), SLOW_TEMPLATE).unwrap();
        let scripts = tempfile::tempdir().unwrap();
        let body = "let output = \"\";\n\
            for i in 0..20000 { output += \"word word word word word word word word !\\n\"; }\n\
            progress(1, 2);\n\
            parse(\"cisco_ios\", \"show slow\", output)";
        std::fs::write(scripts.path().join("it.rhai"), playbook(body)).unwrap();
        let host = TestHost::start_with(|config| {
            config.plugins.scripts_dir = scripts.path().to_owned();
            config.plugins.cpu_seconds = 3_600;
            config.devices.templates_dir = Some(templates.path().to_owned());
        })
        .await;
        let linux = Linux::start();
        host.connect(password_connection("r1", &linux.ssh, "linux"))
            .await;
        // More jobs than can be parsed at once: each has to release its permit.
        for _ in 0..4 {
            let id = host
                .submit(json!({ "plugin": "it", "targets": ["r1"] }))
                .await;
            host.until(&id, |job| job["progress"]["done"] == 1).await;
            host.client
                .post(&format!("/api/jobs/{id}/cancel"), &json!({}))
                .await;
            let job = host.ended(&id).await;
            assert_eq!(job["status"], "cancelled", "{job}");
        }
    });
}

#[test]
fn files_come_from_and_go_to_the_operators_directory_alone() {
    run(async {
        let linux = Linux::start();
        let remote = linux.ssh.home().join("image.bin");
        let body = format!(
            "let device = ssh::open();\n\
             let up = device.upload(\"image.bin\", \"{0}\");\n\
             let down = device.download(\"{0}\", \"copies/image.bin\");\n\
             let codes = [];\n\
             for file in [\"../outside\", \"/etc/passwd\", \"link\", \"nowhere\"] {{\n\
                 try {{ device.upload(file, \"{0}\"); }} catch (e) {{ codes.push(e.code); }}\n\
                 try {{ device.download(\"{0}\", file + \"/x\"); }} catch (e) {{ codes.push(e.code); }}\n\
             }}\n\
             #{{ up: up, same: up.sha256 == down.sha256, codes: codes }}",
            remote.display()
        );
        let source = playbook(&body).replace("configure: true", "upload: true, download: true");
        let base = tempfile::tempdir().unwrap();
        let files = base.path().join("files");
        let scripts = base.path().join("scripts");
        for directory in [&files, &scripts] {
            std::fs::create_dir(directory).unwrap();
        }
        std::fs::write(base.path().join("outside"), "outside").unwrap();
        std::fs::write(files.join("image.bin"), vec![7; 300_000]).unwrap();
        std::os::unix::fs::symlink(base.path(), files.join("link")).unwrap();
        std::fs::write(scripts.join("it.rhai"), source).unwrap();
        let host = TestHost::start_with(|config| {
            config.plugins.scripts_dir = scripts.clone();
            config.devices.files_dir = Some(files.clone());
        })
        .await;
        host.connect(password_connection("r1", &linux.ssh, "linux"))
            .await;
        let job = run_it(&host).await;
        assert_eq!(job["status"], "completed", "{job}");
        assert_eq!(job["result"]["same"], true);
        assert_eq!(job["result"]["up"]["bytes"], 300_000);
        assert_eq!(job["result"]["up"]["protocol"], "sftp");
        let copy = std::fs::read(files.join("copies/image.bin")).unwrap();
        for (path, mode) in [("copies", 0o700), ("copies/image.bin", 0o600)] {
            let metadata = std::fs::metadata(files.join(path)).unwrap();
            assert_eq!(metadata.permissions().mode() & 0o777, mode, "{path}");
        }
        assert_eq!(std::fs::read_dir(files.join("copies")).unwrap().count(), 1);
        assert_eq!(copy, vec![7; 300_000]);
        // All but the download into a directory that did not exist yet.
        assert_eq!(job["result"]["codes"].as_array().unwrap().len(), 7, "{job}");
        assert!(!base.path().join("x").exists());
        let results = host.results(&job["id"]).await;
        assert_eq!(results[0]["kind"], "upload");
        assert!(
            results[0]["output"]
                .as_str()
                .unwrap()
                .starts_with("300000 bytes")
        );
    });
}

#[test]
fn files_that_were_not_declared_are_denied() {
    run(async {
        let body = "ssh::open().upload(\"image.bin\", \"x\")";
        let host = with_frr(body, test_devices::frr()).await;
        let job = run_it(&host).await;
        assert_eq!(job["error_code"], "denied", "{job}");
    });
}
