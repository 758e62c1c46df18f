//! Tests the operator's grants: a plugin without a required grant fails, and no grant can be
//! exceeded.

use netssh_lab::{Lab, LabDevice};
use serde_json::json;

use crate::harness::{
    Browser, DEADLINE, TestHost, lab_connection, password_connection, run, scripts_dir,
};

const PLAYBOOK: &str = r#"
    fn describe() {
        #{
            summary: "Runs a command", targets: "each",
            needs: #{ ssh: #{ exec: ["echo *", "uname *"], configure: true }, storage: true },
            params: #{ type: "object" }
        }
    }
    fn run(job, params) { ssh::open().exec(params.command).output }
"#;

async fn with_policy(configure: impl FnOnce(&mut host::config::PolicyConfig)) -> TestHost {
    let host = TestHost::with_scripts_and(&[("it", PLAYBOOK)], |config| {
        configure(&mut config.policy);
    })
    .await;
    let ssh = &test_devices::linux().ssh;
    for (name, tags) in [("server", json!(["lab"])), ("core", json!([]))] {
        let mut connection = password_connection(name, ssh, "linux");
        connection["tags"] = tags;
        host.connect(connection).await;
    }
    host
}

#[test]
fn a_plugin_that_needs_more_than_it_is_granted_is_refused_with_what_is_missing() {
    run(async {
        let host = with_policy(|policy| {
            policy.for_all.ssh_exec = vec!["echo *".to_owned()];
            policy.for_all.ssh_configure = false.into();
        })
        .await;
        let plugin = host.client.get("/api/plugins/it").await.body;
        let missing = json!(["ssh.exec \"uname *\"", "ssh.configure"]);
        assert_eq!(plugin["status"], "ready");
        assert_eq!(plugin["not_granted"], missing);
        let job =
            json!({ "plugin": "it", "targets": ["server"], "params": { "command": "echo x" } });
        let answer = host.client.post("/api/jobs", &job).await;
        assert_eq!(answer.status, 403, "{}", answer.body);
        let detail = answer.body["detail"].as_str().unwrap();
        assert!(
            detail.contains("ssh.exec \"uname *\", ssh.configure"),
            "{detail}"
        );

        let browser = Browser::start(&host.client).await;
        browser.open("/board/plugins").await;
        browser
            .shows(".notice-warning", "Its jobs are rejected.")
            .await;
        browser.shows(".notice-warning", "ssh.configure").await;
        browser.click("//summary[.='Versions']").await;
        browser.shows(".versions", "in use").await;
    });
}

#[test]
fn what_one_plugin_is_granted_stands_beside_what_all_are() {
    run(async {
        let host = with_policy(|policy| {
            policy.for_all.ssh_configure = false.into();
            let own = host::config::PluginPolicy {
                ssh_configure: Some(true.into()),
                ..Default::default()
            };
            policy.plugins.insert("it".to_owned(), own);
        })
        .await;
        let job =
            json!({ "plugin": "it", "targets": ["server"], "params": { "command": "echo x" } });
        let job = host.run_job(job).await;
        assert_eq!(job["status"], "completed", "{job}");
    });
}

#[test]
fn targets_that_are_not_granted_are_not_reached() {
    run(async {
        let host = with_policy(|policy| policy.for_all.targets = vec!["tag:lab".to_owned()]).await;
        let submit = |target: &str| json!({ "plugin": "it", "targets": [target], "params": { "command": "echo x" } });
        let job = host.run_job(submit("server")).await;
        assert_eq!(job["status"], "completed", "{job}");
        let answer = host.client.post("/api/jobs", &submit("core")).await;
        assert_eq!(answer.status, 422, "{}", answer.body);
        assert_eq!(answer.body["errors"][0]["pointer"], "/targets/0");
        let told = answer.body["errors"][0]["message"].as_str().unwrap();
        assert!(
            told.contains("policy.targets") && told.contains("tag:lab"),
            "{told}"
        );
    });
}

