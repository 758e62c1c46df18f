//! Tests blocks of text in a configuration: banners, certificates, macros, configurations loaded
//! from the terminal.
//!
//! The device receives the whole text while it reads text, and never as commands.

use std::time::Duration;

use netssh_core::{Answer, Error, Pattern};

use crate::reports::{all, same};
use crate::scripted::{Device, PAUSE, Running};

struct Block {
    name: &'static str,
    device: fn() -> Device,
    lines: &'static [&'static str],
    /// The lines that the device reads in its state `text`; `^D` is Ctrl-D.
    text: &'static [&'static str],
    answers: &'static [(&'static str, &'static str)],
    /// A part of the output or of the failure.
    outcome: Result<&'static str, &'static str>,
    /// A line that works afterwards.
    next: &'static str,
}

/// Creates an IOS-like device with a command that reads text up to a delimiter.
fn ios(
    platform: &'static str,
    command: &'static str,
    says: &'static str,
    end: &'static str,
) -> Device {
    ios_that_reads(platform, command, says, end).to("", "", "configuration")
}

/// Creates the same device without a reply to the last line of the text.
fn ios_that_reads(
    platform: &'static str,
    command: &'static str,
    says: &'static str,
    end: &'static str,
) -> Device {
    Device::new(platform, "r1#")
        .to(
            "configure terminal",
            "Enter configuration commands, one per line.  End with CNTL/Z.\n",
            "configuration",
        )
        .state("configuration", "r1(config)#")
        .to(command, says, "text")
        .on("hostname r1", "")
        .to("end", "", "exec")
        .text("text", "", end)
}

fn junos(says: &'static str) -> Device {
    Device::new("juniper_junos", "netops@fw1> ")
        .to(
            "configure",
            "Entering configuration mode\n\n",
            "configuration",
        )
        .state("configuration", "[edit]\nnetops@fw1# ")
        .to(
            "load merge terminal",
            "[Type ^D at a new line to end input]\n",
            "text",
        )
        .to(
            "load set terminal",
            "[Type ^D at a new line to end input]\n",
            "text",
        )
        .on("set system host-name fw1", "\n")
        .on("rollback 0", "load complete\n\n")
        .on("commit", "commit complete\n\n")
        .to(
            "exit configuration-mode",
            "Exiting configuration mode\n\n",
            "exec",
        )
        .text("text", "", "^D")
        .to("", says, "configuration")
}

const MOTD: &str = "Enter TEXT message.  End with the character '^'.\n";

