//! Tests the command line: keys in, output out, byte for byte.

use super::*;
use crate::{Interruption, LabDevice, LabPlatform};

fn device(platform: &str) -> LabDevice {
    LabDevice::new(platform, "r1").unwrap()
}

/// Creates an IOS-like device with some changed settings.
fn own(differs: &str) -> LabDevice {
    let toml = format!("extends = \"cisco_ios\"\n{differs}");
    LabDevice::of(LabPlatform::parse("own", &toml).unwrap(), "r1")
}

fn privileged(device: LabDevice) -> LabDevice {
    LabDevice {
        privileged: true,
        ..device
    }
}

/// Types lines one after the other; returns the greeting and the output for each.
fn talk(shared: &Shared, columns: u32, typed: &[&str]) -> Vec<String> {
    let mut cli = Cli::new(shared, 1, columns, 24);
    let said = |effects: Vec<Effect>| -> String {
        let said = effects.into_iter().filter_map(|effect| match effect {
            Effect::Print(text) => Some(text),
            Effect::Close => Some("<closed>".into()),
            Effect::Hang => Some("<hangs>".into()),
            Effect::Work | Effect::Flush | Effect::Pause => None,
        });
        said.collect()
    };
    let mut answers = vec![said(cli.greeting())];
    for keys in typed {
        answers.push(keys.chars().map(|key| said(cli.typed(key))).collect());
    }
    answers
}

fn answers(device: LabDevice, typed: &[&str]) -> Vec<String> {
    talk(&Shared::new(device), 80, typed)
}

#[test]
fn a_command_is_echoed_and_answered() {
    assert_eq!(
        answers(device("cisco_ios"), &["show privilege\r"])[1],
        "show privilege\nCurrent privilege level is 1\nr1>"
    );
}

#[test]
fn carriage_return_newline_and_both_are_one_enter() {
    for enter in ["\r", "\n", "\r\n"] {
        let typed = format!("{enter}{enter}");
        assert_eq!(
            answers(device("cisco_ios"), &[&typed])[1],
            "\nr1>\nr1>",
            "{enter:?}"
        );
    }
}

#[test]
fn the_caret_points_at_the_word_at_fault() {
    assert_eq!(
        answers(device("cisco_ios"), &["show nonsense\r"])[1],
        "show nonsense\n        ^\n% Invalid input detected at '^' marker.\n\nr1>"
    );
    assert_eq!(
        answers(device("cisco_ios"), &["show\r"])[1],
        "show\n% Incomplete command.\n\nr1>"
    );
}

#[test]
fn three_wrong_secrets_are_one_refusal() {
    let said = answers(device("cisco_ios"), &["enable\r", "a\r", "b\r", "c\r"]);
    assert_eq!(
        said[1..4],
        ["enable\nPassword: ", "\nPassword: ", "\nPassword: "]
    );
    assert_eq!(said[4], "\n% Bad secrets\n\nr1>");
    let said = answers(device("cisco_asa"), &["enable\r", "a\r", "enable\r"]);
    assert_eq!(said[2], "\nInvalid password\nPassword: ");
    assert_eq!(said[3], "\nr1# ");
}

#[test]
fn a_line_wider_than_the_terminal_scrolls_wraps_or_is_drawn_by_readline() {
    let echoed = |wrap: &str| {
        let device = own(&format!("[terminal]\nwrap = \"{wrap}\""));
        talk(&Shared::new(device), 12, &["123456789abcdef"]).remove(1)
    };
    assert_eq!(echoed("never"), "123456789abcdef");
    // The prompt takes three of twelve columns.
    assert_eq!(echoed("newline"), "123456789\nabcdef");
    assert_eq!(echoed("readline"), "123456789 \rabcdef");
    let scrolled = echoed("scroll");
    assert!(scrolled.starts_with("12345678\x08"), "{scrolled:?}");
    let line = format!("r1>{scrolled}");
    assert_eq!(netssh_core::clean(line.as_bytes()).trim_end(), "r1>$cdef");
}

#[test]
fn a_line_is_drawn_anew_for_every_key() {
    let said = answers(device("mikrotik_routeros"), &["/i", "\r"]);
    let pad = |length: usize| " ".repeat(80 - length);
    let drawn = format!(
        "/\r\r[admin@r1] > /{}\x1b[K\r[admin@r1] > /\
         i\r\r[admin@r1] > /i{}\x1b[K\r[admin@r1] > /i",
        pad(15),
        pad(16)
    );
    assert_eq!(said[1], drawn);
    let refused = "\r[admin@r1] > /i\n\rbad command name i (line 1 column 2)\n";
    assert!(said[2].starts_with(refused), "{:?}", said[2]);
}

