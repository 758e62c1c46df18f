//! A campaign: several lives of the server with faults in each, then recovery and the check.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::process::Signal;
use serde_json::json;
use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection};
use sqlx::{ConnectOptions, Connection};
use tokio::sync::watch;
use tokio::task::JoinSet;

use super::devices::Devices;
use super::evidence::{self, Evidence};
use super::load::Load;
use super::notified::Notified;
use super::promises::{self, READ, READ_COMMANDS, WRITE};
use super::random::Random;
use crate::harness::{Client, DEADLINE, Server};

const CLIENTS: u64 = 4;
/// The server's configuration: short delays, so that much happens in little time.
const ENVIRONMENT: [(&str, &str); 8] = [
    ("SCHEDULER_PLUGINS_SCRIPTS_DIR", "scripts"),
    ("SCHEDULER_WORKER_CONCURRENCY", "8"),
    ("SCHEDULER_WORKER_RETRY_DELAY_SECONDS", "1"),
    ("SCHEDULER_WORKER_RETRY_DELAY_MAX_SECONDS", "2"),
    ("SCHEDULER_WORKER_SHUTDOWN_GRACE_SECONDS", "2"),
    ("SCHEDULER_DEVICES_BREAKER_SECONDS", "1"),
    ("SCHEDULER_DEVICES_MAX_SESSIONS_PER_DEVICE", "3"),
    ("SCHEDULER_DEVICES_LOGINS_PER_MINUTE", "240"),
];
/// Limit for all accepted jobs to end after the last fault.
pub(super) const DRAINED: Duration = Duration::from_secs(90);
/// Maximum time for which the database is locked; the server waits 10 s for it.
const LOCKED_MS: u64 = 4_000;
/// A rare lock longer than that, if there is enough time left.
const LOCKED_LONG_MS: u64 = 12_000;

pub(super) struct Campaign {
    directory: PathBuf,
    password: String,
    devices: Arc<Devices>,
    receiver: Arc<Notified>,
    load: Load,
    server: watch::Sender<Option<Client>>,
    seed: u64,
    random: Random,
    lives: usize,
    faults: BTreeMap<&'static str, usize>,
}

/// A fault during a life of the server.
#[derive(Debug, Clone, Copy)]
enum Fault {
    Cut(usize),
    CutRouter,
    Down(usize, Duration),
    Stop(Duration),
    Lock(Duration),
    Unwilling(u16, Duration),
}

impl Campaign {
    pub(super) async fn start(directory: &Path, seed: u64) -> Self {
        let scripts = directory.join("scripts");
        std::fs::create_dir(&scripts).unwrap();
        std::fs::write(scripts.join(format!("{READ}.rhai")), reading()).unwrap();
        std::fs::write(scripts.join(format!("{WRITE}.rhai")), WRITING).unwrap();
        let mut random = Random::of(seed, 0);
        let password = format!("chaos-password-{:016x}", random.next());
        let devices = Arc::new(Devices::start(&password).await);
        let receiver = Arc::new(Notified::start(directory).await);
        let connections = devices.connections();
        let names = connections
            .iter()
            .map(|one| evidence::text(&one["name"]))
            .collect();
        let server = watch::Sender::new(None);
        let mut campaign = Self {
            directory: directory.to_owned(),
            password,
            devices,
            receiver,
            load: Load::new(server.subscribe(), names),
            server,
            seed,
            random,
            lives: 0,
            faults: BTreeMap::new(),
        };
        let first = campaign.server();
        for connection in &connections {
            let answer = first.client.post("/api/connections", connection).await;
            assert_eq!(answer.status, 201, "{}", answer.text);
        }
        assert_eq!(campaign.terminate(first), Some(0));
        campaign
    }

