//! Tests the HTTP contract: submissions, listings, errors, request ids, health, the dashboard's
//! files.

use reqwest::Method;
use serde_json::{Value, json};

use crate::harness::{TestHost, playbook, run};

#[test]
fn a_submission_answers_where_the_job_is() {
    run(async {
        let host = TestHost::start().await;
        let answer = host
            .client
            .post("/api/jobs", &json!({ "plugin": "noop" }))
            .await;

        assert_eq!(answer.status, 202);
        let location = answer.headers["location"].to_str().unwrap().to_owned();
        assert_eq!(
            location,
            format!("/api/jobs/{}", answer.body["id"].as_str().unwrap())
        );
        assert_eq!(answer.body["status"], "pending");
        assert_eq!(host.client.get(&location).await.status, 200);
    });
}

#[test]
fn the_seeds_names_for_plugin_and_params_are_accepted() {
    run(async {
        let host = TestHost::start().await;
        let job = host
            .run_job(json!({ "job_type": "noop", "payload": { "seconds": 0.001 } }))
            .await;
        assert_eq!(job["plugin"], "noop");
        assert_eq!(job["params"]["seconds"], 0.001);
    });
}

/// An invalid submission, and the pointers of its errors.
#[test]
fn a_bad_submission_is_refused_with_its_places() {
    let cases = [
        (json!({ "plugin": "nothing" }), 404, vec![]),
        (json!({}), 422, vec![""]),
        (json!({ "plugin": 7 }), 422, vec!["/plugin"]),
        (
            json!({ "plugin": "noop", "nonsense": 1 }),
            422,
            vec!["/nonsense"],
        ),
        (
            json!({ "plugin": "noop", "params": [] }),
            422,
            vec!["/params"],
        ),
        (
            json!({ "plugin": "noop", "params": { "seconds": "soon" } }),
            422,
            vec!["/params/seconds"],
        ),
        (
            json!({ "plugin": "noop", "params": { "x": 1 } }),
            422,
            vec!["/params"],
        ),
        (
            json!({ "plugin": "noop", "params": { "seconds": -1, "fail": 3 } }),
            422,
            vec!["/params/fail", "/params/seconds"],
        ),
        (
            json!({ "plugin": "noop", "targets": ["ghost"] }),
            422,
            vec!["/targets", "/targets/0"],
        ),
        (
            json!({ "plugin": "ssh-command", "params": { "commands": ["x"] } }),
            422,
            vec!["/targets"],
        ),
        (
            json!({ "plugin": "ssh-command", "targets": ["ghost"], "params": { "commands": [""] } }),
            422,
            vec!["/params/commands/0", "/targets/0"],
        ),
        (
            json!({ "plugin": "noop", "timeout_seconds": 0 }),
            422,
            vec!["/timeout_seconds"],
        ),
        (
            json!({ "plugin": "noop", "timeout_seconds": -1 }),
            422,
            vec!["/timeout_seconds"],
        ),
        (
            json!({ "plugin": "noop", "priority": 101 }),
            422,
            vec!["/priority"],
        ),
        (
            json!({ "plugin": "noop", "max_retries": 101 }),
            422,
            vec!["/max_retries"],
        ),
        (
            json!({ "plugin": "noop", "scheduled_for": "soon" }),
            422,
            vec!["/scheduled_for"],
        ),
        (
            json!({ "plugin": "noop", "scheduled_for": "+10000-01-01T00:00:00Z" }),
            422,
            vec!["/scheduled_for"],
        ),
        (json!(["noop"]), 422, vec![""]),
        (
            json!({ "plugin": "noop", "cron_expression": "* * * * * * * *" }),
            422,
            vec!["/cron_expression"],
        ),
        (
            json!({ "plugin": "noop", "dry_run": true }),
            422,
            vec!["/dry_run"],
        ),
        (
            json!({ "plugin": "noop", "connection": { "host": "x", "username": "y", "nonsense": 1 } }),
            422,
            vec!["/connection/nonsense"],
        ),
        (
            json!({ "plugin": "ssh-command", "params": { "commands": ["x"] },
                    "connection": { "host": "", "username": "y", "device_type": "typewriter" } }),
            422,
            vec!["/connection/device_type", "/connection/host"],
        ),
    ];
    run(async move {
        let host = TestHost::start().await;
        for (job, status, pointers) in cases {
            let answer = host.client.post("/api/jobs", &job).await;
            assert_eq!(answer.status, status, "{job}: {}", answer.body);
            assert_eq!(
                answer.headers["content-type"], "application/problem+json",
                "{job}"
            );
            assert_eq!(answer.body["status"], status, "{job}");
            assert!(!answer.body["detail"].as_str().unwrap().is_empty(), "{job}");
            let errors = answer.body["errors"]
                .as_array()
                .cloned()
                .unwrap_or_default();
            let mut found: Vec<_> = errors
                .iter()
                .map(|error| error["pointer"].as_str().unwrap())
                .collect();
            found.sort_unstable();
            assert_eq!(found, pointers, "{job}: {}", answer.body);
        }
        let jobs = host.client.get("/api/jobs").await;
        assert_eq!(jobs.body["jobs"], json!([]), "nothing of it was stored");
    });
}

