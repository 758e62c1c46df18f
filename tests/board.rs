//! Tests the dashboard in a real browser, with the real host.

use host::config::{ChannelConfig, RuleConfig, SecretUrl};
use host::model::NotificationEvent;
use serde_json::json;
use test_devices::Linux;

use crate::harness::{
    Browser, ENTER, ESCAPE, Receiver, TAB, TestHost, password_connection, playbook, run,
};

/// Output of a device that tries to run a script in the page, in four ways.
const HOSTILE: &str = r#"</pre><script>owned = 1</script><img src=x onerror="owned = 2"><svg onload="owned = 3"><a href="javascript:owned = 4">"#;

#[test]
fn the_job_list_counts_and_refreshes_by_its_button() {
    run(async {
        let host = TestHost::start().await;
        host.run_job(json!({ "plugin": "noop", "description": "the first job" }))
            .await;
        let browser = Browser::start(&host.client).await;
        browser.open("/board").await;

        browser
            .shows(".count[data-status=completed]", "1\nCompleted")
            .await;
        browser.shows("//tbody/tr[1]", "Completed").await;
        browser.shows("//tbody/tr[1]", "the first job").await;

        host.run_job(json!({ "plugin": "noop", "params": { "fail": true } }))
            .await;
        browser.click("//button[.='Refresh']").await;

        // Announced only after a click: automatic refreshes are silent.
        browser
            .shows(
                ".refresh-controls [role=status]",
                "Refreshed. 2 jobs shown.",
            )
            .await;
        browser
            .shows(".count[data-status=failed]", "1\nFailed")
            .await;
        browser.shows("//tbody/tr[1]", "failed, as asked").await;
        browser.shows("//tbody/tr[2]", "the first job").await;
    });
}

#[test]
fn a_jobs_page_shows_what_the_device_answered_and_what_was_logged() {
    run(async {
        let host = TestHost::start().await;
        let ssh = &test_devices::linux().ssh;
        host.connect(password_connection("server", ssh, "linux"))
            .await;
        let commands = json!(["echo all is well", "ls /nowhere"]);
        let job = host
            .run_job(json!({
                "plugin": "ssh-command", "targets": ["server"], "params": { "commands": commands }
            }))
            .await;
        let browser = Browser::start(&host.client).await;
        browser
            .open(&format!("/board/jobs/{}", job["id"].as_str().unwrap()))
            .await;

        browser.shows(".facts", "Failed").await;
        browser.shows(".notice-error", "refused").await;
        browser
            .shows(".result-group h3", "server 2 commands · 1 failed")
            .await;
        browser
            .shows("//ol[@class='result-entries']/li[1]", "echo all is well")
            .await;
        browser
            .shows("//ol[@class='result-entries']/li[1]//pre", "all is well")
            .await;
        browser.shows(".result-failed", "exit code 2").await;
        browser
            .shows(
                ".log-line[data-level=error]",
                "server refused 'ls /nowhere'",
            )
            .await;
    });
}