    /// Runs the campaign, and returns the broken promises.
    pub(super) async fn run(mut self, length: Duration) -> Vec<String> {
        let mut clients = JoinSet::new();
        for client in 1..=CLIENTS {
            clients.spawn(self.load.clone().run(Random::of(self.seed, client)));
        }
        let begun = Instant::now();
        while begun.elapsed() < length {
            let left = length.saturating_sub(begun.elapsed());
            self.life(left).await;
            self.devices.remember();
            self.receiver.remember();
        }
        self.load.over.cancel();
        while let Some(ended) = clients.join_next().await {
            ended.unwrap();
        }
        self.reckon().await
    }

    /// Runs one life of the server, up to its end.
    async fn life(&mut self, left: Duration) {
        let server = self.server();
        self.server.send_replace(Some(server.client.clone()));
        let length = self
            .random
            .millis(1_500, 6_000)
            .min(left.max(Duration::from_millis(500)));
        let mut faults: Vec<(Duration, Fault)> = (0..self.random.below(4))
            .map(|_| {
                let at = length.mul_f64(self.random.below(100) as f64 / 100.0);
                (at, self.fault(left))
            })
            .collect();
        faults.sort_by_key(|(at, _)| *at);
        let (begun, mut going_on) = (Instant::now(), JoinSet::new());
        for (at, fault) in faults {
            tokio::time::sleep(at.saturating_sub(begun.elapsed())).await;
            self.count(fault.name());
            match fault {
                Fault::Stop(pause) => {
                    server.signal(Signal::STOP);
                    tokio::time::sleep(pause).await;
                    server.signal(Signal::CONT);
                }
                Fault::Cut(lab) => self.devices.cut(lab),
                Fault::CutRouter => self.devices.cut_router(),
                Fault::Down(lab, pause) => {
                    let devices = Arc::clone(&self.devices);
                    going_on.spawn(async move { devices.down(lab, pause).await });
                }
                Fault::Lock(pause) => {
                    let database = self.directory.join("scheduler.db");
                    let exclusive = self.random.percent(50);
                    going_on.spawn(async move { lock(&database, exclusive, pause).await });
                }
                Fault::Unwilling(answer, pause) => {
                    let receiver = Arc::clone(&self.receiver);
                    going_on.spawn(async move { receiver.refuse(answer, pause).await });
                }
            }
        }
        tokio::time::sleep(length.saturating_sub(begun.elapsed())).await;
        self.end(server);
        // The next life needs an unlocked database.
        while let Some(ended) = going_on.join_next().await {
            ended.unwrap();
        }
    }

    fn fault(&mut self, left: Duration) -> Fault {
        let random = &mut self.random;
        let lab = random.below(self.devices.labs());
        let at_length = left > Duration::from_secs(60);
        // Drawn in any case, so that a seed gives the same faults regardless of the time left.
        let locked = random.millis(200, LOCKED_MS);
        match random.below(12) {
            0 | 1 => Fault::Cut(lab),
            2 => Fault::CutRouter,
            3 | 4 => Fault::Down(lab, random.millis(200, 4_000)),
            5 | 6 => Fault::Stop(random.millis(100, 3_000)),
            7 if at_length => Fault::Lock(Duration::from_millis(LOCKED_LONG_MS)),
            8 => Fault::Unwilling(500, random.millis(200, 3_000)),
            9 => Fault::Unwilling(503, random.millis(200, 3_000)),
            _ => Fault::Lock(locked),
        }
    }

    fn end(&mut self, mut server: Server) {
        self.server.send_replace(None);
        if let Some(status) = server.ended() {
            self.load
                .told()
                .wrong
                .push(format!("the server ended by itself: {status}"));
        } else if self.random.percent(65) {
            self.count("kill -9");
            server.kill();
        } else {
            self.count("SIGTERM");
            let code = self.terminate(server);
            if code != Some(0) {
                let wrong = format!("the server ended with {code:?} at SIGTERM");
                self.load.told().wrong.push(wrong);
            }
        }
        if self.random.percent(30) {
            self.count("queue deleted");
            for end in ["", "-wal", "-shm"] {
                let file = self.directory.join(format!("apalis_queue.db{end}"));
                let _ = std::fs::remove_file(file);
            }
        }
    }