#[test]
fn errors_are_in_the_words_of_the_api() {
    run(async {
        let host = TestHost::start().await;
        let post = |body: &'static str| {
            let request = host
                .client
                .request(Method::POST, "/api/jobs")
                .header("content-type", "application/json")
                .body(body);
            async move {
                request
                    .send()
                    .await
                    .unwrap()
                    .json::<serde_json::Value>()
                    .await
                    .unwrap()
            }
        };
        for (body, errors) in [
            (
                r#"{"plugin":"noop","priority":100000000000000000000000,"targets":{},"timeout_seconds":-1}"#,
                vec![
                    (
                        "/priority",
                        "expected a whole number from -2147483648 to 2147483647, got 100000000000000000000000",
                    ),
                    ("/targets", "expected a list, got an object"),
                    (
                        "/timeout_seconds",
                        "expected a whole number from 0 to 4294967295, got -1",
                    ),
                ],
            ),
            (
                r#"{"plugin":"noop","scheduled_for":"tomorrow"}"#,
                vec![(
                    "/scheduled_for",
                    "expected a time such as 2026-12-01T02:30:00Z, got \"tomorrow\"",
                )],
            ),
            (
                r#"{"plugin":"noop","params":{"seconds":1,"seconds":2}}"#,
                vec![("/params/seconds", "duplicate field")],
            ),
        ] {
            let answer = post(body).await;
            let said: Vec<_> = answer["errors"]
                .as_array()
                .unwrap()
                .iter()
                .map(|error| {
                    (
                        error["pointer"].as_str().unwrap(),
                        error["message"].as_str().unwrap(),
                    )
                })
                .collect();
            assert_eq!(said, errors, "{body}");
        }
        for (query, pointer, message) in [
            (
                "limit=ten",
                "/limit",
                "expected a whole number, got \"ten\"",
            ),
            (
                "created_after=now",
                "/created_after",
                "expected a time such as 2026-12-01T02:30:00Z, got \"now\"",
            ),
            ("colour=red", "/colour", "unknown field `colour`"),
        ] {
            let answer = host.client.get(&format!("/api/jobs?{query}")).await;
            let error = &answer.body["errors"][0];
            assert_eq!(answer.status, 422, "{query}");
            assert_eq!(error["pointer"], pointer, "{query}: {}", answer.body);
            let said = error["message"].as_str().unwrap();
            assert!(said.starts_with(message), "{query}: {said}");
        }
    });
}

