//! Components: plugins compiled to WebAssembly, over the contract in `plugin-sdk/wit`.
//!
//! Every attempt gets its own store, from a pool; an attempt waits for a free slot of the pool and never
//! fails for lack of one. A component has clocks and random numbers, but no access to files, network or
//! environment. `host.rs` defines the functions it may call, each of which binds to one capability.
//!
//! Two clocks limit it. The CPU budget counts only the component's own computing; it is checked by an
//! epoch that ticks while components run. The attempt's timeout counts all time, and the worker enforces
//! it.

mod bindings;
mod cache;
mod compiler;
mod errors;
mod guest;
mod host;
mod limits;
mod output;
mod threads;
mod ticker;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use serde_json::Value;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use wasmtime::component::{Component, Linker};
use wasmtime::{
    Config, Engine, InstanceAllocationStrategy, PoolingAllocationConfig, Store,
    WasmBacktraceDetails,
};

use self::bindings::JobPluginPre;
use self::cache::CodeCache;
use self::compiler::Compiler;
use self::guest::{Calling, Guest};
use self::limits::CpuClock;
use self::threads::Threads;
use self::ticker::Ticker;
use super::{JobRuntime, Loaded, NotLoaded, Program, Sandbox};
use crate::capabilities::limits::check_values;
use crate::capabilities::{JobContext, check_result_size};
use crate::json::reserved_field;
use crate::model::{Description, ErrorCode, JobError, LoadError, PluginFiles, PluginKind};
use crate::{json, numbers};

pub use self::compiler::{CompilerOptions, SUBCOMMAND, compile};

/// Size of a component, in bytes. Components with an embedded interpreter have 10 to 20 MB.
const COMPONENT_BYTES: u64 = 64 * 1024 * 1024;
/// Size of the description that a component returns, in bytes.
const DESCRIPTION_BYTES: usize = 1024 * 1024;
const CPU_TO_DESCRIBE: Duration = Duration::from_secs(5);
const TIME_TO_DESCRIBE: Duration = Duration::from_secs(20);
/// Components that may describe themselves at once.
const DESCRIBING: usize = 4;

/// Limits of one component, which the pool reserves for every job that may run.
const CORE_INSTANCES: u32 = 64;
const MEMORIES: u32 = 4;
const TABLES: u32 = 8;
/// Elements of one table. An interpreter has some ten thousand functions.
const TABLE_ELEMENTS: usize = 100_000;
const INSTANCE_BYTES: usize = 4 * 1024 * 1024;
/// The stack of a component's own calls, and that of the fiber it runs on.
const WASM_STACK_BYTES: usize = 1024 * 1024;
const FIBER_STACK_BYTES: usize = 2 * 1024 * 1024;

pub struct WasmRuntime {
    shared: Arc<Shared>,
    compiler: Compiler,
}

/// The parts that all components share.
struct Shared {
    engine: Engine,
    linker: Linker<Guest>,
    ticker: Ticker,
    threads: Threads,
    sandbox: Sandbox,
    /// Permits for the pool, for jobs and for components that describe themselves.
    places: Semaphore,
    describing: Semaphore,
}

#[derive(Clone)]
struct ComponentProgram {
    file: String,
    instance: JobPluginPre<Guest>,
    shared: Arc<Shared>,
}

impl WasmRuntime {
    /// Creates an engine for `jobs` attempts at once, which caches compiled code in `cache`.
    ///
    /// The engine has no compiler, so this process can never be made to compile a component.
    ///
    /// # Errors
    /// If the cache directory cannot be created, or other users may write to it.
    pub fn new(
        sandbox: Sandbox,
        jobs: usize,
        cache: &Path,
        compiler: CompilerOptions,
    ) -> anyhow::Result<Self> {
        let cache = CodeCache::open(cache)?;
        let mut config = engine_config();
        config
            .enable_compiler(false)
            .cache(Some(cache.of_engine()?))
            .allocation_strategy(InstanceAllocationStrategy::Pooling(pool(
                jobs + DESCRIBING,
                &sandbox,
            )));
        let engine = Engine::new(&config).or_else(|error| {
            // If the address space is limited (`ulimit -v`), each component allocates its own memory
            // instead.
            tracing::warn!(error = %format!("{error:#}"), "failed to create the instance pool for \
                 components; each run takes longer");
            config.allocation_strategy(InstanceAllocationStrategy::OnDemand);
            Engine::new(&config).map_err(not_made)
        })?;
        let mut linker = Linker::new(&engine);
        wasmtime_wasi::p2::add_to_linker_async(&mut linker).map_err(not_made)?;
        host::add_to_linker(&mut linker).map_err(not_made)?;
        Ok(Self {
            compiler: Compiler::new(compiler, cache),
            shared: Arc::new(Shared {
                ticker: Ticker::start(engine.weak())?,
                threads: Threads::start()?,
                engine,
                linker,
                sandbox,
                places: Semaphore::new(jobs),
                describing: Semaphore::new(DESCRIBING),
            }),
        })
    }
}

