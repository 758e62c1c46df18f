//! Tests a whole session on every platform that has a file of the lab. A new platform is covered as
//! soon as both of its files exist.

use std::time::Duration;

use netssh_core::{CommitOptions, Endpoint, Platform, Platforms, SecretString, Session, detect};
use netssh_lab::{Faults, Interruption, Lab, LabDevice, LabPlatform, Paging, What};

use crate::support::within;

/// Limit of a session; all take less.
const LIMIT: Duration = Duration::from_secs(20);

/// Returns the platforms that have both files.
fn platforms() -> Vec<&'static str> {
    let known = Platform::names();
    let both: Vec<&str> = LabPlatform::names()
        .filter(|name| known.contains(name))
        .collect();
    assert!(both.contains(&"cisco_ios"));
    both
}

fn device(platform: &str) -> LabDevice {
    LabDevice::new(platform, platform).unwrap()
}

fn endpoint(lab: &Lab) -> Endpoint {
    let device = lab.device();
    let platform = Platform::named(device.platform.name()).unwrap();
    let mut endpoint = Endpoint::new("127.0.0.1", &device.username, platform);
    endpoint.port = lab.addr().port();
    endpoint.credentials.password = Some(SecretString::from(device.password.as_str()));
    endpoint.enable_secret = device.enable_secret.as_deref().map(SecretString::from);
    endpoint.timeouts.login = Duration::from_secs(5);
    endpoint.timeouts.command = Duration::from_secs(5);
    endpoint
}

/// Returns a text as a terminal shows it: without trailing blanks and without the last newline.
fn text(says: &str) -> String {
    let shown = netssh_core::clean(says.as_bytes());
    shown.trim_end_matches('\n').to_owned()
}

/// Runs a session on a device of every platform, and fails with a list of the platforms that
/// failed.
async fn on_every_platform(device: impl Fn(&str) -> LabDevice, what: &str) {
    on_platforms(platforms(), device, what).await;
}

async fn on_platforms(
    platforms: Vec<&'static str>,
    device: impl Fn(&str) -> LabDevice,
    what: &str,
) {
    let sessions: Vec<_> = platforms
        .into_iter()
        .map(|platform| {
            let device = device(platform);
            let session = tokio::spawn(within(LIMIT, whole_session(device)));
            (platform, session)
        })
        .collect();
    let mut failed = Vec::new();
    for (platform, session) in sessions {
        if session.await.is_err() {
            failed.push(platform);
        }
    }
    assert!(failed.is_empty(), "{what}: {failed:?}");
}

/// Runs commands, a pager, a refused command, configuration, and a commit or a save.
async fn whole_session(device: LabDevice) {
    let lab = Lab::start(device).await.unwrap();
    let name = lab.device().platform.name();
    let example = lab.device().platform.example().unwrap();
    let mut session = match Session::connect(&endpoint(&lab)).await {
        Ok(session) => session,
        Err(error) => panic!("{name}: {error}\n{:#?}", lab.transcript()),
    };
    assert!(session.prompt().contains(name), "{}", session.prompt());

    let shown = session.exec(&example.show).await.unwrap();
    assert_eq!(shown.failure, None, "{name}");
    let expected = text(&lab.says(&example.show).unwrap());
    assert_eq!(
        shown.output.trim_matches('\n'),
        expected.trim_matches('\n'),
        "{name}"
    );

    let paged = session.exec(&example.paged).await.unwrap();
    let expected = text(&lab.says(&example.paged).unwrap());
    assert!(expected.lines().count() >= 24, "{name}: {expected}");
    assert_eq!(
        paged.output.trim_matches('\n'),
        expected.trim_matches('\n'),
        "{name}"
    );

    let refused = session.exec(&example.refused).await.unwrap();
    assert_eq!(
        refused.failure.as_deref(),
        Some(example.refusal.as_str()),
        "{name}: {refused:?}"
    );

    if !example.lines.is_empty() {
        configure(&mut session, &lab).await;
    }
    match session.save().await {
        Ok(saved) => {
            assert_eq!(saved.failure, None, "{name}: {saved:?}");
            assert!(lab.is_saved(), "{name}: {saved:?}");
        }
        Err(error) => assert_eq!(error.code(), "unsupported", "{name}: {error}"),
    }
    let again = session.exec(&example.show).await.unwrap();
    assert_eq!(again.output, shown.output, "{name}");
    session.close().await;
    ends_outside_configuration(&lab).await;
}

