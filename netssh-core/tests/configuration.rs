//! Tests configuration mode on FRR: it is entered, and always left, also after errors.

use std::time::Duration;

use netssh_core::Session;
use test_devices::Frr;

use crate::support::{endpoint, frr, wait_for_sessions, within};

/// Opens a session with a router of its own, for a test that changes its configuration.
async fn with_own_router() -> (Frr, Session) {
    let router = tokio::task::block_in_place(Frr::start);
    let session = Session::connect(&endpoint(&router.ssh, "frr"))
        .await
        .unwrap();
    (router, session)
}

#[tokio::test(flavor = "multi_thread")]
async fn lines_reach_the_running_configuration() {
    let (router, mut session) = with_own_router().await;
    let mut configuration = session.configuration().await.unwrap();
    assert_eq!(configuration.prompt(), "edge1(config)#");
    for line in ["interface lo", "description why? because!", "exit"] {
        let reply = configuration.line(line).await.unwrap();
        assert_eq!((reply.failure, reply.output.as_str()), (None, ""), "{line}");
    }
    configuration.leave().await.unwrap();
    assert_eq!(session.prompt(), "edge1#");
    assert!(
        router
            .running_config()
            .contains("description why? because!")
    );
    session.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_line_is_reported_and_the_mode_left() {
    let (_router, mut session) = with_own_router().await;
    let mut configuration = session.configuration().await.unwrap();
    let reply = configuration.line("nonsense here").await.unwrap();
    assert_eq!(
        reply.failure.as_deref(),
        Some("% Unknown command: nonsense here")
    );
    assert!(
        configuration
            .line("route-map x permit 10")
            .await
            .unwrap()
            .is_success()
    );
    configuration.leave().await.unwrap();
    assert!(session.exec("show version").await.unwrap().is_success());
    assert_eq!(session.prompt(), "edge1#");
    session.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_host_name_may_change_on_the_way() {
    let (_router, mut session) = with_own_router().await;
    let mut configuration = session.configuration().await.unwrap();
    configuration.line("hostname core-7.example").await.unwrap();
    assert_eq!(configuration.prompt(), "core-7.example(config)#");
    configuration.leave().await.unwrap();
    assert_eq!(session.prompt(), "core-7.example#");
    assert!(session.exec("show version").await.unwrap().is_success());
    session.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_description_equal_to_the_prompt() {
    let (router, mut session) = with_own_router().await;
    let mut configuration = session.configuration().await.unwrap();
    for line in ["interface eth0", "description edge1(config-if)# ", "exit"] {
        assert!(
            configuration.line(line).await.unwrap().is_success(),
            "{line}"
        );
    }
    let reply = configuration.line("do show running-config").await.unwrap();
    assert!(reply.output.contains("description edge1(config-if)#"));
    assert!(reply.output.trim_end().ends_with("end"));
    configuration.leave().await.unwrap();
    let shown = session.exec("show running-config").await.unwrap().output;
    assert_eq!(shown, router.running_config().trim_end_matches('\n'));
    session.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dropped_configuration_is_left_before_the_next_command() {
    let mut session = frr().await;
    let mut configuration = session.configuration().await.unwrap();
    configuration.line("interface lo").await.unwrap();
    assert!(session.exec("show version").await.unwrap().is_success());
    assert_eq!(session.prompt(), "edge1#");
    session.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn leaving_by_a_line_is_noticed() {
    let mut session = frr().await;
    let mut configuration = session.configuration().await.unwrap();
    configuration.line("end").await.unwrap();
    configuration.leave().await.unwrap();
    assert!(session.exec("show version").await.unwrap().is_success());
    session.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cancelled_line_and_close_leave_nothing_open() {
    let (router, mut session) = with_own_router().await;
    let mut configuration = session.configuration().await.unwrap();
    {
        // Sent, and dropped before the answer can arrive.
        let line = configuration.line("interface lo");
        tokio::select! {
            biased;
            _ = line => panic!("answered at once"),
            // `line` is polled once: on a busy machine, a second poll might see the answer.
            () = std::future::ready(()) => {}
        }
    }
    assert!(!session.is_usable());
    assert!(session.exec("show version").await.is_err());
    within(Duration::from_secs(2), session.close()).await;
    wait_for_sessions(&router.ssh, 0);

    let mut next = Session::connect(&endpoint(&router.ssh, "frr"))
        .await
        .unwrap();
    let mut configuration = next.configuration().await.unwrap();
    assert!(
        configuration
            .line("interface lo")
            .await
            .unwrap()
            .is_success()
    );
    configuration.leave().await.unwrap();
    next.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn saving_is_the_platforms_command() {
    let (_router, mut session) = with_own_router().await;
    let reply = session.save().await.unwrap();
    assert_eq!(reply.command, "write memory");
    assert!(session.exec("show version").await.unwrap().is_success());
    session.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn platforms_without_it_say_so() {
    let mut session = crate::support::linux().await;
    assert_eq!(
        session.configuration().await.unwrap_err().code(),
        "unsupported"
    );
    assert_eq!(session.save().await.unwrap_err().code(), "unsupported");
    assert!(session.exec("true").await.unwrap().is_success());
    session.close().await;
}
