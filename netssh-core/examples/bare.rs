//! What a session costs, beside russh without any logic: medians in milliseconds, one line of JSON.
//!
//! `bare HOST PORT USER PLATFORM COMMAND [COUNT]` with the password in `NETSSH_PASSWORD`, or no
//! arguments at all: then it starts FRR by itself (as root).

use std::sync::Arc;
use std::time::Instant;

use netssh_core::{Endpoint, HostKeyPolicy, Platform, SecretString, Session};
use russh::client;
use russh::keys::PublicKeyOrCertificate;
use russh::{ChannelMsg, Disconnect};

type Failure = Box<dyn std::error::Error>;

#[tokio::main]
async fn main() -> Result<(), Failure> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.as_slice() {
        [] => {
            let (router, host) = (&test_devices::frr().ssh, &test_devices::linux().ssh);
            let line = "All work and no play makes Jack a dull boy.\n";
            std::fs::write(host.home().join("long"), line.repeat(589_000 / line.len()))?;
            for (ssh, platform, command) in [
                (router, "frr", "show version"),
                (router, "frr", "show running-config"),
                (host, "linux", "cat ~/long"),
            ] {
                let mut endpoint = endpoint(&ssh.host, &ssh.username, platform)?;
                endpoint.port = ssh.port;
                measure(endpoint, &ssh.password, command, 30).await?;
            }
            Ok(())
        }
        [host, port, user, platform, command, count @ ..] => {
            let mut endpoint = endpoint(host, user, platform)?;
            endpoint.port = port.parse()?;
            let count = count.first().map_or(Ok(20), |count| count.parse())?;
            measure(endpoint, &std::env::var("NETSSH_PASSWORD")?, command, count).await
        }
        _ => Err("bare HOST PORT USER PLATFORM COMMAND [COUNT]".into()),
    }
}

fn endpoint(host: &str, user: &str, platform: &str) -> Result<Endpoint, Failure> {
    let platform = Platform::named(platform).ok_or("no such platform")?;
    let mut endpoint = Endpoint::new(host, user, platform);
    endpoint.host_key_policy = HostKeyPolicy::Insecure;
    Ok(endpoint)
}

async fn measure(
    mut endpoint: Endpoint,
    password: &str,
    command: &str,
    count: usize,
) -> Result<(), Failure> {
    endpoint.credentials.password = Some(SecretString::from(password));
    let (mut whole, mut floor, mut floor_command) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..count {
        // In turn, so that a noisy machine is noisy for both.
        let started = Instant::now();
        let mut session = Session::connect(&endpoint).await?;
        session.exec(command).await?;
        session.close().await;
        whole.push(started.elapsed());

        let started = Instant::now();
        let again = bare_russh(&endpoint, password, command).await?;
        floor.push(started.elapsed() - again);
        floor_command.push(again);
    }
    let mut session = Session::connect(&endpoint).await?;
    let mut open = Vec::new();
    for _ in 0..count * 2 {
        open.push(session.exec(command).await?.elapsed);
    }
    session.close().await;
    println!(
        "{}",
        serde_json::json!({
            "command": command,
            "count": count,
            "connect_command_close_ms": median(whole),
            "floor_connect_command_close_ms": median(floor),
            "command_ms": median(open),
            "floor_command_ms": median(floor_command),
        })
    );
    Ok(())
}

fn median(mut times: Vec<std::time::Duration>) -> f64 {
    times.sort();
    times[times.len() / 2].as_secs_f64() * 1e3
}

struct AnyKey;

impl client::Handler for AnyKey {
    type Error = russh::Error;

    async fn check_server_key(&mut self, _: &PublicKeyOrCertificate) -> Result<bool, russh::Error> {
        Ok(true)
    }
}

/// No logic: the prompt is whatever stands at the end, and is believed. Gives the second
/// command's time.
async fn bare_russh(
    endpoint: &Endpoint,
    password: &str,
    command: &str,
) -> Result<std::time::Duration, Failure> {
    let config = Arc::new(client::Config {
        nodelay: true,
        ..client::Config::default()
    });
    let address = (endpoint.host.as_str(), endpoint.port);
    let mut handle = client::connect(config, address, AnyKey).await?;
    handle
        .authenticate_password(&endpoint.username, password)
        .await?;
    let mut channel = handle.channel_open_session().await?;
    channel
        .request_pty(false, "dumb", 511, 1000, 0, 0, &[])
        .await?;
    channel.request_shell(false).await?;
    until_prompt(&mut channel).await?;
    channel
        .data_bytes(format!("{command}\n").into_bytes())
        .await?;
    until_prompt(&mut channel).await?;
    let started = Instant::now();
    channel
        .data_bytes(format!("{command}\n").into_bytes())
        .await?;
    until_prompt(&mut channel).await?;
    let elapsed = started.elapsed();
    handle
        .disconnect(Disconnect::ByApplication, "", "en")
        .await?;
    let _ = handle.await;
    Ok(elapsed)
}

async fn until_prompt(channel: &mut russh::Channel<client::Msg>) -> Result<(), Failure> {
    let mut text = Vec::new();
    while let Some(message) = channel.wait().await {
        if let ChannelMsg::Data { data } = message {
            text.extend_from_slice(&data);
            if text.ends_with(b"# ") || text.ends_with(b"$ ") {
                return Ok(());
            }
        }
    }
    Err("the channel closed".into())
}
