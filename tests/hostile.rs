//! Tests malicious and broken components: only the component's own job fails, or the component does
//! not load, and the error names the cause.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::harness::{TestHost, component, password_connection, run};

/// Starts a host with the malicious component, and a server that it may connect to.
pub(crate) async fn hostile() -> TestHost {
    hostile_with(|_| {}).await
}

async fn hostile_with(configure: impl FnOnce(&mut host::config::Config)) -> TestHost {
    let bytes = std::fs::read(component("hostile-guest")).unwrap();
    let host = TestHost::with_components(&[("hostile", bytes)], configure).await;
    let ssh = &test_devices::linux().ssh;
    for name in ["server", "elsewhere"] {
        host.connect(password_connection(name, ssh, "linux")).await;
    }
    host
}

pub(crate) async fn deed(host: &TestHost, deed: &str) -> Value {
    deed_with(host, deed, "").await
}

async fn deed_with(host: &TestHost, deed: &str, command: &str) -> Value {
    let job = host
        .run_job(json!({
            "plugin": "hostile", "targets": ["server"],
            "params": { "deed": deed, "command": command },
        }))
        .await;
    let health = host.client.get("/health").await;
    assert_eq!(health.status, 200, "the server goes on");
    job
}

fn message(job: &Value) -> &str {
    job["error_message"].as_str().unwrap_or_default()
}

#[test]
fn limits_end_the_job_that_reaches_them() {
    let cases = [
        ("loop", "out_of_cpu", "plugins.cpu_seconds"),
        ("spin on the clock", "out_of_cpu", "plugins.cpu_seconds"),
        ("recursion", "limit", "too many nested function calls"),
        ("memory", "out_of_memory", "plugins.memory_mb"),
        ("a map of a million", "out_of_memory", "plugins.memory_mb"),
        ("sessions", "limit", "at most 32 per job"),
        ("handles", "limit", "at most 1024 per job"),
        ("another device", "denied", "`elsewhere`"),
        ("configure", "denied", "ssh.configure"),
        ("submit", "denied", "submitting `noop`"),
        ("exit", "script", "exited with code 0"),
        ("abort", "script", "crashed"),
        ("own stop code", "script", "I was not"),
    ];
    run(async move {
        let host = hostile_with(|config| {
            // Enough for the cases that reach another limit, also on a busy machine.
            config.plugins.cpu_seconds = 3;
            // Each session of the component is another login.
            config.devices.max_sessions_per_device = 64;
            config.devices.logins_per_minute = 0;
        })
        .await;
        for (name, code, says) in cases {
            let job = deed(&host, name).await;
            assert_eq!(job["status"], "failed", "{name}: {job}");
            assert_eq!(job["error_code"], code, "{name}: {}", message(&job));
            assert!(message(&job).contains(says), "{name}: {}", message(&job));
            assert!(
                message(&job).starts_with("hostile.wasm: ") || code == "limit",
                "{name}: {}",
                message(&job)
            );
        }
    });
}

#[test]
fn a_component_with_too_large_a_result_fails() {
    run(async {
        // A component holds several copies of its result.
        let host = hostile_with(|config| config.plugins.memory_mb = 512).await;
        let job = deed(&host, "a result of 34 megabytes").await;
        assert_eq!(job["status"], "failed", "{}", message(&job));
        assert_eq!(job["error_code"], "limit", "{}", message(&job));
        assert!(message(&job).contains("34200002 bytes"));
    });
}

#[test]
fn values_that_would_take_much_memory_are_refused_before_they_are_parsed() {
    run(async {
        let host = hostile_with(|config| config.plugins.memory_mb = 512).await;
        for name in ["a result of many values", "a stored value of many values"] {
            let job = deed(&host, name).await;
            assert_eq!(job["status"], "failed", "{name}: {}", message(&job));
            assert_eq!(job["error_code"], "limit", "{name}: {}", message(&job));
            let says = "may take at most 512 MiB of memory";
            assert!(message(&job).contains(says), "{name}: {}", message(&job));
        }
    });
}

