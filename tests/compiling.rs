//! Tests the compilation of components: in a child process with limits, in the background, and
//! once.

use std::fmt::Write as _;
use std::fs::File;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::harness::{DEADLINE, Server, TestHost, component, playbook, run, scheduler};

/// Returns 27 kB for which the compiler needs many gigabytes: 3,000 loops that pass on 900 values
/// each.
fn memory_bomb() -> Vec<u8> {
    let values = "i32 ".repeat(900);
    let arguments: String = (0..900).fold(String::new(), |mut text, number| {
        let _ = write!(text, "local.get {number} ");
        text
    });
    let loops = "(loop (type $b) local.get 0 br_if 0)".repeat(3_000);
    let text = format!(
        "(component (core module (type $b (func (param {values}) (result {values}))) \
         (func (type $b) {arguments} {loops})))"
    );
    let bytes = wat::parse_str(text).unwrap();
    assert!(bytes.len() < 40_000, "{}", bytes.len());
    bytes
}

/// Returns a component that takes the compiler a long time, but little memory.
fn time_bomb() -> Vec<u8> {
    let functions = "(func)".repeat(400_000);
    wat::parse_str(format!("(component (core module {functions}))")).unwrap()
}

fn guest(name: &str) -> Vec<u8> {
    std::fs::read(component(name)).unwrap()
}

/// A compiler that does not start before [`Gate::open`].
struct Gate {
    directory: tempfile::TempDir,
}

impl Gate {
    fn new() -> Self {
        let gate = Self {
            directory: tempfile::tempdir().unwrap(),
        };
        let text = format!(
            "#!/bin/sh\nwhile [ ! -e '{}' ]; do sleep 0.02; done\nexec '{}' \"$@\"\n",
            gate.file().display(),
            scheduler().get_program().display(),
        );
        std::fs::write(gate.compiler(), text).unwrap();
        let executable = std::fs::Permissions::from_mode(0o700);
        std::fs::set_permissions(gate.compiler(), executable).unwrap();
        gate
    }

    fn compiler(&self) -> PathBuf {
        self.directory.path().join("compiler")
    }

    fn file(&self) -> PathBuf {
        self.directory.path().join("open")
    }

    fn open(&self) {
        File::create(self.file()).unwrap();
    }
}

async fn plugin(host: &TestHost, name: &str) -> Value {
    host.client.get(&format!("/api/plugins/{name}")).await.body
}

async fn until(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    let waiting = async {
        while !holds().await {
            tokio::task::yield_now().await;
        }
    };
    let waited = tokio::time::timeout(DEADLINE, waiting).await;
    assert!(waited.is_ok(), "{what}");
}

#[test]
fn a_component_that_asks_for_too_much_memory_is_refused_by_name() {
    run(async {
        let components = [("bomb", memory_bomb()), ("good", guest("noop-guest"))];
        let program = scheduler().get_program().to_owned();
        let host = TestHost::with_compiler(Path::new(&program), &components, |config| {
            config.plugins.compile_memory_mb = 384;
        })
        .await;
        host.app.registry.settled().await;
        let good = plugin(&host, "good").await;
        assert_eq!(good["status"], "ready", "{good}");
        let bomb = plugin(&host, "bomb").await;
        assert_eq!(bomb["status"], "broken", "{bomb}");
        assert_eq!(bomb["error"]["file"], "bomb.wasm");
        let message = bomb["error"]["message"].as_str().unwrap();
        assert!(message.contains("more than 384 MiB of memory"), "{message}");
        assert!(message.contains("plugins.compile_memory_mb"), "{message}");
        let job = host.run_job(json!({ "plugin": "good" })).await;
        assert_eq!(job["status"], "completed", "{job}");

        // The next start compiles neither: this compiler always fails.
        let stopped = host.stop().await;
        let host = stopped.start_with_compiler(Path::new("/bin/false")).await;
        host.app.registry.settled().await;
        assert_eq!(plugin(&host, "bomb").await["error"]["message"], message);
        assert_eq!(plugin(&host, "good").await["status"], "ready");

        // Without the note, the server tries again.
        let note = message.split("delete ").nth(1).unwrap();
        let note = note.split(" and touch").next().unwrap();
        std::fs::remove_file(note).unwrap();
        std::fs::write(host.path("plugins/bomb.wasm"), memory_bomb()).unwrap();
        host.app.registry.scan().await;
        host.app.registry.settled().await;
        let bomb = plugin(&host, "bomb").await;
        let message = bomb["error"]["message"].as_str().unwrap();
        assert!(message.starts_with("failed to compile it"), "{message}");
    });
}

