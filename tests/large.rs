//! Tests large jobs: listings omit large fields, and the rest comes in pages within a memory
//! budget.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;

use serde_json::{Value, json};

use crate::harness::{Client, DEADLINE, Server, TestHost, playbook, run};

const MIB: usize = 1 << 20;

/// Returns `params.mib` texts of one MiB, and logs `params.lines` lines.
const LARGE: &str = r#"
    let text = "0123456789abcdef";
    while text.bytes < 1048576 { text += text; }
    let texts = [];
    for i in 0..params.mib { texts.push(text); }
    for i in 0..params.lines { log::info(text.sub_string(0, 16000)); }
    texts
"#;

async fn completed(host: &TestHost, params: Value) -> Value {
    let job = host
        .run_job(json!({ "plugin": "large", "params": params }))
        .await;
    assert_eq!(job["status"], "completed", "{}", job["error_message"]);
    job
}

#[test]
fn listings_carry_no_results_and_no_long_parameters() {
    run(async {
        let host = TestHost::with_playbook("large", &playbook(LARGE)).await;
        let padding = "p".repeat(2_000);
        let job = completed(&host, json!({ "mib": 2, "lines": 0, "padding": padding })).await;
        assert_eq!(job["result"].as_array().unwrap().len(), 2);
        assert_eq!(job["params"]["padding"], padding);
        let small = completed(&host, json!({ "mib": 0, "lines": 0 })).await;
        let listed = host.client.get("/api/jobs").await.body;
        let text = listed.to_string();
        assert!(text.len() < 10_000, "{} bytes", text.len());
        let listed = listed["jobs"].as_array().unwrap();
        let of = |job: &Value| {
            let own = listed.iter().find(|listed| listed["id"] == job["id"]);
            own.unwrap().clone()
        };
        let large = of(&job);
        assert!(large.get("result").is_none(), "{large}");
        assert_eq!(large["result_bytes"], job["result"].to_string().len());
        assert_eq!(large["params"], Value::Null);
        assert_eq!(large["params_bytes"], job["params"].to_string().len());
        assert_eq!(of(&small)["params"], small["params"]);
    });
}

#[test]
fn the_log_comes_in_pages_of_bytes() {
    run(async {
        let host = TestHost::with_playbook("large", &playbook(LARGE)).await;
        let job = completed(&host, json!({ "mib": 0, "lines": 600 })).await;
        let path = format!("/api/jobs/{}/logs", job["id"].as_str().unwrap());
        let (mut lines, mut pages, mut after) = (0, 0, 0);
        loop {
            let page = host.client.get(&format!("{path}?after={after}")).await.body;
            assert!(page.to_string().len() < 5 * MIB);
            lines += page["logs"].as_array().unwrap().len();
            pages += 1;
            match page["next_after"].as_i64() {
                Some(next) => after = next,
                None => break,
            }
        }
        assert!(lines >= 600, "{lines} lines");
        assert_eq!(pages, 3);
    });
}

/// Returns a process's peak memory during `work`, in MiB.
fn peak_since(server: &Server, work: impl FnOnce()) -> u64 {
    let directory = format!("/proc/{}", server.id());
    std::fs::write(format!("{directory}/clear_refs"), "5").unwrap();
    work();
    let status = std::fs::read_to_string(format!("{directory}/status")).unwrap();
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kib: u64 = peak
        .unwrap()
        .trim()
        .trim_end_matches(" kB")
        .parse()
        .unwrap();
    kib / 1024
}

/// Sends a request and never reads the response.
fn never_reads(address: &str, path: &str) -> TcpStream {
    let mut stream = TcpStream::connect(address).unwrap();
    write!(stream, "GET {path} HTTP/1.1\r\nHost: {address}\r\n\r\n").unwrap();
    stream
}

