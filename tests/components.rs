//! Tests components: the bundled ones on real devices, invalid ones, and the reports of crashes.

use netssh_lab::{Lab, LabDevice, LabPlatform};
use serde_json::{Value, json};

use crate::harness::{TestHost, component, password_connection, run};
use crate::hostile::{deed, hostile};

/// Starts a host with the bundled components and a router.
async fn with_router() -> TestHost {
    let bundled = ["config-compliance", "interface-report", "ssh-command-wasm"];
    let components = bundled.map(|name| (name, std::fs::read(component(name)).unwrap()));
    let host = TestHost::with_components(&components, |config| {
        let templates = concat!(
            env!("CARGO_TARGET_TMPDIR"),
            "/ntc-templates/ntc_templates/templates"
        );
        config.devices.templates_dir = Some(templates.into());
    })
    .await;
    let ssh = &test_devices::frr().ssh;
    host.connect(password_connection("edge1", ssh, "frr")).await;
    host
}

#[test]
fn the_bundled_components_load() {
    run(async {
        let host = with_router().await;
        let answer = host.client.get("/api/plugins").await;
        let plugins = answer.body["plugins"].as_array().unwrap().clone();
        assert_eq!(plugins.len(), 3);
        for plugin in &plugins {
            assert_eq!(plugin["status"], "ready", "{plugin}");
            assert_eq!(plugin["kind"], "wasm");
            assert_eq!(plugin["params_schema"]["type"], "object", "{plugin}");
        }
        let refused = json!({ "plugin": "ssh-command-wasm", "targets": ["edge1"], "params": { "commands": [], "typo": 1 } });
        let answer = host.client.post("/api/jobs", &refused).await;
        assert_eq!(answer.status, 422, "{}", answer.body);
    });
}

#[test]
fn ssh_command_wasm_does_what_the_playbook_does() {
    run(async {
        let host = with_router().await;
        let job = host
            .run_job(json!({
                "plugin": "ssh-command-wasm", "targets": ["edge1"],
                "params": { "commands": ["show version", "show nonsense"], "on_error": "continue" },
            }))
            .await;
        assert_eq!(job["status"], "completed", "{job}");
        let version = job["result"]["outputs"]["show version"].as_str().unwrap();
        assert!(version.starts_with("FRRouting "), "{version}");
        assert_eq!(job["result"]["refused"][0]["command"], "show nonsense");
        assert_eq!(job["progress"]["done"], 2);
        let job = host
            .run_job(json!({
                "plugin": "ssh-command-wasm", "targets": ["edge1"],
                "params": { "commands": ["show nonsense", "show version"] },
            }))
            .await;
        assert_eq!(job["error_code"], "refused", "{job}");
        assert_eq!(host.results(&job["id"]).await.len(), 1);
    });
}

#[test]
fn config_compliance_reports_on_each_rule() {
    run(async {
        let host = with_router().await;
        let rules = json!([
            { "name": "has a host name", "must_match": ["^hostname "] },
            { "name": "no telnet", "must_not_match": ["transport input .*telnet"] },
            { "name": "time", "must_match": ["^ntp server "] },
            { "name": "bgp", "block": "^router ospf6", "must_match": ["."], "block_required": true },
        ]);
        let submit = |fail: bool| json!({ "plugin": "config-compliance", "targets": ["edge1"], "params": { "rules": rules, "fail": fail } });
        let job = host.run_job(submit(false)).await;
        assert_eq!(job["status"], "completed", "{job}");
        let passed: Vec<_> = job["result"]["rules"]
            .as_array()
            .unwrap()
            .iter()
            .map(|rule| rule["passed"].as_bool().unwrap())
            .collect();
        assert_eq!(passed, [true, true, false, false], "{job}");
        assert_eq!(job["result"]["compliant"], false);
        assert_eq!(job["result"]["broken"], 2);
        let job = host.run_job(submit(true)).await;
        assert_eq!(job["error_code"], "not_compliant", "{job}");
        let odd = json!({ "plugin": "config-compliance", "targets": ["edge1"], "params": { "rules": [{ "name": "odd", "must_match": ["("] }] } });
        let job = host.run_job(odd).await;
        assert_eq!(job["error_code"], "invalid", "{job}");
        assert!(host.results(&job["id"]).await.is_empty());
    });
}

