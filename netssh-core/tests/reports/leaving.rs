//! Tests leaving configuration mode while changes are uncommitted.
//!
//! After [`netssh_core::Configuration::leave`], the lines are in effect, or it fails, or it reports
//! that they were discarded. The session answers the device's question about them only with yes or
//! no.

use netssh_core::{Answer, CommitOptions, Error, Pattern, Session};

use crate::scripted::{Device, Running};

/// The fate of configuration lines, according to the session.
#[derive(Debug, PartialEq, Eq)]
enum Told {
    InEffect,
    Discarded,
    Failed,
}

/// Sends lines, commits if the platform has a commit, and leaves.
async fn configure(session: &mut Session, lines: &[&str], commit: bool) -> Result<Told, Error> {
    let mut configuration = session.configuration().await?;
    for line in lines {
        let reply = configuration.line(line).await?;
        assert!(reply.is_success(), "{reply:?}");
    }
    if commit && configuration.has_candidate() {
        let reply = configuration.commit(&CommitOptions::default()).await?;
        if !reply.is_success() {
            configuration.leave().await?;
            return Ok(Told::Failed);
        }
    }
    let left = configuration.leave().await?;
    Ok(match left.discarded {
        true => Told::Discarded,
        false => Told::InEffect,
    })
}

async fn tells_the_truth(running: &Running, lines: &[&str], committed: &[(&str, &str)]) -> Told {
    let mut session = running.connect().await.unwrap();
    let told = match configure(&mut session, lines, true).await {
        Ok(told) => told,
        Err(error) => {
            assert_ne!(error.code(), "invalid", "{error}");
            Told::Failed
        }
    };
    session.close().await;
    running.ended(1).await;
    let typed = running.typed();
    let is_in_effect = typed.iter().any(|(state, line)| {
        committed
            .iter()
            .any(|(at, typed)| at == state && typed.eq_ignore_ascii_case(line.trim()))
    });
    assert_eq!(
        told == Told::InEffect,
        is_in_effect,
        "told: {told:?}; typed: {typed:?}"
    );
    told
}

/// Creates a device with Huawei's two-phase configuration [netmiko#2625, #2065, #1072]: lines
/// change a candidate, and the device asks about it on leaving.
fn vrp8(asks: bool) -> Device {
    let device = Device::new("huawei_vrp", "<HUAWEI>")
        .to(
            "system-view",
            "Enter system view, return user view with return command.\n",
            "clean",
        )
        .on("display clock", "2021-03-01 12:00:01\n")
        .state("clean", "[~HUAWEI]")
        .to("vlan 10", "", "dirty")
        .to("return", "", "exec")
        .to("quit", "", "exec")
        .on("commit", "")
        .on("clear configuration candidate", "")
        .state("dirty", "[*HUAWEI-vlan10]")
        .on("description uplink", "")
        .to("commit", "", "clean")
        .to("clear configuration candidate", "", "clean");
    if asks {
        let question = "Uncommitted configurations found. Are you sure to commit them before exiting? [Y(yes)/N(no)/C(cancel)]:";
        device
            .to("return", "", "question")
            .to("quit", "", "question")
            .question("question", question)
            .to("Y", "", "exec")
            .to("y", "", "exec")
            .to("yes", "", "exec")
            .to("N", "", "exec")
            .to("n", "", "exec")
            .to("no", "", "exec")
            .otherwise("Error: Please input Y, N or C.\n", "question")
    } else {
        device.to("return", "", "exec").to("quit", "", "exec")
    }
}

const VRP8_COMMITTED: &[(&str, &str)] =
    &[("dirty", "commit"), ("question", "y"), ("question", "yes")];

