//! Open sessions, kept for whoever needs the same device next.
//!
//! A login costs a device and its user more than most commands do, and some devices allow four a
//! minute. So a session goes back to the [`Pool`] when its user is done, if it is as it was after
//! the login ([`Session::is_pristine`]); the next user of the same endpoint gets it after one
//! round trip that shows that it still answers. A session has one user at a time, logins to one
//! device come one after the other and not too many in a minute, and what is in doubt is closed.
//!
//! Start at [`Pool::open`].

mod breaker;
mod history;
mod key;
mod rate;

use std::collections::HashMap;
use std::ops::{Deref, DerefMut};
use std::pin::pin;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use futures::FutureExt as _;
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore, oneshot};
use tokio::task::JoinHandle;

use self::breaker::Breaker;
pub use self::breaker::{BreakerOptions, OpenBreaker};
use self::history::Clock;
pub use self::history::{FailureRecord, LoginHistory, LoginHistoryError, LoginRecord};
use self::key::{Address, Key, credentials_of};
pub use self::rate::LoginRate;
use self::rate::Logins;
use crate::cause::grouped;
use crate::endpoint::Endpoint;
use crate::error::Error;
use crate::gate::Gate;
use crate::patience::{Elapsed, Patience, timeout};
use crate::session::Session;

/// How many sessions are kept, and for how long.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PoolOptions {
    /// A session that nobody wanted for this long is closed: 60 s by default. Zero keeps none.
    pub idle_time: Duration,
    /// At most this many unused sessions are kept in all, the oldest go first: 256 by default.
    pub idle_sessions: usize,
    /// At most this many connections in all, in use, kept or being made: no limit by default. Each
    /// takes a file descriptor, one to a device behind jump hosts as well. A login that finds all of
    /// them taken closes the oldest unused session, or waits.
    pub connections: usize,
    /// At most this many sessions to one device, used or not: 4 by default. Devices have as few
    /// as five lines.
    pub sessions_per_device: usize,
    /// Whoever finds all of them in use waits at most this long: 5 minutes by default. So does
    /// whoever waits for their turn to log in.
    pub wait: Duration,
    /// How often a device is logged in to; who comes sooner waits.
    pub login_rate: LoginRate,
    /// When a device that lets nobody in is left alone.
    pub breaker: BreakerOptions,
}

/// From so many devices on, those that nobody uses are forgotten.
const DEVICES: usize = 1024;
/// From so many on, also those that could not be reached.
const MAX_DEVICES: usize = 16 * DEVICES;
/// A login for which this machine lacks something is tried again this often, and for this long.
const RETRY_INTERVAL: Duration = Duration::from_millis(500);
const RETRIED_FOR: Duration = Duration::from_secs(30);
/// A login beside the pool waits this long for a connection.
const TRIAL_CONNECTION_TIMEOUT: Duration = Duration::from_secs(10);

impl Default for PoolOptions {
    fn default() -> Self {
        Self {
            idle_time: Duration::from_secs(60),
            idle_sessions: 256,
            connections: usize::MAX,
            sessions_per_device: 4,
            wait: Duration::from_secs(300),
            login_rate: LoginRate::default(),
            breaker: BreakerOptions::default(),
        }
    }
}

/// Open sessions by endpoint. Cloning gives another handle to the same pool.
#[derive(Debug, Clone)]
pub struct Pool {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    options: PoolOptions,
    state: Mutex<State>,
    history: Option<Arc<dyn LoginHistory>>,
    /// One permit for every connection.
    connections: Arc<Semaphore>,
    /// Logins that wait for one of them.
    starved: AtomicUsize,
    /// Notified when an unused session could be closed for them.
    kept: Notify,
}

#[derive(Debug, Default)]
struct State {
    devices: HashMap<Address, Arc<Device>>,
    /// The oldest first.
    idle: Vec<Idle>,
    next_id: u64,
    closed: bool,
}