#[async_trait]
impl JobRuntime for WasmRuntime {
    fn kind(&self) -> PluginKind {
        PluginKind::Wasm
    }

    fn extension(&self) -> &'static str {
        "wasm"
    }

    fn loads_in_background(&self) -> bool {
        true
    }

    fn read(&self, file: &Path) -> Result<PluginFiles, LoadError> {
        PluginFiles::read(file, COMPONENT_BYTES)
    }

    async fn load(&self, files: &Arc<PluginFiles>) -> Result<Loaded, NotLoaded> {
        let (shared, reading) = (Arc::clone(&self.shared), Arc::clone(files));
        let linked = tokio::task::spawn_blocking(move || shared.link(&reading)).await;
        let name = &files.name;
        let program = match linked.map_err(|error| LoadError::new(name, error.to_string()))?? {
            Linked::Program(program) => program,
            Linked::Uncompiled(key) => {
                return Err(match self.compiler.refusal(name, &key) {
                    Some(refusal) => NotLoaded::Broken(refusal),
                    None => NotLoaded::Uncompiled,
                });
            }
        };
        let describing = program.clone();
        let described = self
            .shared
            .threads
            .run(async move { describing.describe().await });
        let described = described
            .await
            .map_err(|ended| LoadError::new(name, ended.to_string()))?;
        let description = described.map_err(|error| LoadError::new(name, error.message))?;
        Ok(Loaded {
            description,
            program: Arc::new(program),
        })
    }

    async fn compile_turn(&self) -> Option<OwnedSemaphorePermit> {
        self.compiler.turn().await
    }

    async fn compile(&self, files: &Arc<PluginFiles>) -> Result<(), LoadError> {
        let (shared, keyed) = (Arc::clone(&self.shared), Arc::clone(files));
        let key = tokio::task::spawn_blocking(move || cache::key(&shared.engine, &keyed.main));
        let key = key
            .await
            .map_err(|error| LoadError::new(&files.name, error.to_string()))?;
        self.compiler.compile(&files.name, &key, &files.main).await
    }
}

/// A component that can run, or the cache key of the missing code.
enum Linked {
    Program(ComponentProgram),
    Uncompiled(String),
}

impl Shared {
    /// Loads a component's code from the cache and links its imports.
    fn link(self: &Arc<Self>, files: &PluginFiles) -> Result<Linked, LoadError> {
        let name = &files.name;
        errors::expect_component(name, &files.main)?;
        let component = match Component::from_binary(&self.engine, &files.main) {
            Ok(component) => component,
            Err(error) if errors::is_want_of_compiler(&error) => {
                return Ok(Linked::Uncompiled(cache::key(&self.engine, &files.main)));
            }
            Err(error) => return Err(errors::does_not_fit(name, &error)),
        };
        let Some(needed) = component.resources_required() else {
            let message = "imported modules are not allowed in a component";
            return Err(LoadError::new(name, message));
        };
        let too_many = [
            ("memories", needed.num_memories, MEMORIES),
            ("tables", needed.num_tables, TABLES),
        ];
        for (what, has, most) in too_many {
            if has > most {
                let message = format!("too many {what}: {has}, at most {most} are allowed");
                return Err(LoadError::new(name, message));
            }
        }
        let instance = self
            .linker
            .instantiate_pre(&component)
            .and_then(JobPluginPre::new)
            .map_err(|error| errors::does_not_link(name, &component, &self.engine, &error))?;
        Ok(Linked::Program(ComponentProgram {
            file: name.clone(),
            instance,
            shared: Arc::clone(self),
        }))
    }
}

impl ComponentProgram {
    async fn describe(&self) -> Result<Description, JobError> {
        let sandbox = Sandbox {
            cpu: CPU_TO_DESCRIBE,
            ..self.shared.sandbox
        };
        let calling = self.call(None, &sandbox, Calling::default(), async |plugin, store| {
            plugin
                .job_scheduler_plugin_plugin()
                .call_describe(store)
                .await
        });
        // Never closed.
        let _place = self.shared.describing.acquire().await;
        let called = tokio::time::timeout(TIME_TO_DESCRIBE, calling).await;
        let text = called.map_err(|_| {
            let seconds = TIME_TO_DESCRIBE.as_secs();
            JobError::new(
                ErrorCode::TIMEOUT,
                format!("timeout: describe() took longer than {seconds} s"),
            )
        })??;
        let wrong = |what: String| JobError::new(ErrorCode::SCRIPT, what);
        if text.len() > DESCRIPTION_BYTES {
            return Err(wrong(format!(
                "describe() returned an invalid description: {} bytes, at most {DESCRIPTION_BYTES} are \
                 allowed",
                text.len()
            )));
        }
        if let Some((place, message)) = reserved_field(text.as_bytes()) {
            return Err(wrong(format!(
                "describe() returned an invalid description: {place}: {message}"
            )));
        }
        let mut json = serde_json::Deserializer::from_str(&text);
        serde_path_to_error::deserialize(&mut json).map_err(|error| {
            wrong(format!(
                "describe() returned an invalid description: {error}"
            ))
        })
    }

