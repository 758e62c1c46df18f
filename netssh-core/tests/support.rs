//! Endpoints for the test devices.

use std::future::Future;
use std::sync::LazyLock;
use std::time::Duration;

use netssh_core::{Endpoint, Platform, SecretString, Session};
use regex::Regex;
use test_devices::Sshd;

/// Returns an endpoint for a device, with its password.
pub(crate) fn endpoint(ssh: &Sshd, platform: &str) -> Endpoint {
    let platform = Platform::named(platform).expect("a built-in platform");
    let mut endpoint = Endpoint::new(&ssh.host, &ssh.username, platform);
    endpoint.port = ssh.port;
    endpoint.credentials.password = Some(SecretString::from(ssh.password.as_str()));
    endpoint
}

pub(crate) async fn linux() -> Session {
    let endpoint = endpoint(&test_devices::linux().ssh, "linux");
    Session::connect(&endpoint).await.expect("a session")
}

pub(crate) async fn frr() -> Session {
    let endpoint = endpoint(&test_devices::frr().ssh, "frr");
    Session::connect(&endpoint).await.expect("a session")
}

/// Replaces the ages of routes in an output, which change every second.
pub(crate) fn ageless(output: &str) -> String {
    static AGE: LazyLock<Regex> = LazyLock::new(|| Regex::new(r"\d\d:\d\d:\d\d").unwrap());
    AGE.replace_all(output, "AGE").into_owned()
}

/// Fails if `future` takes longer than `limit`, which only a hanging one does.
pub(crate) async fn within<F: Future>(limit: Duration, future: F) -> F::Output {
    tokio::time::timeout(limit, future)
        .await
        .unwrap_or_else(|_| panic!("not within {limit:?}"))
}

/// Waits, off the async threads, until the device has this number of sessions.
pub(crate) fn wait_for_sessions(ssh: &Sshd, count: usize) {
    tokio::task::block_in_place(|| ssh.wait_for_sessions(count));
}
