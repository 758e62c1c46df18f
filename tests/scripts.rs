//! Tests every bundled playbook on real devices: FRRouting behind vtysh, and a Linux host.

use netssh_lab::{Lab, LabDevice, LabPlatform};
use serde_json::{Value, json};
use test_devices::Frr;

use crate::harness::{TestHost, lab_connection, password_connection, run};

/// Starts a host that knows the router as `edge1`.
async fn with(router: &Frr) -> TestHost {
    let host = TestHost::start().await;
    host.connect(password_connection("edge1", &router.ssh, "frr"))
        .await;
    host
}

/// Starts a host that knows the router shared by all tests of this process.
async fn with_router() -> TestHost {
    with(test_devices::frr()).await
}

#[test]
fn every_bundled_playbook_loads() {
    run(async {
        let host = TestHost::start().await;
        let answer = host.client.get("/api/plugins").await;
        let plugins = answer.body["plugins"].as_array().unwrap().clone();
        let names: Vec<_> = plugins
            .iter()
            .map(|plugin| plugin["name"].as_str().unwrap())
            .collect();
        assert_eq!(
            names,
            [
                "backup-config",
                "collect-facts",
                "noop",
                "push-config",
                "ssh-command"
            ]
        );
        for plugin in &plugins {
            assert_eq!(plugin["status"], "ready", "{plugin}");
        }
    });
}

#[test]
fn ssh_command_keeps_what_the_router_answers() {
    run(async {
        let host = with_router().await;
        let job = host
            .run_job(json!({
                "plugin": "ssh-command",
                "targets": ["edge1"],
                "params": { "commands": ["show version", "show running-config"] }
            }))
            .await;

        assert_eq!(job["status"], "completed", "{job}");
        let results = host.results(&job["id"]).await;
        assert_eq!(results.len(), 2);
        assert_eq!(results[0]["target"], "edge1");
        assert_eq!(results[0]["command"], "show version");
        let version = results[0]["output"].as_str().unwrap();
        assert!(version.starts_with("FRRouting "), "{version}");
        assert_eq!(results[0]["error"], Value::Null);
        let running = results[1]["output"].as_str().unwrap();
        assert_eq!(
            running.trim_end(),
            test_devices::frr()
                .vtysh(&["show running-config"])
                .trim_end()
        );
        assert_eq!(
            job["result"]["outputs"]["show version"],
            results[0]["output"]
        );
        assert_eq!(
            job["progress"],
            json!({ "done": 2, "total": 2, "message": null })
        );
    });
}

#[test]
fn ssh_command_stops_at_a_refused_command() {
    run(async {
        let host = with_router().await;
        let commands = json!(["show version", "show nonsense", "show interface brief"]);
        let job = host
            .run_job(json!({
                "plugin": "ssh-command", "targets": ["edge1"], "params": { "commands": commands }
            }))
            .await;

        assert_eq!(job["status"], "failed");
        assert_eq!(job["error_code"], "refused");
        let message = job["error_message"].as_str().unwrap();
        assert!(
            message.contains("edge1 refused 'show nonsense'"),
            "{message}"
        );
        assert!(message.contains("% Unknown command"), "{message}");
        let results = host.results(&job["id"]).await;
        assert_eq!(results.len(), 2, "{results:?}");
        assert!(
            results[1]["error"]
                .as_str()
                .unwrap()
                .contains("% Unknown command")
        );
    });
}

#[test]
fn ssh_command_goes_on_when_asked() {
    run(async {
        let host = with_router().await;
        let commands = json!(["show nonsense", "show version"]);
        let job = host
            .run_job(json!({
                "plugin": "ssh-command",
                "targets": ["edge1"],
                "params": { "commands": commands, "on_error": "continue" }
            }))
            .await;

        assert_eq!(job["status"], "completed", "{job}");
        assert_eq!(job["result"]["refused"][0]["command"], "show nonsense");
        assert_eq!(host.results(&job["id"]).await.len(), 2);
    });
}

