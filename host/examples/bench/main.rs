//! Benchmarks of the host:
//!
//! - `cargo xtask bench jobs`: the overhead of a job compared with its work alone;
//! - the end of `cargo xtask bench sessions`: a job on a device with an idle session in the pool;
//! - `cargo xtask bench batch`: a thousand devices at once;
//! - `cargo xtask bench history`: a database of a million jobs;
//! - `cargo xtask bench memory`: the memory of a server, idle and under mixed jobs.
//!
//! All but `batch` and `history` need root and the test devices' packages (`cargo xtask setup`), because the work
//! is a real session to FRRouting. Both sides of a comparison are measured alternately in one run.

#![expect(clippy::unwrap_used, reason = "a benchmark panics on failure")]

mod fleet;
mod history;
mod memory;

use std::sync::Arc;
use std::time::{Duration, Instant};

use chrono::{DateTime, Utc};
use host::app::{self, App};
use host::config::Config;
use netssh_core::{Credentials, Endpoint, HostKeyPolicy, Platform, Session};
use serde_json::{Value, json};
use test_devices::Frr;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;

/// Number of pairs of one job and one bare session.
const PAIRS: usize = 40;
/// Number of sequential jobs timed from submission to start.
const LATENCIES: usize = 300;
/// Number of jobs submitted by many clients at once.
const BURST: usize = 2_000;
const CLIENTS: usize = 64;
/// Number of jobs and clients of a run of the stream, and number of runs.
const STREAM: usize = 4_000;
const STREAM_CLIENTS: usize = 16;
const RUNS: usize = 5;

/// Number of jobs on a device with an idle session in the pool.
const POOLED: usize = 100;

fn main() {
    let what = std::env::args().nth(1);
    // Fewer devices are enough to test the benchmark itself.
    let devices = std::env::args().nth(2);
    let devices = devices.map_or(fleet::DEVICES, |devices| devices.parse().unwrap());
    let mut config = Config::default();
    // Without the login rate limit, each job logs in.
    config.devices.logins_per_minute = 0;
    if what.as_deref() != Some("sessions") {
        config.devices.pool_idle_seconds = 0;
    }
    if what.as_deref() == Some("batch") {
        config.worker.concurrency = fleet::AT_ONCE;
    }
    // As a server does, on stderr.
    let _log =
        (what.as_deref() == Some("stream")).then(|| host::logging::init(&config.logging).unwrap());
    let runtime = app::runtime(&config.worker).unwrap();
    if what.as_deref() == Some("devices") {
        let delay = std::env::args().nth(3).unwrap().parse().unwrap();
        return runtime.block_on(fleet::serve(devices, Duration::from_millis(delay)));
    }
    runtime.block_on(async {
        if what.as_deref() == Some("history") {
            return history::measure().await;
        }
        if what.as_deref() == Some("memory") {
            let minutes = std::env::args().nth(2);
            return memory::measure(minutes.map_or(5, |minutes| minutes.parse().unwrap())).await;
        }
        if what.as_deref() == Some("batch") {
            heading();
            return fleet::measure(&config, devices).await;
        }
        let (server, stop) = Server::start(config).await;
        heading();
        match what.as_deref() {
            Some("jobs") => {
                job_beside_bare_session(&server).await;
                submit_to_start(&server).await;
                bursts(&server).await;
                stream_of_jobs(&server).await;
            }
            Some("stream") => {
                stream_of_jobs(&server).await;
            }
            Some("sessions") => second_job(&server).await,
            _ => panic!("bench batch | history | jobs | memory | sessions"),
        }
        stop.await;
    });
    runtime.shutdown_background();
}

/// Measures one `show version` on FRR: as a job, from POST to completed, and with the session library
/// alone.
async fn job_beside_bare_session(server: &Server) {
    let ssh = &server.router().await.ssh;
    let endpoint = Endpoint {
        port: ssh.port,
        credentials: Credentials {
            password: Some(ssh.password.clone().into()),
            ..Credentials::default()
        },
        host_key_policy: HostKeyPolicy::AcceptNew,
        ..Endpoint::new(&ssh.host, &ssh.username, Platform::named("frr").unwrap())
    };
    let submission = show_version();
    let (mut jobs, mut bare) = (Vec::new(), Vec::new());
    for pair in 0..=PAIRS {
        let begun = Instant::now();
        let job = server.run(&submission).await;
        let took = begun.elapsed();
        assert_eq!(job["status"], "completed", "{job}");

        let begun = Instant::now();
        let mut session = Session::connect(&endpoint).await.unwrap();
        session.exec("show version").await.unwrap();
        session.close().await;
        // The first pair warms both up.
        if pair > 0 {
            jobs.push(took);
            bare.push(begun.elapsed());
        }
    }
    let ratio = median(&jobs).as_secs_f64() / median(&bare).as_secs_f64();
    row("FRR: connect + show version + close, bare", &bare, None);
    row("FRR: as a job, POST to completed", &jobs, Some(ratio));
}

