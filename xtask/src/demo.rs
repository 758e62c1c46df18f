//! `cargo xtask demo`: the whole product without hardware.
//!
//! Simulated devices (`lab`), the server in a scratch directory, and a
//! newcomer's first steps with the command line.

use std::fs;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};

use crate::plugins;
use crate::process::{Background, Interrupt, Watchdog, cargo, repository, run_unless_interrupted};

/// The end of the demonstration.
#[derive(Clone, Copy, PartialEq)]
pub(crate) enum Ending {
    OnInterrupt,
    AfterTheResults,
}

const DEVICES: usize = 3;
const PLATFORMS: &str = "cisco_ios,juniper_junos,arista_eos";
const USERNAME: &str = "admin";
const STARTUP: Duration = Duration::from_secs(30);

struct Device {
    name: String,
    device_type: String,
    port: String,
}

/// The scratch directory of this run, removed on drop.
struct Scratch(PathBuf);

/// The running product. Fields are dropped in this order: the server first, then its devices, then
/// their directory.
struct Demo {
    server: Background,
    _lab: Background,
    devices: Vec<Device>,
    url: String,
    password: String,
    scheduler: PathBuf,
    interrupt: Interrupt,
    _watchdog: Watchdog,
    scratch: Scratch,
}

pub(crate) fn run(ending: Ending) -> anyhow::Result<()> {
    let interrupt = Interrupt::listen()?;
    let mut demo = match Demo::start(&interrupt) {
        Ok(demo) => demo,
        Err(_) if interrupt.happened() => return interrupted(),
        Err(error) => return Err(error),
    };
    if let Err(error) = demo.first_steps() {
        if interrupt.happened() {
            return interrupted();
        }
        demo.print_log_tail();
        return Err(error);
    }
    if ending == Ending::OnInterrupt {
        demo.stay_up()?;
    }
    drop(demo);
    println!("\nStopped and cleaned up.");
    Ok(())
}

fn interrupted() -> anyhow::Result<()> {
    bail!("interrupted; all processes were stopped")
}

impl Demo {
    fn start(interrupt: &Interrupt) -> anyhow::Result<Self> {
        heading("Building (the first build takes some minutes)");
        let programs = [
            "build",
            "--locked",
            "--quiet",
            "-p",
            "host",
            "-p",
            "netssh-lab",
        ];
        run_unless_interrupted(&mut cargo(&programs), "", interrupt)?;
        plugins::run()?;
        let binaries = binaries()?;
        let scheduler = binaries.join("scheduler");

        let scratch = Scratch::create()?;
        let mut watchdog = Watchdog::start(&scratch.0)?;
        let password = random_hex()?;

        heading(&format!(
            "Starting {DEVICES} simulated devices and the server"
        ));
        let (lab, devices) = start_lab(&binaries, &scratch, &password, &mut watchdog, interrupt)?;
        let (server, url) = start_server(&scheduler, &scratch)?;
        watchdog.watch(&server)?;
        let mut demo = Self {
            server,
            _lab: lab,
            devices,
            url,
            password,
            scheduler,
            interrupt: interrupt.clone(),
            _watchdog: watchdog,
            scratch,
        };
        if let Err(error) = demo.wait_until_healthy() {
            demo.print_log_tail();
            return Err(error);
        }
        for device in &demo.devices {
            println!(
                "  {:<12} {} on 127.0.0.1:{}",
                device.name, device.device_type, device.port
            );
        }
        println!("  {:<12} {}", "server", demo.url);
        Ok(demo)
    }