#[test]
fn other_limits_have_a_refused_component_compiled_again() {
    run(async {
        let program = scheduler().get_program().to_owned();
        let components = [("bomb", memory_bomb())];
        let host = TestHost::with_compiler(Path::new(&program), &components, |config| {
            config.plugins.compile_memory_mb = 256;
        })
        .await;
        host.app.registry.settled().await;
        let mut stopped = host.stop().await;
        stopped.configure(|config| config.plugins.compile_memory_mb = 257);
        let host = stopped.start_with_compiler(Path::new(&program)).await;
        host.app.registry.settled().await;
        let bomb = plugin(&host, "bomb").await;
        let message = bomb["error"]["message"].as_str().unwrap();
        assert!(message.contains("more than 257 MiB"), "{message}");
    });
}

#[test]
fn a_component_that_takes_too_long_is_refused_and_its_compiler_ended() {
    run(async {
        let program = scheduler().get_program().to_owned();
        let components = [("slow", time_bomb())];
        let host = TestHost::with_compiler(Path::new(&program), &components, |config| {
            config.plugins.compile_seconds = 1;
            config.plugins.compile_memory_mb = 8_192;
        })
        .await;
        host.app.registry.settled().await;
        let slow = plugin(&host, "slow").await;
        let message = slow["error"]["message"].as_str().unwrap();
        assert!(message.contains("took longer than 1 s"), "{message}");
        assert!(message.contains("plugins.compile_seconds"), "{message}");
        let cache = host.path("plugin-cache").display().to_string();
        assert!(children_of(std::process::id(), &cache).is_empty());
    });
}

/// The server contains no compiler: without the child process there is no code.
#[test]
fn the_server_itself_compiles_nothing() {
    run(async {
        let components = [("good", guest("noop-guest"))];
        let host = TestHost::with_compiler(Path::new("/bin/false"), &components, |_| {}).await;
        host.app.registry.settled().await;
        let good = plugin(&host, "good").await;
        assert_eq!(good["status"], "broken", "{good}");
        let message = good["error"]["message"].as_str().unwrap();
        assert!(message.starts_with("failed to compile it"), "{message}");
        // That failure is not the component's, so the next start tries again.
        let stopped = host.stop().await;
        let program = scheduler().get_program().to_owned();
        let host = stopped.start_with_compiler(Path::new(&program)).await;
        host.app.registry.settled().await;
        assert_eq!(plugin(&host, "good").await["status"], "ready");
    });
}

/// Returns the child processes of a process with this argument.
fn children_of(parent: u32, argument: &str) -> Vec<u32> {
    let processes = std::fs::read_dir("/proc").unwrap();
    let ids = processes.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
    ids.filter(|id: &u32| {
        let read = |name: &str| std::fs::read_to_string(format!("/proc/{id}/{name}"));
        let stat = read("stat").unwrap_or_default();
        // The fields after the name, which may contain any character: the state, then the parent.
        let after = stat.rsplit(") ").next().unwrap_or_default();
        let of_parent = after.split(' ').nth(1) == Some(&parent.to_string());
        of_parent && read("cmdline").unwrap_or_default().contains(argument)
    })
    .collect()
}