/// What all sessions to one address share.
#[derive(Debug)]
struct Device {
    /// One permit for every session in use.
    in_use: Arc<Semaphore>,
    /// Held while somebody logs in, or is the next to do so. Who waits for it is served in turn.
    login: tokio::sync::Mutex<()>,
    logins: Mutex<Logins>,
    /// Rung when a session is there to be taken.
    given_back: Notify,
    failed: Mutex<Option<FailedLogin>>,
    breaker: Mutex<Breaker>,
    /// Held while its record is stored.
    storing: tokio::sync::Mutex<()>,
    /// The stored record is out of date.
    changed: AtomicBool,
}

/// The login that failed last, for those who waited behind it.
#[derive(Debug)]
struct FailedLogin {
    key: Key,
    at: Instant,
    error: Error,
}

/// A session that nobody uses. Its task reads what the device says meanwhile.
#[derive(Debug)]
struct Idle {
    id: u64,
    key: Key,
    address: Address,
    take: oneshot::Sender<()>,
    task: JoinHandle<Option<Open>>,
}

/// A session, and its place among all connections.
#[derive(Debug)]
struct Open {
    session: Session,
    connection: ConnectionPermit,
}

/// The right to have one more connection, for as long as this lives.
#[derive(Debug)]
pub struct ConnectionPermit {
    _permit: OwnedSemaphorePermit,
}

/// A login that is being made, and is over when this is dropped. It counts from its end, also when
/// nobody waits for that.
#[derive(Debug)]
struct LoggingIn {
    pool: Arc<Inner>,
    device: Arc<Device>,
    address: Address,
    /// The digest of its credentials.
    credentials: String,
    /// The device was not reached, so that it does not count.
    unreached: bool,
}

impl LoggingIn {
    fn begin(
        pool: &Arc<Inner>,
        device: &Arc<Device>,
        address: &Address,
        credentials: String,
    ) -> Self {
        lock(&device.logins).began(&pool.options.login_rate, Instant::now());
        lock(&device.breaker).began(&credentials);
        device.changed.store(true, Ordering::Relaxed);
        Self {
            pool: Arc::clone(pool),
            device: Arc::clone(device),
            address: address.clone(),
            credentials,
            unreached: false,
        }
    }

    /// Stores the login, on a task of its own: the connection can be made meanwhile. The secrets wait
    /// for the gate.
    fn store(&self) -> Gate {
        let (pool, device) = (Arc::clone(&self.pool), Arc::clone(&self.device));
        if pool.history.is_none() {
            return Gate::open();
        }
        let address = self.address.clone();
        let storing = tokio::spawn(async move { pool.store(&device, &address).await });
        Gate::after(async move {
            storing.await.unwrap_or_else(|_| {
                Err(Error::Server {
                    message: "failed to store the start of the login".into(),
                    reached: true,
                })
            })
        })
    }
}

impl Drop for LoggingIn {
    fn drop(&mut self) {
        match self.unreached {
            true => lock(&self.device.logins).take_back(),
            false => lock(&self.device.logins).ended(Instant::now()),
        }
        lock(&self.device.breaker).ended(&self.credentials);
        self.device.changed.store(true, Ordering::Relaxed);
        if self.pool.history.is_none() {
            return;
        }
        let (pool, device) = (Arc::clone(&self.pool), Arc::clone(&self.device));
        let address = self.address.clone();
        // Nothing waits for it. Should it not come to that, the login counts as one whose outcome is
        // not known.
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            runtime.spawn(async move {
                if let Err(error) = pool.store(&device, &address).await {
                    tracing::warn!(device = %address, %error, "failed to store the end of the login");
                }
            });
        }
    }
}

/// A session from a pool. Give it back with [`PooledSession::release`]; one that is dropped
/// instead is cut.
#[derive(Debug)]
pub struct PooledSession {
    open: Option<Open>,
    pool: Arc<Inner>,
    key: Key,
    address: Address,
    reused: bool,
    // Dropped after the session.
    _in_use: OwnedSemaphorePermit,
}

