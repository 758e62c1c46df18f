//! Tests of the policy.

use serde_json::{Value, json};
use uuid::Uuid;

use super::*;
use crate::model::{Algorithms, Lines, SealedSecrets, now};

fn rights(needs: Value, grant: Grant) -> Rights {
    let policy = Policy {
        default: grant,
        ..Policy::default()
    };
    policy.rights("it", &serde_json::from_value(needs).unwrap())
}

fn platform(name: &str) -> std::sync::Arc<Platform> {
    Platform::named(name).unwrap()
}

fn texts(texts: &[&str]) -> Vec<String> {
    texts.iter().map(|text| (*text).to_owned()).collect()
}

fn connection(host: &str, tags: &[&str]) -> Connection {
    Connection {
        id: Uuid::nil(),
        name: "x".to_owned(),
        host: host.to_owned(),
        port: 22,
        username: "u".to_owned(),
        device_type: "linux".to_owned(),
        timeout_seconds: 30,
        tags: texts(tags),
        host_key: None,
        jump: Vec::new(),
        algorithms: Algorithms::Default,
        certificate: None,
        agent: false,
        max_sessions: 1,
        secrets: SealedSecrets::default(),
        answers: Vec::new(),
        owner_job_id: None,
        created_at: now(),
        updated_at: now(),
    }
}

fn inline(host: &str) -> Connection {
    Connection {
        owner_job_id: Some(Uuid::nil()),
        ..connection(host, &[])
    }
}

#[test]
fn missing_lists_needs_that_are_not_granted() {
    let needs = json!({
        "ssh": { "exec": ["show *", "show * | include *", "reload"], "configure": true,
                 "answers": ["flash:*"] },
        "storage": true,
        "queue": { "submit": ["noop", "*"] },
    });
    let all = Grant {
        queue_submit: texts(&["*"]),
        ..Grant::default()
    };
    assert!(rights(needs.clone(), all).missing().is_empty());
    let grant = Grant {
        ssh_exec: texts(&["show *"]),
        ssh_configure: Lines::Any(false),
        queue_submit: texts(&["noop"]),
        ..Grant::default()
    };
    assert_eq!(
        rights(needs, grant).missing(),
        [
            "ssh.exec \"show * | include *\"",
            "ssh.exec \"reload\"",
            "ssh.answers \"flash:*\"",
            "queue.submit \"*\"",
            "ssh.configure",
        ]
    );
}

#[test]
fn missing_compares_patterns_of_lines() {
    let needs = |configure: Value| json!({ "ssh": { "configure": configure } });
    let missing = |configure: Value, granted: Lines| {
        let grant = Grant {
            ssh_configure: granted,
            ..Grant::default()
        };
        rights(needs(configure), grant).missing()
    };
    let ntp = || Lines::Matching(texts(&["ntp *"]));
    assert!(missing(json!(["ntp server *"]), ntp()).is_empty());
    assert!(missing(json!(["ntp server *"]), true.into()).is_empty());
    assert_eq!(missing(json!(true), ntp()), ["ssh.configure"]);
    assert_eq!(
        missing(json!(["hostname *", "ntp *"]), ntp()),
        ["ssh.configure \"hostname *\""]
    );
    assert_eq!(missing(json!(["ntp *"]), false.into()), ["ssh.configure"]);
    assert!(missing(json!(false), false.into()).is_empty());
}

#[test]
fn a_command_must_be_declared_and_granted() {
    let needs = json!({ "ssh": { "exec": ["show *"] } });
    let grant = Grant {
        ssh_exec: texts(&["* version"]),
        ..Grant::default()
    };
    let rights = rights(needs, grant);
    let ios = platform("cisco_ios");
    assert!(rights.may_exec("show version", &ios).is_ok());
    let undeclared = rights.may_exec("delete version", &ios).unwrap_err();
    assert!(undeclared.message.contains("needs.ssh.exec: show *"));
    let ungranted = rights.may_exec("show clock", &ios).unwrap_err();
    assert!(
        ungranted.message.contains("policy.ssh_exec") && ungranted.message.contains("* version"),
        "{ungranted}"
    );
}

#[test]
fn targets_match_names_tags_and_hosts() {
    let needs = json!({ "targets": ["lab-*", "tag:core"] });
    let grant = Grant {
        targets: texts(&["*-r1", "host:192.0.2.*"]),
        ..Grant::default()
    };
    let rights = rights(needs, grant);
    let at = |host| connection(host, &[]);
    assert!(rights.may_reach("lab-r1", &at("h")).is_ok());
    assert!(
        rights
            .may_reach("x-r1", &connection("h", &["core"]))
            .is_ok()
    );
    assert!(rights.may_reach("x-r1", &at("h")).is_err());
    assert!(
        rights
            .may_reach("lab-r2", &connection("h", &["core"]))
            .is_err()
    );
    assert!(rights.may_reach("lab-r2", &at("192.0.2.7")).is_ok());
    assert!(rights.may_reach("lab-r2", &at("192.0.3.7")).is_err());
}

