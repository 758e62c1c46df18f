//! Each platform's table in `tests/tables/reads/` lists commands that only read and commands that
//! write.

use std::path::PathBuf;

use proptest::prelude::*;
use serde::Deserialize;

use crate::{Encoding, Platform, Platforms};

#[derive(Deserialize)]
struct Table {
    reads: Vec<String>,
    writes: Vec<String>,
}

fn table(platform: &str) -> Table {
    let mut path = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    path.push(format!("tests/tables/reads/{platform}.toml"));
    let text = std::fs::read_to_string(&path).unwrap();
    toml::from_str(&text).unwrap()
}

#[test]
fn every_platform_distinguishes_reads_from_writes() {
    let mut wrong = Vec::new();
    for name in Platform::names() {
        let platform = Platform::named(name).unwrap();
        let table = table(name);
        // No commands are known for a generic device.
        assert!(table.writes.len() >= 20, "{name}");
        assert!(table.reads.len() >= 10 || name == "generic", "{name}");
        let reads = table.reads.iter().map(|command| (command, true));
        let writes = table.writes.iter().map(|command| (command, false));
        for (command, expected) in reads.chain(writes) {
            if platform.only_reads(command) != expected {
                wrong.push(format!(
                    "{name}: {command:?} reads only: expected {expected}"
                ));
            }
            assert_eq!(
                platform.may_type_ahead(command),
                platform.only_reads(command)
            );
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn no_reading_command_survives_a_second_one() {
    for name in Platform::names() {
        let platform = Platform::named(name).unwrap();
        for read in table(name).reads {
            for tail in [
                "; reload", "\nreload", " > x", ">>x", " `x`", " $(x)", " && x", " | tee x",
            ] {
                let command = format!("{read}{tail}");
                // On a CLI with a single filter the rest of the line is its argument; a second,
                // writing filter is not accepted.
                assert!(!platform.only_reads(&command), "{name}: {command:?}");
            }
        }
    }
}

#[test]
fn a_character_beyond_ascii_makes_a_write_in_any_encoding() {
    // The second byte of these is `|`, `\`, "`" or `[` in GBK, Big5 or Shift_JIS.
    for (label, text) in [
        ("gbk", "\u{524c}"),
        ("big5", "\u{8a31}"),
        ("shift_jis", "\u{30bd}"),
    ] {
        let file = format!(
            "name = \"own\"\nextends = \"hp_comware\"\n[terminal]\nencoding = \"{label}\"\n"
        );
        let platform = Platforms::parse(&file).unwrap();
        assert!(
            Encoding::named(label).unwrap().encode(text).is_some(),
            "{label}"
        );
        assert!(platform.only_reads("display version"));
        assert!(!platform.only_reads(&format!("display version {text}")));
        assert!(!platform.only_reads(&format!("display version | include {text}")));
    }
}

#[test]
fn a_platform_file_inherits_reads_key_by_key() {
    let own = Platforms::parse(
        "name = \"own\"\nextends = \"cisco_ios\"\n[reads]\nexcept = [\"s[how] x\"]\n",
    );
    let own = own.unwrap();
    assert!(own.only_reads("show version | include x"));
    assert!(!own.only_reads("show x"));
    let wrong = Platforms::parse(
        "name = \"own\"\nextends = \"cisco_ios\"\n[reads]\ncommands = [\"sh[ow\"]\n",
    );
    let error = wrong.unwrap_err();
    assert!(
        error.starts_with("reads.commands[0]: invalid word `sh[ow`"),
        "{error}"
    );
}

#[test]
fn patterns_of_an_older_platform_file_decide_from_the_start_of_a_command() {
    let own = Platforms::parse(
        "name = \"own\"\nextends = \"cisco_ios\"\n[type_ahead]\nsafe = '(?i)list|\\s*view\\s'\nexcept = 'secret'\n",
    );
    let own = own.unwrap();
    for read in ["list ports", " VIEW log", "list ports | include up|down"] {
        assert!(own.only_reads(read), "{read}");
    }
    for write in [
        "set list",
        "show version",
        "view secret",
        "list; reboot",
        "list | x",
        "list | redirect flash:x",
        "list > x",
        "list \"x",
        "list\nx",
        "list to-file x",
        "list $x",
    ] {
        assert!(!own.only_reads(write), "{write}");
    }
    let own = Platforms::parse(
        "name = \"own\"\nextends = \"cisco_ios\"\n[type_ahead]\nexcept = '(?i)\\btech\\b'\n",
    );
    let own = own.unwrap();
    assert!(own.only_reads("show version") && !own.only_reads("show tech"));
}

fn a_platform() -> impl Strategy<Value = &'static str> {
    proptest::sample::select(Platform::names())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_character_that_chains_makes_a_write(
        name in a_platform(),
        before in "[a-z/][a-z ./-]{0,12}",
        chain in "[;<>&`{}\n\r\u{0}\u{1a}]",
        after in "[ -~]{0,12}",
    ) {
        let platform = Platform::named(name).unwrap();
        for verb in ["show ", "display ", "get ", "/interface print ", "info ", ""] {
            let command = format!("{verb}{before}{chain}{after}");
            prop_assert!(!platform.only_reads(&command), "{}: {:?}", name, command);
        }
    }

    #[test]
    fn a_command_with_another_first_word_is_a_write(
        name in a_platform(),
        verb in "[a-zA-Z]{1,10}",
        rest in "[ -~]{0,20}",
    ) {
        let platform = Platform::named(name).unwrap();
        let known: &[&str] = match name {
            "linux" => &[
                "uname", "uptime", "whoami", "id", "hostname", "date", "lsblk", "lscpu", "df",
                "free", "ls", "cat", "ip", "ps", "ss",
            ],
            "mikrotik_routeros" => &[
                "certificate", "console", "disk", "export", "file", "interface", "ip", "ipv6",
                "log", "mpls", "port", "ppp", "print", "queue", "radius", "routing", "snmp",
                "system", "tool", "user",
            ],
            "vyos" | "ubiquiti_edgerouter" => &["show", "run"],
            _ => &[
                "show", "display", "get", "do", "run", "admin", "info", "environment", "diagnose",
            ],
        };
        let lower = verb.to_ascii_lowercase();
        let may_read = known.iter().any(|known| known.starts_with(&lower));
        prop_assume!(!may_read);
        let command = format!("{verb} {rest}");
        prop_assert!(!platform.only_reads(&command), "{}: {:?}", name, command);
    }

    #[test]
    fn any_text_is_decided_without_a_panic(name in a_platform(), text in any::<String>()) {
        let platform = Platform::named(name).unwrap();
        if platform.only_reads(&text) {
            prop_assert!(text.is_ascii());
        }
    }

    #[test]
    fn a_writing_filter_makes_a_write_however_it_is_abbreviated(
        name in a_platform(),
        filter in proptest::sample::select(vec!["redirect", "append", "tee", "save", "file", "bash", "vsh"]),
        letters in 1usize..9,
        blanks in "[ \t]{0,3}",
    ) {
        let platform = Platform::named(name).unwrap();
        let typed = &filter[..letters.min(filter.len())];
        for verb in ["show run", "display cur", "get system status", "uname -a"] {
            let command = format!("{verb}{blanks}|{blanks}{typed} flash:x");
            // Without such a writing filter, the letters may abbreviate another filter of the
            // platform.
            let is_other = platform.reads.filters.iter().any(|word| word.matches(typed, true))
                && !platform.reads.writing_filters.iter().any(|word| word.matches(filter, true));
            prop_assert!(is_other || !platform.only_reads(&command), "{}: {:?}", name, command);
        }
    }
}
