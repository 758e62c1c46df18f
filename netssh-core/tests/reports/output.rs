//! Tests outputs: echoes of all kinds, log lines, newlines, silence, changing prompts.

use netssh_core::Error;

use crate::reports::{all, same};
use crate::scripted::{Device, Echo, PAUSE, Running};

/// A platform, its prompt, and a command that shows something.
type Kind = (&'static str, &'static str, &'static str);

const KINDS: &[Kind] = &[
    ("cisco_ios", "r1#", "show ip interface brief | include up"),
    ("arista_eos", "leaf1#", "show ip interface brief"),
    (
        "paloalto_panos",
        "user@chassis(passive)> ",
        "show system info",
    ),
    ("juniper_junos", "netops@fw1> ", "show interfaces terse"),
    ("huawei_vrp", "<HUAWEI>", "display ip interface brief"),
    (
        "mikrotik_routeros",
        "[admin@MikroTik] > ",
        "/ip address print detail",
    ),
    ("fortinet", "FGT-01 # ", "get system status"),
    ("generic", "gw-1> ", "show version all"),
    ("frr", "edge1# ", "show ip route summary"),
];

const OUTPUT: &str = "first line\n  second line, with blanks  in it\n\nfourth line\n";

fn shown(text: &str) -> String {
    let lines: Vec<&str> = text.lines().map(str::trim_end).collect();
    lines.join("\n").trim_end().to_owned()
}

fn words(running: &Running, name: &str) -> impl Fn(Error) -> String {
    let (name, transcript) = (name.to_owned(), running.transcript());
    move |error| format!("{name}: {error}; the device said {transcript}")
}

/// Runs the command three times, and a refused one.
async fn shows(name: &str, device: Device, command: &str) -> Result<(), String> {
    let running = device.start().await;
    let session = running.connect().await;
    let mut session = session.map_err(|error| words(&running, name)(error))?;
    for _ in 0..3 {
        let reply = session.exec(command).await;
        let reply = reply.map_err(|error| words(&running, name)(error))?;
        // If the command is not echoed, the newline of Enter resembles an empty line.
        let output = reply.output.trim_start_matches('\n');
        same(name, shown(output), shown(OUTPUT))?;
        same(name, reply.failure, None)?;
    }
    let reply = session.exec("nonsense here").await;
    let reply = reply.map_err(|error| words(&running, name)(error))?;
    same(&format!("{name}: {reply:?}"), reply.is_success(), false)?;
    session.close().await;
    Ok(())
}

async fn echoes(case: (&'static Kind, Echo, usize)) -> Result<(), String> {
    let ((platform, prompt, command), echo, packet) = case;
    let name = format!("{platform}, {echo:?}, packets of {packet}");
    let device = Device::new(platform, *prompt)
        .on(*command, OUTPUT)
        .echo(echo)
        .packets(packet);
    shows(&name, device, command).await
}

#[tokio::test(flavor = "multi_thread")]
async fn echoes_of_any_kind_are_removed_from_the_output() {
    // Growing: PAN-OS redraws the line with every word (netmiko#1294). Twice: EOS, Gaia and
    // RouterOS (netmiko PR#2944, PR#3742, PR#2810). Early: a terminal with its own echo.
    let mut cases = Vec::new();
    for kind in KINDS {
        for echo in [
            Echo::Plain,
            Echo::Off,
            Echo::Twice,
            Echo::Growing,
            Echo::Redrawn,
            Echo::Early,
        ] {
            for packet in [usize::MAX, 1] {
                cases.push((kind, echo, packet));
            }
        }
    }
    all(cases, echoes).await;
}

async fn ends_lines(case: (&'static Kind, &'static str)) -> Result<(), String> {
    let ((platform, prompt, command), newline) = case;
    for packet in [usize::MAX, 1] {
        let name = format!("{platform}, {newline:?}, packets of {packet}");
        let device = Device::new(platform, *prompt)
            .on(*command, OUTPUT)
            .newline(newline)
            .packets(packet);
        shows(&name, device, command).await?;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn line_endings_of_all_kinds_are_recognised() {
    let mut cases = Vec::new();
    for kind in KINDS {
        for newline in [
            "\n", "\r\r\n", "\r\n\0", "\r\0\r\n", "\n\r", "\r\r\r\n", "\x1bE",
        ] {
            cases.push((kind, newline));
        }
    }
    all(cases, ends_lines).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn output_without_a_newline_at_its_end_is_whole() {
    let mut cases = Vec::new();
    for kind in KINDS {
        for packet in [usize::MAX, 1] {
            cases.push((kind, packet));
        }
    }
    all(cases, |((platform, prompt, command), packet)| async move {
        let name = format!("{platform}, packets of {packet}");
        let device = Device::new(platform, *prompt)
            .on(*command, OUTPUT.trim_end())
            .packets(packet);
        shows(&name, device, command).await
    })
    .await;
}

/// Checks output that repeats the prompt, also at the end of a packet before a pause.
async fn repeats_the_prompt(case: (&'static Kind, usize)) -> Result<(), String> {
    let ((platform, prompt, command), packet) = case;
    let name = format!("{platform}, packets of {packet}");
    let prompt = (*prompt).to_owned();
    let silence = PAUSE.repeat(8);
    let output = format!("a\n{prompt}{silence}\nb\n{prompt}\n{prompt}\n{prompt}{command}\nc\n");
    let expected = output.replace(PAUSE, "");
    let device = Device::new(platform, prompt)
        .on(*command, output)
        .packets(packet);
    let running = device.start().await;
    let session = running.connect().await;
    let mut session = session.map_err(|error| words(&running, &name)(error))?;
    let reply = session.exec(command).await;
    let reply = reply.map_err(|error| words(&running, &name)(error))?;
    same(&name, shown(&reply.output), shown(&expected))?;
    session.close().await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn output_that_repeats_the_prompt_is_whole() {
    let mut cases = Vec::new();
    for kind in KINDS {
        for packet in [usize::MAX, 7, 1] {
            cases.push((kind, packet));
        }
    }
    all(cases, repeats_the_prompt).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_device_that_falls_silent_is_waited_for() {
    let silence = PAUSE.repeat(15);
    all(KINDS.iter().collect(), |(platform, prompt, command)| {
        let output = OUTPUT.replace("second", &format!("se{silence}cond"));
        let device = Device::new(platform, *prompt).on(*command, output);
        async move { shows(platform, device, command).await }
    })
    .await;
}

/// A log line after the prompt, with or without another prompt after it.
struct Log {
    name: &'static str,
    text: &'static str,
    /// The device shows the prompt again.
    prompts: bool,
}

const LOGS: &[Log] = &[
    Log {
        name: "without a prompt (unicon.plugins#71, netmiko#3696)",
        text: "\n*Mar  1 00:00:21.035: %LINEPROTO-5-UPDOWN: Line protocol on Interface Gi0/1, changed state to up\n",
        prompts: false,
    },
    Log {
        name: "with a prompt",
        text: "\n*Mar  1 00:00:21.035: %SYS-5-CONFIG_I: Configured from console by console\n",
        prompts: true,
    },
    Log {
        name: "several without a prompt",
        text: "\nNov 23 11:33:46.605 GMT: %DMI-5-AUTH_PASSED: R0/0: dmiauthd: User 'automation' authenticated successfully\n\nNov 23 11:33:47.001 GMT: %LINK-3-UPDOWN: Interface Gi0/2, changed state to down\n",
        prompts: false,
    },
];

/// Asserts that the reply contains exactly the command's lines, in order; a log line may be
/// anywhere.
///
/// The prompt above the log line resembles output and may be included.
fn holds(name: &str, output: &str, expected: &str, log: &str) -> Result<(), String> {
    let is_log = |line: &&str| !line.trim().is_empty() && log.contains(line.trim());
    let lines = output.lines().filter(|line| !is_log(line));
    let lines: Vec<&str> = lines
        .map(str::trim_end)
        .filter(|line| !line.is_empty())
        .collect();
    let expected: Vec<&str> = expected
        .lines()
        .map(str::trim_end)
        .filter(|line| !line.is_empty())
        .collect();
    same(name, lines, expected)
}

async fn logs(case: (&'static Kind, &'static Log, usize)) -> Result<(), String> {
    let ((platform, prompt, command), log, packet) = case;
    let name = format!("{platform}, {}, packets of {packet}", log.name);
    let noise = format!("{}{prompt}", log.text);
    let refusal = "% Invalid input\nError: no\nsyntax error\n";
    let text = match log.prompts {
        true => format!("{}{prompt}", log.text),
        false => log.text.to_owned(),
    };
    let running = Device::new(platform, *prompt)
        .on(*command, OUTPUT)
        .late(text.clone())
        .on("nonsense", refusal)
        .late(text.clone())
        .packets(packet)
        .start()
        .await;
    let session = running.connect().await;
    let mut session = session.map_err(|error| words(&running, &name)(error))?;
    for _ in 0..3 {
        let reply = session.exec(command).await;
        let reply = reply.map_err(|error| words(&running, &name)(error))?;
        holds(&name, &reply.output, OUTPUT, &noise)?;
        same(&name, reply.failure, None)?;
        // A command that the session does not know to be read-only.
        let reply = session.exec("nonsense").await;
        let reply = reply.map_err(|error| words(&running, &name)(error))?;
        holds(&name, &reply.output, refusal, &noise)?;
    }
    session.close().await;
    let typed = running.typed_in("exec");
    let repeated = typed.iter().filter(|line| *line == "nonsense").count();
    same(&format!("{name}: commands typed"), repeated, 3)
}

#[tokio::test(flavor = "multi_thread")]
async fn log_lines_after_the_prompt_do_not_change_the_reply() {
    let mut cases = Vec::new();
    for kind in KINDS {
        for log in LOGS {
            for packet in [usize::MAX, 1] {
                cases.push((kind, log, packet));
            }
        }
    }
    all(cases, logs).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn log_lines_between_configuration_lines_do_not_mix_up_replies() {
    let log = "\n*Mar  1 00:00:21.035: %LINK-3-UPDOWN: Interface Gi0/1, changed state to up\n";
    let running = Device::new("cisco_ios", "r1#")
        .on("show clock", "12:00:00\n")
        .to(
            "configure terminal",
            "Enter configuration commands, one per line.  End with CNTL/Z.\n",
            "configuration",
        )
        .late(log)
        .state("configuration", "r1(config)#")
        .to("interface Gi0/1", "", "interface")
        .late(log)
        .state("interface", "r1(config-if)#")
        .on("description a", "")
        .late(log)
        .on("no shutdown", "")
        .late(log)
        .to("end", "", "exec")
        .late(log)
        .start()
        .await;
    let mut session = running.connect().await.unwrap();
    let mut configuration = session.configuration().await.unwrap();
    for line in [
        "interface Gi0/1",
        "description a",
        "no shutdown",
        "bogus line",
    ] {
        let reply = configuration.line(line).await;
        let reply = reply.unwrap_or_else(|error| panic!("{line}: {error}"));
        assert_eq!(reply.is_success(), line != "bogus line", "{reply:?}");
    }
    configuration.leave().await.unwrap();
    let reply = session.exec("show clock").await.unwrap();
    holds("show clock", &reply.output, "12:00:00\n", log).unwrap();
    session.close().await;
    let typed = running.typed_in("interface");
    let lines: Vec<_> = typed.iter().filter(|line| !line.starts_with('!')).collect();
    assert_eq!(lines, ["description a", "no shutdown", "bogus line", "end"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_changed_host_name_is_learnt() {
    // netmiko#3523: the host name changes, and with it all prompts.
    let running = Device::new("cisco_ios", "Switch#")
        .to("configure terminal", "", "old")
        .state("old", "Switch(config)#")
        .to("hostname core&edge-1", "", "new")
        .state("new", "core&edge-1(config)#")
        .to("end", "", "renamed")
        .on("ip domain-name example.net", "")
        .state("renamed", "core&edge-1#")
        .on("show clock", "12:00:00\n")
        .start()
        .await;
    let mut session = running.connect().await.unwrap();
    let mut configuration = session.configuration().await.unwrap();
    for line in ["hostname core&edge-1", "ip domain-name example.net"] {
        let reply = configuration.line(line).await.unwrap();
        assert!(reply.is_success(), "{reply:?}");
    }
    configuration.leave().await.unwrap();
    assert_eq!(session.prompt(), "core&edge-1#");
    assert_eq!(session.exec("show clock").await.unwrap().output, "12:00:00");
    session.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_command_that_enters_another_command_line_is_followed() {
    // netmiko#1229: `connect nxos a` on a fabric interconnect.
    let running = Device::new("cisco_nxos", "AAN-FI01-A#")
        .to(
            "connect nxos a",
            "Cisco Nexus Operating System (NX-OS) Software\n",
            "nxos",
        )
        .state("nxos", "AAN-FI01-A(nxos)# ")
        .on("show clock", "12:00:00\n")
        .to("exit", "", "exec")
        .start()
        .await;
    let mut session = running.connect().await.unwrap();
    let reply = session.exec("connect nxos a").await.unwrap();
    assert_eq!(
        reply.output,
        "Cisco Nexus Operating System (NX-OS) Software"
    );
    assert_eq!(session.prompt(), "AAN-FI01-A(nxos)#");
    assert_eq!(session.exec("show clock").await.unwrap().output, "12:00:00");
    session.exec("exit").await.unwrap();
    assert_eq!(session.prompt(), "AAN-FI01-A#");
    session.close().await;
}
