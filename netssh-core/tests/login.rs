//! Logging in: every kind of credential, and wrong ones.

use std::time::{Duration, Instant};

use netssh_core::{Endpoint, Fault, SecretString, Session};
use test_devices::{Linux, LinuxOptions};

use crate::support::{endpoint, wait_for_sessions, within};

async fn works(endpoint: &Endpoint) {
    let mut session = Session::connect(endpoint).await.unwrap();
    assert_eq!(
        session.exec("id -un").await.unwrap().output,
        endpoint.username
    );
    session.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn with_each_kind_of_key() {
    let ssh = &test_devices::linux().ssh;
    for (key, passphrase) in [
        (&ssh.private_key, None),
        (&ssh.rsa_private_key, None),
        (&ssh.ecdsa_private_key, None),
        (&ssh.encrypted_private_key, Some(&ssh.passphrase)),
    ] {
        let mut endpoint = endpoint(ssh, "linux");
        endpoint.credentials.password = None;
        endpoint.credentials.private_key = Some(SecretString::from(key.as_str()));
        endpoint.credentials.passphrase = passphrase.map(|text| SecretString::from(text.as_str()));
        works(&endpoint).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn with_the_password_when_the_key_is_refused() {
    let mut endpoint = endpoint(&test_devices::linux().ssh, "linux");
    let other = tokio::task::block_in_place(Linux::start);
    endpoint.credentials.private_key = Some(SecretString::from(other.ssh.private_key.as_str()));
    works(&endpoint).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn with_keyboard_interactive() {
    let host = tokio::task::block_in_place(|| {
        Linux::start_with(&LinuxOptions {
            keyboard_interactive: true,
            ..LinuxOptions::default()
        })
    });
    works(&endpoint(&host.ssh, "linux")).await;
    let mut wrong = endpoint(&host.ssh, "linux");
    wrong.credentials.password = Some(SecretString::from("wrong"));
    let error = within(Duration::from_secs(8), Session::connect(&wrong))
        .await
        .unwrap_err();
    assert_eq!(error.code(), "authentication", "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_password_is_tried_once_and_fails_within_seconds() {
    let host = tokio::task::block_in_place(Linux::start);
    let mut endpoint = endpoint(&host.ssh, "linux");
    endpoint.credentials.password = Some(SecretString::from("not the password"));
    let started = Instant::now();
    let error = Session::connect(&endpoint).await.unwrap_err();
    assert!(started.elapsed() < Duration::from_secs(5));
    assert_eq!(
        (error.code(), error.fault()),
        ("authentication", Fault::Credentials)
    );
    let text = error.to_string();
    assert!(
        text.contains(&endpoint.username) && text.contains("password"),
        "{text}"
    );
    assert!(!text.contains("not the password"));
    wait_for_sessions(&host.ssh, 0);
    // sshd writes its log a little later.
    within(Duration::from_secs(5), async {
        while host.ssh.failed_passwords() == 0 {
            tokio::task::yield_now().await;
        }
    })
    .await;
    assert_eq!(host.ssh.failed_passwords(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_cannot_be_read_says_why() {
    let ssh = &test_devices::linux().ssh;
    let mut endpoint = endpoint(ssh, "linux");
    endpoint.credentials.password = None;
    for (key, passphrase, hint) in [
        (ssh.encrypted_private_key.as_str(), None, "passphrase"),
        (
            ssh.encrypted_private_key.as_str(),
            Some("wrong"),
            "passphrase",
        ),
        ("no key at all", None, "cannot be read"),
    ] {
        endpoint.credentials.private_key = Some(SecretString::from(key));
        endpoint.credentials.passphrase = passphrase.map(SecretString::from);
        let error = Session::connect(&endpoint).await.unwrap_err();
        assert_eq!(error.code(), "authentication");
        assert!(error.to_string().contains(hint), "{error}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn without_credentials_nothing_is_tried() {
    let mut endpoint = endpoint(&test_devices::linux().ssh, "linux");
    endpoint.credentials.password = None;
    assert_eq!(
        Session::connect(&endpoint).await.unwrap_err().code(),
        "invalid"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn debug_output_shows_no_secret() {
    let ssh = &test_devices::linux().ssh;
    let mut endpoint = endpoint(ssh, "linux");
    endpoint.credentials.private_key = Some(SecretString::from(ssh.private_key.as_str()));
    endpoint.enable_secret = Some(SecretString::from("enable me"));
    let text = format!("{endpoint:?}");
    assert!(!text.contains(&ssh.password) && !text.contains("PRIVATE KEY"));
    assert!(!text.contains("enable me"));
}

#[tokio::test(flavor = "multi_thread")]
async fn sessions_leave_nothing_behind() {
    let host = tokio::task::block_in_place(Linux::start);
    let endpoint = endpoint(&host.ssh, "linux");
    for _ in 0..5 {
        let mut session = Session::connect(&endpoint).await.unwrap();
        session.exec("true").await.unwrap();
        session.close().await;
        // Dropped without a close: the connection goes all the same.
        drop(Session::connect(&endpoint).await.unwrap());
    }
    wait_for_sessions(&host.ssh, 0);
}
