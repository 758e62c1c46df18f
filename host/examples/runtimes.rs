//! Measures the overhead of running a plugin: `cargo xtask bench runtimes`.
//!
//! A run is timed from the call of the program to its result; the context is created before. The
//! ratio compares it with the same call made by the engine alone.

#![expect(clippy::unwrap_used, reason = "a benchmark panics on failure")]

use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use clap::Parser as _;
use host::app::{self, App};
use host::capabilities::{JobContext, LiveOutput, Services, Slot, Stop};
use host::cli::Cli;
use host::config::Config;
use host::model::{Job, Needs, PluginFiles};
use host::runtime::rhai::RhaiRuntime;
use host::runtime::wasm::{self, CompilerOptions, WasmRuntime};
use host::runtime::{JobRuntime, Program, Sandbox};
use host::storage::Claim;
use rhai::packages::{Package, StandardPackage};
use tempfile::TempDir;
use tokio::sync::Semaphore;
use wasmtime::component::{Component, Linker};
use wasmtime::{Engine, InstanceAllocationStrategy, PoolingAllocationConfig, Store};

/// Number of runs of a job that does nothing, alternating with calls made by the engine alone.
const RUNS: usize = 5_000;
const RELOADS: usize = 15;
const LOADS: usize = 50;
/// Number of plugins for the start of a server; half are playbooks, half are components.
const PLUGINS: usize = 50;
const STARTS: usize = 5;
/// The registry's delay between a change and its scan.
const DEBOUNCE: Duration = Duration::from_millis(100);

const PLAYBOOK: &str = r#"
    fn describe() { #{ summary: "Nothing", targets: "none", params: #{ type: "object" } } }
    fn run(job, params) { params }
"#;
const SANDBOX: Sandbox = Sandbox {
    cpu: Duration::from_secs(30),
    memory_bytes: 128 << 20,
};

fn main() -> ExitCode {
    // The host starts this program as the compiler of components.
    if std::env::args().nth(1).as_deref() == Some(wasm::SUBCOMMAND) {
        return Cli::parse().run();
    }
    let runtime = app::runtime(&Config::default().worker).unwrap();
    runtime.block_on(async {
        println!("{:<50} {:>10} {:>10} {:>7}", "", "median", "p99", "ratio");
        let bench = Bench::start().await;
        bench.rhai().await;
        bench.wasm().await;
        bench.load_from_cache().await;
        bench.stop().await;
        reload().await;
        starts();
    });
    runtime.shutdown_background();
    ExitCode::SUCCESS
}

struct Bench {
    app: Arc<App>,
    services: Services,
    job: Job,
    directory: TempDir,
}

impl Bench {
    async fn start() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let app = App::build(config_in(directory.path())).await.unwrap();
        let services = Services {
            storage: Arc::clone(&app.storage),
            policy: Arc::clone(&app.policy),
            connections: Arc::clone(&app.connections),
            sessions: netssh_core::Pool::new(netssh_core::PoolOptions::default()),
            live: LiveOutput::default(),
            files: None,
            templates: None,
            children: Arc::clone(&app.jobs) as _,
            waiting: Arc::new(Semaphore::new(1)),
        };
        // A stored job that never runs.
        std::fs::create_dir_all(directory.path().join("scripts")).unwrap();
        std::fs::write(directory.path().join("scripts/noop.rhai"), PLAYBOOK).unwrap();
        app.registry.scan().await;
        let submission = host::jobs::Submission {
            plugin: "noop".to_owned(),
            ..Default::default()
        };
        let (id, _) = app.jobs.submit(submission).await.unwrap();
        let job = app.storage.job(id).await.unwrap().unwrap();
        Self {
            app,
            services,
            job,
            directory,
        }
    }

    fn context(&self) -> Arc<JobContext> {
        let claim = Claim {
            job_id: self.job.id,
            attempt: 1,
            worker_id: "bench".to_owned(),
        };
        let (needs, stop) = (Needs::default(), Arc::new(Stop::default()));
        let services = self.services.clone();
        let context = JobContext::new(services, &self.job, claim, &needs, stop, Arc::new(NoSlot));
        Arc::new(context)
    }

    async fn run(&self, program: &Arc<dyn Program>) -> Duration {
        let context = self.context();
        let (program, running) = (Arc::clone(program), Arc::clone(&context));
        // Runs on a thread of the runtime, as jobs do.
        let run = tokio::spawn(async move {
            let begun = Instant::now();
            program.run(running).await.unwrap();
            begun.elapsed()
        });
        let took = run.await.unwrap();
        context.end().await;
        took
    }

    async fn rhai(&self) {
        let loaded = RhaiRuntime::new(SANDBOX).load(&files("noop.rhai", PLAYBOOK.into()));
        let program = loaded.unwrap_or_else(|error| panic!("{error}")).program;
        let package = StandardPackage::new().as_shared_module();
        let mut engine = rhai::Engine::new_raw();
        engine.register_global_module(package);
        let ast = engine.compile(PLAYBOOK).unwrap();
        let (mut runs, mut bare, mut hops) = (Vec::new(), Vec::new(), Vec::new());
        for _ in 0..RUNS {
            runs.push(self.run(&program).await);
            let hop = tokio::spawn(async {
                let begun = Instant::now();
                tokio::task::spawn_blocking(|| ()).await.unwrap();
                begun.elapsed()
            });
            hops.push(hop.await.unwrap());
            let begun = Instant::now();
            let arguments = (rhai::Map::new(), rhai::Map::new());
            let scope = &mut rhai::Scope::new();
            let _: rhai::Dynamic = engine.call_fn(scope, &ast, "run", arguments).unwrap();
            bare.push(begun.elapsed());
        }
        row("Rhai: engine call alone", &bare, None);
        row("Rhai: round trip to a blocking thread", &hops, None);
        row("Rhai: run of nothing (asked: 20 µs)", &runs, Some(&bare));
    }

    async fn wasm(&self) {
        let runtime = self.wasm_runtime();
        let bytes = guest("noop-guest");
        let files = Arc::new(files("noop.wasm", bytes.clone()));
        let compiled = runtime.compile(&files).await;
        compiled.unwrap_or_else(|error| panic!("{error}"));
        let loaded = runtime.load(&files).await;
        let program = loaded.unwrap_or_else(|error| panic!("{error:?}")).program;
        let bare_engine = BareEngine::new(&bytes);
        let (mut runs, mut bare) = (Vec::new(), Vec::new());
        for _ in 0..RUNS {
            runs.push(self.run(&program).await);
            let begun = Instant::now();
            bare_engine.run().await;
            bare.push(begun.elapsed());
        }
        row("WASM: instantiate and call alone", &bare, None);
        row("WASM: run of nothing (asked: 60 µs)", &runs, Some(&bare));
    }

    fn wasm_runtime(&self) -> WasmRuntime {
        let compiler = CompilerOptions {
            program: CompilerOptions::this_program(),
            memory_mb: 1_024,
            seconds: 120,
            at_once: 1,
        };
        WasmRuntime::new(SANDBOX, 16, &self.directory.path().join("cache"), compiler).unwrap()
    }

    async fn load_from_cache(&self) {
        let runtime = self.wasm_runtime();
        let files = Arc::new(files("noop.wasm", guest("noop-guest")));
        let size = files.main.len() >> 10;
        let mut times = Vec::new();
        for _ in 0..LOADS {
            let begun = Instant::now();
            let loaded = runtime.load(&files).await;
            loaded.unwrap_or_else(|error| panic!("{error:?}"));
            times.push(begun.elapsed());
        }
        row(
            &format!("component of {size} kB from the cache (asked: 5 ms)"),
            &times,
            None,
        );
    }

    async fn stop(self) {
        self.app.storage.close().await;
    }
}

