//! Host keys against a real server.

use std::os::unix::fs::PermissionsExt;
use std::sync::Arc;

use netssh_core::{
    Endpoint, Error, HostKey, HostKeyPolicy, KnownHostsFile, MemoryHostKeys, Session,
};

use crate::support::endpoint;

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
    assert!(refused(&endpoint).await.contains("cannot be read"));
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
