//! Tests questions: of a command, and before the first prompt.

use std::time::Duration;

use netssh_core::{Answer, Error, ExecOptions, Pattern, Session};
use netssh_lab::{Lab, LabDevice};

use crate::lab::endpoint;
use crate::support::{endpoint as of_device, frr, within};

fn answer(question: &str, answer: &str) -> Answer {
    Answer::new(Pattern::new(question).unwrap(), answer)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_command_that_asks_is_answered() {
    let lab = Lab::start(LabDevice::cisco_ios("r1")).await.unwrap();
    let mut session = Session::connect(&endpoint(&lab)).await.unwrap();
    let reply = session
        .interact(
            "copy running-config startup-config",
            &[answer(r"Destination filename", "")],
            ExecOptions::default(),
        )
        .await
        .unwrap();
    assert!(reply.output.contains("[OK]"), "{}", reply.output);
    assert!(session.exec("show version").await.unwrap().is_success());
    assert!(!session.is_pristine());
    session.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_question_without_an_answer_is_shown_in_the_error() {
    let lab = Lab::start(LabDevice::cisco_ios("r1")).await.unwrap();
    let mut session = Session::connect(&endpoint(&lab)).await.unwrap();
    let options = ExecOptions {
        timeout: Some(Duration::from_millis(300)),
        ..ExecOptions::default()
    };
    let answers = [answer("something else", "x")];
    let error = session
        .interact("copy running-config startup-config", &answers, options)
        .await
        .unwrap_err();
    assert_eq!(error.code(), "timeout");
    assert!(error.partial().unwrap().contains("Destination filename"));
    assert!(!session.is_usable());
    session.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_of_several_lines_is_refused_before_anything_is_sent() {
    let mut session = frr().await;
    let error = session
        .interact(
            "show version",
            &[answer("x", "a\nb")],
            ExecOptions::default(),
        )
        .await
        .unwrap_err();
    assert_eq!(error.code(), "invalid");
    assert!(session.is_usable());
    session.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_password_that_is_read_without_echo() {
    let mut session = Session::connect(&of_device(&test_devices::linux().ssh, "linux"))
        .await
        .unwrap();
    let command = "read -r -p 'Token: ' a; printf '<%s>\\n' \"$a\"";
    let reply = session
        .interact(
            command,
            &[answer("Token: $", "s3cret")],
            ExecOptions::default(),
        )
        .await
        .unwrap();
    assert!(reply.output.ends_with("<s3cret>"), "{:?}", reply.output);
    session.close().await;
}

async fn with_login_questions(questions: &[&str]) -> (Lab, Result<Session, Error>) {
    let questions = questions.iter().map(|&name| name.to_owned()).collect();
    let lab = Lab::start(LabDevice {
        login_questions: Some(questions),
        ..LabDevice::cisco_ios("r1")
    })
    .await
    .unwrap();
    let limit = Duration::from_secs(10);
    let session = within(limit, Session::connect(&endpoint(&lab))).await;
    (lab, session)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_login_that_asks_first_is_answered() {
    for questions in [
        &["press_any_key"][..],
        &["terms"],
        &["username"],
        &["press_any_key", "terms", "username"],
    ] {
        let (_lab, session) = with_login_questions(questions).await;
        let mut session = session.unwrap_or_else(|error| panic!("{questions:?}: {error}"));
        assert_eq!(session.prompt(), "r1#", "{questions:?}");
        assert!(session.exec("show version").await.unwrap().is_success());
        session.close().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_password_change_that_is_demanded_is_for_a_person() {
    let (_lab, session) = with_login_questions(&["password_change"]).await;
    let error = session.unwrap_err();
    assert_eq!(error.code(), "authentication");
    assert!(error.to_string().contains("new password"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_own_answer_goes_before_the_platforms() {
    let lab = Lab::start(LabDevice {
        login_questions: Some(vec!["terms".into()]),
        ..LabDevice::cisco_ios("r1")
    })
    .await
    .unwrap();
    let mut endpoint = endpoint(&lab);
    endpoint.credentials.answers = vec![answer(r"terms of use", "n")];
    let error = Session::connect(&endpoint).await.unwrap_err();
    assert_eq!(error.code(), "disconnected");
    assert!(error.partial().unwrap().contains("[y/n]: n"), "{error:?}");
}