struct NoSlot;

#[async_trait::async_trait]
impl Slot for NoSlot {
    fn release(&self) {}
    async fn take_again(&self) {}
}

/// The WebAssembly engine with a pool, without the host.
struct BareEngine {
    engine: Engine,
    instance: wasmtime::component::InstancePre<()>,
    component: Component,
}

impl BareEngine {
    fn new(bytes: &[u8]) -> Self {
        let mut config = wasmtime::Config::new();
        let mut pool = PoolingAllocationConfig::new();
        pool.max_memory_size(SANDBOX.memory_bytes);
        config.allocation_strategy(InstanceAllocationStrategy::Pooling(pool));
        let engine = Engine::new(&config).unwrap();
        let component = Component::from_binary(&engine, bytes).unwrap();
        let mut linker = Linker::new(&engine);
        linker.define_unknown_imports_as_traps(&component).unwrap();
        let instance = linker.instantiate_pre(&component).unwrap();
        Self {
            engine,
            instance,
            component,
        }
    }

    async fn run(&self) {
        let mut store = Store::new(&self.engine, ());
        let instance = self.instance.instantiate_async(&mut store).await.unwrap();
        let interface = "job-scheduler:plugin/plugin@0.1.0";
        let exported = self.component.get_export_index(None, interface).unwrap();
        let run = self
            .component
            .get_export_index(Some(&exported), "run")
            .unwrap();
        let function = instance.get_func(&mut store, run).unwrap();
        let mut answer = [wasmtime::component::Val::Bool(false)];
        let params = [wasmtime::component::Val::String("{}".to_owned())];
        function
            .call_async(&mut store, &params, &mut answer)
            .await
            .unwrap();
    }
}