#[test]
fn a_page_a_line_and_the_end_of_a_pager() {
    let lines: String = (0..60).map(|line| format!("line {line}\n")).collect();
    let device = LabDevice {
        outputs: vec![("show lines".into(), lines)],
        ..own("[pager]\nmark = \"more {percent}%\"\nerase = \"<erased>\"\nother = \"ignored\"")
    };
    let said = answers(device, &["show lines\r", "\r", "x", " ", "q"]);
    assert!(said[1].ends_with("line 22\nmore 38%"), "{}", said[1]);
    assert_eq!(said[2], "<erased>line 23\nmore 40%");
    assert_eq!(said[3], "");
    assert!(said[4].ends_with("line 46\nmore 78%"), "{}", said[4]);
    assert_eq!(said[5], "<erased>\nr1>");
}

#[test]
fn a_pager_that_ends_with_a_mark_waits_for_its_key() {
    let lines: String = (0..30).map(|line| format!("line {line}\n")).collect();
    let device = LabDevice {
        outputs: vec![("show lines".into(), lines)],
        ..own("[pager]\nend_mark = \"(END)\"\nother = \"ignored\"")
    };
    let said = answers(device, &["show lines\r", " ", " ", "q"]);
    assert!(said[2].ends_with("line 29\n(END)"), "{}", said[2]);
    assert!(said[3].ends_with("(END)"), "{}", said[3]);
    assert!(said[4].ends_with("\nr1>"), "{}", said[4]);
}

#[test]
fn questions_come_before_the_first_prompt() {
    let questions = ["press_any_key", "terms", "username"].map(str::to_owned);
    let device = LabDevice {
        login_questions: Some(questions.into()),
        ..device("cisco_ios")
    };
    let said = answers(device, &["x", "maybe\r", "y\r", "admin\r", "admin\r"]);
    assert!(said[0].ends_with("Press any key to continue"));
    assert!(said[1].ends_with("[y/n]: "), "{}", said[1]);
    assert!(said[2].ends_with("[y/n]: "), "{}", said[2]);
    assert_eq!(said[3], "y\nUsername: ");
    assert_eq!(said[4], "admin\nPassword: ");
    assert_eq!(said[5], "\n\nr1>");
}

#[test]
fn a_no_to_the_terms_ends_the_session() {
    let device = LabDevice {
        login_questions: Some(vec!["terms".into()]),
        ..device("cisco_ios")
    };
    assert_eq!(
        answers(device, &["n\r"])[1],
        "n\nConnection closed.\n<closed>"
    );
}

#[test]
fn a_key_confirms_without_enter() {
    let said = answers(privileged(device("cisco_ios")), &["reload\r", "n"]);
    assert_eq!(said[1], "reload\nProceed with reload? [confirm]");
    assert_eq!(said[2], "\nr1#");
}

#[test]
fn a_long_hostname_is_cut_as_the_platform_cuts_it() {
    let name = "a-name-of-twenty-five-chr";
    let cut = |differs: &str| {
        let device = privileged(LabDevice {
            hostname: name.into(),
            ..own(differs)
        });
        answers(device, &["configure terminal\r"]).remove(1)
    };
    assert!(cut("").ends_with("\na-name-of-twenty-fiv(config)#"));
    assert!(cut("[hostname]\nlength = 10\nmark = \"~\"").ends_with("\na-name-of-~(config)#"));
}

#[test]
fn changes_that_are_not_saved_show_in_the_prompt() {
    let marks = "[hostname]\ndirty = \"*\"\n[modes.enabled]\nprompt = \"{dirty}{hostname}#\"";
    let typed = ["conf t\r", "hostname r2\r", "end\r", "write memory\r"];
    let said = answers(privileged(own(marks)), &typed);
    assert!(said[0].ends_with("\nr1#"), "{}", said[0]);
    assert!(said[3].ends_with("\n*r2#"), "{}", said[3]);
    assert!(said[4].ends_with("\nr2#"), "{}", said[4]);
}

#[test]
fn lines_of_a_banner_are_neither_commands_nor_prompted_for() {
    let typed = ["conf t\r", "banner motd ^\r", "show # this\r", "^\r"];
    let said = answers(privileged(device("cisco_ios")), &typed);
    assert_eq!(
        said[2],
        "banner motd ^\nEnter TEXT message.  End with the character '^'.\n"
    );
    assert_eq!(said[3], "show # this\n");
    assert_eq!(said[4], "^\nr1(config)#");
}

#[test]
fn a_section_is_left_for_another_one() {
    let typed = [
        "conf t\r",
        "interface Loopback1\r",
        "do show privilege\r",
        "interface Loopback2\r",
        "exit\r",
        "exit\r",
    ];
    let said = answers(privileged(device("cisco_ios")), &typed);
    assert!(
        said[3].ends_with("level is 15\nr1(config-if)#"),
        "{}",
        said[3]
    );
    assert!(said[4].ends_with("\nr1(config-if)#"), "{}", said[4]);
    assert!(said[5].ends_with("\nr1(config)#"), "{}", said[5]);
    assert!(said[6].ends_with("\nr1#"), "{}", said[6]);
}

