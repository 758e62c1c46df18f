//! Tests the perimeter of the API: host names, origins, addresses, connection limits, timeouts.

use std::fs::File;
use std::net::SocketAddr;
use std::path::Path;
use std::process::Output;

use reqwest::Method;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout};

use crate::harness::{
    Answer, Browser, Client, DEADLINE, Server, TestHost, playbook, run, scheduler,
};

const GET_HEALTH: &str = "GET /health HTTP/1.1\r\nhost: localhost\r\n\r\n";

/// A client that writes to the socket directly.
struct Raw(TcpStream);

impl Raw {
    async fn connect(url: &str) -> Self {
        let address: SocketAddr = url.strip_prefix("http://").unwrap().parse().unwrap();
        Self(TcpStream::connect(address).await.unwrap())
    }

    async fn send(&mut self, bytes: impl AsRef<[u8]>) {
        let sending = self.0.write_all(bytes.as_ref());
        let sent = timeout(DEADLINE, sending).await;
        sent.expect("the server takes it").unwrap();
    }

    /// Reads until the server closes the connection.
    async fn read_to_end(&mut self) -> std::io::Result<String> {
        let mut read = Vec::new();
        let reading = self.0.read_to_end(&mut read);
        timeout(DEADLINE, reading)
            .await
            .expect("the server closes the connection")?;
        Ok(String::from_utf8_lossy(&read).into_owned())
    }

    /// Reads one response with a `content-length`.
    async fn read_answer(&mut self) -> String {
        let mut read = Vec::new();
        let reading = async {
            loop {
                let text = String::from_utf8_lossy(&read).into_owned();
                if let Some((head, body)) = text.split_once("\r\n\r\n") {
                    let length = head.lines().find_map(|line| {
                        line.to_lowercase()
                            .strip_prefix("content-length: ")
                            .map(|length| length.parse::<usize>().unwrap())
                    });
                    if body.len() >= length.unwrap_or_default() {
                        return text;
                    }
                }
                assert_ne!(self.0.read_buf(&mut read).await.unwrap(), 0, "{text}");
            }
        };
        timeout(DEADLINE, reading).await.expect("an answer")
    }
}

fn problem_of(answer: &str) -> Value {
    let (_head, body) = answer.split_once("\r\n\r\n").unwrap();
    serde_json::from_str(body).unwrap_or_else(|error| panic!("{error}: {answer}"))
}

/// Requests `/health` over a new connection each time, until the status is 200.
async fn until_healthy(client: &Client) {
    let begun = Instant::now();
    loop {
        let mut raw = Raw::connect(&client.url("")).await;
        raw.send(GET_HEALTH.replace("\r\n\r\n", "\r\nconnection: close\r\n\r\n"))
            .await;
        let answer = raw.read_to_end().await.unwrap_or_default();
        if answer.starts_with("HTTP/1.1 200 ") {
            return;
        }
        assert!(begun.elapsed() < DEADLINE, "the last answer: {answer}");
    }
}

/// Sends a request with these headers.
async fn ask(host: &TestHost, method: Method, path: &str, headers: &[(&str, &str)]) -> Answer {
    let mut request = host.client.request(method, path);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    host.client.send(request).await
}

#[test]
fn a_page_that_points_its_name_at_the_server_gets_nothing() {
    run(async {
        let host = TestHost::start_with(|config| {
            // The listening address makes no difference.
            config.server.host = "0.0.0.0".to_owned();
            config.server.allowed_hosts = vec!["noc.example".to_owned()];
        })
        .await;
        let rebound = [
            ("host", "evil.example:8098"),
            ("origin", "http://evil.example:8098"),
        ];
        for (method, path) in [
            (Method::POST, "/api/jobs"),
            (Method::GET, "/api/jobs"),
            (Method::GET, "/board"),
            (Method::GET, "/health"),
            (Method::GET, "/nothing"),
        ] {
            let answer = ask(&host, method, path, &rebound).await;
            assert_eq!(answer.status, 403, "{path}");
            assert_eq!(answer.body["type"], "/problems/foreign-host", "{path}");
            let detail = answer.body["detail"].as_str().unwrap();
            assert!(detail.contains("server.allowed_hosts"), "{detail}");
        }
        for own in ["noc.example", "192.0.2.1:8080", "localhost"] {
            let answer = ask(&host, Method::GET, "/api/jobs", &[("host", own)]).await;
            assert_eq!(answer.status, 200, "{own}");
        }
    });
}

