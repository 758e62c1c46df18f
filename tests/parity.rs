//! Tests that a playbook and a component with the same steps get the same results, logs and errors.

use std::collections::BTreeSet;
use std::path::Path;

use host::runtime::rhai::RhaiRuntime;
use netssh_lab::{Lab, LabDevice};
use serde_json::{Value, json};
use test_devices::Linux;
use wit_parser::{Resolve, SourceMap};

use crate::harness::{TestHost, component, password_connection, run};

/// The device of a case. Each run starts another one, so that no state remains from an earlier run.
enum Device {
    None,
    Ios,
    Junos,
    Linux,
}

struct Case {
    name: &'static str,
    device: Device,
    calls: Value,
    throw: Value,
}

fn cases() -> Vec<Case> {
    let case = |name, device, calls| Case {
        name,
        device,
        calls,
        throw: Value::Null,
    };
    let thrown = |name, throw| Case {
        name,
        device: Device::None,
        calls: json!([]),
        throw,
    };
    vec![
        case(
            "the job",
            Device::Ios,
            json!([
                { "make": "job" },
                { "make": "sleep", "seconds": 0.01 },
                { "make": "sleep", "seconds": -1.0 },
                { "make": "progress", "done": 1, "total": 3 },
                { "make": "progress", "done": 2, "total": 3, "message": "halfway" },
            ]),
        ),
        case(
            "the log",
            Device::None,
            json!([
                { "make": "info", "message": "info" },
                { "make": "warn", "message": "warn" },
                { "make": "error", "message": "error" },
                { "make": "log", "level": "debug", "message": "with fields", "fields": { "n": 1, "s": "x" } },
                { "make": "log", "level": "warn", "message": "x".repeat(20_000) },
                { "make": "log", "level": "loud", "message": "no such level" },
            ]),
        ),
        case(
            "storage",
            Device::None,
            json!([
                { "make": "get", "key": "a" },
                { "make": "set", "key": "a", "value": { "list": [1, 2.5, "x", null, true] } },
                { "make": "set", "key": "ab", "value": "text" },
                { "make": "get", "key": "a" },
                { "make": "keys", "prefix": "a" },
                { "make": "delete", "key": "a" },
                { "make": "delete", "key": "a" },
                { "make": "set", "key": "", "value": 1 },
                { "make": "set", "key": "big", "value": "x".repeat(9_000_000) },
                { "make": "get", "key": "line\nbreak" },
            ]),
        ),
        case(
            "child jobs",
            Device::None,
            json!([
                { "make": "submit", "plugin": "noop", "params": {}, "description": "a child" },
                { "make": "submit", "plugin": "missing", "params": {} },
                { "make": "submit", "plugin": "parity", "params": {} },
                { "make": "submit", "plugin": "noop", "params": {}, "targets": ["elsewhere"] },
                { "make": "wait", "id": "no-id" },
                { "make": "wait", "id": "01890000-0000-7000-8000-000000000000" },
            ]),
        ),
        case(
            "text",
            Device::None,
            json!([
                { "make": "diff", "before": "a\nb\n", "after": "a\nc\n" },
                { "make": "diff", "before": "x".repeat(9_000_000), "after": "" },
                { "make": "without_lines", "text": "! x\ny\n! z", "prefixes": ["! "] },
                { "make": "parse", "platform": "cisco_ios", "command": "show version", "output": "" },
            ]),
        ),
        case(
            "commands",
            Device::Ios,
            json!([
                { "make": "open", "target": "elsewhere" },
                { "make": "open" },
                { "make": "describe_device" },
                { "make": "exec", "command": "show version" },
                { "make": "parse_reply" },
                { "make": "exec", "command": "show nonsense" },
                { "make": "exec", "command": "show privilege", "timeout": 20.0 },
                { "make": "exec_all", "commands": ["show privilege", "show nonsense", "show inventory"] },
                { "make": "exec_all", "commands": ["show privilege", "delete flash:"] },
                { "make": "facts" },
                { "make": "exec", "command": "delete flash:" },
                { "make": "exec", "command": "show version | redirect flash:x" },
                { "make": "exec", "command": "show version\nreload" },
                { "make": "exec", "command": "show\u{a0}version" },
                { "make": "exec", "command": "" },
                { "make": "send_interactive", "command": "copy x", "questions": [{ "expect": "(", "answer": "" }] },
                { "make": "send_interactive", "command": "show version", "questions": [{ "expect": ".", "answer": "reload" }] },
                { "make": "exec", "command": "copy running-config startup-config", "answers": [{ "expect": "filename", "answer": "reload" }] },
                { "make": "exec", "command": "copy running-config startup-config", "answers": [{ "expect": "filename", "answer": "yy", "key": true }] },
                { "make": "exec", "command": "copy running-config startup-config", "answers": [{ "expect": "filename", "answer": "flash:x", "secret": true }] },
                { "make": "exec", "command": "copy running-config startup-config", "answers": [{ "expect": "filename", "answer": "" }] },
                { "make": "save", "answers": [{ "expect": "never", "answer": "y", "key": true }] },
                { "make": "save", "answers": [{ "expect": "never", "answer": "reload" }] },
                { "make": "close" },
                { "make": "open", "target": "r1" },
                { "make": "send_interactive", "command": "show version", "questions": [{ "expect": "never", "answer": "" }], "timeout": 20.0 },
                { "make": "save" },
                { "make": "upload", "file": "nowhere", "remote": "x" },
            ]),
        ),
        case(
            "configuration without a candidate",
            Device::Ios,
            json!([
                { "make": "open" },
                { "make": "configure", "lines": ["hostname r2", "interface Loopback1", " description x"] },
                { "make": "configure", "lines": ["nonsense here", "hostname r3"] },
                { "make": "configure", "lines": ["nonsense here", "hostname r3"], "on_refused": "continue" },
                { "make": "configure", "lines": ["banner motd ^\nHello\n^", "hostname r5\r\n", "", "\tinterface Loopback2"] },
                { "make": "configure", "lines": ["host\u{200b}name r6"] },
                { "make": "configure", "lines": ["do reload"] },
                { "make": "configure", "lines": ["end", "reload"] },
                { "make": "configure", "lines": ["hostname r7"], "answers": [{ "expect": "x", "answer": "reload" }] },
                { "make": "configure", "lines": ["hostname r7"], "answers": [{ "expect": "x", "answer": "y" }] },
                { "make": "split_config", "platform": "cisco_ios", "text": "a\nbanner motd ^C\nb\n^C\nc" },
                { "make": "split_config", "platform": "cisco_ios", "text": "banner motd ^C\nb" },
                { "make": "commit" },
                { "make": "rollback" },
                { "make": "save" },
            ]),
        ),
        case(
            "configuration with a candidate",
            Device::Junos,
            json!([
                { "make": "open" },
                { "make": "configure", "lines": ["set system host-name r2"], "comment": "by a test" },
                { "make": "commit" },
                { "make": "configure", "lines": ["set system host-name r3"], "commit": false },
                { "make": "rollback" },
                { "make": "configure", "lines": ["set system host-name r4"], "confirm": 300.0 },
                { "make": "commit", "comment": "confirmed" },
                { "make": "configure", "lines": ["set system host-name r5"], "comment": "x\" | y" },
                { "make": "rollback", "number": 1 },
            ]),
        ),
        case(
            "files",
            Device::Linux,
            json!([
                { "make": "open" },
                { "make": "exec", "command": "echo hello" },
                { "make": "upload", "file": "image.bin", "remote": "copy.bin" },
                { "make": "download", "remote": "copy.bin", "file": "back/image.bin" },
                { "make": "upload", "file": "nowhere.bin", "remote": "x" },
                { "make": "upload", "file": "../outside", "remote": "x" },
                { "make": "upload", "file": "/etc/passwd", "remote": "x" },
                { "make": "download", "remote": "nowhere.bin", "file": "x" },
            ]),
        ),
        thrown(
            "an error of its own",
            json!({ "code": "not_ready", "message": "later", "retryable": true }),
        ),
        thrown(
            "a known code",
            json!({ "code": "network", "message": "gone", "retryable": false }),
        ),
        thrown(
            "a code of the host's",
            json!({ "code": "cancelled", "message": "I was not", "retryable": false }),
        ),
        thrown(
            "a code that is none",
            json!({ "code": "Not a word", "message": "odd", "retryable": false }),
        ),
    ]
}

