//! Tests questions of devices before their first prompt and during keyboard-interactive.
//!
//! A session answers only questions that it recognises, and sends a secret only to a question that
//! asks for it. A login fails at an unanswered question, and the error quotes the question.

use std::time::Duration;

use netssh_core::{Answer, Endpoint, Error, Pattern, Platform, Session};

use crate::reports::{all, same};
use crate::scripted::{CLOSE, Device, PASSWORD, PAUSE, Running, USERNAME};

/// A question before the prompt that only the operator can answer.
struct Unanswerable {
    greeting: &'static str,
    question: &'static str,
    source: &'static str,
}

#[rustfmt::skip]
const UNANSWERABLE: &[Unanswerable] = &[
    Unanswerable { greeting: "You are required to change your password immediately (administrator enforced).\nChanging password for netops.\n", question: "Current password: ", source: "PAM" },
    Unanswerable { greeting: "WARNING: Your password has expired.\nYou must change your password now and login again!\nChanging password for user netops.\n", question: "(current) UNIX password: ", source: "sshd" },
    Unanswerable { greeting: "Your password has expired.\n", question: "Enter old password: ", source: "NX-OS" },
    Unanswerable { greeting: "", question: "new password> ", source: "netmiko#3762" },
    Unanswerable { greeting: "You are forced to change your password. Please input a new password.\n", question: "New Password: ", source: "FortiOS" },
    Unanswerable { greeting: "             OOB Management\n 1.  device1                 17.\n 2.  device2                 18.\n", question: "Selection: ", source: "netmiko#1055" },
    Unanswerable { greeting: "1) Router 1\n2) Router 2\n3) Exit\n", question: "Select [1-3]: ", source: "menus of terminal servers" },
    Unanswerable { greeting: "Main Menu\n\n    1.  Network  Configuration\n    2.  System   Configuration\n    4.  Device Console\n\n", question: "    Select Menu Number [0-7]: ", source: "netmiko#3563" },
    Unanswerable { greeting: "         --- System Configuration Dialog ---\n\n", question: "Would you like to enter the initial configuration dialog? [yes/no]: ", source: "netmiko#315" },
    Unanswerable { greeting: "", question: "Would you like to terminate autoinstall? [yes]: ", source: "netmiko#315" },
    Unanswerable { greeting: "", question: "Abort Power On Auto Provisioning [yes - continue with normal setup, skip - bypass password and basic configuration, no - continue with Power On Auto Provisioning] (yes/skip/no)[no]: ", source: "NX-OS" },
    Unanswerable { greeting: "Passcode or option (1-2)\n", question: "Passcode: ", source: "netmiko#1813" },
    Unanswerable { greeting: "", question: "Verification code: ", source: "PAM with one-time codes" },
    Unanswerable { greeting: "", question: "Enter PASSCODE: ", source: "tokens" },
    Unanswerable { greeting: "", question: "Enter the password for the configuration's encryption: ", source: "secrets that are not the login's" },
];

/// Returns whether a message quotes a question; of a long one, its beginning or its end.
fn names(message: &str, question: &str) -> bool {
    let characters: Vec<char> = question.trim().chars().collect();
    let length = characters.len().min(50);
    let beginning: String = characters[..length].iter().collect();
    let end: String = characters[characters.len() - length..].iter().collect();
    message.contains(&beginning) || message.contains(&end)
}

fn quick(running: &Running) -> Endpoint {
    let mut endpoint = running.endpoint();
    endpoint.timeouts.login = Duration::from_secs(3);
    endpoint
}