#[test]
fn a_running_job_is_followed_and_cancelled() {
    run(async {
        let waits = playbook(r#"progress(1, 3, "waiting"); sleep(600);"#);
        let host = TestHost::with_playbook("waits", &waits).await;
        let id = host.submit(json!({ "plugin": "waits" })).await;
        let browser = Browser::start(&host.client).await;
        browser.open(&format!("/board/jobs/{id}")).await;

        browser.shows(".facts", "1 of 3: waiting").await;
        browser.click("//button[.='Cancel job']").await;
        browser.shows("dialog", "The job waits on no target").await;
        browser.press(&[ESCAPE]).await;
        browser.lacks("dialog").await;
        browser.focuses("Cancel job").await;
        assert_eq!(host.job(&id).await["cancel_requested"], false);

        // The button without consequences has the focus, so that Enter alone does nothing.
        browser.press(&[ENTER]).await;
        browser.focuses("Do not cancel").await;
        browser.press(&[TAB]).await;
        browser.focuses("Cancel job").await;
        browser.press(&[ENTER]).await;
        browser.shows(".facts", "Cancelled").await;
        assert_eq!(host.job(&id).await["status"], "cancelled");
    });
}

#[test]
fn a_job_submitted_by_the_form_is_shown_and_completes() {
    run(async {
        let host = TestHost::start().await;
        let browser = Browser::start(&host.client).await;
        browser.open("/board/new").await;

        browser.click("form.form option[value=noop]").await;
        browser.fill(&input("seconds"), "0.1").await;
        browser.fill(&input("Description"), "by hand").await;
        browser.click("//button[.='Submit job']").await;

        let id = browser.lands_below("/board/jobs/").await;
        browser.shows(".facts", "Completed").await;
        let job = host.job(&id).await;
        assert_eq!(job["plugin"], "noop");
        assert_eq!(job["params"], json!({ "seconds": 0.1, "fail": false }));
        assert_eq!(job["description"], "by hand");
    });
}

#[test]
fn what_the_server_refuses_is_said_at_its_field() {
    run(async {
        let host = TestHost::start().await;
        let browser = Browser::start(&host.client).await;
        browser.open("/board/new?plugin=noop").await;

        browser.fill(&input("seconds"), "-1").await;
        browser.click("//button[.='Submit job']").await;

        browser
            .shows(".problem-summary", "The job was not submitted.")
            .await;
        browser.shows(".field-invalid", "seconds").await;
        browser
            .shows(
                ".field-invalid .field-problem",
                "-1 is less than the minimum of 0",
            )
            .await;

        browser.fill(&input("seconds"), "0").await;
        browser.click("//button[.='Submit job']").await;
        browser.lands_below("/board/jobs/").await;
    });
}

#[test]
fn deleting_a_job_asks_first() {
    run(async {
        let host = TestHost::start().await;
        let job = host.run_job(json!({ "plugin": "noop" })).await;
        let id = job["id"].as_str().unwrap();
        let browser = Browser::start(&host.client).await;
        browser.open(&format!("/board/jobs/{id}")).await;

        browser.click("//button[.='Delete…']").await;
        browser.shows("dialog", "Delete this job?").await;
        browser.click("//dialog//button[.='Keep it']").await;
        browser.lacks("dialog").await;
        host.job(id).await;

        browser.click("//button[.='Delete…']").await;
        browser.click("//dialog//button[.='Delete job']").await;
        browser.shows("main", "No jobs yet.").await;
        assert_eq!(
            host.client.get(&format!("/api/jobs/{id}")).await.status,
            404
        );
    });
}

#[test]
fn a_batch_shows_how_it_stands_and_what_failed_runs_again() {
    run(async {
        let source = r#"
            fn describe() { #{ summary: "A test", targets: "each" } }
            fn run(job, params) { if job.target == "bad" { throw "no"; } }"#;
        let host = TestHost::with_playbook("each", source).await;
        for name in ["bad", "good"] {
            host.connect(json!({
                "name": name, "host": "192.0.2.1", "username": "u", "password": "p",
                "device_type": "linux",
            }))
            .await;
        }
        let batch = host
            .run_job(json!({ "plugin": "each", "targets": ["name:*"] }))
            .await;
        let browser = Browser::start(&host.client).await;
        browser
            .open(&format!("/board/jobs/{}", batch["id"].as_str().unwrap()))
            .await;
        browser.shows(".facts", "1 completed, 1 failed of 2").await;
        browser.click("//button[.='Rerun failed']").await;
        browser
            .shows("dialog", "is submitted for the 1 device on")
            .await;
        browser.click("//dialog//button[.='Submit the job']").await;
        browser.shows(".facts", "Rerun of").await;
        browser.shows(".facts", "1 failed of 1").await;
    });
}

#[test]
fn a_schedule_is_triggered_and_switched_off() {
    run(async {
        let host = TestHost::start().await;
        let body = json!({ "name": "yearly", "plugin": "noop", "cron_expression": "0 0 1 1 *" });
        let made = host.client.post("/api/schedules", &body).await;
        assert_eq!(made.status, 201, "{}", made.body);
        let browser = Browser::start(&host.client).await;
        browser.open("/board/schedules").await;

        browser.shows("//tbody/tr[1]", "yearly").await;
        browser.click("//button[.='Trigger']").await;
        browser.shows("dialog", "Trigger yearly now?").await;
        browser.shows("dialog", "A job of the plugin noop").await;
        browser.press(&[ESCAPE]).await;
        browser.lacks("dialog").await;
        browser.focuses("Trigger yearly").await;
        let jobs = host.client.get("/api/jobs").await.body;
        assert_eq!(jobs["jobs"], json!([]));
        browser.click("//button[.='Trigger']").await;
        browser.click("//dialog//button[.='Trigger']").await;
        browser.shows("//tbody/tr[1]", "triggered").await;
        browser.click("//button[.='Disable']").await;
        browser.shows("//tbody/tr[1]", "Off").await;
    });
}

#[test]
fn notifications_are_shown_and_channels_are_tried() {
    run(async {
        let receiver = Receiver::start().await;
        let host = TestHost::start_with(|config| {
            let chat = ChannelConfig::Slack {
                url: Some(SecretUrl::new(receiver.url.clone())),
                url_file: None,
            };
            config
                .notifications
                .channels
                .insert("chat".to_owned(), chat);
            config.notifications.rules = vec![RuleConfig {
                on: vec![NotificationEvent::Completed],
                plugins: Vec::new(),
                targets: None,
                channels: vec!["chat".to_owned()],
            }];
        })
        .await;
        receiver.answers(410);
        host.run_job(json!({ "plugin": "noop" })).await;
        receiver.next().await;
        let browser = Browser::start(&host.client).await;
        browser.open("/board/notifications").await;

        browser.shows("//tbody/tr[1]", "noop has completed").await;
        browser.shows("//tbody/tr[1]", "Abandoned").await;
        browser.shows("//tbody/tr[1]", "status 410 Gone").await;
        browser.shows(".channels", "status 410 Gone").await;
        browser.click("//button[.='Test']").await;
        browser
            .shows(".notice-error", "Failed to send to chat: status 410 Gone")
            .await;
        receiver.answers(200);
        browser.click("//button[.='Test']").await;
        browser.shows("#flash", "Test message sent to chat.").await;
        let health = host.client.get("/api/health").await.body;
        assert_eq!(health["notifications"]["status"], "healthy", "{health}");
        assert!(browser.console().await.is_empty());
    });
}

#[test]
fn what_a_running_command_prints_is_shown_while_it_runs() {
    run(async {
        let host = TestHost::start().await;
        let linux = Linux::start();
        let go = linux.ssh.home().join("go");
        host.connect(password_connection("server", &linux.ssh, "linux"))
            .await;
        let wait = format!(
            "echo first; until [ -e {} ]; do sleep 0.05; done; echo last",
            go.display()
        );
        let id = host
            .submit(json!({
                "plugin": "ssh-command", "targets": ["server"], "params": { "commands": [wait] }
            }))
            .await;
        let browser = Browser::start(&host.client).await;
        browser.open(&format!("/board/jobs/{id}")).await;
        browser.shows(".result-running", "first").await;
        std::fs::write(&go, "").unwrap();
        browser.shows(".result-entries", "last").await;
        browser.lacks(".result-running").await;
    });
}

#[test]
fn what_a_device_says_stays_text() {
    run(async {
        let host = TestHost::start().await;
        let ssh = &test_devices::linux().ssh;
        host.connect(password_connection("server", ssh, "linux"))
            .await;
        let commands = json!([format!("echo '{HOSTILE}'"), format!("cat '{HOSTILE}'")]);
        let job = host
            .run_job(json!({
                "plugin": "ssh-command",
                "targets": ["server"],
                "params": { "commands": commands },
                "description": HOSTILE
            }))
            .await;
        let id = job["id"].as_str().unwrap();
        let browser = Browser::start(&host.client).await;

        browser.open("/board").await;
        browser.shows("//tbody/tr[1]", HOSTILE).await;
        browser.open(&format!("/board/new?from={id}")).await;
        browser.shows("form.form", "Filled in from job").await;
        browser.open(&format!("/board/jobs/{id}")).await;
        browser
            .shows("//ol[@class='result-entries']/li[1]//pre", HOSTILE)
            .await;
        browser.shows(".notice-error", HOSTILE).await;
        browser.shows(".log", HOSTILE).await;

        let foreign = "return document.querySelectorAll('main :is(script, img, svg, [href^=javascript])').length";
        assert_eq!(browser.script(foreign).await, 0);
        assert_eq!(browser.script("return typeof owned").await, "undefined");
        assert_eq!(browser.console().await, Vec::<String>::new());

        // Even as markup the page would not run it, and the console would report it.
        let inject =
            "const script = document.createElement('script'); script.textContent = 'owned = 5';
            document.body.append(script); return typeof owned";
        assert_eq!(browser.script(inject).await, "undefined");
        let console = browser.console().await.join("\n");
        assert!(console.contains("Content Security Policy"), "{console}");
    });
}

/// Numbers that a JavaScript number rounds or writes differently.
const NUMBERS: &str = r#"{"serial":18446744073709551617,"list":[-9007199254740993,1.0,3],"deep":{"pi":3.14159265358979323846}}"#;

/// Returns a playbook with one parameter per kind of field, which returns and logs its parameters.
fn echo() -> String {
    r#"
    fn describe() { #{
        summary: "A test", targets: "none",
        params: #{ type: "object", properties: #{
            serial: #{ type: "integer" },
            list: #{ type: "array", items: #{ type: "number" } },
            deep: #{ type: "object" },
        } },
    } }
    fn run(job, params) { () }"#
        .to_owned()
}

