//! Tests device terminals: over the WebSocket, and with `scheduler connect`.

use std::io::Write;
use std::process::{Output, Stdio};

use serde_json::json;

use crate::harness::{Pty, Terminal, TestHost, password_connection, run, scheduler};

/// Uses the connection `server` to a real Linux host.
#[test]
fn what_is_typed_reaches_the_device_and_its_answer_comes_back() {
    run(async {
        let host = TestHost::with_server().await;
        let query = "?term=vt100&columns=101&rows=33";
        let mut terminal = Terminal::opened(&host, "server", query).await;
        terminal.type_in("stty size; echo $TERM-$((6 * 7))\r").await;
        terminal.shows("33 101").await;
        terminal.shows("vt100-42").await;

        terminal
            .say(&json!({ "resize": { "columns": 132, "rows": 43 } }))
            .await;
        terminal.type_in("stty size\r").await;
        terminal.shows("43 132").await;

        terminal.type_in("exit\r").await;
        let event = terminal.event().await;
        assert_eq!(event, json!({ "closed": { "reason": "device" } }));
        terminal.ends().await;
    });
}

#[test]
fn a_router_has_a_terminal_too() {
    run(async {
        let host = TestHost::start().await;
        let ssh = &test_devices::frr().ssh;
        host.connect(password_connection("router", ssh, "frr"))
            .await;
        let mut terminal = Terminal::opened(&host, "router", "").await;
        terminal.shows("edge1#").await;
        terminal.type_in("show ip prefix-list customers\r").await;
        terminal.shows("permit 10.0.0.0/24").await;
        // The client disconnects, and the device's session ends.
        drop(terminal);
        let ended = tokio::task::spawn_blocking(|| test_devices::frr().ssh.wait_for_sessions(0));
        ended.await.unwrap();
    });
}