fn server_with(directory: &Path, components: &[(&str, Vec<u8>)]) -> Server {
    for name in ["plugins", "scripts"] {
        std::fs::create_dir(directory.join(name)).unwrap();
    }
    for (name, bytes) in components {
        std::fs::write(directory.join(format!("plugins/{name}.wasm")), bytes).unwrap();
    }
    let environment = [
        ("SCHEDULER_PLUGINS_SCRIPTS_DIR", "scripts"),
        ("SCHEDULER_PLUGINS_COMPILE_MEMORY_MB", "8192"),
        ("SECRET_OF_THE_SERVER", "xyzzy"),
    ];
    Server::start_with(directory, &environment)
}

#[test]
fn a_compiler_has_nothing_of_the_server_and_ends_with_it() {
    run(async {
        let directory = tempfile::tempdir().unwrap();
        let server = server_with(directory.path(), &[("slow", time_bomb())]);
        let mut found = Vec::new();
        until("a compiler runs, at a low priority", async || {
            found = children_of(server.id(), "compile-component");
            let is_limited =
                |child: &u32| data_limit(*child).contains(&(8_192_u64 << 20).to_string());
            found.first().is_some_and(is_limited)
                && found.first().is_some_and(|child| niceness(*child) >= 10)
        })
        .await;
        let child = found[0];
        let environment = std::fs::read_to_string(format!("/proc/{child}/environ")).unwrap();
        assert!(
            environment.starts_with("RAYON_NUM_THREADS="),
            "{environment}"
        );
        assert!(!environment.contains("SECRET"), "{environment}");
        for descriptor in std::fs::read_dir(format!("/proc/{child}/fd")).unwrap() {
            let Ok(leads_to) = std::fs::read_link(descriptor.unwrap().path()) else {
                continue;
            };
            let leads_to = leads_to.display().to_string();
            let of_server = ["scheduler.db", "socket:", "apalis", "/plugins/"];
            assert!(
                !of_server.iter().any(|name| leads_to.contains(name)),
                "{leads_to}"
            );
        }
        server.kill();
        until("the compiler has ended", async || {
            !Path::new(&format!("/proc/{child}/cmdline")).exists()
                || std::fs::read(format!("/proc/{child}/cmdline"))
                    .unwrap_or_default()
                    .is_empty()
        })
        .await;
    });
}

/// Returns the limit of a process' data segment as the kernel shows it.
fn data_limit(process: u32) -> String {
    let limits = std::fs::read_to_string(format!("/proc/{process}/limits")).unwrap_or_default();
    let mut lines = limits.lines();
    let line = lines.find(|line| line.starts_with("Max data size"));
    line.unwrap_or_default().to_owned()
}

fn niceness(process: u32) -> i32 {
    let stat = std::fs::read_to_string(format!("/proc/{process}/stat")).unwrap_or_default();
    let after = stat.rsplit(") ").next().unwrap_or_default();
    let nice = after.split(' ').nth(16).and_then(|text| text.parse().ok());
    nice.unwrap_or_default()
}

#[test]
fn the_server_listens_and_works_while_components_are_compiled() {
    run(async {
        let directory = tempfile::tempdir().unwrap();
        let components = [("slow", time_bomb())];
        let server = server_with(directory.path(), &components);
        let client = &server.client;
        let slow = client.get("/api/plugins/slow").await;
        assert_eq!(slow.body["status"], "compiling", "{}", slow.body);
        let health = client.get("/health").await;
        assert_eq!(health.status, 200);
        assert_eq!(health.body["plugins"]["compiling"], 1, "{}", health.body);

        let refused = client.post("/api/jobs", &json!({ "plugin": "slow" })).await;
        assert_eq!(refused.status, 503, "{}", refused.body);
        assert_eq!(refused.body["type"], "/problems/compiling");
        assert!(refused.headers.contains_key("retry-after"));

        let script = playbook("\"at once\"");
        std::fs::write(directory.path().join("scripts/quick.rhai"), script).unwrap();
        until("the new playbook is there", async || {
            client.get("/api/plugins/quick").await.status == 200
        })
        .await;
        let begun = Instant::now();
        let reloaded = client.post("/api/plugins/reload", &json!({})).await;
        assert!(begun.elapsed() < Duration::from_secs(20));
        assert_eq!(
            reloaded.body["plugins"][1]["status"], "compiling",
            "{}",
            reloaded.body
        );
        // A shutdown does not wait for the compiler.
        let begun = Instant::now();
        assert_eq!(server.terminate(), Some(0));
        assert!(begun.elapsed() < Duration::from_secs(20));
    });
}