#[test]
fn inline_connections_are_matched_by_host_only() {
    let may = |grant: &Grant, connection: &Connection| {
        let rights = rights(json!({ "ssh": {} }), grant.clone());
        rights.may_reach("lab-x", connection)
    };
    let restricted = Grant {
        targets: texts(&["lab-*", "tag:lab", "host:192.0.2.*"]),
        ..Grant::default()
    };
    let tagged = Connection {
        tags: texts(&["lab"]),
        ..inline("192.0.2.1")
    };
    for connection in [&inline("10.0.0.1"), &inline("192.0.2.1"), &tagged] {
        let error = may(&restricted, connection).unwrap_err();
        assert!(error.message.contains("policy.inline"), "{error}");
        assert!(may(&Grant::default(), connection).is_ok());
    }
    let opened = Grant {
        inline: Some(true),
        ..restricted
    };
    assert!(may(&opened, &tagged).is_ok());
    for host in ["10.0.0.1", "192.0.2.example.net", "3221225985"] {
        let error = may(&opened, &inline(host)).unwrap_err();
        assert!(error.message.contains("policy.targets"), "{error}");
    }
    let closed = Grant {
        inline: Some(false),
        ..Grant::default()
    };
    assert!(may(&closed, &inline("192.0.2.1")).is_err());

    let agent = Connection {
        agent: true,
        ..inline("192.0.2.1")
    };
    let jump = Connection {
        jump: texts(&["bastion"]),
        ..inline("192.0.2.1")
    };
    for connection in [&agent, &jump] {
        let error = may(&Grant::default(), connection).unwrap_err();
        assert!(error.message.contains("policy.inline_"), "{error}");
        let borrows = Grant {
            inline_agent: true,
            inline_jump: true,
            ..Grant::default()
        };
        assert!(may(&borrows, connection).is_ok());
        let stored = Connection {
            owner_job_id: None,
            ..(*connection).clone()
        };
        assert!(may(&Grant::default(), &stored).is_ok());
    }
}

fn question(answer: &str) -> Question {
    Question {
        expect: ".".to_owned(),
        answer: answer.into(),
        key: false,
        secret: Some(false),
    }
}

#[test]
fn answers_are_checked_like_commands() {
    let ios = platform("cisco_ios");
    let may = |needs: Value, grant: &Grant, answer: &str| {
        rights(needs, grant.clone()).may_answer(&[question(answer)], &ios)
    };
    let shows = || json!({ "ssh": { "exec": ["show *"] } });
    let all = Grant::default();
    for answer in ["", "y", "N", "yes", "No", "show clock", " "] {
        assert!(may(shows(), &all, answer).is_ok(), "{answer:?}");
    }
    for answer in [
        "reload",
        "configure terminal",
        "username x privilege 15 secret y",
        "end",
        "1",
        "w",
        "q",
        "show clock ; reload",
        "yes; reload",
    ] {
        let error = may(shows(), &all, answer).unwrap_err();
        assert_eq!(error.code.0, "denied", "{answer:?}");
        assert!(error.message.contains("needs.ssh.answers"), "{error}");
    }
    for answer in ["y\u{200b}", "y\n", "re\u{8}", "\u{3}", "\u{1a}"] {
        let error = may(json!({ "ssh": { "exec": ["*"] } }), &all, answer).unwrap_err();
        assert_eq!(error.code.0, "invalid", "{answer:?}");
    }
    let declared = || json!({ "ssh": { "exec": ["copy *"], "answers": ["flash:*", "1"] } });
    assert!(may(declared(), &all, "flash:x").is_ok());
    assert!(may(declared(), &all, "1").is_ok());
    assert!(may(declared(), &all, "reload").is_err());
    // A grant that restricts commands restricts answers too, unless it lists answers.
    let restricted = Grant {
        ssh_exec: texts(&["copy *"]),
        ..Grant::default()
    };
    let error = may(declared(), &restricted, "flash:x").unwrap_err();
    assert!(error.message.contains("policy.ssh_exec"), "{error}");
    let granted = Grant {
        ssh_answers: Some(texts(&["flash:*"])),
        ..restricted
    };
    assert!(may(declared(), &granted, "flash:x").is_ok());
    assert!(may(declared(), &granted, "1").is_err());
    let denying = Grant {
        deny: texts(&["reload*", "y"]),
        ..Grant::default()
    };
    let any = || json!({ "ssh": { "exec": ["*"], "answers": ["*"] } });
    for answer in ["rel", "Reload in 5", "y", "x; reload"] {
        assert!(may(any(), &denying, answer).is_err(), "{answer}");
    }
    assert!(may(any(), &denying, "anything else").is_ok());
}

