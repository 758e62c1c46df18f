//! Simulated devices: an SSH server on loopback that plays a platform's command line from data.
//!
//! For demos, for many devices at once, and for faults that a real device does not produce on
//! demand. A simulated device is never the only proof that something works.
//!
//! [`Lab::start`] starts a [`LabDevice`]. The output of each platform is in `platforms/*.toml`, in
//! the format of `platform.rs`; the command line is a pure state machine in `cli.rs`.

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

/// The settings of a simulated device.
#[derive(Debug, Clone)]
pub struct LabDevice {
    /// The platform that it simulates.
    pub platform: LabPlatform,
    /// The host name, which is part of the prompt.
    pub hostname: String,
    /// The name of the only user.
    pub username: String,
    /// The user's password.
    pub password: String,
    /// The secret for `enable`; `None` makes the device refuse the command (`% No password set`).
    pub enable_secret: Option<String>,
    /// Whether a login starts at `host#` instead of `host>`, on platforms that have both.
    pub privileged: bool,
    /// The paging of long output.
    pub paging: Paging,
    /// Text printed before the first prompt.
    pub banner: String,
    /// Names of the questions asked before the first prompt; `None` asks those of the platform.
    /// Every platform knows `press_any_key`, `terms`, `username` and `password_change`.
    pub login_questions: Option<Vec<String>>,
    /// Additional commands (exact text) and their output.
    pub outputs: Vec<(String, String)>,
    /// Duration of each command.
    pub delay: Duration,
    /// Faults of the device.
    pub faults: Faults,
}

/// The paging of long output.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Paging {
    /// Output is paged until the platform's command switches paging off (`terminal length 0`).
    #[default]
    UntilSwitchedOff,
    /// The device does not allow that command (`Command authorization failed`).
    Unauthorised,
    /// The device accepts that command, but it has no effect.
    Always,
}

/// Faults of a simulated device, for tests.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Faults {
    /// The connection drops after this many bytes of output.
    pub drop_after: Option<usize>,
    /// Commands with this prefix are never answered.
    pub never_answer: Option<String>,
    /// Output is sent in pieces of this many bytes, each in a packet of its own.
    pub packet_size: Option<usize>,
    /// Bytes that are not UTF-8 are sent after this many bytes of output.
    pub garbage_after: Option<usize>,
    /// The echo of a command is sent in two packets, a few milliseconds apart.
    pub echo_in_pieces: bool,
    /// A line that the device prints by itself while a command is typed.
    pub interruption: Option<Interruption>,
}

/// A line that the device prints by itself while a command is typed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Interruption {
    /// The part of the command line after which the text is printed: `show ver`.
    pub after: String,
    /// The printed text: a line of a log.
    pub text: String,
}

/// A simulated platform: its commands, output and questions.
#[derive(Clone)]
pub struct LabPlatform(Arc<Definition>);

impl LabPlatform {
    /// Returns a built-in platform.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        let found = DEFINITIONS.iter().find(|platform| platform.name == name)?;
        Some(Self(Arc::clone(found)))
    }

    /// Returns the names of the built-in platforms.
    pub fn names() -> impl Iterator<Item = &'static str> {
        DEFINITIONS.iter().map(|platform| platform.name.as_str())
    }

    /// Parses a platform in the format of `platforms/*.toml`.
    ///
    /// # Errors
    /// A message that says what is wrong, and where.
    pub fn parse(name: &str, toml: &str) -> Result<Self, String> {
        Definition::parse(name, toml).map(|definition| Self(Arc::new(definition)))
    }

    /// Returns the name, as in `cisco_ios`.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.0.name
    }

    /// Returns the example session of the platform, if it has one.
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
    /// Creates a Cisco IOS router with user `admin`, password `admin`, enable secret `enable`.
    #[must_use]
    pub fn cisco_ios(hostname: &str) -> Self {
        Self::new("cisco_ios", hostname).expect("a platform of the lab")
    }

    /// Creates a device of a built-in platform with user `admin`, password `admin`, enable secret
    /// `enable`; returns `None` if there is no such platform.
    #[must_use]
    pub fn new(platform: &str, hostname: &str) -> Option<Self> {
        LabPlatform::named(platform).map(|platform| Self::of(platform, hostname))
    }

    /// Creates a device of the given platform, with the same user and secrets.
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
    /// The server task, which has ended while the device is down.
    task: Mutex<JoinHandle<()>>,
}

