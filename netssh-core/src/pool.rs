//! A pool of open sessions for reuse by the next user of the same device.
//!
//! A login costs a device and its user more than most commands do, and some devices allow only four
//! per minute. Therefore a released session returns to the [`Pool`] if it is still in the state
//! that the login left ([`Session::is_pristine`]). The next user of the same endpoint gets it after
//! one round trip that verifies that it still responds. A session has one user at a time, logins to
//! one device are serialized and rate limited, and a session in an uncertain state is closed.
//!
//! [`Pool::open`] is the entry point.

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

/// Limits of a pool.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PoolOptions {
    /// A session that is unused for this long is closed: 60 s by default. Zero keeps none.
    pub idle_time: Duration,
    /// Maximum number of unused sessions in total; the oldest are closed first: 256 by default.
    pub idle_sessions: usize,
    /// Maximum number of connections in total, used, unused or being established: no limit by
    /// default. Each uses one file descriptor, even to a device behind jump hosts. A login at the
    /// limit closes the oldest unused session, or waits.
    pub connections: usize,
    /// Maximum number of sessions to one device, used or not: 4 by default. Some devices have only
    /// five lines.
    pub sessions_per_device: usize,
    /// Maximum time to wait for a free session, a connection, or the next login: 5 minutes by
    /// default.
    pub wait: Duration,
    /// The rate limit of logins to one device; a login above it waits.
    pub login_rate: LoginRate,
    /// The circuit breaker's limits, per device.
    pub breaker: BreakerOptions,
}

/// At this many devices, unused ones without recent logins or failures are dropped.
const DEVICES: usize = 1024;
/// At this many devices, unused ones are dropped even if their logins or failures still count.
const MAX_DEVICES: usize = 16 * DEVICES;
/// The interval and the total time of retries of a login for which this machine lacks a resource.
const RETRY_INTERVAL: Duration = Duration::from_millis(500);
const RETRIED_FOR: Duration = Duration::from_secs(30);
/// How long a login outside the pool waits for a connection.
const TRIAL_CONNECTION_TIMEOUT: Duration = Duration::from_secs(10);
/// How long the pool may take to store the login history when it is closed.
const STORE_TIMEOUT: Duration = Duration::from_secs(10);

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

/// A pool of open sessions by endpoint. A clone is a handle to the same pool.
#[derive(Debug, Clone)]
pub struct Pool {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    options: PoolOptions,
    state: Mutex<State>,
    history: Option<Arc<dyn LoginHistory>>,
    /// One permit per connection.
    connections: Arc<Semaphore>,
    /// Number of logins that wait for a connection.
    starved: AtomicUsize,
    /// Notified when a session becomes unused, so that a waiting login can close it.
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

/// The state shared by all sessions to one address.
#[derive(Debug)]
struct Device {
    /// One permit per session in use.
    in_use: Arc<Semaphore>,
    /// Held by the task that logs in, or is the next to do so. Waiters are served in order.
    login: tokio::sync::Mutex<()>,
    logins: Mutex<Logins>,
    /// Notified when a released session is available.
    given_back: Notify,
    failed: Mutex<Option<FailedLogin>>,
    breaker: Mutex<Breaker>,
    /// Held while the device's record is stored.
    storing: tokio::sync::Mutex<()>,
    /// The stored record is out of date.
    changed: AtomicBool,
}

/// The most recent failed login, for callers that waited behind it.
#[derive(Debug)]
struct FailedLogin {
    key: Key,
    at: Instant,
    error: Error,
}

/// An unused session. Its task reads and discards the device's unsolicited output.
#[derive(Debug)]
struct Idle {
    id: u64,
    key: Key,
    address: Address,
    take: oneshot::Sender<()>,
    task: JoinHandle<Option<Open>>,
}

/// A session and its connection permit.
#[derive(Debug)]
struct Open {
    session: Session,
    connection: ConnectionPermit,
}

/// The right to have one connection, released on drop.
#[derive(Debug)]
pub struct ConnectionPermit {
    _permit: OwnedSemaphorePermit,
}

/// A login in progress, which ends when this is dropped. The rate limit counts it from its end,
/// even if its caller is cancelled.
#[derive(Debug)]
struct LoggingIn {
    pool: Arc<Inner>,
    device: Arc<Device>,
    address: Address,
    /// The digest of the login's credentials.
    credentials: String,
    /// The device was not reached, so the login does not count.
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