async fn configure(session: &mut Session, lab: &Lab) {
    let name = lab.device().platform.name();
    let example = lab.device().platform.example().unwrap();
    let mut configuration = session.configuration().await.unwrap();
    for line in &example.lines {
        let reply = configuration.line(line).await.unwrap();
        assert_eq!(
            (reply.failure, reply.output.as_str()),
            (None, ""),
            "{name}: {line}"
        );
    }
    let refused = configuration.line(&example.refused_line).await.unwrap();
    assert_eq!(
        refused.failure.as_deref(),
        Some(example.line_refusal.as_str()),
        "{name}: {refused:?}"
    );
    let in_force = |lab: &Lab| lab.running_config().contains(&example.configured);
    if configuration.has_candidate() {
        assert!(!in_force(lab), "{name}: before the commit");
        let committed = configuration
            .commit(&CommitOptions::default())
            .await
            .unwrap();
        assert_eq!(committed.failure, None, "{name}: {committed:?}");
    }
    configuration.leave().await.unwrap();
    assert!(in_force(lab), "{name}: {}", lab.running_config());
}

/// Waits until the session has ended on the device, and asserts that it ended outside of
/// configuration mode.
async fn ends_outside_configuration(lab: &Lab) {
    within(LIMIT, lab.wait_for_open_sessions(0)).await;
    let transcript = lab.transcript();
    let last = transcript.last().unwrap();
    assert_eq!(last.what, What::Ended);
    assert!(!last.configures, "{:?}", last.mode);
}

