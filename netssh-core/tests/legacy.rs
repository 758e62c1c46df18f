//! Tests legacy algorithms: OpenSSH restricted to old ones.

use std::borrow::Cow;
use std::sync::Arc;

use netssh_core::{Algorithms, Endpoint, Platform, SecretString, Session};
use russh::client::GexParams;
use russh::kex::dh::groups::{DH_GROUP1, DhGroup};
use russh::keys::PrivateKey;
use russh::keys::ssh_key::private::Ed25519Keypair;
use russh::server::{self, Auth};
use russh::{Preferred, kex};
use test_devices::{Linux, LinuxOptions};
use tokio::net::TcpListener;

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

/// Asserts that the login is refused with a hint by default, and works with legacy algorithms.
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
        // With a cipher that needs a MAC.
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
    // Also for a host that supports all algorithms, in its own order of preference.
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

/// A device with a group exchange of 1,024 bits regardless of the request. It accepts any password
/// and opens no channel.
struct ShortGroup;

impl server::Handler for ShortGroup {
    type Error = russh::Error;

    async fn auth_password(&mut self, _: &str, _: &str) -> Result<Auth, russh::Error> {
        Ok(Auth::Accept)
    }

    async fn lookup_dh_gex_group(
        &mut self,
        _: &GexParams,
    ) -> Result<Option<DhGroup>, russh::Error> {
        Ok(Some(DH_GROUP1))
    }
}

/// Connects to such a device with these key exchanges, and returns the error.
async fn with_short_group(offered: &[kex::Name], algorithms: Algorithms) -> netssh_core::Error {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let config = Arc::new(server::Config {
        keys: vec![PrivateKey::from(Ed25519Keypair::from_seed(&[7; 32]))],
        preferred: Preferred {
            kex: Cow::Owned(offered.to_vec()),
            ..Preferred::default()
        },
        ..server::Config::default()
    });
    let serving = tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let session = server::run_stream(Arc::clone(&config), stream, ShortGroup).await;
            tokio::spawn(async move {
                if let Ok(session) = session {
                    let _ = session.await;
                }
            });
        }
    });
    let platform = Platform::named("linux").unwrap();
    let mut endpoint = Endpoint::new("127.0.0.1", "admin", platform);
    endpoint.port = address.port();
    endpoint.credentials.password = Some(SecretString::from("secret"));
    endpoint.algorithms = algorithms;
    let error = Session::connect(&endpoint).await.unwrap_err();
    serving.abort();
    error
}

#[tokio::test(flavor = "multi_thread")]
async fn a_group_that_is_too_short_gives_way_to_a_fixed_one() {
    for (offered, algorithms) in [
        (
            [kex::DH_GEX_SHA256, kex::DH_G14_SHA256],
            Algorithms::Default,
        ),
        ([kex::DH_GEX_SHA256, kex::DH_G14_SHA256], Algorithms::Legacy),
        ([kex::DH_GEX_SHA1, kex::DH_G14_SHA1], Algorithms::Legacy),
        ([kex::DH_GEX_SHA1, kex::DH_G1_SHA1], Algorithms::Legacy),
    ] {
        let error = with_short_group(&offered, algorithms).await.to_string();
        assert!(
            error.contains("failed to open a channel"),
            "{offered:?}: {error}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_group_that_is_too_short_is_named_where_there_is_no_other() {
    let short = "the group exchange failed: expected a group of at least 2048 bits";
    for (offered, algorithms, hint) in [
        (
            vec![kex::DH_GEX_SHA256],
            Algorithms::Default,
            "configure a longer group",
        ),
        (
            vec![kex::DH_GEX_SHA1],
            Algorithms::Legacy,
            "configure a longer group",
        ),
        (
            vec![kex::DH_GEX_SHA256, kex::DH_G1_SHA1],
            Algorithms::Default,
            HINT,
        ),
    ] {
        let error = with_short_group(&offered, algorithms).await;
        assert_eq!(error.code(), "protocol", "{offered:?}: {error}");
        let error = error.to_string();
        assert!(error.contains(short) && error.contains(hint), "{error}");
    }
}