    /// Removes all faults, waits for the end of all jobs, and checks the promises.
    async fn reckon(mut self) -> Vec<String> {
        let server = self.server();
        self.server.send_replace(Some(server.client.clone()));
        self.load.settle(&mut self.random).await;
        let begun = Instant::now();
        drained(&server.client).await;
        let drained = begun.elapsed();
        let jobs = evidence::jobs(&server.client).await;
        let messages = self.receiver.all_of(&jobs).await;
        self.server.send_replace(None);
        if self.terminate(server) != Some(0) {
            self.load
                .told()
                .wrong
                .push("the last server did not end with 0".to_owned());
        }
        let open = self.devices.left_open().await;
        let evidence = Evidence {
            told: self.load.told().clone(),
            jobs,
            devices: self.devices.history(),
            messages,
        };
        let mut broken = promises::broken(&evidence);
        if self.lives < 2 || self.faults.is_empty() {
            broken.push("there were no faults".to_owned());
        }
        broken.extend(
            open.iter()
                .map(|open| format!("sessions are left open: {open}")),
        );
        broken.extend(self.database().await);
        broken.extend(self.receiver.wrong());
        broken.extend(self.log());
        self.print(&evidence, drained);
        broken
    }

    fn server(&mut self) -> Server {
        self.lives += 1;
        let log = File::options()
            .create(true)
            .append(true)
            .open(self.directory.join("log"));
        let log = Some(log.unwrap());
        tokio::task::block_in_place(|| Server::start_logged(&self.directory, &ENVIRONMENT, log))
    }

    fn terminate(&self, server: Server) -> Option<i32> {
        tokio::task::block_in_place(|| server.terminate())
    }

    fn count(&mut self, fault: &'static str) {
        *self.faults.entry(fault).or_default() += 1;
    }

    async fn database(&self) -> Vec<String> {
        let mut broken = Vec::new();
        let mut database = open(&self.directory.join("scheduler.db")).await;
        let told: Vec<String> = sqlx::query_scalar("PRAGMA integrity_check")
            .fetch_all(&mut database)
            .await
            .unwrap();
        if told != ["ok"] {
            broken.push(format!("PRAGMA integrity_check: {told:?}"));
        }
        let strays = sqlx::query("PRAGMA foreign_key_check")
            .fetch_all(&mut database)
            .await;
        if !strays.unwrap().is_empty() {
            broken.push("PRAGMA foreign_key_check finds rows".to_owned());
        }
        let in_flight: i64 = sqlx::query_scalar("SELECT count(*) FROM in_flight")
            .fetch_one(&mut database)
            .await
            .unwrap();
        if in_flight != 0 {
            broken.push(format!("{in_flight} commands stand as being sent"));
        }
        broken
    }

    fn log(&self) -> Vec<String> {
        let log = std::fs::read_to_string(self.directory.join("log")).unwrap();
        let mut broken = Vec::new();
        for line in log.lines() {
            if line.contains("panicked") {
                broken.push(format!("a panic: {line}"));
            }
            if line.contains(&self.password) {
                broken.push("a password stands in the log".to_owned());
            }
        }
        broken
    }

