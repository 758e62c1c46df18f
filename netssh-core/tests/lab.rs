//! Tests sessions with the lab's Cisco IOS: `enable`, pagers, questions, faults.

use std::time::Duration;

use netssh_core::{Endpoint, Platform, SecretString, Session};
use netssh_lab::{Faults, Lab, LabDevice, Paging};

use crate::support::within;

const SOON: Duration = Duration::from_secs(10);

fn device() -> LabDevice {
    LabDevice::cisco_ios("lab-r1")
}

pub(crate) fn endpoint(lab: &Lab) -> Endpoint {
    let platform = Platform::named("cisco_ios").unwrap();
    let mut endpoint = Endpoint::new("127.0.0.1", &lab.device().username, platform);
    endpoint.port = lab.addr().port();
    endpoint.credentials.password = Some(SecretString::from(lab.device().password.as_str()));
    endpoint.enable_secret = Some(SecretString::from("enable"));
    endpoint.timeouts.login = Duration::from_secs(5);
    endpoint.timeouts.command = Duration::from_secs(5);
    endpoint
}

async fn session(device: LabDevice) -> (Lab, Session) {
    let lab = Lab::start(device).await.unwrap();
    let session = Session::connect(&endpoint(&lab)).await.unwrap();
    (lab, session)
}