#[rustfmt::skip]
const BLOCKS: &[Block] = &[
    Block {
        name: "a banner (netmiko#134, ansible#22216)",
        device: || ios("cisco_ios", "banner motd ^", MOTD, "^"),
        lines: &["banner motd ^", "*********************", "* Big ugly banner with lots of text     *", "*********************", "^"],
        text: &["*********************", "* Big ugly banner with lots of text     *", "*********************", "^"],
        answers: &[], outcome: Ok(""), next: "hostname r1",
    },
    Block {
        name: "a banner with blank lines and lines like prompts (netmiko#2738)",
        device: || ios("cisco_xe", "banner login ^", MOTD, "^"),
        lines: &["banner login ^", "", "############", "r1#", "r1(config)#", "Password: ", "--More--", "reload", "", "no more ^"],
        text: &["", "############", "r1#", "r1(config)#", "Password: ", "--More--", "reload", "", "no more ^"],
        answers: &[], outcome: Ok(""), next: "hostname r1",
    },
    Block {
        name: "EOS's banner (napalm#732, arista.eos#36)",
        device: || ios("arista_eos", "banner motd", "Enter TEXT message. Type 'EOF' on its own line to end.\n", "EOF"),
        lines: &["banner motd", "!!aaaa", "", "end", "  indented", "EOF"],
        text: &["!!aaaa", "", "end", "  indented", "EOF"],
        answers: &[], outcome: Ok(""), next: "hostname r1",
    },
    Block {
        name: "a banner of NX-OS",
        device: || ios("cisco_nxos", "banner motd @", "Enter TEXT message.  End with the character '@'.\n", "@"),
        lines: &["banner motd @", "one", "two@"],
        text: &["one", "two@"],
        answers: &[], outcome: Ok(""), next: "hostname r1",
    },
    Block {
        name: "a banner of a ProCurve (aruba-switch-ansible#2)",
        device: || ios("hp_procurve", "banner motd #", "Enter TEXT message. End with the character'#'\n", "#"),
        lines: &["banner motd #", "Authorised users only", "#"],
        text: &["Authorised users only", "#"],
        answers: &[], outcome: Ok(""), next: "hostname r1",
    },
    Block {
        name: "a macro",
        device: || ios("cisco_ios", "macro name access", "Enter macro commands one per line. End with the character '@'.\n", "@"),
        lines: &["macro name access", "switchport mode access", "spanning-tree portfast", "@"],
        text: &["switchport mode access", "spanning-tree portfast", "@"],
        answers: &[], outcome: Ok(""), next: "hostname r1",
    },
    Block {
        name: "a certificate, and a question about it (cisco.ios#1036)",
        device: || ios_that_reads(
                "cisco_ios",
                "crypto pki authenticate pem_test",
                "\nEnter the base 64 encoded CA certificate.\nEnd with a blank line or the word \"quit\" on a line by itself\n\n",
                "quit",
            )
            .to("", "Certificate has the following attributes:\n       Fingerprint MD5: 4A84F4B5 5B2D5A48 5B8C4A1C 3D0B1D2E\n\n", "accept")
            .question("accept", "% Do you accept this certificate? [yes/no]: ")
            .to("yes", "Trustpoint CA certificate accepted.\n% Certificate successfully imported\n\n", "configuration")
            .otherwise("% Please answer 'yes' or 'no'.\n", "accept"),
        lines: &["crypto pki authenticate pem_test", "-----BEGIN CERTIFICATE-----", "MIIDfTCCAmWgAwIBAgIQes7tJu7l8IRGgomMEurtqzANBgkqhkiG9w0BAQsFADBR", "-----END CERTIFICATE-----", "quit"],
        text: &["-----BEGIN CERTIFICATE-----", "MIIDfTCCAmWgAwIBAgIQes7tJu7l8IRGgomMEurtqzANBgkqhkiG9w0BAQsFADBR", "-----END CERTIFICATE-----", "quit"],
        answers: &[(r"accept this certificate\? \[yes/no\]", "yes")],
        outcome: Ok("Certificate successfully imported"), next: "hostname r1",
    },
    Block {
        name: "a banner that is refused",
        device: || ios("cisco_ios", "banner never ^", "", "^"),
        lines: &["banner motd ^", "reload", "^"],
        text: &[], answers: &[], outcome: Err("% Invalid input detected"), next: "hostname r1",
    },
    Block {
        name: "Junos's load merge terminal (scrapligo#46)",
        device: || junos("load complete\n\n"),
        lines: &["load merge terminal", "system {", "    host-name fw1;", "}"],
        text: &["system {", "    host-name fw1;", "}", "^D"],
        answers: &[], outcome: Ok("load complete"), next: "set system host-name fw1",
    },
    Block {
        name: "Junos's load set terminal with an error",
        device: || junos("terminal:1:(5) syntax error at 'sytem'\n  [edit]\n    'set sytem'\n      syntax error\nload complete (1 errors)\n\n"),
        lines: &["load set terminal", "set sytem host-name fw1"],
        text: &["set sytem host-name fw1", "^D"],
        answers: &[], outcome: Err("syntax error"), next: "set system host-name fw1",
    },
    Block {
        name: "Comware's header",
        device: || Device::new("hp_comware", "<sw1>")
            .to("system-view", "System View: return to User View with Ctrl+Z.\n", "configuration")
            .state("configuration", "[sw1]")
            .to("header motd %", "Please input banner content, and quit with the character '%'.\n", "text")
            .on("hostname r1", "")
            .to("return", "", "exec")
            .text("text", "", "%")
            .to("", "", "configuration"),
        lines: &["header motd %", "<sw1>", "[sw1]", "quit", "%"],
        text: &["<sw1>", "[sw1]", "quit", "%"],
        answers: &[], outcome: Ok(""), next: "hostname r1",
    },
];

