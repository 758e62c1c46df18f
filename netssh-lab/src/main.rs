//! Starts simulated devices and prints one line of JSON for each when it listens.
//!
//! `cargo run --bin lab -- --port 2201 --count 3 --username admin --password-file FILE` (or the password in `LAB_PASSWORD`). Runs until it gets SIGTERM or SIGINT,
//! or until its standard input is closed.

use std::io::Read;
use std::process::ExitCode;
use std::time::Duration;

use netssh_lab::{Lab, LabDevice, LabPlatform};

const USAGE: &str =
    "usage: lab [--platform NAME] [--port N] [--count N] [--name PREFIX] [--username NAME]
           [--password-file FILE] [--enable-secret-file FILE] [--privileged] [--delay-ms N]

  --platform NAME        platform of the devices, one of the files in netssh-lab/platforms (default
                         cisco_ios); several, separated by commas, alternate
  --port N               port of the first device, the next ones follow; 0 (default): free ports
  --count N              number of devices (default 1)
  --name PREFIX          names are PREFIX1, PREFIX2 … (default lab-r)
  --username NAME        user name (default admin)
  --password-file FILE   file with the password; or the environment variable LAB_PASSWORD
  --enable-secret-file   file with the enable secret; or LAB_ENABLE_SECRET; default: the password
  --privileged           logins start in privileged mode
  --delay-ms N           delay of each command";

struct Options {
    port: u16,
    count: u16,
    name: String,
    platforms: Vec<LabPlatform>,
    device: LabDevice,
}

#[tokio::main]
async fn main() -> ExitCode {
    let is_help = |argument: String| matches!(argument.as_str(), "--help" | "-h");
    if std::env::args().skip(1).any(is_help) {
        println!("{USAGE}");
        return ExitCode::SUCCESS;
    }
    let options = match parse(std::env::args().skip(1)) {
        Ok(options) => options,
        Err(message) => {
            eprintln!("{message}\n\n{USAGE}");
            return ExitCode::from(2);
        }
    };
    match run(options).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn run(options: Options) -> std::io::Result<()> {
    let mut labs = Vec::new();
    for number in 0..options.count {
        let hostname = format!("{}{}", options.name, number + 1);
        let port = match options.port {
            0 => 0,
            first => first.saturating_add(number),
        };
        let platform = &options.platforms[usize::from(number) % options.platforms.len()];
        let device = LabDevice {
            hostname: hostname.clone(),
            platform: platform.clone(),
            ..options.device.clone()
        };
        let lab = Lab::start_on(device, port)
            .await
            .map_err(|error| std::io::Error::new(error.kind(), format!("port {port}: {error}")))?;
        let line = serde_json::json!({
            "name": hostname,
            "host": lab.addr().ip(),
            "port": lab.addr().port(),
            "username": options.device.username,
            "device_type": platform.name(),
        });
        println!("{line}");
        labs.push(lab);
    }
    wait_for_the_end().await
}

async fn wait_for_the_end() -> std::io::Result<()> {
    use tokio::signal::unix::{SignalKind, signal};
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let (closed, mut input) = tokio::sync::mpsc::channel::<()>(1);
    std::thread::spawn(move || {
        let mut ignored = [0; 256];
        while matches!(std::io::stdin().read(&mut ignored), Ok(1..)) {}
        drop(closed);
    });
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
        _ = input.recv() => {}
    }
    Ok(())
}

fn parse(mut arguments: impl Iterator<Item = String>) -> Result<Options, String> {
    let mut options = Options {
        port: 0,
        count: 1,
        name: "lab-r".into(),
        platforms: Vec::new(),
        device: LabDevice::cisco_ios(""),
    };
    let mut password = std::env::var("LAB_PASSWORD").ok();
    let mut secret = std::env::var("LAB_ENABLE_SECRET").ok();
    while let Some(argument) = arguments.next() {
        let mut value = || {
            arguments
                .next()
                .ok_or(format!("{argument}: expected a value"))
        };
        let number = |text: String| {
            text.parse()
                .map_err(|_| format!("expected a number from 0 to 65535, got {text:?}"))
        };
        match argument.as_str() {
            "--platform" => {
                let named = |name: &str| {
                    LabPlatform::named(name).ok_or_else(|| {
                        let known: Vec<&str> = LabPlatform::names().collect();
                        format!("platform {name:?} not found; known: {}", known.join(", "))
                    })
                };
                options.platforms = value()?.split(',').map(named).collect::<Result<_, _>>()?;
            }
            "--port" => options.port = number(value()?)?,
            "--count" => options.count = number(value()?)?,
            "--name" => options.name = value()?,
            "--username" => options.device.username = value()?,
            "--password-file" => password = Some(read(&value()?)?),
            "--enable-secret-file" => secret = Some(read(&value()?)?),
            "--privileged" => options.device.privileged = true,
            "--delay-ms" => {
                options.device.delay = Duration::from_millis(number(value()?)?.into());
            }
            _ => return Err(format!("unknown argument {argument:?}")),
        }
    }
    if options.platforms.is_empty() {
        options.platforms.push(options.device.platform.clone());
    }
    options.device.password =
        password.ok_or("password not found; use --password-file or set LAB_PASSWORD")?;
    let secret = secret.unwrap_or_else(|| options.device.password.clone());
    options.device.enable_secret = Some(secret);
    Ok(options)
}

fn read(path: &str) -> Result<String, String> {
    std::fs::read_to_string(path)
        .map(|text| text.trim_end_matches(['\r', '\n']).to_owned())
        .map_err(|error| format!("{path}: {error}"))
}