fn shown(lab: &Lab) -> String {
    lab.running_config().trim_end_matches('\n').to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_whole_session() {
    let (lab, mut session) = session(device()).await;
    assert_eq!(session.prompt(), "lab-r1#");
    let version = session.exec("show version").await.unwrap();
    assert!(version.output.starts_with("Cisco IOS Software"));
    assert!(version.output.contains("lab-r1 uptime is"));
    assert_eq!(
        session.exec("show running-config").await.unwrap().output,
        shown(&lab)
    );

    let mut configuration = session.configuration().await.unwrap();
    for line in [
        "interface GigabitEthernet0/1",
        "description to lab-r1#",
        "no shutdown",
    ] {
        assert!(
            configuration.line(line).await.unwrap().is_success(),
            "{line}"
        );
    }
    let refused = configuration.line("nonsense here").await.unwrap();
    assert_eq!(
        refused.failure.as_deref(),
        Some("% Invalid input detected at '^' marker.")
    );
    configuration.leave().await.unwrap();
    assert!(lab.running_config().contains(" description to lab-r1#\n"));
    assert!(session.save().await.unwrap().output.contains("[OK]"));
    session.close().await;
    assert_eq!((lab.logins(), lab.refused_logins()), (1, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_secret_the_session_stays_where_it_landed() {
    let lab = Lab::start(device()).await.unwrap();
    let mut endpoint = endpoint(&lab);
    endpoint.enable_secret = None;
    let mut session = Session::connect(&endpoint).await.unwrap();
    assert_eq!(session.prompt(), "lab-r1>");
    assert!(session.exec("show version").await.unwrap().is_success());
    let error = session.configuration().await.unwrap_err();
    assert_eq!(error.code(), "refused", "{error}");
    assert!(session.exec("show version").await.unwrap().is_success());
    session.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_enable_secret_is_an_error_after_one_try() {
    let lab = Lab::start(device()).await.unwrap();
    let mut endpoint = endpoint(&lab);
    endpoint.enable_secret = Some(SecretString::from("wrong secret"));
    let error = within(Duration::from_secs(2), Session::connect(&endpoint))
        .await
        .unwrap_err();
    assert_eq!(error.code(), "authentication");
    assert!(error.to_string().contains("enable secret"), "{error}");
    assert!(!error.to_string().contains("wrong secret"), "{error}");

    let none = Lab::start(LabDevice {
        enable_secret: None,
        ..device()
    })
    .await
    .unwrap();
    let error = Session::connect(&self::endpoint(&none)).await.unwrap_err();
    assert_eq!(error.code(), "authentication");
    assert!(error.to_string().contains("% No password set"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_device_that_lands_enabled_is_asked_for_nothing() {
    let (lab, session) = session(LabDevice {
        privileged: true,
        ..device()
    })
    .await;
    assert_eq!(session.prompt(), "lab-r1#");
    assert!(!lab.commands().contains(&"enable".to_owned()));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pager_that_cannot_be_switched_off_is_answered() {
    for paging in [Paging::Unauthorised, Paging::Always] {
        for packet_size in [None, Some(7)] {
            let faults = Faults {
                packet_size,
                ..Faults::default()
            };
            let (lab, mut session) = session(LabDevice {
                paging,
                faults,
                ..device()
            })
            .await;
            for _ in 0..2 {
                let reply = session.exec("show running-config").await.unwrap();
                assert_eq!(reply.output, shown(&lab), "{paging:?} {packet_size:?}");
                let refused = session.exec("show nonsense").await.unwrap();
                assert!(refused.failure.is_some());
            }
            session.close().await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_banner_full_of_prompts_does_not_confuse_the_login() {
    let banner = "lab-r1#\nlab-r1>\n****** # > ******\nPassword:\n--More--\nlab-r1#".to_owned();
    for packet_size in [None, Some(1)] {
        let faults = Faults {
            packet_size,
            ..Faults::default()
        };
        let (_lab, mut session) = session(LabDevice {
            banner: banner.clone(),
            faults,
            ..device()
        })
        .await;
        assert_eq!(session.prompt(), "lab-r1#");
        assert!(session.exec("show version").await.unwrap().is_success());
        session.close().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn output_that_repeats_the_prompt_two_hundred_times() {
    // On consecutive lines, with and without the space, and at the very end without a newline.
    let text = "lab-r1#\n".repeat(100) + &"lab-r1# \n".repeat(100) + "lab-r1#";
    for packet_size in [None, Some(1), Some(9), Some(10)] {
        let faults = Faults {
            packet_size,
            ..Faults::default()
        };
        let outputs = vec![("show prompts".to_owned(), text.clone())];
        let (_lab, mut session) = session(LabDevice {
            faults,
            outputs,
            ..device()
        })
        .await;
        for _ in 0..2 {
            let reply = session.exec("show prompts").await.unwrap();
            assert_eq!(reply.output, text);
            assert!(
                session
                    .exec("show version")
                    .await
                    .unwrap()
                    .output
                    .starts_with("Cisco")
            );
        }
        session.close().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_name_that_changes_on_the_way() {
    let (lab, mut session) = session(device()).await;
    let mut configuration = session.configuration().await.unwrap();
    let name = "a-name-that-is-longer-than-twenty-characters";
    assert!(
        configuration
            .line(&format!("hostname {name}"))
            .await
            .unwrap()
            .is_success()
    );
    assert_eq!(configuration.prompt(), "a-name-that-is-longe(config)#");
    configuration.leave().await.unwrap();
    assert_eq!(session.prompt(), format!("{name}#"));
    assert_eq!(
        session.exec("show running-config").await.unwrap().output,
        shown(&lab)
    );
    session.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_device_that_drops_the_line_keeps_what_had_arrived() {
    let lab = Lab::start(device()).await.unwrap();
    let mut session = Session::connect(&endpoint(&lab)).await.unwrap();
    let length = session.exec("show version").await.unwrap().output.len();
    drop(session);

    // Somewhere in the output, regardless of the login's length.
    let faults = Faults {
        drop_after: Some(400 + length / 2),
        ..Faults::default()
    };
    let lab = Lab::start(LabDevice { faults, ..device() }).await.unwrap();
    let mut session = Session::connect(&endpoint(&lab)).await.unwrap();
    let error = within(Duration::from_secs(2), session.exec("show version"))
        .await
        .unwrap_err();
    assert_eq!(error.code(), "disconnected");
    assert!(
        error.partial().unwrap().starts_with("Cisco IOS Software"),
        "{error:?}"
    );
    assert!(!session.is_usable());
    session.close().await;

    let faults = Faults {
        drop_after: Some(5),
        ..Faults::default()
    };
    let lab = Lab::start(LabDevice { faults, ..device() }).await.unwrap();
    let error = Session::connect(&endpoint(&lab)).await.unwrap_err();
    assert_eq!(error.code(), "disconnected", "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_command_that_is_never_answered() {
    let faults = Faults {
        never_answer: Some("show inv".into()),
        ..Faults::default()
    };
    let (_lab, mut session) = session(LabDevice { faults, ..device() }).await;
    let limit = Duration::from_millis(200);
    let error = session
        .exec_timeout("show inventory", limit)
        .await
        .unwrap_err();
    assert_eq!((error.code(), error.partial()), ("timeout", Some("")));
    within(Duration::from_secs(2), session.close()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slow_device_is_waited_for() {
    let delay = Duration::from_millis(200);
    let (_lab, mut session) = session(LabDevice { delay, ..device() }).await;
    let reply = session.exec("show version").await.unwrap();
    assert!(reply.elapsed >= delay);
    assert!(reply.is_success());
    session.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_question_is_never_answered_by_accident() {
    let (_lab, mut session) = session(device()).await;
    let limit = Duration::from_millis(300);
    let command = "copy running-config startup-config";
    let error = session.exec_timeout(command, limit).await.unwrap_err();
    assert_eq!(error.code(), "timeout");
    assert!(
        error.partial().unwrap().contains("Destination filename"),
        "{error:?}"
    );
    session.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cancelled_command_in_configuration_mode_is_tidied_up() {
    let delay = Duration::from_millis(100);
    let (lab, mut session) = session(LabDevice { delay, ..device() }).await;
    let mut configuration = session.configuration().await.unwrap();
    let cut = tokio::time::timeout(
        Duration::from_millis(20),
        configuration.line("hostname cut"),
    );
    assert!(cut.await.is_err());
    assert!(!session.is_usable());
    within(Duration::from_secs(2), session.close()).await;
    let commands = lab.commands();
    assert_eq!(commands[commands.len() - 2..], ["end", "exit"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_passwords_are_tried_once() {
    let lab = Lab::start(device()).await.unwrap();
    let mut endpoint = endpoint(&lab);
    endpoint.credentials.password = Some(SecretString::from("wrong"));
    let error = Session::connect(&endpoint).await.unwrap_err();
    assert_eq!(error.code(), "authentication", "{error}");
    assert_eq!((lab.logins(), lab.refused_logins()), (0, 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn many_devices_in_one_process() {
    let sessions = (0..100).map(|number| {
        tokio::spawn(async move {
            let (lab, mut session) = session(LabDevice::cisco_ios(&format!("r{number}"))).await;
            let reply = session.exec("show ip interface brief").await.unwrap();
            session.close().await;
            assert!(reply.output.contains("Loopback0"));
            lab.logins()
        })
    });
    for session in sessions.collect::<Vec<_>>() {
        assert_eq!(session.await.unwrap(), 1);
    }
}

/// The network fails, then the device goes down and comes up; its configuration survives.
#[tokio::test(flavor = "multi_thread")]
async fn connections_are_cut_and_the_device_goes_down_and_comes_up() {
    let (lab, mut session) = session(device()).await;
    let mut configuration = session.configuration().await.unwrap();
    configuration.line("hostname renamed").await.unwrap();
    configuration.leave().await.unwrap();
    lab.cut_connections();
    within(SOON, lab.wait_for_open_sessions(0)).await;
    let error = session.exec("show version").await.unwrap_err();
    assert_eq!(error.code(), "disconnected");

    let mut session = Session::connect(&endpoint(&lab)).await.unwrap();
    assert_eq!(session.prompt(), "renamed#");
    let before = lab.take_commands();
    assert!(
        before.contains(&"hostname renamed".to_owned()),
        "{before:?}"
    );
    assert!(lab.commands().is_empty());
    lab.go_down();
    within(SOON, lab.wait_for_open_sessions(0)).await;
    assert!(session.exec("show version").await.is_err());
    let error = Session::connect(&endpoint(&lab)).await.unwrap_err();
    assert_eq!(error.code(), "network");

    lab.come_up().await.unwrap();
    let mut session = Session::connect(&endpoint(&lab)).await.unwrap();
    assert_eq!(session.prompt(), "renamed#");
    assert!(session.exec("show version").await.unwrap().is_success());
    assert!(lab.commands().contains(&"show version".to_owned()));
}