impl Pool {
    /// An empty pool.
    #[must_use]
    pub fn new(options: PoolOptions) -> Self {
        Self::build(options, None)
    }

    /// Returns an empty pool that knows the logins of an earlier process, by address, and stores its
    /// own.
    #[must_use]
    pub fn with_history(
        options: PoolOptions,
        history: Arc<dyn LoginHistory>,
        records: Vec<(String, LoginRecord)>,
    ) -> Self {
        let pool = Self::build(options, Some(history));
        let clock = Clock::read();
        for (address, record) in records.into_iter().take(MAX_DEVICES) {
            let device = options.device();
            lock(&device.logins).restore(&record.logins, &options.login_rate, clock);
            lock(&device.breaker).restore(&record, &options.breaker, clock);
            let devices = &mut lock(&pool.inner.state).devices;
            devices.insert(address.into(), Arc::new(device));
        }
        pool
    }

    fn build(options: PoolOptions, history: Option<Arc<dyn LoginHistory>>) -> Self {
        let connections = options.connections.clamp(1, Semaphore::MAX_PERMITS);
        Self {
            inner: Arc::new(Inner {
                options,
                state: Mutex::default(),
                history,
                connections: Arc::new(Semaphore::new(connections)),
                starved: AtomicUsize::new(0),
                kept: Notify::new(),
            }),
        }
    }

    /// Returns how many sessions to one device there may be.
    #[must_use]
    pub fn sessions_per_device(&self) -> usize {
        self.inner.options.sessions_per_device.max(1)
    }

    /// Returns how many connections there may be in all.
    #[must_use]
    pub fn connections(&self) -> usize {
        self.inner.options.connections.max(1)
    }

    /// Returns the address by which a device's sessions are counted: host and port, and the way
    /// there.
    #[must_use]
    pub fn address_of(endpoint: &Endpoint) -> String {
        Address::of(endpoint).to_string()
    }

    /// A session that was opened with these very credentials and is still there, or one newly
    /// opened. Waits while the device has as many users as it may have, while somebody else logs
    /// in to it, and while it was logged in to as often as it may be; whoever waited behind a
    /// login that failed gets its error, without a try of their own. Who waits to log in takes a
    /// session that is given back meanwhile.
    ///
    /// # Errors
    /// As [`Session::connect`], [`Error::Busy`] when it has waited too long, and
    /// [`Error::Unavailable`] while the device is left alone because it let nobody in.
    pub async fn open(&self, endpoint: &Endpoint) -> Result<PooledSession, Error> {
        self.open_noting(endpoint, &|_| ()).await
    }