#[test]
fn only_listed_origins_may_read_and_change_from_a_browser() {
    run(async {
        let host = TestHost::start_with(|config| {
            config.server.cors_origins = vec!["https://tools.example".to_owned()];
        })
        .await;
        let fetch = async |origin: &str| {
            let headers = [
                ("origin", origin),
                ("sec-fetch-site", "cross-site"),
                ("sec-fetch-mode", "cors"),
            ];
            ask(&host, Method::GET, "/api/jobs", &headers).await
        };
        let allowed = fetch("https://tools.example").await;
        assert_eq!(allowed.status, 200);
        let to = &allowed.headers["access-control-allow-origin"];
        assert_eq!(to, "https://tools.example");
        let refused = fetch("https://evil.example").await;
        assert_eq!(refused.status, 403);
        assert!(!refused.headers.contains_key("access-control-allow-origin"));
        // A link on another site opens a page.
        let link = [
            ("sec-fetch-site", "cross-site"),
            ("sec-fetch-mode", "navigate"),
            ("sec-fetch-dest", "document"),
        ];
        let page = ask(&host, Method::GET, "/board/jobs/1", &link).await;
        assert_eq!(page.status, 200);
    });
}

/// Runs the binary to its end.
async fn run_scheduler(
    directory: &Path,
    arguments: &[&str],
    environment: &[(&str, &str)],
) -> Output {
    let mut command = scheduler();
    command
        .args(arguments)
        .current_dir(directory)
        .envs(environment.iter().copied());
    let ended = tokio::task::spawn_blocking(move || command.output().unwrap());
    timeout(DEADLINE, ended).await.unwrap().unwrap()
}

#[test]
fn the_server_does_not_start_off_loopback_unless_the_network_is_trusted() {
    run(async {
        let directory = tempfile::tempdir().unwrap();
        for host in ["0.0.0.0", "::", "192.0.2.1"] {
            let arguments = ["serve", "--host", host, "--port", "0"];
            let refused = run_scheduler(directory.path(), &arguments, &[]).await;
            assert_eq!(refused.status.code(), Some(1));
            let told = String::from_utf8(refused.stderr).unwrap();
            for said in [host, "server.trust_network = true", "127.0.0.1", "unix:"] {
                assert!(told.contains(said), "{told}");
            }
        }
        assert!(
            !directory.path().join("scheduler.db").exists(),
            "nothing was opened"
        );

        let log = directory.path().join("log");
        let trusting = [
            ("SCHEDULER_SERVER_HOST", "0.0.0.0"),
            ("SCHEDULER_SERVER_TRUST_NETWORK", "true"),
        ];
        let file = Some(File::create(&log).unwrap());
        let server = Server::start_logged(directory.path(), &trusting, file);
        let rebound = server
            .client
            .request(Method::GET, "/health")
            .header("host", "evil.example");
        assert_eq!(server.client.send(rebound).await.status, 403);
        assert_eq!(server.client.get("/health").await.status, 200);
        assert_eq!(server.terminate(), Some(0));
        let log = std::fs::read_to_string(log).unwrap();
        let warned = log.matches("server.trust_network").count();
        assert_eq!(warned, 1, "{log}");
    });
}

#[test]
fn a_star_is_refused_as_an_origin() {
    run(async {
        let directory = tempfile::tempdir().unwrap();
        let star = [("SCHEDULER_SERVER_CORS_ORIGINS", "*")];
        let refused = run_scheduler(directory.path(), &["serve", "--port", "0"], &star).await;
        assert_eq!(refused.status.code(), Some(1));
        let told = String::from_utf8(refused.stderr).unwrap();
        assert!(told.contains("server.cors_origins"), "{told}");
        assert!(told.contains("list the origins"), "{told}");
    });
}

