//! Tests recorded sessions with real devices, from the mock data of unicon.plugins
//! (`src/unicon/plugins/tests/mock_data`), reduced to the relevant parts.

use netssh_core::{Answer, CommitOptions, ExecOptions, Pattern};

use crate::scripted::{Device, PASSWORD};

fn answer(question: &str, answer: &str) -> Answer {
    Answer::new(Pattern::new(question).unwrap(), answer)
}

/// Returns the device of `sros/sros_mock_data.yaml`.
fn sros() -> Device {
    let version = "TiMOS-C-19.10.R1 cpm/hops64 Nokia 7950 XRS Copyright (c) 2000-2019 Nokia.\nAll rights reserved. All use subject to applicable license agreements.\n";
    Device::new("nokia_sros", "[]\nA:grpc@COTKON04XR2# ")
        .on("show version", version)
        .to("show", "", "show")
        .to("configure private", "INFO: CLI #2070: Entering private configuration mode\n", "private")
        .to("//", "INFO: CLI #2051: Switching to the classic CLI engine\n", "classic")
        .state("show", "[show]\nA:grpc@COTKON04XR2# ")
        .on("version", version)
        .to("exit", "", "exec")
        .state("private", "[pr:configure]\nA:grpc@COTKON04XR2# ")
        .to(
            "exit",
            "INFO: CLI #2071: Uncommitted changes are present in the candidate configuration. Exiting private configuration mode will discard those changes.\n\n",
            "question",
        )
        .question("question", "Discard uncommitted changes? [y,n] ")
        .to("n", "\n*\n", "private")
        .to("y", "WARNING: CLI #2073: Exiting private configuration mode - uncommitted changes are discarded\n", "exec")
        .otherwise("", "question")
        .state("classic", "A:COTKON04XR2# ")
        .on("show version", version)
        .to("//", "INFO: CLI #2052: Switching to the MD-CLI engine\n", "exec")
}