    /// [`Pool::open`] that reports when it has to wait for others: `note` is given the reason.
    ///
    /// # Errors
    /// As [`Pool::open`].
    pub async fn open_noting(
        &self,
        endpoint: &Endpoint,
        note: &(dyn Fn(&str) + Send + Sync),
    ) -> Result<PooledSession, Error> {
        let came = Instant::now();
        let inner = &self.inner;
        let (key, address) = (Key::of(endpoint), Address::of(endpoint));
        let credentials = inner.digest(endpoint);
        let device = inner.device(&address)?;
        let mut patience = Patience::new(inner.options.wait);
        let permit = inner.permit(&device, &address, &mut patience, note).await?;
        let pooled = |open, reused| PooledSession {
            open: Some(open),
            pool: Arc::clone(inner),
            key,
            address: address.clone(),
            reused,
            _in_use: permit,
        };
        if let Some(open) = inner.take_idle(&key).await {
            return Ok(pooled(open, true));
        }
        // Before the wait as well: who is kept out need not stand in line.
        device.admit(&credentials, &address)?;
        let line = inner.unless_given_back(&device, &key, device.login.lock());
        let line = patience.wait(line).await;
        let _login =
            match line.map_err(|_| busy(&address, "timed out while waiting for another login"))? {
                Waited::Over(login) => login,
                Waited::GivenBack(open) => return Ok(pooled(*open, true)),
            };
        if let Some(error) = device.failure_since(came, &key) {
            return Err(error);
        }
        device.admit(&credentials, &address)?;
        let rate = &inner.options.login_rate;
        let turn = inner.unless_given_back(&device, &key, device.turn(rate, &address, note));
        let turn = patience.wait(turn).await;
        match turn.map_err(|_| busy(&address, "login rate limit reached"))? {
            Waited::Over(()) => {}
            Waited::GivenBack(open) => return Ok(pooled(*open, true)),
        }
        inner.make_room(&device, &address).await;
        let connecting = inner.connection(note);
        let connecting = inner.unless_given_back(&device, &key, connecting);
        let connecting = patience.wait(connecting).await;
        let connection = match connecting.map_err(|_| inner.no_connection())? {
            Waited::Over(connection) => connection,
            Waited::GivenBack(open) => return Ok(pooled(*open, true)),
        };
        let mut login = LoggingIn::begin(inner, &device, &address, credentials);
        let opened = inner.connect(endpoint, &login.store()).await;
        match opened {
            Ok(session) => {
                if lock(&device.breaker).succeeded(&login.credentials) {
                    tracing::info!(device = %address, "circuit breaker closed");
                }
                drop(login);
                Ok(pooled(
                    Open {
                        session,
                        connection,
                    },
                    false,
                ))
            }
            Err(error) => {
                login.unreached = matches!(&error, Error::Server { reached: false, .. });
                let options = &inner.options.breaker;
                let (key_of_login, now) = (&login.credentials, Instant::now());
                let opened = lock(&device.breaker).failed(key_of_login, &error, options, now);
                drop(login);
                if let Some(pause) = opened {
                    let seconds = pause.as_secs_f64();
                    tracing::warn!(device = %address, %error, "circuit breaker opened for {seconds} s");
                }
                // What this machine lacked, the next login may have.
                if !matches!(error, Error::Server { .. }) {
                    *lock(&device.failed) = Some(FailedLogin {
                        key,
                        at: Instant::now(),
                        error: error.clone(),
                    });
                }
                Err(error)
            }
        }
    }

    /// Makes a login to the endpoint's device without the pool, for people who try something out. It
    /// waits for a connection, and for that not long, and counts as any other: sessions that are opened
    /// through the pool come the later. A device that could not be reached may be tried. The permit is
    /// to be kept for as long as the connection.
    ///
    /// # Errors
    /// As the login; when the pool is closed, there is no connection left, or the login cannot be
    /// stored; [`Error::Unavailable`] while the device refuses these credentials, or any for this user,
    /// and while it was logged in to as often as it may be.
    pub async fn beside<T>(
        &self,
        endpoint: &Endpoint,
        login: impl Future<Output = Result<T, Error>>,
    ) -> Result<(T, ConnectionPermit), Error> {
        let inner = &self.inner;
        let (key, address) = (inner.digest(endpoint), Address::of(endpoint));
        let device = inner.device(&address)?;
        let options = &inner.options.breaker;
        let username = &endpoint.username;
        device.admit_trial(&key, &address, username, &inner.options.login_rate)?;
        let connection = timeout(TRIAL_CONNECTION_TIMEOUT, inner.connection(&|_| ())).await;
        let connection = connection.map_err(|_| inner.no_connection())?;
        // Counted as refused until it is known better: a caller that leaves has sent a password, too.
        lock(&device.breaker).trial_began(username, options, Instant::now());
        let mut logging_in = LoggingIn::begin(inner, &device, &address, key.clone());
        let stored = logging_in.store().wait().await;
        let outcome = match stored {
            Ok(()) => login.await,
            Err(error) => Err(error),
        };
        logging_in.unreached = matches!(&outcome, Err(Error::Server { reached: false, .. }));
        {
            let mut breaker = lock(&device.breaker);
            match &outcome {
                Ok(_) => {
                    breaker.trial_succeeded(username);
                    if breaker.succeeded(&key) {
                        tracing::info!(device = %address, "circuit breaker closed");
                    }
                }
                Err(error) => {
                    if !matches!(error, Error::Authentication { refused: true, .. }) {
                        breaker.trial_did_not_count(username);
                    }
                    let opened = breaker.failed(&key, error, options, Instant::now());
                    if let Some(pause) = opened {
                        let seconds = pause.as_secs_f64();
                        tracing::warn!(device = %address, %error, "circuit breaker opened for {seconds} s");
                    }
                }
            }
        }
        drop(logging_in);
        outcome.map(|opened| (opened, connection))
    }