#[tokio::test(flavor = "multi_thread")]
async fn every_platform_plays_a_whole_session() {
    on_every_platform(device, "as it is").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn on_every_platform_a_pager_that_stays_on_is_answered() {
    for paging in [Paging::Always, Paging::Unauthorised] {
        let paged = |name: &str| LabDevice {
            paging,
            ..device(name)
        };
        on_every_platform(paged, "paging").await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn on_no_platform_does_it_matter_where_the_packets_were_cut() {
    let in_pieces = |name: &str| LabDevice {
        faults: Faults {
            packet_size: Some(23),
            echo_in_pieces: true,
            ..Faults::default()
        },
        ..device(name)
    };
    on_every_platform(in_pieces, "small packets").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_platform_answers_questions_before_its_prompt() {
    let asks = |name: &str| LabDevice {
        login_questions: Some(
            ["press_any_key", "terms", "username"]
                .map(str::to_owned)
                .into(),
        ),
        ..device(name)
    };
    on_platforms(platforms(), asks, "login questions").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_demand_for_another_password_is_an_error_that_says_so() {
    for name in platforms() {
        let lab = Lab::start(LabDevice {
            login_questions: Some(vec!["password_change".into()]),
            ..device(name)
        })
        .await
        .unwrap();
        let error = Session::connect(&endpoint(&lab)).await.unwrap_err();
        assert_eq!(error.code(), "authentication", "{name}: {error}");
        assert!(
            error.to_string().contains("new password"),
            "{name}: {error}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_platform_is_told_apart_from_the_others() {
    for name in platforms() {
        let lab = Lab::start(LabDevice {
            privileged: true,
            ..device(name)
        })
        .await
        .unwrap();
        let found = within(LIMIT, detect(&endpoint(&lab), Platforms::built_in()))
            .await
            .unwrap_or_else(|error| panic!("{name}: {error}\n{:#?}", lab.commands()));
        let expected = (name != "generic").then_some(name);
        assert_eq!(found.platform(), expected, "{found:?}");
        ends_outside_configuration(&lab).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_platform_says_what_it_is() {
    for name in platforms() {
        let lab = Lab::start(device(name)).await.unwrap();
        let mut session = Session::connect(&endpoint(&lab)).await.unwrap();
        let facts = session.facts().await.unwrap();
        let sources = &session.platform().facts;
        for fact in sources.iter().flat_map(|source| source.find.keys()) {
            assert!(facts.contains_key(fact), "{name}: no {fact} in {facts:?}");
        }
        if let Some(hostname) = facts.get("hostname") {
            assert_eq!(hostname, name);
        }
        session.close().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_secret_is_an_error_on_every_platform_that_asks_for_one() {
    for name in platforms() {
        let lab = Lab::start(device(name)).await.unwrap();
        let mut endpoint = endpoint(&lab);
        endpoint.enable_secret = Some(SecretString::from("wrong secret"));
        let connected = within(LIMIT, Session::connect(&endpoint)).await;
        let asked = lab.transcript().iter().any(
            |entry| matches!(&entry.what, What::Answered { question, .. } if question == "secret"),
        );
        match connected {
            Ok(session) => {
                assert!(!asked, "{name}");
                session.close().await;
            }
            Err(error) => {
                assert!(asked, "{name}: {error}");
                assert_eq!(error.code(), "authentication", "{name}: {error}");
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_not_committed_is_thrown_away_on_leaving() {
    for name in platforms() {
        let lab = Lab::start(device(name)).await.unwrap();
        let example = lab.device().platform.example().unwrap();
        let mut session = Session::connect(&endpoint(&lab)).await.unwrap();
        let Ok(mut configuration) = session.configuration().await else {
            continue;
        };
        if !configuration.has_candidate() {
            continue;
        }
        let before = lab.running_config();
        for line in &example.lines {
            assert!(
                configuration.line(line).await.unwrap().is_success(),
                "{name}"
            );
        }
        configuration.leave().await.unwrap();
        assert_eq!(lab.running_config(), before, "{name}");
        let shown = session.exec(&example.show).await.unwrap();
        assert_eq!(shown.failure, None, "{name}");
        session.close().await;
        ends_outside_configuration(&lab).await;
        let transcript = lab.transcript();
        assert!(
            transcript.iter().any(|entry| entry.what == What::Discarded),
            "{name}"
        );
        assert!(
            transcript.iter().all(|entry| entry.what != What::Committed),
            "{name}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_commit_says_why() {
    let lab = Lab::start(device("cisco_xr")).await.unwrap();
    let mut session = Session::connect(&endpoint(&lab)).await.unwrap();
    let mut configuration = session.configuration().await.unwrap();
    for line in [
        "interface GigabitEthernet0/0/0/1",
        "ipv4 address 0.0.0.0 255.255.255.0",
    ] {
        assert!(configuration.line(line).await.unwrap().is_success());
    }
    let compared = configuration.compare().await.unwrap();
    assert!(
        compared
            .output
            .contains(" ipv4 address 0.0.0.0 255.255.255.0\n")
    );
    let refused = configuration
        .commit(&CommitOptions::default())
        .await
        .unwrap();
    let failure = refused.failure.unwrap();
    assert!(failure.starts_with("% Failed to commit"), "{failure}");
    assert!(
        refused.output.contains("The address is not usable"),
        "{}",
        refused.output
    );
    configuration.discard().await.unwrap();
    assert!(
        configuration
            .line("hostname other")
            .await
            .unwrap()
            .is_success()
    );
    let minute = CommitOptions {
        confirm_within: Some(Duration::from_secs(60)),
        ..CommitOptions::default()
    };
    assert!(configuration.commit(&minute).await.unwrap().is_success());
    assert!(
        configuration
            .confirm()
            .await
            .unwrap()
            .output
            .contains("No configuration changes")
    );
    assert!(configuration.rollback(1).await.unwrap().is_success());
    configuration.leave().await.unwrap();
    assert_eq!(session.prompt(), "RP/0/RP0/CPU0:cisco_xr#");
    session.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn bytes_that_are_no_text_do_no_harm() {
    for name in platforms() {
        let garbage = |after| LabDevice {
            faults: Faults {
                garbage_after: Some(after),
                ..Faults::default()
            },
            ..device(name)
        };
        // At the very beginning, and in the middle of a command's output.
        for after in [0, 2000] {
            let lab = Lab::start(garbage(after)).await.unwrap();
            let mut session = Session::connect(&endpoint(&lab)).await.unwrap();
            let example = lab.device().platform.example().unwrap();
            let paged = session.exec(&example.paged).await.unwrap();
            let clean: String = paged.output.chars().filter(|&c| c != '\u{fffd}').collect();
            let expected = text(&lab.says(&example.paged).unwrap());
            assert_eq!(
                clean.trim_matches('\n'),
                expected.trim_matches('\n'),
                "{name}"
            );
            session.close().await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_device_that_starts_again_is_known_by_its_key() {
    let lab = Lab::start(device("arista_eos")).await.unwrap();
    let endpoint = endpoint(&lab);
    // This endpoint remembers host keys and rejects a changed one.
    Session::connect(&endpoint).await.unwrap().close().await;
    let port = lab.addr().port();
    drop(lab);
    let start = async |name: &str| loop {
        match Lab::start_on(device(name), port).await {
            Ok(lab) => break lab,
            Err(error) if error.kind() == std::io::ErrorKind::AddrInUse => {
                tokio::task::yield_now().await;
            }
            Err(error) => panic!("{error}"),
        }
    };
    let again = within(LIMIT, start("arista_eos")).await;
    Session::connect(&endpoint).await.unwrap().close().await;
    drop(again);
    // A different device at the same address has a different key.
    let _other = within(LIMIT, start("dell_os10")).await;
    let error = Session::connect(&endpoint).await.unwrap_err();
    assert_eq!(error.code(), "host_key", "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_line_in_the_middle_of_a_command_does_not_put_a_session_out_of_step() {
    for name in platforms() {
        let mut device = device(name);
        let example = device.platform.example().unwrap().clone();
        let after = &example.show[..example.show.len() - 2];
        device.faults.interruption = Some(Interruption {
            after: after.to_owned(),
            text: "%LINK-3-UPDOWN: Interface 1, changed state to down".into(),
        });
        let lab = Lab::start(device).await.unwrap();
        let mut session = Session::connect(&endpoint(&lab)).await.unwrap();
        for _ in 0..2 {
            let shown = session.exec(&example.show).await.unwrap();
            let expected = text(&lab.says(&example.show).unwrap());
            let output = shown.output.trim_matches('\n');
            assert!(
                output.ends_with(expected.trim_matches('\n')),
                "{name}: {output}"
            );
            let paged = session.exec(&example.paged).await.unwrap();
            let expected = text(&lab.says(&example.paged).unwrap());
            assert_eq!(
                paged.output.trim_matches('\n'),
                expected.trim_matches('\n'),
                "{name}"
            );
        }
        session.close().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_device_without_echo() {
    let silent = "extends = \"cisco_ios\"\n[terminal]\necho = \"\"";
    let platform = LabPlatform::parse("cisco_ios", silent).unwrap();
    let lab = Lab::start(LabDevice::of(platform, "silent")).await.unwrap();
    let mut session = Session::connect(&endpoint(&lab)).await.unwrap();
    assert_eq!(session.prompt(), "silent#");
    let shown = session.exec("show running-config").await.unwrap();
    // The newline after Enter cannot be distinguished from one at the beginning of the output.
    let output = shown.output.trim_start_matches('\n');
    assert_eq!(output, text(&lab.running_config()));
    session.close().await;
}