#[test]
fn the_device_says_something_while_a_command_is_typed() {
    let mut device = device("cisco_ios");
    device.faults.interruption = Some(Interruption {
        after: "show".into(),
        text: "%SYS-5-CONFIG_I: Configured".into(),
    });
    assert!(
        answers(device, &["show version\r"])[1]
            .starts_with("show\n%SYS-5-CONFIG_I: Configured\n version\n")
    );
}

#[test]
fn leaving_with_uncommitted_changes_is_a_question() {
    let shared = Shared::new(device("cisco_xr"));
    let typed = [
        "configure\r",
        "hostname r2\r",
        "end\r",
        "\r",
        "end\r",
        "no\r",
    ];
    let said = talk(&shared, 80, &typed);
    assert!(said[3].ends_with("before exiting(yes/no/cancel)? [cancel]:"));
    assert_eq!(said[4], "\nRP/0/RP0/CPU0:r1(config)#");
    assert_eq!(said[6], "no\nRP/0/RP0/CPU0:r1#");
    let happened: Vec<What> = lock(&shared.transcript)
        .to_vec()
        .into_iter()
        .map(|entry| entry.what)
        .collect();
    assert!(happened.contains(&What::Discarded));
    assert!(!happened.contains(&What::Committed));
    assert_eq!(happened.last(), Some(&What::Ended));
}

#[test]
fn a_candidate_is_in_force_once_it_is_committed_and_back_after_a_rollback() {
    let shared = Shared::new(device("cisco_xr"));
    let typed = [
        "configure\r",
        "hostname r2\r",
        "show configuration\r",
        "commit\r",
    ];
    let said = talk(&shared, 80, &typed);
    assert!(said[2].ends_with(":r1(config)#"), "{}", said[2]);
    assert!(said[3].contains("\nhostname r2\nend\n"), "{}", said[3]);
    assert!(said[4].ends_with(":r2(config)#"), "{}", said[4]);
    let said = talk(&shared, 80, &["rollback configuration last 1\r"]);
    assert!(said[1].ends_with(":r1#"), "{}", said[1]);
}

#[test]
fn a_refused_commit_is_explained_and_changes_nothing() {
    let shared = Shared::new(device("cisco_xr"));
    let typed = [
        "configure\r",
        "interface GigabitEthernet0/0/0/1\r",
        "ipv4 address 0.0.0.0 255.0.0.0\r",
        "commit\r",
        "show configuration failed\r",
        "abort\r",
    ];
    let said = talk(&shared, 80, &typed);
    assert!(
        said[3].ends_with("\nRP/0/RP0/CPU0:r1(config-if)#"),
        "{}",
        said[3]
    );
    assert!(said[4].contains("\n% Failed to commit"), "{}", said[4]);
    assert!(
        said[5].contains(" ipv4 address 0.0.0.0 255.0.0.0\n"),
        "{}",
        said[5]
    );
    assert!(said[6].ends_with("\nRP/0/RP0/CPU0:r1#"), "{}", said[6]);
    assert!(!configuration_of(&shared).contains("0.0.0.0 255.0.0.0"));
}

#[test]
fn thousands_of_lines_are_taken_in_seconds() {
    let shared = Shared::new(privileged(device("cisco_ios")));
    let lines = (0..3000).map(|n| {
        format!(
            "ip route 10.{}.{}.0 255.255.255.0 192.0.2.1\r",
            n / 250,
            n % 250
        )
    });
    let typed: String = std::iter::once("conf t\r".to_owned())
        .chain(lines)
        .collect();
    let started = std::time::Instant::now();
    talk(&shared, 511, &[&typed]);
    assert!(configuration_of(&shared).contains("ip route 10.11.249.0 "));
    let elapsed = started.elapsed();
    assert!(elapsed.as_secs() < 20, "{elapsed:?}");
}

#[test]
fn a_shared_candidate_outlives_its_session() {
    let shared = Shared::new(own("[configuration]\ncandidate = \"shared\""));
    let shared = Shared::new(privileged(shared.device));
    talk(&shared, 80, &["conf t\r", "hostname r2\r"]);
    assert!(configuration_of(&shared).contains("hostname r1\n"));
    let mut store = lock(&shared.configuration);
    let kind = crate::platform::Candidate::Shared;
    let (before, after) = store.pending(kind, &None);
    assert_ne!(before, after);
}

