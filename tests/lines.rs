//! Tests that every line that reaches a device passes the policy in both runtimes, as observed on
//! the device.

use std::time::Duration;

use netssh_lab::{Faults, Interruption, Lab, LabDevice, Paging, What};
use proptest::prelude::*;
use proptest::test_runner::{Config as Cases, RngAlgorithm, TestRng, TestRunner};
use serde_json::{Value, json};

use crate::harness::{TestHost, component, lab_connection, run};

const PARITY: &str = include_str!("plugins/parity/parity.rhai");

/// The lines that a session sends itself.
const OF_THE_SESSION: &[&str] = &[
    "configure terminal",
    "copy running-config startup-config",
    "enable",
    "end",
    "exit",
    "write memory",
];

async fn device(platform: &str, packet_size: Option<usize>) -> Lab {
    let device = LabDevice {
        privileged: true,
        faults: Faults {
            packet_size,
            ..Faults::default()
        },
        ..LabDevice::new(platform, "r1").unwrap()
    };
    Lab::start(device).await.unwrap()
}

/// Returns the lines that a device received, as commands and as answers.
fn received(lab: &Lab) -> Vec<String> {
    let entries = lab.transcript().into_iter();
    let lines = entries.filter_map(|entry| match entry.what {
        What::Typed(line) => Some(line),
        What::Answered { answer, .. } => answer,
        _ => None,
    });
    lines
        .filter(|line| !line.starts_with("terminal "))
        .filter(|line| !OF_THE_SESSION.contains(&line.as_str()))
        .collect()
}

/// Starts two hosts with the same plugin, as a playbook and as a component. It declares `show *`,
/// `copy *`, answers `flash:*`, and configuring.
async fn both(configure: impl Fn(&mut host::config::Config)) -> [TestHost; 2] {
    let bytes = std::fs::read(component("parity-guest")).unwrap();
    let wasm = TestHost::with_components(&[("parity", bytes)], &configure).await;
    let rhai = TestHost::with_scripts_and(&[("parity", PARITY)], &configure).await;
    [rhai, wasm]
}

async fn connect(host: &TestHost, lab: &Lab, platform: &str) {
    host.connect(lab_connection("r1", lab, platform)).await;
}

/// Runs calls and returns their outcomes.
async fn calls(host: &TestHost, target: &str, calls: Value) -> (Value, Vec<Value>) {
    let job = host
        .run_job(json!({ "plugin": "parity", "targets": [target], "params": { "calls": calls } }))
        .await;
    let answers = job["result"].as_array().cloned().unwrap_or_default();
    (job, answers)
}

#[test]
fn answers_cannot_run_undeclared_commands() {
    run(async {
        let fill = |answers: &[&str]| -> Value {
            let real = answers
                .iter()
                .map(|answer| json!({ "expect": ".", "answer": answer }));
            let fillers = (answers.len()..16).map(|_| json!({ "expect": ".", "answer": "" }));
            real.chain(fillers).collect()
        };
        let attacks = [
            fill(&["reload"]),
            fill(&[
                "configure terminal",
                "username x privilege 15 secret y",
                "end",
            ]),
            fill(&["write erase"]),
            fill(&["show version ; reload"]),
            fill(&["w"]),
            json!([{ "expect": "r", "answer": "r", "key": true }, { "expect": "e", "answer": "e", "key": true }]),
        ];
        for (index, host) in both(|_| {}).await.iter().enumerate() {
            let lab = device("cisco_ios", Some(7)).await;
            connect(host, &lab, "cisco_ios").await;
            for attack in &attacks {
                let questions = json!([
                    { "make": "open" },
                    { "make": "send_interactive", "command": "show version", "questions": attack },
                    { "make": "exec", "command": "show version", "answers": attack },
                    { "make": "save", "answers": attack },
                    { "make": "configure", "lines": ["hostname r2"], "answers": attack },
                ]);
                let (job, answers) = calls(host, "r1", questions).await;
                for answer in &answers[1..] {
                    // The keys of the last attack are lines in `send_interactive`, because its
                    // frozen record has no field for keys.
                    assert_eq!(answer["code"], "denied", "{index}: {attack}: {answers:?}");
                }
                assert!(host.results(&job["id"]).await.is_empty());
            }
            assert_eq!(received(&lab), [""; 0], "{index}");
        }
    });
}

