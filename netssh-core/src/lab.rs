//! Simulated devices: an SSH server on loopback that plays a Cisco IOS command line from data.
//!
//! For demos, for many devices at once, and for faults that a real device does not produce on
//! demand. Never the only proof that something works. Start at [`Lab::start`]; what is played is
//! [`LabDevice`], the command line itself is a pure state machine in `lab/cli.rs`.

mod cli;
mod configuration;
mod server;
mod texts;

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::net::TcpListener;
use tokio::task::JoinHandle;

use self::configuration::RunningConfiguration;

/// What a simulated device is like.
#[derive(Debug, Clone)]
pub struct LabDevice {
    /// Its name, and so its prompt.
    pub hostname: String,
    /// The only user.
    pub username: String,
    /// Their password.
    pub password: String,
    /// What `enable` asks for; `None` refuses it (`% No password set`).
    pub enable_secret: Option<String>,
    /// The login lands at `host#` instead of `host>`.
    pub privileged: bool,
    /// How it pages long output.
    pub paging: Paging,
    /// Printed before the first prompt.
    pub banner: String,
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
    /// 24 lines at a time, until `terminal length 0`.
    #[default]
    UntilSwitchedOff,
    /// `terminal length 0` is not allowed (`Command authorization failed`).
    Unauthorised,
    /// `terminal length 0` is accepted and has no effect.
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
}

impl LabDevice {
    /// A Cisco IOS router with user `admin`, password `admin`, enable secret `enable`.
    #[must_use]
    pub fn cisco_ios(hostname: &str) -> Self {
        Self {
            hostname: hostname.into(),
            username: "admin".into(),
            password: "admin".into(),
            enable_secret: Some("enable".into()),
            privileged: false,
            paging: Paging::default(),
            banner: String::new(),
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
    task: JoinHandle<()>,
}

/// What all sessions of one device have in common.
#[derive(Debug)]
struct Shared {
    device: LabDevice,
    started: Instant,
    configuration: Mutex<RunningConfiguration>,
    logins: AtomicUsize,
    refused_logins: AtomicUsize,
    open_sessions: AtomicUsize,
    commands: Mutex<Vec<String>>,
}

impl Lab {
    /// Starts a device on a free port of 127.0.0.1.
    ///
    /// # Errors
    /// No free port.
    pub async fn start(device: LabDevice) -> std::io::Result<Self> {
        Self::start_on(device, 0).await
    }

    /// Starts a device on a given port of 127.0.0.1; 0 for a free one.
    ///
    /// # Errors
    /// The port is taken.
    pub async fn start_on(device: LabDevice, port: u16) -> std::io::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).await?;
        let address = listener.local_addr()?;
        let configuration = RunningConfiguration::new(&device);
        let shared = Arc::new(Shared {
            device,
            started: Instant::now(),
            configuration: Mutex::new(configuration),
            logins: AtomicUsize::new(0),
            refused_logins: AtomicUsize::new(0),
            open_sessions: AtomicUsize::new(0),
            commands: Mutex::new(Vec::new()),
        });
        let task = tokio::spawn(server::serve(listener, Arc::clone(&shared)));
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
        self.shared.open_sessions.load(Ordering::SeqCst)
    }

    /// All command lines received so far, of all sessions, without comments and secrets.
    #[must_use]
    pub fn commands(&self) -> Vec<String> {
        lock(&self.shared.commands).clone()
    }

    /// The running configuration, as `show running-config` prints it.
    #[must_use]
    pub fn running_config(&self) -> String {
        lock(&self.shared.configuration).text()
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        self.task.abort();
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