fn configuration_of(shared: &Shared) -> String {
    let rules = &shared.device.platform.definition().configuration;
    crate::configuration::lines(rules, lock(&shared.configuration).running())
}

/// A platform with configuration lines that contain their whole path.
const PATHS: &str = r##"
login = { mode = "operational" }
refusals = { unknown = "unknown command.\n" }
commands = [
  { typed = "configure", goto = "configuration" },
  { typed = "show | compare", in = ["configuration"], print = "{changes}" },
  { typed = "commit", in = ["configuration"], do = ["commit"], print = "commit complete\n" },
  { typed = "up", in = ["configuration"], do = ["up"] },
]
[hostname]
line = "set system host-name *"
[modes.operational]
prompt = "admin@{hostname}> "
[modes.configuration]
prompt = "\n[edit]\nadmin@{hostname}# "
section_prompt = "\n[edit {sections}]\nadmin@{hostname}# "
configuration = true
[configuration]
candidate = "shared"
initial = "set system host-name {hostname}\nset interfaces ge-0/0/0 mtu 1500\n"
add = "set "
remove = "delete "
single = ["set system host-name *", "set interfaces * mtu *"]
lines = ["set system ...", "set interfaces ..."]
sections = [{ line = "edit ...", label = "{rest}", nested = true, prefix = true }]
added = "[edit]\n+  {line}\n"
removed = "[edit]\n-  {line}\n"
"##;

#[test]
fn lines_with_their_path_are_set_deleted_and_committed() {
    let platform = LabPlatform::parse("paths", PATHS).unwrap();
    let shared = Shared::new(LabDevice::of(platform, "r1"));
    let typed = [
        "configure\r",
        "edit interfaces\r",
        "edit ge-0/0/0\r",
        "set mtu 9000\r",
        "up\r",
        "set ge-0/0/1 disable\r",
        "show | compare\r",
        "nonsense\r",
        "commit\r",
        "delete ge-0/0/1\r",
    ];
    let said = talk(&shared, 80, &typed);
    assert!(said[3].ends_with("\n\n[edit interfaces ge-0/0/0]\nadmin@r1# "));
    assert!(said[5].ends_with("\n\n[edit interfaces]\nadmin@r1# "));
    assert!(said[7].contains(
        "\n[edit]\n-  set interfaces ge-0/0/0 mtu 1500\n\
         [edit]\n+  set interfaces ge-0/0/0 mtu 9000\n\
         [edit]\n+  set interfaces ge-0/0/1 disable\n"
    ));
    assert!(said[8].starts_with("nonsense\nunknown command.\n"));
    assert_eq!(
        configuration_of(&shared),
        "set system host-name r1\nset interfaces ge-0/0/0 mtu 9000\nset interfaces ge-0/0/1 disable\n"
    );
}

/// A platform with one prompt and nested sections.
const NESTED: &str = r##"
login = { mode = "root" }
refusals = { unknown = "Unknown action 0\n" }
commands = [
  { typed = "next", in = ["root"], when = "section", do = ["up"] },
  { typed = "end", in = ["root"], when = "section", do = ["top"] },
]
[hostname]
line = "config system global set hostname *"
[modes.root]
prompt = "{hostname} # "
section_prompt = "{hostname} ({section}) # "
configuration = true
[configuration]
initial = "config system global\n    set hostname {hostname}\nconfig system interface\n    edit \"port1\"\n        set mtu 1500\n"
indent = "    "
add = "set "
remove = "unset "
single = ["set hostname *", "set mtu *"]
lines = ["set ..."]
sections = [
  { line = "config ...", label = "{rest}", end = "end" },
  { line = "edit *", label = "{rest}", nested = true, end = "next" },
]
"##;

#[test]
fn sections_stand_in_each_other() {
    let platform = LabPlatform::parse("nested", NESTED).unwrap();
    let shared = Shared::new(LabDevice::of(platform, "fw1"));
    let typed = [
        "config system interface\r",
        "edit \"port2\"\r",
        "set mtu 9000\r",
        "next\r",
        "end\r",
        "config system global\r",
        "set hostname fw2\r",
        "end\r",
    ];
    let said = talk(&shared, 80, &typed);
    assert!(said[2].ends_with("\nfw1 (\"port2\") # "), "{}", said[2]);
    assert!(
        said[4].ends_with("\nfw1 (system interface) # "),
        "{}",
        said[4]
    );
    assert!(said[8].ends_with("\nfw2 # "), "{}", said[8]);
    let port2 = "    edit \"port2\"\n        set mtu 9000\n    next\nend\n";
    assert!(configuration_of(&shared).ends_with(port2));
    let transcript = lock(&shared.transcript).to_vec();
    assert!(transcript.iter().any(|entry| entry.configures));
    assert!(!transcript.last().unwrap().configures);
}
