//! Tests failures: timeouts, disconnects, cancelled commands, invalid input, unreachable devices.

use std::time::{Duration, Instant};

use netssh_core::{Endpoint, Fault, Platform, SecretString, Session};
use test_devices::{Linux, LinuxOptions};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpListener;

use crate::support::{endpoint, frr, linux, wait_for_sessions, within};

#[tokio::test(flavor = "multi_thread")]
async fn a_timeout_keeps_what_had_arrived_and_ends_the_session() {
    let mut session = linux().await;
    let limit = Duration::from_millis(300);
    let started = Instant::now();
    let error = session
        .exec_timeout("echo before; sleep 5", limit)
        .await
        .unwrap_err();
    assert!(started.elapsed() < Duration::from_secs(2));
    assert_eq!(error.code(), "timeout");
    assert_eq!(error.partial(), Some("before"));
    assert!(!session.is_usable());
    assert_eq!(
        session.exec("echo late").await.unwrap_err().code(),
        "invalid"
    );
    within(Duration::from_secs(2), session.close()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_device_that_goes_away_is_noticed_at_once() {
    let host = tokio::task::block_in_place(Linux::start);
    let mut session = Session::connect(&endpoint(&host.ssh, "linux"))
        .await
        .unwrap();
    let (error, elapsed) = tokio::join!(
        async { session.exec("echo before; sleep 20").await.unwrap_err() },
        async {
            // The command must not have created the mark yet.
            let mark = host.ssh.home().join("mark");
            assert!(!mark.exists());
            tokio::task::block_in_place(|| wait_for_sleep(&host));
            let killed = Instant::now();
            host.ssh.kill_sessions();
            killed
        }
    );
    assert!(elapsed.elapsed() < Duration::from_secs(2));
    assert_eq!(error.code(), "disconnected");
    assert_eq!(error.fault(), Fault::Device);
    assert_eq!(error.partial(), Some("before"));
    assert!(!session.is_usable());
    within(Duration::from_secs(2), session.close()).await;
}

/// Waits until the device runs `sleep` for this user.
fn wait_for_sleep(host: &Linux) {
    let deadline = Instant::now() + Duration::from_secs(10);
    loop {
        let found = std::process::Command::new("pgrep")
            .args(["-u", &host.ssh.username, "-x", "sleep"])
            .output()
            .unwrap();
        if found.status.success() {
            return;
        }
        assert!(Instant::now() < deadline, "no sleep");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_command_that_ends_the_shell() {
    let mut session = linux().await;
    let error = session.exec("echo bye; exit 3").await.unwrap_err();
    assert_eq!(error.code(), "disconnected");
    assert_eq!(error.partial(), Some("bye\nlogout"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_that_ended_in_between() {
    let host = tokio::task::block_in_place(Linux::start);
    let mut session = Session::connect(&endpoint(&host.ssh, "linux"))
        .await
        .unwrap();
    session.exec("true").await.unwrap();
    host.ssh.kill_sessions();
    wait_for_sessions(&host.ssh, 0);
    assert_eq!(
        session.exec("true").await.unwrap_err().code(),
        "disconnected"
    );
    assert!(!session.is_usable());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cancelled_command_makes_the_session_unusable() {
    let host = tokio::task::block_in_place(Linux::start);
    let mut session = Session::connect(&endpoint(&host.ssh, "linux"))
        .await
        .unwrap();
    let cut = tokio::time::timeout(Duration::from_millis(50), session.exec("sleep 20")).await;
    assert!(cut.is_err());
    assert!(!session.is_usable());
    within(Duration::from_secs(2), session.close()).await;
    wait_for_sessions(&host.ssh, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn control_characters_are_refused_before_anything_is_sent() {
    let mut session = frr().await;
    for command in [
        "show version\nreload",
        "show\rversion",
        "a\tb",
        "\x03",
        "x\0",
        "\u{9b}1m",
    ] {
        let error = session.exec(command).await.unwrap_err();
        assert_eq!((error.code(), error.fault()), ("invalid", Fault::Caller));
    }
    let mut configuration = session.configuration().await.unwrap();
    let error = configuration
        .line("hostname a\nhostname b")
        .await
        .unwrap_err();
    assert_eq!(error.code(), "invalid");
    configuration.leave().await.unwrap();
    assert!(session.exec("show version").await.unwrap().is_success());
    session.close().await;
}

fn at(port: u16) -> Endpoint {
    let mut endpoint = Endpoint::new("127.0.0.1", "nobody", Platform::named("frr").unwrap());
    endpoint.port = port;
    endpoint.credentials.password = Some(SecretString::from("x"));
    endpoint.timeouts.connect = Duration::from_millis(300);
    endpoint
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_listens() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    drop(listener);
    let error = Session::connect(&at(port)).await.unwrap_err();
    assert_eq!((error.code(), error.fault()), ("network", Fault::Network));
    assert!(error.to_string().contains(&port.to_string()), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_says_nothing() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let error = Session::connect(&at(listener.local_addr().unwrap().port()))
        .await
        .unwrap_err();
    assert_eq!(error.code(), "timeout");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_hangs_up_or_speaks_something_else() {
    for greeting in ["", "220 ftp ready\r\n", "HTTP/1.1 400 Bad Request\r\n\r\n"] {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let server = tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let _ = stream.write_all(greeting.as_bytes()).await;
        });
        let error = Session::connect(&at(port)).await.unwrap_err();
        assert_eq!(error.code(), "network", "{greeting:?}: {error}");
        server.await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn no_common_algorithm_says_what_was_offered() {
    let host = tokio::task::block_in_place(|| {
        Linux::start_with(&LinuxOptions {
            sshd_config: "KexAlgorithms diffie-hellman-group14-sha1".into(),
            ..LinuxOptions::default()
        })
    });
    let error = Session::connect(&endpoint(&host.ssh, "linux"))
        .await
        .unwrap_err();
    assert_eq!((error.code(), error.fault()), ("protocol", Fault::Protocol));
    assert!(
        error.to_string().contains("diffie-hellman-group14-sha1"),
        "{error}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn the_wrong_platform_times_out_with_what_the_device_said() {
    let mut endpoint = endpoint(&test_devices::linux().ssh, "cisco_ios");
    endpoint.timeouts.login = Duration::from_millis(500);
    let error = Session::connect(&endpoint).await.unwrap_err();
    assert_eq!(error.code(), "timeout");
    assert!(error.partial().unwrap().contains('$'), "{error:?}");
    // The message quotes the last line, but no secret that the login sent.
    let text = error.to_string();
    assert!(text.contains("the last line is \""), "{text}");
    assert!(text.contains("$ \"") || text.contains("$\""), "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_secret_in_the_line_where_a_login_ends_is_masked() {
    let host = tokio::task::block_in_place(Linux::start);
    let mut endpoint = endpoint(&host.ssh, "cisco_ios");
    endpoint.timeouts.login = Duration::from_millis(500);
    let secret = &host.ssh.password;
    std::fs::write(
        host.ssh.home().join(".bash_profile"),
        format!("PS1='{secret}$ '\n"),
    )
    .unwrap();
    let error = Session::connect(&endpoint).await.unwrap_err();
    let text = error.to_string();
    assert!(text.contains("***$"), "{text}");
    assert!(!text.contains(secret.as_str()), "{text}");
}