#[tokio::test(flavor = "multi_thread")]
async fn sr_os_runs_commands_in_both_command_lines() {
    for packet in [usize::MAX, 7, 1] {
        let running = sros().packets(packet).start().await;
        let mut session = running.connect().await.unwrap();
        assert_eq!(session.prompt(), "A:grpc@COTKON04XR2#");
        for (command, prompt, lines) in [
            ("show version", "A:grpc@COTKON04XR2#", 2),
            ("show", "A:grpc@COTKON04XR2#", 0),
            ("version", "A:grpc@COTKON04XR2#", 2),
            ("exit", "A:grpc@COTKON04XR2#", 0),
            ("//", "A:COTKON04XR2#", 1),
            ("show version", "A:COTKON04XR2#", 2),
            ("//", "A:grpc@COTKON04XR2#", 1),
        ] {
            let reply = session.exec(command).await;
            let reply = reply.unwrap_or_else(|error| panic!("{command}: {error}"));
            assert_eq!(session.prompt(), prompt, "{command}");
            assert_eq!(reply.output.lines().count(), lines, "{reply:?}");
        }
        session.close().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn sr_os_asks_before_it_discards() {
    let running = sros().start().await;
    let mut session = running.connect().await.unwrap();
    session.exec("configure private").await.unwrap();
    let discard = answer(r"Discard uncommitted changes\? \[y,n\]", "y").shown();
    let reply = session
        .interact("exit", &[discard], ExecOptions::default())
        .await
        .unwrap();
    assert!(
        reply.output.contains("uncommitted changes are discarded"),
        "{reply:?}"
    );
    assert_eq!(session.prompt(), "A:grpc@COTKON04XR2#");
    session.close().await;
    assert_eq!(running.typed_in("question"), ["y"]);
}

/// Returns the device of `iosxr/iosxr_mock_data.yaml`.
fn xr() -> Device {
    let platform = "Thu Mar 24 13:16:23.555 UTC\nNode    Type        State      Config State\n-----------------------------------------------------------------------------\n0/RSP0/CPU0     A9K-RSP-4G(Active)        IOS XR RUN       PWR,NSHUT,MON\n";
    Device::new("cisco_xr", "RP/0/RP0/CPU0:R2#")
        .on("show platform", platform)
        .to("clear logging", "Tue Nov 21 15:26:28.299 UTC\n", "logging")
        .to("admin", "", "admin")
        .to("run", "Thu Aug  2 01:40:01.802 PST\n", "shell")
        .question("logging", "Clear logging buffer [confirm] [y/n] : ")
        .to("y", "", "exec")
        .otherwise("", "again")
        .question(
            "again",
            "Clear logging buffer [confirm with only 'y' or 'n'] [y/n] :",
        )
        .to("y", "", "exec")
        .state("admin", "RP/0/RP0/CPU0:R2(admin)#")
        .on("show platform", platform)
        .to("exit", "", "exec")
        .shell(
            "shell",
            "[xr-vm_node0_RP0_CPU0:~]$",
            "bash: {word}: command not found\n",
        )
        .to("exit", "logout\n", "exec")
}

#[tokio::test(flavor = "multi_thread")]
async fn ios_xr_changes_modes() {
    let table = "Node    Type        State      Config State\n-----------------------------------------------------------------------------\n0/RSP0/CPU0     A9K-RSP-4G(Active)        IOS XR RUN       PWR,NSHUT,MON";
    let running = xr().start().await;
    let mut session = running.connect().await.unwrap();
    assert_eq!(session.exec("show platform").await.unwrap().output, table);
    session.exec("admin").await.unwrap();
    assert_eq!(session.prompt(), "RP/0/RP0/CPU0:R2(admin)#");
    assert_eq!(session.exec("show platform").await.unwrap().output, table);
    session.exec("exit").await.unwrap();
    assert_eq!(session.prompt(), "RP/0/RP0/CPU0:R2#");
    let clear = answer(r"\[confirm\] \[y/n\] :", "y").shown();
    let reply = session
        .interact("clear logging", &[clear], ExecOptions::default())
        .await
        .unwrap();
    assert!(reply.is_success(), "{reply:?}");
    session.close().await;
    assert_eq!(running.typed_in("logging"), ["y"]);
}

/// `asa/asa_mock_data.yaml`.
#[tokio::test(flavor = "multi_thread")]
async fn asa_question_about_error_reporting_is_answered() {
    let running = Device::new("cisco_asa", "ciscoasa# ")
        .to(
            "configure terminal",
            "\n***************************** NOTICE *****************************\n\nHelp to improve the ASA platform by enabling anonymous reporting,\nwhich allows Cisco to securely receive minimal error and health\ninformation from the device.\n\nWould you like to enable anonymous error reporting to help improve\n",
            "question",
        )
        .question("question", "the product? [Y]es, [N]o, [A]sk later: ")
        .to("A", "\nYou will be reminded again in 7 days.\n\n", "configuration")
        .to("N", "\nIn the future, if you would like to enable this feature,\nissue the command \"call-home reporting anonymous\".\n\n", "configuration")
        .otherwise("\n", "question")
        .state("configuration", "ciscoasa(config)# ")
        .on("names", "")
        .to("end", "", "exec")
        .start()
        .await;
    let mut session = running.connect().await.unwrap();
    let mut configuration = session.configuration().await.unwrap();
    assert!(configuration.line("names").await.unwrap().is_success());
    configuration.leave().await.unwrap();
    session.close().await;
    let typed = running.typed_in("question");
    assert!(typed == ["A"] || typed == ["N"], "{typed:?}");
}

/// `iosxe/iosxe_mock_data_sdwan.yaml`.
#[tokio::test(flavor = "multi_thread")]
async fn a_router_that_is_managed_by_a_controller() {
    let running = Device::new("cisco_xe", "Router#")
        .on("configure terminal", "This command is not supported\n")
        .to("config-transaction", "admin connected from 127.0.0.1 using console on Router\n", "configuration")
        .state("configuration", "Router(config)# ")
        .on("no logging console", "")
        .on("exec-timeout 0", "syntax error: unknown command\n")
        .to(
            "commit",
            "The following warnings were generated:\n'system is-vmanaged': This device is being managed by the vManage. Any\nconfiguration changes to this device will be overwritten by the vManage after\nthe control connection to the vManage comes back up.\n",
            "proceed",
        )
        .to("end", "", "exec")
        .question("proceed", "Proceed? [yes,no] ")
        .to("yes", "Commit complete.\n", "configuration")
        .to("no", "Aborted: by user\n", "configuration")
        .otherwise("", "proceed")
        .start()
        .await;
    let mut session = running.connect().await.unwrap();
    match session.configuration().await {
        Err(error) => {
            assert_eq!(error.code(), "refused", "{error}");
            assert!(error.to_string().contains("not supported"), "{error}");
            assert!(running.typed_in("configuration").is_empty());
        }
        Ok(mut configuration) => {
            assert!(
                configuration
                    .line("no logging console")
                    .await
                    .unwrap()
                    .is_success()
            );
            let reply = configuration.line("exec-timeout 0").await.unwrap();
            assert!(!reply.is_success(), "{reply:?}");
            let options = CommitOptions {
                answers: vec![answer(r"Proceed\? \[yes,no\]", "yes").shown()],
                ..CommitOptions::default()
            };
            let reply = configuration.commit(&options).await.unwrap();
            assert!(reply.output.contains("Commit complete"), "{reply:?}");
            configuration.leave().await.unwrap();
        }
    }
    session.close().await;
}

/// `hp_comware/hp_comware_data.yaml`.
#[tokio::test(flavor = "multi_thread")]
async fn comware_saves_after_three_questions() {
    let running = Device::new("hp_comware", "<HP>")
        .to("save", "", "sure")
        .to("save force", "Validating file. Please wait...\nConfiguration is saved to device successfully.\n", "exec")
        .question("sure", "The current configuration will be written to the device. Are you sure? [Y/N]:")
        .to("Y", "", "file")
        .to("y", "", "file")
        .to("N", "", "exec")
        .question("file", "Please input the file name(*.cfg)[flash:/startup.cfg]\n(To leave the existing filename unchanged, press the enter key):")
        .to("", "", "overwrite")
        .question("overwrite", "flash:/startup.cfg exists, overwrite? [Y/N]:")
        .to("Y", "Validating file. Please wait...\nConfiguration is saved to device successfully.\n", "exec")
        .to("y", "Validating file. Please wait...\nConfiguration is saved to device successfully.\n", "exec")
        .start()
        .await;
    let mut session = running.connect().await.unwrap();
    let reply = session.save().await.unwrap();
    assert!(
        reply.is_success() && reply.output.contains("saved to device successfully"),
        "{reply:?}"
    );
    session.close().await;
}

/// `nxos/nxos_mock_copy.yaml`.
#[tokio::test(flavor = "multi_thread")]
async fn nx_os_copies_after_four_questions() {
    let running = Device::new("cisco_nxos", "N93_1#")
        .to("copy scp: bootflash:", "", "file")
        .question("file", "Enter source filename: ")
        .to("run-cfg.cfg", "", "vrf")
        .question(
            "vrf",
            "Enter vrf (If no input, current vrf 'default' is considered): ",
        )
        .to("management", "", "user")
        .question("user", "Enter username: ")
        .to("scpuser", "", "password")
        .question("password", "scpuser@10.0.0.7's password: ")
        .hidden()
        .to(
            "scppwd",
            "run-cfg.cfg          \rrun-cfg.cfg    100% 6470     6.3KB/s   00:00\nCopy complete.\n",
            "exec",
        )
        .otherwise("Permission denied, please try again.\n", "password")
        .start()
        .await;
    let mut session = running.connect().await.unwrap();
    let answers = [
        answer("Enter source filename:", "run-cfg.cfg").shown(),
        answer("Enter vrf ", "management").shown(),
        answer("Enter username:", "scpuser").shown(),
        answer("scpuser@.*'s password:", "scppwd"),
    ];
    let reply = session
        .interact("copy scp: bootflash:", &answers, ExecOptions::default())
        .await
        .unwrap();
    assert!(reply.output.ends_with("Copy complete."), "{reply:?}");
    assert!(!reply.output.contains("scppwd"), "{reply:?}");
    session.close().await;
    assert_eq!(running.typed_in("password"), ["scppwd"]);
}

/// `junos/junos_mock_data.yaml`.
#[tokio::test(flavor = "multi_thread")]
async fn junos_refuses_a_commit() {
    let running = Device::new("juniper_junos", "root@junos_dev> ")
        .to("configure", "Entering configuration mode\n\n", "configuration")
        .state("configuration", "[edit]\nroot@junos_dev# ")
        .on("set interfaces ge-0/0/0 unit 29", "\n")
        .on("commit", "[edit interfaces ge-0/0/0]\n  'unit 29'\n    Only unit 0 is valid for this encapsulation\nerror: configuration check-out failed\n\n")
        .on("rollback 0", "load complete\n\n")
        .to("exit configuration-mode", "Exiting configuration mode\n\n", "exec")
        .start()
        .await;
    let mut session = running.connect().await.unwrap();
    let mut configuration = session.configuration().await.unwrap();
    configuration
        .line("set interfaces ge-0/0/0 unit 29")
        .await
        .unwrap();
    let reply = configuration
        .commit(&CommitOptions::default())
        .await
        .unwrap();
    assert!(!reply.is_success(), "{reply:?}");
    assert!(reply.output.contains("Only unit 0 is valid"), "{reply:?}");
    let left = configuration.leave().await.unwrap();
    assert!(left.discarded);
    session.close().await;
    assert!(
        running
            .typed_in("configuration")
            .contains(&"rollback 0".to_owned())
    );
}

/// `gaia/gaia_mock_data.yaml`.
#[tokio::test(flavor = "multi_thread")]
async fn gaia_does_not_get_a_password_for_its_expert_question() {
    let running = Device::new("generic", "gaia-gw> ")
        .unknown("CLINFR0329  Invalid command:'nonsense'.\n")
        .on(
            "show version all",
            "Product version Check Point Gaia R80.40\nOS build 294\n",
        )
        .to("expert", "", "password")
        .question("password", "Enter expert password:")
        .hidden()
        .otherwise("\nWrong password.\n", "exec")
        .start()
        .await;
    let mut endpoint = running.endpoint();
    endpoint.timeouts.command = std::time::Duration::from_secs(2);
    let mut session = running.connect_to(&endpoint).await.unwrap();
    let reply = session.exec("show version all").await.unwrap();
    assert_eq!(
        reply.output,
        "Product version Check Point Gaia R80.40\nOS build 294"
    );
    let error = session.exec("expert").await.unwrap_err();
    assert!(
        error.to_string().contains("Enter expert password:"),
        "{error}"
    );
    session.close().await;
    let typed = running.typed_in("password");
    assert!(typed.iter().all(|line| line == "^C"), "{typed:?}");
    assert!(!typed.contains(&PASSWORD.to_owned()));
}

/// `ironware/ironware_mock_data.yaml`: an output with lines that are comments on other platforms.
#[tokio::test(flavor = "multi_thread")]
async fn ironware_pings() {
    let ping = "Send 5 96-byte MPLS Echo Requests over RSVP LSP mlx8.1_to_ces.2, timeout 5000 msec\nType Control-c to abort\n!!!!!\nSuccess rate is 100 percent (5/5), round-trip min/avg/max=0/1/3 ms";
    let command = "ping mpls rsvp lsp mlx8.1_to_ces.2";
    let running = Device::new("generic", "SSH@mlx8#")
        .on(command, format!("{ping}\n"))
        .start()
        .await;
    let mut session = running.connect().await.unwrap();
    assert_eq!(session.exec(command).await.unwrap().output, ping);
    session.close().await;
}
