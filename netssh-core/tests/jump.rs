//! Tests connections through jump hosts, all of them real.

use std::time::{Duration, Instant};

use netssh_core::{Endpoint, Error, Fault, HostKey, Jump, SecretString, Session};
use test_devices::{Linux, LinuxOptions, Sshd};
use tokio::net::TcpListener;

use crate::support::{endpoint, wait_for_sessions, within};

fn start(sshd_config: &str) -> Linux {
    tokio::task::block_in_place(|| {
        Linux::start_with(&LinuxOptions {
            sshd_config: sshd_config.into(),
            ..LinuxOptions::default()
        })
    })
}

fn jump(ssh: &Sshd) -> Jump {
    let mut jump = Jump::new(&ssh.host, &ssh.username);
    jump.port = ssh.port;
    jump.credentials.password = Some(SecretString::from(ssh.password.as_str()));
    jump
}

fn through(jumps: &[&Sshd], device: &Sshd) -> Endpoint {
    let mut endpoint = endpoint(device, "linux");
    endpoint.jumps = jumps.iter().map(|ssh| jump(ssh)).collect();
    endpoint
}

async fn refused(endpoint: &Endpoint) -> Error {
    let connecting = within(Duration::from_secs(8), Session::connect(endpoint));
    connecting.await.unwrap_err()
}

#[tokio::test(flavor = "multi_thread")]
async fn through_a_host_that_forwards_to_this_device_only() {
    let device = &test_devices::linux().ssh;
    let bastion = start(&format!(
        "PermitTTY no\nForceCommand /bin/false\nPermitOpen 127.0.0.1:{}\n",
        device.port
    ));
    let endpoint = through(&[&bastion.ssh], device);
    let mut session = Session::connect(&endpoint).await.unwrap();
    assert_eq!(
        session.exec("id -un").await.unwrap().output,
        device.username
    );
    assert_eq!(bastion.ssh.open_sessions(), 1);
    // Large output passes through as well.
    let reply = session.exec("seq 1 100000").await.unwrap();
    assert!(reply.output.ends_with("99999\n100000"));
    session.close().await;
    wait_for_sessions(&bastion.ssh, 0);
    // Dropping the session also closes both connections.
    drop(Session::connect(&endpoint).await.unwrap());
    wait_for_sessions(&bastion.ssh, 0);
    // Another device is not permitted, and the error names the host that refuses.
    let other = start("");
    let error = refused(&through(&[&bastion.ssh], &other.ssh)).await;
    assert_eq!(error.fault(), Fault::Network);
    let text = error.to_string();
    assert!(text.contains("forwarding is not allowed"), "{text}");
    assert!(text.contains(&format!("jump host 127.0.0.1:{}", bastion.ssh.port)));
    assert!(text.contains(&format!("127.0.0.1:{}", other.ssh.port)));
}

