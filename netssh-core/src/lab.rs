//! Simulated devices: an SSH server on loopback that plays a platform's command line from data.
//!
//! For demos, for many devices at once, and for faults that a real device does not produce on
//! demand. Never the only proof that something works. Start at [`Lab::start`]; what is played is
//! [`LabDevice`]. What a platform says stands in `lab/*.toml`, its format in `lab/platform.rs`,
//! and the command line itself is a pure state machine in `lab/cli.rs`.

mod cli;
mod configuration;
mod platform;
mod server;
mod text;
mod texts;
mod transcript;
mod words;

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::net::TcpListener;
use tokio::sync::{Notify, watch};
use tokio::task::JoinHandle;

use self::configuration::Store;
pub use self::platform::Example;
use self::platform::{DEFINITIONS, Definition};
use self::transcript::Latest;
pub use self::transcript::{Entry, What};

/// What a simulated device is like.
#[derive(Debug, Clone)]
pub struct LabDevice {
    /// What kind of device it is.
    pub platform: LabPlatform,
    /// Its name, and so its prompt.
    pub hostname: String,
    /// The only user.
    pub username: String,
    /// Their password.
    pub password: String,
    /// What `enable` asks for; `None` refuses it (`% No password set`).
    pub enable_secret: Option<String>,
    /// The login lands at `host#` instead of `host>`, on platforms that have both.
    pub privileged: bool,
    /// How it pages long output.
    pub paging: Paging,
    /// Printed before the first prompt.
    pub banner: String,
    /// Questions asked before the first prompt, by name; those of its platform if none are given.
    /// Every platform knows `press_any_key`, `terms`, `username` and `password_change`.
    pub login_questions: Option<Vec<String>>,
    /// More commands (exact words), and what they print.
    pub outputs: Vec<(String, String)>,
    /// How long each command takes.
    pub delay: Duration,
    /// What goes wrong.
    pub faults: Faults,
}

/// How long output is paged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Paging {
    /// A page at a time, until the platform's command (`terminal length 0`).
    #[default]
    UntilSwitchedOff,
    /// That command is not allowed (`Command authorization failed`).
    Unauthorised,
    /// That command is accepted and has no effect.
    Always,
}

/// What goes wrong, for tests.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Faults {
    /// The connection drops after this many bytes of output.
    pub drop_after: Option<usize>,
    /// Commands that start like this are never answered.
    pub never_answer: Option<String>,
    /// Output leaves in pieces of this many bytes, each in a packet of its own.
    pub packet_size: Option<usize>,
    /// Bytes that are not UTF-8 come after this many bytes of output.
    pub garbage_after: Option<usize>,
    /// The echo of a command leaves in two packets, one some milliseconds after the other.
    pub echo_in_pieces: bool,
    /// Something the device says by itself while a command is typed.
    pub interruption: Option<Interruption>,
}

/// Something the device says by itself while a command is typed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Interruption {
    /// When this much of a line was typed: `show ver`.
    pub after: String,
    /// A line of a log.
    pub text: String,
}

/// What a kind of device says.
#[derive(Clone)]
pub struct LabPlatform(Arc<Definition>);

impl LabPlatform {
    /// A platform the lab brings.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        let found = DEFINITIONS.iter().find(|platform| platform.name == name)?;
        Some(Self(Arc::clone(found)))
    }

    /// The platforms the lab brings.
    pub fn names() -> impl Iterator<Item = &'static str> {
        DEFINITIONS.iter().map(|platform| platform.name.as_str())
    }

    /// A platform of one's own, in the format of the lab's files.
    ///
    /// # Errors
    /// Says what is wrong, and where.
    pub fn parse(name: &str, toml: &str) -> Result<Self, String> {
        Definition::parse(name, toml).map(|definition| Self(Arc::new(definition)))
    }

    /// Its name, `cisco_ios`.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.0.name
    }

    /// A session that shows what it is like.
    #[must_use]
    pub fn example(&self) -> Option<&Example> {
        self.0.example.as_ref()
    }

    fn definition(&self) -> Arc<Definition> {
        Arc::clone(&self.0)
    }
}

impl std::fmt::Debug for LabPlatform {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("LabPlatform").field(&self.0.name).finish()
    }
}

impl LabDevice {
    /// A Cisco IOS router with user `admin`, password `admin`, enable secret `enable`.
    #[must_use]
    pub fn cisco_ios(hostname: &str) -> Self {
        Self::new("cisco_ios", hostname).expect("a platform of the lab")
    }

    /// A device of a platform the lab brings, with user `admin`, password `admin`, enable secret
    /// `enable`.
    #[must_use]
    pub fn new(platform: &str, hostname: &str) -> Option<Self> {
        LabPlatform::named(platform).map(|platform| Self::of(platform, hostname))
    }

    /// A device of any platform, with the same user.
    #[must_use]
    pub fn of(platform: LabPlatform, hostname: &str) -> Self {
        Self {
            platform,
            hostname: hostname.into(),
            username: "admin".into(),
            password: "admin".into(),
            enable_secret: Some("enable".into()),
            privileged: false,
            paging: Paging::default(),
            banner: String::new(),
            login_questions: None,
            outputs: Vec::new(),
            delay: Duration::ZERO,
            faults: Faults::default(),
        }
    }
}

/// A running simulated device. Dropping it stops it.
#[derive(Debug)]
pub struct Lab {
    address: SocketAddr,
    shared: Arc<Shared>,
    /// Serves it; ended while it is down.
    task: Mutex<JoinHandle<()>>,
}

