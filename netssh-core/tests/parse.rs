//! Tests structured output: templates of ntc-templates on real and simulated devices.

use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

use netssh_core::{Field, ParseError, Records, Session, Templates};
use netssh_lab::{Lab, LabDevice};
use serde_json::{Value, json};

use crate::lab::endpoint;
use crate::support::linux;

/// Returns the directory in which `cargo xtask setup` installs the templates and Python's
/// `textfsm`.
fn packages() -> PathBuf {
    PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("ntc-templates")
}

fn templates() -> Templates {
    let directory = packages().join("ntc_templates/templates");
    Templates::load(&directory).unwrap_or_else(|error| {
        panic!("{error}\nthe templates are installed by: cargo xtask setup")
    })
}

/// Creates a directory with an index and the given templates; each is for the command `show` on the
/// platform of the template's name.
fn directory_of(templates: &[(&str, &str)]) -> tempfile::TempDir {
    let directory = tempfile::tempdir().unwrap();
    let mut index = "Template, Platform, Command\n".to_owned();
    for (name, text) in templates {
        std::fs::write(directory.path().join(name), text).unwrap();
        index += &format!("{name}, {name}$, show\n");
    }
    std::fs::write(directory.path().join("index"), index).unwrap();
    directory
}

fn parse(template: &str, output: &str) -> Result<Value, ParseError> {
    let directory = directory_of(&[("one", template)]);
    let templates = Templates::load(directory.path()).unwrap();
    let records = templates.parse("one", "show", output, &|| false)?;
    Ok(serde_json::to_value(records).unwrap())
}