    /// The devices that are left alone for now, by address.
    #[must_use]
    pub fn open_breakers(&self) -> Vec<OpenBreaker> {
        let now = Instant::now();
        let state = lock(&self.inner.state);
        let open = state.devices.iter().filter_map(|(address, device)| {
            let (reason, retry_after) = lock(&device.breaker).state(now)?;
            Some(OpenBreaker {
                address: address.to_string(),
                reason,
                retry_after,
            })
        });
        let mut open: Vec<_> = open.collect();
        open.sort_by(|one, other| one.address.cmp(&other.address));
        open
    }

    /// How many sessions nobody uses.
    #[must_use]
    pub fn idle_sessions(&self) -> usize {
        lock(&self.inner.state).idle.len()
    }

    /// Closes what nobody uses, and from now on everything that is given back. Stores what is not
    /// stored yet of the logins.
    pub async fn close(&self) {
        let (idle, devices) = {
            let mut state = lock(&self.inner.state);
            state.closed = true;
            let devices = std::mem::take(&mut state.devices);
            (std::mem::take(&mut state.idle), devices)
        };
        let closing: Vec<_> = idle
            .into_iter()
            .map(|idle| tokio::spawn(idle.close()))
            .collect();
        for closing in closing {
            let _ = closing.await;
        }
        let changed = devices
            .iter()
            .filter(|(_, device)| device.changed.load(Ordering::Relaxed));
        for (address, device) in changed {
            if let Err(error) = self.inner.store(device, address).await {
                tracing::warn!(%error, "failed to store the login history");
                break;
            }
        }
    }
}

impl PoolOptions {
    fn device(&self) -> Device {
        Device {
            in_use: Arc::new(Semaphore::new(self.sessions_per_device.max(1))),
            login: tokio::sync::Mutex::default(),
            logins: Mutex::default(),
            given_back: Notify::new(),
            failed: Mutex::default(),
            breaker: Mutex::default(),
            storing: tokio::sync::Mutex::default(),
            changed: AtomicBool::new(false),
        }
    }
}

impl Inner {
    fn device(&self, address: &Address) -> Result<Arc<Device>, Error> {
        let mut state = lock(&self.state);
        if state.closed {
            return Err(Error::invalid("the pool is closed"));
        }
        if state.devices.len() >= DEVICES {
            // Nobody but the map knows those without users. Where too many have failed, that is
            // forgotten, too.
            let remembers = state.devices.len() < MAX_DEVICES;
            state.devices.retain(|_, device| {
                Arc::strong_count(device) > 1
                    || Arc::strong_count(&device.in_use) > 1
                    || (remembers && device.is_remembered(&self.options.login_rate))
            });
        }
        let new = || Arc::new(self.options.device());
        let device = state.devices.entry(address.clone()).or_insert_with(new);
        Ok(Arc::clone(device))
    }

    /// Returns the digest by which the breaker knows the endpoint's credentials.
    fn digest(&self, endpoint: &Endpoint) -> String {
        let credentials = credentials_of(endpoint);
        match &self.history {
            Some(history) => history.digest(&credentials),
            None => credentials
                .iter()
                .map(|byte| format!("{byte:02x}"))
                .collect(),
        }
    }