#[test]
fn numbers_keep_their_digits_where_they_are_shown_and_submitted_again() {
    run(async {
        let host = TestHost::with_playbook("echo", &echo()).await;
        let params: serde_json::Value = serde_json::from_str(NUMBERS).unwrap();
        let job = host
            .run_job(json!({ "plugin": "echo", "params": params }))
            .await;
        assert_eq!(job["params"].to_string(), NUMBERS);
        let id = job["id"].as_str().unwrap();
        let browser = Browser::start(&host.client).await;

        browser.open("/board").await;
        browser.shows("//tbody/tr[1]", "18446744073709551617").await;
        browser.open(&format!("/board/jobs/{id}")).await;
        for number in [
            "18446744073709551617",
            "-9007199254740993",
            "3.14159265358979323846",
        ] {
            browser.shows("main", number).await;
        }
        browser.click("//a[.='Submit again…']").await;
        browser.shows("form.form", "Filled in from job").await;
        browser.click("//button[.='Submit job']").await;
        let again = browser.lands_below("/board/jobs/").await;
        assert_ne!(again, id);
        let again = host.job(&again).await;
        assert_eq!(again["params"], params);
        assert_eq!(browser.console().await, Vec::<String>::new());
    });
}

#[test]
fn a_browser_that_rounds_numbers_does_not_fill_them_in() {
    run(async {
        let host = TestHost::with_playbook("echo", &echo()).await;
        let params = json!({ "serial": 18_446_744_073_709_551_615_u64 });
        let job = host
            .run_job(json!({ "plugin": "echo", "params": params }))
            .await;
        let small = host
            .run_job(json!({ "plugin": "echo", "params": { "serial": 7, "deep": { "pi": 0.1 } } }))
            .await;
        let browser = Browser::start(&host.client).await;
        browser.before_each_page("delete JSON.rawJSON").await;

        let id = job["id"].as_str().unwrap();
        browser.open(&format!("/board/jobs/{id}")).await;
        browser.shows("main", "≈18446744073709552000").await;
        browser.open(&format!("/board/new?from={id}")).await;
        browser
            .shows(".notice-warning", "The parameters are not filled in")
            .await;
        let filled = "return document.querySelector('input[type=number]').value";
        assert_eq!(browser.script(filled).await, "");
        browser.fill(&input("serial"), "18446744073709551615").await;
        browser.click("//button[.='Submit job']").await;
        browser
            .shows(".problem-summary", "does not support all digits")
            .await;

        let id = small["id"].as_str().unwrap();
        browser.open(&format!("/board/new?from={id}")).await;
        browser.shows("form.form", "Filled in from job").await;
        assert_eq!(browser.script(filled).await, "7");
        browser.lacks(".notice-warning").await;
    });
}