#[test]
fn ssh_command_gives_the_exit_codes_of_a_linux_host() {
    run(async {
        let host = TestHost::with_server().await;
        let commands = json!([
            "echo one; echo two >&2",
            "false",
            "exit_with() { return 7; }; exit_with"
        ]);
        let job = host
            .run_job(json!({
                "plugin": "ssh-command",
                "targets": ["server"],
                "params": { "commands": commands, "on_error": "continue" }
            }))
            .await;

        assert_eq!(job["status"], "completed", "{job}");
        let results = host.results(&job["id"]).await;
        let codes: Vec<_> = results.iter().map(|result| &result["exit_code"]).collect();
        assert_eq!(codes, [0, 1, 7]);
        assert_eq!(
            results[0]["output"].as_str().unwrap().trim_end(),
            "one\ntwo"
        );
    });
}

#[test]
fn collect_facts_reads_the_router() {
    run(async {
        let host = with_router().await;
        let job = host
            .run_job(json!({ "plugin": "collect-facts", "targets": ["edge1"] }))
            .await;

        assert_eq!(job["status"], "completed", "{job}");
        let facts = &job["result"];
        assert_eq!(facts["platform"], "frr");
        assert_eq!(facts["hostname"], test_devices::frr().hostname.as_str());
        let version = facts["version"].as_str().unwrap();
        let shown = test_devices::frr().vtysh(&["show version"]);
        assert!(
            shown.starts_with(&format!("FRRouting {version} ")),
            "{version}: {shown}"
        );
    });
}

#[test]
fn collect_facts_reads_a_linux_host() {
    run(async {
        let host = TestHost::with_server().await;
        let job = host
            .run_job(json!({ "plugin": "collect-facts", "targets": ["server"] }))
            .await;

        assert_eq!(job["status"], "completed", "{job}");
        let hostname = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap();
        assert_eq!(job["result"]["hostname"], hostname.trim());
        let release = std::fs::read_to_string("/etc/os-release").unwrap();
        let version = job["result"]["version"].as_str().unwrap();
        assert!(
            release.contains(&format!("PRETTY_NAME=\"{version}\"")),
            "{job}"
        );
        assert!(job["result"]["uptime"].is_string(), "{job}");
    });
}

#[test]
fn backup_config_says_what_changed() {
    run(async {
        let router = Frr::start();
        let host = with(&router).await;
        let backup = json!({ "plugin": "backup-config", "targets": ["edge1"] });

        let first = host.run_job(backup.clone()).await;
        assert_eq!(first["status"], "completed", "{first}");
        assert_eq!(first["result"]["first"], true);
        assert_eq!(first["result"]["changed"], true);

        let second = host.run_job(backup.clone()).await;
        assert_eq!(second["result"]["changed"], false, "{second}");
        assert_eq!(second["result"]["diff"], "");

        let _ = router.vtysh(&["configure terminal", "ip route 198.51.100.0/24 blackhole"]);
        let third = host.run_job(backup).await;
        assert_eq!(third["result"]["changed"], true, "{third}");
        let diff = third["result"]["diff"].as_str().unwrap();
        assert!(
            diff.contains("\n+ip route 198.51.100.0/24 blackhole\n"),
            "{diff}"
        );
    });
}

#[test]
fn push_config_changes_the_router() {
    run(async {
        let router = Frr::start();
        let host = with(&router).await;
        let lines = json!(["interface pushed0", "description set by a job", "exit"]);
        let job = host
            .run_job(json!({
                "plugin": "push-config", "targets": ["edge1"], "params": { "lines": lines, "save": true }
            }))
            .await;

        assert_eq!(job["status"], "completed", "{job}");
        let results = host.results(&job["id"]).await;
        let kinds: Vec<_> = results
            .iter()
            .map(|result| result["kind"].as_str().unwrap())
            .collect();
        assert_eq!(kinds, ["configure", "configure", "configure", "save"]);
        let config = router.running_config();
        assert!(
            config.contains("interface pushed0\n description set by a job\n"),
            "{config}"
        );
    });
}