    /// Stores what is known of the logins to a device, as it is when its turn comes.
    async fn store(&self, device: &Device, address: &Address) -> Result<(), Error> {
        let Some(history) = &self.history else {
            return Ok(());
        };
        let _storing = device.storing.lock().await;
        if !device.changed.swap(false, Ordering::Relaxed) {
            return Ok(());
        }
        let clock = Clock::read();
        let mut record = LoginRecord {
            logins: lock(&device.logins).record(clock),
            ..LoginRecord::default()
        };
        lock(&device.breaker).record(&mut record, clock);
        let stored = history.store(&address.to_string(), &record).await;
        stored.map_err(|error| {
            device.changed.store(true, Ordering::Relaxed);
            Error::Server {
                message: format!("failed to store the login to {address}: {error}"),
                reached: true,
            }
        })
    }

    async fn permit(
        &self,
        device: &Device,
        address: &Address,
        patience: &mut Patience,
        note: &(dyn Fn(&str) + Send + Sync),
    ) -> Result<OwnedSemaphorePermit, Error> {
        let mut acquired = pin!(Arc::clone(&device.in_use).acquire_owned());
        if let Some(Ok(permit)) = acquired.as_mut().now_or_never() {
            return Ok(permit);
        }
        let why = match self.options.sessions_per_device {
            0 | 1 => "session limit reached: its only session is in use".to_owned(),
            most => format!("session limit reached: all {most} sessions are in use"),
        };
        note(&why);
        match patience.wait(acquired).await {
            Ok(Ok(permit)) => Ok(permit),
            _ => Err(busy(address, &why)),
        }
    }

    /// Waits for one more connection; the oldest unused session is closed for it.
    async fn connection(&self, note: &(dyn Fn(&str) + Send + Sync)) -> ConnectionPermit {
        let mut acquired = pin!(Arc::clone(&self.connections).acquire_owned());
        if let Some(Ok(permit)) = acquired.as_mut().now_or_never() {
            return ConnectionPermit { _permit: permit };
        }
        let _starved = Starved::new(self);
        let mut noted = false;
        loop {
            let mut kept = pin!(self.kept.notified());
            // Before the look, so that nothing is kept unseen after it.
            kept.as_mut().enable();
            match self.take_oldest() {
                Some(oldest) => oldest.close().await,
                None if !noted => {
                    noted = true;
                    note(&self.all_connected());
                }
                None => {}
            }
            tokio::select! {
                biased;
                permit = &mut acquired => match permit {
                    Ok(permit) => return ConnectionPermit { _permit: permit },
                    // It is never closed.
                    Err(_) => std::future::pending().await,
                },
                () = kept => {}
            }
        }
    }

    fn take_oldest(&self) -> Option<Idle> {
        let mut state = lock(&self.state);
        (!state.idle.is_empty()).then(|| state.idle.remove(0))
    }

    fn all_connected(&self) -> String {
        let most = self.options.connections.max(1);
        format!(
            "connection limit reached: all {} connections that the server has file descriptors for are \
             in use",
            grouped(u64::try_from(most).unwrap_or(u64::MAX))
        )
    }

    fn no_connection(&self) -> Error {
        Error::Server {
            message: self.all_connected(),
            reached: false,
        }
    }

    /// Logs in; tries again for a while if this machine lacks something.
    async fn connect(&self, endpoint: &Endpoint, gate: &Gate) -> Result<Session, Error> {
        let mut patience = Patience::new(RETRIED_FOR.min(self.options.wait));
        loop {
            let error = match Session::connect_after(endpoint, gate).await {
                Err(error @ Error::Server { reached: false, .. }) => error,
                done => return done,
            };
            tracing::warn!(%error, "failed to connect; closing an idle session and retrying");
            if let Some(oldest) = self.take_oldest() {
                oldest.close().await;
            }
            let pause = tokio::time::sleep(RETRY_INTERVAL);
            if patience.wait(pause).await == Err(Elapsed) {
                return Err(error);
            }
        }
    }