#[test]
fn one_function_of_the_dashboard_parses_json() {
    let files = ["", "components", "views"].map(|folder| {
        let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("../static")
            .join(folder);
        std::fs::read_dir(folder)
            .unwrap()
            .map(|entry| entry.unwrap().path())
    });
    let scripts = files
        .into_iter()
        .flatten()
        .filter(|path| path.extension().is_some_and(|end| end == "js"));
    let parsing: Vec<_> = scripts
        .filter(|path| {
            let source = std::fs::read_to_string(path).unwrap();
            source.lines().any(|line| {
                let code = line.split("//").next().unwrap_or_default();
                code.contains("JSON.parse(") || code.contains(".json()")
            })
        })
        .map(|path| path.file_name().unwrap().to_owned())
        .collect();
    assert_eq!(parsing, ["json.js"]);
}

/// Returns the selector of the form field with this name.
fn input(field: &str) -> String {
    format!(
        "//div[@class='field' or contains(@class, 'field ')][.//span[@class='field-name' and .='{field}']]//input"
    )
}

#[test]
fn everything_is_paused_and_let_go_by_buttons() {
    run(async {
        let host = TestHost::start().await;
        let later = json!({ "plugin": "noop", "scheduled_for": "2999-01-01T00:00:00Z" });
        host.submit(later).await;
        let running = host
            .submit(json!({ "plugin": "noop", "params": { "seconds": 600.0 } }))
            .await;
        host.running(&running).await;
        let browser = Browser::start(&host.client).await;
        browser.open("/board").await;
        browser.click("//button[.='Pause all jobs']").await;
        browser
            .shows("dialog", "1 waiting job and new jobs do not start")
            .await;
        browser
            .shows("dialog", "1 running job will run to the end")
            .await;
        browser.press(&[ESCAPE]).await;
        browser.lacks("dialog").await;
        browser.focuses("Pause all jobs").await;
        let pauses = host.client.get("/api/pauses").await.body;
        assert_eq!(pauses["pauses"], json!([]));

        browser.click("//button[.='Pause all jobs']").await;
        browser.click("//dialog//button[.='Pause all jobs']").await;
        browser
            .shows(".notice-warning", "Paused: all jobs, by dashboard")
            .await;
        let id = host.submit(json!({ "plugin": "noop" })).await;
        browser.open(&format!("/board/jobs/{id}")).await;
        browser.shows(".facts", "until it is removed").await;
        browser.open("/board").await;
        browser.shows("//tbody/tr[1]", "paused by dashboard").await;
        browser.click("//button[.='End pause']").await;
        browser.shows("dialog", "1 paused job will start now").await;
        browser.press(&[TAB, ENTER]).await;
        assert_eq!(host.ended(&id).await["status"], "completed");
        browser.lacks(".notice-warning").await;
        let old = host.client.get("/api/pauses/dashboard").await.body;
        assert_eq!(old["in_force"], false, "{old}");

        // The earlier pause is reused.
        browser.click("//button[.='Pause all jobs']").await;
        browser.click("//dialog//button[.='Pause all jobs']").await;
        browser
            .shows(".notice-warning", "Paused: all jobs, by dashboard")
            .await;
        browser.click("//button[.='Delete pause…']").await;
        browser.shows("dialog", "Delete pause dashboard?").await;
        browser.press(&[ESCAPE]).await;
        browser.lacks("dialog").await;
        browser.focuses("Delete pause dashboard").await;
        browser.press(&[ENTER]).await;
        browser.click("//dialog//button[.='Delete pause']").await;
        browser.lacks(".notice-warning").await;
        assert_eq!(host.client.get("/api/pauses/dashboard").await.status, 404);
        assert_eq!(host.job(&running).await["status"], "running");
        assert_eq!(browser.console().await, Vec::<String>::new());
    });
}

