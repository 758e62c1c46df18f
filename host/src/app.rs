//! The composition root: builds all components once and wires them together.
//!
//! The server, the CLI's `run` command and the tests all build the same [`App`].

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context;
use netssh_core::{
    BreakerOptions, ConnectionPermit, Endpoint, Error as SshError, LoginRate, OpenBreaker, Pool,
    PoolOptions, Templates,
};
use tokio::sync::{Semaphore, broadcast};
use tokio_util::sync::CancellationToken;

use crate::auth::Auth;
use crate::capabilities::{Files, LiveOutput, Parser, Policy, Services, limits};
use crate::config::{Config, DatabaseConfig, DevicesConfig, HostKeyPolicy, WorkerConfig};
use crate::connections::{Connections, StoredLogins};
use crate::descriptors;
use crate::disk::DiskSpace;
use crate::dispatch::{Dispatch, DispatchDeps, ENDED_EVENTS_CAPACITY, Queue, end_interrupted};
use crate::jobs::{Jobs, JobsDeps};
use crate::notifications::Notifications;
use crate::pauses::Pauses;
use crate::registry::{Registry, Source};
use crate::response_budget::ResponseBudget;
use crate::retention;
use crate::runtime::Sandbox;
use crate::runtime::rhai::RhaiRuntime;
use crate::runtime::wasm::{CompilerOptions, WasmRuntime};
use crate::schedules::{ScheduleRunner, Schedules};
use crate::sealing::{DigestKey, MasterKey};
use crate::storage::sqlite::{SqliteStorage, beside, file_of, lock_beside};
use crate::storage::{DownloadStore, Storage, StorageError};
use crate::stream_limit::StreamLimit;
use crate::worker::{Worker, WorkerDeps};

/// Interval at which an idle server compares the database's files with those that it opened.
const PROBE_INTERVAL: Duration = Duration::from_secs(10);

/// Retry interval for writing, for a server that was started on a full disk.
const BEGIN_INTERVAL: Duration = Duration::from_secs(1);

/// Maximum number of open terminals.
pub const MAX_TERMINALS: usize = 64;
/// Maximum number of open event streams.
pub const MAX_EVENT_STREAMS: usize = 256;
/// Blocking threads beyond those of jobs that run or wait for child jobs: for file access, name
/// resolution and loading plugins.
const MORE_BLOCKING_THREADS: usize = 64;
/// Stack size of threads, large enough for deep expressions in playbooks. Unused pages take no memory.
const STACK_BYTES: usize = 8 * 1024 * 1024;

/// All components of the host.
pub struct App {
    pub config: Config,
    pub storage: Arc<dyn Storage>,
    pub registry: Arc<Registry>,
    pub policy: Arc<Policy>,
    pub connections: Arc<Connections>,
    pub auth: Arc<Auth>,
    pub jobs: Arc<Jobs>,
    pub worker: Arc<Worker>,
    pub dispatch: Dispatch,
    pub pauses: Arc<Pauses>,
    pub schedules: Arc<Schedules>,
    schedule_runner: ScheduleRunner,
    pub notifications: Notifications,
    pub live: LiveOutput,
    pub terminals: StreamLimit,
    pub event_streams: StreamLimit,
    pub answers: ResponseBudget,
    pub request_digests: DigestKey,
    sessions: Pool,
    /// Free space on the database's disk.
    pub space: Arc<DiskSpace>,
    pub started: Instant,
    /// Whether the writes required before any job may run have succeeded.
    begun: bool,
    /// Lock file, held while this process owns the database.
    _lock: File,
}

impl App {
    /// Opens the databases, ends jobs that a crash left running, loads the playbooks and starts loading
    /// the components.
    ///
    /// # Errors
    /// If something cannot be opened, or another process uses the database; each error says what.
    pub async fn build(config: Config) -> anyhow::Result<Arc<Self>> {
        Self::build_with(config, CompilerOptions::this_program()).await
    }

