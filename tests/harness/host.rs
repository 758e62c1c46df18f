//! The real host in this process, on a free port, with its own database and directory.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use host::app::App;
use host::config::Config;
use host::server;
use serde_json::Value;
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_util::sync::{CancellationToken, DropGuard};

use super::password_connection;
use super::{Client, DEADLINE};

pub(crate) struct TestHost {
    pub(crate) app: Arc<App>,
    pub(crate) client: Client,
    shutdown: DropGuard,
    serving: JoinHandle<anyhow::Result<()>>,
    directory: Arc<TempDir>,
    config: Config,
}

/// Runs a test on a runtime like the server's.
pub(crate) fn run(test: impl Future<Output = ()>) {
    let config = Config::default();
    let runtime = host::app::runtime(&config.worker).unwrap();
    let ended = runtime.block_on(async { tokio::time::timeout(DEADLINE * 2, test).await });
    runtime.shutdown_background();
    ended.expect("the test ends within its deadline");
}

/// Returns the directory of the bundled playbooks.
pub(crate) fn scripts_dir() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../scripts")
}

/// Returns a component by the name of its crate.
///
/// # Panics
/// If it has not been built, with the command that builds it.
pub(crate) fn component(name: &str) -> PathBuf {
    let bundled = Path::new(env!("CARGO_MANIFEST_DIR")).join("../plugins");
    let of_tests = Path::new(env!("CARGO_TARGET_TMPDIR")).join("guests");
    let file = format!("{name}.wasm");
    let places = [bundled.join(&file), of_tests.join(&file)];
    let built = places.into_iter().find(|place| place.is_file());
    built.unwrap_or_else(|| panic!("{file} is not built; `cargo xtask test` builds it"))
}

/// Returns a configuration that writes only to one directory, and reads the bundled playbooks.
fn config_in(directory: &Path) -> Config {
    let mut config = Config::default();
    config.database.url = format!("sqlite:{}", directory.join("scheduler.db").display());
    config.security.master_key_file = directory.join("scheduler.key");
    config.plugins.scripts_dir = scripts_dir();
    config.plugins.components_dir = directory.join("plugins");
    config.plugins.watch = false;
    config.policy.for_all.queue_submit = vec!["*".to_owned()];
    // Shared by all tests, so that each component is compiled once.
    config.plugins.cache_dir = Some(Path::new(env!("CARGO_TARGET_TMPDIR")).join("plugin-cache"));
    config
}

impl TestHost {
    /// Starts a host with the bundled playbooks.
    pub(crate) async fn start() -> Self {
        Self::start_with(|_| {}).await
    }

    pub(crate) async fn start_with(configure: impl FnOnce(&mut Config)) -> Self {
        let directory = Arc::new(tempfile::tempdir().unwrap());
        let mut config = config_in(directory.path());
        configure(&mut config);
        Self::start_in(directory, config).await
    }

    /// Starts a host with an additional playbook, given as its source.
    pub(crate) async fn with_playbook(name: &str, source: &str) -> Self {
        let host = Self::with_own_scripts(&[(name, source)]).await;
        host.expect_ready(name).await;
        host
    }

    /// Starts a host with the connection `server` to the Linux host that all tests share.
    pub(crate) async fn with_server() -> Self {
        let host = Self::start().await;
        let ssh = &test_devices::linux().ssh;
        host.connect(password_connection("server", ssh, "linux"))
            .await;
        host
    }

    /// Starts a host with these components alone: their names and bytes.
    pub(crate) async fn with_components(
        components: &[(&str, Vec<u8>)],
        configure: impl FnOnce(&mut Config),
    ) -> Self {
        let directory = Arc::new(tempfile::tempdir().unwrap());
        let plugins = directory.path().join("plugins");
        std::fs::create_dir(&plugins).unwrap();
        for (name, bytes) in components {
            std::fs::write(plugins.join(format!("{name}.wasm")), bytes).unwrap();
        }
        let mut config = config_in(directory.path());
        config.plugins.scripts_dir = directory.path().join("scripts");
        configure(&mut config);
        Self::start_in(directory, config).await
    }