#[test]
fn ending_a_recurring_pause_keeps_its_definition() {
    run(async {
        let host = TestHost::start().await;
        let windows = json!({ "cron_expression": "0 0 * * *", "minutes": 1440, "timezone": "UTC" });
        let body = json!({ "name": "freeze", "plugins": ["noop"], "windows": windows });
        let made = host.client.post("/api/pauses", &body).await;
        assert_eq!(made.status, 201, "{}", made.body);
        let id = host.submit(json!({ "plugin": "noop" })).await;
        host.until(&id, |job| job["paused_by"]["pause"] == "freeze")
            .await;
        let browser = Browser::start(&host.client).await;
        browser.open("/board").await;
        browser.shows(".notice-warning", "This window ends").await;
        browser.click("//button[.='End pause']").await;
        browser
            .shows("dialog", "jobs of noop. 1 paused job will start now")
            .await;
        browser
            .shows(
                "dialog",
                "Only the current window ends. The next window starts",
            )
            .await;
        browser.click("//dialog//button[.='End pause']").await;
        browser.lacks(".notice-warning").await;
        assert_eq!(host.ended(&id).await["status"], "completed");
        let pause = host.client.get("/api/pauses/freeze").await.body;
        assert_eq!(pause["in_force"], false, "{pause}");
        assert_eq!(pause["windows"], windows);
        assert_eq!(pause["next_starts"].as_array().unwrap().len(), 5);
    });
}

