//! Tests commands that ask questions, and pagers.
//!
//! A question gets its configured answer, as a line or as one key. A question without an answer
//! ends in an error that quotes it; the session types nothing.

use std::time::Duration;

use netssh_core::{Answer, Error, ExecOptions, Pattern, SecretString, Session};

use crate::reports::{all, same};
use crate::scripted::{Device, ENABLE_SECRET, Running};

fn answer(question: &str, answer: &str) -> Answer {
    Answer::new(Pattern::new(question).unwrap(), answer)
}

const SAVED: &str = "Building configuration...\n[OK]\n";

/// Creates an IOS device after an upgrade [netmiko#1561, #610, napalm#1413]: the question takes one
/// key.
fn saves_after_an_upgrade() -> Device {
    Device::new("cisco_ios", "R2#")
        .on("show clock", "12:00:00.000 UTC\n")
        .to(
            "write memory",
            "Warning: Attempting to overwrite an NVRAM configuration previously written\nby a different version of the system image.\n",
            "confirm",
        )
        .key("confirm", "Overwrite the previous NVRAM configuration?[confirm]")
        .to("\n", format!("\n{SAVED}"), "exec")
        .to("y", format!("\n{SAVED}"), "exec")
        .otherwise("\n", "exec")
}

#[tokio::test(flavor = "multi_thread")]
async fn saving_takes_one_key() {
    let running = saves_after_an_upgrade().start().await;
    let mut session = running.connect().await.unwrap();
    let confirm = answer(r"\[confirm\]", "y").one_key().shown();
    let reply = session.save_with(&[confirm]).await.unwrap();
    assert!(
        reply.is_success() && reply.output.contains("[OK]"),
        "{reply:?}"
    );
    let reply = session.exec("show clock").await.unwrap();
    assert_eq!(reply.output, "12:00:00.000 UTC");
    session.close().await;
    assert_eq!(running.typed_in("confirm"), ["y"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn saving_takes_enter_as_the_answer_of_one_key() {
    let running = saves_after_an_upgrade().start().await;
    let mut session = running.connect().await.unwrap();
    let reply = session
        .save_with(&[answer(r"\[confirm\]", "")])
        .await
        .unwrap();
    assert!(reply.output.contains("[OK]"), "{reply:?}");
    session.close().await;
    assert_eq!(running.typed_in("confirm"), ["\n"]);
}

/// An action that makes the device ask a question.
type Act = for<'s> fn(&'s mut Session) -> futures::future::BoxFuture<'s, Result<(), Error>>;

struct Unanswered {
    name: &'static str,
    device: fn() -> Device,
    act: Act,
    question: &'static str,
}

fn save(session: &mut Session) -> futures::future::BoxFuture<'_, Result<(), Error>> {
    Box::pin(async { session.save().await.map(|_| ()) })
}

fn line(session: &mut Session) -> futures::future::BoxFuture<'_, Result<(), Error>> {
    Box::pin(async {
        let mut configuration = session.configuration().await?;
        configuration.line("no username admin").await?;
        configuration.leave().await.map(|_| ())
    })
}

fn command(session: &mut Session) -> futures::future::BoxFuture<'_, Result<(), Error>> {
    Box::pin(async { session.exec("clear it").await.map(|_| ()) })
}