    /// Starts a host with one component, by the name of its crate, as the plugin `name`.
    pub(crate) async fn with_component(name: &str, crate_name: &str) -> Self {
        let bytes = std::fs::read(component(crate_name)).unwrap();
        let host = Self::with_components(&[(name, bytes)], |_| {}).await;
        host.expect_ready(name).await;
        host
    }

    /// Starts a host with these playbooks alone.
    pub(crate) async fn with_own_scripts(playbooks: &[(&str, &str)]) -> Self {
        Self::with_scripts_and(playbooks, |_| {}).await
    }

    pub(crate) async fn with_scripts_and(
        playbooks: &[(&str, &str)],
        configure: impl FnOnce(&mut Config),
    ) -> Self {
        let directory = Arc::new(tempfile::tempdir().unwrap());
        let scripts = directory.path().join("scripts");
        std::fs::create_dir(&scripts).unwrap();
        for (name, source) in playbooks {
            let file = scripts.join(format!("{name}.rhai"));
            std::fs::create_dir_all(file.parent().unwrap()).unwrap();
            std::fs::write(file, source).unwrap();
        }
        let mut config = config_in(directory.path());
        config.plugins.scripts_dir = scripts;
        configure(&mut config);
        Self::start_in(directory, config).await
    }

    /// Starts a host with these components and another compiler, without waiting for the
    /// compilation.
    pub(crate) async fn with_compiler(
        compiler: &Path,
        components: &[(&str, Vec<u8>)],
        configure: impl FnOnce(&mut Config),
    ) -> Self {
        let directory = Arc::new(tempfile::tempdir().unwrap());
        let plugins = directory.path().join("plugins");
        std::fs::create_dir(&plugins).unwrap();
        std::fs::create_dir(directory.path().join("scripts")).unwrap();
        for (name, bytes) in components {
            std::fs::write(plugins.join(format!("{name}.wasm")), bytes).unwrap();
        }
        let mut config = config_in(directory.path());
        config.plugins.scripts_dir = directory.path().join("scripts");
        config.plugins.cache_dir = None;
        configure(&mut config);
        Self::start_with_compiler(directory, config, compiler).await
    }

    async fn start_in(directory: Arc<TempDir>, config: Config) -> Self {
        let compiler = Path::new(env!("CARGO_BIN_EXE_scheduler"));
        let host = Self::start_with_compiler(directory, config, compiler).await;
        // Most tests need the plugins loaded.
        host.app.registry.settled().await;
        host
    }

    async fn start_with_compiler(directory: Arc<TempDir>, config: Config, compiler: &Path) -> Self {
        let app = App::build_with(config.clone(), compiler.to_owned())
            .await
            .unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let shutdown = CancellationToken::new();
        let serving = tokio::spawn(server::serve(Arc::clone(&app), listener, shutdown.clone()));
        Self {
            app,
            client: Client::new(&url),
            shutdown: shutdown.drop_guard(),
            serving,
            directory,
            config,
        }
    }