    /// Stores the login in a separate task, so that the connection can be established meanwhile.
    /// The gate delays secrets until it is stored.
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
        // Nothing awaits this task. If it never runs, the login counts as one with an unknown
        // outcome.
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            runtime.spawn(async move {
                if let Err(error) = pool.store(&device, &address).await {
                    tracing::warn!(device = %address, %error, "failed to store the end of the login");
                }
            });
        }
    }
}

/// Whether a login that is admitted counts from then on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Counted {
    Yes,
    No,
}

/// A session from a pool. Return it with [`PooledSession::release`]; dropping it closes the
/// connection.
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
    /// Returns an empty pool.
    #[must_use]
    pub fn new(options: PoolOptions) -> Self {
        Self::build(options, None)
    }

    /// Returns an empty pool that continues with the login records of an earlier process, by
    /// address, and stores its own.
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

    /// Returns the maximum number of sessions to one device.
    #[must_use]
    pub fn sessions_per_device(&self) -> usize {
        self.inner.options.sessions_per_device.max(1)
    }

    /// Returns the maximum number of connections in total.
    #[must_use]
    pub fn connections(&self) -> usize {
        self.inner.options.connections.max(1)
    }

    /// Returns the address by which a device's sessions are counted: host, port and jump hosts.
    #[must_use]
    pub fn address_of(endpoint: &Endpoint) -> String {
        Address::of(endpoint).to_string()
    }

    /// Returns an unused session that was opened with the same credentials and still responds, or a
    /// new one. Waits while the device's sessions are all in use, while another caller logs in to
    /// the device, and while the login rate limit is reached. While it waits, it takes a matching
    /// session that is released. A caller that waited behind a failed login with the same
    /// credentials gets that login's error without an attempt of its own.
    ///
    /// # Errors
    /// As [`Session::connect`], [`Error::Busy`] after waiting too long, and [`Error::Unavailable`]
    /// while the device's circuit breaker is open.
    pub async fn open(&self, endpoint: &Endpoint) -> Result<PooledSession, Error> {
        self.open_noting(endpoint, &|_| ()).await
    }

    /// Like [`Pool::open`], but calls `note` with the reason when it has to wait for a session, a
    /// connection or the login rate limit.
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
        // Also before the wait, so that a caller that the breaker rejects does not queue.
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
                // This machine's shortage may be over at the next login.
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

    /// Runs a login to the endpoint's device outside the pool, for an interactive attempt by a
    /// person. It waits briefly for a connection and counts towards the rate limit of the pool's
    /// logins. A breaker opened by connection failures does not prevent it. Keep the permit for as
    /// long as the connection.
    ///
    /// # Errors
    /// As the login; if the pool is closed, no connection is free, or the login cannot be stored;
    /// [`Error::Unavailable`] while the breaker is open for these credentials or for interactive
    /// logins of this user, and while the login rate limit is reached.
    pub async fn beside<T>(
        &self,
        endpoint: &Endpoint,
        login: impl Future<Output = Result<T, Error>>,
    ) -> Result<(T, ConnectionPermit), Error> {
        let inner = &self.inner;
        let (key, address) = (inner.digest(endpoint), Address::of(endpoint));
        let device = inner.device(&address)?;
        let username = &endpoint.username;
        // Before the wait as well: a login that is not admitted takes no connection from others.
        device.admit_trial(&key, &address, username, &inner.options, Counted::No)?;
        let connection = timeout(TRIAL_CONNECTION_TIMEOUT, inner.connection(&|_| ())).await;
        let connection = connection.map_err(|_| inner.no_connection())?;
        // Counted as refused until the outcome is known: a cancelled caller has sent a password,
        // too.
        device.admit_trial(&key, &address, username, &inner.options, Counted::Yes)?;
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
                    let options = &inner.options.breaker;
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

    /// Returns the open circuit breakers, by address.
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

    /// Returns the number of unused sessions.
    #[must_use]
    pub fn idle_sessions(&self) -> usize {
        lock(&self.inner.state).idle.len()
    }

    /// Closes all unused sessions and, from now on, every session that is released. Stores the
    /// unsaved login records.
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
        let storing = async {
            for (address, device) in changed {
                self.inner.store(device, address).await?;
            }
            Ok(())
        };
        let stored = timeout(STORE_TIMEOUT, storing).await;
        let stored = stored.unwrap_or_else(|_| {
            Err(Error::Server {
                message: format!("it takes longer than {} s", STORE_TIMEOUT.as_secs()),
                reached: false,
            })
        });
        if let Err(error) = stored {
            tracing::warn!(%error, "failed to store the login history");
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
            // Unused devices are referenced only by the map. With too many devices, their failures
            // are forgotten, too.
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

    /// Returns the digest by which the breaker identifies the endpoint's credentials.
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

    /// Stores the current login record of a device, unless an earlier call has stored it.
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

    /// Waits for a connection permit, and closes the oldest unused session to free one.
    async fn connection(&self, note: &(dyn Fn(&str) + Send + Sync)) -> ConnectionPermit {
        let mut acquired = pin!(Arc::clone(&self.connections).acquire_owned());
        if let Some(Ok(permit)) = acquired.as_mut().now_or_never() {
            return ConnectionPermit { _permit: permit };
        }
        let _starved = Starved::new(self);
        let mut noted = false;
        loop {
            let mut kept = pin!(self.kept.notified());
            // Enabled before the check, so that no notification after it is lost.
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
                    // The semaphore is never closed.
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

    /// Connects, and retries for a while if this machine lacks a resource.
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

    /// Returns the most recently used session with this key that still responds.
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

    /// Waits for a future, or until a matching session is released.
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
            // Enabled before the check, so that no notification after it is lost.
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

    /// Closes unused sessions of a device that another one would bring above the limit.
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

/// A guard that counts a login as waiting for a connection.
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

/// The result of a wait.
enum Waited<T> {
    Over(T),
    GivenBack(Box<Open>),
}

/// Holds an unused session until it is requested (then it is returned), the device ends it, or its
/// idle time is over.
async fn idle(
    pool: Arc<Inner>,
    id: u64,
    mut open: Open,
    taken: oneshot::Receiver<()>,
) -> Option<Open> {
    let over = tokio::select! {
        // An error means that the pool was dropped.
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
        // An error means that the task has just ended.
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

    /// Admits a login that a person tries, and with [`Counted::Yes`] counts it as refused until its
    /// outcome is known. Connection failures do not count, because the device may be back.
    fn admit_trial(
        &self,
        key: &str,
        address: &Address,
        username: &str,
        options: &PoolOptions,
        counted: Counted,
    ) -> Result<(), Error> {
        let now = Instant::now();
        // One at a time, so that of several none is admitted before the others are counted.
        let mut breaker = lock(&self.breaker);
        let (message, retry_after) = match breaker.admit_trial(key, username, now) {
            Err((why, retry_after)) => (
                format!("logins to {address} as {username} are paused: {why}"),
                retry_after,
            ),
            Ok(()) => match lock(&self.logins).wait(&options.login_rate, now) {
                Some(wait) => (format!("login rate limit of {address} reached"), wait),
                None => {
                    if counted == Counted::Yes {
                        breaker.trial_began(username, &options.breaker, now);
                    }
                    return Ok(());
                }
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

    /// Waits until the rate limit allows another login. The caller must hold `login`.
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

    /// Returns whether the device has failures or logins that still count.
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
    /// Returns whether the session was opened for an earlier user.
    #[must_use]
    pub const fn is_reused(&self) -> bool {
        self.reused
    }

    /// Returns the session to the pool: it is kept for the next user if it is in the state that the
    /// login left, and closed otherwise, which takes one second at most.
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
