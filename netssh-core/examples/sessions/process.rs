//! What is measured of a whole process: memory, processor time. Each side has one of its own.

use std::process::Stdio;
use std::time::Duration;

use netssh_core::lab::{Lab, LabDevice};
use rustix::time::{ClockId, clock_gettime};
use serde::{Deserialize, Serialize};

use crate::{COUNTED, Device, HELD, figures, median};

/// Runs of each; they take turns.
const RUNS: usize = 5;

/// What the process is to do, handed over in the environment, where the password belongs rather
/// than among the arguments.
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

/// Memory of sessions held open, each after one command. The devices are simulated, in this
/// process.
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

/// Processor time of logins, one after the other, each with one command.
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
    // Durations have the order that is needed; the unit is the figure's own.
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

/// In the process of its own: prints one figure.
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

/// Bytes by which memory grows for the sessions. The first one is not counted: it brings what all
/// of them share.
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

/// Nanoseconds of processor time. The first login is not counted.
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