/// The same limits for playbooks; limits of playbooks only are in `sandbox.rs`.
#[test]
fn limits_end_the_playbook_that_reaches_them() {
    let cases = [
        ("loop { }", "out_of_cpu", "plugins.cpu_seconds"),
        (
            "[1].map(|x| { loop { } })",
            "out_of_cpu",
            "plugins.cpu_seconds",
        ),
        (
            "[2, 1].sort(|a, b| { loop { } })",
            "out_of_cpu",
            "plugins.cpu_seconds",
        ),
        ("f(1)", "limit", "too many nested function calls"),
        (
            "let x = #{}; let i = 0; loop { let big = \"\"; big.pad(1000000 + i, \"x\"); x[`k${i}`] = big; i += 1; }",
            "out_of_memory",
            "plugins.memory_mb",
        ),
        (
            "let x = #{}; for i in 0..100000 { x[`k${i}`] = i; } loop { }",
            "out_of_cpu",
            "plugins.cpu_seconds",
        ),
        (
            "let all = []; loop { all.push(ssh::open()); }",
            "limit",
            "at most 32 per job",
        ),
        ("ssh::open(\"elsewhere\")", "denied", "`elsewhere`"),
        (
            "ssh::open().configure([\"hostname owned\"])",
            "denied",
            "ssh.configure",
        ),
        (
            "queue::submit(\"noop\", #{})",
            "denied",
            "submitting `noop`",
        ),
        (
            "throw #{ code: \"cancelled\", message: \"I was not\" }",
            "script",
            "I was not",
        ),
    ];
    run(async move {
        for (body, code, says) in cases {
            let host = hostile_playbook(body, |config| {
                config.plugins.cpu_seconds = 1;
                config.devices.max_sessions_per_device = 64;
                config.devices.logins_per_minute = 0;
            })
            .await;
            let job = host
                .run_job(json!({ "plugin": "hostile", "targets": ["server"] }))
                .await;
            assert_eq!(job["status"], "failed", "{body}: {job}");
            assert_eq!(job["error_code"], code, "{body}: {}", message(&job));
            assert!(message(&job).contains(says), "{body}: {}", message(&job));
            assert_eq!(host.client.get("/health").await.status, 200);
        }
    });
}

/// Starts a host with a playbook that declares what the malicious component declares.
async fn hostile_playbook(
    body: &str,
    configure: impl FnOnce(&mut host::config::Config),
) -> TestHost {
    let source = format!(
        "fn describe() {{ #{{ summary: \"Harm\", targets: \"all\", needs: #{{ ssh: #{{ exec: [\"show *\"] }}, storage: true }}, params: #{{ type: \"object\" }} }} }}\n\
         fn f(x) {{ f(x + 1) }}\n\
         fn run(job, params) {{ {body} }}"
    );
    let host = TestHost::with_scripts_and(&[("hostile", &source)], configure).await;
    let ssh = &test_devices::linux().ssh;
    for name in ["server", "elsewhere"] {
        host.connect(password_connection(name, ssh, "linux")).await;
    }
    host
}

#[test]
fn memory_that_is_refused_can_be_handled() {
    run(async {
        let host = hostile().await;
        let job = deed(&host, "memory, handled").await;
        assert_eq!(job["result"], true, "{job}");
    });
}

#[test]
fn output_without_end_is_bounded() {
    run(async {
        let host = hostile_with(|config| config.plugins.cpu_seconds = 60).await;
        for name in ["a quarter of a gigabyte of stdout", "log lines"] {
            let job = deed(&host, name).await;
            assert_eq!(job["status"], "completed", "{name}: {job}");
            let path = format!("/api/jobs/{}/logs?level=warn", job["id"].as_str().unwrap());
            let logs = host.client.get(&path).await.body;
            let last = logs["logs"].as_array().unwrap().last().unwrap().clone();
            let text = last["message"].as_str().unwrap();
            assert!(text.contains("20000 lines"), "{name}: {text}");
        }
        let job = deed(&host, "a line without an end").await;
        let logs = host.logs(&job["id"]).await;
        assert_eq!(logs.len(), 1);
        assert!(logs[0]["message"].as_str().unwrap().len() <= 16 * 1024);
    });
}

#[test]
fn nothing_of_this_machine_can_be_reached() {
    run(async {
        let host = hostile().await;
        let job = deed(&host, "files").await;
        assert_eq!(
            job["result"],
            json!([true, true, true, true, true]),
            "{job}"
        );
        let job = deed(&host, "environment").await;
        assert_eq!(
            job["result"],
            json!({ "variables": [], "arguments": [] }),
            "{job}"
        );
        let job = deed(&host, "network").await;
        assert_eq!(job["result"], json!([true, true, true, true]), "{job}");
    });
}

