//! Measurements of a whole process: memory and processor time. Each side runs in its own process.

use std::process::Stdio;
use std::time::Duration;

use netssh_lab::{Lab, LabDevice};
use rustix::time::{ClockId, clock_gettime};
use serde::{Deserialize, Serialize};

use crate::{COUNTED, Device, HELD, figures, median};

/// Number of runs of each side; the sides alternate.
const RUNS: usize = 5;

/// The task of a process. It is passed in the environment, because the arguments, with the password,
/// would be visible to other users.
#[derive(Serialize, Deserialize)]
struct Task {
    ours: bool,
    host: String,
    port: u16,
    username: String,
    password: String,
    platform: String,
}

const TASK: &str = "BENCH_TASK";

/// Measures the memory of open sessions, each after one command. This process simulates the devices.
pub(crate) async fn memory() {
    let device = LabDevice::new("frr", "edge1").unwrap();
    let lab = Lab::start(device).await.unwrap();
    let addr = lab.addr();
    let device = Device::new(
        &addr.ip().to_string(),
        addr.port(),
        &lab.device().username,
        &lab.device().password,
        "frr",
    );
    let (ours, floor) = in_turn("hold", &device).await;
    let each = |bytes: f64| format!("{:.1} kB", bytes / 1e3 / HELD as f64);
    figures(
        &format!("memory of a session, of {HELD} open at once"),
        &each(ours),
        &each(floor),
        Some(ours / floor),
        "",
    );
    figures(
        "  beyond russh's own",
        &each(ours - floor),
        "",
        None,
        "40 kB",
    );
}

/// Measures the processor time of sequential logins, each with one command.
pub(crate) async fn processor_time(device: &Device) {
    let (ours, floor) = in_turn("log-in", device).await;
    let seconds = |nanoseconds: f64| format!("{:.0} ms", nanoseconds / 1e6);
    figures(
        &format!("processor time of {COUNTED} logins with 1 show"),
        &seconds(ours),
        &seconds(floor),
        Some(ours / floor),
        "",
    );
}

async fn in_turn(what: &str, device: &Device) -> (f64, f64) {
    let (mut ours, mut floor) = (Vec::new(), Vec::new());
    for _ in 0..RUNS {
        ours.push(in_a_process(what, true, device).await);
        floor.push(in_a_process(what, false, device).await);
    }
    (middle(ours), middle(floor))
}

fn middle(figures: Vec<u64>) -> f64 {
    // `median` works on durations; each figure keeps its own unit.
    median(figures.into_iter().map(Duration::from_nanos).collect()).as_nanos() as f64
}

async fn in_a_process(what: &str, ours: bool, device: &Device) -> u64 {
    let task = Task {
        ours,
        host: device.endpoint.host.clone(),
        port: device.endpoint.port,
        username: device.endpoint.username.clone(),
        password: device.password.clone(),
        platform: device.endpoint.platform.name.clone(),
    };
    let process = tokio::process::Command::new(std::env::current_exe().unwrap())
        .arg(what)
        .env(TASK, serde_json::to_string(&task).unwrap())
        .stderr(Stdio::inherit())
        .output();
    let output = process.await.unwrap();
    assert!(output.status.success(), "{what}: {}", output.status);
    String::from_utf8(output.stdout)
        .unwrap()
        .trim()
        .parse()
        .unwrap()
}

/// Runs the task in its own process and prints one figure.
pub(crate) async fn run(what: &str) {
    let task: Task = serde_json::from_str(&std::env::var(TASK).unwrap()).unwrap();
    let device = Device::new(
        &task.host,
        task.port,
        &task.username,
        &task.password,
        &task.platform,
    );
    let figure = match what {
        "hold" => hold(&device, task.ours).await,
        "log-in" => log_in(&device, task.ours).await,
        _ => panic!("{what} is not a task"),
    };
    println!("{figure}");
}

/// Returns the growth of memory by the sessions, in bytes. The first session is not counted, because
/// it allocates what all sessions share.
async fn hold(device: &Device, ours: bool) -> u64 {
    let (mut sessions, mut floors) = (Vec::new(), Vec::new());
    let mut before = 0;
    for number in 0..=HELD {
        if ours {
            let mut session = device.session().await;
            session.exec("show version").await.unwrap();
            sessions.push(session);
        } else {
            let mut floor = device.floor().await;
            floor.exec("show version").await;
            floors.push(floor);
        }
        if number == 0 {
            before = resident();
        }
    }
    resident() - before
}

fn resident() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kibibytes = line.unwrap().trim().trim_end_matches(" kB");
    kibibytes.parse::<u64>().unwrap() * 1024
}

/// Returns the processor time of the logins in nanoseconds. The first login is not counted.
async fn log_in(device: &Device, ours: bool) -> u64 {
    let mut before = Duration::ZERO;
    for number in 0..=COUNTED {
        if ours {
            device.shows(1).await;
        } else {
            device.floor_shows(1).await;
        }
        if number == 0 {
            before = used();
        }
    }
    u64::try_from((used() - before).as_nanos()).unwrap()
}

fn used() -> Duration {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    Duration::try_from(time).unwrap()
}