#[test]
fn push_config_says_which_line_was_refused_and_leaves_configuration_mode() {
    run(async {
        let router = Frr::start();
        let host = with(&router).await;
        let lines = json!(["interface refused0", "nonsense 1", "description never"]);
        let job = host
            .run_job(json!({ "plugin": "push-config", "targets": ["edge1"], "params": { "lines": lines } }))
            .await;

        assert_eq!(job["status"], "failed");
        assert_eq!(job["error_code"], "refused");
        let message = job["error_message"].as_str().unwrap();
        assert!(
            message.contains("edge1 refused line 2 of 3, `nonsense 1`: % Unknown command"),
            "{message}"
        );
        assert!(message.contains("push-config.rhai:"), "{message}");
        let results = host.results(&job["id"]).await;
        assert_eq!(
            results.len(),
            2,
            "the third line is never sent: {results:?}"
        );
        assert!(!router.running_config().contains("description never"));

        // Another job can configure at once: configuration mode is free.
        let lines = json!(["interface after0", "description later", "exit"]);
        let next = host
            .run_job(json!({ "plugin": "push-config", "targets": ["edge1"], "params": { "lines": lines } }))
            .await;
        assert_eq!(next["status"], "completed", "{next}");
    });
}

#[test]
fn noop_does_nothing_or_fails_as_asked() {
    run(async {
        let host = TestHost::start().await;
        let job = host.run_job(json!({ "plugin": "noop" })).await;
        assert_eq!(job["status"], "completed");
        assert_eq!(
            job["params"],
            json!({ "seconds": 0, "fail": false }),
            "defaults are filled in"
        );

        let job = host
            .run_job(json!({ "plugin": "noop", "params": { "fail": true } }))
            .await;
        assert_eq!(job["status"], "failed");
        assert_eq!(job["error_code"], "script");
        let message = job["error_message"].as_str().unwrap();
        assert!(message.starts_with("noop.rhai:"), "{message}");
        assert!(message.ends_with("failed, as asked"), "{message}");
    });
}

/// Starts a host with a simulated IOS device behind a real SSH connection, because no package
/// provides a real one.
async fn with_ios() -> (TestHost, Lab) {
    let lab = Lab::start(LabDevice::cisco_ios("r1")).await.unwrap();
    let device = lab.device();
    let host = TestHost::start().await;
    host.connect(json!({
        "name": "r1", "host": lab.addr().ip().to_string(), "port": lab.addr().port(),
        "username": device.username, "password": device.password, "secret": device.enable_secret,
        "device_type": "cisco_ios"
    }))
    .await;
    (host, lab)
}

#[test]
fn every_bundled_playbook_for_devices_runs_on_ios() {
    run(async {
        let (host, lab) = with_ios().await;
        let completed = async |job: Value| {
            let job = host.run_job(job).await;
            assert_eq!(job["status"], "completed", "{job}");
            job["result"].clone()
        };
        let facts = completed(json!({ "plugin": "collect-facts", "targets": ["r1"] })).await;
        for fact in ["hostname", "version", "model", "serial", "uptime"] {
            assert!(facts[fact].is_string(), "{fact}: {facts}");
        }
        let backup = json!({ "plugin": "backup-config", "targets": ["r1"] });
        let first = completed(backup.clone()).await;
        assert_eq!(
            first["bytes"].as_u64().unwrap(),
            without_volatile(&lab.running_config()),
            "{first}"
        );
        let lines = json!([
            "interface GigabitEthernet0/1",
            "description from a job",
            "exit"
        ]);
        let push = json!({
            "plugin": "push-config", "targets": ["r1"], "params": { "lines": lines, "save": true }
        });
        completed(push).await;
        let second = completed(backup).await;
        assert_eq!(second["changed"], true);
        assert!(
            second["diff"]
                .as_str()
                .unwrap()
                .contains("+ description from a job"),
            "{second}"
        );
        let show = json!({
            "plugin": "ssh-command", "targets": ["r1"], "params": { "commands": ["show version"] }
        });
        completed(show).await;
    });
}