async fn ended(client: &Client, job: Value) -> Value {
    let submitted = client.post("/api/jobs", &job).await;
    assert_eq!(submitted.status, 202, "{}", submitted.body);
    let path = format!("/api/jobs/{}", submitted.body["id"].as_str().unwrap());
    let ended = async {
        loop {
            let job = client.get(&path).await.body;
            if ["completed", "failed"].contains(&job["status"].as_str().unwrap()) {
                return job;
            }
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(DEADLINE, ended).await.unwrap()
}

#[test]
fn clients_that_do_not_read_take_no_more_than_the_budget() {
    run(async {
        let directory = tempfile::tempdir().unwrap();
        let scripts = directory.path().join("scripts");
        std::fs::create_dir(&scripts).unwrap();
        std::fs::write(scripts.join("large.rhai"), playbook(LARGE)).unwrap();
        let environment = [
            ("SCHEDULER_PLUGINS_SCRIPTS_DIR", "scripts"),
            ("SCHEDULER_POLICY_QUEUE_SUBMIT", "*"),
        ];
        let server = Server::start_with(directory.path(), &environment);
        let client = &server.client;
        let params = json!({ "mib": 24, "lines": 600 });
        let job = ended(client, json!({ "plugin": "large", "params": params })).await;
        assert_eq!(job["status"], "completed", "{}", job["error_message"]);
        let id = job["id"].as_str().unwrap();
        let address = client.url("").replace("http://", "");
        let before = peak_since(&server, || {});
        let mut streams = Vec::new();
        let peak = peak_since(&server, || {
            for _ in 0..10 {
                for path in [
                    format!("/api/jobs/{id}"),
                    format!("/api/jobs/{id}/logs"),
                    format!("/api/jobs/{id}/results"),
                    "/api/jobs?limit=500".to_owned(),
                ] {
                    streams.push(never_reads(&address, &path));
                }
            }
            // Each request gets a response, or an error because others use the budget; no client
            // reads it.
            for stream in &streams {
                stream.set_read_timeout(Some(DEADLINE)).unwrap();
                assert_eq!(stream.peek(&mut [0]).unwrap(), 1);
            }
        });
        assert!(peak < before + 160, "{peak} MiB after {before} MiB");
        drop(streams);
        // The budget is free again.
        let results = client.get(&format!("/api/jobs/{id}/logs")).await;
        assert_eq!(results.status, 200, "{}", results.body);
    });
}

/// Sends a complete body and returns the status of the response.
fn sends(address: &str, body: &[u8]) -> u16 {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(DEADLINE)).unwrap();
    let length = body.len();
    let head = format!(
        "POST /api/jobs HTTP/1.1\r\nHost: {address}\r\nContent-Type: application/json\r\n\
         Content-Length: {length}\r\nConnection: close\r\n\r\n"
    );
    stream.write_all(head.as_bytes()).unwrap();
    stream.write_all(body).unwrap();
    let mut status = [0; 12];
    stream.read_exact(&mut status).unwrap();
    let status = std::str::from_utf8(&status).unwrap();
    status.trim_start_matches("HTTP/1.1 ").parse().unwrap()
}

/// Returns a scheduled submission with `count` times `item` as its parameters.
fn body_of(item: &str, count: usize) -> Vec<u8> {
    let items = vec![item; count].join(",");
    let later = r#""scheduled_for":"2100-01-01T00:00:00Z""#;
    format!(r#"{{"plugin":"takes-any",{later},"params":{{"items":[{items}]}}}}"#).into_bytes()
}

#[test]
fn bodies_of_many_values_take_no_more_than_their_budget() {
    const RECORD: &str = r#"{"interface":"GigabitEthernet0/1","status":"up","mtu":1500}"#;
    run(async {
        let directory = tempfile::tempdir().unwrap();
        let scripts = directory.path().join("scripts");
        std::fs::create_dir(&scripts).unwrap();
        std::fs::write(scripts.join("takes-any.rhai"), playbook("()")).unwrap();
        let environment = [
            ("SCHEDULER_PLUGINS_SCRIPTS_DIR", "scripts"),
            ("SCHEDULER_POLICY_QUEUE_SUBMIT", "*"),
            ("SCHEDULER_SERVER_MAX_REQUEST_MEMORY_BYTES", "67108864"),
        ];
        let server = Server::start_with(directory.path(), &environment);
        let address = server.client.url("").replace("http://", "");
        let before = peak_since(&server, || {});
        // Two MB each, and 100 MB as values: more than the whole budget.
        let hostile = body_of(r#"{"":[]}"#, 250_000);
        // A third of the budget each.
        let large = body_of(RECORD, 25_000);
        let peak = peak_since(&server, || {
            std::thread::scope(|scope| {
                let send = |body| {
                    let address = &address;
                    scope.spawn(move || sends(address, body))
                };
                let hostile: Vec<_> = (0..20).map(|_| send(&hostile)).collect();
                let large: Vec<_> = (0..8).map(|_| send(&large)).collect();
                for refused in hostile {
                    assert_eq!(refused.join().unwrap(), 413);
                }
                // The server handles them one after the other.
                for accepted in large {
                    assert_eq!(accepted.join().unwrap(), 202);
                }
            });
        });
        assert!(peak < before + 160, "{peak} MiB after {before} MiB");
    });
}