    /// Like [`Self::build`], with the path of the program that compiles components, for processes other
    /// than `scheduler` itself.
    ///
    /// # Errors
    /// Like [`Self::build`].
    pub async fn build_with(config: Config, compiler: PathBuf) -> anyhow::Result<Arc<Self>> {
        let started = Instant::now();
        let database = file_of(&config.database.url)?;
        let lock = lock_beside(&database)?;
        expect_database(&database, &config.security.master_key_file)?;
        let storage: Arc<dyn Storage> = Arc::new(open(&config.database).await?);
        let master_key = MasterKey::of(&*storage, &config.security.master_key_file).await?;
        let request_digests = master_key.digest_key();
        let pool_options = pool_options(&config);
        let logins = StoredLogins::new(
            storage.clone(),
            master_key.login_digest_key(),
            pool_options.login_rate.within,
        );
        let auth = Arc::new(Auth::new(
            config.auth_mode(),
            &config.auth,
            storage.clone(),
        )?);
        let (ended, _) = broadcast::channel(ENDED_EVENTS_CAPACITY);
        let notifications =
            Notifications::build(&config.notifications, Arc::clone(&storage), ended.clone())?;
        let connections = Arc::new(Connections::new(
            storage.clone(),
            storage.clone(),
            master_key,
            host_key_policy(config.security.host_keys),
            config.devices.clone(),
        )?);
        let begun = begin_unless_full(&*storage, &notifications, &connections, &database).await?;
        let queue = Queue::open(&config.queue_url()).await?;
        let registry = registry(&config, &database, compiler, Arc::clone(&storage))?;
        registry.scan().await;

        let pauses = Pauses::load(
            storage.clone(),
            Arc::clone(&registry),
            Arc::clone(&connections),
        );
        let pauses = Arc::new(pauses.await?);
        let space = Arc::new(space_around(&database, &config.database));
        let policy = Arc::new(Policy {
            default: config.policy.for_all.clone(),
            plugins: config.policy.by_name(),
        });
        let dispatch = Dispatch::new(
            DispatchDeps {
                storage: Arc::clone(&storage),
                queue,
                registry: Arc::clone(&registry),
                policy: Arc::clone(&policy),
                pauses: Arc::clone(&pauses),
                ended,
            },
            config.worker.concurrency,
        );
        let jobs = Arc::new(Jobs::new(JobsDeps {
            storage: Arc::clone(&storage),
            registry: Arc::clone(&registry),
            policy: Arc::clone(&policy),
            connections: Arc::clone(&connections),
            dispatch: dispatch.clone(),
            space: Arc::clone(&space),
        }));
        let known_logins = logins.load().await?;
        let sessions = Pool::with_history(pool_options, Arc::new(logins), known_logins);
        let live = LiveOutput::default();
        let services = Services {
            storage: Arc::clone(&storage),
            policy: Arc::clone(&policy),
            connections: Arc::clone(&connections),
            sessions: sessions.clone(),
            live: live.clone(),
            files: files(&config, &*storage).await?,
            templates: templates(&config.devices)?,
            children: Arc::clone(&jobs) as _,
            waiting: Arc::new(Semaphore::new(limits::WAITING)),
        };
        let schedules = Arc::new(Schedules::new(Arc::clone(&storage), Arc::clone(&jobs)));
        let schedule_runner = ScheduleRunner {
            auth: Arc::clone(&auth),
            storage: Arc::clone(&storage),
            jobs: Arc::clone(&jobs),
            schedules: Arc::clone(&schedules),
            dispatch: dispatch.clone(),
        };
        let deps = WorkerDeps {
            storage: Arc::clone(&storage),
            registry: Arc::clone(&registry),
            services,
            dispatch: dispatch.clone(),
        };
        let worker = Worker::new(deps, &config);
        Ok(Arc::new(Self {
            config,
            storage,
            registry,
            policy,
            connections,
            auth,
            jobs,
            worker,
            dispatch,
            pauses,
            schedules,
            schedule_runner,
            notifications,
            live,
            terminals: StreamLimit::new(MAX_TERMINALS),
            event_streams: StreamLimit::new(MAX_EVENT_STREAMS),
            answers: ResponseBudget::default(),
            request_digests,
            sessions,
            space,
            started,
            begun,
            _lock: lock,
        }))
    }

    /// Runs jobs and all other background tasks until `shutdown` is cancelled; then drains them.
    pub(crate) async fn run_in_background(&self, shutdown: &CancellationToken) {
        // Tasks that submit or acknowledge work also end when the database becomes unusable.
        let usable = shutdown.child_token();
        let worker = Arc::clone(&self.worker).run(shutdown.clone().cancelled_owned());
        let scheduling = self.schedule_runner.run(usable.clone());
        let notifications = self.notifications.run(usable.clone());
        let batches = usable.run_until_cancelled(self.advance_batches());
        let retention = retention::run(
            self.storage.clone(),
            self.storage.clone(),
            self.config.retention.clone(),
        );
        let retention = usable.run_until_cancelled(retention);
        let working = async {
            if self.begin_late(shutdown).await {
                tokio::join!(worker, scheduling, notifications, batches, retention);
            }
        };
        let watching = self.watch_plugins(shutdown);
        let probing = usable.run_until_cancelled(self.probe_database(&usable));
        tokio::join!(working, watching, probing);
    }