#[tokio::test(flavor = "multi_thread")]
async fn candidate_lines_are_committed_or_reported_when_the_device_asks() {
    let running = vrp8(true).start().await;
    tells_the_truth(&running, &["vlan 10", "description uplink"], VRP8_COMMITTED).await;
    for answer in running.typed_in("question") {
        let answer = answer.to_lowercase();
        let is_answer = ["y", "yes", "n", "no", "c", "cancel", "^c"].contains(&answer.as_str());
        assert!(is_answer, "{answer:?} was typed at the question");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn candidate_lines_are_committed_or_reported_when_the_device_discards_silently() {
    let running = vrp8(false).start().await;
    tells_the_truth(&running, &["vlan 10"], VRP8_COMMITTED).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn lines_of_a_platform_without_a_candidate_are_in_effect() {
    // VRP 5 has no commit.
    let running = Device::new("huawei_vrp", "<HUAWEI>")
        .to(
            "system-view",
            "Enter system view, return user view with Ctrl+Z.\n",
            "view",
        )
        .state("view", "[HUAWEI]")
        .on("sysname HUAWEI", "")
        .to("return", "", "exec")
        .start()
        .await;
    let told = tells_the_truth(&running, &["sysname HUAWEI"], &[("view", "sysname HUAWEI")]).await;
    assert_eq!(told, Told::InEffect);
    assert!(!running.typed_in("view").contains(&"commit".to_owned()));
}

/// Creates a `FortiGate`, which applies a block at `end` and discards it at `abort`.
fn fortigate() -> Device {
    Device::new("fortinet", "FGT-01 # ")
        .to("config system global", "", "block")
        .on("get system status", "Version: FortiGate-60E v6.2.3\n")
        .state("block", "FGT-01 (global) # ")
        .on("set admintimeout 30", "")
        .on("next", "")
        .to("end", "", "exec")
        .to("abort", "", "exec")
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unended_block_is_applied_or_reported() {
    let running = fortigate().start().await;
    let lines = ["config system global", "set admintimeout 30"];
    tells_the_truth(&running, &lines, &[("block", "end")]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_ended_block_is_in_effect() {
    let running = fortigate().start().await;
    let lines = ["config system global", "set admintimeout 30", "end"];
    let told = tells_the_truth(&running, &lines, &[("block", "end")]).await;
    assert_eq!(told, Told::InEffect);
    assert!(!running.typed_in("exec").contains(&"abort".to_owned()));
}

/// Creates an IOS XR device [netmiko#34, PR#3420].
fn xr(commit: &'static str) -> Device {
    let question =
        "Uncommitted changes found, commit them before exiting(yes/no/cancel)? [cancel]:";
    let base = "RP/0/0/CPU0:ios-xrv(config)#";
    Device::new("cisco_xr", "RP/0/0/CPU0:ios-xrv#")
        .to("configure terminal", "Mon Mar  1 12:00:00.000 UTC\n", "clean")
        .state("clean", base)
        .to("hostname core1", "", "dirty")
        .to("end", "", "exec")
        .to("exit", "", "exec")
        .on("clear", "")
        .state("dirty", base)
        .on("router bgp 65000", "")
        .to("commit", commit, if commit.is_empty() { "clean" } else { "dirty" })
        .on("show configuration failed", "Mon Mar  1 12:00:02.000 UTC\n!! SEMANTIC ERRORS: This configuration was rejected by\n!! the system due to semantic errors.\nrouter bgp 65000\n!!% The object is in use\n!\nend\n")
        .to("clear", "", "clean")
        .to("end", "", "question")
        .to("exit", "", "question")
        .question("question", question)
        .to("yes", "", "exec")
        .to("y", "", "exec")
        .to("no", "", "exec")
        .to("n", "", "exec")
        .to("cancel", "", "dirty")
        .to("", "", "dirty")
        .otherwise("Invalid input\n", "question")
}

const XR_COMMITTED: &[(&str, &str)] = &[("dirty", "commit"), ("question", "yes")];

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_asked_after_a_commit() {
    let running = xr("").start().await;
    let told = tells_the_truth(&running, &["hostname core1"], XR_COMMITTED).await;
    assert_eq!(told, Told::InEffect);
    assert!(running.typed_in("question").is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn leaving_never_commits_changes() {
    let running = xr("").start().await;
    let mut session = running.connect().await.unwrap();
    let told = configure(&mut session, &["hostname core1"], false)
        .await
        .unwrap();
    assert_eq!(told, Told::Discarded);
    session.close().await;
    running.ended(1).await;
    for answer in running.typed_in("question") {
        assert!(["no", "n"].contains(&answer.as_str()), "{answer:?}");
    }
    assert!(!running.typed_in("dirty").contains(&"commit".to_owned()));
}

#[tokio::test(flavor = "multi_thread")]
async fn closing_a_session_never_commits_changes() {
    for device in [xr(""), vrp8(true)] {
        let running = device.start().await;
        let mut session = running.connect().await.unwrap();
        let line = match session.platform().name.as_str() {
            "cisco_xr" => "hostname core1",
            _ => "vlan 10",
        };
        // The value is dropped without `leave`.
        {
            let mut configuration = session.configuration().await.unwrap();
            assert!(configuration.line(line).await.unwrap().is_success());
        }
        session.close().await;
        running.ended(1).await;
        let typed = running.typed();
        let committed = typed.iter().any(|(state, line)| {
            line == "commit" || state == "question" && line.to_lowercase().starts_with('y')
        });
        assert!(!committed, "{typed:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failed_commit_is_reported_and_its_changes_are_discarded() {
    let message = "% Failed to commit one or more configuration items during a pseudo-atomic operation. All changes made have been reverted. Please issue 'show configuration failed [inheritance]' from this session to view the errors\n";
    let running = xr(message).start().await;
    let mut session = running.connect().await.unwrap();
    let told = configure(&mut session, &["hostname core1", "router bgp 65000"], true)
        .await
        .unwrap();
    assert_eq!(told, Told::Failed);
    assert!(!session.is_configuring());
    session.close().await;
}

/// Creates an IOS XE device in controller mode, or Viptela: configuration is a transaction
/// [netmiko PR#2243].
fn controller_mode() -> Device {
    Device::new("cisco_xe", "vedge#")
        .unknown("---------------------^\nsyntax error: unknown command\n")
        .to(
            "configure terminal",
            "Entering configuration mode terminal\n",
            "clean",
        )
        .to("config-transaction", "", "clean")
        .state("clean", "vedge(config)# ")
        .to("hostname core1", "", "dirty")
        .to("end", "", "exec")
        .to("exit", "", "exec")
        .on("commit", "% No modifications to commit.\n")
        .state("dirty", "vedge(config)# ")
        .to("commit", "Commit complete.\n", "clean")
        .to("end", "", "question")
        .to("exit", "", "question")
        .question(
            "question",
            "Uncommitted changes found, commit them? [yes/no/CANCEL] ",
        )
        .to("yes", "Commit complete.\n", "exec")
        .to("no", "", "exec")
        .to("", "", "dirty")
        .otherwise("", "question")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_transaction_is_committed_or_reported_when_the_device_asks() {
    let running = controller_mode().start().await;
    let committed = [("dirty", "commit"), ("question", "yes")];
    tells_the_truth(&running, &["hostname core1"], &committed).await;
    for answer in running.typed_in("question") {
        assert!(["yes", "no", "^C"].contains(&answer.as_str()), "{answer:?}");
    }
}

/// EOS sessions: lines take effect when the session is committed, and stay pending otherwise.
#[tokio::test(flavor = "multi_thread")]
async fn an_uncommitted_configuration_session_is_not_in_effect() {
    let running = Device::new("arista_eos", "sw1#")
        .to("configure session s1", "", "session")
        .to("configure terminal", "", "configuration")
        .state("session", "sw1(config-s-s1)#")
        .on("vlan 10", "")
        .to("commit", "", "exec")
        .to("abort", "", "exec")
        .to("end", "", "exec")
        .to("exit", "", "exec")
        .state("configuration", "sw1(config)#")
        .on("vlan 10", "")
        .to("end", "", "exec")
        .start()
        .await;
    let mut session = running.connect().await.unwrap();
    // A caller's command enters the session: further lines are not in the ordinary mode.
    if session.exec("configure session s1").await.is_err() {
        return;
    }
    let told = configure(&mut session, &["vlan 10"], true).await;
    let pending = running.typed_in("session").contains(&"vlan 10".to_owned());
    let committed = running.typed_in("session").contains(&"commit".to_owned());
    let in_effect = told.is_ok_and(|told| told == Told::InEffect);
    assert!(!in_effect || !pending || committed, "{:?}", running.typed());
}

/// Junos asks on leaving while another user's changes are uncommitted.
#[tokio::test(flavor = "multi_thread")]
async fn junos_question_about_changes_of_other_users_is_answered() {
    let running = Device::new("juniper_junos", "netops@fw1> ")
        .to(
            "configure",
            "Entering configuration mode\nUsers currently editing the configuration:\n  admin terminal p0 (pid 2012) on since 2021-03-01 11:58:02 UTC\n      [edit]\nThe configuration has been changed but not committed\n\n",
            "configuration",
        )
        .state("configuration", "[edit]\nnetops@fw1# ")
        .to("exit configuration-mode", "The configuration has been changed but not committed\n", "question")
        .on("rollback 0", "load complete\n")
        .question("question", "Exit with uncommitted changes? [yes,no] (yes) ")
        .to("yes", "\nExiting configuration mode\n\n", "exec")
        .to("", "\nExiting configuration mode\n\n", "exec")
        .to("no", "\n", "configuration")
        .start()
        .await;
    let mut session = running.connect().await.unwrap();
    let configuration = session.configuration().await.unwrap();
    configuration.leave().await.unwrap();
    assert_eq!(session.prompt(), "netops@fw1>");
    session.close().await;
    // Another user's changes are not discarded.
    assert!(
        !running
            .typed_in("configuration")
            .contains(&"rollback 0".to_owned())
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn the_callers_answer_commits_the_changes() {
    let running = controller_mode().start().await;
    let mut session = running.connect().await.unwrap();
    let mut configuration = session.configuration().await.unwrap();
    configuration.line("hostname core1").await.unwrap();
    let answer = Answer::new(Pattern::new(r"commit them\? \[yes/no").unwrap(), "yes").shown();
    configuration.line_with("end", &[answer]).await.unwrap();
    configuration.leave().await.unwrap();
    session.close().await;
    running.ended(1).await;
    assert_eq!(running.typed_in("question"), ["yes"]);
}