    /// The session that was used last of those that fit, if it still answers.
    async fn take_idle(&self, key: &Key) -> Option<Open> {
        loop {
            let idle = {
                let mut state = lock(&self.state);
                let found = state.idle.iter().rposition(|idle| idle.key == *key)?;
                state.idle.remove(found)
            };
            let Some(mut open) = idle.take().await else {
                continue;
            };
            if open.session.check().await {
                return Some(open);
            }
            tracing::debug!("closing an idle session that does not respond");
            tokio::spawn(open.close());
        }
    }

    /// Waits, but no longer than until somebody gives back a session that fits.
    async fn unless_given_back<T>(
        &self,
        device: &Device,
        key: &Key,
        waiting: impl Future<Output = T>,
    ) -> Waited<T> {
        tokio::pin!(waiting);
        loop {
            let given_back = device.given_back.notified();
            tokio::pin!(given_back);
            // Before the look, so that nothing is given back unseen after it.
            given_back.as_mut().enable();
            if let Some(open) = self.take_idle(key).await {
                return Waited::GivenBack(Box::new(open));
            }
            tokio::select! {
                over = &mut waiting => return Waited::Over(over),
                () = given_back => {}
            }
        }
    }

    /// Closes idle sessions of a device that would exceed its number with one more.
    async fn make_room(&self, device: &Device, address: &Address) {
        let most = self.options.sessions_per_device.max(1);
        let in_use = most - device.in_use.available_permits().min(most);
        let mut leaving = Vec::new();
        {
            let mut state = lock(&self.state);
            let of_device = |idle: &Idle| idle.address == *address;
            let mut idle = state.idle.iter().filter(|idle| of_device(idle)).count();
            while idle > 0 && idle + in_use > most {
                idle -= 1;
                if let Some(at) = state.idle.iter().position(of_device) {
                    leaving.push(state.idle.remove(at));
                }
            }
        }
        for idle in leaving {
            idle.close().await;
        }
    }

    /// Keeps a session for the next user, and closes the oldest one if there are too many.
    fn keep(self: &Arc<Self>, open: Open, key: Key, address: Address) {
        let (take, taken) = oneshot::channel();
        let mut state = lock(&self.state);
        if state.closed {
            drop(state);
            tokio::spawn(open.close());
            return;
        }
        state.next_id += 1;
        let id = state.next_id;
        let task = tokio::spawn(idle(Arc::clone(self), id, open, taken));
        let device = state.devices.get(&address).map(Arc::clone);
        state.idle.push(Idle {
            id,
            key,
            address,
            take,
            task,
        });
        let most = self.options.idle_sessions;
        let oldest = (state.idle.len() > most).then(|| state.idle.remove(0));
        drop(state);
        if let Some(device) = device {
            device.given_back.notify_waiters();
        }
        if self.starved.load(Ordering::Relaxed) > 0 {
            self.kept.notify_one();
        }
        if let Some(oldest) = oldest {
            tokio::spawn(oldest.close());
        }
    }

    fn forget(&self, id: u64) {
        lock(&self.state).idle.retain(|idle| idle.id != id);
    }
}

/// A login that waits for a connection.
struct Starved<'a>(&'a Inner);

impl<'a> Starved<'a> {
    fn new(pool: &'a Inner) -> Self {
        pool.starved.fetch_add(1, Ordering::Relaxed);
        Self(pool)
    }
}

impl Drop for Starved<'_> {
    fn drop(&mut self) {
        self.0.starved.fetch_sub(1, Ordering::Relaxed);
    }
}

/// How a wait ended.
enum Waited<T> {
    Over(T),
    GivenBack(Box<Open>),
}

/// The life of a session that nobody uses: until it is wanted (then it is returned), the device
/// ends it, or its time is over.
async fn idle(
    pool: Arc<Inner>,
    id: u64,
    mut open: Open,
    taken: oneshot::Receiver<()>,
) -> Option<Open> {
    let over = tokio::select! {
        // An error means that the pool is gone.
        wanted = taken => return wanted.ok().map(|()| open),
        () = open.session.idle() => false,
        () = tokio::time::sleep(pool.options.idle_time) => true,
    };
    pool.forget(id);
    if over {
        open.close().await;
    }
    None
}

