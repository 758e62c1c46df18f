//! Tests host keys against a real server.

use std::os::unix::fs::PermissionsExt;
use std::sync::Arc;

use netssh_core::{
    Endpoint, Error, HostKey, HostKeyPolicy, KnownHostsFile, MemoryHostKeys, Session,
};

use test_devices::{Authority, Linux, LinuxOptions};

use crate::support::{endpoint, wait_for_sessions};

const OTHER: &str =
    "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJdD7y3aLq454yWBdwLWbieU1ebz9/cu7/QEXn9OIeZJ";

fn device() -> Endpoint {
    endpoint(&test_devices::linux().ssh, "linux")
}

async fn refused(endpoint: &Endpoint) -> String {
    let error = Session::connect(endpoint).await.unwrap_err();
    assert!(matches!(error, Error::HostKey { .. }), "{error}");
    error.to_string()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_key_is_remembered() {
    let ssh = &test_devices::linux().ssh;
    let endpoint = device();
    Session::connect(&endpoint).await.unwrap().close().await;
    let known = endpoint
        .host_keys
        .lookup(&ssh.host, ssh.port)
        .await
        .unwrap();
    assert_eq!(known.len(), 1);
    assert_eq!(known[0].fingerprint, ssh.host_key_fingerprint);
    assert_eq!(known[0].key, ssh.host_key);
    Session::connect(&endpoint).await.unwrap().close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn strict_refuses_an_unknown_key_and_takes_a_known_one() {
    let ssh = &test_devices::linux().ssh;
    let mut endpoint = device();
    endpoint.host_key_policy = HostKeyPolicy::Strict;
    assert!(refused(&endpoint).await.contains(&ssh.host_key_fingerprint));
    let key = HostKey::parse(&ssh.host_key).unwrap();
    endpoint
        .host_keys
        .remember(&ssh.host, ssh.port, &key)
        .await
        .unwrap();
    Session::connect(&endpoint).await.unwrap().close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_changed_key_shows_both_fingerprints() {
    let ssh = &test_devices::linux().ssh;
    let endpoint = Endpoint {
        host_keys: Arc::new(MemoryHostKeys::default()),
        ..device()
    };
    let other = HostKey::parse(OTHER).unwrap();
    endpoint
        .host_keys
        .remember(&ssh.host, ssh.port, &other)
        .await
        .unwrap();
    let text = refused(&endpoint).await;
    assert!(text.contains(&other.fingerprint), "{text}");
    assert!(text.contains(&ssh.host_key_fingerprint), "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn insecure_takes_a_changed_key() {
    let ssh = &test_devices::linux().ssh;
    let mut endpoint = device();
    endpoint.host_key_policy = HostKeyPolicy::Insecure;
    let other = HostKey::parse(OTHER).unwrap();
    endpoint
        .host_keys
        .remember(&ssh.host, ssh.port, &other)
        .await
        .unwrap();
    Session::connect(&endpoint).await.unwrap().close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pinned_key_is_the_only_one() {
    let ssh = &test_devices::linux().ssh;
    for pinned in [&ssh.host_key_fingerprint, &ssh.host_key] {
        let mut endpoint = device();
        endpoint.host_key_policy = HostKeyPolicy::Strict;
        endpoint.pinned_host_key = Some(pinned.clone());
        Session::connect(&endpoint).await.unwrap().close().await;
    }
    let mut endpoint = device();
    endpoint.host_key_policy = HostKeyPolicy::Insecure;
    endpoint.pinned_host_key = Some(OTHER.into());
    let text = refused(&endpoint).await;
    assert!(text.contains(&ssh.host_key_fingerprint), "{text}");
    endpoint.pinned_host_key = Some("rubbish".into());
    assert!(refused(&endpoint).await.contains("invalid pinned host key"));
}

#[tokio::test(flavor = "multi_thread")]
async fn known_hosts_in_a_file_of_mode_0600() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("known_hosts");
    let mut endpoint = device();
    endpoint.host_keys = Arc::new(KnownHostsFile::new(&path));
    Session::connect(&endpoint).await.unwrap().close().await;
    assert_eq!(
        std::fs::metadata(&path).unwrap().permissions().mode() & 0o777,
        0o600
    );
    endpoint.host_key_policy = HostKeyPolicy::Strict;
    Session::connect(&endpoint).await.unwrap().close().await;
    assert_eq!(std::fs::read_to_string(&path).unwrap().lines().count(), 1);
}

fn start(options: &LinuxOptions) -> Linux {
    tokio::task::block_in_place(|| Linux::start_with(options))
}

fn known_hosts(lines: &str) -> (tempfile::TempDir, Arc<KnownHostsFile>) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("known_hosts");
    std::fs::write(&path, lines).unwrap();
    (directory, Arc::new(KnownHostsFile::new(path)))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pinned_fingerprint_of_a_key_that_is_not_the_first_choice() {
    let host = start(&LinuxOptions {
        // The expected fingerprint is that of the first key.
        host_keys: vec![
            vec!["-t", "rsa", "-b", "2048"],
            vec!["-t", "ecdsa"],
            vec!["-t", "ed25519"],
        ],
        ..LinuxOptions::default()
    });
    let mut endpoint = endpoint(&host.ssh, "linux");
    endpoint.pinned_host_key = Some(host.ssh.host_key_fingerprint.clone());
    Session::connect(&endpoint).await.unwrap().close().await;
    // A pin that matches no key fails after one attempt per key type.
    let other = HostKey::parse(OTHER).unwrap();
    endpoint.pinned_host_key = Some(other.fingerprint.clone());
    let text = refused(&endpoint).await;
    assert!(text.contains(&other.fingerprint), "{text}");
    assert!(text.contains("ssh-ed25519"), "{text}");
    wait_for_sessions(&host.ssh, 0);
    let connections = host.ssh.log();
    let connections = connections
        .iter()
        .filter(|line| line.starts_with("Connection from"))
        .count();
    // Three until the server presented the RSA key; three mismatches and one with no type left.
    assert_eq!(connections, 7);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_device_with_several_keys_shows_the_known_one() {
    let host = start(&LinuxOptions {
        host_keys: vec![vec!["-t", "rsa", "-b", "2048"], vec!["-t", "ed25519"]],
        ..LinuxOptions::default()
    });
    let mut endpoint = endpoint(&host.ssh, "linux");
    endpoint.host_key_policy = HostKeyPolicy::Strict;
    let key = HostKey::parse(&host.ssh.host_key).unwrap();
    assert_eq!(key.algorithm, "ssh-rsa");
    endpoint
        .host_keys
        .remember(&host.ssh.host, host.ssh.port, &key)
        .await
        .unwrap();
    Session::connect(&endpoint).await.unwrap().close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn hashed_names_as_openssh_writes_them() {
    let ssh = &test_devices::linux().ssh;
    let line = format!("[{}]:{} {}\n", ssh.host, ssh.port, ssh.host_key);
    let (directory, store) = known_hosts(&line);
    let hashed = std::process::Command::new("ssh-keygen")
        .args(["-q", "-H", "-f"])
        .arg(store.path())
        .output();
    assert!(hashed.unwrap().status.success());
    let text = std::fs::read_to_string(store.path()).unwrap();
    assert!(
        text.starts_with("|1|") && !text.contains(&ssh.host),
        "{text}"
    );
    let mut endpoint = device();
    endpoint.host_key_policy = HostKeyPolicy::Strict;
    endpoint.host_keys = store;
    Session::connect(&endpoint).await.unwrap().close().await;
    // Another port is another entry.
    let other = start(&LinuxOptions::default());
    endpoint.port = other.ssh.port;
    assert!(refused(&endpoint).await.contains("unknown host key"));
    drop(directory);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_revoked_key_is_refused_whatever_the_policy() {
    let ssh = &test_devices::linux().ssh;
    let name = format!("[{}]:{}", ssh.host, ssh.port);
    let (_directory, store) = known_hosts(&format!(
        "{name} {key}\n@revoked {name} {key}\n",
        key = ssh.host_key
    ));
    let mut endpoint = device();
    endpoint.host_keys = store;
    for policy in [
        HostKeyPolicy::Strict,
        HostKeyPolicy::AcceptNew,
        HostKeyPolicy::Insecure,
    ] {
        endpoint.host_key_policy = policy;
        assert!(refused(&endpoint).await.contains("revoked"));
    }
}

/// Connects to a host with a certificate made with `sign`. The client knows only an authority's key,
/// which is the right one if `known`.
async fn with_certificate(sign: Vec<&'static str>, known: bool) -> Result<(), String> {
    let authority = Arc::new(Authority::create());
    let host = start(&LinuxOptions {
        host_certificate: Some((Arc::clone(&authority), sign)),
        ..LinuxOptions::default()
    });
    let other = Authority::create();
    let authority = if known { &authority } else { &other };
    let (_directory, store) = known_hosts(&format!(
        "@cert-authority [127.0.0.*]:* {}\n",
        authority.public_key
    ));
    let mut endpoint = endpoint(&host.ssh, "linux");
    endpoint.host_keys = store;
    match Session::connect(&endpoint).await {
        Ok(session) => {
            session.close().await;
            Ok(())
        }
        Err(error) => {
            assert_eq!(error.code(), "host_key", "{error}");
            Err(error.to_string())
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_certificate_of_a_known_authority() {
    let valid = vec!["-h", "-n", "elsewhere,127.0.0.1"];
    with_certificate(valid.clone(), true).await.unwrap();
    with_certificate(vec!["-h", "-n", "127.0.*"], true)
        .await
        .unwrap();
    for (sign, known, expected) in [
        (valid, false, "not a known authority for this host"),
        (
            vec!["-h", "-n", "elsewhere"],
            true,
            "for elsewhere, not for",
        ),
        (
            vec!["-h", "-n", "127.0.0.1", "-V", "20010101:20020101"],
            true,
            "not valid now",
        ),
    ] {
        let text = with_certificate(sign, known).await.unwrap_err();
        assert!(text.contains(expected), "{text}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn names_are_the_same_in_any_case() {
    let ssh = &test_devices::linux().ssh;
    let mut endpoint = device();
    endpoint.host = "LocalHost".into();
    Session::connect(&endpoint).await.unwrap().close().await;
    for host in ["localhost", "LOCALHOST"] {
        let known = endpoint.host_keys.lookup(host, ssh.port).await.unwrap();
        assert_eq!(known.len(), 1);
    }
    let (_directory, store) = known_hosts("");
    endpoint.host_keys = store;
    Session::connect(&endpoint).await.unwrap().close().await;
    endpoint.host_key_policy = HostKeyPolicy::Strict;
    endpoint.host = "LOCALhost".into();
    Session::connect(&endpoint).await.unwrap().close().await;
}
