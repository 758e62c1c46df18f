//! Compares the cost of a session with the floor, russh without any logic: `cargo xtask bench
//! sessions`.
//!
//! Needs root and the test devices' packages (`cargo xtask setup`). Both sides are measured
//! alternately in one run, so that noise of the machine affects both. The figures are medians.

#![expect(clippy::unwrap_used, reason = "a benchmark panics on failure")]

mod floor;
mod process;
mod slow_path;

use std::future::Future;
use std::time::{Duration, Instant};

use netssh_core::{Endpoint, HostKeyPolicy, Platform, Pool, PoolOptions, SecretString, Session};
use test_devices::{Frr, FrrOptions, Sshd};

use crate::floor::Floor;
use crate::slow_path::SlowPath;

/// Number of runs of each measurement with a login, of single commands, and of large outputs.
const LOGINS: usize = 30;
const COMMANDS: usize = 200;
const LARGE_OUTPUTS: usize = 30;
/// Number of runs over the slow path, and its round-trip time.
const SLOW_RUNS: usize = 7;
const ROUND_TRIP: Duration = Duration::from_millis(50);
/// Number of simultaneous logins, and number of runs.
const AT_ONCE: usize = 50;
const AT_ONCE_RUNS: usize = 5;
/// Number of open sessions for the memory, and of logins for the processor time.
const HELD: usize = 200;
const COUNTED: usize = 50;
/// Number of lines of a large output, about 589 kB.
const LARGE_LINES: usize = 13_400;

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .unwrap();
    match arguments.as_slice() {
        [] => runtime.block_on(measure()),
        [what, ..] => runtime.block_on(process::run(what)),
    }
}

/// A device, and the login of each side.
#[derive(Clone)]
struct Device {
    endpoint: Endpoint,
    password: String,
}

impl Device {
    fn of(ssh: &Sshd, platform: &str) -> Self {
        Self::new(&ssh.host, ssh.port, &ssh.username, &ssh.password, platform)
    }

    fn new(host: &str, port: u16, username: &str, password: &str, platform: &str) -> Self {
        let mut endpoint = Endpoint::new(host, username, Platform::named(platform).unwrap());
        endpoint.port = port;
        endpoint.host_key_policy = HostKeyPolicy::Insecure;
        endpoint.credentials.password = Some(SecretString::from(password));
        Self {
            endpoint,
            password: password.to_owned(),
        }
    }

    async fn session(&self) -> Session {
        Session::connect(&self.endpoint).await.unwrap()
    }

    async fn floor(&self) -> Floor {
        Floor::connect(&self.endpoint, &self.password).await
    }

    async fn shows(&self, count: usize) {
        let mut session = self.session().await;
        for _ in 0..count {
            session.exec("show version").await.unwrap();
        }
        session.close().await;
    }

    async fn floor_shows(&self, count: usize) {
        let mut floor = self.floor().await;
        for _ in 0..count {
            floor.exec("show version").await;
        }
        floor.close().await;
    }
}

async fn measure() {
    let (router, bannered, host) = tokio::task::block_in_place(|| {
        let options = FrrOptions {
            plain_banner: true,
            ..FrrOptions::default()
        };
        let router = Frr::start_with(&options);
        (router, test_devices::frr(), test_devices::linux())
    });
    let line = "All work and no play makes Jack a dull boy.\n";
    std::fs::write(host.ssh.home().join("large"), line.repeat(LARGE_LINES)).unwrap();
    let router = Device::of(&router.ssh, "frr");
    let bannered = Device::of(&bannered.ssh, "frr");
    let host = Device::of(&host.ssh, "linux");
    let slow = SlowPath::start(router.endpoint.port, ROUND_TRIP).await;
    let mut far = router.clone();
    far.endpoint.port = slow.port();

    println!(
        "{:<44} {:>12} {:>12} {:>7} {:>7}",
        "", "netssh-core", "russh floor", "ratio", "asked"
    );
    logins(&router, "", LOGINS).await;
    // The banner ends on the line of the prompt, so the login has to press Enter to distinguish them.
    logins(&bannered, ", banner", SLOW_RUNS).await;
    open_session(
        &router,
        "show version",
        COMMANDS,
        "show version, open session",
        "1.50",
    )
    .await;
    open_session(
        &router,
        "show running-config",
        COMMANDS,
        "show running-config (12 kB), open session",
        "",
    )
    .await;
    open_session(
        &host,
        "cat ~/large",
        LARGE_OUTPUTS,
        "589 kB of output, open session",
        "1.30",
    )
    .await;
    pool(&router).await;
    logins(&far, ", 50 ms round trip", SLOW_RUNS).await;
    open_session(
        &far,
        "show version",
        SLOW_RUNS,
        "show version, open session, 50 ms round trip",
        "",
    )
    .await;
    in_one_go(&far).await;
    at_once(&router).await;
    process::memory().await;
    process::processor_time(&router).await;
}

