//! What the operator grants: a plugin that needs more is refused, and nothing beyond it happens.

use serde_json::json;

use crate::harness::{Browser, TestHost, password_connection, run};

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
            policy.for_all.ssh_configure = false;
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
            .shows(".notice-warning", "Its jobs are refused.")
            .await;
        browser.shows(".notice-warning", "ssh.configure").await;
        browser.click("//summary[.='Versions']").await;
        browser.shows(".versions", "serving").await;
    });
}

#[test]
fn what_one_plugin_is_granted_stands_beside_what_all_are() {
    run(async {
        let host = with_policy(|policy| {
            policy.for_all.ssh_configure = false;
            let own = host::config::PluginPolicy {
                ssh_configure: Some(true),
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
