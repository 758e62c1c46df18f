//! Child processes: run to completion, or kept running until this program ends.

use std::io::Write as _;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};

/// Returns the directory of the workspace.
pub(crate) fn repository() -> PathBuf {
    let xtask = Path::new(env!("CARGO_MANIFEST_DIR"));
    xtask.parent().unwrap_or(xtask).to_owned()
}

/// Returns a command for the cargo that started this program.
///
/// It lacks the variables that cargo sets for this package: build scripts (ring's) depend on them,
/// and everything that depends on ring would be rebuilt whenever `cargo xtask` and `cargo`
/// alternate.
pub(crate) fn cargo(arguments: &[&str]) -> Command {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(cargo);
    command.args(arguments).current_dir(repository());
    for (name, _) in std::env::vars_os() {
        let bytes = name.as_encoded_bytes();
        if bytes.starts_with(b"CARGO_PKG_") || bytes.starts_with(b"CARGO_MANIFEST_") {
            command.env_remove(name);
        }
    }
    command
}

/// Runs a program in the foreground; fails with the program's name if its exit code is not 0.
pub(crate) fn run_to_success(command: &mut Command) -> anyhow::Result<()> {
    let status = command
        .status()
        .with_context(|| format!("failed to start {}", shown(command)))?;
    if !status.success() {
        bail!("{} failed ({status})", shown(command));
    }
    Ok(())
}

/// Runs a program like [`run_to_success`], and ends it on an [`Interrupt`]: the signal may have
/// been sent to this process alone.
pub(crate) fn run_unless_interrupted(
    command: &mut Command,
    input: &str,
    interrupt: &Interrupt,
) -> anyhow::Result<()> {
    let mut child = command
        .stdin(Stdio::piped())
        .spawn()
        .with_context(|| format!("failed to start {}", shown(command)))?;
    if let Some(mut stdin) = child.stdin.take() {
        // A program may end without reading its input.
        let _ = stdin.write_all(input.as_bytes());
    }
    let status = loop {
        if let Some(status) = child.try_wait()? {
            break status;
        }
        if interrupt.happened() {
            terminate(&child);
            child.wait()?;
            bail!("interrupted");
        }
        std::thread::sleep(Duration::from_millis(20));
    };
    if !status.success() {
        bail!("{} failed ({status})", shown(command));
    }
    Ok(())
}

/// A flag for Ctrl-C, SIGTERM and SIGHUP, which the program polls to end in an orderly way.
#[derive(Clone)]
pub(crate) struct Interrupt(Arc<AtomicBool>);

impl Interrupt {
    pub(crate) fn listen() -> anyhow::Result<Self> {
        let flag = Arc::new(AtomicBool::new(false));
        for signal in [
            signal_hook::consts::SIGINT,
            signal_hook::consts::SIGTERM,
            signal_hook::consts::SIGHUP,
        ] {
            signal_hook::flag::register(signal, Arc::clone(&flag))
                .context("failed to listen for signals")?;
        }
        Ok(Self(flag))
    }

    pub(crate) fn happened(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

/// A background process, stopped on drop.
pub(crate) struct Background {
    name: &'static str,
    child: Child,
}

impl Background {
    /// Starts it in its own process group: Ctrl-C in the terminal does not reach it, so this
    /// program controls the order of stopping.
    pub(crate) fn start(name: &'static str, command: &mut Command) -> anyhow::Result<Self> {
        let child = command
            .process_group(0)
            .spawn()
            .with_context(|| format!("failed to start {}", shown(command)))?;
        Ok(Self { name, child })
    }

    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// Returns the exit status if the process has ended.
    pub(crate) fn ended(&mut self) -> anyhow::Result<Option<ExitStatus>> {
        self.child
            .try_wait()
            .with_context(|| format!("failed to get the status of {}", self.name))
    }

    pub(crate) fn child(&mut self) -> &mut Child {
        &mut self.child
    }

    fn stop(&mut self) -> anyhow::Result<()> {
        const GRACE: Duration = Duration::from_secs(10);
        let terminated = Instant::now();
        terminate(&self.child);
        while self.ended()?.is_none() {
            if terminated.elapsed() > GRACE {
                eprintln!("timeout: {} does not stop; killing it", self.name);
                self.child.kill()?;
                self.child.wait()?;
                break;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(())
    }
}

impl Drop for Background {
    fn drop(&mut self) {
        if let Ok(None) = self.ended()
            && let Err(error) = self.stop()
        {
            eprintln!("failed to stop {}: {error:#}", self.name);
        }
    }
}

/// A shell that cleans up if this process is killed: it waits for the end of its input, which comes
/// with the end of this process.
pub(crate) struct Watchdog {
    child: Child,
    input: Option<ChildStdin>,
}

impl Watchdog {
    pub(crate) fn start(scratch: &Path) -> anyhow::Result<Self> {
        const SCRIPT: &str = r#"
            processes=
            while read -r line; do
                case $line in
                    done) exit 0 ;;
                    *) processes="$processes $line" ;;
                esac
            done
            kill -TERM $processes 2>/dev/null
            sleep 3
            kill -KILL $processes 2>/dev/null
            rm -rf -- "$0"
        "#;
        let mut child = Command::new("sh")
            .args(["-c", SCRIPT])
            .arg(scratch)
            .process_group(0)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .context("failed to start sh")?;
        let input = child.stdin.take();
        Ok(Self { child, input })
    }

    pub(crate) fn watch(&mut self, process: &Background) -> anyhow::Result<()> {
        self.tell(&process.id().to_string())
    }

    fn tell(&mut self, line: &str) -> anyhow::Result<()> {
        if let Some(input) = &mut self.input {
            writeln!(input, "{line}").context("the watchdog exited")?;
        }
        Ok(())
    }
}

impl Drop for Watchdog {
    fn drop(&mut self) {
        let _ = self.tell("done");
        self.input = None;
        let _ = self.child.wait();
    }
}

/// Sends SIGTERM without waiting. std can only send SIGKILL, but every shell can send other
/// signals.
fn terminate(child: &Child) {
    let _ = Command::new("sh")
        .args(["-c", "kill -TERM \"$0\"", &child.id().to_string()])
        .stderr(Stdio::null())
        .status();
}

fn shown(command: &Command) -> String {
    let mut text = format!("`{}", command.get_program().to_string_lossy());
    for argument in command.get_args() {
        text.push(' ');
        text.push_str(&argument.to_string_lossy());
    }
    text.push('`');
    text
}