fn text<'r>(records: &'r Records, row: usize, name: &str) -> &'r str {
    match records.get(row, name) {
        Some(Field::Text(text)) => text,
        other => panic!("not a text: {other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_linux_hosts_addresses() {
    let mut session = linux().await;
    let command = "ip address show";
    let output = session.exec(command).await.unwrap().output;
    session.close().await;
    let records = templates()
        .parse("linux", command, &output, &|| false)
        .unwrap();
    let records = serde_json::to_value(records).unwrap();
    let mut all = records.as_array().unwrap().iter();
    let loopback = all.find(|record| record["interface"] == "lo");
    let loopback = loopback.unwrap_or_else(|| panic!("{records}"));
    assert_eq!(loopback["ip_addresses"][0], "127.0.0.1", "{loopback}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_routers_interfaces_under_every_name_that_is_the_same() {
    let lab = Lab::start(LabDevice::cisco_ios("r1")).await.unwrap();
    let mut session = Session::connect(&endpoint(&lab)).await.unwrap();
    let command = "show ip int brief";
    let output = session.exec(command).await.unwrap().output;
    session.close().await;
    for platform in ["cisco_ios", "cisco_xe"] {
        let records = templates()
            .parse(platform, command, &output, &|| false)
            .unwrap();
        assert_eq!(records.rows().len(), 4, "{records:?}");
        assert_eq!(text(&records, 1, "interface"), "GigabitEthernet0/0");
        assert_eq!(text(&records, 1, "ip_address"), "192.0.2.10");
    }
}

#[test]
fn what_cannot_be_parsed_says_why() {
    let templates = templates();
    let error = templates
        .parse("cisco_ios", "show nonsense", "", &|| false)
        .unwrap_err();
    assert_eq!(
        error.to_string(),
        "template for `show nonsense` on cisco_ios not found"
    );
    let long = "x".repeat(9 << 20);
    let error = templates
        .parse("cisco_ios", "show version", &long, &|| false)
        .unwrap_err();
    assert!(matches!(error, ParseError::TooLong { .. }), "{error:?}");
    let error = Templates::load(std::path::Path::new("/nonexistent")).unwrap_err();
    assert!(
        error.to_string().contains("ntc_templates/templates"),
        "{error}"
    );
}

#[test]
fn a_rejected_output_and_endless_backtracking_are_errors() {
    let strict =
        "Value WORD (\\w+)\n\nStart\n  ^word ${WORD} -> Record\n  ^. -> Error \"unknown\"\n";
    let error = parse(strict, "word a\nno such line").unwrap_err();
    assert!(matches!(error, ParseError::Mismatch { .. }), "{error:?}");
    assert!(error.to_string().contains("unknown"), "{error}");
    assert!(error.to_string().contains("`no such line`"), "{error}");

    let evil = "Value WORD ((?:(a+)\\2)+)\n\nStart\n  ^${WORD}b -> Record\n";
    let started = Instant::now();
    let error = parse(evil, &format!("{}cb", "a".repeat(64))).unwrap_err();
    assert!(
        matches!(error, ParseError::TooSlow { line: 1, .. }),
        "{error:?}"
    );
    assert!(started.elapsed() < Duration::from_secs(20));

    let error = parse(strict, &"a".repeat(17 << 10)).unwrap_err();
    assert!(matches!(error, ParseError::LineTooLong { .. }), "{error:?}");
}

#[test]
fn parsing_stops_when_the_caller_stops_it() {
    let directory = directory_of(&[("one", "Value A (\\S+)\n\nStart\n  ^${A} -> Record\n")]);
    let templates = Templates::load(directory.path()).unwrap();
    let asked = std::cell::Cell::new(0);
    let stop = || {
        asked.set(asked.get() + 1);
        asked.get() > 100
    };
    let error = templates
        .parse("one", "show", &"a\n".repeat(1_000), &stop)
        .unwrap_err();
    assert!(matches!(error, ParseError::Stopped { .. }), "{error:?}");
    assert_eq!(asked.get(), 101);
}

#[test]
fn templates_invalid_in_python_are_rejected() {
    let invalid = [
        "",
        "Value A (a)\n\nOther\n  ^a\n",
        "Value A a\n\nStart\n  ^a\n",
        "Value A (a)\nValue A (b)\n\nStart\n  ^a\n",
        "Value Odd A (a)\n\nStart\n  ^a\n",
        "Value List,List A (a)\n\nStart\n  ^a\n",
        "Value A (a)\nStart\n  ^a\n",
        "Value A (a)\n\nStart\n  ^${B}\n",
        "Value A (a)\n\nStart\n  ^a$\n",
        "Value A (a)\n\nStart\n  ^${A}${A}\n",
        "Value A (a)\n\nStart\n   ^a\n",
        "Value A (a)\n\nStart\n  ^a -> Nowhere\n",
        "Value A (a)\n\nStart\n  ^a -> Continue Start\n",
        "Value A (a)\n\nStart\n  ^a -> Next \"text\"\n",
        "Value A (a)\n\nStart\n  ^a ->Record\n",
        "Value A (a)\n\nStart\n  ^a\n\nStart\n  ^b\n",
        "Value A (a)\n\nStart\n  ^a\n\nEnd\n  ^b\n",
        "Value A (a)\n\nStart\n  ^(a\n",
    ];
    for template in invalid {
        let parsed = parse(template, "a\n");
        assert!(
            matches!(parsed, Err(ParseError::Template { .. })),
            "{template:?}: {parsed:?}"
        );
    }
}

/// Each option, operator and state of the language, with the result of Python's `textfsm` 2.1.0.
#[test]
fn options_and_operators_behave_like_python() {
    let cases = [
        // Lists have an element per line, so that parallel lists correspond.
        (
            "Value List A (\\d+)\nValue List B (\\w*)\n\nStart\n  ^${A}(,${B})?$$\n",
            "1,x\n2\n3,\n",
            json!([{"a": ["1", "2", "3"], "b": ["x", null, ""]}]),
        ),
        (
            "Value List A ((?P<Name>\\w+):(?P<age>\\d+)?)\n\nStart\n  ^${A}\n",
            "bob:3\nann:\n",
            json!([{"a": [{"Name": "bob", "age": "3"}, {"Name": "ann", "age": null}]}]),
        ),
        (
            "Value Filldown A (\\d+)\nValue Required B (\\w+)\n\nStart\n  ^A${A}\n  ^B${B} -> Record\n  ^C -> Clear\n  ^D -> Clearall\n",
            "A1\nBx\nBy\nC\nBz\nD\nBw\n",
            json!([{"a": "1", "b": "x"}, {"a": "1", "b": "y"}, {"a": "1", "b": "z"}, {"a": "", "b": "w"}]),
        ),
        (
            "Value Fillup A (\\d*)\nValue B (\\w+)\n\nStart\n  ^${B}( ${A})? -> Record\n",
            "x\ny 2\nz\nw 4\n",
            json!([{"a": "2", "b": "x"}, {"a": "2", "b": "y"}, {"a": "4", "b": "z"}, {"a": "4", "b": "w"}]),
        ),
        // The order of the options decides which elements `Required` sees.
        (
            "Value Required,List A (\\d*)\nValue B (\\w+)\n\nStart\n  ^A${A}\n  ^B${B} -> Record\n",
            "A1\nA\nBx\nA1\nBy\n",
            json!([{"a": ["1"], "b": "y"}]),
        ),
        (
            "Value List,Required A (\\d*)\nValue B (\\w+)\n\nStart\n  ^A${A}\n  ^B${B} -> Record\n",
            "A1\nA\nBx\nA1\nBy\n",
            json!([{"a": ["1", ""], "b": "x"}, {"a": ["1"], "b": "y"}]),
        ),
        (
            "Value A (\\d+)\n\nStart\n  ^${A} -> Continue.Record\n  ^1 -> Two\n\nTwo\n  ^${A} -> Record End\n\nEnd\n",
            "1\n2\n3\n",
            json!([{"a": "1"}, {"a": "2"}]),
        ),
        (
            "Value A (\\d+)\n\nStart\n  ^${A}\n\nEOF\n",
            "1\n",
            json!([]),
        ),
        (
            "# remark\nValue A (\\S+)\n# remark\n\n\n# remark\nStart\n  # remark\n  ^cost $$ ${A}\n",
            "cost $ 5\n",
            json!([]),
        ),
        (
            "Value A (\\S+)\n\nStart\n  ^cost \\$$ ${A}\n",
            "cost $ 5\n",
            json!([{"a": "5"}]),
        ),
    ];
    for (template, output, expected) in cases {
        assert_eq!(parse(template, output).unwrap(), expected, "{template}");
    }
}

#[test]
fn records_of_several_templates_are_joined_by_key() {
    let directory = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| std::fs::write(directory.path().join(name), text).unwrap();
    write("index", "Template, Platform, Command\n\na:b, p, show\n");
    write(
        "a",
        "Value Key A (\\d+)\nValue B (x\\w*)\n\nStart\n  ^${A} ${B} -> Record\n",
    );
    write(
        "b",
        "Value Key A (\\d+)\nValue C (y\\w*)\n\nStart\n  ^${A} ${C} -> Record\n",
    );
    let templates = Templates::load(directory.path()).unwrap();
    let output = "1 x1\n2 x2\n3 x3\n3 y3\n1 y1\n";
    let records = templates.parse("p", "show", output, &|| false).unwrap();
    assert_eq!(
        serde_json::to_value(records).unwrap(),
        json!([
            {"a": "1", "b": "x1", "c": "y1"},
            {"a": "2", "b": "x2", "c": ""},
            {"a": "3", "b": "x3", "c": "y3"},
        ])
    );
}

/// Generates outputs from the rules of each template of ntc-templates and compares the records with
/// those of Python's `textfsm`.
#[test]
fn outputs_are_parsed_like_in_python() {
    const SEED: &str = "1";
    const OUTPUTS_PER_TEMPLATE: &str = "2";
    let made = Command::new("python3")
        .arg(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/outputs.py"))
        .arg(packages().join("ntc_templates/templates"))
        .args([SEED, OUTPUTS_PER_TEMPLATE])
        .env("PYTHONPATH", packages())
        .output()
        .unwrap();
    let errors = String::from_utf8_lossy(&made.stderr);
    assert!(
        made.status.success(),
        "{errors}\ntextfsm is installed by: cargo xtask setup"
    );
    let cases: Vec<Value> = String::from_utf8(made.stdout)
        .unwrap()
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let directory = tempfile::tempdir().unwrap();
    let mut index = "Template, Platform, Command\n".to_owned();
    for case in &cases {
        let template = case["template"].as_str().unwrap();
        let platform = template.rsplit('/').next().unwrap();
        index += &format!("{template}, {platform}$, show\n");
    }
    std::fs::write(directory.path().join("index"), index).unwrap();
    let templates = Templates::load(directory.path()).unwrap();
    let mut records = 0;
    let mut different = Vec::new();
    for case in &cases {
        let platform = case["template"]
            .as_str()
            .unwrap()
            .rsplit('/')
            .next()
            .unwrap();
        let output = case["output"].as_str().unwrap();
        let parsed = match templates.parse(platform, "show", output, &|| false) {
            Ok(parsed) => serde_json::to_value(parsed).unwrap(),
            Err(ParseError::Mismatch { .. }) => Value::Null,
            Err(error) => json!(error.to_string()),
        };
        records += parsed.as_array().map_or(0, Vec::len);
        if parsed != case["records"] {
            different.push(format!(
                "{platform}\n{output}\nours: {parsed}\nPython's: {}",
                case["records"]
            ));
        }
    }
    assert!(
        cases.len() > 1_500 && records > 5_000,
        "{} outputs, {records} records",
        cases.len()
    );
    assert!(
        different.is_empty(),
        "{} of {} outputs differ, the first ones:\n{}",
        different.len(),
        cases.len(),
        different[..different.len().min(5)].join("\n\n")
    );
}