#[tokio::test(flavor = "multi_thread")]
async fn through_two_hosts_each_with_its_own_user() {
    let (first, second) = (start(""), start(""));
    let device = &test_devices::frr().ssh;
    let mut endpoint = through(&[&first.ssh, &second.ssh], device);
    endpoint.platform = netssh_core::Platform::named("frr").unwrap();
    let mut session = Session::connect(&endpoint).await.unwrap();
    let reply = session.exec("show running-config").await.unwrap();
    assert!(reply.output.contains("router bgp 65001"));
    session.close().await;
    wait_for_sessions(&first.ssh, 0);
    wait_for_sessions(&second.ssh, 0);
    for host in [&first, &second] {
        assert_eq!(host.ssh.accepted_logins(), 1);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_that_forbids_forwarding() {
    let bastion = start("AllowTcpForwarding no\n");
    let error = refused(&through(&[&bastion.ssh], &test_devices::linux().ssh)).await;
    assert_eq!(error.code(), "network");
    assert!(
        error.to_string().contains("forwarding is not allowed"),
        "{error}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_device_that_the_host_cannot_reach() {
    let bastion = start("");
    let mut endpoint = through(&[&bastion.ssh], &test_devices::linux().ssh);
    // No server listens on this port.
    endpoint.port = 1;
    let error = refused(&endpoint).await;
    assert_eq!(error.code(), "network");
    assert!(
        error
            .to_string()
            .contains("failed to connect to 127.0.0.1:1"),
        "{error}"
    );
    assert!(error.to_string().contains("jump host"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_password_at_the_host_names_the_host() {
    let bastion = start("");
    let mut endpoint = through(&[&bastion.ssh], &test_devices::linux().ssh);
    endpoint.jumps[0].credentials.password = Some(SecretString::from("wrong"));
    let error = refused(&endpoint).await;
    assert_eq!(error.code(), "authentication");
    let expected = format!(
        "jump host 127.0.0.1:{} refused user {} with this password",
        bastion.ssh.port, bastion.ssh.username
    );
    assert!(error.to_string().starts_with(&expected), "{error}");
    wait_for_sessions(&bastion.ssh, 0);
    assert_eq!(bastion.ssh.failed_passwords(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_changed_key_at_the_host_names_the_host() {
    let bastion = start("");
    let endpoint = through(&[&bastion.ssh], &test_devices::linux().ssh);
    let other = HostKey::parse(&test_devices::linux().ssh.host_key).unwrap();
    endpoint.jumps[0]
        .host_keys
        .remember(&bastion.ssh.host, bastion.ssh.port, &other)
        .await
        .unwrap();
    let error = refused(&endpoint).await;
    assert_eq!(error.code(), "host_key");
    let text = error.to_string();
    assert!(text.contains(&format!("jump host 127.0.0.1:{}", bastion.ssh.port)));
    assert!(text.contains(&other.fingerprint), "{text}");
    assert!(text.contains(&bastion.ssh.host_key_fingerprint), "{text}");
    assert_eq!(bastion.ssh.accepted_logins(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_that_dies_in_mid_command_is_noticed_at_once() {
    let bastion = start("");
    let endpoint = through(&[&bastion.ssh], &test_devices::linux().ssh);
    let mut session = Session::connect(&endpoint).await.unwrap();
    let mark = test_devices::linux().ssh.home().join("jump-mark");
    let command = format!("echo before; touch {}; sleep 30", mark.display());
    let (error, killed) =
        tokio::join!(async { session.exec(&command).await.unwrap_err() }, async {
            tokio::task::block_in_place(|| {
                let deadline = Instant::now() + Duration::from_secs(10);
                while !mark.exists() {
                    assert!(Instant::now() < deadline, "the command does not run");
                    std::thread::yield_now();
                }
            });
            bastion.ssh.kill_sessions();
            Instant::now()
        });
    assert!(killed.elapsed() < Duration::from_secs(2));
    assert_eq!(error.code(), "disconnected");
    assert_eq!(error.partial(), Some("before"));
    assert!(error.to_string().contains("jump host"), "{error}");
    within(Duration::from_secs(2), session.close()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_connect_timeout_covers_the_whole_way_and_says_where_it_ended() {
    let bastion = start("");
    // A server that accepts connections and sends nothing.
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut endpoint = through(&[&bastion.ssh], &test_devices::linux().ssh);
    endpoint.port = silent.local_addr().unwrap().port();
    endpoint.timeouts.connect = Duration::from_millis(800);
    let started = Instant::now();
    let error = refused(&endpoint).await;
    assert!(started.elapsed() < Duration::from_secs(3));
    assert_eq!(error.code(), "timeout");
    assert!(
        error.to_string().contains(&format!(
            "connecting to 127.0.0.1:{} through jump host 127.0.0.1:{}",
            endpoint.port, bastion.ssh.port
        )),
        "{error}"
    );
    wait_for_sessions(&bastion.ssh, 0);
}
