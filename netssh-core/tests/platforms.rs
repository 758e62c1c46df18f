//! Every platform there is a file of the lab for plays a whole session: a platform joins by
//! having both files.

use std::time::Duration;

use netssh_core::lab::{Faults, Lab, LabDevice, LabPlatform, Paging, What};
use netssh_core::{CommitOptions, Endpoint, Platform, SecretString, Session};

use crate::support::within;

/// No session here takes longer.
const LIMIT: Duration = Duration::from_secs(20);

/// The platforms that have both files.
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

/// As a terminal shows it: lines have no space at their end, and the last one no newline.
fn text(says: &str) -> String {
    let shown = netssh_core::clean(says.as_bytes());
    shown.trim_end_matches('\n').to_owned()
}

/// Runs a session on a device of every platform, and says which of them fail.
async fn on_every_platform(device: impl Fn(&str) -> LabDevice, what: &str) {
    let mut failed = Vec::new();
    for platform in platforms() {
        let device = device(platform);
        let session = tokio::spawn(async move { within(LIMIT, whole_session(device)).await });
        if session.await.is_err() {
            failed.push(platform);
        }
    }
    assert!(failed.is_empty(), "{what}: {failed:?}");
}

/// Shows, a pager, a refusal, configuration, a commit or a save.
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
    if session.platform().save.is_some() {
        let saved = session.save().await.unwrap();
        assert_eq!(saved.failure, None, "{name}: {saved:?}");
        assert!(lab.is_saved(), "{name}: {saved:?}");
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

/// Waits for the device's side to end, and for where it was then.
async fn ends_outside_configuration(lab: &Lab) {
    while lab.open_sessions() > 0 {
        tokio::task::yield_now().await;
    }
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
    let paged = |name: &str| LabDevice {
        paging: Paging::Always,
        ..device(name)
    };
    on_every_platform(paged, "paging").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn on_no_platform_does_it_matter_where_the_packets_were_cut() {
    let in_pieces = |name: &str| LabDevice {
        faults: Faults {
            packet_size: Some(5),
            echo_in_pieces: true,
            ..Faults::default()
        },
        ..device(name)
    };
    on_every_platform(in_pieces, "packets of five bytes").await;
}
