//! Other programs: run to their end, or kept running until we end.

use std::io::Write as _;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};

/// The directory of the workspace.
pub(crate) fn repository() -> PathBuf {
    let xtask = Path::new(env!("CARGO_MANIFEST_DIR"));
    xtask.parent().unwrap_or(xtask).to_owned()
}

/// The cargo that started us.
///
/// What it has told us about our own package it must not hear again: build scripts (ring's) look
/// at such variables, and with them everything that stands on ring would be built anew whenever
/// `cargo xtask` and `cargo` take turns.
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

/// Runs a program in the foreground; anything but success is an error that names the program.
pub(crate) fn run_to_success(command: &mut Command) -> anyhow::Result<()> {
    let status = command
        .status()
        .with_context(|| format!("failed to start {}", shown(command)))?;
    if !status.success() {
        bail!("{} failed ({status})", shown(command));
    }
    Ok(())
}

/// [`run_to_success`] for when we listen for an [`Interrupt`], which ends the program too: a signal
/// may have been sent to us alone.
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
        // Whoever does not read it does not want it.
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

/// Ctrl-C, SIGTERM and SIGHUP as something to ask about, so that ending is a part of the program.
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

/// A program in the background, stopped when this is dropped.
pub(crate) struct Background {
    name: &'static str,
    child: Child,
}

impl Background {
    /// In a process group of its own: a Ctrl-C in the terminal reaches us and not it, so that
    /// the order of stopping is ours.
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

    /// How it ended, if it has ended.
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

/// Cleans up after us if we are killed and can do it no more: a shell that waits for the end of
/// its input, which comes when we are gone, however we went.
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

/// SIGTERM, and no waiting. std can only send SIGKILL; every shell has a kill that can do more.
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