#[test]
fn a_target_that_loses_its_tag_is_not_reached_by_a_job_taken_in_before() {
    run(async {
        let host = with_policy(|policy| policy.for_all.targets = vec!["tag:lab".to_owned()]).await;
        let at = chrono::Utc::now() + chrono::TimeDelta::seconds(2);
        let id = host
            .submit(json!({
                "plugin": "it", "targets": ["server"], "params": { "command": "echo x" },
                "scheduled_for": at.to_rfc3339(),
            }))
            .await;
        let ssh = &test_devices::linux().ssh;
        let without_tags = password_connection("server", ssh, "linux");
        let answer = host
            .client
            .put("/api/connections/server", &without_tags)
            .await;
        assert_eq!(answer.status, 200, "{}", answer.body);
        let job = host.ended(&id).await;
        assert_eq!(job["error_code"], "denied", "{job}");
        assert!(host.results(&job["id"]).await.is_empty());
    });
}

/// A plugin that runs a show command and submits another plugin for the rest.
const DEPUTY: &str = r#"
    fn describe() {
        #{
            summary: "Has others do it", targets: "each",
            needs: #{ ssh: #{ exec: ["show *"] }, queue: #{ submit: ["ssh-command", "between"] } },
            params: #{ type: "object" }
        }
    }
    fn run(job, params) {
        let to = params.get("to") ?? "ssh-command";
        let child = queue::submit(to, #{ commands: params.commands }, #{ targets: [job.target] });
        let ended = queue::wait(child);
        #{ id: child, status: ended.status, code: if ended.error == () { () } else { ended.error.code } }
    }
"#;

/// A plugin that forwards its parameters and may do anything itself.
const BETWEEN: &str = r#"
    fn describe() {
        #{
            summary: "Passes it on", targets: "each",
            needs: #{ ssh: #{ exec: ["*"] }, queue: #{ submit: ["ssh-command"] } },
            params: #{ type: "object" }
        }
    }
    fn run(job, params) {
        let child = queue::submit("ssh-command", params, #{ targets: [job.target] });
        let ended = queue::wait(child);
        if ended.status != "completed" { throw ended.error; }
        child
    }
"#;

fn all() -> Vec<String> {
    vec!["*".to_owned()]
}

fn named(names: &[&str]) -> Vec<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

/// Grants show commands to every plugin, and everything to `ssh-command`, which people use.
fn people_may_do_more(
    policy: &mut host::config::PolicyConfig,
    deputy_submits: &[&str],
    between_submits: &[&str],
) {
    let own = |exec: &[&str], submit: &[&str]| host::config::PluginPolicy {
        ssh_exec: Some(named(exec)),
        queue_submit: Some(named(submit)),
        ..Default::default()
    };
    policy.for_all.ssh_exec = named(&["show *"]);
    policy.for_all.queue_submit = Vec::new();
    for (name, grant) in [
        ("ssh-command", own(&["*"], &[])),
        ("between", own(&["*"], between_submits)),
        ("deputy", own(&["show *"], deputy_submits)),
    ] {
        policy.plugins.insert(name.to_owned(), grant);
    }
}

async fn with_deputy(deputy_submits: &[&str]) -> (TestHost, Lab) {
    with_both(deputy_submits, &["ssh-command"]).await
}

async fn with_both(deputy_submits: &[&str], between_submits: &[&str]) -> (TestHost, Lab) {
    let command = std::fs::read_to_string(scripts_dir().join("ssh-command.rhai")).unwrap();
    let playbooks = [
        ("deputy", DEPUTY),
        ("between", BETWEEN),
        ("ssh-command", command.as_str()),
    ];
    let host = TestHost::with_scripts_and(&playbooks, |config| {
        people_may_do_more(&mut config.policy, deputy_submits, between_submits);
    })
    .await;
    let device = LabDevice {
        privileged: true,
        ..LabDevice::cisco_ios("r1")
    };
    let lab = Lab::start(device).await.unwrap();
    host.connect(lab_connection("r1", &lab, "cisco_ios")).await;
    (host, lab)
}

#[expect(clippy::needless_pass_by_value, reason = "a literal")]
fn deputy(params: serde_json::Value) -> serde_json::Value {
    json!({ "plugin": "deputy", "targets": ["r1"], "params": params })
}

#[test]
fn a_child_job_does_not_exceed_its_parents_rights() {
    run(async {
        let (host, lab) = with_deputy(&["ssh-command", "between"]).await;
        for to in ["ssh-command", "between"] {
            let shown = host
                .run_job(deputy(json!({ "to": to, "commands": ["show privilege"] })))
                .await;
            assert_eq!(shown["result"]["status"], "completed", "{to}: {shown}");
            for command in ["reload in 5", "write erase", "configure terminal"] {
                let job = host
                    .run_job(deputy(json!({ "to": to, "commands": [command] })))
                    .await;
                assert_eq!(job["result"]["code"], "denied", "{to}: {job}");
            }
        }
        let typed = lab.commands();
        for line in ["reload in 5", "write erase", "configure terminal"] {
            assert!(!typed.iter().any(|typed| typed == line), "{typed:?}");
        }
        // The plugin itself has all its rights.
        let own = host
            .run_job(json!({
                "plugin": "ssh-command", "targets": ["r1"], "params": { "commands": ["write memory"] }
            }))
            .await;
        assert_eq!(own["status"], "completed", "{own}");
        assert!(lab.commands().iter().any(|line| line == "write memory"));
    });
}

#[test]
fn the_bounds_of_a_child_job_hold_after_a_restart_and_when_it_is_run_again() {
    run(async {
        let (host, lab) = with_deputy(&["ssh-command", "between"]).await;
        let job = host
            .run_job(deputy(json!({ "commands": ["write memory"] })))
            .await;
        let child = job["result"]["id"].as_str().unwrap().to_owned();
        let host = host.stop().await.start().await;
        for _ in 0..2 {
            let again = host.client.act(&format!("/api/jobs/{child}/rerun")).await;
            assert_eq!(again.status, 202, "{}", again.body);
            let again = host.ended(again.body["id"].as_str().unwrap()).await;
            assert_eq!(again["error_code"], "denied", "{again}");
        }
        assert!(!lab.commands().iter().any(|line| line == "write memory"));
    });
}

#[test]
fn the_operator_can_grant_child_jobs_their_own_rights() {
    run(async {
        let (host, lab) = with_deputy(&["ssh-command:with-own-rights", "between"]).await;
        let job = host
            .run_job(deputy(json!({ "commands": ["write memory"] })))
            .await;
        assert_eq!(job["result"]["status"], "completed", "{job}");
        assert!(lab.commands().iter().any(|line| line == "write memory"));
        // A plugin in between cannot grant rights that it does not have.
        let (host, lab) = with_both(
            &["ssh-command", "between"],
            &["ssh-command:with-own-rights"],
        )
        .await;
        let job = host
            .run_job(deputy(
                json!({ "to": "between", "commands": ["write memory"] }),
            ))
            .await;
        assert_eq!(job["result"]["code"], "denied", "{job}");
        assert!(!lab.commands().iter().any(|line| line == "write memory"));
    });
}

#[test]
fn submitting_jobs_needs_a_grant() {
    run(async {
        let (host, _lab) = with_deputy(&[]).await;
        let answer = host
            .client
            .post("/api/jobs", &deputy(json!({ "commands": ["show clock"] })))
            .await;
        assert_eq!(answer.status, 403, "{}", answer.body);
        let detail = answer.body["detail"].as_str().unwrap();
        assert!(detail.contains("queue.submit \"ssh-command\""), "{detail}");
        assert!(
            host::config::Config::default()
                .policy
                .for_all
                .queue_submit
                .is_empty()
        );
    });
}

#[test]
fn inline_connections_cannot_bypass_the_policy() {
    run(async {
        let linux = &test_devices::linux().ssh;
        let submit = |connection: serde_json::Value| json!({ "plugin": "it", "connection": connection, "params": { "command": "echo x" } });
        let inline = |name: &str, more: serde_json::Value| {
            let mut connection = password_connection(name, linux, "linux");
            for (key, value) in more.as_object().unwrap() {
                connection[key] = value.clone();
            }
            connection
        };
        let refused = async |host: &TestHost, connection: serde_json::Value, says: &str| {
            let answer = host.client.post("/api/jobs", &submit(connection)).await;
            assert_eq!(answer.status, 422, "{}", answer.body);
            assert_eq!(answer.body["errors"][0]["pointer"], "/connection");
            let told = answer.body["errors"][0]["message"].as_str().unwrap();
            assert!(told.contains(says), "{told}");
        };
        // The name and tags of an inline connection do not satisfy a restriction by names and tags.
        let host = with_policy(|policy| {
            policy.for_all.targets = named(&["lab-*", "tag:lab"]);
        })
        .await;
        refused(&host, inline("lab-x", json!({})), "policy.inline").await;
        refused(
            &host,
            inline("y", json!({ "tags": ["lab"] })),
            "policy.inline",
        )
        .await;

        let host = with_policy(|policy| {
            policy.for_all.targets = named(&["lab-*", "host:192.0.2.0/24"]);
            policy.for_all.inline = Some(true);
        })
        .await;
        refused(&host, inline("lab-x", json!({})), "policy.targets").await;

        let host = with_policy(|policy| {
            policy.for_all.targets = vec![format!("host:{}", linux.host)];
            policy.for_all.inline = Some(true);
        })
        .await;
        let job = host.run_job(submit(inline("any", json!({})))).await;
        assert_eq!(job["status"], "completed", "{job}");
        let job = host
            .run_job(
                json!({ "plugin": "it", "targets": ["core"], "params": { "command": "echo x" } }),
            )
            .await;
        assert_eq!(job["status"], "completed", "{job}");

        // An inline connection cannot use the server's agent and connections either.
        let host = with_policy(|policy| policy.for_all.targets = all()).await;
        refused(
            &host,
            inline("x", json!({ "jump": ["core"] })),
            "policy.inline_jump",
        )
        .await;
        let job = host.run_job(submit(inline("x", json!({})))).await;
        assert_eq!(job["status"], "completed", "{job}");
    });
}

#[test]
fn an_inline_connection_has_a_session_log_of_its_own() {
    run(async {
        let directory = tempfile::tempdir().unwrap();
        let host = TestHost::with_scripts_and(&[("it", PLAYBOOK)], |config| {
            config.devices.session_log_dir = Some(directory.path().to_owned());
        })
        .await;
        let linux = &test_devices::linux().ssh;
        let connection = password_connection("core", linux, "linux");
        host.connect(connection.clone()).await;
        let job = host
            .run_job(json!({ "plugin": "it", "connection": connection, "params": { "command": "echo forged" } }))
            .await;
        assert_eq!(job["status"], "completed", "{job}");
        let written = async {
            loop {
                let logs: Vec<_> = std::fs::read_dir(directory.path())
                    .unwrap()
                    .map(|entry| entry.unwrap().path())
                    .collect();
                let texts = logs
                    .iter()
                    .map(|path| std::fs::read_to_string(path).unwrap());
                if texts.into_iter().any(|text| text.contains("echo forged")) {
                    return logs;
                }
                tokio::task::yield_now().await;
            }
        };
        let logs = tokio::time::timeout(DEADLINE, written).await.unwrap();
        assert!(!directory.path().join("core.log").exists(), "{logs:?}");
        assert_eq!(logs.len(), 1);
    });
}