/// Measures the time from the write of a changed playbook until the host serves it.
async fn reload() {
    let directory = tempfile::tempdir().unwrap();
    let scripts = directory.path().join("scripts");
    std::fs::create_dir(&scripts).unwrap();
    let file = scripts.join("it.rhai");
    std::fs::write(&file, PLAYBOOK).unwrap();
    let app = App::build(config_in(directory.path())).await.unwrap();
    let watching = tokio::spawn(Arc::clone(&app.registry).watch());
    let digest = || app.registry.get("it").unwrap().digest.clone();
    let mut times = Vec::new();
    for number in 0..=RELOADS {
        let before = digest();
        let begun = Instant::now();
        std::fs::write(&file, format!("{PLAYBOOK}\n// {number}")).unwrap();
        while digest() == before {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        // The first write may precede the start of watching.
        if number > 0 {
            times.push(begun.elapsed().saturating_sub(DEBOUNCE));
        }
        tokio::time::sleep(Duration::from_millis(300)).await;
    }
    row(
        "reload of a playbook, after the debounce (50 ms)",
        &times,
        None,
    );
    watching.abort();
    app.storage.close().await;
}

/// Measures the time from the start of the program to its first healthy response, with many plugins
/// and a warm cache.
fn starts() {
    let directory = tempfile::tempdir().unwrap();
    for kind in ["scripts", "plugins"] {
        std::fs::create_dir(directory.path().join(kind)).unwrap();
    }
    let component = guest("noop-guest");
    for number in 0..PLUGINS / 2 {
        let playbook = directory.path().join(format!("scripts/p{number}.rhai"));
        std::fs::write(playbook, format!("{PLAYBOOK}\n// {number}")).unwrap();
        // An empty custom section makes each component a different one for the cache.
        let mut bytes = component.clone();
        bytes.extend([0, 2, 1, u8::try_from(number).unwrap()]);
        let place = directory.path().join(format!("plugins/c{number}.wasm"));
        std::fs::write(place, bytes).unwrap();
    }
    let mut times = Vec::new();
    let mut memory = Vec::new();
    for number in 0..=STARTS {
        let begun = Instant::now();
        let mut server = serve(directory.path());
        let took = until_healthy(begun);
        // The first start fills the cache.
        if number > 0 {
            times.push(took);
            memory.push(resident_kib(server.id()));
        }
        server.kill().unwrap();
        server.wait().unwrap();
    }
    let name = format!("{PLUGINS} plugins: start to healthy (asked: 500 ms)");
    row(&name, &times, None);
    memory.sort_unstable();
    let median = memory[memory.len() / 2] as f64 / 1024.0;
    println!(
        "{:<50} {median:>7.1} MB",
        "  resident memory then (asked: 64 MB)"
    );
}

const PORT: &str = "18473";

fn serve(directory: &Path) -> Child {
    let program = std::env::current_exe().unwrap();
    let program = program.ancestors().nth(2).unwrap().join("scheduler");
    Command::new(program)
        .arg("serve")
        .current_dir(directory)
        .env("SCHEDULER_SERVER_PORT", PORT)
        .stderr(Stdio::null())
        .stdin(Stdio::null())
        .spawn()
        .unwrap()
}

fn until_healthy(begun: Instant) -> Duration {
    use std::io::{Read as _, Write as _};
    loop {
        assert!(
            begun.elapsed() < Duration::from_secs(60),
            "the server starts"
        );
        if let Ok(mut stream) = std::net::TcpStream::connect(format!("127.0.0.1:{PORT}")) {
            let request = "GET /health HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
            stream.write_all(request.as_bytes()).unwrap();
            let mut answer = String::new();
            stream.read_to_string(&mut answer).unwrap();
            assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
            return begun.elapsed();
        }
        std::thread::sleep(Duration::from_millis(1));
    }
}

fn resident_kib(process: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    line.unwrap()
        .trim()
        .trim_end_matches(" kB")
        .parse()
        .unwrap()
}

fn config_in(directory: &Path) -> Config {
    let mut config = Config::default();
    config.database.url = format!("sqlite:{}", directory.join("scheduler.db").display());
    config.security.master_key_file = directory.join("scheduler.key");
    config.plugins.scripts_dir = directory.join("scripts");
    config.plugins.components_dir = directory.join("plugins");
    config
}

/// Returns a component built by `cargo xtask bench`.
fn guest(name: &str) -> Vec<u8> {
    let program = std::env::current_exe().unwrap();
    let target: PathBuf = program.ancestors().nth(3).unwrap().to_owned();
    std::fs::read(target.join("tmp/guests").join(format!("{name}.wasm"))).unwrap()
}

fn files(name: &str, main: Vec<u8>) -> PluginFiles {
    PluginFiles {
        name: name.to_owned(),
        main,
        modules: Default::default(),
    }
}

fn row(name: &str, times: &[Duration], base: Option<&[Duration]>) {
    let mut sorted = times.to_vec();
    sorted.sort_unstable();
    let p99 = sorted[(sorted.len() * 99 / 100).min(sorted.len() - 1)];
    let shown = |time: Duration| match time.as_secs_f64() * 1e6 {
        small if small < 1_000.0 => format!("{small:.1} µs"),
        large => format!("{:.2} ms", large / 1_000.0),
    };
    let ratio = base.map_or(String::new(), |base| {
        let ratio = median(times).as_secs_f64() / median(base).as_secs_f64();
        format!("{ratio:.2}x")
    });
    println!(
        "{name:<50} {:>10} {:>10} {ratio:>7}",
        shown(median(times)),
        shown(p99)
    );
}

fn median(times: &[Duration]) -> Duration {
    let mut sorted = times.to_vec();
    sorted.sort_unstable();
    sorted[sorted.len() / 2]
}