impl Open {
    async fn close(self) {
        self.session.close().await;
        drop(self.connection);
    }
}

impl Idle {
    async fn take(self) -> Option<Open> {
        // An error means that its task has just ended.
        let _ = self.take.send(());
        self.task.await.ok().flatten()
    }

    async fn close(self) {
        if let Some(open) = self.take().await {
            open.close().await;
        }
    }
}

impl Device {
    fn admit(&self, credentials: &str, address: &Address) -> Result<(), Error> {
        let admitted = lock(&self.breaker).admit(credentials, Instant::now());
        admitted.map_err(|(why, retry_after)| Error::Unavailable {
            message: format!(
                "circuit breaker of {address} is open for another {} s; last failure: {why}",
                retry_after.as_secs() + 1
            ),
            retry_after,
        })
    }

    /// Whether a person may try a login. Failures to connect do not count: the device may be back.
    fn admit_trial(
        &self,
        key: &str,
        address: &Address,
        username: &str,
        rate: &LoginRate,
    ) -> Result<(), Error> {
        let now = Instant::now();
        let refused = lock(&self.breaker).admit_trial(key, username, now);
        let (message, retry_after) = match refused {
            Err((why, retry_after)) => (
                format!("logins to {address} as {username} are paused: {why}"),
                retry_after,
            ),
            Ok(()) => match lock(&self.logins).wait(rate, now) {
                Some(wait) => (format!("login rate limit of {address} reached"), wait),
                None => return Ok(()),
            },
        };
        Err(Error::Unavailable {
            message: format!(
                "{message}; next login possible in {} s",
                retry_after.as_secs() + 1
            ),
            retry_after,
        })
    }

    /// Waits until one more login is not too many. Only who holds `login` may log in then.
    async fn turn(&self, rate: &LoginRate, address: &Address, note: &(dyn Fn(&str) + Send + Sync)) {
        let mut noted = false;
        loop {
            let wait = lock(&self.logins).wait(rate, Instant::now());
            let Some(wait) = wait else {
                return;
            };
            tracing::debug!(device = %address, ?wait, "login rate limit reached");
            if !std::mem::replace(&mut noted, true) {
                note(&format!(
                    "login rate limit reached; next login possible in {} s",
                    wait.as_secs() + 1
                ));
            }
            tokio::time::sleep(wait).await;
        }
    }

    /// Whether there is something to remember of it.
    fn is_remembered(&self, rate: &LoginRate) -> bool {
        !lock(&self.breaker).is_clean() || !lock(&self.logins).is_past(rate, Instant::now())
    }

    fn failure_since(&self, came: Instant, key: &Key) -> Option<Error> {
        let failed = lock(&self.failed);
        let failed = failed.as_ref()?;
        (failed.at > came && failed.key == *key).then(|| failed.error.clone())
    }
}

impl PooledSession {
    /// Whether it had been opened before.
    #[must_use]
    pub const fn is_reused(&self) -> bool {
        self.reused
    }

    /// Gives it back: kept for the next user if it is as it was after the login, closed
    /// otherwise, which takes a second at most.
    pub async fn release(mut self) {
        let Some(open) = self.open.take() else {
            return;
        };
        if open.session.is_pristine() && !self.pool.options.idle_time.is_zero() {
            self.pool.keep(open, self.key, self.address.clone());
        } else {
            open.close().await;
        }
    }
}

impl Deref for PooledSession {
    type Target = Session;

    fn deref(&self) -> &Session {
        let open = self.open.as_ref();
        &open
            .expect("taken by release alone, which consumes this")
            .session
    }
}

impl DerefMut for PooledSession {
    fn deref_mut(&mut self) -> &mut Session {
        let open = self.open.as_mut();
        &mut open
            .expect("taken by release alone, which consumes this")
            .session
    }
}

fn busy(address: &Address, why: &str) -> Error {
    Error::Busy {
        message: format!("no session to {address} available: {why}"),
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