    /// Calls one function of the component in a new store.
    async fn call<T>(
        &self,
        context: Option<Arc<JobContext>>,
        sandbox: &Sandbox,
        calling: Calling,
        function: impl AsyncFnOnce(&bindings::JobPlugin, &mut Store<Guest>) -> wasmtime::Result<T>,
    ) -> Result<T, JobError> {
        let clock = CpuClock::default();
        let guest = Guest::new(context, *sandbox, clock.clone(), calling);
        let mut store = Store::new(&self.shared.engine, guest);
        store.limiter(|guest| &mut guest.memory);
        store.epoch_deadline_callback(|store| store.data().at_tick());
        store.set_epoch_deadline(1);
        let _ticking = self.shared.ticker.tick();
        let called = clock
            .measure(async {
                let plugin = self.instance.instantiate_async(&mut store).await?;
                function(&plugin, &mut store).await
            })
            .await;
        let output = store.data().output.clone();
        output.finish().await;
        let guest = store.data();
        called.map_err(|error| errors::failed(&self.file, &error, guest))
    }
}

#[async_trait]
impl Program for ComponentProgram {
    async fn run(&self, context: Arc<JobContext>) -> Result<Value, JobError> {
        let program = self.clone();
        let attempt = async move { program.attempt(context).await };
        let ended = self.shared.threads.run(attempt).await;
        ended.unwrap_or_else(|ended| Err(JobError::new(ErrorCode::INTERNAL, ended.to_string())))
    }
}

impl ComponentProgram {
    async fn attempt(&self, context: Arc<JobContext>) -> Result<Value, JobError> {
        let stop = context.stop_signal();
        let calling = Calling::default();
        let attempt = async {
            // Never closed.
            let _place = self.shared.places.acquire().await;
            let params = context.job().params.to_string();
            self.call(
                Some(Arc::clone(&context)),
                &self.shared.sandbox,
                calling.clone(),
                async |plugin, store| {
                    plugin
                        .job_scheduler_plugin_plugin()
                        .call_run(store, &params)
                        .await
                },
            )
            .await
        };
        tokio::pin!(attempt);
        let returned = tokio::select! {
            returned = &mut attempt => returned,
            // A host call in progress is completed first: it leaves configuration mode and stores the
            // device's output. Otherwise the component is computing or waits on a clock of its own, and
            // is dropped.
            reason = stop.stopped() => {
                if !calling.is_on() {
                    return Err(reason.into());
                }
                attempt.await
            }
        };
        if let Some(reason) = stop.reason() {
            return Err(reason.into());
        }
        let text = returned?.map_err(|error| errors::thrown(&self.file, &error))?;
        check_result_size(text.len())?;
        let wrong = |what: String| {
            JobError::new(
                ErrorCode::SCRIPT,
                format!("{}: run() returned {what}", self.file),
            )
        };
        check_values(&text, self.shared.sandbox.memory_bytes).map_err(|message| {
            let message = format!("{}: the result is too large: {message}", self.file);
            JobError::new(ErrorCode::LIMIT, message)
        })?;
        if let Some((place, message)) = reserved_field(text.as_bytes()) {
            return Err(wrong(format!("{place:?}: {message}")));
        }
        let result = json::parse(&text).map_err(wrong)?;
        match numbers::out_of_range(&result) {
            Some((place, message)) => Err(wrong(format!("{place:?}: {message}"))),
            None => Ok(result),
        }
    }
}

#[expect(
    clippy::needless_pass_by_value,
    reason = "map_err passes the error by value"
)]
fn not_made(error: wasmtime::Error) -> anyhow::Error {
    anyhow::anyhow!("failed to create the engine for components: {error:#}")
}

/// Returns the options that determine the compiled code, which the engine and the compilers must share.
fn engine_config() -> Config {
    let mut config = Config::new();
    config
        .epoch_interruption(true)
        .max_wasm_stack(WASM_STACK_BYTES)
        .async_stack_size(FIBER_STACK_BYTES)
        .wasm_backtrace_details(WasmBacktraceDetails::Enable);
    config
}

/// Returns a pool for `places` components. It reserves addresses, not memory: pages are allocated on
/// first use.
fn pool(places: usize, sandbox: &Sandbox) -> PoolingAllocationConfig {
    let places = u32::try_from(places).unwrap_or(u32::MAX);
    let mut pool = PoolingAllocationConfig::new();
    pool.total_component_instances(places)
        .total_core_instances(places.saturating_mul(CORE_INSTANCES))
        .total_memories(places.saturating_mul(MEMORIES))
        .total_tables(places.saturating_mul(TABLES))
        .total_stacks(places)
        .max_core_instances_per_component(CORE_INSTANCES)
        .max_memories_per_component(MEMORIES)
        .max_tables_per_component(TABLES)
        .max_memories_per_module(MEMORIES)
        .max_tables_per_module(TABLES)
        .max_component_instance_size(INSTANCE_BYTES)
        .max_core_instance_size(INSTANCE_BYTES)
        .table_elements(TABLE_ELEMENTS)
        .max_memory_size(sandbox.memory_bytes);
    pool
}
