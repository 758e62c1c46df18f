//! Devices that know nothing but old algorithms: OpenSSH, restricted.

use netssh_core::{Algorithms, Endpoint, SecretString, Session};
use test_devices::{Linux, LinuxOptions};

use crate::support::endpoint;

const HINT: &str = "set algorithms to legacy";

fn start(sshd_config: &str, host_key: &[&'static str]) -> Linux {
    tokio::task::block_in_place(|| {
        Linux::start_with(&LinuxOptions {
            sshd_config: sshd_config.into(),
            host_keys: vec![host_key.to_vec()],
            ..LinuxOptions::default()
        })
    })
}

async fn works(endpoint: &Endpoint) {
    let mut session = Session::connect(endpoint).await.unwrap();
    assert_eq!(session.exec("echo hello").await.unwrap().output, "hello");
    session.close().await;
}

/// Refused by default, with a hint; fine when switched on.
async fn needs_legacy(sshd_config: &str, host_key: &[&'static str], code: &str) {
    let host = start(sshd_config, host_key);
    let mut endpoint = endpoint(&host.ssh, "linux");
    let error = Session::connect(&endpoint).await.unwrap_err();
    assert_eq!(error.code(), code, "{sshd_config}: {error}");
    assert!(error.to_string().contains(HINT), "{sshd_config}: {error}");
    endpoint.algorithms = Algorithms::Legacy;
    works(&endpoint).await;
}

const ED25519: &[&str] = &["-t", "ed25519"];
const RSA: &[&str] = &["-t", "rsa", "-b", "2048"];

#[tokio::test(flavor = "multi_thread")]
async fn old_key_exchanges() {
    for kex in [
        "diffie-hellman-group1-sha1",
        "diffie-hellman-group14-sha1",
        "diffie-hellman-group-exchange-sha1",
    ] {
        needs_legacy(&format!("KexAlgorithms {kex}\n"), ED25519, "protocol").await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn old_ciphers() {
    for cipher in [
        "aes128-cbc",
        "aes192-cbc",
        "aes256-cbc",
        "3des-cbc",
        "aes128-gcm@openssh.com",
    ] {
        needs_legacy(&format!("Ciphers {cipher}\n"), ED25519, "protocol").await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn old_macs() {
    for mac in ["hmac-sha1", "hmac-sha1-etm@openssh.com"] {
        // With a cipher that needs one.
        let config = format!("Ciphers aes128-ctr\nMACs {mac}\n");
        needs_legacy(&config, ED25519, "protocol").await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn host_keys_with_sha_1_signatures() {
    needs_legacy("HostKeyAlgorithms ssh-rsa\n", RSA, "protocol").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn host_keys_of_1024_bits() {
    let key = &["-t", "rsa", "-b", "1024"];
    needs_legacy("RequiredRSASize 1024\n", key, "host_key").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_whole_of_a_very_old_device() {
    needs_legacy(
        "KexAlgorithms diffie-hellman-group1-sha1\nCiphers 3des-cbc\nMACs hmac-sha1\n\
         HostKeyAlgorithms ssh-rsa\nRequiredRSASize 1024\n",
        &["-t", "rsa", "-b", "1024"],
        "protocol",
    )
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn rsa_keys_of_users_with_sha_1_signatures() {
    let host = start("PubkeyAcceptedAlgorithms ssh-rsa\n", ED25519);
    let mut endpoint = endpoint(&host.ssh, "linux");
    endpoint.credentials.password = None;
    endpoint.credentials.private_key = Some(SecretString::from(host.ssh.rsa_private_key.as_str()));
    let error = Session::connect(&endpoint).await.unwrap_err();
    assert_eq!(error.code(), "authentication");
    endpoint.algorithms = Algorithms::Legacy;
    works(&endpoint).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn legacy_keeps_the_best_that_both_know() {
    // Also to a host that knows everything, with its own order.
    let mut endpoint = endpoint(&test_devices::linux().ssh, "linux");
    endpoint.algorithms = Algorithms::Legacy;
    works(&endpoint).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn no_hint_where_legacy_would_not_help() {
    let host = start(
        "KexAlgorithms sntrup761x25519-sha512@openssh.com\n",
        ED25519,
    );
    let mut endpoint = endpoint(&host.ssh, "linux");
    for algorithms in [Algorithms::Default, Algorithms::Legacy] {
        endpoint.algorithms = algorithms;
        let error = Session::connect(&endpoint).await.unwrap_err();
        assert_eq!(error.code(), "protocol");
        let text = error.to_string();
        assert!(text.contains("sntrup761") && !text.contains(HINT), "{text}");
    }
}