async fn is_read(case: (usize, usize)) -> Result<(), String> {
    let (index, packet) = case;
    let case = &BLOCKS[index];
    let running = (case.device)().packets(packet).start().await;
    let words = |error: Error| {
        format!(
            "{}: {error}; typed {:?}; the device said {}",
            case.name,
            running.typed(),
            running.transcript()
        )
    };
    let mut session = running.connect().await.map_err(words)?;
    let mut configuration = session.configuration().await.map_err(words)?;
    let lines: Vec<String> = case.lines.iter().map(|&line| line.to_owned()).collect();
    let mut answers = Vec::new();
    for (question, answer) in case.answers {
        answers.push(Answer::new(Pattern::new(question)?, *answer).shown());
    }
    let reply = configuration.block(&lines, &answers).await.map_err(words)?;
    match case.outcome {
        Ok(text) if reply.is_success() && reply.output.contains(text) => {}
        Err(text)
            if reply
                .failure
                .as_ref()
                .is_some_and(|failure| failure.contains(text)) => {}
        expected => {
            return Err(format!(
                "{}: expected {expected:?}, got {reply:?}",
                case.name
            ));
        }
    }
    same(
        case.name,
        running.typed_in("text"),
        case.text.iter().map(|&line| line.to_owned()).collect(),
    )?;
    let reply = configuration.line(case.next).await.map_err(words)?;
    same(
        &format!("{}: the next line: {reply:?}", case.name),
        reply.is_success(),
        true,
    )?;
    configuration.leave().await.map_err(words)?;
    session.close().await;
    // Configuration mode received no line of the text as a command.
    let typed = running.typed_in("configuration");
    let strays = typed
        .iter()
        .filter(|line| case.lines[1..].contains(&line.as_str()));
    let strays: Vec<_> = strays.filter(|line| *line != "end").collect();
    same(case.name, strays, Vec::new())?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_block_of_text_is_read_as_text() {
    let cases = (0..BLOCKS.len()).flat_map(|index| [(index, usize::MAX), (index, 1)]);
    all(cases.collect(), is_read).await;
}

/// Creates an IOS device that prompts for each hexadecimal line of a certificate, in a mode of its
/// own.
fn certificate_chain() -> Device {
    let prompt = "r1(config-pubkey)#";
    Device::new("cisco_ios", "r1#")
        .to("configure terminal", "", "configuration")
        .state("configuration", "r1(config)#")
        .to("crypto pki certificate chain TP-1", "", "chain")
        .to("end", "", "exec")
        .state("chain", "r1(config-cert-chain)#")
        .to(
            "certificate ca 01",
            "Enter the certificate in hexidecimal representation....\n\n",
            "hex",
        )
        .to("end", "", "exec")
        .to("exit", "", "configuration")
        .text("hex", prompt, "quit")
        .to("", "", "chain")
}

const HEX: [&str; 3] = [
    "  3082022B 30820194 A0030201 02020101 300D0609 2A864886 F70D0101 05050030",
    "  31312F30 2D060355 04031326 494F532D 53656C66 2D536967 6E65642D 43657274",
    "  quit",
];

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_is_read_line_by_line() {
    let running = certificate_chain().start().await;
    let mut session = running.connect().await.unwrap();
    let mut configuration = session.configuration().await.unwrap();
    let lines = ["crypto pki certificate chain TP-1", "certificate ca 01"];
    for line in lines.into_iter().chain(HEX) {
        let reply = configuration.line(line).await;
        let reply =
            reply.unwrap_or_else(|error| panic!("{line}: {error}; {}", running.transcript()));
        assert!(reply.is_success(), "{reply:?}");
    }
    configuration.leave().await.unwrap();
    assert_eq!(session.prompt(), "r1#");
    session.close().await;
    let typed = running.typed_in("hex");
    let hex = HEX
        .iter()
        .filter(|line| typed.iter().any(|typed| typed == *line));
    assert_eq!(hex.count(), HEX.len(), "{typed:?}");
    // A sentinel in the middle of a certificate would not be hexadecimal.
    let stray: Vec<_> = typed.iter().filter(|line| line.starts_with('!')).collect();
    assert!(stray.is_empty(), "{typed:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_as_a_block_is_read_or_refused_as_a_whole() {
    let running = certificate_chain().start().await;
    let mut session = running.connect().await.unwrap();
    let mut configuration = session.configuration().await.unwrap();
    configuration
        .line("crypto pki certificate chain TP-1")
        .await
        .unwrap();
    let lines: Vec<String> = ["certificate ca 01"]
        .into_iter()
        .chain(HEX)
        .map(str::to_owned)
        .collect();
    let reply = configuration.block(&lines, &[]).await.unwrap();
    let typed = running.typed_in("hex");
    if reply.is_success() {
        assert_eq!(typed[..HEX.len()], HEX, "{reply:?}");
    } else {
        assert!(
            typed.iter().all(|line| !HEX.contains(&line.as_str())),
            "{typed:?}"
        );
    }
    session.close().await;
}

/// A text, and the lines that the device must not run.
struct Ended {
    /// The delimiter as the device reads it.
    end: &'static str,
    lines: &'static [&'static str],
    /// The last line that the device reads as text.
    last: &'static str,
    packets: usize,
}

const ENDED: &[Ended] = &[
    Ended {
        end: "^",
        lines: &["banner motd ^", "hi", "^", "exit", "write erase"],
        last: "^",
        packets: usize::MAX,
    },
    Ended {
        end: "^",
        lines: &["banner motd ^", "hi", "x^", "end", "write erase", "^"],
        last: "x^",
        packets: 1,
    },
    Ended {
        end: "^",
        lines: &["banner motd ^", "^", "write erase"],
        last: "^",
        packets: 3,
    },
    Ended {
        end: "^",
        lines: &["banner motd ^", "r1(config)# hi", "^", "write erase"],
        last: "^",
        packets: usize::MAX,
    },
];

/// The device ends the text before the caller does.
#[tokio::test(flavor = "multi_thread")]
async fn lines_behind_the_end_of_a_text_are_not_entered() {
    all((0..ENDED.len()).collect(), async |index| {
        let case = &ENDED[index];
        let device = ios("cisco_ios", "banner motd ^", MOTD, case.end);
        let device = match case.packets {
            usize::MAX => device,
            packets => device.packets(packets),
        };
        let running = device.start().await;
        let mut session = running.connect().await.map_err(|error| error.to_string())?;
        let mut configuration = session
            .configuration()
            .await
            .map_err(|error| error.to_string())?;
        let lines: Vec<String> = case.lines.iter().map(|&line| line.to_owned()).collect();
        let error = match configuration.block(&lines, &[]).await {
            Err(error) => error,
            Ok(reply) => return Err(format!("{:?}: {reply:?}", case.lines)),
        };
        same("code", error.code(), "refused")?;
        let words = error.to_string();
        same(&words, words.contains("stopped reading the text"), true)?;
        same("usable", session.is_usable(), false)?;
        session.close().await;
        let text = running.typed_in("text");
        same("text", text.last().map(String::as_str), Some(case.last))?;
        for state in ["configuration", "exec"] {
            let typed = running.typed_in(state);
            let stray = typed
                .iter()
                .find(|line| ["exit", "end", "write erase"].contains(&line.as_str()));
            same(&format!("{state}: {typed:?}"), stray, None)?;
        }
        Ok(())
    })
    .await;
}

/// The line does not begin a text, and its prompt comes late.
#[tokio::test(flavor = "multi_thread")]
async fn a_late_prompt_is_not_taken_for_the_beginning_of_a_text() {
    let silence = PAUSE.repeat(8);
    for says in [
        silence.clone(),
        format!("{silence}% Authorization failed.\n{silence}"),
    ] {
        let running = Device::new("cisco_ios", "r1#")
            .to("configure terminal", "", "configuration")
            .state("configuration", "r1(config)#")
            .on("hostname r1", says.clone())
            .to("exit", "", "exec")
            .to("end", "", "exec")
            .start()
            .await;
        let mut session = running.connect().await.unwrap();
        let mut configuration = session.configuration().await.unwrap();
        let lines = ["hostname r1", "exit", "write erase"].map(str::to_owned);
        let reply = configuration.block(&lines, &[]).await.unwrap();
        assert!(reply.failure.is_some(), "{reply:?}");
        configuration.leave().await.unwrap();
        session.close().await;
        let typed = running.typed();
        let stray = typed
            .iter()
            .find(|(_, line)| ["exit", "write erase"].contains(&line.as_str()));
        // Leaving the device is `exit` at its ordinary prompt.
        let stray = stray.filter(|(state, line)| state == "configuration" || line == "write erase");
        assert_eq!(stray, None, "{says:?}: {typed:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unterminated_text_is_quoted_in_the_error() {
    let running: Running = ios("cisco_ios", "banner motd ^", MOTD, "^").start().await;
    let mut endpoint = running.endpoint();
    endpoint.timeouts.command = Duration::from_secs(2);
    let mut session = running.connect_to(&endpoint).await.unwrap();
    let mut configuration = session.configuration().await.unwrap();
    let error = configuration.line("banner motd ^").await.unwrap_err();
    assert!(
        error.to_string().contains("End with the character '^'"),
        "{error}"
    );
    let typed = running.typed_in("text");
    assert!(typed.iter().all(|line| line == "^C"), "{typed:?}");
    assert!(!session.is_usable());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_banner_in_one_line_is_a_line() {
    // The banner is complete, so the device stays at its prompt.
    let running = Device::new("cisco_ios", "r1#")
        .to("configure terminal", "", "configuration")
        .state("configuration", "r1(config)#")
        .on("banner motd ^only authorised users^", "")
        .to("end", "", "exec")
        .start()
        .await;
    let mut session = running.connect().await.unwrap();
    let mut configuration = session.configuration().await.unwrap();
    let reply = configuration
        .line("banner motd ^only authorised users^")
        .await
        .unwrap();
    assert!(reply.is_success(), "{reply:?}");
    let block = ["banner motd ^only authorised users^".to_owned()];
    let reply = configuration.block(&block, &[]).await.unwrap();
    assert!(reply.is_success(), "{reply:?}");
    configuration.leave().await.unwrap();
    session.close().await;
}
