//! Compiles components in child processes of this program.
//!
//! A component can make the compiler use any amount of time and memory: 27 kB can ask for 22 GB. The
//! compiler therefore runs in a process that may be killed, at a low priority and without access to the
//! server's resources: it reads the component from stdin and writes the code to its own directory.
//!
//! [`Compiler`] is the server's side, [`compile`] the child's.

use std::io::{Read, Write as _};
use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use rustix::io::Errno;
use rustix::process::{
    Pid, Resource, Rlimit, Signal, getppid, nice, set_parent_process_death_signal, setrlimit,
};
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::process::{Child, Command};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use wasmtime::Engine;
use wasmtime::component::Component;

use super::cache::{CodeCache, wasmtime_cache};
use super::engine_config;
use crate::model::LoadError;

/// The subcommand of the child.
pub const SUBCOMMAND: &str = "compile-component";
/// Maximum threads of a compiler, each of which has its own memory.
const MAX_THREADS: usize = 4;
/// Maximum size read from a compiler's stdout and stderr, each in bytes.
const OUTPUT_BYTES: u64 = 64 * 1024;
/// Niceness of compilers, so that jobs and requests come first.
const NICE: i32 = 10;
/// The OOM score adjustment: compilers are killed first when the system runs out of memory.
const OOM_SCORE: &str = "1000";
/// The exit code of a process that panicked.
const PANICKED: i32 = 101;
/// The start of the allocator's message when it aborts.
const NO_MEMORY: &str = "memory allocation of ";

/// Settings of the compilers.
#[derive(Clone, Debug)]
pub struct CompilerOptions {
    /// This program, or another one with the subcommand [`SUBCOMMAND`].
    pub program: PathBuf,
    pub memory_mb: u64,
    pub seconds: u64,
    /// Maximum number of concurrent compilers.
    pub at_once: usize,
}

impl CompilerOptions {
    /// Returns the program of this process, even if its file has been replaced or removed.
    #[must_use]
    pub fn this_program() -> PathBuf {
        PathBuf::from("/proc/self/exe")
    }
}

/// The child's message on stdout.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum CompilerMessage {
    Compiled,
    /// The component is invalid, with the reason.
    Invalid(String),
    OutOfMemory,
}

/// The reason why there is no code.
#[derive(Debug, PartialEq, Eq)]
enum CompileFailure {
    Invalid(String),
    /// The compiler reached a limit or crashed, and would do so again.
    Refused(String),
    /// The host failed; a retry may succeed.
    Host(String),
}

pub(super) struct Compiler {
    options: CompilerOptions,
    cache: CodeCache,
    turns: Arc<Semaphore>,
}

impl Compiler {
    pub(super) fn new(options: CompilerOptions, cache: CodeCache) -> Self {
        Self {
            turns: Arc::new(Semaphore::new(options.at_once)),
            options,
            cache,
        }
    }

    /// Waits for a permit to run a compiler.
    pub(super) async fn turn(&self) -> Option<OwnedSemaphorePermit> {
        // Never closed.
        Arc::clone(&self.turns).acquire_owned().await.ok()
    }

    /// Returns the reason of an earlier compilation that failed within the same limits.
    pub(super) fn refusal(&self, file: &str, key: &str) -> Option<LoadError> {
        let note = self.note(key);
        let reason = std::fs::read_to_string(&note).ok()?;
        Some(refused(file, &reason, &note))
    }

    /// Compiles a component and stores the code in the engine's cache under this key.
    ///
    /// # Errors
    /// The reason why there is no code. If a limit was reached, also writes the note that
    /// [`Self::refusal`] reads.
    pub(super) async fn compile(
        &self,
        file: &str,
        key: &str,
        component: &[u8],
    ) -> Result<(), LoadError> {
        tracing::info!(file, bytes = component.len(), "compiling a component");
        match self.run(key, component).await {
            Ok(()) => Ok(()),
            Err(CompileFailure::Invalid(reason)) => {
                Err(LoadError::new(file, format!("invalid component: {reason}")))
            }
            Err(CompileFailure::Refused(reason)) => {
                let note = self.note(key);
                if let Err(error) = std::fs::write(&note, &reason) {
                    tracing::warn!(file, %error, "failed to record a rejected component; the next \
                         start compiles it again");
                }
                Err(refused(file, &reason, &note))
            }
            Err(CompileFailure::Host(reason)) => Err(LoadError::new(
                file,
                format!("failed to compile it: {reason}; to retry, touch the file"),
            )),
        }
    }

    fn note(&self, key: &str) -> PathBuf {
        let CompilerOptions {
            memory_mb, seconds, ..
        } = &self.options;
        self.cache.note(&format!("{key}-{memory_mb}-{seconds}"))
    }