/// None of these is a single command that begins with `show `.
#[test]
fn a_denied_command_does_not_reach_the_device_in_any_disguise() {
    let disguises = [
        "reload",
        "sh version",
        "SHOW version",
        "show",
        "showversion",
        " reload",
        "show version; reload",
        "show version|reload",
        "show version && reload",
        "show version & reload",
        "show `reload`",
        "show $(reload)",
        "show > /etc/passwd",
        "show < /etc/passwd",
        "show [reload]",
        "show {reload}",
        "show !reload",
        "show \\",
        "show version\nreload",
        "show version\r\nreload",
        "show version\rreload",
        "show version\u{0}reload",
        "show version\u{3}reload",
        "show version\u{8}\u{8}\u{8}reload",
        "show version\u{15}reload",
        "show version\u{16}\u{a}reload",
        "show version\u{1b}[2Kreload",
        "show version\u{85}reload",
        "show version\u{2028}reload",
        "show\u{a0}version",
        "show \u{202e}daoler",
        "show ver\u{200b}sion",
        "\tshow version",
        "",
        "   ",
    ];
    run(async move {
        let component = hostile().await;
        let playbook = hostile_playbook("ssh::open().exec(params.command)", |_| {}).await;
        for (host, command) in disguises
            .iter()
            .flat_map(|command| [(&component, *command), (&playbook, *command)])
        {
            let job = deed_with(host, "exec", command).await;
            let code = job["error_code"].as_str().unwrap_or_default();
            assert!(["denied", "invalid"].contains(&code), "{command:?}: {job}");
            assert!(host.results(&job["id"]).await.is_empty(), "{command:?}");
            if code == "denied" {
                let logs = host.logs(&job["id"]).await;
                let told = logs[0]["message"].as_str().unwrap();
                assert!(told.contains("needs.ssh.exec: show *"), "{told}");
            }
        }
    });
}

#[test]
fn a_guest_that_waits_or_computes_is_stopped_within_a_second() {
    run(async {
        let host = hostile_with(|config| config.plugins.cpu_seconds = 3_600).await;
        for name in ["loop", "sleep in std", "spin on the clock"] {
            let id = host
                .submit(json!({ "plugin": "hostile", "targets": ["server"], "params": { "deed": name } }))
                .await;
            host.running(&id).await;
            let asked = Instant::now();
            let path = format!("/api/jobs/{id}/cancel");
            host.client.post(&path, &json!({})).await;
            let job = host.ended(&id).await;
            assert_eq!(job["status"], "cancelled", "{name}: {job}");
            assert!(asked.elapsed() < Duration::from_secs(1), "{name}");
        }
        let job = host
            .run_job(json!({
                "plugin": "hostile", "targets": ["server"], "timeout_seconds": 1,
                "params": { "deed": "sleep in std" },
            }))
            .await;
        assert_eq!(job["error_code"], "timeout", "{job}");
        assert!(message(&job).contains("timeout_seconds"), "{job}");
    });
}

#[test]
fn what_is_no_plugin_does_not_load_and_says_why() {
    let whole = std::fs::read(component("hostile-guest")).unwrap();
    let module = wat::parse_str("(module)").unwrap();
    let other_world = wat::parse_str("(component)").unwrap();
    let http = wat::parse_str(
        r#"(component (import "wasi:http/outgoing-handler@0.2.0" (instance (export "x" (func)))))"#,
    )
    .unwrap();
    let newer = wat::parse_str(
        r#"(component (import "job-scheduler:plugin/ssh@0.2.0" (instance (export "x" (func)))))"#,
    )
    .unwrap();
    let with_module = |body: &str| {
        let text = format!("(component (core module $m {body}) (core instance (instantiate $m)))");
        wat::parse_str(text).unwrap()
    };
    let large_memory = with_module("(memory 4000)");
    let memories = with_module(&"(memory 0)".repeat(5));
    // Within the limits, but for another world.
    let tables = with_module("(memory 1) (memory 0) (table 1 funcref) (table 1 funcref)");
    let cases = [
        ("empty", Vec::new(), "is empty"),
        ("text", b"fn main() {}".to_vec(), "expected WebAssembly"),
        ("module", module, "got a core module"),
        ("other", other_world, "world `job-plugin`"),
        ("http", http, "wasi:http/outgoing-handler"),
        ("newer", newer, "newer"),
        ("huge", vec![0; 65 << 20], "bytes"),
        ("memory", large_memory, "plugins.memory_mb"),
        (
            "memories",
            memories,
            "memories count of 5 exceeds the per-instance limit of 4",
        ),
        ("tables", tables, "world `job-plugin`"),
        (
            "cut",
            whole[..whole.len() / 2].to_vec(),
            "invalid component",
        ),
    ];
    run(async move {
        let components: Vec<_> = cases
            .iter()
            .map(|(name, bytes, _)| (*name, bytes.clone()))
            .collect();
        let host = TestHost::with_components(&components, |_| {}).await;
        for (name, _, says) in &cases {
            let plugin = host.client.get(&format!("/api/plugins/{name}")).await.body;
            assert_eq!(plugin["status"], "broken", "{plugin}");
            let told = plugin["error"]["message"].as_str().unwrap();
            assert!(told.contains(says), "{name}: {told}");
        }
    });
}