/// On every platform, in any format of the configuration.
#[test]
fn config_compliance_reads_every_platform() {
    run(async {
        let host = with_router().await;
        for platform in LabPlatform::names().filter(|name| *name != "generic") {
            let lab = Lab::start(LabDevice::new(platform, "r1").unwrap())
                .await
                .unwrap();
            host.connect(json!({
                "name": platform, "host": "127.0.0.1", "port": lab.addr().port(),
                "username": lab.device().username, "password": lab.device().password,
                "secret": lab.device().enable_secret, "device_type": platform,
            }))
            .await;
            let rules = json!([
                { "name": "says its name", "must_match": ["r1"] },
                { "name": "no such line", "must_match": ["^this is not in it$"] },
            ]);
            let job = host
                .run_job(json!({ "plugin": "config-compliance", "targets": [platform], "params": { "rules": rules } }))
                .await;
            assert_eq!(job["status"], "completed", "{platform}: {job}");
            let passed = |rule: usize| &job["result"]["rules"][rule]["passed"];
            assert_eq!(
                (passed(0), passed(1)),
                (&json!(true), &json!(false)),
                "{platform}: {job}"
            );
        }
    });
}

#[test]
fn interface_report_makes_one_table_of_several_platforms() {
    run(async {
        let host = with_router().await;
        let lab = Lab::start(LabDevice::cisco_ios("r1")).await.unwrap();
        let server = &test_devices::linux().ssh;
        host.connect(password_connection("server", server, "linux"))
            .await;
        host.connect(json!({
            "name": "r1", "host": "127.0.0.1", "port": lab.addr().port(), "secret": "enable",
            "username": "admin", "password": "admin", "device_type": "cisco_ios",
        }))
        .await;
        let job = host
            .run_job(json!({ "plugin": "interface-report", "targets": ["edge1", "r1", "server"] }))
            .await;
        assert_eq!(job["status"], "completed", "{job}");
        let interfaces = job["result"]["interfaces"].as_array().unwrap();
        let of = |target: &str| {
            interfaces
                .iter()
                .filter(|one| one["target"] == target)
                .count()
        };
        assert!(of("edge1") >= 1 && of("r1") >= 2, "{job}");
        assert!(job["result"]["up"].as_u64().unwrap() >= 1, "{job}");
        let failed = job["result"]["failed"]["server"].as_str().unwrap();
        assert!(failed.contains("linux"), "{failed}");
    });
}

#[test]
fn version_0_1_of_the_contract_goes_on_running() {
    run(async {
        let host = TestHost::with_component("old", "contract-0-1-guest").await;
        std::fs::create_dir(host.path("scripts")).unwrap();
        let noop = crate::harness::scripts_dir().join("noop.rhai");
        std::fs::copy(noop, host.path("scripts/noop.rhai")).unwrap();
        host.client.post("/api/plugins/reload", &json!({})).await;
        let ssh = &test_devices::linux().ssh;
        host.connect(password_connection("server", ssh, "linux"))
            .await;
        let job = host
            .run_job(json!({ "plugin": "old", "targets": ["server"], "params": { "x": [1] } }))
            .await;
        assert_eq!(job["status"], "completed", "{job}");
        let result = &job["result"];
        assert_eq!(result["params"], json!({ "x": [1] }));
        assert_eq!(result["output"].as_str().unwrap().trim(), "hello");
        assert_eq!(result["denied"], "denied");
        assert_eq!(result["child"], "completed");
        assert!(result["diff"].as_u64().unwrap() > 0);
    });
}