    async fn run(&self, key: &str, component: &[u8]) -> Result<(), CompileFailure> {
        let host = |error: std::io::Error| CompileFailure::Host(error.to_string());
        let staging = self.cache.staging().map_err(host)?;
        let mut child = self.start(staging.path()).map_err(host)?;
        let limit = Duration::from_secs(self.options.seconds);
        let ended = tokio::time::timeout(limit, converse(&mut child, component)).await;
        let (status, answer, said) = match ended {
            Ok(ended) => ended.map_err(host)?,
            Err(_) => {
                child.kill().await.map_err(host)?;
                return Err(CompileFailure::Refused(format!(
                    "timeout: compiling it took longer than {} s; increase plugins.compile_seconds",
                    self.options.seconds
                )));
            }
        };
        self.outcome(status, &answer, &said)?;
        self.cache.publish(staging.path(), key).map_err(host)
    }

    fn start(&self, staging: &Path) -> std::io::Result<Child> {
        let threads = std::thread::available_parallelism().map_or(1, usize::from);
        Command::new(&self.options.program)
            .arg(SUBCOMMAND)
            .args(["--memory-mb", &self.options.memory_mb.to_string()])
            .args(["--parent", &std::process::id().to_string()])
            .arg(staging)
            .env_clear()
            .env("RAYON_NUM_THREADS", threads.min(MAX_THREADS).to_string())
            .current_dir(staging)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            // Ctrl-C must reach only the server, which then drains.
            .process_group(0)
            .kill_on_drop(true)
            .spawn()
    }

    /// Interprets the exit of the child.
    fn outcome(&self, status: ExitStatus, answer: &[u8], said: &str) -> Result<(), CompileFailure> {
        let out_of_memory = || {
            CompileFailure::Refused(format!(
                "compiling it took more than {} MiB of memory; increase plugins.compile_memory_mb",
                self.options.memory_mb
            ))
        };
        if status.success() {
            return match serde_json::from_slice(answer) {
                Ok(CompilerMessage::Compiled) => Ok(()),
                Ok(CompilerMessage::Invalid(reason)) => Err(CompileFailure::Invalid(reason)),
                Ok(CompilerMessage::OutOfMemory) => Err(out_of_memory()),
                Err(error) => Err(CompileFailure::Host(format!(
                    "invalid response of the compiler: {error}"
                ))),
            };
        }
        if said.contains(NO_MEMORY) {
            return Err(out_of_memory());
        }
        // Killed from outside: by an operator, at a system shutdown, or by the OOM killer.
        let from_outside = [Signal::KILL, Signal::TERM, Signal::INT, Signal::HUP];
        let signal = status.signal();
        if from_outside.iter().any(|one| Some(one.as_raw()) == signal) {
            return Err(CompileFailure::Host(format!(
                "the compiler was killed: {status}"
            )));
        }
        let last = said.lines().rfind(|line| !line.trim().is_empty());
        let last = last.unwrap_or("no output");
        Err(match status.code() {
            None | Some(PANICKED) => {
                CompileFailure::Refused(format!("the compiler crashed: {status}: {last}"))
            }
            Some(_) => CompileFailure::Host(last.to_owned()),
        })
    }
}

fn refused(file: &str, reason: &str, note: &Path) -> LoadError {
    let message = format!(
        "{reason}. It is not compiled again with these limits; to retry, delete {} and touch the file",
        note.display()
    );
    LoadError::new(file, message)
}

/// Sends the component to the child. Returns its exit status and its output.
async fn converse(
    child: &mut Child,
    component: &[u8],
) -> std::io::Result<(ExitStatus, Vec<u8>, String)> {
    let (stdin, stdout, stderr) = (child.stdin.take(), child.stdout.take(), child.stderr.take());
    let give = async {
        if let Some(mut stdin) = stdin {
            // A child that exits early closes the pipe; its status is the better error.
            let _ = stdin.write_all(component).await;
        }
    };
    let (mut answer, mut said) = (Vec::new(), Vec::new());
    let hear = async {
        match stdout {
            Some(stdout) => stdout.take(OUTPUT_BYTES).read_to_end(&mut answer).await,
            None => Ok(0),
        }
    };
    let overhear = async {
        match stderr {
            Some(stderr) => stderr.take(OUTPUT_BYTES).read_to_end(&mut said).await,
            None => Ok(0),
        }
    };
    let ((), heard, overheard, status) = tokio::join!(give, hear, overhear, child.wait());
    heard?;
    overheard?;
    Ok((status?, answer, String::from_utf8_lossy(&said).into_owned()))
}