#[test]
fn a_page_of_another_site_gets_no_terminal() {
    run(async {
        let host = TestHost::with_server().await;
        let own = host.client.url("");
        let ask = async |headers: &[(&'static str, &str)]| {
            Terminal::open_with(&host, "server", "", headers)
                .await
                .err()
        };
        assert_eq!(ask(&[("origin", "http://evil.example")]).await, Some(403));
        assert_eq!(ask(&[("origin", "null")]).await, Some(403));
        assert_eq!(ask(&[("host", "evil.example:8080")]).await, Some(403));
        assert_eq!(ask(&[("origin", &own)]).await, None);
    });
}

#[test]
fn who_gets_no_terminal_is_told_why() {
    run(async {
        let host = TestHost::with_server().await;
        let refused = async |name, query| Terminal::open(&host, name, query).await.err();
        assert_eq!(refused("nothing", "").await, Some(404));
        assert_eq!(refused("server", "?columns=0").await, Some(422));
        assert_eq!(refused("server", "?columns=1001").await, Some(422));
        assert_eq!(refused("server", "?term=x%0Ay").await, Some(422));
        let plain = host.client.get("/api/connections/server/terminal").await;
        assert_eq!(plain.status, 426, "{}", plain.body);

        let mut wrong = password_connection("wrong", &test_devices::linux().ssh, "linux");
        wrong["password"] = json!("wrong-password");
        host.connect(wrong).await;
        let mut terminal = Terminal::open(&host, "wrong", "").await.unwrap();
        let event = terminal.event().await;
        assert_eq!(event["error"]["code"], "authentication", "{event}");
        assert!(!event.to_string().contains("wrong-password"), "{event}");
        terminal.ends().await;
    });
}

#[test]
fn a_message_that_is_not_understood_ends_the_terminal() {
    run(async {
        let host = TestHost::with_server().await;
        for control in [
            json!({ "resize": { "columns": 0, "rows": 1 } }),
            json!({ "explode": {} }),
        ] {
            let mut terminal = Terminal::opened(&host, "server", "").await;
            terminal.say(&control).await;
            let event = terminal.event().await;
            assert_eq!(event["error"]["code"], "invalid", "{event}");
            terminal.ends().await;
        }
        let mut terminal = Terminal::opened(&host, "server", "").await;
        terminal.type_in(&"x".repeat(64 * 1024 + 1)).await;
        terminal.ends().await;
        assert!(!terminal.shown.contains("xxx"), "{}", terminal.shown);
    });
}

#[test]
fn a_silent_terminal_is_closed() {
    run(async {
        let host = TestHost::start_with(|config| config.devices.terminal_idle_seconds = 1).await;
        let ssh = &test_devices::linux().ssh;
        host.connect(password_connection("server", ssh, "linux"))
            .await;
        let mut terminal = Terminal::opened(&host, "server", "").await;
        let event = terminal.event().await;
        assert_eq!(event, json!({ "closed": { "reason": "idle" } }));
    });
}

#[test]
fn terminals_end_with_the_server() {
    run(async {
        let host = TestHost::with_server().await;
        let mut terminal = Terminal::opened(&host, "server", "").await;
        terminal.type_in("echo $((6 * 7))\r").await;
        terminal.shows("42").await;
        host.stop().await;
        let event = terminal.event().await;
        assert_eq!(event, json!({ "closed": { "reason": "shutdown" } }));
        terminal.ends().await;
    });
}

/// Runs `scheduler connect` at a terminal of 100 columns and 30 rows, up to the device's shell.
fn connect(url: &str) -> Pty {
    let mut pty = Pty::start(&["connect", "server"], url, (100, 30));
    pty.shows("connected to server");
    pty.type_in("echo $((6 * 7))x\r");
    pty.shows("42x");
    pty
}

#[test]
fn connect_passes_every_key_and_leaves_the_terminal_as_it_was() {
    run(async {
        let host = TestHost::with_server().await;
        let url = host.client.url("");
        let at_the_terminal = tokio::task::spawn_blocking(move || {
            let mut pty = connect(&url);
            assert!(pty.is_raw());
            pty.type_in("stty size\r");
            pty.shows("30 100");
            // The signal and the keys take different paths; polls until the new size has arrived.
            pty.resize(91, 27);
            pty.type_in("until stty size | grep '27 91'; do read -t 0.1; done\r");
            pty.shows("27 91\r\n");
            // Ctrl-C reaches the device instead of the client. The process that reports that it
            // sleeps is the one to interrupt.
            pty.type_in("sh -c 'echo asleep-$((1 + 1)); exec sleep 1000'; echo not-reached\r");
            pty.shows("asleep-2");
            pty.type_in("\x03");
            // Input is lost while the shell cleans up.
            pty.shows_after("^C", "$ ");
            pty.type_in("echo still-$((1 + 1))\r");
            pty.shows("still-2");
            pty.type_in("\r~.");
            assert_eq!(pty.ends(), Some(0), "{}", pty.shown);
            assert!(!pty.is_raw());

            let mut pty = connect(&url);
            pty.type_in("exit\r");
            assert_eq!(pty.ends(), Some(0), "{}", pty.shown);
            assert!(!pty.is_raw());

            let mut pty = connect(&url);
            pty.signal("TERM");
            assert_eq!(pty.ends(), Some(1), "{}", pty.shown);
            assert!(!pty.is_raw());
        });
        at_the_terminal.await.unwrap();
    });
}

#[test]
fn connect_says_that_the_server_has_stopped() {
    run(async {
        let host = TestHost::with_server().await;
        let url = host.client.url("");
        let opened = tokio::task::spawn_blocking(move || connect(&url));
        let mut pty = opened.await.unwrap();
        host.stop().await;
        let ended = tokio::task::spawn_blocking(move || {
            pty.shows("the server is shutting down");
            assert_eq!(pty.ends(), Some(1));
            assert!(!pty.is_raw());
        });
        ended.await.unwrap();
    });
}

/// Runs `scheduler connect` with a pipe as its stdin.
async fn piped(host: &TestHost, arguments: &[&str], stdin: &'static str) -> Output {
    let mut command = scheduler();
    command
        .arg("connect")
        .args(arguments)
        .env("SCHEDULER_URL", host.client.url(""))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let ended = tokio::task::spawn_blocking(move || {
        let mut child = command.spawn().unwrap();
        let _ = child.stdin.take().unwrap().write_all(stdin.as_bytes());
        child.wait_with_output().unwrap()
    });
    ended.await.unwrap()
}

#[test]
fn connect_types_what_is_piped_into_it() {
    run(async {
        let host = TestHost::with_server().await;
        for stdin in [
            "echo piped-$((1 + 1))\nexit\n",
            // The end of the pipe becomes Ctrl-D at the terminal.
            "echo piped-$((1 + 1))\n",
        ] {
            let done = piped(&host, &["server"], stdin).await;
            let stdout = String::from_utf8_lossy(&done.stdout).into_owned();
            assert_eq!(done.status.code(), Some(0), "{done:?}");
            assert!(stdout.contains("\npiped-2"), "{stdout}");
        }
    });
}

#[test]
fn connect_that_fails_says_so_and_by_its_exit_code() {
    run(async {
        let host = TestHost::with_server().await;
        let mut wrong = password_connection("wrong", &test_devices::linux().ssh, "linux");
        wrong["password"] = json!("wrong-password");
        host.connect(wrong).await;
        for (arguments, code, said) in [
            (vec!["wrong"], 1, "hint: check the user and the secrets"),
            (vec!["nothing"], 4, "connection `nothing` not found"),
            (
                vec!["server", "--url", "http://127.0.0.1:1"],
                3,
                "failed to reach the server",
            ),
        ] {
            let failed = piped(&host, &arguments, "").await;
            let stderr = String::from_utf8_lossy(&failed.stderr).into_owned();
            assert_eq!(failed.status.code(), Some(code), "{stderr}");
            assert!(stderr.contains(said), "{stderr}");
        }
    });
}