/// Measures further jobs on a device, which need no login: from claim to completed, as recorded.
async fn second_job(server: &Server) {
    server.router().await;
    let mut times = Vec::new();
    for number in 0..=POOLED {
        let job = server.run(&show_version()).await;
        assert_eq!(job["status"], "completed", "{job}");
        let took = time(&job, "completed_at") - time(&job, "started_at");
        // The first job logs in.
        if number > 0 {
            times.push(took.to_std().unwrap());
        }
    }
    row(
        "FRR: second job, claim to completed (asked: 5 ms)",
        &times,
        None,
    );
}

fn show_version() -> Value {
    json!({
        "plugin": "ssh-command", "targets": ["router"], "params": { "commands": ["show version"] }
    })
}

/// Measures the time from a job's creation to its start, as recorded, on an idle host.
async fn submit_to_start(server: &Server) {
    let mut latencies = Vec::new();
    for _ in 0..LATENCIES {
        let job = server.run(&json!({ "plugin": "noop" })).await;
        latencies.push(
            (time(&job, "started_at") - time(&job, "created_at"))
                .to_std()
                .unwrap(),
        );
        // Long enough for the worker to become idle again, and of varying length.
        tokio::time::sleep(Duration::from_millis(3 + latencies.len() as u64 % 7)).await;
    }
    row("submit to start, idle host", &latencies, None);
}

/// Measures jobs per second: submitted sequentially, submitted by many clients at once, and run.
async fn bursts(server: &Server) {
    let begun = Instant::now();
    for _ in 0..BURST / 10 {
        server.submit(&json!({ "plugin": "noop" })).await;
    }
    let alone = (BURST / 10) as f64 / begun.elapsed().as_secs_f64();

    let begun = Instant::now();
    let clients = (0..CLIENTS).map(|_| async {
        let mut ids = Vec::new();
        for _ in 0..BURST / CLIENTS {
            ids.push(server.submit(&json!({ "plugin": "noop" })).await);
        }
        ids
    });
    let ids = futures::future::join_all(clients).await.concat();
    let together = ids.len() as f64 / begun.elapsed().as_secs_f64();
    for id in &ids {
        server.ended(id).await;
    }
    let run = ids.len() as f64 / begun.elapsed().as_secs_f64();
    println!("{:<50} {alone:>8.0}/s", "submissions, one client");
    println!(
        "{:<50} {together:>8.0}/s {:>18.2}x",
        format!("submissions, {CLIENTS} clients"),
        together / alone
    );
    println!("{:<50} {run:>8.0}/s", "submitted and run");
}

