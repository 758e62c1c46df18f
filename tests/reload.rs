//! Tests hot reload: all kinds of changes to a plugin's file, also while jobs run.

use std::io::Write as _;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use crate::harness::{DEADLINE, Server, TestHost, component, playbook, run};

/// Starts a host that watches its directories, with one playbook that returns "one".
async fn watching() -> TestHost {
    let first = answering("one");
    TestHost::with_scripts_and(&[("it", &first)], |config| config.plugins.watch = true).await
}

fn answering(what: &str) -> String {
    playbook(&format!("\"{what}\""))
}

/// Waits until the plugin returns this.
async fn until_it_answers(host: &TestHost, what: &str) {
    let digest = host::model::digest_of(answering(what).as_bytes());
    until(host, "it", |plugin| plugin["digest"] == digest.as_str()).await;
    let job = host.run_job(json!({ "plugin": "it" })).await;
    assert_eq!(job["result"], what, "{job}");
    assert_eq!(job["plugin_digest"], digest.as_str());
}

/// Polls a plugin until `looks` returns true, and returns it.
async fn until(host: &TestHost, name: &str, looks: impl Fn(&Value) -> bool) -> Value {
    let path = format!("/api/plugins/{name}");
    let waiting = async {
        loop {
            let plugin = host.client.get(&path).await.body;
            if looks(&plugin) {
                return plugin;
            }
            tokio::task::yield_now().await;
        }
    };
    let seen = tokio::time::timeout(DEADLINE, waiting).await;
    seen.expect("the plugin comes to look as it should")
}

fn scripts(host: &TestHost) -> PathBuf {
    host.path("scripts")
}

fn write_by_rename(file: &Path, text: &str) {
    let part = file.with_extension("tmp");
    std::fs::write(&part, text).unwrap();
    std::fs::rename(part, file).unwrap();
}

#[test]
fn a_changed_file_is_loaded_however_it_is_written() {
    run(async {
        let host = watching().await;
        let file = scripts(&host).join("it.rhai");
        until_it_answers(&host, "one").await;
        std::fs::write(&file, answering("two")).unwrap();
        until_it_answers(&host, "two").await;
        write_by_rename(&file, &answering("three"));
        until_it_answers(&host, "three").await;
        std::fs::remove_file(&file).unwrap();
        until(&host, "it", |plugin| plugin["status"] == 404).await;
        std::fs::write(&file, answering("four")).unwrap();
        until_it_answers(&host, "four").await;
    });
}

#[test]
fn links_are_followed_when_a_deployment_swaps_them() {
    run(async {
        let releases = tempfile::tempdir().unwrap();
        let release = |name: &str| {
            let directory = releases.path().join(name);
            std::fs::create_dir(&directory).unwrap();
            std::fs::write(directory.join("it.rhai"), answering(name)).unwrap();
            directory
        };
        let (one, two) = (release("one"), release("two"));
        let current = releases.path().join("current");
        symlink(&one, &current).unwrap();
        let host = TestHost::start_with(|config| {
            config.plugins.watch = true;
            config.plugins.scripts_dir = current.clone();
        })
        .await;
        until_it_answers(&host, "one").await;
        let next = releases.path().join("next");
        symlink(&two, &next).unwrap();
        std::fs::rename(&next, &current).unwrap();
        until_it_answers(&host, "two").await;

        // A symbolic link to a file is replaced; then its target changes.
        let elsewhere = releases.path().join("elsewhere.rhai");
        std::fs::write(&elsewhere, answering("three")).unwrap();
        symlink(&elsewhere, two.join("next")).unwrap();
        std::fs::rename(two.join("next"), two.join("it.rhai")).unwrap();
        until_it_answers(&host, "three").await;
        std::fs::write(&elsewhere, answering("four")).unwrap();
        until_it_answers(&host, "four").await;
    });
}