#[test]
fn errors_only_finds_every_error_of_a_long_log() {
    run(async {
        let writes = playbook(
            r#"log::error("the first line");
            for n in 0..5999 { log::info(`line ${n}`); }"#,
        );
        let host = TestHost::with_playbook("writes", &writes).await;
        let job = host.run_job(json!({ "plugin": "writes" })).await;
        assert_eq!(job["status"], "completed", "{job}");
        let browser = Browser::start(&host.client).await;
        browser
            .open(&format!("/board/jobs/{}", job["id"].as_str().unwrap()))
            .await;
        browser.shows(".log-line:last-child", "line 5998").await;
        browser.scrolls_to_end(".log").await;
        browser.click("//option[.='Errors only']").await;
        browser
            .shows(".log-line:only-child", "the first line")
            .await;
        browser.click("//option[.='Everything']").await;
        browser.shows(".log-line:last-child", "line 5998").await;
        // All lines are accessible, a page at a time.
        let shown = "return document.querySelectorAll('.log-line').length";
        let mut lines = browser.script(shown).await.as_u64().unwrap();
        assert!(lines < 6_000, "{lines}");
        while lines < 6_000 {
            browser.click("//button[.='Show earlier lines']").await;
            let before = lines;
            while lines == before {
                lines = browser.script(shown).await.as_u64().unwrap();
            }
        }
        browser
            .shows(".log-line:first-child", "the first line")
            .await;
        assert_eq!(browser.console().await, Vec::<String>::new());
    });
}

#[test]
fn a_log_is_filtered_while_it_grows() {
    run(async {
        let waits = playbook(
            r#"log::warn("the first warning");
            log::info("a remark");
            while storage::get("go") == () { sleep(0.05); }
            log::info("another remark");
            log::warn("the second warning");"#,
        );
        let host = TestHost::with_playbook("waits", &waits).await;
        let id = host.submit(json!({ "plugin": "waits" })).await;
        let browser = Browser::start(&host.client).await;
        browser.open(&format!("/board/jobs/{id}")).await;
        browser.shows(".log", "a remark").await;
        browser.click("//option[.='Warnings and errors']").await;
        browser
            .shows(".log-line:only-child", "the first warning")
            .await;
        let go = json!(true);
        let limit = host::storage::StorageUse {
            keys: 10,
            bytes: 1_000,
        };
        let set = host
            .app
            .storage
            .set_plugin_value("waits", "go", &go, limit, host::model::now());
        set.await.unwrap().unwrap();
        browser.shows(".facts", "Completed").await;
        browser
            .shows(".log-line:last-child", "the second warning")
            .await;
        let lines = browser
            .script("return document.querySelectorAll('.log-line').length")
            .await;
        assert_eq!(lines, 2);
    });
}