#[test]
fn ssh_command_completes_when_outputs_are_too_long_for_its_result() {
    const MIB: usize = 1024 * 1024;
    run(async {
        let line = "interface GigabitEthernet0/1 is up, line protocol is up\n";
        let text = |bytes: usize| line.repeat(bytes / line.len());
        let outputs = [
            ("show large", text(3 * MIB)),
            ("show larger", text(3 * MIB)),
            ("show small", "ok\n".to_owned()),
            ("show endless", text(9 * MIB)),
        ];
        let commands: Vec<&str> = outputs.iter().map(|(command, _)| *command).collect();
        let device = LabDevice {
            outputs: outputs
                .iter()
                .map(|(command, output)| ((*command).to_owned(), output.clone()))
                .collect(),
            ..LabDevice::cisco_ios("r1")
        };
        let lab = Lab::start(device).await.unwrap();
        let host = TestHost::start().await;
        host.connect(lab_connection("r1", &lab, "cisco_ios")).await;
        let job = host
            .run_job(json!({
                "plugin": "ssh-command", "targets": ["r1"], "params": { "commands": commands }
            }))
            .await;
        assert_eq!(job["status"], "completed", "{}", job["error_message"]);
        let result = &job["result"];
        let kept: Vec<_> = result["commands"].as_array().unwrap().iter().collect();
        let of = |name: &str| -> Vec<Value> { kept.iter().map(|one| one[name].clone()).collect() };
        assert_eq!(of("kept"), [true, false, true, false]);
        assert_eq!(of("truncated"), [false, false, false, true]);
        assert_eq!(result["outputs"]["show large"], outputs[0].1.trim_end());
        assert_eq!(result["outputs"]["show small"], "ok");
        assert!(result["outputs"].get("show larger").is_none());
        // The job's results contain every output.
        let results = host.results(&job["id"]).await;
        assert_eq!(results[1]["output"], outputs[1].1.trim_end());
        assert_eq!(results[3]["truncated"], true);
    });
}

#[test]
fn backups_and_facts_work_on_every_platform() {
    run(async {
        let host = TestHost::start().await;
        // `generic` has no known configuration.
        let platforms = LabPlatform::names().filter(|name| *name != "generic");
        for platform in platforms {
            let lab = Lab::start(LabDevice::new(platform, "r1").unwrap())
                .await
                .unwrap();
            host.connect(json!({
                "name": platform, "host": "127.0.0.1", "port": lab.addr().port(),
                "username": lab.device().username, "password": lab.device().password,
                "secret": lab.device().enable_secret, "device_type": platform,
            }))
            .await;
            for first in [true, false] {
                let backup = json!({ "plugin": "backup-config", "targets": [platform] });
                let job = host.run_job(backup).await;
                assert_eq!(job["status"], "completed", "{platform}: {job}");
                assert_eq!(job["result"]["first"], first, "{platform}: {job}");
                assert_eq!(job["result"]["changed"], first, "{platform}: {job}");
                assert!(
                    job["result"]["bytes"].as_u64().unwrap() > 50,
                    "{platform}: {job}"
                );
            }
            let facts = json!({ "plugin": "collect-facts", "targets": [platform] });
            let job = host.run_job(facts).await;
            assert_eq!(job["status"], "completed", "{platform}: {job}");
            assert_eq!(job["result"]["platform"], platform);
        }
    });
}

#[test]
fn push_config_sends_thousands_of_lines() {
    run(async {
        let (host, lab) = with_ios().await;
        let lines: Vec<_> = (0..1_500)
            .map(|n| {
                format!(
                    "ip route 10.{}.{}.0 255.255.255.0 192.0.2.1",
                    n / 250,
                    n % 250
                )
            })
            .collect();
        let job = host
            .run_job(json!({
                "plugin": "push-config", "targets": ["r1"], "params": { "lines": lines, "save": true }
            }))
            .await;
        assert_eq!(job["status"], "completed", "{}", job["error_message"]);
        assert_eq!(
            job["result"],
            json!({ "lines": 1_500, "diff": null, "saved": true })
        );
        assert!(lab.running_config().contains(lines.last().unwrap()));
    });
}

/// Returns the length of a configuration without the lines that a backup omits.
fn without_volatile(config: &str) -> u64 {
    let kept = config.lines().filter(|line| {
        !line.starts_with("Building configuration")
            && !line.starts_with("Current configuration")
            && !line.starts_with("! Last configuration change")
    });
    kept.map(|line| line.len() as u64 + 1).sum::<u64>() - 1
}

