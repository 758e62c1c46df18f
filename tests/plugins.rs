//! Tests the plugin registry: loaded, broken and replaced plugins, and the versions that are
//! served.

use serde_json::json;

use crate::harness::{TestHost, playbook, run};

#[test]
fn a_broken_playbook_tells_where() {
    let cases = [
        ("fn describe() {\n  #{ summary: }\n}", Some(2), "syntax"),
        ("fn run(job, params) { }", None, "describe()"),
        (
            "fn describe() { #{ summary: \"x\", targets: \"none\" } }",
            None,
            "run(job, params)",
        ),
        (
            "fn describe() { 7 }\nfn run(job, params) { }",
            None,
            "invalid description",
        ),
        (
            "fn describe() { #{ summary: \"x\", targets: \"some\" } }\nfn run(job, params) { }",
            None,
            "some",
        ),
        (
            "fn describe() { #{ summary: \"x\", targets: \"none\", nonsense: 1 } }\nfn run(job, params) { }",
            None,
            "nonsense",
        ),
        (
            "fn describe() {\n  loop { }\n}\nfn run(job, params) { }",
            None,
            "operations",
        ),
        (
            "fn describe() {\n  ssh::open()\n}\nfn run(job, params) { }",
            Some(2),
            "describe()",
        ),
        (
            "fn describe() {\n  throw \"no\"\n}\nfn run(job, params) { }",
            Some(2),
            "no",
        ),
        (
            "fn describe() { #{ summary: \"x\", targets: \"none\", params: #{ type: \"nonsense\" } } }\nfn run(job, params) { }",
            None,
            "/type",
        ),
        (
            "fn describe() { #{ summary: \"x\", targets: \"none\", params: #{ \"$ref\": \"file:///etc/passwd\" } } }\nfn run(job, params) { }",
            None,
            "JSON Schema",
        ),
    ];
    run(async move {
        for (source, line, says) in cases {
            let host =
                TestHost::with_own_scripts(&[("bad", source), ("good", &playbook("1"))]).await;
            let plugin = host.client.get("/api/plugins/bad").await.body;
            assert_eq!(plugin["status"], "broken", "{source}: {plugin}");
            assert_eq!(plugin["digest"], json!(null));
            assert_eq!(plugin["error"]["file"], "bad.rhai");
            assert_eq!(plugin["error"]["line"], json!(line), "{source}: {plugin}");
            let message = plugin["error"]["message"].as_str().unwrap().to_lowercase();
            assert!(
                message.contains(&says.to_lowercase()),
                "{source}: {message}"
            );

            let refused = host
                .client
                .post("/api/jobs", &json!({ "plugin": "bad" }))
                .await;
            assert_eq!(refused.status, 409, "{}", refused.body);
            let job = host.run_job(json!({ "plugin": "good" })).await;
            assert_eq!(job["status"], "completed", "others go on");
        }
    });
}

#[test]
fn a_change_is_loaded_and_a_broken_one_leaves_the_last_good_serving() {
    run(async {
        let host = TestHost::with_own_scripts(&[("p", &playbook("1"))]).await;
        let file = host.path("scripts/p.rhai");
        let reload = || host.client.act("/api/plugins/reload");
        let first = host.client.get("/api/plugins/p").await.body;
        assert_eq!(host.run_job(json!({ "plugin": "p" })).await["result"], 1);

        std::fs::write(&file, playbook("22")).unwrap();
        let changed = reload().await.body["plugins"][0].clone();
        assert_ne!(changed["digest"], first["digest"]);
        let job = host.run_job(json!({ "plugin": "p" })).await;
        assert_eq!(job["result"], 22);
        assert_eq!(job["plugin_digest"], changed["digest"]);

        std::fs::write(&file, "fn run(").unwrap();
        let broken = reload().await.body["plugins"][0].clone();
        assert_eq!(broken["status"], "broken");
        assert_eq!(
            broken["digest"], changed["digest"],
            "what loaded last serves"
        );
        assert_eq!(broken["error"]["line"], 1);
        assert_eq!(host.run_job(json!({ "plugin": "p" })).await["result"], 22);

        std::fs::remove_file(&file).unwrap();
        assert_eq!(reload().await.body["plugins"], json!([]));
        let gone = host
            .client
            .post("/api/jobs", &json!({ "plugin": "p" }))
            .await;
        assert_eq!(gone.status, 404);
    });
}