    /// Runs the commands that a newcomer would type.
    fn first_steps(&mut self) -> anyhow::Result<()> {
        heading("Adding the devices to the server");
        // The lab's devices use the same secret for `enable`.
        let secret_file = self.scratch.password_file().display().to_string();
        for device in &self.devices {
            self.cli(&[
                "connection",
                "add",
                &device.name,
                "--host",
                "127.0.0.1",
                "--port",
                &device.port,
                "--username",
                USERNAME,
                "--device-type",
                &device.device_type,
                "--password-stdin",
                "--secret-file",
                &secret_file,
            ])?;
        }

        heading("Job 1: run a show command (scripts/ssh-command.rhai)");
        for device in &self.devices {
            self.cli(&[
                "job",
                "submit",
                "ssh-command",
                "--target",
                &device.name,
                "--params",
                r#"{"commands":["show version"]}"#,
                "--wait",
            ])?;
        }

        heading("Job 2: back up the configuration (scripts/backup-config.rhai)");
        for device in &self.devices {
            self.cli(&[
                "job",
                "submit",
                "backup-config",
                "--target",
                &device.name,
                "--wait",
            ])?;
        }

        heading("Job 3: check the configuration against rules (plugins/config-compliance.wasm)");
        let rules = r#"{"rules":[
            {"name":"has a host name","must_match":["hostname|host-name"]},
            {"name":"no telnet","must_not_match":["transport input .*telnet"]}]}"#;
        for device in &self.devices {
            self.cli(&[
                "job",
                "submit",
                "config-compliance",
                "--target",
                &device.name,
                "--params",
                rules,
                "--wait",
            ])?;
        }

        heading("All jobs");
        self.cli(&["job", "list"])
    }

    fn stay_up(&mut self) -> anyhow::Result<()> {
        heading("Try it yourself");
        println!(
            "  dashboard          {url}/board\n  \
             API documentation  {url}/api/docs\n  \
             command line       export SCHEDULER_URL={url}\n                     \
             {scheduler} job submit ssh-command --target {device} \
             --param 'commands=[\"show version\"]' --wait\n  \
             playbooks          {scripts} (edit one: it is loaded at once)\n\n\
             Ctrl-C stops the server and the devices and removes all of it.",
            url = self.url,
            scheduler = self.scheduler.display(),
            device = self.devices[0].name,
            scripts = repository().join("scripts").display(),
        );
        while !self.interrupt.happened() {
            if let Some(status) = self.server.ended()? {
                self.print_log_tail();
                bail!("the server exited ({status})");
            }
            std::thread::sleep(Duration::from_millis(100));
        }
        Ok(())
    }

    /// Shows a command, runs it, and shows its output.
    fn cli(&self, arguments: &[&str]) -> anyhow::Result<()> {
        if self.interrupt.happened() {
            return interrupted();
        }
        let quoted: Vec<String> = arguments.iter().copied().map(quote).collect();
        println!("\n$ scheduler {}", quoted.join(" "));
        let mut command = Command::new(&self.scheduler);
        without_our_variables(&mut command)
            .args(arguments)
            .env("SCHEDULER_URL", &self.url);
        run_unless_interrupted(&mut command, &self.password, &self.interrupt)
    }

    fn wait_until_healthy(&mut self) -> anyhow::Result<()> {
        let started = Instant::now();
        let address = self.url.trim_start_matches("http://").to_owned();
        while !is_healthy(&address) {
            if let Some(status) = self.server.ended()? {
                bail!("the server exited ({status})");
            }
            if self.interrupt.happened() {
                return interrupted();
            }
            if started.elapsed() > STARTUP {
                bail!(
                    "timeout: the server is not healthy after {} s",
                    STARTUP.as_secs()
                );
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        Ok(())
    }

    fn print_log_tail(&self) {
        const LINES: usize = 30;
        let log = fs::read_to_string(self.scratch.server_log()).unwrap_or_default();
        let lines: Vec<&str> = log.lines().collect();
        eprintln!("\nThe end of the server's log:");
        for line in &lines[lines.len().saturating_sub(LINES)..] {
            eprintln!("  {line}");
        }
    }
}

impl Scratch {
    fn create() -> anyhow::Result<Self> {
        let path = std::env::temp_dir().join(format!("job-scheduler-demo-{}", random_hex()?));
        fs::DirBuilder::new()
            .mode(0o700)
            .create(&path)
            .with_context(|| format!("failed to create {}", path.display()))?;
        Ok(Self(path))
    }

    fn password_file(&self) -> PathBuf {
        self.0.join("password")
    }

    fn server_log(&self) -> PathBuf {
        self.0.join("server.log")
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_dir_all(&self.0) {
            eprintln!("failed to remove {}: {error}", self.0.display());
        }
    }
}

fn start_lab(
    binaries: &Path,
    scratch: &Scratch,
    password: &str,
    watchdog: &mut Watchdog,
    interrupt: &Interrupt,
) -> anyhow::Result<(Background, Vec<Device>)> {
    let password_file = scratch.password_file();
    fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&password_file)
        .and_then(|mut file| file.write_all(password.as_bytes()))
        .context("failed to write the devices' password")?;

    let mut command = Command::new(binaries.join("lab"));
    command
        .args(["--count", &DEVICES.to_string()])
        .args(["--platform", PLATFORMS])
        .args(["--username", USERNAME])
        .arg("--password-file")
        .arg(&password_file)
        .current_dir(&scratch.0)
        // The lab ends with its stdin, and therefore with this process, even if that is killed.
        .stdin(Stdio::piped())
        .stdout(Stdio::piped());
    let mut lab = Background::start("the lab", &mut command)?;
    watchdog.watch(&lab)?;

    let output = lab.child().stdout.take().context("the lab has no stdout")?;
    let (sender, lines) = mpsc::channel();
    // A thread reads all of the output, because the lab would block on a full pipe.
    std::thread::spawn(move || {
        for line in BufReader::new(output).lines().map_while(Result::ok) {
            let _ = sender.send(line);
        }
    });
    let started = Instant::now();
    let mut devices = Vec::new();
    while devices.len() < DEVICES {
        match lines.recv_timeout(Duration::from_millis(100)) {
            Ok(line) => devices.push(
                Device::from_json(&line)
                    .with_context(|| format!("unexpected line from the lab: {line:?}"))?,
            ),
            Err(mpsc::RecvTimeoutError::Disconnected) => bail!("the lab exited"),
            Err(mpsc::RecvTimeoutError::Timeout) if interrupt.happened() => interrupted()?,
            Err(mpsc::RecvTimeoutError::Timeout) if started.elapsed() > STARTUP => {
                bail!(
                    "timeout: the lab's devices are not up after {} s",
                    STARTUP.as_secs()
                )
            }
            Err(mpsc::RecvTimeoutError::Timeout) => {}
        }
    }
    Ok((lab, devices))
}

