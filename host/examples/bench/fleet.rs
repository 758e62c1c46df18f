//! Compares a batch over a thousand simulated devices with the same work done by the session library
//! alone: the same number of concurrent sessions, with a login and `show version` on each device.
//!
//! The first comparison uses devices that are as slow as routers, the second one devices that answer
//! immediately, which leaves the computing time of the sessions, the devices and the host.
//!
//! A second process of this program simulates the devices, so that the measured memory is the host's
//! alone. Both processes share the processors.

use std::io::{BufRead, BufReader, Read};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use futures::StreamExt;
use host::config::Config;
use netssh_core::{Credentials, Endpoint, HostKeyPolicy, Platform, Session};
use netssh_lab::{Lab, LabDevice};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use serde_json::{Value, json};

use crate::{Server, median, row};

pub(crate) const DEVICES: usize = 1_000;
/// Number of concurrent sessions.
pub(crate) const AT_ONCE: usize = 64;
/// Duration of a command. The login is two commands, so that with `show version` a device takes
/// about as long as FRRouting behind vtysh (`cargo xtask bench jobs`: 160 ms).
const USUAL: Duration = Duration::from_millis(50);
/// Number of pairs of a batch and the bare work, after a first pair that warms both up.
const PAIRS: usize = 5;
const PASSWORD: &str = "bench";

pub(crate) async fn measure(config: &Config, devices: usize) {
    for delay in [USUAL, Duration::ZERO] {
        // A new server, because an earlier one trusts other host keys for the same ports.
        let (server, stop) = Server::start(config.clone()).await;
        beside_bare(&server, devices, delay).await;
        stop.await;
    }
}

async fn beside_bare(server: &Server, devices: usize, delay: Duration) {
    let fleet = Fleet::start(devices, delay);
    fleet.introduce(server).await;
    let before = memory("VmHWM");
    let (mut batches, mut bare) = (Vec::new(), Vec::new());
    let (mut of_batches, mut of_bare) = (0, 0);
    for pair in 0..=PAIRS {
        forget_peak();
        let took = fleet.bare().await;
        let peak_bare = memory("VmHWM");
        forget_peak();
        let batch = batch(server, devices).await;
        // The first pair warms both up.
        if pair > 0 {
            bare.push(took);
            batches.push(batch);
            (of_bare, of_batches) = (of_bare.max(peak_bare), of_batches.max(memory("VmHWM")));
        }
    }
    let ratio = median(&batches).as_secs_f64() / median(&bare).as_secs_f64();
    println!("-- {devices} devices, {AT_ONCE} at the same time, {delay:?} per command");
    row("bare sessions", &bare, None);
    row("one batch, POST to completed", &batches, Some(ratio));
    println!("{:<50} {before:>7} MB", "peak memory: before");
    println!("{:<50} {of_bare:>7} MB", "peak memory: bare sessions");
    println!("{:<50} {of_batches:>7} MB", "peak memory: batch");
}

/// Submits one batch and waits until all of its jobs have completed.
async fn batch(server: &Server, devices: usize) -> Duration {
    let begun = Instant::now();
    let job = server
        .run(&json!({
            "plugin": "ssh-command", "targets": ["tag:fleet"],
            "params": { "commands": ["show version"] }
        }))
        .await;
    let took = begun.elapsed();
    assert_eq!(job["status"], "completed", "{}", job["error_message"]);
    assert_eq!(job["batch"]["counts"]["completed"], devices);
    took
}

/// Simulates the devices in the second process, until its input ends. Prints a line of JSON for each
/// device.
pub(crate) async fn serve(devices: usize, delay: Duration) {
    let mut labs = Vec::new();
    for number in 1..=devices {
        let device = LabDevice {
            password: PASSWORD.to_owned(),
            privileged: true,
            delay,
            ..LabDevice::cisco_ios(&format!("fleet-{number}"))
        };
        let (name, username) = (device.hostname.clone(), device.username.clone());
        let lab = Lab::start(device).await.unwrap();
        let port = lab.addr().port();
        labs.push(lab);
        println!(
            "{}",
            json!({
                "name": name, "host": "127.0.0.1", "port": port, "username": username,
                "device_type": "cisco_ios",
            })
        );
    }
    let ended = tokio::task::spawn_blocking(|| std::io::stdin().read(&mut [0]));
    let _ = ended.await;
}

struct Fleet {
    process: Child,
    /// The devices, as printed by the process.
    devices: Vec<Value>,
}

impl Fleet {
    fn start(count: usize, delay: Duration) -> Self {
        // One descriptor per device and two per connection; child processes inherit the limit.
        let limit = getrlimit(Resource::Nofile);
        let raised = Rlimit {
            current: limit.maximum,
            ..limit
        };
        setrlimit(Resource::Nofile, raised).unwrap();
        let mut process = Command::new(std::env::current_exe().unwrap())
            .args(["devices", &count.to_string()])
            .arg(delay.as_millis().to_string())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(process.stdout.take().unwrap()).lines();
        let devices = lines
            .take(count)
            .map(|line| serde_json::from_str(&line.unwrap()).unwrap());
        let devices: Vec<Value> = devices.collect();
        assert_eq!(devices.len(), count, "their process exited");
        Self { process, devices }
    }

    /// Stores the devices as connections.
    async fn introduce(&self, server: &Server) {
        let connections = futures::stream::iter(&self.devices).map(|device| async move {
            let mut connection = device.clone();
            connection["password"] = json!(PASSWORD);
            connection["tags"] = json!(["fleet"]);
            server.post("/api/connections", &connection).await;
        });
        connections.buffer_unordered(AT_ONCE).collect::<()>().await;
    }

    /// Logs in and runs `show version` on each device, with the session library alone.
    async fn bare(&self) -> Duration {
        let endpoints: Vec<Endpoint> = self.devices.iter().map(endpoint).collect();
        let begun = Instant::now();
        let sessions = futures::stream::iter(endpoints).map(|endpoint| {
            // Runs on any thread, as a job does.
            let done = tokio::spawn(async move {
                let mut session = Session::connect(&endpoint).await.unwrap();
                let reply = session.exec("show version").await.unwrap();
                assert!(reply.is_success());
                session.close().await;
            });
            async { done.await.unwrap() }
        });
        sessions.buffer_unordered(AT_ONCE).collect::<()>().await;
        begun.elapsed()
    }
}

impl Drop for Fleet {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn endpoint(device: &Value) -> Endpoint {
    let text = |field: &str| device[field].as_str().unwrap();
    let platform = Platform::named(text("device_type")).unwrap();
    Endpoint {
        port: device["port"].as_u64().unwrap().try_into().unwrap(),
        credentials: Credentials {
            password: Some(PASSWORD.into()),
            ..Credentials::default()
        },
        host_key_policy: HostKeyPolicy::AcceptNew,
        ..Endpoint::new(text("host"), text("username"), platform)
    }
}

/// Resets the peak of the memory.
fn forget_peak() {
    std::fs::write("/proc/self/clear_refs", "5").unwrap();
}

/// Returns a memory figure of this process, in MB.
fn memory(what: &str) -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with(what)).unwrap();
    let kilobytes: u64 = line.split_whitespace().nth(1).unwrap().parse().unwrap();
    kilobytes / 1_000
}