#[test]
fn granted_answers_reach_the_device_and_are_stored() {
    run(async {
        for host in both(|_| {}).await {
            let lab = device("cisco_ios", None).await;
            connect(&host, &lab, "cisco_ios").await;
            let steps = json!([
                { "make": "open" },
                { "make": "exec", "command": "copy running-config startup-config",
                  "answers": [{ "expect": "filename", "answer": "flash:kept" }] },
                { "make": "exec", "command": "copy running-config startup-config",
                  "answers": [{ "expect": "filename", "answer": "flash:hidden", "secret": true }] },
            ]);
            let (job, answers) = calls(&host, "r1", steps).await;
            assert_eq!(answers[1]["ok"]["ok"], true, "{answers:?}");
            assert_eq!(received(&lab), ["flash:kept", "flash:hidden"]);
            let results = host.results(&job["id"]).await;
            let seen: Vec<_> = results
                .iter()
                .map(|result| (result["kind"].clone(), result["command"].clone()))
                .collect();
            let copy = (json!("exec"), json!("copy running-config startup-config"));
            let question = (
                json!("answer"),
                json!("Destination filename [startup-config]?"),
            );
            assert_eq!(seen, [copy.clone(), question.clone(), copy, question]);
            assert_eq!(results[1]["output"], "flash:kept");
            assert_eq!(results[3]["output"], "***");
            // Not even in the device's echo.
            assert!(!format!("{results:?}").contains("hidden"), "{results:?}");
            assert!(!job["result"].to_string().contains("hidden"), "{job}");
            // A comparison of jobs treats an answer as part of its command.
            let path = format!("/api/jobs/{}/compare", job["id"].as_str().unwrap());
            let again = calls(&host, "r1", json!([{ "make": "open" }])).await.0;
            let with = again["id"].as_str().unwrap();
            let compared = host.client.get(&format!("{path}?with={with}")).await.body;
            assert_eq!(compared["commands"].as_array().unwrap().len(), 2);
        }
    });
}