/// What all sessions of one device have in common.
#[derive(Debug)]
struct Shared {
    device: LabDevice,
    started: Instant,
    configuration: Mutex<Store>,
    logins: AtomicUsize,
    refused_logins: AtomicUsize,
    open_sessions: watch::Sender<usize>,
    sessions: AtomicUsize,
    /// Rung to cut all connections.
    cut: Notify,
    commands: Mutex<Latest<String>>,
    transcript: Mutex<Latest<Entry>>,
}

impl Shared {
    fn new(device: LabDevice) -> Self {
        let configuration = Store::new(&device.platform.0, &device.hostname);
        Self {
            device,
            started: Instant::now(),
            configuration: Mutex::new(configuration),
            logins: AtomicUsize::new(0),
            refused_logins: AtomicUsize::new(0),
            open_sessions: watch::Sender::new(0),
            sessions: AtomicUsize::new(0),
            cut: Notify::new(),
            commands: Mutex::new(Latest::new()),
            transcript: Mutex::new(Latest::new()),
        }
    }
}

impl Lab {
    /// Starts a device on a free port of 127.0.0.1.
    ///
    /// # Errors
    /// No free port, or the device's platform has no such login question.
    pub async fn start(device: LabDevice) -> std::io::Result<Self> {
        Self::start_on(device, 0).await
    }

    /// Starts a device on a given port of 127.0.0.1; 0 for a free one.
    ///
    /// # Errors
    /// The port is taken, or the device's platform has no such login question.
    pub async fn start_on(device: LabDevice, port: u16) -> std::io::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).await?;
        let address = listener.local_addr()?;
        if let Some(questions) = &device.login_questions {
            let known = &device.platform.0.questions;
            if let Some(question) = questions.iter().find(|name| !known.contains_key(*name)) {
                let platform = device.platform.name();
                let message = format!("{platform}: login question {question:?} not found");
                return Err(std::io::Error::new(
                    std::io::ErrorKind::InvalidInput,
                    message,
                ));
            }
        }
        let shared = Arc::new(Shared::new(device));
        let task = tokio::spawn(server::serve(listener, Arc::clone(&shared)));
        let task = Mutex::new(task);
        Ok(Self {
            address,
            shared,
            task,
        })
    }

    /// Where it listens.
    #[must_use]
    pub const fn addr(&self) -> SocketAddr {
        self.address
    }

    /// What it plays.
    #[must_use]
    pub fn device(&self) -> &LabDevice {
        &self.shared.device
    }

    /// Successful logins so far.
    #[must_use]
    pub fn logins(&self) -> usize {
        self.shared.logins.load(Ordering::SeqCst)
    }

    /// Refused logins so far.
    #[must_use]
    pub fn refused_logins(&self) -> usize {
        self.shared.refused_logins.load(Ordering::SeqCst)
    }

    /// Sessions at a command line now.
    #[must_use]
    pub fn open_sessions(&self) -> usize {
        *self.shared.open_sessions.borrow()
    }

    /// Waits until so many sessions are at a command line. The transcript holds the end of one
    /// that is gone.
    pub async fn wait_for_open_sessions(&self, count: usize) {
        let mut sessions = self.shared.open_sessions.subscribe();
        // The sender lives as long as this device.
        let _ = sessions.wait_for(|open| *open == count).await;
    }

    /// The command lines received, of all sessions, without comments and answers. The last
    /// 100,000 are kept.
    #[must_use]
    pub fn commands(&self) -> Vec<String> {
        lock(&self.shared.commands).to_vec()
    }

    /// As [`Self::commands`], which then begin anew: for who wants all of more than are kept.
    #[must_use]
    pub fn take_commands(&self) -> Vec<String> {
        lock(&self.shared.commands).take()
    }

    /// Cuts all connections, as a network that fails does; new ones are taken.
    pub fn cut_connections(&self) {
        self.shared.cut.notify_one();
    }

    /// Cuts all connections and takes no more, until it comes up again. It remembers everything.
    pub fn go_down(&self) {
        lock(&self.task).abort();
    }

    /// Listens again, where it did, after [`Self::go_down`].
    ///
    /// # Errors
    /// Somebody else has taken the port meanwhile, or this one is not down yet.
    pub async fn come_up(&self) -> std::io::Result<()> {
        let listener = TcpListener::bind(self.address).await?;
        let task = tokio::spawn(server::serve(listener, Arc::clone(&self.shared)));
        lock(&self.task).abort();
        *lock(&self.task) = task;
        Ok(())
    }

    /// What happened, in all sessions. The last 100,000 entries are kept.
    #[must_use]
    pub fn transcript(&self) -> Vec<Entry> {
        lock(&self.shared.transcript).to_vec()
    }

    /// What the device says to a command, before any terminal has a part in it; none where the
    /// platform's file has no text for exactly this command.
    #[must_use]
    pub fn says(&self, command: &str) -> Option<String> {
        cli::said(&self.shared, command)
    }

    /// The running configuration, as the platform prints it.
    #[must_use]
    pub fn running_config(&self) -> String {
        let rules = &self.shared.device.platform.0.configuration;
        configuration::shown(rules, lock(&self.shared.configuration).running())
    }

    /// Whether the running configuration is the start-up configuration.
    #[must_use]
    pub fn is_saved(&self) -> bool {
        lock(&self.shared.configuration).is_saved()
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        self.go_down();
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
