//! `cargo xtask bench memory`: the memory of a server process after its first start, idle, and while it
//! runs jobs of both runtimes on sixteen FRR routers in four worker slots.
//!
//! Memory is the resident set as the kernel counts it, which includes the pages of the program file that
//! are mapped. These are listed separately, because the kernel can drop them at any time.

use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use test_devices::Frr;

/// Number of routers.
const ROUTERS: usize = 16;
/// Number of clients that each submit a job and wait for its end.
const CLIENTS: usize = 8;
/// How long the server does nothing before its idle memory is read: longer than sessions stay open and
/// freed memory stays allocated.
const IDLE: Duration = Duration::from_secs(20);

/// Resident memory, in bytes.
#[derive(Clone, Copy, Default)]
struct Memory {
    total: u64,
    anonymous: u64,
    file: u64,
}

pub(crate) async fn measure(minutes: u64) {
    let starting = (0..ROUTERS).map(|_| tokio::task::spawn_blocking(Frr::start));
    let mut routers = Vec::new();
    for router in starting {
        routers.push(router.await.unwrap());
    }
    let directory = tempfile::tempdir().unwrap();
    println!(
        "{:<50} {:>9} {:>9} {:>9}",
        "", "resident", "anonymous", "file"
    );

    let server = Server::start(directory.path());
    server.compiled().await;
    tokio::time::sleep(IDLE).await;
    row("idle after the first start", server.memory());
    server.stop();

    let server = Arc::new(Server::start(directory.path()));
    server.compiled().await;
    tokio::time::sleep(IDLE).await;
    row(
        "idle after a start with compiled components",
        server.memory(),
    );

    for (number, router) in (0..).zip(&routers) {
        let ssh = &router.ssh;
        let connection = json!({
            "name": format!("router-{number}"), "host": ssh.host, "port": ssh.port,
            "username": ssh.username, "password": ssh.password, "device_type": "frr",
        });
        server.post("/api/connections", &connection).await;
    }
    let until = Instant::now() + Duration::from_secs(minutes * 60);
    let submitted = Arc::new(AtomicUsize::new(0));
    let clients = (0..CLIENTS).map(|_| {
        let (server, submitted) = (Arc::clone(&server), Arc::clone(&submitted));
        tokio::spawn(async move {
            while Instant::now() < until {
                let number = submitted.fetch_add(1, Ordering::Relaxed);
                server.run(&job(number)).await;
            }
        })
    });
    let clients: Vec<_> = clients.collect();
    let mut seen = Vec::new();
    while Instant::now() < until {
        tokio::time::sleep(Duration::from_secs(1)).await;
        seen.push(server.memory());
    }
    for client in clients {
        client.await.unwrap();
    }
    seen.sort_unstable_by_key(|memory| memory.total);
    let jobs = submitted.load(Ordering::Relaxed);
    let name = |what| format!("{jobs} jobs on {ROUTERS} routers, {what}");
    row(&name("median"), seen[seen.len() / 2]);
    row(&name("highest"), *seen.last().unwrap());
    tokio::time::sleep(IDLE).await;
    row("idle afterwards", server.memory());
}

/// Returns the next of the mixed jobs.
fn job(number: usize) -> Value {
    let target = format!("router-{}", number * 7 % ROUTERS);
    let rules = json!({ "rules": [
        { "name": "has a host name", "must_match": ["hostname"] },
        { "name": "no telnet", "must_not_match": ["transport input .*telnet"] },
    ] });
    let commands = json!({ "commands": ["show version", "show running-config", "show ip route"] });
    match number % 4 {
        0 => json!({ "plugin": "ssh-command", "targets": [target], "params": commands }),
        1 => json!({ "plugin": "backup-config", "targets": [target] }),
        2 => json!({ "plugin": "config-compliance", "targets": [target], "params": rules }),
        _ => json!({ "plugin": "ssh-command-wasm", "targets": [target], "params": commands }),
    }
}