/// Sums the bytes of the page's network requests since it was opened: all of them, the number of
/// event requests, and their bytes.
const MOVED: &str = "
    const entries = performance.getEntriesByType('resource');
    const sum = (some) => some.reduce((bytes, { transferSize }) => bytes + transferSize, 0);
    const events = entries.filter(({ name }) => name.includes('/events?'));
    return [sum(entries), events.length, sum(events)];";

#[test]
fn a_jobs_page_moves_little_of_a_long_log() {
    run(async {
        let writes =
            playbook("for n in 0..20000 { log::info(`line ${n} of a log that is long`); }");
        let host = TestHost::with_playbook("writes", &writes).await;
        let job = host.run_job(json!({ "plugin": "writes" })).await;
        let id = job["id"].as_str().unwrap();
        let browser = Browser::start(&host.client).await;
        browser.open(&format!("/board/jobs/{id}")).await;
        browser.shows(".log-line:last-child", "line 19999").await;
        let moved = browser.script(MOVED).await;
        let (all, events) = (moved[0].as_u64().unwrap(), moved[1].as_u64().unwrap());
        assert!(all < 200_000, "{moved}");
        assert_eq!(events, 0, "a job that has ended is not followed");
    });
}

#[test]
fn files_are_asked_for_once() {
    run(async {
        let host = TestHost::start().await;
        let browser = Browser::start(&host.client).await;
        browser.open("/board").await;
        browser.shows("main", "No jobs yet.").await;
        let first = browser.script(MOVED).await;
        browser.open("/board/jobs").await;
        browser.shows("main", "No jobs yet.").await;
        let files = "return performance.getEntriesByType('resource')
            .filter(({ name }) => name.includes('/static/')).map(({ name, transferSize }) => [name, transferSize])";
        let again = browser.script(files).await;
        let again = again.as_array().unwrap();
        assert!(again.len() > 10, "{again:?}");
        for file in again {
            assert_eq!(
                file[1], 0,
                "{file} came from the server again, after {first}"
            );
        }

        let page = host.client.get("/board").await;
        let (_, rest) = page.text.split_once("src=\"static/").unwrap();
        let (path, _) = rest.split_once('"').unwrap();
        let file = host.client.get(&format!("/board/static/{path}")).await;
        assert_eq!(file.status, 200);
        let caching = file.headers["cache-control"].to_str().unwrap();
        assert!(caching.contains("immutable"), "{caching}");
        let other = format!("/board/static/{}/main.js", "0".repeat(16));
        assert_eq!(host.client.get(&other).await.status, 404);
        let plain = host.client.get("/board/static/main.js").await;
        assert_eq!(plain.headers["cache-control"], "no-cache");
        let tag = plain.headers["etag"].to_str().unwrap();
        for tag in [tag.to_owned(), format!("W/{tag}"), format!("\"x\", {tag}")] {
            let request = host
                .client
                .request(reqwest::Method::GET, "/board/static/main.js")
                .header("if-none-match", tag);
            assert_eq!(host.client.send(request).await.status, 304);
        }
    });
}

#[test]
fn a_server_that_is_not_well_says_so_on_every_page() {
    run(async {
        let broken = "fn describe() { #{ summary: ";
        let host = TestHost::with_own_scripts(&[("broken", broken)]).await;
        let browser = Browser::start(&host.client).await;
        browser.open("/board/schedules").await;
        browser.shows("#trouble", "1 plugin failed to load.").await;
        browser.click("//a[.='Show the error']").await;
        browser.shows(".card-broken", "broken").await;

        std::fs::remove_file(host.path("scheduler.db")).unwrap();
        browser
            .shows("#trouble", "The database has a problem.")
            .await;
        browser.shows("#trouble", "was deleted or moved away").await;
        // Visible at any scroll position.
        let top = "window.scrollTo(0, document.body.scrollHeight);
            return document.getElementById('trouble').getBoundingClientRect().top";
        let top = browser.script(top).await;
        assert!(
            top.as_f64().is_some_and(|top| (0.0..200.0).contains(&top)),
            "{top}"
        );
    });
}

