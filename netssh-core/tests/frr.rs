//! Tests FRR: complete output, whatever it contains.

use std::sync::Arc;
use std::time::Duration;

use netssh_core::Session;
use test_devices::{Frr, FrrOptions};

use crate::support::{ageless, endpoint, frr, within};

#[tokio::test(flavor = "multi_thread")]
async fn shows_are_what_vtysh_prints_beside_the_session() {
    let router = test_devices::frr();
    let mut session = frr().await;
    assert_eq!(session.prompt(), "edge1#");
    for command in [
        "show version",
        "show interface brief",
        "show ip route",
        "show bgp summary",
    ] {
        let reply = session.exec(command).await.unwrap();
        let expected = router.vtysh(&[command]);
        assert_eq!(
            ageless(&reply.output),
            ageless(expected.strip_suffix('\n').unwrap_or(&expected)),
            "{command}"
        );
        assert_eq!(reply.command, command);
    }
    session.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_configuration_with_hostile_descriptions_is_whole() {
    let router = test_devices::Frr::start();
    let expected = router.running_config();
    for hostile in ["edge1#", "--More--", "% Unknown command: edge1>"] {
        assert!(expected.contains(hostile));
    }
    let mut session = netssh_core::Session::connect(&crate::support::endpoint(&router.ssh, "frr"))
        .await
        .unwrap();
    for _ in 0..20 {
        let reply = session.exec("show running-config").await.unwrap();
        assert_eq!(reply.output, expected.trim_end_matches('\n'));
        assert_eq!(reply.failure, None);
    }
    session.close().await;
}

/// Removes blanks and empty lines: `more` overwrites its mark with blanks to the mark's end, and
/// fills the last page with empty lines.
fn without_blanks(text: &str) -> String {
    let lines = text.lines().map(str::trim_end);
    let lines = lines.filter(|line| !line.is_empty());
    lines.collect::<Vec<_>>().join("\n")
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_are_turned_where_paging_stays_on() {
    let router = tokio::task::block_in_place(|| {
        Frr::start_with(&FrrOptions {
            pager: Some("more -10".into()),
            ..FrrOptions::default()
        })
    });
    let expected = without_blanks(&router.running_config());
    let mut endpoint = endpoint(&router.ssh, "frr");
    // With paging switched off, as after every login, and without, as if this user were not allowed
    // to.
    for commands in [endpoint.platform.login.commands.clone(), vec![]] {
        let mut platform = (*endpoint.platform).clone();
        platform.login.commands = commands;
        endpoint.platform = Arc::new(platform);
        let mut session = Session::connect(&endpoint).await.unwrap();
        for _ in 0..2 {
            let reply = session.exec("show running-config").await.unwrap();
            assert_eq!(without_blanks(&reply.output), expected);
        }
        let version = session.exec("show version").await.unwrap();
        assert!(version.output.starts_with("FRRouting"), "{version:?}");
        session.close().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn refused_commands_say_why_and_the_session_goes_on() {
    let mut session = frr().await;
    for (command, failure) in [
        ("show nonsense", "% Unknown command: show nonsense"),
        ("nonsense", "% Unknown command: nonsense"),
        ("show ip", "% Command incomplete: show ip"),
    ] {
        let reply = session.exec(command).await.unwrap();
        assert_eq!(reply.failure.as_deref(), Some(failure));
        assert_eq!(reply.output.trim(), failure);
    }
    assert!(session.exec("show version").await.unwrap().is_success());
    session.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn commands_longer_than_the_terminal_is_wide() {
    let mut session = frr().await;
    for length in [100, 480, 511, 512, 700, 1_500, 3_000] {
        let word = "x".repeat(length);
        let command = format!("show {word}");
        let reply = session.exec(&command).await.unwrap();
        let failure = reply.failure.unwrap_or_default();
        assert!(failure.contains(&word), "{length}: {:?}", reply.output);
        assert!(failure.starts_with("% "), "{length}: {:?}", reply.output);
        assert!(
            reply.output.starts_with("% Unknown"),
            "{length}: {:?}",
            reply.output
        );
    }
    assert!(session.exec("show version").await.unwrap().is_success());
    session.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_question_mark_is_text() {
    let mut session = frr().await;
    let reply = session.exec("show what?").await.unwrap();
    assert_eq!(
        reply.failure.as_deref(),
        Some("% Unknown command: show what?")
    );
    assert!(session.exec("show version").await.unwrap().is_success());
    session.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn many_commands_in_a_row_stay_in_step() {
    let mut session = frr().await;
    within(Duration::from_secs(30), async {
        for number in 0..200 {
            let reply = session
                .exec(&format!("show nonsense{number}"))
                .await
                .unwrap();
            assert_eq!(
                reply.output,
                format!("% Unknown command: show nonsense{number}")
            );
        }
    })
    .await;
    session.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn fifty_sessions_at_once() {
    let sessions = (0..50).map(|_| {
        tokio::spawn(async {
            let mut session = frr().await;
            let reply = session.exec("show version").await.unwrap();
            session.close().await;
            reply.output.lines().count()
        })
    });
    for session in sessions.collect::<Vec<_>>() {
        assert!(session.await.unwrap() > 3);
    }
}