#[test]
fn parameters_that_a_plugin_does_not_take_are_named() {
    run(async {
        let source = r#"
            fn describe() { #{ summary: "A test", targets: "none" } }
            fn run(job, params) { }"#;
        let host = TestHost::with_playbook("takes-none", source).await;
        let job = json!({ "plugin": "takes-none", "params": { "seconds": 1 } });
        let refused = host.client.post("/api/jobs", &job).await;
        assert_eq!(refused.status, 422);
        let error = &refused.body["errors"][0];
        let said = format!("{}: {}", error["pointer"], error["message"]);
        assert!(
            !said.contains("schema") && said.contains("paramet"),
            "{said}"
        );
    });
}

#[test]
fn an_integer_with_too_many_digits_is_refused_when_it_is_submitted() {
    run(async {
        let host = TestHost::start().await;
        let number: serde_json::Value = serde_json::from_str(&"7".repeat(1_001)).unwrap();
        let job = json!({ "plugin": "noop", "params": { "seconds": number } });
        let refused = host.client.post("/api/jobs", &job).await;
        assert_eq!(refused.status, 422);
        let error = &refused.body["errors"][0];
        assert_eq!(error["pointer"], "/params/seconds");
        assert!(
            error["message"].as_str().unwrap().contains("1001 digits"),
            "{error}"
        );
    });
}

#[test]
fn a_body_that_is_no_json_is_refused() {
    run(async {
        let host = TestHost::start().await;
        let send = |content_type: &'static str, body: Vec<u8>| {
            let request = host
                .client
                .request(Method::POST, "/api/jobs")
                .header("content-type", content_type)
                .body(body);
            host.client.send(request)
        };
        assert_eq!(send("application/json", b"{".to_vec()).await.status, 400);
        assert_eq!(
            send("application/json", b"{\"plugin\":\"noop\"} {}".to_vec())
                .await
                .status,
            400
        );
        assert_eq!(send("application/json", vec![0xff, 0xfe]).await.status, 400);
        assert_eq!(
            send("text/plain", b"{\"plugin\":\"noop\"}".to_vec())
                .await
                .status,
            415
        );
        let deep = format!("{{\"plugin\":\"noop\",\"params\":{}", "[".repeat(100_000));
        assert_eq!(
            send("application/json", deep.into_bytes()).await.status,
            400
        );
    });
}

#[test]
fn a_body_that_is_too_large_is_refused() {
    run(async {
        // The body is small enough to be sent completely before the response arrives.
        let host = TestHost::start_with(|config| config.server.max_body_bytes = 1_024).await;
        let job = json!({ "plugin": "noop", "description": "x".repeat(2_000) });
        let answer = host.client.post("/api/jobs", &job).await;
        assert_eq!(answer.status, 413, "{}", answer.body);
        assert_eq!(answer.headers["content-type"], "application/problem+json");
    });
}

#[test]
fn the_same_idempotency_key_answers_with_the_first_job() {
    run(async {
        let host = TestHost::start().await;
        let send = |body: Value| {
            let request = host
                .client
                .request(Method::POST, "/api/jobs")
                .header("idempotency-key", "night-1")
                .json(&body);
            host.client.send(request)
        };
        let first = send(json!({ "plugin": "noop" })).await;
        let again = send(json!({ "plugin": "noop" })).await;
        assert_eq!((first.status, again.status), (202, 202));
        assert_eq!(first.body["id"], again.body["id"]);

        let other = send(json!({ "plugin": "noop", "description": "other" })).await;
        assert_eq!(other.status, 409, "{}", other.body);
        let jobs = host.client.get("/api/jobs").await;
        assert_eq!(jobs.body["jobs"].as_array().unwrap().len(), 1);
    });
}

#[test]
fn a_repeated_request_is_answered_although_its_plugin_is_gone() {
    run(async {
        let host = TestHost::with_own_scripts(&[("p", &playbook("1"))]).await;
        let send = || {
            let request = host
                .client
                .request(Method::POST, "/api/jobs")
                .header("idempotency-key", "night-1")
                .json(&json!({ "plugin": "p" }));
            host.client.send(request)
        };
        let first = send().await;
        std::fs::remove_file(host.path("scripts/p.rhai")).unwrap();
        host.client.act("/api/plugins/reload").await;
        let again = send().await;
        assert_eq!((again.status, &again.body["id"]), (202, &first.body["id"]));
    });
}

#[test]
fn pages_of_jobs_go_on_where_the_last_ended() {
    run(async {
        let host = TestHost::start().await;
        let mut submitted = Vec::new();
        for _ in 0..7 {
            submitted.push(host.submit(json!({ "plugin": "noop" })).await);
        }
        let mut listed = Vec::new();
        let mut url = "/api/jobs?limit=3".to_owned();
        loop {
            let page = host.client.get(&url).await;
            assert_eq!(page.status, 200, "{}", page.body);
            for job in page.body["jobs"].as_array().unwrap() {
                listed.push(job["id"].as_str().unwrap().to_owned());
            }
            match page.body["next_cursor"].as_str() {
                Some(cursor) => url = format!("/api/jobs?limit=3&cursor={cursor}"),
                None => break,
            }
        }
        submitted.reverse();
        assert_eq!(listed, submitted, "newest first, each once");
    });
}