#[rustfmt::skip]
const UNANSWERED: &[Unanswered] = &[
    Unanswered {
        name: "save (netmiko#1561)",
        device: saves_after_an_upgrade,
        act: save,
        question: "Overwrite the previous NVRAM configuration?[confirm]",
    },
    Unanswered {
        name: "save on a small switch (netmiko#1004)",
        device: || Device::new("cisco_ios", "LA-22-z012-sg300#")
            .to("write memory", "", "confirm")
            .question("confirm", "Overwrite file [startup-config].... (Y/N)[N] ?")
            .otherwise("", "exec"),
        act: save,
        question: "Overwrite file [startup-config].... (Y/N)[N] ?",
    },
    Unanswered {
        name: "a line that asks for a key",
        device: || Device::new("cisco_ios", "R2#")
            .to("configure terminal", "", "configuration")
            .state("configuration", "R2(config)#")
            .to("no username admin", "This operation will remove all username related configurations with same name.", "confirm")
            .to("end", "", "exec")
            .key("confirm", "Do you want to continue? [confirm]")
            .otherwise("\n", "configuration"),
        act: line,
        question: "Do you want to continue? [confirm]",
    },
    Unanswered {
        name: "a line that asks for yes or no",
        device: || Device::new("cisco_xe", "R2#")
            .to("configure terminal", "", "configuration")
            .state("configuration", "R2(config)#")
            .to("no username admin", "", "confirm")
            .to("end", "", "exec")
            .question("confirm", "% Do you really want to remove these keys? [yes/no]: ")
            .otherwise("% Please answer 'yes' or 'no'.\n", "confirm"),
        act: line,
        question: "Do you really want to remove these keys? [yes/no]:",
    },
    Unanswered {
        name: "a line that asks for a password twice (netmiko#3152)",
        device: || Device::new("huawei_vrp", "<AR1000V>")
            .to("system-view", "", "view")
            .state("view", "[AR1000V]")
            .to("no username admin", "", "password")
            .to("return", "", "exec")
            .question("password", "Enter Password(<8-16>):").hidden()
            .otherwise("", "view"),
        act: line,
        question: "Enter Password(<8-16>):",
    },
    Unanswered {
        name: "a command that asks for a key",
        device: || Device::new("cisco_ios", "R2#")
            .to("clear it", "", "confirm")
            .key("confirm", "Clear \"show interface\" counters on all interfaces [confirm]")
            .otherwise("\n", "exec"),
        act: command,
        question: "counters on all interfaces [confirm]",
    },
    Unanswered {
        name: "a command that asks for a name",
        device: || Device::new("cisco_nxos", "n9k#")
            .to("clear it", "", "name")
            .question("name", "Enter destination filename: [n9k-running-config] ")
            .otherwise("", "exec"),
        act: command,
        question: "Enter destination filename: [n9k-running-config]",
    },
    Unanswered {
        name: "a command of Junos that asks",
        device: || Device::new("juniper_junos", "netops@fw1> ")
            .to("clear it", "", "confirm")
            .question("confirm", "Reboot the system ? [yes,no] (no) ")
            .otherwise("\n", "exec"),
        act: command,
        question: "Reboot the system ? [yes,no] (no)",
    },
    Unanswered {
        name: "a command of RouterOS that asks for a key",
        device: || Device::new("mikrotik_routeros", "[admin@gw] > ")
            .to("clear it", "", "confirm")
            .key("confirm", "Dangerous! Reset anyway? [y/N]: ")
            .otherwise("\n", "exec"),
        act: command,
        question: "Dangerous! Reset anyway? [y/N]:",
    },
    Unanswered {
        name: "a command of PAN-OS that asks",
        device: || Device::new("paloalto_panos", "admin@PA> ")
            .to("clear it", "Executing this command will disconnect the current session. ", "confirm")
            .question("confirm", "Do you want to continue? (y or n) ")
            .otherwise("\n", "exec"),
        act: command,
        question: "Do you want to continue? (y or n)",
    },
    Unanswered {
        name: "a command of FortiOS that asks for a key",
        device: || Device::new("fortinet", "FGT-01 # ")
            .to("clear it", "This operation will reboot the system !\n", "confirm")
            .key("confirm", "Do you want to continue? (y/n)")
            .otherwise("\n", "exec"),
        act: command,
        question: "Do you want to continue? (y/n)",
    },
];