/// The visible outcome of a job, without the fields that differ from run to run.
#[derive(Debug, PartialEq)]
struct Seen {
    job: Value,
    results: Vec<Value>,
    logs: Vec<Value>,
}

async fn seen(host: &TestHost, case: &Case, _device: impl Sized) -> Seen {
    let mut submission = json!({
        "plugin": "parity",
        "params": { "calls": case.calls },
        "description": "of the parity test",
        "targets": ["r1"],
    });
    if !case.throw.is_null() {
        submission["params"]["throw"] = case.throw.clone();
    }
    let job = host.run_job(submission).await;
    let pick = |value: &Value, names: &[&str]| -> Value {
        let fields = names.iter().map(|name| (*name).to_owned());
        fields
            .map(|name| (name.clone(), value[&name].clone()))
            .collect()
    };
    let results = host.results(&job["id"]).await;
    let logs = host.logs(&job["id"]).await;
    let mut of_job = pick(
        &job,
        &["status", "result", "error_code", "progress", "retry_count"],
    );
    // `parity.rhai:12:3: message` or `parity.wasm: message`
    let message = job["error_message"].as_str().unwrap_or_default();
    of_job["error"] = message
        .split_once(": ")
        .map_or("", |(_, message)| message)
        .into();
    let kept = [
        "target",
        "kind",
        "command",
        "output",
        "error",
        "exit_code",
        "truncated",
    ];
    Seen {
        job: of_job,
        results: results.iter().map(|result| pick(result, &kept)).collect(),
        logs: logs
            .iter()
            .filter(|line| {
                !line["message"]
                    .as_str()
                    .unwrap_or_default()
                    .contains("parity.")
            })
            .map(|line| pick(line, &["level", "message", "context"]))
            .collect(),
    }
}