#[test]
fn listings_are_filtered() {
    run(async {
        let host = TestHost::start().await;
        let good = host.run_job(json!({ "plugin": "noop" })).await;
        let bad = host
            .run_job(json!({ "plugin": "noop", "params": { "fail": true } }))
            .await;
        let ids = |query: String| {
            let host = &host;
            async move {
                let answer = host.client.get(&format!("/api/jobs?{query}")).await;
                assert_eq!(answer.status, 200, "{}", answer.body);
                let jobs = answer.body["jobs"].as_array().unwrap().clone();
                jobs.into_iter()
                    .map(|job| job["id"].clone())
                    .collect::<Vec<_>>()
            }
        };
        assert_eq!(ids("status=failed".into()).await, [bad["id"].clone()]);
        assert_eq!(
            ids("status=completed&plugin=noop".into()).await,
            [good["id"].clone()]
        );
        assert!(ids("plugin=other".into()).await.is_empty());
        assert!(ids("target=edge1".into()).await.is_empty());
        let after = good["created_at"].as_str().unwrap();
        assert_eq!(
            ids(format!("created_after={after}")).await,
            [bad["id"].clone()]
        );
        for wrong in [
            "status=odd",
            "limit=0",
            "limit=501",
            "cursor=x",
            "nonsense=1",
            "created_after=x",
        ] {
            let answer = host.client.get(&format!("/api/jobs?{wrong}")).await;
            assert_eq!(answer.status, 422, "{wrong}: {}", answer.body);
        }
    });
}

#[test]
fn stats_count_jobs_by_status() {
    run(async {
        let host = TestHost::start().await;
        host.run_job(json!({ "plugin": "noop" })).await;
        host.run_job(json!({ "plugin": "noop", "params": { "fail": true } }))
            .await;
        let stats = host.client.get("/api/jobs/stats").await.body;
        assert_eq!(stats["by_status"]["completed"], 1);
        assert_eq!(stats["by_status"]["failed"], 1);
        assert_eq!(stats["last_24h"], stats["by_status"]);
    });
}

#[test]
fn a_deleted_job_is_gone_with_what_it_left() {
    run(async {
        let source = playbook("log::info(\"here\");");
        let host = TestHost::with_playbook("talker", &source).await;
        let job = host.run_job(json!({ "plugin": "talker" })).await;
        let url = format!("/api/jobs/{}", job["id"].as_str().unwrap());
        assert_eq!(host.logs(&job["id"]).await.len(), 1);

        assert_eq!(host.client.delete(&url).await.status, 204);
        assert_eq!(host.client.get(&url).await.status, 404);
        assert_eq!(host.client.get(&format!("{url}/logs")).await.status, 404);
        assert_eq!(host.client.get(&format!("{url}/results")).await.status, 404);
        assert_eq!(host.client.delete(&url).await.status, 404);
    });
}

#[test]
fn logs_are_read_on_from_where_one_was_and_by_level() {
    run(async {
        let source = playbook(
            r#"log::write("debug", "one"); log::info("two", #{ port: 22 }); log::warn("three"); log::error(4); print("five");"#,
        );
        let host = TestHost::with_playbook("talker", &source).await;
        let job = host.run_job(json!({ "plugin": "talker" })).await;
        let logs = host.logs(&job["id"]).await;
        let said: Vec<_> = logs
            .iter()
            .map(|line| {
                (
                    line["level"].as_str().unwrap(),
                    line["message"].as_str().unwrap(),
                )
            })
            .collect();
        assert_eq!(
            said,
            [
                ("debug", "one"),
                ("info", "two"),
                ("warn", "three"),
                ("error", "4"),
                ("info", "five")
            ]
        );
        assert_eq!(logs[1]["context"], json!({ "port": 22 }));

        let url = format!("/api/jobs/{}/logs", job["id"].as_str().unwrap());
        let rest = host
            .client
            .get(&format!("{url}?after={}", logs[2]["id"]))
            .await
            .body;
        assert_eq!(rest["logs"].as_array().unwrap()[..], logs[3..]);
        let serious = host.client.get(&format!("{url}?level=warn")).await.body;
        assert_eq!(serious["logs"].as_array().unwrap()[..], logs[2..4]);
    });
}