#[test]
fn a_secret_answer_is_not_in_the_message() {
    let rights = rights(json!({ "ssh": { "exec": ["show *"] } }), Grant::default());
    let secret = Question {
        secret: Some(true),
        ..question("s3cret-token")
    };
    let error = rights
        .may_answer(&[secret], &platform("cisco_ios"))
        .unwrap_err();
    assert!(!error.message.contains("s3cret"), "{error}");
}

#[test]
fn a_key_is_one_character() {
    let rights = rights(json!({ "ssh": { "exec": ["*"] } }), Grant::default());
    let key = |answer: &str| {
        let question = Question {
            key: true,
            ..question(answer)
        };
        rights.may_answer(&[question], &platform("cisco_ios"))
    };
    assert!(key("y").is_ok());
    assert!(key(" ").is_ok());
    for wrong in ["", "reload", "yy"] {
        assert_eq!(key(wrong).unwrap_err().code.0, "invalid", "{wrong:?}");
    }
}

#[test]
fn configuration_lines_cannot_run_denied_commands() {
    let may = |needs: Value, grant: Grant, name: &str, line: &str| {
        rights(needs, grant).may_configure_line(line, &platform(name))
    };
    let needs = || json!({ "ssh": { "exec": ["show *"], "configure": true } });
    for (platform, line) in [
        ("cisco_ios", "do reload"),
        ("cisco_xe", "DO rel"),
        ("juniper_junos", "run request system reboot"),
        ("arista_eos", "reload"),
        ("cisco_nxos", "hostname x ; reload"),
        ("mikrotik_routeros", "/system reboot"),
    ] {
        let error = may(needs(), Grant::default(), platform, line).unwrap_err();
        assert_eq!(error.code.0, "denied", "{platform}: {line}");
    }
    for (platform, line) in [
        ("cisco_ios", "hostname r2"),
        ("cisco_ios", "do show clock"),
        ("arista_eos", "hostname r2"),
    ] {
        let allowed = may(needs(), Grant::default(), platform, line);
        assert!(allowed.is_ok(), "{platform}: {line}");
    }
    let patterns = Grant {
        ssh_configure: Lines::Matching(texts(&["ntp server *", "no ntp server *"])),
        ..Grant::default()
    };
    for line in [
        "hostname r2",
        "ntp server 1 ; reload",
        "exit",
        "do show clock",
    ] {
        let error = may(needs(), patterns.clone(), "cisco_ios", line).unwrap_err();
        assert!(error.message.contains("policy.ssh_configure"), "{error}");
    }
    assert!(may(needs(), patterns, "cisco_ios", "ntp server 192.0.2.1").is_ok());
    let denying = Grant {
        deny: texts(&["reload*", "no router *"]),
        ..Grant::default()
    };
    let all = || json!({ "ssh": { "exec": ["*"], "configure": true } });
    for line in [
        "do reload",
        "no router bgp 1",
        "NO ROUTER BGP 1",
        "no rou bgp 1",
    ] {
        let error = may(all(), denying.clone(), "cisco_ios", line).unwrap_err();
        assert!(error.message.contains("policy.deny"), "{error}");
    }
    assert!(may(all(), denying, "cisco_ios", "do clear counters").is_ok());
}

#[test]
fn a_child_has_no_more_rights_than_its_parent() {
    let mut policy = Policy {
        default: Grant {
            ssh_exec: texts(&["show *"]),
            queue_submit: texts(&["ssh-command"]),
            ..Grant::default()
        },
        ..Policy::default()
    };
    policy
        .plugins
        .insert("ssh-command".to_owned(), Grant::default());
    let needs = |needs: Value| serde_json::from_value::<Needs>(needs).unwrap();
    let deputy = needs(json!({
        "ssh": { "exec": ["show *"] }, "queue": { "submit": ["ssh-command"] },
    }));
    let child_needs = needs(json!({ "ssh": { "exec": ["*"] }, "storage": true }));
    let ios = platform("cisco_ios");
    let bounds = policy
        .rights("deputy", &deputy)
        .bounds_of_child("ssh-command");
    assert_eq!(bounds.len(), 1);
    let child = policy.rights_within("ssh-command", &child_needs, &bounds);
    assert!(child.may_exec("show clock", &ios).is_ok());
    let error = child.may_exec("reload in 5", &ios).unwrap_err();
    assert!(error.message.contains("deputy"), "{error}");
    assert!(child.may_store().is_err());
    // The parent and the grandparent bound the child's own children.
    assert_eq!(child.bounds_of_child("x").len(), 2);

    let own_rights = Grant {
        queue_submit: texts(&["ssh-command:with-own-rights"]),
        ..policy.default.clone()
    };
    policy.plugins.insert("deputy".to_owned(), own_rights);
    let granted = policy.rights("deputy", &deputy);
    assert!(granted.may_submit("ssh-command").is_ok());
    assert!(granted.missing().is_empty());
    assert!(granted.bounds_of_child("ssh-command").is_empty());
    assert_eq!(granted.bounds_of_child("other").len(), 1);
}