#[test]
fn the_server_and_the_command_line_meet_at_a_unix_socket() {
    run(async {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path();
        let socket = [("SCHEDULER_SERVER_HOST", "unix:http.sock")];
        let ask = async |arguments: &[&str]| {
            let url = [("SCHEDULER_URL", "unix:http.sock")];
            let asked = run_scheduler(path, arguments, &url).await;
            let told = String::from_utf8(asked.stderr).unwrap();
            assert_eq!(asked.status.code(), Some(0), "{told}");
            assert!(!told.contains("plain http"), "{told}");
            String::from_utf8(asked.stdout).unwrap()
        };
        let server = Server::start_with(path, &socket);
        assert_eq!(server.client.url(""), "unix:http.sock");
        assert!(ask(&["plugin", "list"]).await.contains("noop"));
        // Including events, over a lasting connection.
        ask(&["job", "submit", "noop", "--wait"]).await;

        // Another server, with its own database, does not take over the socket.
        let other = tempfile::tempdir().unwrap();
        let taken = format!("unix:{}", path.join("http.sock").display());
        let refused = run_scheduler(other.path(), &["serve", "--host", &taken], &[]).await;
        assert_eq!(refused.status.code(), Some(1));
        let told = String::from_utf8(refused.stderr).unwrap();
        assert!(told.contains("another server uses"), "{told}");
        ask(&["plugin", "list"]).await;

        server.kill();
        assert!(path.join("http.sock").exists(), "a killed server leaves it");
        let server = Server::start_with(path, &socket);
        ask(&["plugin", "list"]).await;
        assert_eq!(server.terminate(), Some(0));
        assert!(!path.join("http.sock").exists());

        let without_server = [("SCHEDULER_URL", "unix:http.sock")];
        let unreachable = run_scheduler(path, &["plugin", "list"], &without_server).await;
        assert_eq!(unreachable.status.code(), Some(3));
        let told = String::from_utf8(unreachable.stderr).unwrap();
        assert!(told.contains("unix:http.sock"), "{told}");
    });
}

#[test]
fn a_connection_is_kept_for_the_next_request_and_closed_when_idle() {
    run(async {
        let host = TestHost::start_with(|config| config.server.idle_timeout_seconds = 1).await;
        let mut raw = Raw::connect(&host.client.url("")).await;
        let job = r#"{"plugin":"noop"}"#;
        let head =
            "POST /api/jobs HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n";
        let post = format!("{head}content-length: {}\r\n\r\n{job}", job.len());
        let chunked = format!(
            "{head}transfer-encoding: chunked\r\n\r\n{:x}\r\n{job}\r\n0\r\n\r\n",
            job.len()
        );
        for (request, status) in [
            (GET_HEALTH, 200),
            (&post, 202),
            (&chunked, 202),
            (GET_HEALTH, 200),
        ] {
            raw.send(request).await;
            let answer = raw.read_answer().await;
            assert!(
                answer.starts_with(&format!("HTTP/1.1 {status} ")),
                "{answer}"
            );
        }
        assert_eq!(raw.read_to_end().await.unwrap(), "");
    });
}

#[test]
fn a_half_sent_head_is_given_up() {
    run(async {
        let host = TestHost::start_with(|config| config.server.header_timeout_seconds = 1).await;
        let head = "GET /health HTTP/1.1\r\nhost: local";
        let mut fresh = Raw::connect(&host.client.url("")).await;
        fresh.send(head).await;
        let mut used = Raw::connect(&host.client.url("")).await;
        used.send(GET_HEALTH).await;
        used.read_answer().await;
        used.send(head).await;
        // Within the deadline: the default idle timeout is longer.
        assert_eq!(fresh.read_to_end().await.unwrap(), "");
        assert_eq!(used.read_to_end().await.unwrap(), "");
    });
}

#[test]
fn idle_clients_and_half_sent_heads_do_not_lock_others_out() {
    run(async {
        let directory = tempfile::tempdir().unwrap();
        let log = directory.path().join("log");
        let file = File::create(&log).unwrap();
        // No timeout ends a connection during the test.
        let patient = [("SCHEDULER_SERVER_HEADER_TIMEOUT_SECONDS", "300")];
        // File descriptors for a tenth of the clients.
        let server = Server::start_with_descriptors(directory.path(), &patient, 300, file);
        let url = server.client.url("");
        let mut clients = Vec::new();
        for number in 0..1_320 {
            let mut raw = Raw::connect(&url).await;
            if number % 4 == 0 {
                // The server may already have closed it.
                let _ = raw.0.write_all(b"GET /health HTTP/1.1\r\nhost: l").await;
            }
            clients.push(raw);
        }
        until_healthy(&server.client).await;
        assert_eq!(server.client.get("/api/jobs").await.status, 200);
        drop(clients);
        assert_eq!(server.terminate(), Some(0));
    });
}