    /// Runs jobs without HTTP until `shutdown` is cancelled; then drains and closes the files.
    pub async fn work(self: Arc<Self>, shutdown: CancellationToken) {
        if self.begin_late(&shutdown).await {
            let worker = Arc::clone(&self.worker).run(shutdown.clone().cancelled_owned());
            tokio::join!(worker, shutdown.run_until_cancelled(self.advance_batches()));
        }
        self.close().await;
    }

    /// Returns the open circuit breakers.
    #[must_use]
    pub fn open_breakers(&self) -> Vec<OpenBreaker> {
        self.sessions.open_breakers()
    }

    /// Runs an interactive login, for example of a connection test. It does not wait for jobs, but
    /// counts towards the login limits of its device. Keep the permit for as long as the connection.
    ///
    /// # Errors
    /// The login's own error; `unavailable` while the device rejects these credentials or its login
    /// rate limit is reached; also at shutdown, or if no file descriptor is free.
    pub async fn interactive_login<T>(
        &self,
        endpoint: &Endpoint,
        login: impl Future<Output = Result<T, SshError>>,
    ) -> Result<(T, ConnectionPermit), SshError> {
        self.sessions.beside(endpoint, login).await
    }

    async fn advance_batches(&self) {
        self.jobs.advance_batches().await;
    }

    /// Waits until the writes required before any job may run have succeeded; `false` if the shutdown
    /// comes first.
    async fn begin_late(&self, shutdown: &CancellationToken) -> bool {
        if self.begun {
            return true;
        }
        let begun = shutdown.run_until_cancelled(async {
            loop {
                // Checks with a ping first: `begin` logs each interrupted job on every try.
                let begun = match self.storage.ping().await {
                    Ok(()) => begin(&*self.storage, &self.notifications, &self.connections).await,
                    Err(error) => Err(error),
                };
                let Err(error) = begun else { break };
                match error {
                    StorageError::Full => tracing::debug!("the disk is still full; retrying"),
                    error => tracing::error!(%error, "failed to prepare the database; retrying"),
                }
                tokio::time::sleep(BEGIN_INTERVAL).await;
            }
        });
        let begun = begun.await.is_some();
        if begun {
            tracing::info!("the database is writable again; starting jobs");
        }
        begun
    }

    /// Compares the database's files with those that were opened, even if the server writes nothing.
    /// Cancels `usable` as soon as the database has a fault.
    async fn probe_database(&self, usable: &CancellationToken) {
        let condition = self.storage.condition();
        while tokio::time::timeout(PROBE_INTERVAL, condition.failed())
            .await
            .is_err()
        {
            self.storage.probe_files();
        }
        usable.cancel();
    }

    async fn watch_plugins(&self, shutdown: &CancellationToken) {
        if self.config.plugins.watch {
            let watching = Arc::clone(&self.registry).watch();
            shutdown.run_until_cancelled(watching).await;
        }
    }

    /// Closes device sessions and files.
    pub(crate) async fn close(&self) {
        self.registry.stop_loading();
        self.sessions.close().await;
        self.dispatch.close().await;
        self.storage.close().await;
    }
}

/// Builds the async runtime.
///
/// # Errors
/// If the system cannot start threads.
pub fn runtime(config: &WorkerConfig) -> anyhow::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .max_blocking_threads(config.concurrency + limits::WAITING + MORE_BLOCKING_THREADS)
        .thread_stack_size(STACK_BYTES)
        .build()
        .context("failed to start threads")
}

/// Writes the state required before any job may run, and ends jobs that a crash left running.
async fn begin(
    storage: &dyn Storage,
    notifications: &Notifications,
    connections: &Connections,
) -> Result<(), StorageError> {
    connections.bind_secrets().await?;
    notifications.begin().await?;
    end_interrupted(storage).await
}

/// Like [`begin`]; returns `false` if the disk is full, which leaves the server read-only for now.
async fn begin_unless_full(
    storage: &dyn Storage,
    notifications: &Notifications,
    connections: &Connections,
    database: &Path,
) -> Result<bool, StorageError> {
    match begin(storage, notifications, connections).await {
        Ok(()) => Ok(true),
        Err(StorageError::Full) => {
            tracing::error!(
                database = %database.display(),
                "the database's disk is full; the server is read-only until space is freed"
            );
            Ok(false)
        }
        Err(error) => Err(error),
    }
}