/// The state shared by all sessions of a device.
#[derive(Debug)]
struct Shared {
    device: LabDevice,
    started: Instant,
    configuration: Mutex<Store>,
    logins: AtomicUsize,
    refused_logins: AtomicUsize,
    open_sessions: watch::Sender<usize>,
    sessions: AtomicUsize,
    /// Notified to cut all connections.
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
    /// If no port is free, or the device's platform has no such login question.
    pub async fn start(device: LabDevice) -> std::io::Result<Self> {
        Self::start_on(device, 0).await
    }

    /// Starts a device on the given port of 127.0.0.1; 0 selects a free one.
    ///
    /// # Errors
    /// If the port is in use, or the device's platform has no such login question.
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

    /// Returns the address that the device listens on.
    #[must_use]
    pub const fn addr(&self) -> SocketAddr {
        self.address
    }

    /// Returns the settings of the device.
    #[must_use]
    pub fn device(&self) -> &LabDevice {
        &self.shared.device
    }

    /// Returns the number of successful logins.
    #[must_use]
    pub fn logins(&self) -> usize {
        self.shared.logins.load(Ordering::SeqCst)
    }

    /// Returns the number of refused logins.
    #[must_use]
    pub fn refused_logins(&self) -> usize {
        self.shared.refused_logins.load(Ordering::SeqCst)
    }

    /// Returns the number of sessions that are at a command line.
    #[must_use]
    pub fn open_sessions(&self) -> usize {
        *self.shared.open_sessions.borrow()
    }

    /// Waits until exactly `count` sessions are at a command line. By then the transcript contains
    /// the end of each session that has ended.
    pub async fn wait_for_open_sessions(&self, count: usize) {
        let mut sessions = self.shared.open_sessions.subscribe();
        // The sender lives as long as this device.
        let _ = sessions.wait_for(|open| *open == count).await;
    }

    /// Returns the command lines received in all sessions, without comments and answers; at most
    /// the last 100,000.
    #[must_use]
    pub fn commands(&self) -> Vec<String> {
        lock(&self.shared.commands).to_vec()
    }

    /// Returns the same as [`Self::commands`] and clears them. Called repeatedly, it returns more
    /// than the last 100,000 in total.
    #[must_use]
    pub fn take_commands(&self) -> Vec<String> {
        lock(&self.shared.commands).take()
    }

    /// Cuts all connections, as a network failure does; new ones are accepted.
    pub fn cut_connections(&self) {
        self.shared.cut.notify_one();
    }

    /// Cuts all connections and accepts no new ones until [`Self::come_up`]. The device keeps its
    /// state.
    pub fn go_down(&self) {
        lock(&self.task).abort();
    }

    /// Listens on the same address again, after [`Self::go_down`].
    ///
    /// # Errors
    /// If the port is in use: by another process, or by this device while it is still going down.
    pub async fn come_up(&self) -> std::io::Result<()> {
        let listener = TcpListener::bind(self.address).await?;
        let task = tokio::spawn(server::serve(listener, Arc::clone(&self.shared)));
        lock(&self.task).abort();
        *lock(&self.task) = task;
        Ok(())
    }

    /// Returns the events of all sessions, at most the last 100,000.
    #[must_use]
    pub fn transcript(&self) -> Vec<Entry> {
        lock(&self.shared.transcript).to_vec()
    }

    /// Returns the output of a command before the terminal processes it; `None` if the platform's
    /// file has no text for exactly this command.
    #[must_use]
    pub fn says(&self, command: &str) -> Option<String> {
        cli::said(&self.shared, command)
    }

    /// Returns the running configuration, as the platform prints it.
    #[must_use]
    pub fn running_config(&self) -> String {
        let rules = &self.shared.device.platform.0.configuration;
        configuration::shown(rules, lock(&self.shared.configuration).running())
    }

    /// Returns whether the running configuration equals the start-up configuration.
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