#[test]
fn a_server_without_descriptors_says_so_once_and_goes_on() {
    run(async {
        let directory = tempfile::tempdir().unwrap();
        let log = directory.path().join("log");
        let file = File::create(&log).unwrap();
        let patient = [("SCHEDULER_SERVER_HEADER_TIMEOUT_SECONDS", "300")];
        let server = Server::start_logged(directory.path(), &patient, Some(file));
        // Lowered after the start, so that the server's connection limit does not help.
        until_healthy(&server.client).await;
        server.leave_descriptors(10);
        let url = server.client.url("");
        let mut clients = Vec::new();
        for _ in 0..200 {
            clients.push(Raw::connect(&url).await);
        }
        until_healthy(&server.client).await;
        drop(clients);
        until_healthy(&server.client).await;
        assert_eq!(server.terminate(), Some(0));
        let log = std::fs::read_to_string(log).unwrap();
        let said = log.matches("failed to accept connections").count();
        assert_eq!(said, 1, "{log}");
    });
}

#[test]
fn where_all_connections_have_requests_a_further_one_is_told_so() {
    run(async {
        let host = TestHost::start_with(|config| config.server.max_connections = 3).await;
        let id = host
            .submit(json!({ "plugin": "noop", "params": { "seconds": 600 } }))
            .await;
        host.running(&id).await;
        let mut following = Vec::new();
        for _ in 0..3 {
            let mut raw = Raw::connect(&host.client.url("")).await;
            raw.send(format!(
                "GET /api/jobs/{id}/events HTTP/1.1\r\nhost: localhost\r\n\r\n"
            ))
            .await;
            let first = timeout(DEADLINE, raw.0.read_u8()).await;
            assert_eq!(first.unwrap().unwrap(), b'H');
            following.push(raw);
        }
        let mut raw = Raw::connect(&host.client.url("")).await;
        raw.send(GET_HEALTH).await;
        let answer = raw.read_to_end().await.unwrap();
        assert!(answer.starts_with("HTTP/1.1 503 "), "{answer}");
        assert!(answer.contains("retry-after: 1\r\n"), "{answer}");
        assert_eq!(
            problem_of(&answer)["type"],
            "/problems/too-many-connections"
        );

        following.pop();
        until_healthy(&host.client).await;
    });
}

#[test]
fn half_sent_bodies_do_not_lock_others_out() {
    run(async {
        let host = TestHost::start_with(|config| {
            config.server.max_connections = 3;
            // No timeout ends a request during the test.
            config.server.request_timeout_seconds = 3_600;
        })
        .await;
        let mut clients = Vec::new();
        for _ in 0..10 {
            let mut raw = Raw::connect(&host.client.url("")).await;
            let head = "POST /api/jobs HTTP/1.1\r\nhost: localhost\r\n\
                content-type: application/json\r\ncontent-length: 1000\r\n\r\n{";
            let _ = raw.0.write_all(head.as_bytes()).await;
            clients.push(raw);
        }
        until_healthy(&host.client).await;
    });
}

#[test]
fn a_client_that_does_not_read_its_answer_is_cut() {
    const MIB: usize = 1 << 20;
    // More than the system buffers for a connection.
    const MIBS: usize = 25;
    run(async {
        let source = playbook(&format!(
            r#"let text = "x"; while text.len() < {MIB} {{ text += text; }}
               let all = ""; for n in 0..{MIBS} {{ all += text; }} all"#
        ));
        let host = TestHost::with_scripts_and(&[("big", &source)], |config| {
            config.server.max_connections = 1;
            config.server.write_timeout_seconds = 1;
        })
        .await;
        let id = host.submit(json!({ "plugin": "big" })).await;
        host.app.jobs.wait(id.parse().unwrap()).await.unwrap();
        let mut raw = Raw::connect(&host.client.url("")).await;
        raw.send(format!(
            "GET /api/jobs/{id} HTTP/1.1\r\nhost: localhost\r\n\r\n"
        ))
        .await;
        let first = timeout(DEADLINE, raw.0.read_u8()).await;
        assert_eq!(first.unwrap().unwrap(), b'H');
        // The single connection slot becomes free only when the server closes this connection.
        until_healthy(&host.client).await;
        let read = raw.read_to_end().await.unwrap_or_default();
        assert!(read.len() < MIBS * MIB, "{} bytes came", read.len());
    });
}