/// Measures jobs that do nothing, submitted by 16 clients over persistent connections and run in 4
/// worker slots: from the first submission to the last end.
async fn stream_of_jobs(server: &Server) {
    let mut rates = Vec::new();
    for _ in 0..RUNS {
        let before = server.completed().await;
        let begun = Instant::now();
        let clients = (0..STREAM_CLIENTS).map(|_| async {
            let mut client = RawClient::connect(server).await;
            for _ in 0..STREAM / STREAM_CLIENTS {
                client.submit_noop().await;
            }
        });
        futures::future::join_all(clients).await;
        let submitted = begun.elapsed();
        while server.completed().await < before + STREAM as u64 {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        let rate = |time: Duration| STREAM as f64 / time.as_secs_f64();
        rates.push((rate(begun.elapsed()), rate(submitted)));
    }
    rates.sort_by(|one, other| one.0.total_cmp(&other.0));
    let (run, submitted) = rates[rates.len() / 2];
    println!(
        "{:<50} {run:>8.0}/s, submitted at {submitted:.0}/s",
        format!("no-op jobs, {STREAM_CLIENTS} clients, 4 slots")
    );
}

/// A client that sends the same request repeatedly and reads only the length of each response. It is
/// cheaper than an HTTP library, which matters because server and clients share the machine.
struct RawClient {
    stream: TcpStream,
    request: Vec<u8>,
    answer: Vec<u8>,
}

impl RawClient {
    async fn connect(server: &Server) -> Self {
        let address = server.url.trim_start_matches("http://");
        let body = r#"{"plugin":"noop"}"#;
        let length = body.len();
        let head = format!(
            "POST /api/jobs HTTP/1.1\r\nHost: {address}\r\nContent-Type: application/json\r\n\
             Content-Length: {length}\r\n\r\n{body}"
        );
        Self {
            stream: TcpStream::connect(address).await.unwrap(),
            request: head.into_bytes(),
            answer: Vec::with_capacity(4096),
        }
    }

    async fn submit_noop(&mut self) {
        self.stream.write_all(&self.request).await.unwrap();
        self.answer.clear();
        loop {
            assert!(self.stream.read_buf(&mut self.answer).await.unwrap() > 0);
            let text = std::str::from_utf8(&self.answer).unwrap();
            let Some((head, body)) = text.split_once("\r\n\r\n") else {
                continue;
            };
            assert!(head.starts_with("HTTP/1.1 202 "), "{head}");
            let mut lines = head.lines();
            let length = lines.find_map(|line| line.strip_prefix("content-length: "));
            if body.len() == length.unwrap().parse::<usize>().unwrap() {
                return;
            }
        }
    }
}

struct Server {
    url: String,
    http: reqwest::Client,
    app: Arc<App>,
}

impl Server {
    /// Starts a host in a temporary directory; returns it with the future that stops it.
    async fn start(mut config: Config) -> (Self, impl Future<Output = ()>) {
        let directory = tempfile::tempdir().unwrap();
        let path = |name: &str| directory.path().join(name);
        config.database.url = format!("sqlite:{}", path("scheduler.db").display());
        config.security.master_key_file = path("scheduler.key");
        config.plugins.scripts_dir = concat!(env!("CARGO_MANIFEST_DIR"), "/../scripts").into();
        config.plugins.watch = false;
        let app = App::build(config).await.unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let server = Self {
            url: format!("http://{}", listener.local_addr().unwrap()),
            http: http(),
            app: Arc::clone(&app),
        };
        let shutdown = CancellationToken::new();
        let serving = tokio::spawn(host::server::serve(app, listener, shutdown.clone()));
        let stop = async move {
            shutdown.cancel();
            serving.await.unwrap().unwrap();
            drop(directory);
        };
        (server, stop)
    }

    /// Returns FRRouting, stored as the connection `router`.
    async fn router(&self) -> &'static Frr {
        let router = tokio::task::spawn_blocking(test_devices::frr)
            .await
            .unwrap();
        let ssh = &router.ssh;
        let connection = json!({
            "name": "router", "host": ssh.host, "port": ssh.port, "username": ssh.username,
            "password": ssh.password, "device_type": "frr"
        });
        self.post("/api/connections", &connection).await;
        router
    }

    async fn post(&self, path: &str, body: &Value) -> Value {
        let answer = self.http.post(format!("{}{path}", self.url)).json(body);
        let answer = answer.send().await.unwrap();
        assert!(answer.status().is_success(), "{}", answer.status());
        answer.json().await.unwrap()
    }

    async fn submit(&self, job: &Value) -> String {
        self.post("/api/jobs", job).await["id"]
            .as_str()
            .unwrap()
            .to_owned()
    }

    async fn completed(&self) -> u64 {
        let stats = self.get("/api/jobs/stats").await;
        stats["by_status"]["completed"].as_u64().unwrap_or_default()
    }

    async fn ended(&self, id: &str) {
        self.app.jobs.wait(id.parse().unwrap()).await.unwrap();
    }

    async fn run(&self, job: &Value) -> Value {
        let id = self.submit(job).await;
        self.ended(&id).await;
        self.get(&format!("/api/jobs/{id}")).await
    }

    async fn get(&self, path: &str) -> Value {
        let answer = self.http.get(format!("{}{path}", self.url)).send().await;
        answer
            .unwrap()
            .error_for_status()
            .unwrap()
            .json()
            .await
            .unwrap()
    }
}

fn http() -> reqwest::Client {
    let _ = rustls::crypto::ring::default_provider().install_default();
    reqwest::Client::builder()
        .tls_certs_only([])
        .build()
        .unwrap()
}

fn time(job: &Value, field: &str) -> DateTime<Utc> {
    job[field].as_str().unwrap().parse().unwrap()
}

fn heading() {
    println!("{:<50} {:>10} {:>10} {:>7}", "", "median", "p99", "ratio");
}

fn row(name: &str, times: &[Duration], ratio: Option<f64>) {
    let mut sorted = times.to_vec();
    sorted.sort_unstable();
    let p99 = sorted[(sorted.len() * 99 / 100).min(sorted.len() - 1)];
    let milliseconds = |time: Duration| format!("{:.2} ms", time.as_secs_f64() * 1_000.0);
    let ratio = ratio.map_or(String::new(), |ratio| format!("{ratio:.2}x"));
    println!(
        "{name:<50} {:>10} {:>10} {ratio:>7}",
        milliseconds(median(times)),
        milliseconds(p99)
    );
}

fn median(times: &[Duration]) -> Duration {
    let mut sorted = times.to_vec();
    sorted.sort_unstable();
    sorted[sorted.len() / 2]
}