#[test]
fn a_component_cut_off_anywhere_does_not_load() {
    run(async {
        let whole = std::fs::read(component("ssh-command-wasm")).unwrap();
        let cuts = (0..whole.len()).step_by(4096);
        let names: Vec<String> = cuts.clone().map(|at| format!("cut-{at}")).collect();
        let components: Vec<_> = names
            .iter()
            .zip(cuts)
            .map(|(name, at)| (name.as_str(), whole[..at].to_vec()))
            .collect();
        let host = TestHost::with_components(&components, |_| {}).await;
        let listed = host.client.get("/api/plugins").await.body;
        let plugins = listed["plugins"].as_array().unwrap();
        assert_eq!(plugins.len(), names.len());
        for plugin in plugins {
            assert_eq!(plugin["status"], "broken", "{plugin}");
            assert!(plugin["digest"].is_null(), "{plugin}");
        }
    });
}

#[test]
fn a_name_that_leads_elsewhere_is_none() {
    run(async {
        let host = hostile().await;
        for name in [
            "../hostile",
            "..%2Fhostile",
            "plugins/hostile",
            "hostile.wasm",
            "/etc/passwd",
        ] {
            let answer = host
                .client
                .post(
                    "/api/jobs",
                    &json!({ "plugin": name, "targets": ["server"] }),
                )
                .await;
            assert_eq!(answer.status, 404, "{name}: {}", answer.body);
        }
    });
}

#[test]
fn a_description_that_is_none_breaks_that_plugin_alone() {
    let cases = [
        ("loop", "CPU limit of 5 s exceeded"),
        ("trap", "panicked at"),
        ("rubbish", "an invalid description"),
        ("long", "bytes, at most"),
        ("huge", "plugins.memory_mb"),
        ("host", "panicked at"),
    ];
    run(async move {
        let components: Vec<_> = cases
            .iter()
            .map(|(deed, _)| (*deed, describing(deed)))
            .collect();
        let host = TestHost::with_components(&components, |_| {}).await;
        for (name, says) in cases {
            let plugin = host.client.get(&format!("/api/plugins/{name}")).await.body;
            assert_eq!(plugin["status"], "broken", "{plugin}");
            let told = plugin["error"]["message"].as_str().unwrap();
            assert!(told.contains(says), "{name}: {told}");
        }
    });
}

/// Returns the malicious component, modified to misbehave in `describe`: its data contains the name
/// of the deed.
fn describing(deed: &str) -> Vec<u8> {
    if deed == "rubbish" {
        return overwritten(
            "contract-0-1-guest",
            r#""targets": "each""#,
            r#""targets": "some""#,
        );
    }
    let told = format!("{:<20}", format!("describe as: {deed}"));
    overwritten("hostile-guest", "describe as: well   ", &told)
}

/// Replaces a text in a component's data with another one of the same length.
fn overwritten(name: &str, text: &str, by: &str) -> Vec<u8> {
    let mut bytes = std::fs::read(component(name)).unwrap();
    let place = bytes
        .windows(text.len())
        .position(|window| window == text.as_bytes());
    let place = place.expect("the component holds the text");
    bytes[place..place + text.len()].copy_from_slice(by.as_bytes());
    bytes
}