const LARGE: usize = 20_000_000;

#[test]
fn a_client_that_sends_all_before_it_reads_can_read_why_it_is_refused() {
    const JSON: &str = "content-type: application/json\r\n";
    const MIB: usize = 1 << 20;
    let cases = [
        (413, MIB, "/api/jobs", JSON),
        (413, MIB, "/nothing", ""),
        (415, 2 * LARGE, "/api/jobs", ""),
        (
            403,
            2 * LARGE,
            "/api/jobs",
            "origin: http://evil.example\r\n",
        ),
        (404, 2 * LARGE, "/nothing", JSON),
    ];
    run(async move {
        for (status, limit, path, headers) in cases {
            let host = TestHost::start_with(|config| config.server.max_body_bytes = limit).await;
            let mut raw = Raw::connect(&host.client.url("")).await;
            raw.send(format!(
                "POST {path} HTTP/1.1\r\nhost: localhost\r\n{headers}\
                 content-length: {LARGE}\r\n\r\n"
            ))
            .await;
            raw.send(vec![b' '; LARGE]).await;
            let answer = raw.read_to_end().await.unwrap();
            expect_refusal(&answer, status);
        }
    });
}

#[test]
fn a_body_of_unknown_length_that_is_too_large_is_refused_readably() {
    run(async {
        let host = TestHost::start_with(|config| config.server.max_body_bytes = 1 << 20).await;
        let mut raw = Raw::connect(&host.client.url("")).await;
        raw.send(
            "POST /api/jobs HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n\
             transfer-encoding: chunked\r\n\r\n",
        )
        .await;
        for _ in 0..20 {
            raw.send("F4240\r\n").await;
            raw.send(vec![b' '; 1_000_000]).await;
            raw.send("\r\n").await;
        }
        raw.send("0\r\n\r\n").await;
        expect_refusal(&raw.read_to_end().await.unwrap(), 413);
    });
}

#[test]
fn a_client_that_asks_before_it_sends_is_spared_the_sending() {
    run(async {
        let host = TestHost::start_with(|config| config.server.max_body_bytes = 1 << 20).await;
        let mut raw = Raw::connect(&host.client.url("")).await;
        raw.send(format!(
            "POST /api/jobs HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n\
             expect: 100-continue\r\ncontent-length: {LARGE}\r\n\r\n"
        ))
        .await;
        expect_refusal(&raw.read_to_end().await.unwrap(), 413);
    });
}

fn expect_refusal(answer: &str, status: u16) {
    assert!(
        answer.starts_with(&format!("HTTP/1.1 {status} ")),
        "{answer}"
    );
    let head = answer.to_lowercase();
    assert!(head.contains("\r\nconnection: close\r\n"), "{answer}");
    assert_eq!(problem_of(answer)["status"], status, "{answer}");
}

#[test]
fn a_library_reads_why_a_large_body_is_refused() {
    run(async {
        let host = TestHost::start_with(|config| config.server.max_body_bytes = 1 << 20).await;
        for _ in 0..5 {
            let request = host
                .client
                .request(Method::POST, "/api/jobs")
                .header("content-type", "application/json")
                .body(vec![b' '; LARGE]);
            let answer = host.client.send(request).await;
            assert_eq!(answer.status, 413);
            assert_eq!(answer.body["type"], "/problems/too-large");
        }
        assert_eq!(host.client.get("/health").await.status, 200);
    });
}

#[test]
fn a_request_under_way_is_answered_while_the_server_stops() {
    run(async {
        let host = TestHost::start().await;
        let url = host.client.url("");
        let mut idle = Raw::connect(&url).await;
        idle.send(GET_HEALTH).await;
        idle.read_answer().await;
        let mut busy = Raw::connect(&url).await;
        let body = r#"{"plugin":"nothing"}"#;
        busy.send(format!(
            "POST /api/jobs HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n\
             content-length: {}\r\n\r\n{{",
            body.len()
        ))
        .await;
        // The server has responded to another request, so it has received the beginning of this
        // one.
        idle.send(GET_HEALTH).await;
        idle.read_answer().await;
        let ending = async {
            // The server closes idle connections when it begins to stop.
            assert_eq!(idle.read_to_end().await.unwrap(), "");
            busy.send(&body[1..]).await;
            busy.read_to_end().await.unwrap()
        };
        let (answer, _stopped) = tokio::join!(ending, host.stop());
        assert!(answer.starts_with("HTTP/1.1 404 "), "{answer}");
    });
}

