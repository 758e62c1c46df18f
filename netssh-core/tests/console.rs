//! Tests consoles: interactive terminals on a device.

use std::time::{Duration, Instant};

use netssh_core::{Console, Endpoint, Jump, SecretString};
use test_devices::Linux;

use crate::support::{endpoint, wait_for_sessions, within};

/// Reads until `text` arrives.
pub(crate) async fn read_until(console: &mut Console, text: &str) -> String {
    let mut seen = String::new();
    let reading = async {
        while !seen.contains(text) {
            let bytes = console.read().await.unwrap();
            let bytes = bytes.unwrap_or_else(|| panic!("closed before {text:?}: {seen:?}"));
            seen.push_str(&String::from_utf8_lossy(&bytes));
        }
    };
    within(Duration::from_secs(10), reading).await;
    seen
}

async fn open(endpoint: &Endpoint) -> Console {
    Console::open(endpoint, "xterm-256color", 91, 37)
        .await
        .unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn has_the_given_terminal_and_changes_its_size() {
    let mut console = open(&endpoint(&test_devices::linux().ssh, "linux")).await;
    console.write(b"echo [$TERM] $(stty size)\n").await.unwrap();
    read_until(&mut console, "[xterm-256color] 37 91").await;
    console.resize(120, 50).await.unwrap();
    console.write(b"stty size\n").await.unwrap();
    read_until(&mut console, "50 120").await;
    console.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_arrive_as_they_are_and_the_end_is_seen() {
    let host = tokio::task::block_in_place(Linux::start);
    let mut console = open(&endpoint(&host.ssh, "linux")).await;
    // The terminal echoes each key, and `cat` prints it.
    console.write(b"echo rea''dy; cat -v\n").await.unwrap();
    read_until(&mut console, "ready").await;
    console.write(b"\x1b[A\n").await.unwrap();
    read_until(&mut console, "^[[A\r\n^[[A\r\n").await;
    // Ctrl-C ends `cat`.
    console.write(b"\x03").await.unwrap();
    read_until(&mut console, "$ ").await;
    console.write(b"echo back''again\n").await.unwrap();
    read_until(&mut console, "backagain").await;
    console.write(b"exit\n").await.unwrap();
    let ending = async { while console.read().await.unwrap().is_some() {} };
    within(Duration::from_secs(5), ending).await;
    assert_eq!(console.read().await.unwrap(), None);
    within(Duration::from_secs(2), console.close()).await;
    wait_for_sessions(&host.ssh, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn reading_can_be_cancelled_without_loss() {
    let mut console = open(&endpoint(&test_devices::linux().ssh, "linux")).await;
    console
        .write(b"echo; seq -s, 1 20000; echo d''one\n")
        .await
        .unwrap();
    let mut seen = String::new();
    let deadline = Instant::now() + Duration::from_secs(10);
    while !seen.contains("done") {
        assert!(Instant::now() < deadline, "{}", seen.len());
        // Drops the read at every other poll.
        tokio::select! {
            biased;
            () = tokio::task::yield_now() => {}
            bytes = console.read() => {
                seen.push_str(&String::from_utf8_lossy(&bytes.unwrap().unwrap()));
            }
        }
        tokio::select! {
            biased;
            bytes = console.read() => {
                seen.push_str(&String::from_utf8_lossy(&bytes.unwrap().unwrap()));
            }
            () = tokio::task::yield_now() => {}
        }
    }
    let numbers: Vec<u32> = seen
        .lines()
        .find(|line| line.ends_with(",20000"))
        .unwrap()
        .split(',')
        .filter_map(|number| number.parse().ok())
        .collect();
    assert_eq!(numbers.len(), 20_000);
    console.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn through_a_jump_host_that_dies() {
    let bastion = tokio::task::block_in_place(Linux::start);
    let mut endpoint = endpoint(&test_devices::linux().ssh, "linux");
    let mut jump = Jump::new(&bastion.ssh.host, &bastion.ssh.username);
    jump.port = bastion.ssh.port;
    jump.credentials.password = Some(SecretString::from(bastion.ssh.password.as_str()));
    endpoint.jumps.push(jump);
    let mut console = open(&endpoint).await;
    console.write(b"echo re''ady\n").await.unwrap();
    read_until(&mut console, "ready").await;
    bastion.ssh.kill_sessions();
    let error = within(Duration::from_secs(2), async {
        loop {
            if let Err(error) = console.read().await {
                return error;
            }
        }
    })
    .await;
    assert_eq!(error.code(), "disconnected");
    assert!(error.to_string().contains("jump host"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_device_that_gives_no_terminal_is_an_error() {
    let host = tokio::task::block_in_place(|| {
        Linux::start_with(&test_devices::LinuxOptions {
            sshd_config: "PermitTTY no\n".into(),
            ..test_devices::LinuxOptions::default()
        })
    });
    let mut console = open(&endpoint(&host.ssh, "linux")).await;
    let error = within(Duration::from_secs(5), console.read())
        .await
        .unwrap_err();
    assert_eq!(error.code(), "protocol");
}