    fn print(&self, evidence: &Evidence, drained: Duration) {
        println!(
            "chaos: {} lives of the server; drained after {drained:.1?}",
            self.lives
        );
        for (fault, times) in &self.faults {
            println!("chaos: {times:>6}  {fault}");
        }
        for (what, times) in &evidence.told.counts {
            println!("chaos: {times:>6}  {what}");
        }
        let mut statuses = BTreeMap::<&str, usize>::new();
        let (mut attempts, mut results, mut unanswered) = (0, 0, 0);
        for job in evidence.jobs.values() {
            *statuses.entry(&job.status).or_default() += 1;
            attempts += job.attempts.len();
            results += job.results.len();
            unanswered += job
                .results
                .iter()
                .filter(|done| done.error.is_some())
                .count();
        }
        println!("chaos: {:>6}  jobs: {statuses:?}", evidence.jobs.len());
        let messages: usize = evidence.messages.values().map(BTreeSet::len).sum();
        println!("chaos: {messages:>6}  notifications");
        println!("chaos: {attempts:>6}  attempts");
        println!("chaos: {results:>6}  results, {unanswered} without an answer or refused");
        for device in &evidence.devices {
            let steps = device
                .seen
                .iter()
                .filter_map(|line| promises::Step::in_line(line));
            let steps = steps.count();
            println!(
                "chaos: {:>6}  lines sent to {}, {steps} of them steps",
                device.seen.len(),
                device.name
            );
        }
    }
}

impl Fault {
    const fn name(self) -> &'static str {
        match self {
            Self::Cut(_) => "connections of a device cut",
            Self::CutRouter => "sessions on the real router killed",
            Self::Down(..) => "device down",
            Self::Stop(_) => "SIGSTOP, SIGCONT",
            Self::Lock(_) => "database locked",
            Self::Unwilling(..) => "notifications refused",
        }
    }
}

/// Waits until no job waits or runs.
async fn drained(client: &Client) {
    let begun = Instant::now();
    let mut look_again = tokio::time::interval(Duration::from_millis(50));
    loop {
        look_again.tick().await;
        let stats = client.get("/api/jobs/stats").await.body;
        let of = |status: &str| stats["by_status"][status].as_u64().unwrap();
        if of("pending") + of("running") + of("retrying") == 0 {
            return;
        }
        // The promises find and name the jobs that have not ended.
        if begun.elapsed() > DRAINED {
            println!("chaos: not drained after {DRAINED:?}: {stats}");
            return;
        }
    }
}

/// Locks the database from another process for a while.
async fn lock(database: &Path, exclusive: bool, pause: Duration) {
    let mut database = open(database).await;
    let begin = if exclusive {
        "BEGIN EXCLUSIVE"
    } else {
        "BEGIN IMMEDIATE"
    };
    sqlx::query(begin).execute(&mut database).await.unwrap();
    tokio::time::sleep(pause).await;
    sqlx::query("ROLLBACK")
        .execute(&mut database)
        .await
        .unwrap();
    database.close().await.unwrap();
}

async fn open(database: &Path) -> SqliteConnection {
    let options = SqliteConnectOptions::new()
        .filename(database)
        .busy_timeout(DEADLINE);
    options.connect().await.unwrap()
}

/// Returns a playbook that only reads, so it may run again after an interruption.
fn reading() -> String {
    format!(
        r#"
fn describe() {{ #{{
    summary: "Reads", targets: "each", on_interrupt: "retry",
    needs: #{{ ssh: #{{ exec: ["show *"] }} }}, params: #{{ type: "object" }}
}} }}
fn run(job, params) {{
    let device = ssh::open(job.target);
    for command in {} {{ device.exec(command); }}
    device.close();
}}
"#,
        json!(READ_COMMANDS)
    )
}

/// A playbook that sends unique lines: the job's id, and the number of the step.
const WRITING: &str = r#"
fn describe() { #{
    summary: "Writes", targets: "each",
    needs: #{ ssh: #{ exec: ["ping *"], configure: true } },
    params: #{ type: "object", properties: #{ steps: #{ type: "integer", minimum: 1, maximum: 9 } }, required: ["steps"] }
} }
fn run(job, params) {
    let device = ssh::open(job.target);
    for number in 1..=params.steps {
        let step = `${job.id}.step.${number}`;
        if device.platform == "frr" {
            device.configure([`ip prefix-list ${step} permit 10.0.0.0/8`]);
        } else if number % 2 == 1 {
            device.exec(`ping ${step}`);
        } else {
            device.configure(["interface GigabitEthernet0/1", `description ${step}`]);
        }
    }
    device.close();
}
"#;