#[test]
fn a_running_job_keeps_what_it_began_with() {
    run(async {
        let source = playbook(
            "storage::set(\"began\", true); while storage::get(\"go\") == () { sleep(0.01); } 1",
        );
        let host = TestHost::with_own_scripts(&[("p", &source)]).await;
        let id = host.submit(json!({ "plugin": "p" })).await;
        host.running(&id).await;
        let began = host.job(&id).await["plugin_digest"].clone();
        let next = playbook("storage::set(\"go\", true); 2");
        std::fs::write(host.path("scripts/p.rhai"), next).unwrap();
        host.client.act("/api/plugins/reload").await;
        let later = host.run_job(json!({ "plugin": "p" })).await;
        let first = host.ended(&id).await;
        assert_eq!((&first["result"], &later["result"]), (&json!(1), &json!(2)));
        assert_eq!(first["plugin_digest"], began);
    });
}

#[test]
fn a_directory_out_of_reach_takes_no_plugin_away() {
    run(async {
        let host = TestHost::with_own_scripts(&[("p", &playbook("1"))]).await;
        std::fs::rename(host.path("scripts"), host.path("elsewhere")).unwrap();
        host.client.act("/api/plugins/reload").await;
        let job = host.run_job(json!({ "plugin": "p" })).await;
        assert_eq!(job["status"], "completed", "{job}");
        std::fs::rename(host.path("elsewhere"), host.path("scripts")).unwrap();
        let back = host.client.act("/api/plugins/reload").await.body;
        assert_eq!(back["plugins"][0]["status"], "ready");
    });
}

#[test]
fn files_that_cannot_be_plugins_are_listed_as_broken() {
    run(async {
        let host =
            TestHost::with_own_scripts(&[("good", &playbook("1")), ("Bad Name", &playbook("1"))])
                .await;
        std::fs::write(host.path("scripts/notes.txt"), "x").unwrap();
        std::fs::create_dir(host.path("scripts/dir.rhai")).unwrap();
        let answer = host.client.act("/api/plugins/reload").await.body;
        let names: Vec<_> = answer["plugins"]
            .as_array()
            .unwrap()
            .iter()
            .map(|p| format!("{} {}", p["name"], p["status"]).replace('"', ""))
            .collect();
        assert_eq!(names, ["Bad Name broken", "dir broken", "good ready"]);
    });
}

#[test]
fn a_playbook_may_be_called_reload() {
    run(async {
        let host = TestHost::with_playbook("reload", &playbook("1")).await;
        let shown = host.client.get("/api/plugins/reload").await;
        assert_eq!(shown.body["name"], "reload", "{}", shown.body);
        assert_eq!(host.client.act("/api/plugins/reload").await.status, 200);
    });
}

#[test]
fn a_summary_is_one_short_line() {
    run(async {
        let long = "x".repeat(201);
        let fits = "ü".repeat(200);
        for (summary, fits) in [
            (fits.as_str(), true),
            (long.as_str(), false),
            ("two\\nlines", false),
            ("a\\x1b[31mcolour", false),
        ] {
            let source = format!(
                "fn describe() {{ #{{ summary: \"{summary}\", targets: \"none\" }} }}\nfn run(job, params) {{ }}"
            );
            let host = TestHost::with_own_scripts(&[("it", &source)]).await;
            let it = host.client.get("/api/plugins/it").await.body;
            let status = if fits { "ready" } else { "broken" };
            assert_eq!(it["status"], status, "{summary}: {it}");
            if !fits {
                let message = it["error"]["message"].as_str().unwrap();
                assert!(
                    message.starts_with("invalid summary: expected"),
                    "{message}"
                );
            }
        }
    });
}

#[test]
fn a_plugin_cannot_blame_the_host() {
    run(async {
        let source = playbook("throw #{ code: \"internal\", message: \"not me\" }");
        let host = TestHost::with_own_scripts(&[("it", &source)]).await;
        let job = host.run_job(json!({ "plugin": "it" })).await;
        assert_eq!(job["error_code"], "script", "{job}");
    });
}