#[test]
fn unknown_urls_and_methods_are_problems_too() {
    run(async {
        let host = TestHost::start().await;
        for url in [
            "/nothing",
            "/api/nothing",
            "/board/api/nothing",
            "/api/jobs/not-an-id",
            "/api/plugins/x",
        ] {
            let answer = host.client.get(url).await;
            assert_eq!(answer.status, 404, "{url}");
            assert_eq!(
                answer.headers["content-type"], "application/problem+json",
                "{url}"
            );
        }
        let answer = host.client.put("/api/jobs", &json!({})).await;
        assert_eq!(answer.status, 405);
        assert_eq!(answer.body["status"], 405);
    });
}

#[test]
fn every_answer_carries_a_request_id() {
    run(async {
        let host = TestHost::start().await;
        let answer = host.client.get("/api/jobs").await;
        assert!(!answer.headers["x-request-id"].is_empty());
        let request = host
            .client
            .request(Method::GET, "/api/jobs")
            .header("x-request-id", "mine");
        assert_eq!(
            host.client.send(request).await.headers["x-request-id"],
            "mine"
        );
    });
}

#[test]
fn a_page_of_another_site_changes_nothing() {
    run(async {
        let host = TestHost::start().await;
        let from = |origin: String| {
            let request = host
                .client
                .request(Method::POST, "/api/jobs")
                .header("origin", origin)
                .json(&json!({ "plugin": "noop" }));
            host.client.send(request)
        };
        assert_eq!(from("http://evil.example".to_owned()).await.status, 403);
        let own = host.client.url("");
        assert_eq!(from(own).await.status, 202);
        let jobs = host.client.get("/api/jobs").await.body;
        assert_eq!(jobs["jobs"].as_array().unwrap().len(), 1);
    });
}

#[test]
fn health_tells_the_state_of_each_part() {
    run(async {
        let host = TestHost::start().await;
        for url in ["/health", "/api/health"] {
            let health = host.client.get(url).await;
            assert_eq!(health.status, 200, "{}", health.body);
            assert_eq!(health.body["status"], "healthy");
            for part in ["storage", "queue", "workers", "plugins"] {
                assert_eq!(health.body[part]["status"], "healthy", "{part}");
            }
        }
        host.app.dispatch.close().await;
        let health = host.client.get("/health").await;
        assert_eq!(health.status, 503);
        assert_eq!(health.body["status"], "unhealthy");
        assert_eq!(health.body["queue"]["status"], "unhealthy");
        assert_eq!(health.body["storage"]["status"], "healthy");
    });
}

#[test]
fn the_dashboard_is_served_with_its_files() {
    run(async {
        let host = TestHost::start().await;
        for url in ["/board", "/board/", "/board/jobs/1", "/board/new"] {
            let page = host.client.get(url).await;
            assert_eq!(page.status, 200, "{url}");
            assert!(page.text.contains(r#"<base href="/board/" />"#), "{url}");
            assert!(
                page.text
                    .contains(r#"<meta name="api-base" content="/board/api" />"#),
                "{url}"
            );
            let policy = page.headers["content-security-policy"].to_str().unwrap();
            assert!(policy.contains("script-src 'self'"), "{policy}");
        }
        let script = host.client.get("/board/static/main.js").await;
        assert_eq!(script.status, 200);
        assert_eq!(
            script.headers["content-type"],
            "text/javascript; charset=utf-8"
        );
        assert_eq!(
            host.client.get("/board/static/nothing.js").await.status,
            404
        );
        assert_eq!(
            host.client.get("/board/static/../Cargo.toml").await.status,
            404
        );
        assert_eq!(host.client.get("/board/api/jobs").await.status, 200);
    });
}

#[test]
fn the_dashboards_paths_are_configured() {
    run(async {
        let host = TestHost::start_with(|config| {
            config.board.ui_path = "/ops/ui".to_owned();
            config.board.api_prefix = "/ops/api".to_owned();
        })
        .await;
        let page = host.client.get("/ops/ui").await;
        assert!(page.text.contains(r#"<base href="/ops/ui/" />"#));
        assert!(page.text.contains(r#"content="/ops/api""#));
        assert_eq!(host.client.get("/ops/api/jobs").await.status, 200);
        assert_eq!(host.client.get("/board").await.status, 404);
    });
}