/// Returns a device with other replies to some commands.
async fn ios_that_says(outputs: &[(&str, &str)]) -> Lab {
    let outputs = outputs.iter();
    let device = LabDevice {
        privileged: true,
        outputs: outputs
            .map(|(command, output)| ((*command).to_owned(), (*output).to_owned()))
            .collect(),
        ..LabDevice::cisco_ios("r1")
    };
    Lab::start(device).await.unwrap()
}

#[test]
fn backup_config_rejects_texts_that_are_not_configurations() {
    run(async {
        let host = TestHost::start().await;
        let good = ios_that_says(&[]).await;
        host.connect(lab_connection("r1", &good, "cisco_ios")).await;
        let backup = json!({ "plugin": "backup-config", "targets": ["r1"] });
        let first = host.run_job(backup.clone()).await;
        assert_eq!(first["result"]["first"], true, "{first}");
        for said in [
            "bash: show: command not found",
            "-sh: show: not found",
            "Command not recognized",
            "% Bad command or something\n",
            "\n\n",
            "hostname r1\n",
            "Welcome to a menu.\nChoose one of\nthese\nfour\nor\nfive\nthings\n",
        ] {
            let bad = ios_that_says(&[("show running-config", said)]).await;
            let moved = lab_connection("r1", &bad, "cisco_ios");
            let answer = host.client.put("/api/connections/r1", &moved).await;
            assert_eq!(answer.status, 200, "{}", answer.body);
            let job = host.run_job(backup.clone()).await;
            assert_eq!(job["status"], "failed", "{said:?}: {job}");
            let code = job["error_code"].as_str().unwrap();
            assert!(
                ["implausible", "refused"].contains(&code),
                "{said:?}: {job}"
            );
        }
        let back = lab_connection("r1", &good, "cisco_ios");
        host.client.put("/api/connections/r1", &back).await;
        let last = host.run_job(backup).await;
        assert_eq!(last["result"]["changed"], false, "{last}");

        // A reset device's configuration is stored on request.
        let reset = ios_that_says(&[("show running-config", "hostname r1\n")]).await;
        let moved = lab_connection("r1", &reset, "cisco_ios");
        host.client.put("/api/connections/r1", &moved).await;
        let job = host
            .run_job(json!({ "plugin": "backup-config", "targets": ["r1"], "params": { "replace": true } }))
            .await;
        assert_eq!(job["result"]["changed"], true, "{job}");
    });
}

#[test]
fn collect_facts_fails_without_any_fact() {
    run(async {
        let host = TestHost::start().await;
        let nothing = "Nothing to see here.\n";
        let lab = ios_that_says(&[("show version", nothing), ("show inventory", nothing)]).await;
        host.connect(lab_connection("r1", &lab, "cisco_ios")).await;
        let job = host
            .run_job(json!({ "plugin": "collect-facts", "targets": ["r1"] }))
            .await;
        assert_eq!(job["status"], "failed", "{job}");
        assert_eq!(job["error_code"], "not_found", "{job}");
        assert!(job["result"].is_null(), "{job}");
    });
}

/// A table without `end` is committed or discarded; the job reports which in either case.
#[test]
fn a_push_is_complete_only_if_its_lines_are_in_effect() {
    run(async {
        let host = TestHost::start().await;
        let lab = Lab::start(LabDevice::new("fortinet", "r1").unwrap())
            .await
            .unwrap();
        host.connect(lab_connection("r1", &lab, "fortinet")).await;
        for (name, lines) in [
            ("r2", json!(["config system global", "set hostname r2"])),
            (
                "r3",
                json!(["config system global", "set hostname r3", "end"]),
            ),
        ] {
            let push =
                json!({ "plugin": "push-config", "targets": ["r1"], "params": { "lines": lines } });
            let job = host.run_job(push).await;
            let complete = job["status"] == "completed";
            assert!(complete || job["error_code"] == "discarded", "{job}");
            let config = lab.running_config();
            assert_eq!(config.contains(name), complete, "{job}\n{config}");
        }
    });
}
