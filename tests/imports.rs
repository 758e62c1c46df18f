//! Tests modules of playbooks, and calls of undefined functions.

use std::path::Path;

use serde_json::{Value, json};

use crate::harness::{TestHost, playbook, run};

/// Starts a host with one playbook and modules, by their paths.
async fn with_modules(source: &str, modules: &[(&str, &str)]) -> TestHost {
    let host = TestHost::with_own_scripts(&[]).await;
    for (path, text) in modules {
        write(&host, path, text);
    }
    write(&host, "it", source);
    reload(&host).await;
    host
}

fn write(host: &TestHost, path: &str, text: &str) {
    let file = host.path("scripts").join(format!("{path}.rhai"));
    std::fs::create_dir_all(file.parent().unwrap()).unwrap();
    std::fs::write(file, text).unwrap();
}

async fn reload(host: &TestHost) -> Value {
    let answer = host.client.post("/api/plugins/reload", &json!({})).await;
    answer.body["plugins"][0].clone()
}

fn importing(body: &str) -> String {
    format!("import \"lib/tools\" as tools;\n{}", playbook(body))
}

/// The engine counts executed imports, not modules.
#[test]
fn a_function_that_imports_may_be_called_often() {
    run(async {
        let source = format!(
            "fn tripled(n) {{ import \"lib/tools\" as tools; tools::triple(n) }}\n{}",
            playbook("let sum = 0; for n in 0..200 { sum += tripled(n); } sum")
        );
        let host = with_modules(&source, &[("lib/tools", "fn triple(n) { n * 3 }")]).await;
        let job = host.run_job(json!({ "plugin": "it" })).await;
        assert_eq!(job["result"], 59_700, "{job}");
    });
}

#[test]
fn a_playbook_uses_functions_of_modules_which_may_call_the_host() {
    run(async {
        let tools = r#"
            import "lib/deep/er" as deeper;
            const GREETING = "hello";
            fn greet(name) { log::info(`greeting ${name}`); storage::set("greeted", name); `${global::GREETING} ${deeper::shout(name)}` }
        "#;
        let deeper = "fn shout(text) { text.to_upper() + \"!\" }";
        let host = with_modules(
            &importing("tools::greet(job.plugin)"),
            &[("lib/tools", tools), ("lib/deep/er", deeper)],
        )
        .await;
        let job = host.run_job(json!({ "plugin": "it" })).await;
        assert_eq!(job["result"], "hello IT!", "{job}");
        let logs = host.logs(&job["id"]).await;
        assert_eq!(logs[0]["message"], "greeting it");
    });
}

/// Otherwise the engine would call the function of the other file.
#[test]
fn functions_of_two_files_have_names_of_their_own() {
    run(async {
        let imports = "import \"lib/a\" as a;\nimport \"lib/b\" as b;\n";
        let asking = |who: &str, name: &str| {
            format!("private fn {name}() {{ \"{who}\" }}\nfn ask_{who}() {{ {name}() }}")
        };
        let body = playbook("[a::ask_a(), a::ask_a(), b::ask_b(), a::ask_a(), b::ask_b()]");
        let source = format!("{imports}{body}");
        let alike = [
            ("lib/a", &*asking("a", "who")),
            ("lib/b", &asking("b", "who")),
        ];
        let host = with_modules(&source, &alike).await;
        let plugin = reload(&host).await;
        assert_eq!(plugin["status"], "broken", "{plugin}");
        assert_eq!(plugin["error"]["file"], "lib/b.rhai");
        let told = plugin["error"]["message"].as_str().unwrap();
        assert!(
            told.contains("`who`") && told.contains("lib/a.rhai"),
            "{told}"
        );

        let apart = [
            ("lib/a", &*asking("a", "who")),
            ("lib/b", &asking("b", "who_b")),
        ];
        let host = with_modules(&source, &apart).await;
        let job = host.run_job(json!({ "plugin": "it" })).await;
        assert_eq!(job["result"], json!(["a", "a", "b", "a", "b"]), "{job}");

        let own = format!("{imports}fn who() {{ \"mine\" }}\n{}", playbook("who()"));
        let host = with_modules(&own, &apart).await;
        let plugin = reload(&host).await;
        assert_eq!(plugin["error"]["file"], "it.rhai", "{plugin}");
    });
}

#[test]
fn a_changed_module_reloads_what_imports_it_and_makes_another_digest() {
    run(async {
        let host = with_modules(&importing("tools::f()"), &[("lib/tools", "fn f() { 1 }")]).await;
        let first = host.run_job(json!({ "plugin": "it" })).await;
        assert_eq!(first["result"], 1, "{first}");
        write(&host, "lib/tools", "fn f() { 2 }");
        let plugin = reload(&host).await;
        assert_ne!(plugin["digest"], first["plugin_digest"]);
        let second = host.run_job(json!({ "plugin": "it" })).await;
        assert_eq!(second["result"], 2, "{second}");

        std::fs::remove_file(host.path("scripts/lib/tools.rhai")).unwrap();
        let plugin = reload(&host).await;
        assert_eq!(plugin["status"], "broken", "{plugin}");
        assert_eq!(plugin["error"]["line"], 1);
        let third = host.run_job(json!({ "plugin": "it" })).await;
        assert_eq!(third["result"], 2, "the last good one serves: {third}");
        write(&host, "lib/tools", "fn f() { 3 }");
        let plugin = reload(&host).await;
        assert_eq!(plugin["status"], "ready", "{plugin}");
    });
}

