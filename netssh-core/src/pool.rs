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
mod key;
mod rate;

use std::collections::HashMap;
use std::ops::{Deref, DerefMut};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore, oneshot};
use tokio::task::JoinHandle;
use tokio::time::timeout_at;

use self::breaker::Breaker;
pub use self::breaker::{BreakerOptions, OpenBreaker};
use self::key::{Address, Key};
pub use self::rate::LoginRate;
use self::rate::Logins;
use crate::endpoint::Endpoint;
use crate::error::Error;
use crate::session::Session;

/// How many sessions are kept, and for how long.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PoolOptions {
    /// A session that nobody wanted for this long is closed: 60 s by default. Zero keeps none.
    pub idle_time: Duration,
    /// At most this many unused sessions are kept in all, the oldest go first: 256 by default.
    pub idle_sessions: usize,
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
const MOST_DEVICES: usize = 16 * DEVICES;

impl Default for PoolOptions {
    fn default() -> Self {
        Self {
            idle_time: Duration::from_secs(60),
            idle_sessions: 256,
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
    task: JoinHandle<Option<Session>>,
}

/// A login that is being made, and is over when this is dropped. It counts from its end, also when
/// nobody waits for that.
#[derive(Debug)]
struct LoggingIn(Arc<Device>);

impl LoggingIn {
    fn begin(device: &Arc<Device>, rate: &LoginRate) -> Self {
        lock(&device.logins).began(rate, Instant::now());
        Self(Arc::clone(device))
    }
}

impl Drop for LoggingIn {
    fn drop(&mut self) {
        lock(&self.0.logins).ended(Instant::now());
    }
}

/// A session from a pool. Give it back with [`PooledSession::release`]; one that is dropped
/// instead is cut.
#[derive(Debug)]
pub struct PooledSession {
    session: Option<Session>,
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
        let state = Mutex::default();
        Self {
            inner: Arc::new(Inner { options, state }),
        }
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
        let came = Instant::now();
        let inner = &self.inner;
        let (key, address) = (Key::of(endpoint), Address::of(endpoint));
        let device = inner.device(&address)?;
        let deadline = tokio::time::Instant::now() + inner.options.wait;
        let permit = inner.permit(&device, &address, deadline).await?;
        let pooled = |session, reused| PooledSession {
            session: Some(session),
            pool: Arc::clone(inner),
            key,
            address: address.clone(),
            reused,
            _in_use: permit,
        };
        if let Some(session) = inner.take_idle(&key).await {
            return Ok(pooled(session, true));
        }
        // Before the wait as well: who is kept out need not stand in line.
        device.admit(&key, &address)?;
        let line = inner.unless_given_back(&device, &key, device.login.lock());
        let line = timeout_at(deadline, line).await;
        let _login = match line.map_err(|_| busy(&address, "somebody else logs in"))? {
            Waited::Over(login) => login,
            Waited::GivenBack(session) => return Ok(pooled(*session, true)),
        };
        if let Some(error) = device.failure_since(came, &key) {
            return Err(error);
        }
        device.admit(&key, &address)?;
        let rate = &inner.options.login_rate;
        let turn = inner.unless_given_back(&device, &key, device.turn(rate, &address));
        let turn = timeout_at(deadline, turn).await;
        match turn.map_err(|_| busy(&address, "it was logged in to as often as it may be"))? {
            Waited::Over(()) => {}
            Waited::GivenBack(session) => return Ok(pooled(*session, true)),
        }
        inner.make_room(&device, &address).await;
        let login = LoggingIn::begin(&device, rate);
        let opened = Session::connect(endpoint).await;
        drop(login);
        match opened {
            Ok(session) => {
                if lock(&device.breaker).succeeded(&key) {
                    tracing::info!(device = %address, "the device lets somebody in again");
                }
                Ok(pooled(session, false))
            }
            Err(error) => {
                let options = &inner.options.breaker;
                let opened = lock(&device.breaker).failed(key, &error, options, Instant::now());
                if let Some(pause) = opened {
                    tracing::warn!(device = %address, %error, ?pause, "the device is left alone for a while");
                }
                *lock(&device.failed) = Some(FailedLogin {
                    key,
                    at: Instant::now(),
                    error: error.clone(),
                });
                Err(error)
            }
        }
    }

    /// Makes a login to the endpoint's device without the pool, for people who try something out. It
    /// waits for nothing, and counts as any other: sessions that are opened through the pool come the
    /// later. A device that could not be reached may be tried.
    ///
    /// # Errors
    /// As the login; [`Error::Unavailable`] while the device refuses these credentials, or any for this
    /// user, and while it was logged in to as often as it may be.
    pub async fn beside<T>(
        &self,
        endpoint: &Endpoint,
        login: impl Future<Output = Result<T, Error>>,
    ) -> Result<T, Error> {
        let inner = &self.inner;
        let (key, address) = (Key::of(endpoint), Address::of(endpoint));
        let device = inner.device(&address)?;
        let options = &inner.options.breaker;
        let username = &endpoint.username;
        device.admit_trial(&key, &address, username, &inner.options.login_rate)?;
        // Counted as refused until it is known better: a caller that leaves has sent a password, too.
        lock(&device.breaker).trial_began(username, options, Instant::now());
        let logging_in = LoggingIn::begin(&device, &inner.options.login_rate);
        let outcome = login.await;
        drop(logging_in);
        let mut breaker = lock(&device.breaker);
        match &outcome {
            Ok(_) => {
                breaker.trial_succeeded(username);
                if breaker.succeeded(&key) {
                    tracing::info!(device = %address, "the device lets somebody in again");
                }
            }
            Err(error) => {
                if !matches!(error, Error::Authentication { .. }) {
                    breaker.trial_did_not_count(username);
                }
                let opened = breaker.failed(key, error, options, Instant::now());
                if let Some(pause) = opened {
                    tracing::warn!(device = %address, %error, ?pause, "the device is left alone for a while");
                }
            }
        }
        outcome
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

    /// Closes what nobody uses, and from now on everything that is given back.
    pub async fn close(&self) {
        let idle = {
            let mut state = lock(&self.inner.state);
            state.closed = true;
            std::mem::take(&mut state.idle)
        };
        let closing: Vec<_> = idle
            .into_iter()
            .map(|idle| tokio::spawn(idle.close()))
            .collect();
        for closing in closing {
            let _ = closing.await;
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
            let remembers = state.devices.len() < MOST_DEVICES;
            state.devices.retain(|_, device| {
                Arc::strong_count(device) > 1
                    || Arc::strong_count(&device.in_use) > 1
                    || (remembers && device.is_remembered(&self.options.login_rate))
            });
        }
        let device = state.devices.entry(address.clone()).or_insert_with(|| {
            let sessions = self.options.sessions_per_device.max(1);
            Arc::new(Device {
                in_use: Arc::new(Semaphore::new(sessions)),
                login: tokio::sync::Mutex::default(),
                logins: Mutex::default(),
                given_back: Notify::new(),
                failed: Mutex::default(),
                breaker: Mutex::default(),
            })
        });
        Ok(Arc::clone(device))
    }

    async fn permit(
        &self,
        device: &Device,
        address: &Address,
        deadline: tokio::time::Instant,
    ) -> Result<OwnedSemaphorePermit, Error> {
        let acquired = Arc::clone(&device.in_use).acquire_owned();
        match timeout_at(deadline, acquired).await {
            Ok(Ok(permit)) => Ok(permit),
            _ => Err(busy(
                address,
                &format!(
                    "all {} that it may have are in use",
                    self.options.sessions_per_device
                ),
            )),
        }
    }

    /// The session that was used last of those that fit, if it still answers.
    async fn take_idle(&self, key: &Key) -> Option<Session> {
        loop {
            let idle = {
                let mut state = lock(&self.state);
                let found = state.idle.iter().rposition(|idle| idle.key == *key)?;
                state.idle.remove(found)
            };
            let Some(mut session) = idle.take().await else {
                continue;
            };
            if session.check().await {
                return Some(session);
            }
            tracing::debug!("an idle session does not answer; it is closed");
            tokio::spawn(session.close());
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
            if let Some(session) = self.take_idle(key).await {
                return Waited::GivenBack(Box::new(session));
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
    fn keep(self: &Arc<Self>, session: Session, key: Key, address: Address) {
        let (take, taken) = oneshot::channel();
        let mut state = lock(&self.state);
        if state.closed {
            drop(state);
            tokio::spawn(session.close());
            return;
        }
        state.next_id += 1;
        let id = state.next_id;
        let task = tokio::spawn(idle(Arc::clone(self), id, session, taken));
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
        if let Some(oldest) = oldest {
            tokio::spawn(oldest.close());
        }
    }

    fn forget(&self, id: u64) {
        lock(&self.state).idle.retain(|idle| idle.id != id);
    }
}

/// How a wait ended.
enum Waited<T> {
    Over(T),
    GivenBack(Box<Session>),
}

/// The life of a session that nobody uses: until it is wanted (then it is returned), the device
/// ends it, or its time is over.
async fn idle(
    pool: Arc<Inner>,
    id: u64,
    mut session: Session,
    taken: oneshot::Receiver<()>,
) -> Option<Session> {
    let over = tokio::select! {
        // An error means that the pool is gone.
        wanted = taken => return wanted.ok().map(|()| session),
        () = session.idle() => false,
        () = tokio::time::sleep(pool.options.idle_time) => true,
    };
    pool.forget(id);
    if over {
        session.close().await;
    }
    None
}

impl Idle {
    async fn take(self) -> Option<Session> {
        // An error means that its task has just ended.
        let _ = self.take.send(());
        self.task.await.ok().flatten()
    }

    async fn close(self) {
        if let Some(session) = self.take().await {
            session.close().await;
        }
    }
}

impl Device {
    fn admit(&self, key: &Key, address: &Address) -> Result<(), Error> {
        let admitted = lock(&self.breaker).admit(key, Instant::now());
        admitted.map_err(|(why, retry_after)| Error::Unavailable {
            message: format!(
                "{address} let nobody in lately and is left alone for {} s more; the last failure: \
                 {why}",
                retry_after.as_secs() + 1
            ),
            retry_after,
        })
    }

    /// Whether a person may try a login. Failures to connect do not count: the device may be back.
    fn admit_trial(
        &self,
        key: &Key,
        address: &Address,
        username: &str,
        rate: &LoginRate,
    ) -> Result<(), Error> {
        let now = Instant::now();
        let refused = lock(&self.breaker).admit_trial(key, username, now);
        let (message, retry_after) = match refused {
            Err((why, retry_after)) => (
                format!("{address} has refused logins of {username}: {why}"),
                retry_after,
            ),
            Ok(()) => match lock(&self.logins).wait(rate, now) {
                Some(wait) => (format!("login rate limit of {address} reached"), wait),
                None => return Ok(()),
            },
        };
        Err(Error::Unavailable {
            message: format!(
                "{message}; the next login is possible in {} s",
                retry_after.as_secs() + 1
            ),
            retry_after,
        })
    }

    /// Waits until one more login is not too many. Only who holds `login` may log in then.
    async fn turn(&self, rate: &LoginRate, address: &Address) {
        loop {
            let wait = lock(&self.logins).wait(rate, Instant::now());
            let Some(wait) = wait else {
                return;
            };
            tracing::debug!(device = %address, ?wait, "logged in to as often as it may be");
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
        let Some(session) = self.session.take() else {
            return;
        };
        if session.is_pristine() && !self.pool.options.idle_time.is_zero() {
            self.pool.keep(session, self.key, self.address.clone());
        } else {
            session.close().await;
        }
    }
}

impl Deref for PooledSession {
    type Target = Session;

    fn deref(&self) -> &Session {
        self.session
            .as_ref()
            .expect("taken by release alone, which consumes this")
    }
}

impl DerefMut for PooledSession {
    fn deref_mut(&mut self) -> &mut Session {
        self.session
            .as_mut()
            .expect("taken by release alone, which consumes this")
    }
}

fn busy(address: &Address, why: &str) -> Error {
    Error::Busy {
        message: format!("{address} has no session to spare: {why}"),
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