async fn is_not_answered(case: (&'static str, &'static Unanswerable)) -> Result<(), String> {
    let (platform, asked) = case;
    let name = format!("{platform}, {:?} ({})", asked.question, asked.source);
    let running = Device::begins(platform)
        .greeting(asked.greeting)
        .question("question", asked.question)
        .start()
        .await;
    match running.connect_to(&quick(&running)).await {
        Ok(_) => return Err(format!("{name}: logged in; typed {:?}", running.typed())),
        Err(error) => {
            let message = error.to_string();
            if !names(&message, asked.question) {
                return Err(format!("{name}: the question is not in {message:?}"));
            }
        }
    }
    let typed: Vec<String> = running
        .typed_in("question")
        .into_iter()
        .filter(|line| line != "^C" && line != "^D")
        .collect();
    same(&format!("{name}: typed"), typed, Vec::new())
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_typed_at_a_question_without_an_answer() {
    // Platforms that send their set-up early or late, and platforms with and without questions of
    // their own.
    let platforms = [
        "linux",
        "frr",
        "generic",
        "cisco_ios",
        "juniper_junos",
        "huawei_vrp",
        "mikrotik_routeros",
        "fortinet",
    ];
    let cases = platforms
        .into_iter()
        .flat_map(|platform| UNANSWERABLE.iter().map(move |asked| (platform, asked)));
    all(cases.collect(), is_not_answered).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_typed_on_any_platform_when_a_password_must_be_changed() {
    let cases = Platform::names()
        .into_iter()
        .map(|platform| (platform, &UNANSWERABLE[0]));
    all(cases.collect(), is_not_answered).await;
}

/// A device that asks questions first, and the states that lead to its prompt.
struct Answerable {
    name: &'static str,
    device: fn() -> Device,
    /// The lines and keys that the device receives before its prompt, each with the device's state.
    typed: &'static [(&'static str, &'static str)],
}

#[rustfmt::skip]
const ANSWERABLE: &[Answerable] = &[
    Answerable {
        name: "RouterOS's licence (netmiko PR#2983)",
        device: || Device::begins("mikrotik_routeros")
            .greeting("\n\n  MikroTik RouterOS 6.48.6 (c) 1999-2021       http://www.mikrotik.com/\n\n")
            .key("licence", "Do you want to see the software license? [Y/n]: ")
            .to("n", "n\n\nPress F1 for help\n\n", "exec")
            .to("N", "N\n\nPress F1 for help\n\n", "exec")
            .otherwise("\n---- page 1 of 9 ----\n", "licence")
            .state("exec", "[admin@MikroTik] > "),
        typed: &[("licence", "n")],
    },
    Answerable {
        name: "RouterOS without a key (netmiko PR#3450)",
        device: || Device::begins("mikrotik_routeros")
            .greeting("\n  MikroTik RouterOS 7.15rc3 (c) 1999-2024       https://www.mikrotik.com/\n\n\nROUTER HAS NO SOFTWARE KEY\n----------------------------\nYou have 21h2m to configure the router to be remotely accessible,\nand to enter the key by pasting it in a Telnet window or in Winbox.\nTurn off the device to stop the timer.\nSee www.mikrotik.com/key for more details.\n\nCurrent installation \"software ID\": 0000-0000\n")
            .question("key", "Please press \"Enter\" to continue!")
            .to("", "\n", "exec")
            .state("exec", "[admin@MikroTik] > "),
        typed: &[("key", "")],
    },
    Answerable {
        name: "Huawei's first password (netmiko#1776)",
        device: || Device::begins("huawei_vrp")
            .greeting("\nWarning: The initial password poses security risks.\n")
            .question("change", "The password needs to be changed. Change now? [Y/N]:")
            .to("n", "Info: The max number of VTY users is 5, the number of current VTY users online is 1.\n", "exec")
            .to("N", "Info: The max number of VTY users is 5, the number of current VTY users online is 1.\n", "exec")
            .otherwise("Error: Please choose 'YES' or 'NO' first before pressing 'Enter'. [Y/N]:", "change")
            .state("exec", "<JG05-SA-01-CE8850>"),
        typed: &[("change", "n")],
    },
    Answerable {
        name: "Huawei's advice to save (netmiko PR#3009)",
        device: || Device::begins("huawei_vrp")
            .greeting("\n Warning: There are security risks in the configuration file. You are advised to save the configuration immediately. If you choose to save, the current configuration file will be unavailable after version downgrade. ")
            .question("save", "Are you sure to save now?[Y/N]: ")
            .to("n", "", "exec")
            .to("N", "", "exec")
            .otherwise("Error: Please choose 'YES' or 'NO' first before pressing 'Enter'. [Y/N]:", "save")
            .state("exec", "<Huawei>"),
        typed: &[("save", "n")],
    },
    Answerable {
        name: "ProCurve's key (oxidized#1595)",
        device: || Device::begins("hp_procurve")
            .greeting("HP J9853A 2530-48G-PoE+-2SFP+ Switch\nSoftware revision YA.16.04.0009\n\n (C) Copyright 2017 Hewlett Packard Enterprise Development LP\n\n                      RESTRICTED RIGHTS LEGEND\n\n")
            .key("key", "Press any key to continue")
            .otherwise("\x1b[1;1H\x1b[2JYour previous successful login (as operator) was on 2018-10-16 18:03:05     \n from 10.13.8.123\n", "exec")
            .state("exec", "2530-13> "),
        typed: &[("key", " ")],
    },
    Answerable {
        name: "FortiOS's disclaimer (netmiko#988, #3096)",
        device: || Device::begins("fortinet")
            .greeting("POST WARNING:This is a private computer system. Unauthorized access or use\nis prohibited and subject to prosecution and/or disciplinary action.\n\n")
            .key("disclaimer", "(Press 'a' to accept):")
            .to("a", "a\n", "exec")
            .otherwise("", CLOSE)
            .state("exec", "FGT-01 # "),
        typed: &[("disclaimer", "a")],
    },
    Answerable {
        name: "a small switch's own login (KiwiSSH#55)",
        device: || Device::begins("cisco_ios")
            .greeting("\n\n")
            .question("name", "User Name:")
            .to(USERNAME, "", "password")
            .question("password", "Password:").hidden()
            .to(PASSWORD, "\n\n", "exec")
            .otherwise("authentication failed\n", CLOSE)
            .state("exec", "SG300#"),
        typed: &[("name", USERNAME), ("password", PASSWORD)],
    },
    Answerable {
        name: "blanks before the colon (netmiko#921)",
        device: || Device::begins("generic")
            .question("name", "login : ")
            .to(USERNAME, "", "password")
            .question("password", "password : ").hidden()
            .to(PASSWORD, "\n\nWelcome to the Alcatel-Lucent Enterprise OmniSwitch 6450\nSoftware Version 6.7.2.107.R03 GA, December 05, 2017.\n\n", "exec")
            .state("exec", "-> "),
        typed: &[("name", USERNAME), ("password", PASSWORD)],
    },
    Answerable {
        name: "a console's first line (netmiko#315)",
        device: || Device::begins("cisco_xe")
            .question("return", "\n\n\nPress RETURN to get started.")
            .to("", "\n\n", "exec")
            .state("exec", "Switch>"),
        typed: &[("return", "")],
    },
    Answerable {
        name: "terms to accept",
        device: || Device::begins("dell_os10")
            .greeting("Authorized users only.\n")
            .question("terms", "Do you accept the terms? [y/n]: ")
            .to("y", "", "exec")
            .to("yes", "", "exec")
            .otherwise("", CLOSE)
            .state("exec", "OS10# "),
        typed: &[],
    },
];

async fn is_answered(index: usize) -> Result<(), String> {
    let case = &ANSWERABLE[index];
    for packet in [usize::MAX, 7, 1] {
        let running = (case.device)().packets(packet).start().await;
        let words = |error: Error| format!("{}: {error}; typed {:?}", case.name, running.typed());
        let mut session = running.connect().await.map_err(words)?;
        let typed = running.typed();
        let before: Vec<_> = typed
            .iter()
            .filter(|(state, _)| state != "exec")
            .map(|(state, line)| (state.as_str(), line.as_str()))
            .collect();
        if !case.typed.is_empty() {
            let wanted: Vec<_> = case.typed.to_vec();
            let lower: Vec<_> = before
                .iter()
                .map(|(state, line)| match line.len() {
                    1 => (*state, line.to_lowercase()),
                    _ => (*state, (*line).to_owned()),
                })
                .collect();
            let lower: Vec<_> = lower
                .iter()
                .map(|(at, line)| (*at, line.as_str()))
                .collect();
            same(case.name, lower, wanted)?;
        }
        let reply = session.exec("nonsense").await.map_err(words)?;
        same(case.name, reply.is_success(), false)?;
        let nonsense = running.typed_in("exec");
        let nonsense = nonsense.iter().filter(|line| *line == "nonsense").count();
        same(case.name, nonsense, 1)?;
        session.close().await;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn known_questions_are_answered() {
    all((0..ANSWERABLE.len()).collect(), is_answered).await;
}

/// A login that reaches its prompt, and the device's output before it.
struct Greeting {
    name: &'static str,
    platform: &'static str,
    prompt: &'static str,
    greeting: String,
}

fn greetings() -> Vec<Greeting> {
    let silence = PAUSE.repeat(8);
    let case = |name, platform, prompt, greeting: String| Greeting {
        name,
        platform,
        prompt,
        greeting,
    };
    vec![
        case("a banner's line that ends with >", "cisco_ios", "r1#", format!("{PAUSE}Authorized users only>\n{PAUSE}see the policy>\n")),
        case("a banner that ends with > and a silence", "cisco_ios", "r1#", format!("Welcome, stranger >{silence}\n")),
        case("a banner that ends with # and a silence", "cisco_nxos", "n9k#", format!("######{silence}######\n{silence}")),
        case("a logo of # (netmiko#3361)", "generic", "4950GTS-PWR+>#", format!("#####   #####   #####\n#       #   #   #\n#####{PAUSE}   #####   #####{PAUSE}\n#       #  #    #\n")),
        case("a banner like a prompt (ansible#43209)", "cisco_nxos", "n9k-1#", format!("\n# This is a banner#\nanother-host# {silence}\n# do not touch\n")),
        case("a banner that asks for nothing", "cisco_ios", "r1#", "Enter your password: it is watched.\nNever share a\npassword:\nUsername:\n".to_owned()),
        case("a banner with Password: and a silence", "frr", "r1#", format!("Ask the help desk for a new Password: {PAUSE}{PAUSE}number 1234\n")),
        case("a late banner", "juniper_junos", "netops@fw1>", format!("{silence}--- JUNOS 18.4R2.7 built 2019-06-25\n{silence}{{master:0}}\n")),
        case("a silent device", "huawei_vrp", "<HUAWEI>", silence.repeat(2)),
        case("RouterOS's banner (rconfig#128)", "mikrotik_routeros", "[admin@MikroTik] >", format!("\r\n\r\n\r\n\r\n\r\n\r\n\n  MikroTik RouterOS 7.15.3 (c) 1999-2024       https://www.mikrotik.com/\n\nPress F1 for help\n{PAUSE}\n")),
        case("a user's last login", "paloalto_panos", "admin@PA-5220-100(active-primary)>", "Last login: Sat Jan  6 13:40:15 2018 from 10.1.2.3\n\nNumber of failed attempts since last successful login: 0\n\nWarning: Your device is still configured with the default admin account credentials. Please change your password prior to deployment.\n\n".to_owned()),
        case("a log line before the prompt", "cisco_xe", "r1#", format!("\n{PAUSE}*Mar  1 00:00:21.035: %SYS-5-CONFIG_I: Configured from console by console\n{PAUSE}")),
    ]
}

async fn arrives(case: Greeting) -> Result<(), String> {
    for packet in [usize::MAX, 1] {
        let running = Device::new(case.platform, case.prompt)
            .greeting(case.greeting.clone())
            .packets(packet)
            .start()
            .await;
        let words = |error: Error| format!("{}: {error}; typed {:?}", case.name, running.typed());
        let mut session = running.connect().await.map_err(words)?;
        same(case.name, session.prompt(), case.prompt)?;
        let reply = session.exec("nonsense").await.map_err(words)?;
        same(case.name, reply.is_success(), false)?;
        session.close().await;
        for (_, line) in running.typed() {
            if line.contains(PASSWORD) || line.contains(USERNAME) {
                return Err(format!("{}: {line:?} was typed", case.name));
            }
        }
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn greetings_are_not_taken_for_prompts_or_questions() {
    all(greetings(), arrives).await;
}

async fn appears(platform: &'static str) -> Result<(), String> {
    let prompt = match platform {
        "huawei_vrp" | "hp_comware" => "<sw1>",
        "mikrotik_routeros" => "[admin@gw] >",
        "juniper_junos" | "paloalto_panos" => "netops@fw1>",
        "nokia_sros" => "A:pe1#",
        "extreme_exos" => "x450.1 #",
        "vyos" | "ubiquiti_edgerouter" => "vyos@r1:~$",
        "fortinet" => "FGT #",
        _ => "r1#",
    };
    let running = Device::new(platform, prompt.to_owned() + " ")
        .greeting("Welcome.\n")
        .waits_for_enter()
        .start()
        .await;
    let session = running.connect().await;
    let mut session = session.map_err(|error| format!("{platform}: {error}"))?;
    same(platform, session.prompt(), prompt)?;
    let typed = running.typed_in("before the prompt");
    same(platform, typed, vec![String::new()])?;
    let reply = session.exec("nonsense").await;
    let reply = reply.map_err(|error| format!("{platform}: {error}"))?;
    same(platform, reply.is_success(), false)?;
    session.close().await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_prompt_shown_only_after_enter_is_found() {
    // netmiko#2162: the user presses Enter to get a prompt.
    let platforms = Platform::names().into_iter();
    // A shell without a prompt is not detected.
    let platforms = platforms.filter(|platform| *platform != "linux");
    all(platforms.collect(), appears).await;
}

/// Questions of keyboard-interactive, and the expected answers.
struct Asks {
    name: &'static str,
    device: fn() -> Device,
    answers: &'static [(&'static str, &'static str)],
    /// The answers that the device received if the login succeeds; the question if it fails.
    outcome: Result<&'static [&'static str], &'static str>,
}

fn ios() -> Device {
    Device::new("cisco_ios", "r1#")
}

#[rustfmt::skip]
const ASKS: &[Asks] = &[
    Asks { name: "an ordinary one", device: || ios().wants("Password: ", PASSWORD), answers: &[], outcome: Ok(&[PASSWORD]) },
    Asks { name: "with a user and a host", device: || ios().wants("(netops@10.0.0.1) Password:", PASSWORD), answers: &[], outcome: Ok(&[PASSWORD]) },
    Asks { name: "of the user", device: || ios().wants("netops@10.0.0.1's password: ", PASSWORD), answers: &[], outcome: Ok(&[PASSWORD]) },
    Asks { name: "for the user", device: || ios().wants("Password for netops@r1:", PASSWORD), answers: &[], outcome: Ok(&[PASSWORD]) },
    Asks { name: "of Unix (netmiko#1813)", device: || ios().wants("Unix Login password: ", PASSWORD), answers: &[], outcome: Ok(&[PASSWORD]) },
    Asks { name: "Huawei's", device: || ios().wants("Enter password:", PASSWORD), answers: &[], outcome: Ok(&[PASSWORD]) },
    Asks { name: "without a colon", device: || ios().wants("Password", PASSWORD), answers: &[], outcome: Ok(&[PASSWORD]) },
    Asks { name: "for a name as well", device: || ios().asks("Username: ", true).wants("Password: ", PASSWORD), answers: &[("^Username: ?$", USERNAME)], outcome: Ok(&[USERNAME, PASSWORD]) },
    Asks { name: "PAN-OS's statement (netmiko#675, #1001)", device: || Device::new("paloalto_panos", "admin@PA> ").asks("Do you accept and acknowledge the statement above ? (yes/no) : ", false).wants("Password: ", PASSWORD), answers: &[], outcome: Err("acknowledge the statement above") },
    Asks { name: "PAN-OS's statement, answered", device: || Device::new("paloalto_panos", "admin@PA> ").asks("Do you accept and acknowledge the statement above ? (yes/no) : ", false).wants("Password: ", PASSWORD), answers: &[("acknowledge the statement", "yes")], outcome: Ok(&["yes", PASSWORD]) },
    Asks { name: "an option (netmiko#1813)", device: || ios().wants("Password: ", PASSWORD).asks("Passcode or option (1-2): ", false), answers: &[], outcome: Err("Passcode or option") },
    Asks { name: "an option, answered", device: || ios().wants("Password: ", PASSWORD).asks("Passcode or option (1-2): ", true), answers: &[("option", "1")], outcome: Ok(&[PASSWORD, "1"]) },
    Asks { name: "a role", device: || ios().asks("Select a role [1-3]:", false), answers: &[], outcome: Err("Select a role") },
    Asks { name: "a change", device: || ios().asks("Change your password now (yes/no)? ", false), answers: &[], outcome: Err("Change your password now") },
    Asks { name: "a new password", device: || ios().asks("New password: ", false), answers: &[], outcome: Err("New password") },
    Asks { name: "a code", device: || ios().asks("Verification code: ", false), answers: &[], outcome: Err("Verification code") },
    Asks { name: "a token's code", device: || ios().asks("Enter PASSCODE: ", false), answers: &[], outcome: Err("Enter PASSCODE") },
    Asks { name: "a PIN", device: || ios().asks("Enter your PIN: ", false), answers: &[], outcome: Err("PIN") },
    Asks { name: "a one-time password", device: || ios().asks("One-time password (OATH) for `netops': ", false), answers: &[], outcome: Err("One-time password") },
    Asks { name: "a challenge", device: || ios().asks("Challenge: 4711, Response: ", false), answers: &[], outcome: Err("Challenge") },
    Asks { name: "a password shown (a trap)", device: || ios().asks("Is your password still a secret (yes/no)? ", true), answers: &[], outcome: Err("still a secret") },
    Asks { name: "another user's password", device: || ios().wants("Password: ", PASSWORD).asks("Password of the second administrator: ", false), answers: &[], outcome: Err("second administrator") },
    Asks { name: "anything", device: || ios().asks("Press Enter to continue", false), answers: &[], outcome: Err("Press Enter") },
];

async fn is_asked(index: usize) -> Result<(), String> {
    let case = &ASKS[index];
    let running = (case.device)().start().await;
    let mut endpoint = quick(&running);
    for (question, answer) in case.answers {
        let question = Pattern::new(question)?;
        endpoint
            .credentials
            .answers
            .push(Answer::new(question, *answer));
    }
    let connected = running.connect_to(&endpoint).await;
    let answers = running.answers();
    match (connected, case.outcome) {
        (Ok(session), Ok(expected)) => {
            session.close().await;
            same(
                case.name,
                answers,
                expected.iter().map(|&text| text.to_owned()).collect(),
            )
        }
        (Err(error), Err(question)) => {
            same(case.name, error.code(), "authentication")?;
            if !error.to_string().contains(question) {
                return Err(format!("{}: the question is not in {error}", case.name));
            }
            let given: Vec<_> = answers.iter().filter(|text| *text == PASSWORD).collect();
            // Only the ordinary question, if the platform has one.
            let allowed = usize::from(matches!(index, 10 | 21));
            if given.len() > allowed || answers.len() > allowed {
                return Err(format!("{}: it was given {answers:?}", case.name));
            }
            Ok(())
        }
        (connected, outcome) => {
            let error = connected
                .map(|_: Session| ())
                .map_err(|error| error.to_string());
            Err(format!(
                "{}: expected {outcome:?}, got {error:?} with {answers:?}",
                case.name
            ))
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn keyboard_interactive_sends_the_password_to_its_question() {
    all((0..ASKS.len()).collect(), is_asked).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_of_the_operator_is_typed_at_a_login_menu() {
    // netmiko#1055: `x` leads from the menu to the command line.
    let running = Device::begins("cisco_ios")
        .greeting(" 1.  device1\n 2.  device2\n x.  exit the menu\n\n")
        .question("menu", "Selection: ")
        .to("x", "", "exec")
        .state("exec", "oob1#")
        .start()
        .await;
    let mut endpoint = running.endpoint();
    let question = Pattern::new("^Selection: ?$").unwrap();
    endpoint.credentials.answers = vec![Answer::new(question, "x").shown()];
    let session = running.connect_to(&endpoint).await.unwrap();
    assert_eq!(session.prompt(), "oob1#");
    session.close().await;
    assert_eq!(running.typed_in("menu"), ["x"]);
}

/// Logs in to a device that waits for Ctrl-Y instead of Enter [netmiko#3361, #2162].
async fn begins_with_a_key(banner: &'static str) -> Result<(), String> {
    let running = Device::begins("generic")
        .key("banner", banner)
        .to("^Y", "\n\n", "exec")
        .otherwise("", "banner")
        .state("exec", "4950GTS-PWR+>")
        .start()
        .await;
    let mut endpoint = quick(&running);
    let question = Pattern::new("Enter Ctrl-Y to begin")?;
    endpoint.credentials.answers = vec![Answer::new(question, "\u{19}").one_key().shown()];
    let session = running.connect_to(&endpoint).await;
    let session = session.map_err(|error| format!("{banner:?}: {error}"))?;
    same(banner, session.prompt(), "4950GTS-PWR+>")?;
    session.close().await;
    same(banner, running.typed_in("banner"), vec!["^Y".to_owned()])
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_of_the_operator_is_typed_without_enter() {
    let cases = vec![
        "Enter Ctrl-Y to begin.",
        // The device waits at an empty line.
        "Enter Ctrl-Y to begin.\n",
        "***************************\n***  Enter Ctrl-Y to begin  ***\n***************************\n",
    ];
    all(cases, begins_with_a_key).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_password_refused_at_the_devices_own_login_is_typed_once() {
    let running = Device::begins("cisco_ios")
        .question("name", "Username: ")
        .otherwise("", "password")
        .question("password", "Password: ")
        .hidden()
        .otherwise("% Login invalid\n\n", "name")
        .start()
        .await;
    let error = running.connect_to(&quick(&running)).await.unwrap_err();
    assert_eq!(error.code(), "authentication", "{error}");
    assert_eq!(running.typed_in("password").len(), 1);
    assert_eq!(running.typed_in("name"), [USERNAME]);
}