#[test]
fn a_directory_may_come_later() {
    run(async {
        let base = tempfile::tempdir().unwrap();
        let scripts = base.path().join("not/yet/there");
        let host = TestHost::start_with(|config| {
            config.plugins.watch = true;
            config.plugins.scripts_dir = scripts.clone();
        })
        .await;
        std::fs::create_dir_all(&scripts).unwrap();
        std::fs::write(scripts.join("it.rhai"), answering("one")).unwrap();
        until_it_answers(&host, "one").await;
        std::fs::write(scripts.join("it.rhai"), answering("two")).unwrap();
        until_it_answers(&host, "two").await;
    });
}

#[test]
fn a_half_written_file_is_left_alone_until_it_is_closed() {
    run(async {
        let host = watching().await;
        until_it_answers(&host, "one").await;
        let whole = answering("two");
        let file = scripts(&host).join("it.rhai");
        let new = scripts(&host).join("new.rhai");
        let mut writing = std::fs::File::create(&file).unwrap();
        let mut writing_new = std::fs::File::create(&new).unwrap();
        let (begin, rest) = whole.split_at(whole.len() / 2);
        writing.write_all(begin.as_bytes()).unwrap();
        writing_new.write_all(begin.as_bytes()).unwrap();
        // The event of this file follows those of the two above, so that they have been handled
        // once it is ready.
        std::fs::write(scripts(&host).join("after.rhai"), answering("after")).unwrap();
        until(&host, "after", |plugin| plugin["status"] == "ready").await;
        host.client.post("/api/plugins/reload", &json!({})).await;
        let plugin = host.client.get("/api/plugins/it").await.body;
        assert_eq!(plugin["status"], "ready", "{plugin}");
        assert_eq!(host.client.get("/api/plugins/new").await.status, 404);
        until_it_answers(&host, "one").await;
        for mut file in [writing, writing_new] {
            file.write_all(rest.as_bytes()).unwrap();
        }
        until_it_answers(&host, "two").await;
        until(&host, "new", |plugin| plugin["status"] == "ready").await;
    });
}