/// `scheduler serve` as a process.
struct Server {
    url: String,
    http: reqwest::Client,
    child: Child,
}

impl Server {
    fn start(directory: &Path) -> Self {
        let repository = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/.."));
        let mut child = Command::new(scheduler())
            .arg("serve")
            .current_dir(directory)
            .env("SCHEDULER_SERVER_PORT", "0")
            .env("SCHEDULER_LOGGING_FORMAT", "json")
            .env("SCHEDULER_WORKER_CONCURRENCY", "4")
            .env("SCHEDULER_PLUGINS_SCRIPTS_DIR", repository.join("scripts"))
            .env(
                "SCHEDULER_PLUGINS_COMPONENTS_DIR",
                repository.join("plugins"),
            )
            .env("SCHEDULER_PLUGINS_CACHE_DIR", directory.join("cache"))
            .stdin(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .expect("`cargo build --release` builds the server");
        let mut log = BufReader::new(child.stderr.take().unwrap()).lines();
        let url = log.by_ref().map_while(Result::ok).find_map(|line| {
            let line: Value = serde_json::from_str(&line).unwrap_or_default();
            line["url"].as_str().map(str::to_owned)
        });
        // Reads the rest, so that the server never blocks.
        std::thread::spawn(move || log.map_while(Result::ok).count());
        Self {
            url: url.expect("the server logs its URL"),
            http: super::http(),
            child,
        }
    }

    /// Waits until all components are compiled.
    async fn compiled(&self) {
        loop {
            let plugins = self.get("/api/plugins").await;
            let plugins = plugins["plugins"].as_array().unwrap();
            let is_ready = |plugin: &Value| plugin["status"] == "ready";
            if plugins.len() > 6 && plugins.iter().all(is_ready) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    fn memory(&self) -> Memory {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let bytes = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name));
            let kilobytes = line.unwrap().trim_end_matches("kB").trim();
            kilobytes.parse::<u64>().unwrap() * 1_024
        };
        Memory {
            total: bytes("VmRSS:"),
            anonymous: bytes("RssAnon:"),
            file: bytes("RssFile:"),
        }
    }

    async fn run(&self, job: &Value) {
        let id = self.post("/api/jobs", job).await["id"].clone();
        let path = format!("/api/jobs/{}", id.as_str().unwrap());
        loop {
            let job = self.get(&path).await;
            match job["status"].as_str().unwrap() {
                "completed" => return,
                "pending" | "running" => tokio::time::sleep(Duration::from_millis(20)).await,
                _ => panic!("{job}"),
            }
        }
    }

    async fn post(&self, path: &str, body: &Value) -> Value {
        let request = self.http.post(format!("{}{path}", self.url)).json(body);
        let answer = request.send().await.unwrap();
        let (status, answer) = (answer.status(), answer.json::<Value>().await.unwrap());
        assert!(status.is_success(), "{answer}");
        answer
    }

    async fn get(&self, path: &str) -> Value {
        let answer = self.http.get(format!("{}{path}", self.url)).send().await;
        answer.unwrap().json().await.unwrap()
    }

    fn stop(mut self) {
        let id = self.child.id().cast_signed();
        let id = rustix::process::Pid::from_raw(id).unwrap();
        rustix::process::kill_process(id, rustix::process::Signal::TERM).unwrap();
        self.child.wait().unwrap();
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Returns the server's program, which is beside the directory of the examples.
fn scheduler() -> PathBuf {
    let examples = std::env::current_exe().unwrap();
    let built = examples.ancestors().nth(2).unwrap();
    built.join("scheduler")
}

fn row(name: &str, memory: Memory) {
    let megabytes = |bytes: u64| format!("{:.1} MB", bytes as f64 / 1e6);
    let Memory {
        total,
        anonymous,
        file,
    } = memory;
    println!(
        "{name:<50} {:>9} {:>9} {:>9}",
        megabytes(total),
        megabytes(anonymous),
        megabytes(file)
    );
}