async fn names_the_question(index: usize) -> Result<(), String> {
    let case = &UNANSWERED[index];
    let running = (case.device)().start().await;
    let mut endpoint = running.endpoint();
    endpoint.timeouts.command = Duration::from_secs(2);
    let session = running.connect_to(&endpoint).await;
    let mut session = session.map_err(|error| format!("{}: {error}", case.name))?;
    let outcome = (case.act)(&mut session).await;
    let asked = ["confirm", "name", "password"];
    let typed = || -> Vec<(String, String)> {
        let typed = running.typed().into_iter();
        typed
            .filter(|(state, line)| asked.contains(&state.as_str()) && line != "^C")
            .collect()
    };
    same(case.name, typed(), Vec::new())?;
    let Err(error) = outcome else {
        return Err(format!("{}: success", case.name));
    };
    if !error.to_string().contains(case.question) {
        return Err(format!("{}: the question is not in {error}", case.name));
    }
    same(case.name, session.is_usable(), false)?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unanswered_question_is_quoted_and_nothing_is_typed() {
    all((0..UNANSWERED.len()).collect(), names_the_question).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_one_key_answer_leaves_the_next_command_intact() {
    let running = Device::new("cisco_ios", "R2#")
        .on("show clock", "12:00:00.000 UTC\n")
        .to("clear counters", "", "confirm")
        .key(
            "confirm",
            "Clear \"show interface\" counters on all interfaces [confirm]",
        )
        .to("y", "\n", "exec")
        .otherwise("\nnot cleared\n", "exec")
        .start()
        .await;
    let mut session = running.connect().await.unwrap();
    let confirm = answer(r"\[confirm\]$", "y").one_key().shown();
    let reply = session
        .interact("clear counters", &[confirm], ExecOptions::default())
        .await
        .unwrap();
    assert!(!reply.output.contains("not cleared"), "{reply:?}");
    let reply = session.exec("show clock").await.unwrap();
    assert_eq!(reply.output, "12:00:00.000 UTC");
    session.close().await;
    assert_eq!(running.typed_in("confirm"), ["y"]);
    let typed = running.typed_in("exec");
    let stray: Vec<_> = typed.iter().filter(|line| line.as_str() == "y").collect();
    assert!(stray.is_empty(), "{typed:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn questions_of_several_kinds_in_a_row_are_answered() {
    let running = Device::new("cisco_ios", "R2#")
        .to("copy running-config tftp:", "", "address")
        .question("address", "Address or name of remote host []? ")
        .to("192.0.2.9", "", "name")
        .question("name", "Destination filename [r2-confg]? ")
        .to("", "", "overwrite")
        .key("overwrite", "%Warning:There is a file already existing with this name\nDo you want to over write? [confirm]")
        .to("y", "\n!!\n1030 bytes copied in 2.489 secs (395 bytes/sec)\n\n", "exec")
        .otherwise("\n%Error: aborted\n", "exec")
        .start()
        .await;
    let mut session = running.connect().await.unwrap();
    let answers = [
        answer(r"over write\? \[confirm\]", "y").one_key(),
        answer("Address or name of remote host", "192.0.2.9").shown(),
        answer("Destination filename", ""),
    ];
    let reply = session
        .interact(
            "copy running-config tftp:",
            &answers,
            ExecOptions::default(),
        )
        .await
        .unwrap();
    assert!(reply.output.contains("1030 bytes copied"), "{reply:?}");
    session.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_configuration_line_takes_answers() {
    let running = Device::new("huawei_vrp", "<AR1000V>")
        .to("system-view", "", "view")
        .state("view", "[AR1000V]")
        .to("super password level 15 cipher", "", "first")
        .to("return", "", "exec")
        .question("first", "Enter Password(<8-16>):")
        .hidden()
        .otherwise("", "second")
        .question("second", "Confirm password:")
        .hidden()
        .otherwise("", "view")
        .start()
        .await;
    let mut session = running.connect().await.unwrap();
    let mut configuration = session.configuration().await.unwrap();
    let answers = [
        answer(r"Enter Password\(<8-16>\):", "p@S$w0rd777"),
        answer("Confirm password:", "p@S$w0rd777"),
    ];
    let reply = configuration
        .line_with("super password level 15 cipher", &answers)
        .await
        .unwrap();
    assert!(reply.is_success(), "{reply:?}");
    assert!(!reply.output.contains("p@S$w0rd777"));
    configuration.leave().await.unwrap();
    session.close().await;
    assert_eq!(running.typed_in("first"), ["p@S$w0rd777"]);
    assert_eq!(running.typed_in("second"), ["p@S$w0rd777"]);
}

/// `enable` and its questions.
struct Enables {
    name: &'static str,
    device: fn() -> Device,
    answers: &'static [(&'static str, &'static str)],
    /// The prompt afterwards, or a part of the error.
    outcome: Result<&'static str, &'static str>,
    /// The number of times that the session types the secret.
    secrets: usize,
}

/// Returns a device that asks for the secret with this question.
fn asks_for_secret(user: &'static str, enabled: &'static str, question: &'static str) -> Device {
    Device::new("cisco_ios", user)
        .to("enable", "", "secret")
        .question("secret", question)
        .hidden()
        .to(ENABLE_SECRET, "", "enabled")
        .otherwise("% Access denied\n\n", "exec")
        .state("enabled", enabled)
}

#[rustfmt::skip]
const ENABLES: &[Enables] = &[
    Enables { name: "an ordinary one", device: || asks_for_secret("r1>", "r1#", "Password: "), answers: &[], outcome: Ok("r1#"), secrets: 1 },
    Enables { name: "a name in the question's words (netmiko#3704)", device: || asks_for_secret("AS>", "AS#", "Password: "), answers: &[], outcome: Ok("AS#"), secrets: 1 },
    Enables { name: "a name like the question", device: || asks_for_secret("Password>", "Password#", "Password: "), answers: &[], outcome: Ok("Password#"), secrets: 1 },
    Enables { name: "a slow server (netmiko#1857)", device: || asks_for_secret("r1>", "r1#", "\u{f8ff}\u{f8ff}\u{f8ff}\u{f8ff}\u{f8ff}\u{f8ff}\u{f8ff}\u{f8ff}Password: "), answers: &[], outcome: Ok("r1#"), secrets: 1 },
    Enables { name: "a secret's question in other words", device: || asks_for_secret("r1>", "r1#", "Enable secret: "), answers: &[], outcome: Ok("r1#"), secrets: 1 },
    Enables {
        name: "nothing asked",
        device: || Device::new("cisco_ios", "r1>").to("enable", "", "enabled").state("enabled", "r1#"),
        answers: &[], outcome: Ok("r1#"), secrets: 0,
    },
    Enables { name: "enabled already", device: || Device::new("cisco_ios", "r1#"), answers: &[], outcome: Ok("r1#"), secrets: 0 },
    Enables {
        name: "the secret is wrong",
        device: || Device::new("cisco_ios", "r1>").to("enable", "", "secret").question("secret", "Password: ").hidden().otherwise("% Access denied\n\n", "exec"),
        answers: &[], outcome: Err("% Access denied"), secrets: 1,
    },
    Enables {
        name: "it asks three times",
        device: || Device::new("cisco_ios", "r1>").to("enable", "", "secret").question("secret", "Password: ").hidden().otherwise("", "secret"),
        answers: &[], outcome: Err("enable secret"), secrets: 1,
    },
    Enables {
        name: "no such command",
        device: || Device::new("cisco_ios", "r1>").on("enable", "% No password set\n"),
        answers: &[], outcome: Err("% No password set"), secrets: 0,
    },
    Enables {
        name: "a user's name first, not configured (trigger#246)",
        device: asks_for_name,
        answers: &[], outcome: Err(""), secrets: 0,
    },
    Enables {
        name: "a user's name first (netmiko#187, #919, #3238)",
        device: asks_for_name,
        answers: &[("^User Name:", "manager")], outcome: Ok("SSH@MY-ROUTER#"), secrets: 1,
    },
    Enables {
        name: "a question about something else",
        device: || Device::new("cisco_ios", "r1>").to("enable", "", "code").question("code", "Enter the code of your token: ").otherwise("", "exec"),
        answers: &[], outcome: Err("Enter the code of your token"), secrets: 0,
    },
];

fn asks_for_name() -> Device {
    Device::new("cisco_ios", "SSH@MY-ROUTER>")
        .to("enable", "", "name")
        .question("name", "User Name:")
        .to("manager", "", "secret")
        .otherwise("", "refused")
        .question("secret", "Password:")
        .hidden()
        .to(ENABLE_SECRET, "", "enabled")
        .otherwise("Error - Incorrect username or password.\n", "exec")
        .question("refused", "Password:")
        .hidden()
        .otherwise("Error - Incorrect username or password.\n", "exec")
        .state("enabled", "SSH@MY-ROUTER#")
}

async fn enables(index: usize) -> Result<(), String> {
    let case = &ENABLES[index];
    for packet in [usize::MAX, 1] {
        let running = (case.device)().packets(packet).start().await;
        let mut endpoint = running.endpoint();
        endpoint.enable_secret = Some(SecretString::from(ENABLE_SECRET));
        endpoint.timeouts.login = Duration::from_secs(4);
        endpoint.timeouts.command = Duration::from_secs(3);
        for (question, text) in case.answers {
            endpoint.credentials.answers.push(answer(question, text));
        }
        let outcome = running.connect_to(&endpoint).await;
        match (&outcome, case.outcome) {
            (Ok(session), Ok(prompt)) => same(case.name, session.prompt(), prompt)?,
            (Err(error), Err(text)) if error.to_string().contains(text) => {}
            (Err(error), expected) => {
                return Err(format!("{}: expected {expected:?}, got {error}", case.name));
            }
            (Ok(session), expected) => {
                let prompt = session.prompt();
                return Err(format!(
                    "{}: expected {expected:?}, got {prompt}",
                    case.name
                ));
            }
        }
        if let Ok(session) = outcome {
            session.close().await;
        }
        secrets_of(&running, case)?;
    }
    Ok(())
}

fn secrets_of(running: &Running, case: &Enables) -> Result<(), String> {
    let typed = running.typed();
    let secrets = typed
        .iter()
        .filter(|(_, line)| line.contains(ENABLE_SECRET));
    let states: Vec<&str> = secrets.map(|(state, _)| state.as_str()).collect();
    // A device that received the wrong name still asks for the secret, and refuses both.
    let (refused, asked): (Vec<&str>, Vec<&str>) =
        states.into_iter().partition(|state| *state == "refused");
    let name = format!("{}: the secret", case.name);
    same(&name, asked, vec!["secret"; case.secrets])?;
    same(&name, refused.len() > 1, false)
}

#[tokio::test(flavor = "multi_thread")]
async fn enable_sends_the_secret_to_its_question_only() {
    all((0..ENABLES.len()).collect(), enables).await;
}

/// A pager's mark, and how the pager erases it.
struct Pages {
    platform: &'static str,
    command: &'static str,
    mark: &'static str,
    wiped: &'static str,
    /// The key that shows the next page.
    key: &'static str,
}

const fn pages(
    platform: &'static str,
    command: &'static str,
    mark: &'static str,
    wiped: &'static str,
) -> Pages {
    Pages {
        platform,
        command,
        mark,
        wiped,
        key: " ",
    }
}

#[rustfmt::skip]
const PAGES: &[Pages] = &[
    pages("cisco_ios", "show run", " --More-- ", "\x08\x08\x08\x08\x08\x08\x08\x08\x08        \x08\x08\x08\x08\x08\x08\x08\x08\x08"),
    pages("cisco_ios", "show run", "--More--", "\r        \r"),
    pages("cisco_ios", "show run", "-- More --", "\r\x1b[K"),
    pages("cisco_xe", "show run", " --More-- ", "\r          \r"),
    pages("cisco_asa", "show run", "<--- More --->", "\r              \r"),
    pages("cisco_nxos", "show run", "\x1b[7m--More--\x1b[m", "\r\x1b[K"),
    pages("cisco_nxos", "show run", "--More--(45%)", "\r\x1b[K"),
    pages("cisco_xr", "show run", " --More-- ", "\x08\x08\x08\x08\x08\x08\x08\x08\x08        \x08\x08\x08\x08\x08\x08\x08\x08\x08"),
    pages("arista_eos", "show run", "\x1b[7m --More-- \x1b[27m", "\r\x1b[K"),
    pages("dell_os10", "show run", "--More--", "\r\x1b[K"),
    pages("hp_procurve", "show run", "-- MORE --, next page: Space, next line: Enter, quit: Control-C", "\r                                                                \r"),
    pages("aruba_aoscx", "show run", "-- MORE --, next page: Space, next line: Enter, quit: q", "\r                                                        \r"),
    pages("huawei_vrp", "display cur", "  ---- More ----", "\x1b[16D                \x1b[16D"),
    pages("huawei_vrp", "display cur", "---- More ( Press 'Q' to break ) ----", "\x1b[37D                                     \x1b[37D"),
    pages("hp_comware", "display cur", "---- More ----", "\x1b[16D                \x1b[16D"),
    pages("juniper_junos", "show conf", "---(more)---", "\r                                        \r"),
    pages("juniper_junos", "show conf", "---(more 45%)---", "\r                                        \r"),
    pages("paloalto_panos", "show config", "lines 1-23 ", "\r\x1b[K"),
    pages("mikrotik_routeros", "/export", "-- [Q quit|D dump|down]", "\r\x1b[K"),
    pages("mikrotik_routeros", "/export", "-- [Q quit|D dump|right|up|down]", "\r\x1b[K"),
    pages("nokia_sros", "show port", "Press any key to continue (Q to quit)", "\r                                      \r"),
    pages("fortinet", "show", "--More-- ", "\r         \r"),
    pages("extreme_exos", "show conf", "Press <SPACE> to continue or <Q> to quit:", "\r                                          \r"),
    pages("vyos", "show conf", ":", "\r\x1b[K"),
    pages("ubiquiti_edgerouter", "show conf", ":", "\r\x1b[K"),
    pages("frr", "show run", "--More--", "\r        \r"),
    pages("generic", "show run", "--More-- or (q)uit", "\r                  \r"),
    pages("generic", "show run", "--More-- <space> next page, <cr> one line, <q> quit", "\r\x1b[K"),
    pages("generic", "show run", "More: <space>,  Quit: q or CTRL+Z, One line: <return> ", "\r                                                      \r"),
    pages("generic", "show run", "--More--, next page: Space, next line: Return key, quit: Control-c", "\r\x1b[K"),
    pages("generic", "show run", "Press any key to continue (Q to quit)", "\r\x1b[K"),
    pages("generic", "show run", "<more>", "\r\x1b[K"),
];

async fn turns_pages(case: &'static Pages) -> Result<(), String> {
    let name = format!("{}, {:?}", case.platform, case.mark);
    let prompt = match case.platform {
        "huawei_vrp" | "hp_comware" => "<sw1>",
        "mikrotik_routeros" => "[admin@gw] > ",
        "juniper_junos" | "paloalto_panos" => "netops@fw1> ",
        "nokia_sros" => "A:pe1# ",
        "extreme_exos" => "x450.1 # ",
        "vyos" | "ubiquiti_edgerouter" => "vyos@r1:~$ ",
        "fortinet" => "FGT # ",
        _ => "r1#",
    };
    for packet in [usize::MAX, 7, 1] {
        let mut device = Device::new(case.platform, prompt)
            .packets(packet)
            .on("nonsense", "")
            .to(case.command, "page 1, line 1\npage 1, line 2\n", "second");
        for (state, next, text) in [
            ("second", "third", "page 2, line 1\npage 2, line 2\n"),
            ("third", "exec", "page 3, line 1\n"),
        ] {
            device = device
                .key(state, case.mark)
                .to(case.key, format!("{}{text}", case.wiped), next)
                // Any other key quits the pager.
                .otherwise(case.wiped, "exec");
        }
        let running = device.start().await;
        let words =
            |error: Error| format!("{name}: {error}; the device said {}", running.transcript());
        let mut session = running.connect().await.map_err(words)?;
        for _ in 0..2 {
            let reply = session.exec(case.command).await.map_err(words)?;
            let expected =
                "page 1, line 1\npage 1, line 2\npage 2, line 1\npage 2, line 2\npage 3, line 1";
            same(&name, reply.output.as_str(), expected)?;
        }
        session.close().await;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_are_turned_and_their_marks_removed() {
    all(PAGES.iter().collect(), turns_pages).await;
}

/// A read-only command that asks nevertheless: the sentinel that was typed ahead must not become
/// its answer.
#[tokio::test(flavor = "multi_thread")]
async fn a_read_that_asks_reports_the_question() {
    for (platform, prompt) in [
        ("cisco_ios", "box#"),
        ("arista_eos", "sw1#"),
        ("cisco_nxos", "n9k#"),
    ] {
        for question in [
            "Which one? ",
            "Enter a VLAN: ",
            "Continue with all interfaces (y/n)",
            "Slot [1-4]",
        ] {
            let running = Device::new(platform, prompt)
                .to("show ask", "", "asks")
                .question("asks", question)
                .otherwise("you said it\n", "exec")
                .start()
                .await;
            let mut endpoint = running.endpoint();
            endpoint.timeouts.command = Duration::from_secs(6);
            let mut session = running.connect_to(&endpoint).await.unwrap();
            let outcome = session.exec("show ask").await;
            session.close().await;
            let error = match outcome {
                Err(error) => error.to_string(),
                Ok(reply) => panic!("{platform}, {question:?}: {reply:?}"),
            };
            assert!(
                error.contains(question.trim()),
                "{platform}, {question:?}: {error}"
            );
        }
    }
}

/// A login answer with a question that matches the prompt would run as a command.
#[tokio::test(flavor = "multi_thread")]
async fn an_answer_at_the_login_is_not_typed_at_a_prompt() {
    for (platform, prompt) in [
        ("cisco_ios", "box#"),
        ("cisco_ios", "core1>"),
        ("huawei_vrp", "<AR1000V>"),
        ("juniper_junos", "netops@fw1> "),
        ("arista_eos", "sw1#"),
    ] {
        for packets in [1, 64] {
            let running = Device::new(platform, prompt)
                .greeting("Welcome to the device\n")
                .on("write erase", "erased\n")
                .packets(packets)
                .start()
                .await;
            let mut endpoint = running.endpoint();
            for pattern in [r"[>#\]] ?$", &prompt.trim()[1..3]] {
                let answer = answer(pattern, "write erase");
                endpoint.credentials.answers.push(answer);
            }
            let session = running.connect_to(&endpoint).await;
            if let Ok(session) = session {
                session.close().await;
            }
            let typed = running.typed();
            let erased = typed.iter().any(|(_, line)| line.contains("erase"));
            assert!(!erased, "{platform}, {prompt}: {typed:?}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_question_of_enable_without_an_answer_is_named() {
    for question in ["Enable reason: ", "Ticket number [none]? "] {
        let running = Device::new("cisco_ios", "box>")
            .to("enable", "", "reason")
            .question("reason", question)
            .otherwise("", "exec")
            .start()
            .await;
        let mut endpoint = running.endpoint();
        endpoint.enable_secret = Some(SecretString::from(ENABLE_SECRET));
        endpoint.timeouts.login = Duration::from_secs(5);
        let error = running.connect_to(&endpoint).await.unwrap_err().to_string();
        assert!(error.contains(question.trim()), "{error}");
    }
}