#[test]
fn a_hangup_has_the_directories_looked_at() {
    run(async {
        let directory = tempfile::tempdir().unwrap();
        let scripts = directory.path().join("scripts");
        std::fs::create_dir(&scripts).unwrap();
        let environment = [
            ("SCHEDULER_PLUGINS_SCRIPTS_DIR", "scripts"),
            ("SCHEDULER_PLUGINS_WATCH", "false"),
        ];
        let server = Server::start_with(directory.path(), &environment);
        std::fs::write(scripts.join("it.rhai"), answering("one")).unwrap();
        let answer = server.client.get("/api/plugins/it").await;
        assert_eq!(answer.status, 404);
        server.hang_up();
        let loaded = async {
            while server.client.get("/api/plugins/it").await.status != 200 {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(DEADLINE, loaded).await.unwrap();
        assert_eq!(server.terminate(), Some(0));
    });
}

#[test]
fn a_broken_component_leaves_the_last_good_one_serving() {
    run(async {
        let host = TestHost::with_component("it", "hostile-guest").await;
        let good = host.client.get("/api/plugins/it").await.body["digest"].clone();
        let whole = std::fs::read(component("hostile-guest")).unwrap();
        std::fs::write(host.path("plugins/it.wasm"), &whole[..5_000]).unwrap();
        let listed = host
            .client
            .post("/api/plugins/reload", &json!({}))
            .await
            .body;
        let plugin = &listed["plugins"][0];
        assert_eq!(plugin["status"], "broken", "{plugin}");
        assert_eq!(plugin["digest"], good);
        assert_eq!(plugin["error"]["file"], "it.wasm");
        std::fs::write(host.path("plugins/it.wasm"), &whole).unwrap();
        let listed = host
            .client
            .post("/api/plugins/reload", &json!({}))
            .await
            .body;
        assert_eq!(listed["plugins"][0]["status"], "ready", "{listed}");
    });
}

#[test]
fn of_two_files_that_claim_one_name_the_first_stays() {
    run(async {
        let host = TestHost::with_component("it", "contract-0-1-guest").await;
        let reload = async || {
            let answer = host.client.post("/api/plugins/reload", &json!({})).await;
            answer.body["plugins"].as_array().unwrap().clone()
        };
        std::fs::create_dir(scripts(&host)).unwrap();
        std::fs::write(scripts(&host).join("it.rhai"), answering("playbook")).unwrap();
        for _ in 0..2 {
            let plugins = reload().await;
            assert_eq!(plugins.len(), 2, "{plugins:?}");
            let (first, second) = (&plugins[0], &plugins[1]);
            assert_eq!(first["kind"], "wasm");
            assert_eq!(first["status"], "ready");
            assert_eq!(first["conflict"], "it.rhai");
            assert_eq!(second["kind"], "rhai");
            assert_eq!(second["status"], "broken");
            assert_eq!(second["conflict"], "it.wasm");
            let told = second["error"]["message"].as_str().unwrap();
            assert!(told.contains("it.wasm"), "{told}");
        }
        std::fs::remove_file(host.path("plugins/it.wasm")).unwrap();
        let plugins = reload().await;
        assert_eq!(plugins.len(), 1, "{plugins:?}");
        assert_eq!(plugins[0]["status"], "ready", "{plugins:?}");
        assert!(plugins[0]["conflict"].is_null());
        until_it_answers(&host, "playbook").await;
    });
}

#[test]
fn a_job_that_is_tried_again_runs_the_version_it_began_with() {
    run(async {
        let first = playbook(
            r#"if job.attempt == 1 { throw #{ code: "network", message: "not now" }; } "first""#,
        );
        let host = TestHost::with_playbook("it", &first).await;
        let id = host
            .submit(json!({ "plugin": "it", "max_retries": 1 }))
            .await;
        host.until(&id, |job| job["status"] == "retrying").await;
        std::fs::write(scripts(&host).join("it.rhai"), answering("second")).unwrap();
        host.client.post("/api/plugins/reload", &json!({})).await;
        until_it_answers(&host, "second").await;

        let job = host.ended(&id).await;
        assert_eq!(job["result"], "first", "{job}");
        let digest = host::model::digest_of(first.as_bytes());
        assert_eq!(job["plugin_digest"], digest.as_str());
        let versions = host.client.get("/api/plugins/it/versions").await.body;
        let versions = versions["versions"].as_array().unwrap();
        assert_eq!(versions.len(), 2, "{versions:?}");
        assert_eq!(versions[0]["serving"], true);
        assert_eq!(versions[0]["jobs"], 1);
        assert_eq!(versions[1]["digest"], digest.as_str());
        assert_eq!(versions[1]["serving"], false);
        assert_eq!(versions[1]["jobs"], 1);
        let unknown = host.client.get("/api/plugins/unknown/versions").await;
        assert_eq!(unknown.status, 404);
    });
}

#[test]
fn a_job_goes_on_with_a_plugin_that_was_removed() {
    run(async {
        let source = playbook(
            r#"if job.attempt == 1 { throw #{ code: "network", message: "not now" }; } "done""#,
        );
        let host = TestHost::with_playbook("it", &source).await;
        let id = host
            .submit(json!({ "plugin": "it", "max_retries": 1 }))
            .await;
        host.until(&id, |job| job["status"] == "retrying").await;
        std::fs::remove_file(scripts(&host).join("it.rhai")).unwrap();
        host.client.post("/api/plugins/reload", &json!({})).await;
        let answer = host
            .client
            .post("/api/jobs", &json!({ "plugin": "it" }))
            .await;
        assert_eq!(answer.status, 404);
        let job = host.ended(&id).await;
        assert_eq!(job["result"], "done", "{job}");
    });
}

#[test]
fn one_bad_entry_hides_no_other() {
    run(async {
        let host = watching().await;
        let scripts = scripts(&host);
        symlink("loop.rhai", scripts.join("loop.rhai")).unwrap();
        std::fs::create_dir(scripts.join("directory.rhai")).unwrap();
        std::fs::write(scripts.join("No Name.rhai"), answering("x")).unwrap();
        let pipe = scripts.join("pipe.rhai");
        let mode = rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR;
        rustix::fs::mkfifoat(rustix::fs::CWD, &pipe, mode).unwrap();
        std::fs::write(scripts.join(".hidden.rhai"), answering("x")).unwrap();
        symlink("nowhere", scripts.join("dangling.rhai")).unwrap();
        std::fs::write(scripts.join("it.rhai"), answering("two")).unwrap();
        until_it_answers(&host, "two").await;
        let listed = host.client.post("/api/plugins/reload", &json!({})).await;
        let listed = listed.body["plugins"].as_array().unwrap().clone();
        let shown: Vec<_> = listed
            .iter()
            .map(|plugin| {
                let message = plugin["error"]["message"].as_str().unwrap_or_default();
                (plugin["name"].as_str().unwrap(), message)
            })
            .collect();
        let cases = [
            ("No Name", "invalid plugin name"),
            ("directory", "not a regular file"),
            ("it", ""),
            ("loop", "Too many levels of symbolic links"),
            ("pipe", "not a regular file"),
        ];
        assert_eq!(shown.len(), cases.len(), "{shown:?}");
        for ((name, message), (expected, says)) in shown.iter().zip(cases) {
            assert_eq!(*name, expected);
            assert!(message.contains(says), "{name}: {message}");
        }
        // The same applies at the start.
        let host = host.stop().await.start().await;
        let job = host.run_job(json!({ "plugin": "it" })).await;
        assert_eq!(job["result"], "two", "{job}");
        // A repaired plugin loads.
        std::fs::remove_file(&pipe).unwrap();
        std::fs::write(&pipe, answering("x")).unwrap();
        until(&host, "pipe", |plugin| plugin["status"] == "ready").await;
    });
}

/// A pipe in `lib` has no writer, so opening it like a regular file would block forever.
#[test]
fn a_module_that_cannot_be_read_breaks_its_playbook_alone() {
    run(async {
        let host = watching().await;
        let modules = scripts(&host).join("lib");
        std::fs::create_dir(&modules).unwrap();
        let mode = rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR;
        rustix::fs::mkfifoat(rustix::fs::CWD, modules.join("pipe.rhai"), mode).unwrap();
        let importing = format!("import \"lib/pipe\" as p;\n{}", answering("x"));
        std::fs::write(scripts(&host).join("importing.rhai"), importing).unwrap();
        let broken = until(&host, "importing", |plugin| plugin["status"] == "broken").await;
        let message = broken["error"]["message"].as_str().unwrap();
        assert!(message.contains("not a regular file"), "{message}");
        until_it_answers(&host, "one").await;
    });
}

#[test]
fn a_directory_that_cannot_be_read_keeps_what_served() {
    run(async {
        let host = watching().await;
        until_it_answers(&host, "one").await;
        let (there, aside) = (scripts(&host), host.path("aside"));
        std::fs::rename(&there, &aside).unwrap();
        std::fs::write(&there, "no directory").unwrap();
        host.client.post("/api/plugins/reload", &json!({})).await;
        let health = host.client.get("/health").await;
        assert_eq!(health.status, 200);
        let plugins = &health.body["plugins"];
        assert_eq!(plugins["status"], "unhealthy", "{plugins}");
        let problem = plugins["problems"][0].as_str().unwrap();
        assert!(problem.contains("Not a directory"), "{problem}");
        until_it_answers(&host, "one").await;

        std::fs::remove_file(&there).unwrap();
        std::fs::rename(&aside, &there).unwrap();
        host.client.post("/api/plugins/reload", &json!({})).await;
        let plugins = host.client.get("/health").await.body["plugins"].clone();
        assert_eq!(plugins["status"], "healthy", "{plugins}");
        assert!(plugins["problems"].is_null(), "{plugins}");
    });
}