#[test]
fn an_answer_may_be_one_key() {
    const RELOADS: &str = r#"
        fn describe() { #{ summary: "Reloads", targets: "each", needs: #{ ssh: #{ exec: ["reload"] } } } }
        fn run(job, params) {
            let device = ssh::open();
            try {
                device.exec("reload", #{ answers: [#{ expect: "\\[confirm\\]", answer: "y", key: true }] });
            } catch (error) {
                return error.code;
            }
        }
    "#;
    run(async {
        let host = TestHost::with_playbook("reloads", RELOADS).await;
        let lab = device("cisco_ios", None).await;
        connect(&host, &lab, "cisco_ios").await;
        let job = host
            .run_job(json!({ "plugin": "reloads", "targets": ["r1"] }))
            .await;
        assert_eq!(job["result"], "disconnected", "{job}");
        assert_eq!(received(&lab), ["reload", "y"]);
        let results = host.results(&job["id"]).await;
        assert_eq!(results[1]["kind"], "answer");
        assert_eq!(results[1]["command"], "Proceed with reload? [confirm]");
        assert_eq!(results[1]["output"], "y");
    });
}

#[test]
fn configuration_lines_cannot_run_denied_commands() {
    let cases: &[(&str, &[&str], &str)] = &[
        ("cisco_ios", &["do reload"], "denied"),
        ("cisco_ios", &["DO  rel"], "denied"),
        (
            "cisco_ios",
            &["end", "delete /force flash:ios.bin"],
            "invalid",
        ),
        (
            "cisco_ios",
            &["interface Gi0/1", "end", "show x"],
            "invalid",
        ),
        ("cisco_ios", &["\u{1a}", "reload"], "invalid"),
        ("cisco_xr", &["do reload"], "denied"),
        ("juniper_junos", &["run request system reboot"], "denied"),
        (
            "juniper_junos",
            &["exit configuration-mode", "request system reboot"],
            "invalid",
        ),
        ("hp_comware", &["return", "reboot"], "denied"),
        ("hp_comware", &["return", "sysname x"], "invalid"),
        ("cisco_nxos", &["reload"], "denied"),
        ("cisco_nxos", &["hostname x ; reload"], "denied"),
        ("arista_eos", &["bash sudo reboot"], "denied"),
        ("vyos", &["sudo reboot"], "denied"),
        ("mikrotik_routeros", &["/system reboot"], "denied"),
        ("cisco_ios", &["hostname r2\u{200b}"], "invalid"),
        ("cisco_ios", &["banner motd ^\ndo reload\n^"], "denied"),
    ];
    run(async move {
        for host in both(|_| {}).await {
            for (index, (platform, lines, code)) in cases.iter().enumerate() {
                let lab = device(platform, None).await;
                let name = format!("r{index}");
                host.connect(lab_connection(&name, &lab, platform)).await;
                let steps = json!([{ "make": "open" }, { "make": "configure", "lines": lines }]);
                let (job, answers) = calls(&host, &name, steps).await;
                assert_eq!(answers[1]["code"], *code, "{platform} {lines:?}: {job}");
                let typed = lab.commands();
                for line in *lines {
                    assert!(!typed.iter().any(|typed| typed == line), "{typed:?}");
                }
                assert!(host.results(&job["id"]).await.is_empty());
            }
        }
    });
}

/// `exit` leaves configuration mode from the top level only; the session detects it.
#[test]
fn lines_after_leaving_configuration_mode_are_not_sent() {
    run(async {
        for host in both(|_| {}).await {
            let lab = device("cisco_ios", None).await;
            connect(&host, &lab, "cisco_ios").await;
            let steps = json!([
                { "make": "open" },
                { "make": "configure", "lines": ["interface GigabitEthernet0/1", "exit", "hostname r2"] },
                { "make": "configure", "lines": ["exit", "show privilege"] },
                { "make": "configure", "lines": ["hostname r3", "exit"] },
                { "make": "exec", "command": "show privilege" },
            ]);
            let (job, answers) = calls(&host, "r1", steps).await;
            assert_eq!(answers[1]["ok"]["lines"], 3, "{job}");
            assert_eq!(answers[2]["code"], "invalid", "{job}");
            assert_eq!(answers[3]["ok"]["in_effect"], true, "{job}");
            let privilege = received(&lab)
                .iter()
                .filter(|line| *line == "show privilege")
                .count();
            assert_eq!(privilege, 1, "{:?}", received(&lab));
            assert!(lab.running_config().contains("hostname r3"));
        }
    });
}

#[test]
fn patterns_restrict_configuration_lines() {
    run(async {
        let hosts = both(|config| {
            config.policy.for_all.ssh_configure = host::model::Lines::Matching(vec![
                "hostname *".to_owned(),
                "interface *".to_owned(),
                "banner *".to_owned(),
            ]);
        })
        .await;
        let [rhai, wasm] = hosts;
        // The plugin declares that it sends any line.
        for host in [&rhai, &wasm] {
            let plugin = host.client.get("/api/plugins/parity").await.body;
            assert_eq!(plugin["not_granted"], json!(["ssh.configure"]));
        }
        let source = PARITY.replace(
            "configure: true",
            r#"configure: ["hostname *", "interface *", "banner *"]"#,
        );
        let host = TestHost::with_scripts_and(&[("parity", &source)], |config| {
            config.policy.for_all.ssh_configure = host::model::Lines::Matching(vec![
                "hostname r*".to_owned(),
                "interface *".to_owned(),
                "banner *".to_owned(),
            ]);
        })
        .await;
        let plugin = host.client.get("/api/plugins/parity").await.body;
        assert_eq!(
            plugin["not_granted"],
            json!(["ssh.configure \"hostname *\""])
        );
    });
}

#[test]
fn denied_patterns_win_over_everything() {
    run(async {
        let hosts = both(|config| {
            config.policy.for_all.deny = ["copy * flash:*", "flash:*", "no interface *", "write*"]
                .map(str::to_owned)
                .to_vec();
        })
        .await;
        for host in hosts {
            let lab = device("cisco_ios", None).await;
            connect(&host, &lab, "cisco_ios").await;
            let steps = json!([
                { "make": "open" },
                { "make": "exec", "command": "copy running-config flash:x" },
                { "make": "exec", "command": "cop run FLASH:x" },
                { "make": "exec", "command": "copy running-config startup-config",
                  "answers": [{ "expect": "filename", "answer": "flash:x" }] },
                { "make": "configure", "lines": ["no interface Loopback1"] },
                { "make": "configure", "lines": ["NO INT Loopback1"] },
                { "make": "save" },
            ]);
            let (job, answers) = calls(&host, "r1", steps).await;
            for answer in &answers[1..] {
                assert_eq!(answer["code"], "denied", "{job}");
            }
            assert_eq!(received(&lab), [""; 0]);
            let logs = host.logs(&job["id"]).await;
            let told = logs
                .iter()
                .filter(|line| line["message"].as_str().unwrap().contains("policy.deny"));
            assert_eq!(told.count(), 6, "{logs:?}");
        }
    });
}

/// The second byte of these characters is `|`, `\`, `` ` `` or `[`.
#[test]
fn the_policy_checks_the_encoded_bytes() {
    run(async {
        let directory = tempfile::tempdir().unwrap();
        for label in ["gbk", "big5", "shift_jis"] {
            let text = format!(
                "name = \"{label}_ios\"\nextends = \"cisco_ios\"\n[terminal]\nencoding = \"{label}\"\n"
            );
            std::fs::write(directory.path().join(format!("{label}_ios.toml")), text).unwrap();
        }
        let hosts = both(|config| {
            config.devices.platforms_dir = Some(directory.path().to_owned());
        })
        .await;
        for host in hosts {
            for (index, (label, character)) in [
                ("gbk", "鼃"),
                ("big5", "功"),
                ("shift_jis", "ソ"),
                ("shift_jis", "ー"),
            ]
            .into_iter()
            .enumerate()
            {
                let lab = device("cisco_ios", None).await;
                let name = format!("r{index}");
                let platform = format!("{label}_ios");
                host.connect(lab_connection(&name, &lab, &platform)).await;
                let command = format!("show {character}");
                let steps = json!([{ "make": "open" }, { "make": "exec", "command": command }]);
                let (job, answers) = calls(&host, &name, steps).await;
                assert_eq!(answers[1]["code"], "denied", "{label}: {job}");
                assert_eq!(received(&lab), [""; 0], "{label}");
            }
        }
    });
}

#[test]
fn pasted_lines_are_normalised_and_the_log_says_so_once() {
    run(async {
        let host = TestHost::start().await;
        let lab = device("cisco_ios", None).await;
        connect(&host, &lab, "cisco_ios").await;
        let text = "\u{feff}hostname r2\r\n\r\ninterface GigabitEthernet0/1\r\n\tdescription  uplink \t\r\n!\r\nend\r\n";
        let job = host
            .run_job(
                json!({ "plugin": "push-config", "targets": ["r1"], "params": { "text": text } }),
            )
            .await;
        assert_eq!(job["status"], "completed", "{job}");
        let config = lab.running_config();
        assert!(config.contains("hostname r2\n"), "{config}");
        assert!(config.contains(" description  uplink\n"), "{config}");
        let logs = host.logs(&job["id"]).await;
        let told: Vec<_> = logs
            .iter()
            .filter_map(|line| line["message"].as_str())
            .filter(|message| message.contains("normalised"))
            .collect();
        assert_eq!(
            told,
            [
                "r1: normalised the configuration: 1 byte order marks removed, 6 carriage returns \
                 removed, 1 tabs replaced by spaces, 1 lines with trailing blanks trimmed, 2 blank \
                 lines removed"
            ]
        );
        for (lines, place) in [
            (
                json!(["hostname r3", "host\u{200b}name r4"]),
                "line 2, position 5",
            ),
            (json!(["\u{202e}hostname r4"]), "line 1, position 1"),
            (json!(["hostname\u{a0}r4"]), "line 1, position 9"),
        ] {
            let job = host
                .run_job(json!({ "plugin": "push-config", "targets": ["r1"], "params": { "lines": lines } }))
                .await;
            assert_eq!(job["error_code"], "invalid", "{job}");
            let message = job["error_message"].as_str().unwrap();
            assert!(message.contains(place), "{message}");
            assert!(host.results(&job["id"]).await.is_empty());
        }
        assert!(lab.running_config().contains("hostname r2\n"));
    });
}

#[test]
fn push_config_takes_lines_or_a_text() {
    run(async {
        let host = TestHost::start().await;
        let lab = device("cisco_ios", None).await;
        connect(&host, &lab, "cisco_ios").await;
        let submit =
            |params: Value| json!({ "plugin": "push-config", "targets": ["r1"], "params": params });
        for wrong in [json!({}), json!({ "save": true })] {
            let answer = host.client.post("/api/jobs", &submit(wrong)).await;
            assert_eq!(answer.status, 422, "{}", answer.body);
        }
        let both = json!({ "lines": ["hostname x"], "text": "hostname x" });
        let job = host.run_job(submit(both)).await;
        assert_eq!(job["error_code"], "invalid", "{job}");
        let open = json!({ "text": "banner motd ^C\nHello\nhostname x" });
        let job = host.run_job(submit(open)).await;
        assert_eq!(job["error_code"], "invalid", "{job}");
        assert!(job["error_message"].as_str().unwrap().contains("line 1"));
        assert_eq!(received(&lab), [""; 0]);
    });
}

#[test]
fn a_text_ends_with_its_element() {
    run(async {
        let hosts = both(|_| {}).await;
        let elements = [
            "banner motd ^\nhi\n^\nexit\nwrite erase",
            "banner motd ^\nhi\nx^\nend\nreload",
            "banner login ^C\nhi\n^C\nreload\n^C",
            "ban exec #\n#\nend",
            "crypto pki certificate chain TP\ncertificate 01\n30\nquit\nend\nreload",
            "banner motd ^",
            "banner motd ^\nhi",
            "macro name x\nswitchport\n@\nreload",
            "banner motd ^C\nhi ^ there\nexit\nwrite erase\n^C",
            "banner motd ^C\nhi ^^ there\n^C",
            "hostname x\nexit\nwrite erase",
            "aaa authentication banner ^\nhi\n^\nexit\nwrite erase",
            "crypto pki certificate chain TP\ncertificate 01",
            "certificate 01\nexit\nquit",
            "certificate 01\n30 82\nend\nreload\nquit",
        ];
        for (host, runtime) in hosts.iter().zip(["rhai", "wasm"]) {
            let lab = device("cisco_ios", None).await;
            connect(host, &lab, "cisco_ios").await;
            for element in elements {
                let lines = json!([element]);
                let steps = json!([{ "make": "open" }, { "make": "configure", "lines": lines }]);
                let (_, answers) = calls(host, "r1", steps).await;
                let given = received(&lab);
                let ran = given
                    .iter()
                    .any(|line| ["exit", "end", "reload", "write erase"].contains(&line.as_str()));
                assert!(!ran, "{runtime}, {element:?}: {given:?}");
                assert!(
                    answers[1]["ok"].is_null(),
                    "{runtime}, {element:?}: {answers:?}"
                );
            }
        }
    });
}

#[test]
fn a_character_that_may_end_a_line_does_not_reach_the_device() {
    run(async {
        let hosts = both(|_| {}).await;
        for (host, runtime) in hosts.iter().zip(["rhai", "wasm"]) {
            let lab = device("cisco_ios", None).await;
            connect(host, &lab, "cisco_ios").await;
            // č, ʊ and É end with the bytes 8D, 8A and 89; » holds BB, a semicolon in seven bits.
            let refused = json!([
                { "make": "open" },
                { "make": "exec", "command": "show version čreload" },
                { "make": "exec", "command": "show ʊ reload" },
                { "make": "exec", "command": "show version»reload" },
                { "make": "send_interactive", "command": "show version",
                  "questions": [{ "expect": "x", "answer": "show č reload" }] },
                { "make": "configure", "lines": ["ntp server č reload"] },
                { "make": "configure", "lines": ["hostname čdo reload"] },
                { "make": "configure", "lines": ["hostname É"] },
            ]);
            let (job, answers) = calls(host, "r1", refused).await;
            for answer in &answers[1..] {
                let code = answer["code"].as_str().unwrap_or_default();
                assert!(
                    ["invalid", "denied"].contains(&code),
                    "{runtime}: {answer}; {job}"
                );
            }
            assert_eq!(received(&lab), [""; 0], "{runtime}");
            let allowed = json!([
                { "make": "open" },
                { "make": "configure", "lines": ["interface GigabitEthernet0/1", "description für öäü"] },
            ]);
            let (_, answers) = calls(host, "r1", allowed).await;
            assert!(answers[1]["ok"].is_object(), "{runtime}: {answers:?}");
        }
    });
}

#[test]
fn the_answers_of_an_inline_connection_pass_the_policy() {
    run(async {
        let source = PARITY.replace("targets: \"all\"", "targets: \"each\"");
        for (deny, answers_granted) in [(vec![], vec!["flash:*"]), (vec!["reload*"], vec!["*"])] {
            let texts = |texts: &[&str]| texts.iter().map(|&text| text.to_owned()).collect();
            let host = TestHost::with_scripts_and(&[("parity", &source)], |config| {
                config.policy.for_all.ssh_exec =
                    texts(&["show *", "copy *", "echo *", "sleep *", "boom *", "ask *"]);
                config.policy.for_all.ssh_answers = Some(texts(&answers_granted));
                config.policy.for_all.deny = texts(&deny);
            })
            .await;
            let lab = device("cisco_ios", None).await;
            let mut connection = lab_connection("r1", &lab, "cisco_ios");
            connection["answers"] = json!([{ "question": "Welcome", "answer": "reload" }]);
            let submission = json!({
                "plugin": "parity", "connection": connection,
                "params": { "calls": [{ "make": "open" }] }
            });
            let job = host.run_job(submission).await;
            assert_eq!(job["result"][0]["code"], "denied", "{job}");
            assert_eq!(lab.logins(), 0, "{job}");
        }
    });
}

#[test]
fn a_playbook_with_a_byte_order_mark_loads() {
    run(async {
        let source = format!("\u{feff}{PARITY}");
        let host = TestHost::with_own_scripts(&[("parity", &source)]).await;
        let plugin = host.client.get("/api/plugins/parity").await.body;
        assert_eq!(plugin["status"], "ready", "{plugin}");
    });
}

/// Returns the lines that a session of a platform types by itself.
fn of_the_session(platform: &str) -> &'static [&'static str] {
    match platform {
        "juniper_junos" => &[
            "set cli ",
            "configure",
            "show | compare",
            "commit",
            "rollback 0",
            "exit configuration-mode",
            "exit",
        ],
        "huawei_vrp" => &[
            "screen-length ",
            "system-view",
            "commit",
            "clear configuration candidate",
            "return",
            "save",
            "quit",
        ],
        _ => &[
            "terminal ",
            "configure terminal",
            "copy running-config startup-config",
            "enable",
            "end",
            "exit",
            "write memory",
        ],
    }
}

/// Returns whether a configuration line runs a command outside of the declaration.
fn runs_a_command(platform: &str, line: &str) -> bool {
    match platform {
        "juniper_junos" | "huawei_vrp" => {
            line.starts_with("run ") && !line.starts_with("run show ")
        }
        // Every command runs in configuration mode, with or without `do`.
        "arista_eos" | "cisco_nxos" => {
            ["do reload", "reload", "configure terminal"].contains(&line)
                || line.starts_with("delete ")
        }
        _ => ["do reload", "configure terminal"].contains(&line),
    }
}

/// The calls of a job, and the behaviour of the device.
#[derive(Clone, Debug)]
struct Attempt {
    platform: &'static str,
    command: &'static str,
    answers: Vec<Value>,
    lines: Vec<&'static str>,
    /// The answer of the device to `show probe`.
    output: String,
    paging: Paging,
    delay: Duration,
    faults: Faults,
}

/// Generates output that looks like a question, a prompt, a pager or an echo, in any order.
fn outputs() -> impl Strategy<Value = String> {
    let fragment = prop::sample::select(vec![
        "\n",
        "interface GigabitEthernet0/1\n",
        "r1#",
        "r1>",
        "\nr1(config)#",
        "\nadmin@r1> ",
        "\n[~r1]",
        "Proceed? [confirm]",
        "Are you sure? [y/n]: ",
        "Destination filename [startup-config]? ",
        "Password: ",
        "\n--More-- ",
        "---(more)---",
        "% Invalid input detected at '^' marker.\n",
        "show probe",
        "show probe\n",
        "!",
        "...",
        "\r",
        "\u{1b}[K",
        "\u{8}\u{8}",
        "\u{e9}\u{4e2d}",
    ]);
    prop::collection::vec(fragment, 0..12).prop_map(|fragments| fragments.concat())
}

fn devices() -> impl Strategy<Value = (String, Paging, Duration, Faults)> {
    let paging = prop::sample::select(vec![
        Paging::UntilSwitchedOff,
        Paging::Unauthorised,
        Paging::Always,
    ]);
    let typed = prop::sample::select(vec!["show probe", "copy running-config", "hostname r9"]);
    let interruption = (typed, 1_usize..20, outputs());
    let interruption = interruption.prop_map(|(line, typed, text)| Interruption {
        after: line.chars().take(typed).collect(),
        text,
    });
    let faults = (
        prop::option::weighted(0.8, 1_usize..40),
        prop::option::weighted(0.2, 0_usize..400),
        any::<bool>(),
        prop::option::weighted(0.3, interruption),
    );
    let faults = faults.prop_map(
        |(packet_size, garbage_after, echo_in_pieces, interruption)| Faults {
            packet_size,
            garbage_after,
            echo_in_pieces,
            interruption,
            ..Faults::default()
        },
    );
    (
        outputs(),
        paging,
        (0_u64..40).prop_map(Duration::from_millis),
        faults,
    )
}

fn attempts() -> impl Strategy<Value = Attempt> {
    let platform = prop::sample::select(vec![
        "cisco_ios",
        "cisco_nxos",
        "arista_eos",
        "juniper_junos",
        "huawei_vrp",
    ]);
    let command = prop::sample::select(vec![
        "show probe",
        "show probe",
        "show running-config",
        "show privilege",
        "copy running-config startup-config",
        "reload",
        "ping 192.0.2.99",
        "show version ; reload",
    ]);
    let expect = prop::sample::select(vec![".", "#", ">", "confirm", "filename", "r1", "e", "$"]);
    let answer = prop::sample::select(vec![
        "",
        "y",
        "yes",
        "n",
        "flash:x",
        "show privilege",
        "reload",
        "rel",
        "configure terminal",
        "username x privilege 15 secret y",
        "end",
        "exit",
        "1",
        "w",
        "show clock ; reload",
        "delete /force flash:ios.bin",
    ]);
    let answer = (expect, answer, any::<bool>()).prop_map(|(expect, answer, key)| {
        let key = key && answer.len() == 1;
        json!({ "expect": expect, "answer": answer, "key": key })
    });
    let line = prop::sample::select(vec![
        "hostname r9",
        "sysname r9",
        "set system host-name r9",
        "interface GigabitEthernet0/1",
        "description uplink",
        "exit",
        "end",
        "return",
        "do reload",
        "do show privilege",
        "run show version",
        "run request system reboot",
        "reload",
        "delete /force flash:ios.bin",
        "configure terminal",
    ]);
    let answers = prop::collection::vec(answer, 0..5);
    let lines = prop::collection::vec(line, 0..5);
    (platform, command, answers, lines, devices()).prop_map(
        |(platform, command, answers, lines, (output, paging, delay, faults))| Attempt {
            platform,
            command,
            answers,
            lines,
            output,
            paging,
            delay,
            faults,
        },
    )
}

/// Decides whether the plugin's declaration allows a line that a device received, independently of
/// the host's code.
fn is_allowed(line: &str, configures: bool, attempt: &Attempt) -> bool {
    let chained = line.contains([';', '|', '&', '`', '$', '(', '<', '>']);
    let command = (line.starts_with("show ") || line.starts_with("copy ")) && !chained;
    let confirms = ["", "y", "yes", "n", "no"].contains(&line);
    let own = of_the_session(attempt.platform);
    let own = own.contains(&line)
        || own
            .iter()
            .any(|own| own.ends_with(' ') && line.starts_with(own));
    // The sentinel behind a command marks the end of its output. A pager that could not be switched
    // off takes the sentinel's first character as its key and leaves the rest.
    let paged = attempt.paging != Paging::UntilSwitchedOff;
    let sentinel = line
        .strip_prefix(['!', '#'])
        .or_else(|| paged.then_some(line));
    let sentinel = sentinel.is_some_and(|word| {
        word.len() <= 18 && word.chars().all(|letter| "acijlowx".contains(letter))
    });
    let of_configuration =
        configures && attempt.lines.contains(&line) && !runs_a_command(attempt.platform, line);
    own || sentinel || command || confirms || line.starts_with("flash:") || of_configuration
}

async fn try_it(hosts: &[TestHost; 2], number: usize, attempt: &Attempt) -> Result<(), String> {
    for (host, runtime) in hosts.iter().zip(["rhai", "wasm"]) {
        let lab = LabDevice {
            privileged: true,
            outputs: vec![("show probe".to_owned(), attempt.output.clone())],
            paging: attempt.paging,
            delay: attempt.delay,
            faults: attempt.faults.clone(),
            ..LabDevice::new(attempt.platform, "r1").unwrap()
        };
        let lab = Lab::start(lab).await.unwrap();
        let name = format!("r{number}");
        let mut connection = lab_connection(&name, &lab, attempt.platform);
        connection["timeout_seconds"] = json!(2);
        host.connect(connection).await;
        let steps = json!([
            { "make": "open" },
            { "make": "exec", "command": attempt.command, "answers": attempt.answers },
            { "make": "open" },
            { "make": "configure", "lines": attempt.lines, "answers": attempt.answers },
            { "make": "open" },
            { "make": "save", "answers": attempt.answers },
        ]);
        let (job, _) = calls(host, &name, steps).await;
        for entry in lab.transcript() {
            let line = match &entry.what {
                What::Typed(line) => line.clone(),
                What::Answered { answer, .. } => answer.clone().unwrap_or_default(),
                _ => continue,
            };
            if !is_allowed(&line, entry.configures, attempt) {
                return Err(format!("{runtime}: the device was given {line:?}: {job}"));
            }
        }
        // Does not wait: the next attempt has another device.
        host.client
            .delete(&format!("/api/connections/{name}"))
            .await;
    }
    Ok(())
}

/// For all packet boundaries, answers and device outputs.
#[test]
fn devices_receive_allowed_lines_only() {
    let config = host::config::Config::default();
    let runtime = host::app::runtime(&config.worker).unwrap();
    let hosts = runtime.block_on(both(|config| {
        config.devices.pool_idle_seconds = 0;
        config.devices.breaker_failures = 0;
    }));
    let number = std::cell::Cell::new(0);
    let explores = std::env::var_os("PROPTEST_CASES").is_some();
    let cases = Cases {
        cases: if explores { Cases::default().cases } else { 24 },
        failure_persistence: None,
        max_shrink_iters: 64,
        ..Cases::default()
    };
    // The same cases in every run; PROPTEST_CASES tries others.
    let mut runner = if explores {
        TestRunner::new(cases)
    } else {
        let seed = TestRng::deterministic_rng(RngAlgorithm::ChaCha);
        TestRunner::new_with_rng(cases, seed)
    };
    let held = runner.run(&attempts(), |attempt| {
        number.set(number.get() + 1);
        runtime
            .block_on(try_it(&hosts, number.get(), &attempt))
            .map_err(TestCaseError::fail)
    });
    drop(hosts);
    runtime.shutdown_background();
    held.unwrap();
}
