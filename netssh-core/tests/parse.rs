//! Structured output, by the templates of ntc-templates, of real and simulated devices.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use netssh_core::lab::{Lab, LabDevice};
use netssh_core::{Field, ParseError, Session, Templates};

use crate::lab::endpoint;
use crate::support::linux;

/// Where `cargo xtask setup` puts them.
fn templates() -> Templates {
    let directory = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("ntc-templates");
    Templates::load(&directory.join("ntc_templates/templates")).unwrap_or_else(|error| {
        panic!("{error}\nthe templates are installed by: cargo xtask setup")
    })
}

fn text(field: &Field) -> &str {
    match field {
        Field::Text(text) => text,
        Field::List(_) => panic!("a list: {field:?}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_linux_hosts_addresses() {
    let mut session = linux().await;
    let command = "ip address show";
    let output = session.exec(command).await.unwrap().output;
    session.close().await;
    let records = templates().parse("linux", command, &output).unwrap();
    let loopback = records
        .iter()
        .find(|record| text(&record["interface"]) == "lo")
        .unwrap_or_else(|| panic!("{records:?}"));
    let Field::List(addresses) = &loopback["ip_addresses"] else {
        panic!("{loopback:?}");
    };
    let json = serde_json::to_value(addresses).unwrap();
    assert_eq!(json[0], "127.0.0.1", "{json}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_routers_interfaces_under_every_name_that_is_the_same() {
    let lab = Lab::start(LabDevice::cisco_ios("r1")).await.unwrap();
    let mut session = Session::connect(&endpoint(&lab)).await.unwrap();
    let command = "show ip int brief";
    let output = session.exec(command).await.unwrap().output;
    session.close().await;
    for platform in ["cisco_ios", "cisco_xe"] {
        let records = templates().parse(platform, command, &output).unwrap();
        assert_eq!(records.len(), 4, "{records:?}");
        assert_eq!(text(&records[1]["interface"]), "GigabitEthernet0/0");
        assert_eq!(text(&records[1]["ip_address"]), "192.0.2.10");
    }
}

#[test]
fn what_cannot_be_parsed_says_why() {
    let templates = templates();
    let error = templates
        .parse("cisco_ios", "show nonsense", "")
        .unwrap_err();
    assert_eq!(
        error.to_string(),
        "there is no template for `show nonsense` on cisco_ios"
    );
    let long = "x".repeat(5 << 20);
    let error = templates
        .parse("cisco_ios", "show version", &long)
        .unwrap_err();
    assert!(matches!(error, ParseError::TooLong { .. }), "{error:?}");
    let error = Templates::load(std::path::Path::new("/nonexistent")).unwrap_err();
    assert!(
        error.to_string().contains("ntc_templates/templates"),
        "{error}"
    );
}

#[test]
fn a_template_that_refuses_or_backtracks_for_ever_is_an_error() {
    let directory = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| std::fs::write(directory.path().join(name), text).unwrap();
    write(
        "index",
        "Template, Hostname, Platform, Command\n\nevil.textfsm, .*, evil, show evil\nstrict.textfsm, .*, strict, show strict\n",
    );
    write(
        "evil.textfsm",
        "Value WORD ((a+)+(?=x))\n\nStart\n  ^${WORD}y -> Record\n",
    );
    write(
        "strict.textfsm",
        "Value WORD (\\w+)\n\nStart\n  ^word ${WORD} -> Record\n  ^. -> Error\n",
    );
    let templates = Templates::load(directory.path()).unwrap();
    let error = templates
        .parse("strict", "show strict", "no such line")
        .unwrap_err();
    assert!(matches!(error, ParseError::Mismatch { .. }), "{error:?}");
    let started = Instant::now();
    let output = "a".repeat(64);
    let _ = templates.parse("evil", "show evil", &output);
    assert!(started.elapsed() < Duration::from_secs(20));
}