    /// Shuts the host down like SIGTERM, and returns when it has drained.
    pub(crate) async fn stop(self) -> Stopped {
        drop(self.shutdown);
        drop(self.app);
        let served = tokio::time::timeout(DEADLINE, self.serving).await;
        served.expect("the host drains").unwrap().unwrap();
        Stopped {
            directory: self.directory,
            config: self.config,
        }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// Adds a connection and returns its name.
    pub(crate) async fn connect(&self, connection: Value) -> String {
        let answer = self.client.post("/api/connections", &connection).await;
        assert_eq!(answer.status, 201, "{}", answer.body);
        answer.body["name"].as_str().unwrap().to_owned()
    }

    /// Submits a job that must be accepted, and returns its id.
    pub(crate) async fn submit(&self, job: Value) -> String {
        let answer = self.client.post("/api/jobs", &job).await;
        assert_eq!(answer.status, 202, "{}", answer.body);
        answer.body["id"].as_str().unwrap().to_owned()
    }

    /// Waits until a job has ended, and returns it from the API.
    pub(crate) async fn ended(&self, id: &str) -> Value {
        let waiting = self.app.jobs.wait(id.parse().unwrap());
        let ended = tokio::time::timeout(DEADLINE, waiting).await;
        ended
            .expect("the job ends")
            .unwrap()
            .expect("the job exists");
        self.job(id).await
    }

    /// Waits until a job is running.
    pub(crate) async fn running(&self, id: &str) {
        self.until(id, |job| job["status"] == "running").await;
    }

    /// Polls a job until `looks` returns true.
    pub(crate) async fn until(&self, id: &str, looks: impl Fn(&Value) -> bool) -> Value {
        self.until_page(&format!("/api/jobs/{id}"), looks).await
    }

    /// Polls a page until `looks` returns true.
    pub(crate) async fn until_page(&self, path: &str, looks: impl Fn(&Value) -> bool) -> Value {
        let last = Mutex::new(Value::Null);
        let waiting = async {
            loop {
                let answer = self.client.get(path).await;
                assert_eq!(answer.status, 200, "{}", answer.body);
                if looks(&answer.body) {
                    return answer.body;
                }
                *last.lock().unwrap() = answer.body;
                tokio::task::yield_now().await;
            }
        };
        let seen = tokio::time::timeout(DEADLINE, waiting).await;
        seen.unwrap_or_else(|_| panic!("{path} stays {}", last.lock().unwrap()))
    }

    /// Waits until the running command of a job has printed exactly this. Returns the job's
    /// commands.
    pub(crate) async fn until_prints(&self, id: &str, output: &str) -> Value {
        let path = format!("/api/jobs/{id}/results");
        let waiting = async {
            loop {
                let answer = self.client.get(&path).await.body;
                if answer["running"][0]["output"] == output {
                    return answer;
                }
                tokio::task::yield_now().await;
            }
        };
        let seen = tokio::time::timeout(DEADLINE, waiting).await;
        seen.expect("the command prints it")
    }

    pub(crate) async fn job(&self, id: &str) -> Value {
        let answer = self.client.get(&format!("/api/jobs/{id}")).await;
        assert_eq!(answer.status, 200, "{}", answer.body);
        answer.body
    }

    /// Submits a job and waits until it has ended.
    pub(crate) async fn run_job(&self, job: Value) -> Value {
        let id = self.submit(job).await;
        self.ended(&id).await
    }

    pub(crate) async fn results(&self, id: &Value) -> Vec<Value> {
        self.list(
            &format!("/api/jobs/{}/results", id.as_str().unwrap()),
            "results",
        )
        .await
    }

    pub(crate) async fn logs(&self, id: &Value) -> Vec<Value> {
        self.list(&format!("/api/jobs/{}/logs", id.as_str().unwrap()), "logs")
            .await
    }

    /// Returns all pages of a listing.
    async fn list(&self, url: &str, field: &str) -> Vec<Value> {
        let mut all = Vec::new();
        let mut page = url.to_owned();
        loop {
            let answer = self.client.get(&page).await;
            assert_eq!(answer.status, 200, "{}", answer.body);
            all.extend(answer.body[field].as_array().unwrap().iter().cloned());
            page = match &answer.body["next_after"] {
                Value::String(after) => format!("{url}?after={after}"),
                Value::Number(after) => format!("{url}?after={after}"),
                _ => return all,
            };
        }
    }

    async fn expect_ready(&self, plugin: &str) {
        let answer = self.client.get(&format!("/api/plugins/{plugin}")).await;
        assert_eq!(answer.body["status"], "ready", "{}", answer.body);
    }
}

/// A host that was shut down, and can be restarted with its files.
pub(crate) struct Stopped {
    directory: Arc<TempDir>,
    config: Config,
}

impl Stopped {
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// Changes the configuration of the next start.
    pub(crate) fn configure(&mut self, configure: impl FnOnce(&mut Config)) {
        configure(&mut self.config);
    }

    pub(crate) async fn start(self) -> TestHost {
        TestHost::start_in(self.directory, self.config).await
    }

    /// Starts the host like [`Self::start`], with another compiler and without waiting for it.
    pub(crate) async fn start_with_compiler(self, compiler: &Path) -> TestHost {
        TestHost::start_with_compiler(self.directory, self.config, compiler).await
    }
}

/// Returns a playbook without targets, from the body of its `run`.
pub(crate) fn playbook(run: &str) -> String {
    format!(
        r#"
        fn describe() {{ #{{ summary: "A test", targets: "none", needs: #{{ storage: true, queue: #{{ submit: ["*"] }} }}, params: #{{ type: "object" }} }} }}
        fn run(job, params) {{ {run} }}
        "#
    )
}