fn start_server(scheduler: &Path, scratch: &Scratch) -> anyhow::Result<(Background, String)> {
    let usual = TcpListener::bind((Ipv4Addr::LOCALHOST, 8080)).is_ok();
    let port = if usual { 8080 } else { free_port()? };
    let log =
        fs::File::create(scratch.server_log()).context("failed to create the server's log")?;

    let mut command = Command::new(scheduler);
    without_our_variables(&mut command)
        .arg("serve")
        // The server writes the database, the queue and the master key to its working directory,
        // and does not read a config.toml of the repository.
        .current_dir(&scratch.0)
        .env("SCHEDULER_SERVER_PORT", port.to_string())
        .env(
            "SCHEDULER_PLUGINS_SCRIPTS_DIR",
            repository().join("scripts"),
        )
        .env(
            "SCHEDULER_PLUGINS_COMPONENTS_DIR",
            repository().join("plugins"),
        )
        .stdin(Stdio::null())
        .stdout(log.try_clone()?)
        .stderr(log);
    let server = Background::start("the server", &mut command)?;
    Ok((server, format!("http://127.0.0.1:{port}")))
}

/// Removes the variables that the developer has set for another server.
fn without_our_variables(command: &mut Command) -> &mut Command {
    for (name, _) in std::env::vars_os() {
        if name.as_encoded_bytes().starts_with(b"SCHEDULER_") {
            command.env_remove(name);
        }
    }
    command
}

fn is_healthy(address: &str) -> bool {
    let get = || -> std::io::Result<String> {
        let mut stream = TcpStream::connect(address)?;
        stream.set_read_timeout(Some(Duration::from_secs(2)))?;
        write!(stream, "GET /health HTTP/1.0\r\nHost: {address}\r\n\r\n")?;
        let mut start = [0; 12];
        stream.read_exact(&mut start)?;
        Ok(String::from_utf8_lossy(&start).into_owned())
    };
    get().is_ok_and(|start| start.ends_with(" 200"))
}

fn free_port() -> anyhow::Result<u16> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("no free port found")?;
    Ok(listener.local_addr()?.port())
}

/// Returns the directory of cargo's binaries.
fn binaries() -> anyhow::Result<PathBuf> {
    // target/debug/xtask: cargo has built this program into the same directory.
    let ours = std::env::current_exe().context("failed to find the path of this program")?;
    let directory = ours
        .parent()
        .context("failed to find the directory of this program")?;
    Ok(directory.to_owned())
}

fn random_hex() -> anyhow::Result<String> {
    let mut bytes = [0; 12];
    fs::File::open("/dev/urandom")
        .and_then(|mut file| file.read_exact(&mut bytes))
        .context("failed to read /dev/urandom")?;
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}

impl Device {
    /// Parses a line `{"name":"lab-r1","host":"127.0.0.1","port":2201,"device_type":"cisco_ios"}`.
    fn from_json(line: &str) -> Option<Self> {
        Some(Self {
            name: json_field(line, "name")?,
            device_type: json_field(line, "device_type")?,
            port: json_field(line, "port")?,
        })
    }
}

/// Returns a text without escapes, or a number, from a flat JSON object. The lab writes nothing
/// else, so a JSON library is not worth its build time.
fn json_field(object: &str, name: &str) -> Option<String> {
    let (_, rest) = object.split_once(&format!("\"{name}\""))?;
    let value = rest.trim_start().strip_prefix(':')?.trim_start();
    let value = match value.strip_prefix('"') {
        Some(text) => text.split_once('"')?.0,
        None => value.split([',', '}']).next()?.trim_end(),
    };
    Some(value.to_owned())
}

/// Quotes an argument for a shell.
fn quote(argument: &str) -> String {
    let plain = argument
        .chars()
        .all(|c| c.is_ascii_alphanumeric() || "-_./:=".contains(c));
    if plain {
        argument.to_owned()
    } else {
        format!("'{argument}'")
    }
}

fn heading(text: &str) {
    println!("\n== {text}");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_device_is_read_from_the_labs_line() {
        let line = r#"{"port": 2201,"name":"lab-r1","username":"admin","device_type":"frr"}"#;
        let device = Device::from_json(line).unwrap();
        assert_eq!(device.name, "lab-r1");
        assert_eq!(device.device_type, "frr");
        assert_eq!(device.port, "2201");
        assert!(Device::from_json("listening").is_none());
    }
}
