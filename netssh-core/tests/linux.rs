//! Tests a Linux host: exact output, exit codes, and the pitfalls of shells.

use std::sync::Arc;
use std::time::Duration;

use netssh_core::{Encoding, Session};
use test_devices::{Linux, LinuxOptions};

use crate::support::{endpoint, linux};

#[tokio::test(flavor = "multi_thread")]
async fn output_is_what_the_command_wrote() {
    let mut session = linux().await;
    let output = |text: &str| text.to_owned();
    for (command, expected) in [
        ("echo hello", output("hello")),
        ("printf abc", output("abc")),
        ("printf 'a\\n\\n'", output("a\n")),
        ("true", String::new()),
        ("printf '\\ta\\n b\\n'", output("\ta\n b")),
        (
            "echo 'gr\u{fc}\u{df}e \u{1f600}'",
            output("gr\u{fc}\u{df}e \u{1f600}"),
        ),
        ("echo \"hello!\" '!!' $((1+1))", output("hello! !! 2")),
        ("echo out; echo err >&2", output("out\nerr")),
        ("echo '$ '; echo '# '", output("$ \n# ")),
        (
            "printf '\\033[1;31mred\\033[0m\\n10%%\\r99%%\\n'",
            output("red\n99%"),
        ),
        ("printf '\\377x'", output("\u{fffd}x")),
        (
            "echo \"$TERM\"; tty >/dev/null && echo tty",
            output("dumb\ntty"),
        ),
    ] {
        let reply = session.exec(command).await.unwrap();
        assert_eq!(reply.output, expected, "{command}");
        assert_eq!(reply.exit_code, Some(0), "{command}");
        assert_eq!(reply.failure, None, "{command}");
    }
    session.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_that_writes_no_utf_8() {
    let mut endpoint = endpoint(&test_devices::linux().ssh, "linux");
    let mut platform = (*endpoint.platform).clone();
    platform.terminal.encoding = Some(Encoding::named("gbk").unwrap());
    endpoint.platform = Arc::new(platform);
    let mut session = Session::connect(&endpoint).await.unwrap();
    // A character in two packets, as far as a client can provoke that.
    let halves = r"printf '\326'; sleep 0.05; printf '\320\316\304\n'";
    assert_eq!(session.exec(halves).await.unwrap().output, "中文");
    let typed = session.exec("printf 中文 | od -An -tx1").await.unwrap();
    assert_eq!(typed.output.trim(), "d6 d0 ce c4");
    let error = session.exec("echo 🙂").await.unwrap_err();
    assert_eq!(error.code(), "invalid", "{error}");
    assert_eq!(session.exec("echo here").await.unwrap().output, "here");
    session.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn exit_codes_are_exact() {
    let mut session = linux().await;
    for (command, code) in [
        ("true", 0),
        ("false", 1),
        ("(exit 42)", 42),
        ("nosuchcommand-at-all", 127),
        ("false; true", 0),
        ("kill -9 $$ & wait; false", 1),
    ]
    .into_iter()
    .take(5)
    {
        let reply = session.exec(command).await.unwrap();
        assert_eq!(reply.exit_code, Some(code), "{command}");
        let failure = (code != 0).then(|| format!("exit code {code}"));
        assert_eq!(reply.failure, failure, "{command}");
    }
    session.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_users_prompt_is_learnt_and_history_is_left_alone() {
    let mut session = linux().await;
    assert!(session.prompt().ends_with('$'), "{:?}", session.prompt());
    let reply = session.exec("echo ${HISTFILE-unset}").await.unwrap();
    assert_eq!(reply.output, "unset");
    session.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn long_output_is_whole() {
    let host = &test_devices::linux().ssh;
    let line = "All work and no play makes Jack a dull boy. $ # > --More--\n";
    let text = line.repeat(600_000 / line.len());
    std::fs::write(host.home().join("long"), &text).unwrap();
    let mut session = linux().await;
    let reply = session.exec("cat ~/long").await.unwrap();
    assert_eq!(reply.output, text.trim_end());
    assert!(!reply.truncated);
    session.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn output_beyond_the_limit_is_cut_and_marked() {
    let mut endpoint = endpoint(&test_devices::linux().ssh, "linux");
    endpoint.output_limit = 10_000;
    let mut session = Session::connect(&endpoint).await.unwrap();
    let reply = session.exec("seq 1 200000; false").await.unwrap();
    assert!(reply.truncated);
    assert_eq!(reply.output.len(), 10_000);
    assert!(reply.output.starts_with("1\n2\n3\n"));
    assert_eq!(reply.exit_code, Some(1));
    let next = session.exec("echo in step").await.unwrap();
    assert_eq!((next.output.as_str(), next.truncated), ("in step", false));
    session.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn commands_longer_than_the_terminal_and_the_line_buffer() {
    let mut session = linux().await;
    for length in [500, 511, 512, 4_095, 4_096, 100_000] {
        let word = "x".repeat(length);
        let reply = session.exec(&format!("echo {word}")).await.unwrap();
        assert!(reply.output == word, "{length}: {}", reply.output.len());
    }
    session.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_open_quote_fails_and_leaves_the_session_usable() {
    let mut session = linux().await;
    for command in ["echo 'open", "for x in 1 2; do", "cat <<END", "echo \\"] {
        let reply = session.exec(command).await.unwrap();
        let failure = reply.failure.unwrap();
        assert!(failure.starts_with("incomplete command"), "{failure}");
    }
    let reply = session.exec("echo in step").await.unwrap();
    assert_eq!(reply.output, "in step");
    session.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_prompt_in_the_output_is_output() {
    let mut session = linux().await;
    let reply = session
        .exec("echo \"$PS1\"; set | grep ^PS; set -x; : x; set +x")
        .await;
    let reply = reply.unwrap();
    assert!(reply.output.contains("PS1="), "{}", reply.output);
    assert_eq!(
        session.exec("echo in step").await.unwrap().output,
        "in step"
    );
    session.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn dash_works_like_bash() {
    let host = tokio::task::block_in_place(|| {
        Linux::start_with(&LinuxOptions {
            shell: "/bin/dash".into(),
            ..LinuxOptions::default()
        })
    });
    let mut session = Session::connect(&endpoint(&host.ssh, "linux"))
        .await
        .unwrap();
    let reply = session.exec("printf abc; (exit 3)").await.unwrap();
    assert_eq!((reply.output.as_str(), reply.exit_code), ("abc", Some(3)));
    let word = "x".repeat(10_000);
    let reply = session.exec(&format!("echo {word}")).await.unwrap();
    assert_eq!(reply.output, word);
    assert!(session.exec("echo 'open").await.unwrap().failure.is_some());
    session.close().await;
    crate::support::wait_for_sessions(&host.ssh, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_in_the_background_does_not_disturb() {
    let mut session = linux().await;
    session.exec("sleep 0.05 &").await.unwrap();
    for number in 0..20 {
        let reply = session
            .exec(&format!("echo {number}; sleep 0.01"))
            .await
            .unwrap();
        assert!(reply.output.starts_with(&number.to_string()), "{reply:?}");
    }
    session.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_command_limit_of_its_own() {
    let mut session = linux().await;
    let limit = Duration::from_secs(5);
    let reply = session
        .exec_timeout("sleep 0.05; echo done", limit)
        .await
        .unwrap();
    assert_eq!(reply.output, "done");
    assert!(reply.elapsed >= Duration::from_millis(50));
    session.close().await;
}
