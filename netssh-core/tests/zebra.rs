//! Tests zebra's own command line, reached by telnet: a login password and an enable secret.

use std::sync::Arc;

use netssh_core::{Answer, Endpoint, Pattern, Pool, PoolOptions, SecretString, Session};
use test_devices::Zebra;

use crate::support::endpoint;

/// Returns an endpoint; zebra's question has its own answer, because the SSH login has another
/// password.
fn of(zebra: &Zebra, password: &str, secret: Option<&str>) -> Endpoint {
    let mut endpoint = endpoint(&zebra.ssh, "frr");
    let question = Pattern::new("^Password: ?$").unwrap();
    endpoint.credentials.answers = vec![Answer::new(question, password)];
    endpoint.enable_secret = secret.map(SecretString::from);
    endpoint
}

#[tokio::test(flavor = "multi_thread")]
async fn a_whole_session() {
    let zebra = tokio::task::block_in_place(Zebra::start);
    let endpoint = of(&zebra, &zebra.password, Some(&zebra.enable_secret));
    let mut session = Session::connect(&endpoint).await.unwrap();
    assert_eq!(session.prompt(), "edge2#");
    let version = session.exec("show version").await.unwrap();
    assert!(
        version.output.starts_with("FRRouting "),
        "{}",
        version.output
    );
    let refused = session.exec("show nonsense").await.unwrap();
    let unknown = |command: &str| Some(format!("% [ZEBRA] Unknown command: {command}"));
    assert_eq!(refused.failure, unknown("show nonsense"));

    let mut configuration = session.configuration().await.unwrap();
    for line in ["interface lo", "description edge2#"] {
        assert!(
            configuration.line(line).await.unwrap().is_success(),
            "{line}"
        );
    }
    let refused = configuration.line("nonsense").await.unwrap();
    assert_eq!(refused.failure, unknown("nonsense"));
    configuration.leave().await.unwrap();
    assert_eq!(session.prompt(), "edge2#");
    let running = session.exec("show running-config").await.unwrap().output;
    assert!(running.contains("\n description edge2#\n"), "{running}");
    assert!(running.ends_with("\nend"), "{running}");
    session.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_secret_it_stays_with_the_user() {
    let zebra = tokio::task::block_in_place(Zebra::start);
    let endpoint = of(&zebra, &zebra.password, None);
    let mut session = Session::connect(&endpoint).await.unwrap();
    assert_eq!(session.prompt(), "edge2>");
    let refused = session.configuration().await.unwrap_err();
    assert_eq!(refused.code(), "refused");
    assert_eq!(session.exec("show version").await.unwrap().failure, None);
    session.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_secrets_are_given_once() {
    let zebra = tokio::task::block_in_place(Zebra::start);
    for (endpoint, words) in [
        (of(&zebra, "wrong", None), "at login"),
        (of(&zebra, &zebra.password, Some("wrong")), "enable secret"),
    ] {
        let error = Session::connect(&endpoint).await.unwrap_err();
        assert_eq!(error.code(), "authentication", "{error}");
        assert!(error.to_string().contains(words), "{error}");
        assert!(!error.to_string().contains(&zebra.password), "{error}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_is_given_to_the_next_user() {
    let zebra = tokio::task::block_in_place(Zebra::start);
    let pool = Pool::new(PoolOptions::default());
    let endpoint = of(&zebra, &zebra.password, Some(&zebra.enable_secret));
    for reused in [false, true] {
        let mut session = pool.open(&endpoint).await.unwrap();
        assert_eq!(session.is_reused(), reused);
        assert!(Arc::ptr_eq(session.platform(), &endpoint.platform));
        session.exec("show version").await.unwrap();
        session.release().await;
    }
    assert_eq!(zebra.ssh.accepted_logins(), 1);
    pool.close().await;
}