#[test]
fn a_job_that_waits_at_the_start_waits_for_its_plugin() {
    run(async {
        let gate = Gate::new();
        gate.open();
        let components = [("good", guest("noop-guest"))];
        let host = TestHost::with_compiler(&gate.compiler(), &components, |_| {}).await;
        host.app.registry.settled().await;
        let night = json!({ "name": "night" });
        let paused = host.client.post("/api/pauses", &night).await;
        assert_eq!(paused.status, 201, "{}", paused.body);
        let id = host.submit(json!({ "plugin": "good" })).await;
        let stopped = host.stop().await;

        // The same plugin, but its code is not compiled yet.
        std::fs::remove_dir_all(stopped.path("plugin-cache")).unwrap();
        std::fs::remove_file(gate.file()).unwrap();
        let host = stopped.start_with_compiler(&gate.compiler()).await;
        assert_eq!(plugin(&host, "good").await["status"], "compiling");
        assert_eq!(host.client.delete("/api/pauses/night").await.status, 204);
        let log = format!("/api/jobs/{id}/logs");
        until("the job says what it waits for", async || {
            let lines = host.client.get(&log).await.body["logs"].to_string();
            lines.contains("waiting until plugin `good` is compiled")
        })
        .await;
        assert_eq!(host.job(&id).await["status"], "pending");
        gate.open();
        let job = host.ended(&id).await;
        assert_eq!(job["status"], "completed", "{job}");
    });
}

#[test]
fn a_new_version_is_compiled_while_the_last_one_serves() {
    run(async {
        let gate = Gate::new();
        gate.open();
        let components = [("it", guest("noop-guest"))];
        let host = TestHost::with_compiler(&gate.compiler(), &components, |_| {}).await;
        host.app.registry.settled().await;
        let first = plugin(&host, "it").await["digest"].clone();
        std::fs::remove_file(gate.file()).unwrap();
        // The same component in other bytes: with an additional custom section.
        let mut bytes = guest("noop-guest");
        bytes.extend([0, 2, 1, b'x']);
        std::fs::write(host.path("plugins/it.wasm"), bytes).unwrap();
        host.app.registry.scan().await;
        let it = plugin(&host, "it").await;
        assert_eq!(it["status"], "compiling", "{it}");
        assert_eq!(it["digest"], first);
        let job = host.run_job(json!({ "plugin": "it" })).await;
        assert_eq!(job["plugin_digest"], first, "{job}");
        gate.open();
        host.app.registry.settled().await;
        let it = plugin(&host, "it").await;
        assert_eq!(it["status"], "ready", "{it}");
        assert_ne!(it["digest"], first);

        // Removing the file also ends its compiler.
        std::fs::remove_file(gate.file()).unwrap();
        let mut bytes = guest("noop-guest");
        bytes.extend([0, 2, 1, b'y']);
        std::fs::write(host.path("plugins/it.wasm"), bytes).unwrap();
        host.app.registry.scan().await;
        until("a compiler waits", async || {
            !children_of(std::process::id(), &gate.compiler().display().to_string()).is_empty()
        })
        .await;
        std::fs::remove_file(host.path("plugins/it.wasm")).unwrap();
        host.app.registry.scan().await;
        assert_eq!(host.client.get("/api/plugins/it").await.status, 404);
        until("the compiler has ended", async || {
            children_of(std::process::id(), &gate.compiler().display().to_string()).is_empty()
        })
        .await;
    });
}