/// Runs the examples in other languages twice on a real router: the second run finds the values
/// that the first one stored.
#[test]
fn the_examples_in_python_and_javascript_run() {
    run(async {
        let examples = ["command-diff", "version-watch"];
        let components = examples.map(|name| (name, std::fs::read(component(name)).unwrap()));
        let host = TestHost::with_components(&components, |_| {}).await;
        let ssh = &test_devices::frr().ssh;
        host.connect(password_connection("edge1", ssh, "frr")).await;

        let watch = |expected: Value| json!({ "plugin": "version-watch", "targets": ["edge1"], "params": expected });
        let first = host.run_job(watch(json!({}))).await;
        assert_eq!(first["status"], "completed", "{first}");
        let version = first["result"]["version"].clone();
        assert_eq!(first["result"]["before"], Value::Null);
        let second = host.run_job(watch(json!({ "expected": "99" }))).await;
        assert_eq!(second["error_code"], "unexpected_version", "{second}");
        let told = second["error_message"].as_str().unwrap();
        assert!(told.contains(version.as_str().unwrap()), "{told}");

        let diff = |command: &str| json!({ "plugin": "command-diff", "targets": ["edge1"], "params": { "command": command } });
        let first = host.run_job(diff("show version")).await;
        assert_eq!(first["result"]["first"], true, "{first}");
        let second = host.run_job(diff("show version")).await;
        assert_eq!(
            second["result"],
            json!({ "first": false, "changed": false, "diff": "" })
        );
        let refused = host.run_job(diff("show nonsense")).await;
        assert_eq!(refused["error_code"], "refused", "{refused}");
        let denied = host.run_job(diff("reload")).await;
        assert_eq!(denied["status"], "failed", "{denied}");
        assert!(host.results(&denied["id"]).await.is_empty());
    });
}

/// A published contract never changes. The source of the test's component stays as it is, and
/// equals the contract as long as that has version 0.1.0.
#[test]
fn version_0_1_of_the_contract_stands_as_it_was() {
    let read = |path: &str| {
        let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
        let text = std::fs::read_to_string(path.join("plugin.wit")).unwrap();
        let lines = text
            .lines()
            .filter(|line| !line.trim_start().starts_with("//"));
        lines.collect::<Vec<_>>().join("\n")
    };
    let then = read("../tests/plugins/contract-0-1/wit");
    let now = read("../plugin-sdk/wit");
    insta::assert_snapshot!(host::model::digest_of(then.as_bytes()));
    if now.contains("package job-scheduler:plugin@0.1.0;") {
        assert_eq!(now, then);
    }
}

#[test]
fn a_crash_tells_what_the_guest_said_and_where() {
    run(async {
        let host = hostile().await;
        let job = deed(&host, "panic").await;
        assert_eq!(job["error_code"], "script", "{job}");
        let message = job["error_message"].as_str().unwrap();
        assert!(
            message.starts_with("hostile.wasm: panicked at tests/plugins/hostile/src/lib.rs:"),
            "{message}"
        );
        assert!(
            message.contains("index out of bounds: the len is 0 but the index is 3"),
            "{message}"
        );
        assert!(
            message.contains("\n  in hostile_guest::deep_inside"),
            "{message}"
        );
    });
}

#[test]
fn what_a_guest_prints_is_in_the_jobs_log_in_order() {
    run(async {
        let host = hostile().await;
        let job = deed(&host, "print and panic").await;
        assert_eq!(job["status"], "completed", "{job}");
        let logs = host.logs(&job["id"]).await;
        let lines: Vec<_> = logs
            .iter()
            .map(|line| {
                (
                    line["level"].as_str().unwrap(),
                    line["message"].as_str().unwrap(),
                )
            })
            .collect();
        assert_eq!(
            lines,
            [
                ("info", "to stdout"),
                ("warn", "to stderr"),
                ("info", "to the log"),
                ("info", "without an end"),
            ]
        );
    });
}