#[test]
fn the_key_of_a_replaced_device_is_named() {
    run(async {
        let host = TestHost::start().await;
        host.connect(json!({
            "name": "core1", "host": "192.0.2.1", "username": "admin", "device_type": "cisco_ios",
            "password": "hunter2-password"
        }))
        .await;
        let browser = Browser::start(&host.client).await;
        browser.open("/board/connections").await;
        browser.click("//button[.='Host keys']").await;
        browser.shows("dialog h2", "Host keys of core1").await;
        let field = "//dialog//div[@class='answer-field']/input";
        browser.fill(field, "SHA256:abc").await;
        browser.click("//dialog//button[.='Trust this key']").await;
        browser
            .shows("dialog [role=alert]", "expected a fingerprint")
            .await;
        let key = "SHA256:47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU";
        browser.fill(field, key).await;
        browser.click("//dialog//button[.='Trust this key']").await;
        browser.lacks("dialog").await;
        browser.shows("//tbody/tr[1]", "SHA256:47DEQpj8").await;
        let stored = host.client.get("/api/connections/core1").await.body;
        assert_eq!(stored["host_key"], key);
        assert_eq!(stored["secrets_set"], json!(["password"]));
    });
}

#[test]
fn the_answers_of_a_connection_are_changed_in_rows() {
    run(async {
        let host = TestHost::start().await;
        host.connect(json!({
            "name": "core1", "host": "192.0.2.1", "username": "admin", "device_type": "cisco_ios",
            "password": "hunter2-password",
            "answers": [
                { "question": "Select a role", "answer": "hunter2-role" },
                { "question": "accept", "answer": "yes", "secret": false }
            ]
        }))
        .await;
        let browser = Browser::start(&host.client).await;
        browser.open("/board/connections").await;
        browser.click("//button[.='2 set']").await;
        browser.shows("dialog h2", "Answers for core1").await;

        // The server's error appears at its row, and the dialog stays open.
        let field = |row: usize, label: &str| {
            format!("//dialog//li[{row}]//div[@class='answer-field'][label='{label}']/input")
        };
        browser.click("//dialog//button[.='Add a question']").await;
        browser.fill(&field(3, "Question"), "(").await;
        browser.click("//dialog//button[.='Save']").await;
        browser
            .shows("//dialog//li[3]//*[@class='field-problem']", "question:")
            .await;

        // The first row is kept without typing, the second is removed, the third is new.
        browser.fill(&field(3, "Question"), "any key").await;
        browser.fill(&field(3, "Answer"), " ").await;
        for label in ["Secret", "One key"] {
            browser
                .click(&format!("//dialog//li[3]//label[.='{label}']"))
                .await;
        }
        browser.click("//dialog//li[2]//button[.='Remove']").await;
        browser.click("//dialog//button[.='Add a question']").await;
        browser.fill(&field(3, "Question"), "Ops word").await;
        browser.click("//dialog//li[3]//option[.='Password']").await;
        browser.click("//dialog//button[.='Save']").await;
        browser.lacks("dialog").await;
        browser.shows("//tbody/tr[1]", "3 set").await;

        let stored = host.client.get("/api/connections/core1").await.body;
        assert_eq!(
            stored["answers"],
            json!([
                { "question": "Select a role", "secret": true, "set": true, "key": false },
                { "question": "any key", "answer": " ", "secret": false, "key": true },
                { "question": "Ops word", "credential": "password", "secret": true, "key": false }
            ])
        );
        assert_eq!(stored["secrets_set"], json!(["password"]));
    });
}