async fn logins(device: &Device, suffix: &str, runs: usize) {
    let limit = if suffix.is_empty() { "1.10" } else { "" };
    for (shows, asked) in [(1, limit), (10, "")] {
        let pair = in_turn(runs, || device.shows(shows), || device.floor_shows(shows)).await;
        let plural = if shows == 1 { "" } else { "s" };
        row(
            &format!("connect + {shows} show{plural} + close{suffix}"),
            pair,
            asked,
        );
    }
}

async fn open_session(device: &Device, command: &str, runs: usize, name: &str, asked: &str) {
    let mut session = device.session().await;
    let mut floor = device.floor().await;
    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    for _ in 0..runs {
        ours.push(timed(session.exec(command)).await.1);
        theirs.push(timed(floor.exec(command)).await.1);
    }
    session.close().await;
    floor.close().await;
    row(name, (median(ours), Some(median(theirs))), asked);
}

/// Measures a command on an idle session of the pool, which needs no login.
async fn pool(device: &Device) {
    let pool = Pool::new(PoolOptions::default());
    let mut times = Vec::new();
    for _ in 0..COMMANDS {
        let second = timed(async {
            let mut session = pool.open(&device.endpoint).await.unwrap();
            session.exec("show version").await.unwrap();
            session.release().await;
        });
        times.push(second.await.1);
    }
    pool.close().await;
    row(
        "pooled session: open + 1 show + release",
        (median(times), None),
        "",
    );
}

async fn in_one_go(device: &Device) {
    let mut session = device.session().await;
    let mut times = Vec::new();
    for _ in 0..SLOW_RUNS {
        let commands = vec!["show version".to_owned(); 10];
        times.push(timed(session.exec_all(commands)).await.1);
    }
    session.close().await;
    row(
        "10 shows in one go, 50 ms round trip",
        (median(times), None),
        "",
    );
}

async fn at_once(device: &Device) {
    let all = |ours: bool| async move {
        let one = |_| {
            let device = device.clone();
            tokio::spawn(async move {
                if ours {
                    device.shows(1).await;
                } else {
                    device.floor_shows(1).await;
                }
            })
        };
        for one in (0..AT_ONCE).map(one).collect::<Vec<_>>() {
            one.await.unwrap();
        }
    };
    let pair = in_turn(AT_ONCE_RUNS, || all(true), || all(false)).await;
    row(
        &format!("{AT_ONCE} devices at once: connect + 1 show + close"),
        pair,
        "",
    );
}

/// Returns the medians of both sides, measured alternately. The first runs warm up and do not count.
async fn in_turn<A: Future, B: Future>(
    runs: usize,
    ours: impl Fn() -> A,
    theirs: impl Fn() -> B,
) -> (Duration, Option<Duration>) {
    let (mut one, mut other) = (Vec::new(), Vec::new());
    for run in 0..=runs {
        let times = (timed(ours()).await.1, timed(theirs()).await.1);
        if run > 0 {
            one.push(times.0);
            other.push(times.1);
        }
    }
    (median(one), Some(median(other)))
}

async fn timed<F: Future>(work: F) -> (F::Output, Duration) {
    let started = Instant::now();
    let done = work.await;
    (done, started.elapsed())
}

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort_unstable();
    times[times.len() / 2]
}

fn row(name: &str, (ours, floor): (Duration, Option<Duration>), asked: &str) {
    let milliseconds = |time: Duration| format!("{:.2} ms", time.as_secs_f64() * 1e3);
    figures(
        name,
        &milliseconds(ours),
        &floor.map_or(String::new(), milliseconds),
        floor.map(|floor| ours.as_secs_f64() / floor.as_secs_f64()),
        asked,
    );
}

fn figures(name: &str, ours: &str, floor: &str, ratio: Option<f64>, asked: &str) {
    let ratio = ratio.map_or(String::new(), |ratio| format!("{ratio:.2}"));
    println!("{name:<44} {ours:>12} {floor:>12} {ratio:>7} {asked:>7}");
}