/// Builds the registry of playbooks and components, without loading them.
fn registry(
    config: &Config,
    database: &Path,
    compiler: PathBuf,
    storage: Arc<dyn Storage>,
) -> anyhow::Result<Arc<Registry>> {
    let plugins = &config.plugins;
    let sandbox = Sandbox {
        cpu: Duration::from_secs(plugins.cpu_seconds),
        memory_bytes: plugins.memory_mb << 20,
    };
    let compiler = CompilerOptions {
        program: compiler,
        memory_mb: plugins.compile_memory_mb,
        seconds: plugins.compile_seconds,
        at_once: plugins.compilers,
    };
    let jobs = config.worker.concurrency + limits::WAITING;
    let rhai = RhaiRuntime::new(sandbox);
    let wasm = WasmRuntime::new(sandbox, jobs, &config.cache_dir(database), compiler)?;
    let sources = vec![
        Source::new(plugins.scripts_dir.clone(), Arc::new(rhai)),
        Source::new(plugins.components_dir.clone(), Arc::new(wasm)),
    ];
    Ok(Registry::new(sources, storage))
}

/// Opens the database as configured.
///
/// # Errors
/// Like [`SqliteStorage::open`].
pub async fn open(config: &DatabaseConfig) -> anyhow::Result<SqliteStorage> {
    let check = Duration::from_secs(config.check_seconds.into());
    SqliteStorage::open(&config.url, config.max_connections, check).await
}

/// Rejects a start if the database is missing but other files of it exist: a new empty database would
/// hide the loss.
fn expect_database(database: &Path, master_key: &Path) -> anyhow::Result<()> {
    let is_there = std::fs::metadata(database).is_ok_and(|file| file.len() > 0);
    let left_over = [beside(database, "-wal"), master_key.to_owned()]
        .into_iter()
        .find(|file| std::fs::metadata(file).is_ok_and(|file| file.len() > 0));
    match left_over {
        Some(left_over) if !is_there => anyhow::bail!(
            "database {} not found, but {} exists from an earlier start; put the database back, \
             restore a backup with `scheduler db restore FILE`, or create an empty one with `scheduler \
             db init`",
            database.display(),
            left_over.display()
        ),
        _ => Ok(()),
    }
}

async fn files(config: &Config, storage: &dyn DownloadStore) -> anyhow::Result<Option<Files>> {
    let Some(directory) = config.devices.files_dir.as_deref() else {
        return Ok(None);
    };
    let space = DiskSpace::new(directory.to_owned(), config.database.min_free_mb);
    let downloaded = storage.downloaded_files().await?;
    let opened = Files::open(directory, &config.devices, Arc::new(space), downloaded).await;
    let opened = opened
        .with_context(|| format!("failed to open devices.files_dir {}", directory.display()))?;
    Ok(Some(opened))
}

/// Returns the free space monitor of the database's disk.
fn space_around(database: &Path, config: &DatabaseConfig) -> DiskSpace {
    let directory = match database.parent() {
        Some(parent) if parent != Path::new("") => parent,
        _ => Path::new("."),
    };
    DiskSpace::new(directory.to_owned(), config.min_free_mb)
}

fn templates(devices: &DevicesConfig) -> anyhow::Result<Option<Arc<Parser>>> {
    let directory = devices.templates_dir.as_deref();
    let loaded = directory.map(Templates::load).transpose();
    let loaded = loaded.context("devices.templates_dir")?;
    Ok(loaded.map(Parser::new).map(Arc::new))
}

fn pool_options(config: &Config) -> PoolOptions {
    let devices = &config.devices;
    PoolOptions {
        connections: descriptors::for_devices(config),
        idle_time: Duration::from_secs(devices.pool_idle_seconds),
        idle_sessions: devices.pool_sessions,
        sessions_per_device: devices.max_sessions_per_device,
        login_rate: LoginRate::per_minute(devices.logins_per_minute),
        breaker: breaker_options(devices),
        ..PoolOptions::default()
    }
}

fn breaker_options(devices: &DevicesConfig) -> BreakerOptions {
    let defaults = BreakerOptions::default();
    let pause = Duration::from_secs(devices.breaker_seconds.into());
    BreakerOptions {
        connection_failures: devices.breaker_failures,
        authentication_failures: match devices.breaker_failures {
            0 => 0,
            _ => defaults.authentication_failures,
        },
        pause,
        longest_pause: defaults.longest_pause.max(pause),
    }
}

fn host_key_policy(configured: HostKeyPolicy) -> netssh_core::HostKeyPolicy {
    match configured {
        HostKeyPolicy::Strict => netssh_core::HostKeyPolicy::Strict,
        HostKeyPolicy::AcceptNew => netssh_core::HostKeyPolicy::AcceptNew,
        HostKeyPolicy::Insecure => netssh_core::HostKeyPolicy::Insecure,
    }
}