#[test]
fn an_error_in_a_module_tells_the_modules_place() {
    run(async {
        let tools = "fn outer() {\n    inner()\n}\nfn inner() {\n    throw \"on purpose\"\n}";
        let host = with_modules(&importing("tools::outer()"), &[("lib/tools", tools)]).await;
        let job = host.run_job(json!({ "plugin": "it" })).await;
        let message = job["error_message"].as_str().unwrap();
        assert!(
            message.starts_with("lib/tools.rhai:5:5: on purpose"),
            "{message}"
        );
    });
}

#[test]
fn no_way_leads_out_of_the_directory() {
    run(async {
        let outside = tempfile::tempdir().unwrap();
        std::fs::write(outside.path().join("x.rhai"), "fn f() { 1 }").unwrap();
        let absolute = outside.path().join("x").display().to_string();
        let paths = [
            "../x",
            "lib/../../x",
            "lib/../it",
            "/etc/passwd",
            "it",
            "lib/x.rhai",
            "lib/",
            "",
            absolute.as_str(),
            "lib/link",
            "lib/linked/x",
        ];
        for path in paths {
            let source = format!("import \"{path}\" as x;\n{}", playbook("1"));
            let host = TestHost::with_own_scripts(&[("it", &source)]).await;
            let lib = host.path("scripts/lib");
            std::fs::create_dir(&lib).unwrap();
            link(&outside.path().join("x.rhai"), &lib.join("link.rhai"));
            link(outside.path(), &lib.join("linked"));
            let plugin = reload(&host).await;
            assert_eq!(plugin["status"], "broken", "{path}: {plugin}");
            assert_eq!(plugin["error"]["line"], 1, "{path}: {plugin}");
        }
    });
}

fn link(to: &Path, from: &Path) {
    std::os::unix::fs::symlink(to, from).unwrap();
}

#[test]
fn what_cannot_be_imported_says_where() {
    let cases = [
        ("fn f() {", "lib/tools.rhai", "to terminate this block"),
        (
            "import \"lib/tools\" as me;\nfn f() { 1 }",
            "lib/tools.rhai",
            "again",
        ),
        (
            "let x = 0; loop { x += 1; }",
            "lib/tools.rhai",
            "operations",
        ),
        (
            "ssh::open();",
            "lib/tools.rhai",
            "not allowed to call the host",
        ),
        (
            "fn f() { nothing_such() }",
            "lib/tools.rhai",
            "nothing_such",
        ),
    ];
    run(async move {
        for (module, file, says) in cases {
            let host = with_modules(&importing("tools::f()"), &[("lib/tools", module)]).await;
            let plugin = reload(&host).await;
            assert_eq!(plugin["status"], "broken", "{module}: {plugin}");
            assert_eq!(plugin["error"]["file"], file, "{module}: {plugin}");
            let message = plugin["error"]["message"].as_str().unwrap();
            assert!(message.contains(says), "{module}: {message}");
        }
        let computed = format!("let p = \"lib/tools\"; import p as x;\n{}", playbook("1"));
        let host = with_modules(&computed, &[("lib/tools", "")]).await;
        let plugin = reload(&host).await;
        assert_eq!(plugin["status"], "broken", "{plugin}");
    });
}

#[test]
fn a_call_of_what_is_not_there_is_found_when_the_playbook_is_loaded() {
    let cases = [
        ("shs::open()", "module `shs` not found; did you mean `ssh`?"),
        (
            "ssh::opne()",
            "function `ssh::opne` not found; did you mean `ssh::open`?",
        ),
        (
            "let d = ssh::open(); d.exce(\"x\")",
            "method `exce` not found; did you mean `exec`?",
        ),
        ("helper(1)", "function `helper` not found"),
        ("tools::missing()", "function `tools::missing` not found"),
        ("if job.attempt == 7 { slep(1) }", "did you mean `sleep`?"),
    ];
    run(async move {
        for (body, says) in cases {
            let source = importing(&format!("\n    {body}"));
            let host = with_modules(&source, &[("lib/tools", "fn f() { 1 }")]).await;
            let plugin = reload(&host).await;
            assert_eq!(plugin["status"], "broken", "{body}: {plugin}");
            let message = plugin["error"]["message"].as_str().unwrap();
            assert!(message.contains(says), "{body}: {message}");
            assert_eq!(plugin["error"]["line"], 5, "{body}: {plugin}");
        }
    });
}

/// These look like calls of undefined functions, but are valid.
#[test]
fn what_is_there_can_be_called() {
    let body = r#"
        let double = Fn("twice");
        let add = |a, b| a + b;
        let object = #{ n: 2, grow: |by| this.n += by };
        object.grow(3);
        let text = "a,b".split(",").map(|part| part.to_upper());
        let found = is_def_fn("twice", 1) && is_def_var("text") && type_of(text) == "array";
        print(text); debug(object);
        let curried = add.curry(1);
        [double.call(4), add.call(1, 2), curried.call(5), object.n, text.len, found, 7.twice_this(), 1.max(2), -2.abs(), 'x'.to_upper(), "x".to_string()]
    "#;
    let functions = "fn twice(x) { x * 2 }\nfn twice_this() { this * 2 }\n";
    run(async move {
        let source = format!("{functions}{}", playbook(body));
        let host = TestHost::with_playbook("it", &source).await;
        let job = host.run_job(json!({ "plugin": "it" })).await;
        assert_eq!(job["status"], "completed", "{job}");
        assert_eq!(job["result"][0], 8, "{job}");
        assert_eq!(job["result"][3], 5, "{job}");
    });
}