/// Compiles the component on stdin into a directory. The entry point of the child.
///
/// # Errors
/// If a limit cannot be set, stdin cannot be read, or stdout cannot be written.
pub fn compile(staging: &Path, memory_mb: u64, parent: u32) -> anyhow::Result<()> {
    limit_this_process(memory_mb, parent)?;
    let mut component = Vec::new();
    std::io::stdin()
        .take(super::COMPONENT_BYTES)
        .read_to_end(&mut component)?;
    let answer = answer(staging, &component)?;
    let mut stdout = std::io::stdout();
    serde_json::to_writer(&mut stdout, &answer)?;
    stdout.flush()?;
    Ok(())
}

fn answer(staging: &Path, component: &[u8]) -> anyhow::Result<CompilerMessage> {
    let mut config = engine_config();
    config.cache(Some(wasmtime_cache(staging)?));
    let engine = Engine::new(&config).map_err(super::not_made)?;
    Ok(match Component::from_binary(&engine, component) {
        Ok(_) => CompilerMessage::Compiled,
        Err(error) if is_out_of_memory(&error) => CompilerMessage::OutOfMemory,
        Err(error) => CompilerMessage::Invalid(format!("{error:#}")),
    })
}

fn is_out_of_memory(error: &wasmtime::Error) -> bool {
    let errno = error.downcast_ref::<Errno>();
    let io = error.downcast_ref::<std::io::Error>();
    errno == Some(&Errno::NOMEM)
        || io.is_some_and(|error| error.kind() == std::io::ErrorKind::OutOfMemory)
        || format!("{error:#}").contains("Cannot allocate memory")
}

/// Limits this process: it ends with the server, runs at a low priority, is killed first when memory
/// runs out, and has a memory limit.
fn limit_this_process(memory_mb: u64, parent: u32) -> anyhow::Result<()> {
    set_parent_process_death_signal(Some(Signal::KILL)).context("PR_SET_PDEATHSIG")?;
    // The server may have exited before the signal was set.
    let expected = i32::try_from(parent).ok().and_then(Pid::from_raw);
    anyhow::ensure!(getppid() == expected, "the server has exited");
    // Optional: compilation works without them.
    let _ = nice(NICE);
    let _ = std::fs::write("/proc/self/oom_score_adj", OOM_SCORE);
    let both = |most: u64| Rlimit {
        current: Some(most),
        maximum: Some(most),
    };
    // A limit of 1 instead of 0 also keeps the kernel from piping a dump to a program.
    setrlimit(Resource::Core, both(1)).context("RLIMIT_CORE")?;
    setrlimit(Resource::Data, both(memory_mb << 20)).context("RLIMIT_DATA")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn compiler(directory: &Path) -> Compiler {
        let options = CompilerOptions {
            program: CompilerOptions::this_program(),
            memory_mb: 256,
            seconds: 7,
            at_once: 1,
        };
        Compiler::new(options, CodeCache::open(&directory.join("cache")).unwrap())
    }

    #[test]
    fn a_childs_end_is_told_apart() {
        let directory = tempfile::tempdir().unwrap();
        let compiler = compiler(directory.path());
        let ended = |status: i32, answer: &str, said: &str| {
            compiler.outcome(ExitStatus::from_raw(status), answer.as_bytes(), said)
        };
        assert_eq!(ended(0, r#""compiled""#, ""), Ok(()));
        assert_eq!(
            ended(0, r#"{"invalid":"no"}"#, ""),
            Err(CompileFailure::Invalid("no".to_owned()))
        );
        let memory = ended(6, "", "memory allocation of 8 bytes failed\n");
        assert_eq!(ended(0, r#""out_of_memory""#, ""), memory);
        let Err(CompileFailure::Refused(message)) = memory else {
            panic!("{memory:?}");
        };
        assert!(message.contains("256 MiB of memory"), "{message}");
        // These signals are no evidence about the component.
        for from_outside in [9, 15, 2, 1] {
            let ended = ended(from_outside, "", "");
            assert!(matches!(ended, Err(CompileFailure::Host(_))), "{ended:?}");
        }
        let crashed = ended(11, "", "first\nlast words\n\n");
        assert!(
            matches!(&crashed, Err(CompileFailure::Refused(text)) if text.contains("last words")),
            "{crashed:?}"
        );
    }

    #[test]
    fn a_note_holds_for_its_limits_alone() {
        let directory = tempfile::tempdir().unwrap();
        let mut compiler = compiler(directory.path());
        assert_eq!(compiler.refusal("x.wasm", "key"), None);
        std::fs::write(compiler.note("key"), "took long").unwrap();
        let refusal = compiler.refusal("x.wasm", "key").unwrap();
        assert!(refusal.message.starts_with("took long. "), "{refusal}");
        assert_eq!(compiler.refusal("x.wasm", "other"), None);
        compiler.options.memory_mb += 1;
        assert_eq!(compiler.refusal("x.wasm", "key"), None);
    }
}