#[test]
fn every_answer_tells_browsers_what_not_to_do() {
    run(async {
        let host = TestHost::start_with(|config| config.server.max_body_bytes = 1 << 10).await;
        let mut answers = Vec::new();
        for path in [
            "/health",
            "/api/jobs",
            "/api/jobs?nonsense=1",
            "/api/nothing",
            "/nothing",
            "/board/api/jobs",
            "/board",
            "/board/static/main.js",
            "/board/static/nothing.js",
            "/api/docs/",
            "/api/docs/swagger-ui.css",
            "/api/openapi.json",
        ] {
            answers.push((path, host.client.get(path).await));
        }
        let evil = [("host", "evil.example")];
        answers.push(("403", ask(&host, Method::GET, "/health", &evil).await));
        let preflight = [
            ("origin", "https://tools.example"),
            ("access-control-request-method", "POST"),
        ];
        answers.push((
            "cors",
            ask(&host, Method::OPTIONS, "/api/jobs", &preflight).await,
        ));
        answers.push(("405", host.client.put("/api/jobs", &json!({})).await));
        let large = json!("x".repeat(2_000));
        answers.push(("413", host.client.post("/api/jobs", &large).await));
        for (what, answer) in answers {
            let header = |name: &str| {
                let value = answer.headers.get(name);
                let value = value.unwrap_or_else(|| panic!("{what} has no {name}"));
                value.to_str().unwrap()
            };
            assert_eq!(header("x-content-type-options"), "nosniff", "{what}");
            assert_eq!(header("x-frame-options"), "DENY", "{what}");
            assert_eq!(
                header("cross-origin-resource-policy"),
                "same-origin",
                "{what}"
            );
            assert!(["no-referrer", "same-origin"].contains(&header("referrer-policy")));
            let policy = header("content-security-policy");
            assert!(policy.starts_with("default-src 'none'"), "{what}: {policy}");
            assert!(
                policy.contains("frame-ancestors 'none'"),
                "{what}: {policy}"
            );
            let is_page =
                what == "/board" || what.starts_with("/api/docs") || what == "/api/openapi.json";
            assert_eq!(policy.contains("script-src"), is_page, "{what}: {policy}");
            let scripts = policy.split(';').find(|part| part.contains("script-src"));
            assert!(
                !scripts.is_some_and(|scripts| scripts.contains("unsafe")),
                "{policy}"
            );
        }
    });
}

#[test]
fn the_root_leads_to_the_dashboard() {
    run(async {
        let host = TestHost::start_with(|config| config.board.ui_path = "/ops".to_owned()).await;
        let page = host.client.get("/").await;
        assert_eq!(page.status, 200);
        assert!(page.text.contains(r#"<base href="/ops/" />"#));
        let mut raw = Raw::connect(&host.client.url("")).await;
        raw.send("GET / HTTP/1.1\r\nhost: localhost\r\n\r\n").await;
        let answer = raw.read_answer().await;
        assert!(answer.starts_with("HTTP/1.1 307 "), "{answer}");
        assert!(answer.contains("location: /ops\r\n"), "{answer}");

        let without = TestHost::start_with(|config| config.board.enabled = false).await;
        let answer = without.client.get("/").await;
        assert_eq!(answer.status, 404);
        assert!(answer.text.contains("/api/docs"), "{}", answer.text);
    });
}

#[test]
fn the_apis_documentation_works_under_its_policy() {
    run(async {
        let host = TestHost::start().await;
        let browser = Browser::start(&host.client).await;
        browser.open("/api/docs/").await;
        browser.shows("#swagger-ui .info", "Job Scheduler").await;
        browser
            .click("#operations-health-health .opblock-summary-control")
            .await;
        browser
            .click("#operations-health-health .try-out__btn")
            .await;
        browser.click("#operations-health-health .execute").await;
        browser
            .shows("#operations-health-health .live-responses-table", "healthy")
            .await;
        assert_eq!(browser.console().await, Vec::<String>::new());
    });
}
