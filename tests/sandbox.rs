//! Tests malicious and broken playbooks: only the playbook's own job fails, and its error names the
//! cause.

use serde_json::{Value, json};

use crate::harness::{TestHost, playbook, run};

/// Runs a playbook without targets, from the body of its `run` and additional functions.
async fn run_playbook(functions: &str, body: &str) -> Value {
    let source = format!("{functions}\n{}", playbook(body));
    let host = TestHost::with_scripts_and(&[("test", &source)], |config| {
        // The memory limit applies long before the CPU limit, even on a busy machine.
        config.plugins.cpu_seconds = 300;
        config.plugins.memory_mb = 64;
    })
    .await;
    let job = host.run_job(json!({ "plugin": "test" })).await;
    let next = host.client.get("/health").await;
    assert_eq!(next.status, 200, "the server goes on");
    job
}

#[test]
fn limits_end_the_job_that_reaches_them() {
    let cases = [
        ("fn f(x) { f(x + 1) }", "f(1)", "limit"),
        ("", r#"let x = "x"; loop { x += x; }"#, "out_of_memory"),
        (
            "",
            r#"let x = #{ y: "x" }; loop { x.y += x.y; }"#,
            "out_of_memory",
        ),
        (
            "",
            r#"let x = "x"; loop { x = `${x}${x}${x}`; }"#,
            "out_of_memory",
        ),
        ("", "let x = []; loop { x.push(1); }", "out_of_memory"),
        ("", "let x = [1]; loop { x += x; }", "out_of_memory"),
        (
            "",
            "let x = #{}; let i = 0; loop { x[`k${i}`] = i; i += 1; }",
            "out_of_memory",
        ),
        ("", "let x = []; loop { x = [x]; }", "limit"),
        ("", "let x = blob(1000000000); x", "out_of_memory"),
        (
            "",
            "let x = blob(9000000000000000000, 1); x",
            "out_of_memory",
        ),
        (
            "",
            r#"let x = "abc"; x.pad(1000000000, "x"); x"#,
            "out_of_memory",
        ),
        (
            "",
            "let x = \"abc\"; x.pad(1000000000, 'x'); x",
            "out_of_memory",
        ),
        ("", "let x = []; x.pad(1000000000, 1); x", "out_of_memory"),
        (
            "",
            "let x = blob(1); x.pad(1000000000, 1); x",
            "out_of_memory",
        ),
        (
            "",
            "let x = #{}; let big = \"\"; big.pad(1000000, \"x\"); let i = 0; loop { x[`k${i}`] = big + i; i += 1; }",
            "out_of_memory",
        ),
        (
            "fn grow() { let i = 0; loop { this[`k${i}`] = i; i += 1; } }",
            "let x = #{}; x.grow()",
            "out_of_memory",
        ),
        // Temporary values outside of variables.
        (
            "fn big() { let x = \"\"; x.pad(1000000, 'x'); x }",
            "let x = []; x.pad(10000, 1); x.map(|one| big())",
            "out_of_memory",
        ),
        // Each call holds some of the memory.
        (
            "fn deeper(x) { let mine = \"\"; mine.pad(8000000, 'x'); deeper(x + mine) }",
            "deeper(\"\")",
            "out_of_memory",
        ),
        (
            "",
            r#"let s = ""; s.pad(9000000, "a"); let t = ""; t.pad(9000000, "b"); s.replace("a", t);"#,
            "out_of_memory",
        ),
        (
            "",
            r#"let s = ""; s.pad(9000000, "a"); let t = ""; t.pad(9000000, "b"); s.replace('a', t);"#,
            "out_of_memory",
        ),
        (
            "",
            r#"let s = ""; s.pad(50000000, ","); s.split(",")"#,
            "out_of_memory",
        ),
        (
            "",
            r#"let s = ""; s.pad(50000000, ","); s.to_chars()"#,
            "out_of_memory",
        ),
        ("", "blob(50000000).to_array()", "out_of_memory"),
        (
            "",
            r#"let s = ""; s.pad(50000000, "0,"); parse_json("[" + s + "0]")"#,
            "out_of_memory",
        ),
        ("", "let x = []; for i in 0..70 { x = [x]; } x", "script"),
    ];
    run(async move {
        for (functions, body, code) in cases {
            let job = run_playbook(functions, body).await;
            assert_eq!(job["status"], "failed", "{body}: {job}");
            assert_eq!(job["error_code"], code, "{body}: {}", job["error_message"]);
            let message = job["error_message"].as_str().unwrap();
            assert!(message.starts_with("test.rhai:"), "{body}: {message}");
        }
    });
}

#[test]
fn freed_memory_is_not_counted() {
    let body = r#"
        let big = "";
        big.pad(1000000, 'x');
        for round in 0..50 {
            storage::set("big", big);
            let again = storage::get("big");
            let json = to_json([again]);
            log::info("round", #{ fields: json.sub_string(0, 1000) });
            try { storage::get(""); } catch (error) { }
        }
        big.len()
    "#;
    run(async move {
        let scripts = tempfile::tempdir().unwrap();
        std::fs::write(scripts.path().join("test.rhai"), playbook(body)).unwrap();
        let host = TestHost::start_with(|config| {
            config.plugins.scripts_dir = scripts.path().to_owned();
            config.plugins.memory_mb = 16;
        })
        .await;
        let job = host.run_job(json!({ "plugin": "test" })).await;
        assert_eq!(job["result"], 1_000_000, "{}", job["error_message"]);
    });
}

#[test]
fn what_is_not_there_cannot_be_called() {
    let bodies = [
        r#"eval("1 + 1")"#,
        r#"import "/etc/passwd" as x; 1"#,
        r#"import "lib/x" as x; 1"#,
        r#"open_file("/etc/passwd")"#,
        r#"env("HOME")"#,
        r#"http_get("http://127.0.0.1")"#,
        r#"exit_process()"#,
    ];
    run(async move {
        for body in bodies {
            let host = TestHost::with_own_scripts(&[("test", &playbook(body))]).await;
            let answer = host.client.get("/api/plugins/test").await.body;
            if answer["status"] == "broken" {
                assert_eq!(answer["error"]["file"], "test.rhai", "{body}");
                continue;
            }
            let job = host.run_job(json!({ "plugin": "test" })).await;
            assert_eq!(job["status"], "failed", "{body}: {job}");
        }
    });
}

#[test]
fn an_error_tells_its_place_and_the_way_to_it() {
    let functions = "fn inner(x) {\n    x.split(7, 7, 7)\n}\nfn outer(x) {\n    inner(x)\n}";
    run(async move {
        let job = run_playbook(functions, "outer(7)").await;
        let message = job["error_message"].as_str().unwrap();
        assert!(message.starts_with("test.rhai:2:7: "), "{message}");
        assert!(message.contains("split"), "{message}");
        assert!(message.ends_with("(in run → outer → inner)"), "{message}");
    });
}

#[test]
fn an_error_stands_in_the_jobs_log_too() {
    run(async {
        let host = TestHost::with_playbook("test", &playbook(r#"throw "on purpose""#)).await;
        let job = host.run_job(json!({ "plugin": "test" })).await;
        let logs = host.logs(&job["id"]).await;
        let last = logs.last().unwrap();
        assert_eq!(last["level"], "error");
        assert!(
            last["message"].as_str().unwrap().contains("on purpose"),
            "{last}"
        );
    });
}

#[test]
fn a_script_throws_and_catches_by_code() {
    let body = r#"
        let codes = [];
        try { ssh::open(); } catch (e) { codes.push(e.code); }
        try { ssh::open("nowhere"); } catch (e) { codes.push(e.code); }
        try { storage::get(""); } catch (e) { codes.push(e.code); }
        try { queue::submit("nothing", #{}); } catch (e) { codes.push(e.code); }
        try { queue::submit("test", #{}, #{ nonsense: 1 }); } catch (e) { codes.push(e.code); }
        try { queue::wait("not-an-id"); } catch (e) { codes.push(e.code); }
        try { queue::wait("01a20b6c-0c48-7463-ae47-0df747c0413d"); } catch (e) { codes.push(e.code); }
        try { sleep(-1); } catch (e) { codes.push(e.code); }
        codes
    "#;
    run(async move {
        let job = run_playbook("", body).await;
        let codes = [
            "denied",
            "denied",
            "invalid",
            "not_found",
            "invalid",
            "invalid",
            "not_found",
            "invalid",
        ];
        assert_eq!(job["result"], json!(codes), "{job}");

        let job = run_playbook("", r#"throw #{ code: "my_own", message: "mine" }"#).await;
        assert_eq!(job["error_code"], "my_own");
    });
}

#[test]
fn a_script_cannot_say_that_it_was_stopped() {
    let thrower = |code: &str| {
        playbook(&format!(r#"throw #{{ code: "{code}", message: "mine" }}"#))
            .replace("targets:", "on_interrupt: \"retry\", targets:")
    };
    let (cancelled, interrupted) = (thrower("cancelled"), thrower("interrupted"));
    let odd = thrower("Odd code\\n");
    run(async move {
        let scripts = [
            ("c", cancelled.as_str()),
            ("i", interrupted.as_str()),
            ("o", odd.as_str()),
        ];
        let host = TestHost::with_own_scripts(&scripts).await;
        for plugin in ["c", "i", "o"] {
            let job = host.run_job(json!({ "plugin": plugin })).await;
            assert_eq!(job["status"], "failed", "{plugin}: {job}");
            assert_eq!(job["error_code"], "script", "{plugin}: {job}");
        }
    });
}

#[test]
fn what_is_not_declared_is_denied() {
    let source = r#"
        fn describe() { #{ summary: "Modest", targets: "none" } }
        fn run(job, params) {
            let codes = [];
            try { ssh::open("x"); } catch (e) { codes.push(e.code); }
            try { storage::set("x", 1); } catch (e) { codes.push(e.code); }
            try { queue::submit("noop", #{}); } catch (e) { codes.push(e.code); }
            codes
        }
    "#;
    run(async move {
        let host = TestHost::with_playbook("modest", source).await;
        let job = host.run_job(json!({ "plugin": "modest" })).await;
        assert_eq!(
            job["result"],
            json!(["denied", "denied", "denied"]),
            "{job}"
        );
    });
}

#[test]
fn storage_is_each_plugins_own_and_has_a_quota() {
    let writer = playbook(
        r#"
        storage::set("a/1", #{ x: [1, 2.5, "three", (), true] });
        storage::set("a/2", "two");
        storage::set("b", 3);
        let gone = [storage::delete("b"), storage::delete("b")];
        #{ value: storage::get("a/1"), none: storage::get("b"), keys: storage::keys("a/"), gone: gone }
        "#,
    );
    let reader = playbook(r#"storage::get("a/1")"#);
    let hog = playbook(r#"let big = ""; big.pad(34000000, "x"); storage::set("big", big);"#);
    run(async move {
        let scripts = [
            ("writer", writer.as_str()),
            ("reader", reader.as_str()),
            ("hog", hog.as_str()),
        ];
        let host = TestHost::with_own_scripts(&scripts).await;
        let job = host.run_job(json!({ "plugin": "writer" })).await;
        let expected = json!({
            "value": { "x": [1, 2.5, "three", null, true] },
            "none": null,
            "keys": ["a/1", "a/2"],
            "gone": [true, false]
        });
        assert_eq!(job["result"], expected, "{job}");
        let job = host.run_job(json!({ "plugin": "reader" })).await;
        assert_eq!(
            job["result"],
            Value::Null,
            "another plugin's values are out of reach"
        );
        let job = host.run_job(json!({ "plugin": "hog" })).await;
        assert_eq!(job["error_code"], "limit", "{job}");
    });
}

#[test]
fn a_flood_of_log_lines_ends_at_its_bound() {
    run(async {
        let host =
            TestHost::with_playbook("flood", &playbook("for i in 0..30000 { log::info(i); }"))
                .await;
        let job = host.run_job(json!({ "plugin": "flood" })).await;
        assert_eq!(job["status"], "completed", "{job}");
        let url = format!("/api/jobs/{}/logs?after=", job["id"].as_str().unwrap());
        let (mut lines, mut after, mut last) = (0, 0, Value::Null);
        loop {
            let page = host.client.get(&format!("{url}{after}")).await.body;
            let page = page["logs"].as_array().unwrap().clone();
            let Some(line) = page.last() else { break };
            after = line["id"].as_i64().unwrap();
            lines += page.len();
            last = line.clone();
        }
        assert_eq!(lines, 20_001);
        assert_eq!(last["level"], "warn");
        assert!(
            last["message"]
                .as_str()
                .unwrap()
                .contains("further lines are dropped"),
            "{last}"
        );
    });
}

#[test]
fn a_child_job_runs_and_its_parent_takes_no_place_while_it_waits() {
    let parent = playbook(
        r#"
        let id = queue::submit("child", #{ n: 20 }, #{ description: "double it" });
        let child = queue::wait(id);
        #{ status: child.status, result: child.result.n }
        "#,
    );
    let child = playbook("#{ n: params.n * 2 }");
    run(async move {
        let scripts = [("parent", parent.as_str()), ("child", child.as_str())];
        let host =
            TestHost::with_scripts_and(&scripts, |config| config.worker.concurrency = 1).await;
        let job = host.run_job(json!({ "plugin": "parent" })).await;
        assert_eq!(
            job["result"],
            json!({ "status": "completed", "result": 40 }),
            "{job}"
        );
        let children = host
            .client
            .get(&format!("/api/jobs?parent={}", job["id"].as_str().unwrap()))
            .await
            .body;
        assert_eq!(children["jobs"][0]["parent_id"], job["id"]);
        assert_eq!(children["jobs"][0]["description"], "double it");
    });
}

#[test]
fn many_parents_wait_for_their_children() {
    let parent = playbook(r#"queue::wait(queue::submit("child", #{})).status"#);
    let child = playbook("1");
    run(async move {
        let scripts = [("parent", parent.as_str()), ("child", child.as_str())];
        let host = TestHost::with_own_scripts(&scripts).await;
        let parents = (0..150).map(|_| host.run_job(json!({ "plugin": "parent" })));
        for job in futures::future::join_all(parents).await {
            assert_eq!(job["result"], "completed", "{job}");
        }
    });
}

#[test]
fn jobs_that_submit_themselves_come_to_an_end() {
    let source = playbook(r#"queue::wait(queue::submit("endless", #{}))"#);
    run(async move {
        let host = TestHost::with_playbook("endless", &source).await;
        let job = host.run_job(json!({ "plugin": "endless" })).await;
        assert_eq!(job["status"], "completed", "{job}");
        let jobs = host.client.get("/api/jobs").await.body;
        let jobs = jobs["jobs"].as_array().unwrap();
        assert_eq!(jobs.len(), 6, "five deep");
        assert_eq!(jobs[0]["error_code"], "limit");
    });
}
