//! Tests pipelined commands, and output that is observed while it arrives.

use std::time::Duration;

use netssh_core::{ExecOptions, Session};
use netssh_lab::{Interruption, Lab, LabDevice, Paging};

use crate::lab::endpoint;
use crate::support::{ageless, frr, linux};

fn commands() -> Vec<String> {
    [
        "show version",
        "show nonsense",
        "show interface brief",
        "show running-config",
        "show ip route",
        "show version",
    ]
    .map(str::to_owned)
    .into()
}

#[tokio::test(flavor = "multi_thread")]
async fn commands_in_one_go_answer_as_one_by_one() {
    let mut session = frr().await;
    for _ in 0..10 {
        let together = session.exec_all(commands()).await.unwrap();
        for (command, reply) in commands().iter().zip(&together) {
            assert_eq!(reply.command, *command);
            let alone = session.exec(command).await.unwrap();
            assert_eq!(ageless(&reply.output), ageless(&alone.output), "{command}");
            assert_eq!(reply.failure, alone.failure, "{command}");
        }
        assert_eq!(together.len(), commands().len());
    }
    session.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn unsafe_commands_in_between_are_sent_alone() {
    let mut session = frr().await;
    let commands = [
        "show version",
        "terminal width 100",
        "show version",
        "show ip route",
    ];
    let replies = session
        .exec_all(commands.map(str::to_owned).into())
        .await
        .unwrap();
    assert_eq!(replies.len(), 4);
    assert_eq!(replies[0].output, replies[2].output);
    assert!(session.exec("show version").await.unwrap().is_success());
    session.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_shell_runs_them_one_after_the_other() {
    let mut session = linux().await;
    let commands = ["cd /", "pwd", "cat", "false"].map(str::to_owned);
    let mut pipeline = session.pipeline(commands[..2].to_vec()).unwrap();
    assert_eq!(pipeline.next().await.unwrap().unwrap().output, "");
    assert_eq!(pipeline.next().await.unwrap().unwrap().output, "/");
    assert!(pipeline.next().await.is_none());
    session.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pager_in_between_loses_nothing() {
    let lab = Lab::start(LabDevice {
        paging: Paging::Always,
        ..LabDevice::cisco_ios("r1")
    })
    .await
    .unwrap();
    let mut session = Session::connect(&endpoint(&lab)).await.unwrap();
    let commands = [
        "show ip interface brief",
        "show running-config",
        "show inventory",
    ];
    let replies = session
        .exec_all(commands.map(str::to_owned).into())
        .await
        .unwrap();
    assert_eq!(
        replies[1].output,
        lab.running_config().trim_end_matches('\n')
    );
    for (command, reply) in commands.iter().zip(&replies) {
        assert_eq!(session.exec(command).await.unwrap().output, reply.output);
    }
    session.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn log_lines_in_the_echoes_of_commands_change_no_output() {
    let commands = [
        "show ip interface brief",
        "show inventory",
        "show ip interface brief",
    ];
    let replies = async |interruption: Option<Interruption>| {
        let mut device = LabDevice::cisco_ios("r1");
        device.faults.interruption = interruption;
        let lab = Lab::start(device).await.unwrap();
        let mut session = Session::connect(&endpoint(&lab)).await.unwrap();
        let replies = session.exec_all(commands.map(str::to_owned).into()).await;
        session.close().await;
        let replies = replies.unwrap().into_iter();
        replies.map(|reply| reply.output).collect::<Vec<_>>()
    };
    let undisturbed = replies(None).await;
    for after in ["s", "show", "show ", "show i", "show invent"] {
        let text = "%LINK-3-UPDOWN: Interface GigabitEthernet0/1, changed state to up".to_owned();
        let after = after.to_owned();
        let disturbed = replies(Some(Interruption {
            after: after.clone(),
            text,
        }))
        .await;
        assert_eq!(disturbed, undisturbed, "a log line after {after:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pipeline_that_is_dropped_half_way_leaves_no_session_out_of_step() {
    let mut session = frr().await;
    let mut pipeline = session.pipeline(commands()).unwrap();
    pipeline.next().await.unwrap().unwrap();
    drop(pipeline);
    assert!(!session.is_usable());
    assert_eq!(
        session.exec("show version").await.unwrap_err().code(),
        "invalid"
    );
    session.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn output_is_watched_while_it_arrives() {
    let mut session = linux().await;
    let (arrived, mut arrivals) = tokio::sync::mpsc::unbounded_channel();
    let mut watch = move |lines: &str| arrived.send(lines.to_owned()).unwrap();
    let directory = tempfile::tempdir().unwrap();
    let go = directory.path().join("go");
    // The command ends only after its first line was observed.
    let command = format!(
        "echo first; until [ -e {0} ]; do sleep 0.01; done; echo last",
        go.display()
    );
    let seen = tokio::spawn(async move {
        assert_eq!(arrivals.recv().await.unwrap(), "first\n");
        tokio::fs::write(&go, "").await.unwrap();
        assert_eq!(arrivals.recv().await.unwrap(), "last\n");
        assert!(arrivals.recv().await.is_none());
    });
    let options = ExecOptions {
        timeout: Some(Duration::from_secs(20)),
        watch: Some(&mut watch),
        ..ExecOptions::default()
    };
    let reply = session.exec_with(&command, options).await.unwrap();
    assert_eq!(reply.output, "first\nlast");
    drop(watch);
    seen.await.unwrap();
    session.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_watcher_of_a_router_sees_the_output_and_nothing_else() {
    let mut session = frr().await;
    for command in ["show running-config", "terminal width 100", "show version"] {
        let mut seen = String::new();
        let mut watch = |lines: &str| seen.push_str(lines);
        let options = ExecOptions {
            watch: Some(&mut watch),
            ..ExecOptions::default()
        };
        let reply = session.exec_with(command, options).await.unwrap();
        assert_eq!(
            seen.trim_end_matches('\n'),
            reply.output.trim_end_matches('\n'),
            "{command}"
        );
    }
    session.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn silence_has_a_limit_of_its_own() {
    let mut session = linux().await;
    let options = || ExecOptions {
        silence: Some(Duration::from_millis(400)),
        ..ExecOptions::default()
    };
    let talking = "for i in 1 2 3 4 5 6; do echo $i; sleep 0.1; done";
    assert!(
        session
            .exec_with(talking, options())
            .await
            .unwrap()
            .is_success()
    );
    let error = session
        .exec_with("echo a; sleep 20", options())
        .await
        .unwrap_err();
    assert_eq!(error.code(), "timeout");
    assert_eq!(error.partial(), Some("a"));
    session.close().await;
}
