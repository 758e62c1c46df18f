//! Each platform's table in `tests/tables/messages/` lists the device's own messages with their
//! source.

use std::path::PathBuf;

use proptest::prelude::*;
use serde::Deserialize;

use crate::{Platform, Platforms};

#[derive(Deserialize)]
struct Table {
    group: Vec<Group>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Group {
    source: String,
    refusals: Vec<String>,
    remarks: Vec<String>,
}

fn table(platform: &str) -> Vec<Group> {
    let mut path = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    path.push(format!("tests/tables/messages/{platform}.toml"));
    let text = std::fs::read_to_string(&path).unwrap();
    toml::from_str::<Table>(&text).unwrap().group
}

/// Returns the platforms with their own CLI; a shell reports failures by its exit code.
fn platforms() -> Vec<&'static str> {
    let mut names = Platform::names();
    names.retain(|name| *name != "linux");
    names
}

#[test]
fn every_platform_distinguishes_refusals_from_remarks() {
    let mut wrong = Vec::new();
    for name in platforms() {
        let platform = Platform::named(name).unwrap();
        let mut messages = 0;
        for group in table(name) {
            assert!(!group.source.is_empty(), "{name}");
            for message in &group.refusals {
                let refusal = platform.refusal(message);
                if refusal.is_none_or(|line| !message.contains(line)) {
                    wrong.push(format!("{name}: refused, called accepted: {message:?}"));
                }
            }
            for message in &group.remarks {
                if let Some(line) = platform.refusal(message) {
                    wrong.push(format!(
                        "{name}: accepted, called refused: {line:?} in {message:?}"
                    ));
                }
            }
            messages += group.refusals.len() + group.remarks.len();
        }
        let expected = if name.starts_with("cisco_ios") {
            40
        } else {
            10
        };
        assert!(messages >= expected, "{name}: {messages} messages");
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn a_refusal_is_found_behind_log_lines_but_not_in_the_middle_of_an_output() {
    for name in ["cisco_ios", "cisco_xe"] {
        let platform = Platform::named(name).unwrap();
        let log =
            "*Mar  1 00:00:01.003: %SYS-5-CONFIG_I: Configured from console by vty0\n".repeat(9);
        let refused = "% Incomplete command.";
        assert_eq!(
            platform.refusal(&format!("{log}{refused}\n{log}")),
            Some(refused)
        );
        assert_eq!(platform.refusal(&log), None);
        let lines = "line\n".repeat(9);
        assert_eq!(
            platform.refusal(&format!("{lines}{refused}\n{lines}")),
            None
        );
        assert_eq!(
            platform.refusal(&format!("{lines}{refused}\n")),
            Some(refused)
        );
        assert_eq!(platform.refusal(""), None);
    }
}

#[test]
fn a_remark_does_not_hide_a_refusal_beside_it() {
    let ios = Platform::named("cisco_ios").unwrap();
    let both = "% Warning: x\n% Incomplete command.\n";
    assert_eq!(ios.refusal(both), Some("% Incomplete command."));
}

#[test]
fn a_platform_file_may_have_remarks_of_its_own() {
    let own = "name = \"own\"\nextends = \"cisco_ios\"\nremarks = ['^% Ours']\n";
    let own = Platforms::parse(own).unwrap();
    assert_eq!(own.refusal("% Ours is fine\n"), None);
    assert_eq!(own.refusal("% Warning: x\n"), Some("% Warning: x"));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 500, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn an_unknown_complaint_with_a_mark_is_a_refusal(text in "[a-z]{3,9}( [a-z]{3,9}){1,5}") {
        for name in ["cisco_ios", "cisco_xe", "cisco_nxos", "cisco_xr", "arista_eos", "frr"] {
            let platform = Platform::named(name).unwrap();
            let line = format!("% {text}");
            let remark = platform.remarks.iter().any(|remark| remark.matches(&line));
            prop_assert_eq!(platform.refusal(&line).is_some(), !remark, "{}: {}", name, line);
        }
    }

    #[test]
    fn log_lines_are_not_refusals(
        facility in "[A-Z][A-Z0-9_]{1,12}",
        severity in 0u8..8,
        mnemonic in "[A-Z][A-Z0-9_]{1,12}",
        text in "[ -~]{0,40}",
    ) {
        for before in ["", "*Mar  1 00:00:01.003: ", "Nov 30 10:00:00.123 UTC: ", "000012: ", "1w2d: ", "<189>12: "] {
            let line = format!("{before}%{facility}-{severity}-{mnemonic}: {text}");
            let ios = Platform::named("cisco_ios").unwrap();
            prop_assert_eq!(ios.refusal(&line), None, "{}", line);
        }
    }
}