async fn run_case(case: &Case, host: TestHost) -> Seen {
    let files = host.path("files");
    std::fs::write(files.join("image.bin"), vec![7; 100_000]).unwrap();
    let lab = |name: &str| Lab::start(LabDevice::new(name, "r1").unwrap());
    let of_lab = |lab: &Lab, platform: &str| {
        json!({
            "name": "r1", "host": "127.0.0.1", "port": lab.addr().port(), "username": "admin",
            "password": "admin", "secret": "enable", "device_type": platform,
        })
    };
    match case.device {
        Device::Ios | Device::None => {
            let lab = lab("cisco_ios").await.unwrap();
            host.connect(of_lab(&lab, "cisco_ios")).await;
            seen(&host, case, lab).await
        }
        Device::Junos => {
            let lab = lab("juniper_junos").await.unwrap();
            host.connect(of_lab(&lab, "juniper_junos")).await;
            seen(&host, case, lab).await
        }
        Device::Linux => {
            let linux = Linux::start();
            host.connect(password_connection("r1", &linux.ssh, "linux"))
                .await;
            seen(&host, case, linux).await
        }
    }
}

fn source() -> String {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/plugins/parity/parity.rhai");
    std::fs::read_to_string(file).unwrap()
}

#[test]
fn both_runtimes_answer_alike() {
    run(async {
        let source = source();
        let bytes = std::fs::read(component("parity-guest")).unwrap();
        for case in cases() {
            let configure = |config: &mut host::config::Config| {
                let directory = config.database.url.trim_start_matches("sqlite:").to_owned();
                let files = Path::new(&directory).with_file_name("files");
                std::fs::create_dir(&files).unwrap();
                config.devices.files_dir = Some(files);
                config.server.max_body_bytes = 64 << 20;
            };
            let noop =
                std::fs::read_to_string(crate::harness::scripts_dir().join("noop.rhai")).unwrap();
            let playbooks = [("parity", source.as_str()), ("noop", noop.as_str())];
            let rhai = TestHost::with_scripts_and(&playbooks, configure).await;
            let rhai = run_case(&case, rhai).await;
            let components = [("parity", bytes.clone())];
            let wasm = TestHost::with_components(&components, |config| {
                configure(config);
                let scripts = config.plugins.scripts_dir.clone();
                std::fs::create_dir(&scripts).unwrap();
                std::fs::write(scripts.join("noop.rhai"), &noop).unwrap();
            })
            .await;
            let wasm = run_case(&case, wasm).await;

            let name = case.name;
            let answers = |seen: &Seen| seen.job["result"].as_array().cloned().unwrap_or_default();
            let (of_rhai, of_wasm) = (answers(&rhai), answers(&wasm));
            for (number, call) in case.calls.as_array().unwrap().iter().enumerate() {
                let call = shortened(call);
                assert_eq!(of_rhai.get(number), of_wasm.get(number), "{name}: {call}");
            }
            assert_eq!(rhai.job, wasm.job, "{name}");
            assert_eq!(rhai.results, wasm.results, "{name}");
            assert_eq!(rhai.logs, wasm.logs, "{name}");
            if case.throw.is_null() {
                assert_eq!(rhai.job["status"], "completed", "{name}: {}", rhai.job);
            }
        }
    });
}

/// Fails if a function exists in only one runtime, or under another name.
#[test]
fn both_runtimes_have_the_same_functions() {
    let mut contract = SourceMap::new();
    contract.push_str("plugin.wit", include_str!("../plugin-sdk/wit/plugin.wit"));
    let contract = contract.parse().unwrap();
    let mut resolve = Resolve::new();
    let package = resolve.push_group(contract).unwrap();
    let mut components = BTreeSet::new();
    for (interface, id) in &resolve.packages[package].interfaces {
        let module = match interface.as_str() {
            // Functions that the host calls, and types.
            "plugin" | "types" => continue,
            // Global functions in a playbook.
            "job" | "progress" | "text" => String::new(),
            named => format!("{named}::"),
        };
        for function in resolve.interfaces[*id].functions.values() {
            let name = function.item_name().replace('-', "_");
            let of = function.kind.resource();
            let of = of.map(|id| resolve.types[id].name.clone().unwrap_or_default());
            match of.as_deref() {
                // A map in a playbook.
                Some(options) if options.ends_with("-options") => {}
                Some(resource) => drop(components.insert(format!("{resource}.{name}"))),
                None => drop(components.insert(format!("{module}{name}"))),
            }
        }
    }
    let mut playbooks = RhaiRuntime::functions();
    // Fields of the map that `run` receives.
    let job = [
        "id",
        "plugin",
        "target",
        "targets",
        "attempt",
        "parent_id",
        "description",
    ];
    playbooks.extend(job.map(str::to_owned));
    // The SDK's wrapper of `text.parse`.
    assert!(playbooks.remove("device.parse"));
    // `save` with a map in a playbook; a function of the contract has one list of parameters.
    assert!(components.remove("device.save_with"));
    assert_eq!(playbooks, components);
}

fn shortened(call: &Value) -> String {
    call.to_string().chars().take(200).collect()
}
