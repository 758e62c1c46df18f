//! Tests the book's playbooks: they load, and do what the book says.

use std::path::Path;

use netssh_core::{Platform, Platforms};
use netssh_lab::{Lab, LabDevice, What};
use serde_json::json;

use crate::harness::{TestHost, run};

/// Returns the complete playbooks of a chapter, in order.
fn playbooks(chapter: &str) -> Vec<String> {
    let path = format!("{}/../{chapter}", env!("CARGO_MANIFEST_DIR"));
    let text = std::fs::read_to_string(path).unwrap();
    let blocks = text.split("```rhai\n").skip(1);
    let blocks = blocks.map(|rest| rest.split("```").next().unwrap().to_owned());
    blocks
        .filter(|block| block.contains("fn describe()"))
        .collect()
}

/// Returns the modules of a chapter, by the path in the text above each.
fn modules(chapter: &str) -> Vec<(String, String)> {
    let path = format!("{}/../{chapter}", env!("CARGO_MANIFEST_DIR"));
    let text = std::fs::read_to_string(path).unwrap();
    let blocks: Vec<&str> = text.split("```rhai\n").collect();
    let named = blocks.windows(2).filter_map(|pair| {
        let above = pair[0].trim_end().strip_suffix(".rhai`:")?;
        let (_, name) = above.rsplit_once("`scripts/")?;
        let source = pair[1].split("```").next()?;
        Some((name.to_owned(), source.to_owned()))
    });
    named.filter(|(name, _)| name.starts_with("lib/")).collect()
}

#[test]
fn every_playbook_of_the_book_loads() {
    run(async {
        let all = [playbooks("docs/playbooks.md"), playbooks("README.md")].concat();
        assert!(all.len() >= 6, "{}", all.len());
        let named: Vec<(String, &str)> = (1..)
            .zip(&all)
            .map(|(number, source)| (format!("book-{number}"), source.as_str()))
            .collect();
        let modules = modules("docs/playbooks.md");
        assert!(!modules.is_empty());
        let playbooks = named.iter().map(|(name, source)| (name.as_str(), *source));
        let modules = modules
            .iter()
            .map(|(name, source)| (name.as_str(), source.as_str()));
        let named: Vec<(&str, &str)> = playbooks.chain(modules).collect();
        let host = TestHost::with_own_scripts(&named).await;
        let answer = host.client.get("/api/plugins").await;
        let plugins = answer.body["plugins"].as_array().unwrap();
        assert_eq!(plugins.len(), all.len());
        for plugin in plugins {
            assert_eq!(plugin["status"], "ready", "{plugin}");
        }
    });
}

#[test]
fn the_change_that_undoes_itself_is_confirmed_when_the_device_is_still_there() {
    run(async {
        let all = playbooks("docs/playbooks.md");
        let change = all.iter().find(|text| text.contains("confirm: 300"));
        let lab = Lab::start(LabDevice::new("juniper_junos", "r1").unwrap())
            .await
            .unwrap();
        let host = TestHost::with_playbook("change", change.unwrap()).await;
        host.connect(json!({
            "name": "r1", "host": "127.0.0.1", "port": lab.addr().port(), "username": "admin",
            "password": lab.device().password, "device_type": "juniper_junos",
        }))
        .await;
        let lines = json!(["set interfaces ge-0/0/1 description new"]);
        let submission =
            json!({ "plugin": "change", "targets": ["r1"], "params": { "lines": lines } });
        let changed = host.run_job(submission.clone()).await;
        assert_eq!(changed["result"]["changed"], true, "{changed}");
        assert!(lab.running_config().contains("description new\n"));
        let commits = |transcript: Vec<netssh_lab::Entry>| {
            transcript
                .iter()
                .filter(|entry| entry.what == What::Committed)
                .count()
        };
        assert_eq!(commits(lab.transcript()), 2, "with confirmation");
        let again = host.run_job(submission).await;
        assert_eq!(again["result"], json!({ "changed": false }), "{again}");
        assert_eq!(commits(lab.transcript()), 2);
    });
}

#[test]
fn a_command_that_asks_is_answered_as_the_book_says() {
    run(async {
        let all = playbooks("docs/playbooks.md");
        let copy = all.iter().find(|text| text.contains("send_interactive"));
        let lab = Lab::start(LabDevice::cisco_ios("r1")).await.unwrap();
        let host = TestHost::with_playbook("copy", copy.unwrap()).await;
        let device = lab.device();
        host.connect(json!({
            "name": "r1", "host": "127.0.0.1", "port": lab.addr().port(), "username": "admin",
            "password": device.password, "secret": device.enable_secret,
            "device_type": "cisco_ios",
        }))
        .await;
        let job = host
            .run_job(json!({ "plugin": "copy", "targets": ["r1"] }))
            .await;
        assert_eq!(job["status"], "completed", "{job}");
        assert!(lab.is_saved());
    });
}

#[test]
fn the_book_lists_every_platform_and_its_examples_load() {
    let path = format!("{}/../docs/platforms.md", env!("CARGO_MANIFEST_DIR"));
    let text = std::fs::read_to_string(path).unwrap();
    let rows = text.lines().filter_map(|line| line.strip_prefix("| `"));
    let listed: Vec<&str> = rows
        .filter_map(|row| row.split_once('`').map(|(name, _)| name))
        .skip_while(|&name| name == "device_type")
        .take(Platform::names().len())
        .collect();
    assert_eq!(listed, Platform::names());

    let directory = tempfile::tempdir().unwrap();
    let examples = text.split("```toml\n# platforms/").skip(1);
    for example in examples {
        let (name, rest) = example.split_once(".toml").unwrap();
        let body = rest.split("```").next().unwrap();
        let file = directory.path().join(format!("{name}.toml"));
        std::fs::write(file, format!("#{body}")).unwrap();
    }
    let platforms = Platforms::load(directory.path()).unwrap();
    assert!(platforms.named("acme_os").is_some());
    let own = platforms.named("cisco_ios").unwrap();
    assert_eq!(own.login.questions.len(), 1);
}

/// Returns the names of the tests in a file of this directory.
fn tests_in(file: &str) -> Vec<String> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("../tests/{file}.rs"));
    let source = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{file}: {error}"));
    let functions = source.split("#[test]").skip(1);
    let names = functions.filter_map(|text| text.split_once("fn ")?.1.split_once('('));
    names.map(|(name, _)| name.to_owned()).collect()
}

#[test]
fn every_promise_names_a_test_that_exists() {
    let page = include_str!("../docs/promises.md");
    let rows = page
        .lines()
        .filter(|line| line.starts_with("| ") && !line.starts_with("| promise"));
    let mut promises = 0;
    for row in rows {
        let (_, held_by) = row.trim_end_matches(" |").rsplit_once(" | ").unwrap();
        let tests: Vec<&str> = held_by
            .split('`')
            .filter(|text| text.contains("::"))
            .collect();
        assert!(!tests.is_empty(), "a promise without a test: {row}");
        for test in tests {
            let (file, name) = test.split_once("::").unwrap();
            let known = tests_in(file).iter().any(|known| known == name);
            assert!(known, "{test} does not exist: {row}");
        }
        promises += 1;
    }
    assert!(promises > 20, "{promises} promises");
}
