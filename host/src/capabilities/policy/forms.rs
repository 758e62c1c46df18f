//! Detects ordinary commands in configuration lines, and lines that leave configuration mode.
//!
//! A platform defines how configuration mode runs an ordinary command (`do {command}`). If it needs
//! no such form, or if configuration mode is a shell, the first word tells a command from a line.

use netssh_core::Platform;

use super::text::{by_bytes, in_one_spacing};

/// First words of ordinary commands that do not begin configuration lines.
const COMMANDS: &[&str] = &[
    "admin",
    "archive",
    "attach",
    "bash",
    "cd",
    "checkpoint",
    "clear",
    "copy",
    "cp",
    "curl",
    "debug",
    "delete",
    "diagnose",
    "dir",
    "display",
    "erase",
    "execute",
    "export",
    "format",
    "ftp",
    "get",
    "guestshell",
    "halt",
    "import",
    "init",
    "install",
    "kill",
    "mkdir",
    "more",
    "mv",
    "ping",
    "ping6",
    "poweroff",
    "pwd",
    "python",
    "python3",
    "reboot",
    "reload",
    "rename",
    "request",
    "reset",
    "restart",
    "rm",
    "rmdir",
    "scp",
    "send",
    "sftp",
    "show",
    "ssh",
    "su",
    "sudo",
    "tar",
    "tclsh",
    "telnet",
    "terminal",
    "test",
    "tftp",
    "tools",
    "traceroute",
    "tracert",
    "undebug",
    "wget",
    "write",
];

/// Words of [`COMMANDS`] that begin configuration lines on these platforms.
const LINES: &[(&[&str], &[&str])] = &[
    (&["cisco_asa"], &["ssh", "telnet"]),
    (
        &["hp_comware", "huawei_vrp"],
        &["ftp", "scp", "sftp", "ssh", "telnet", "tftp"],
    ),
    (&["extreme_exos"], &["delete"]),
    (&["fortinet"], &["delete", "rename"]),
];

/// Words that begin ordinary commands on these platforms only.
const MORE_COMMANDS: &[(&[&str], &[&str])] =
    &[(&["aruba_aoscx", "hp_procurve"], &["boot", "reload"])];

/// Platforms with a shell as configuration mode: it runs every line that does not begin with one of
/// [`SHELL_LINES`].
const SHELLS: &[&str] = &["ubiquiti_edgerouter", "vyos"];
const SHELL_LINES: &[&str] = &[
    "activate",
    "annotate",
    "comment",
    "commit",
    "commit-confirm",
    "compare",
    "confirm",
    "copy",
    "deactivate",
    "delete",
    "discard",
    "edit",
    "exit",
    "load",
    "merge",
    "rename",
    "rollback",
    "save",
    "set",
    "show",
    "top",
    "up",
];

/// `RouterOS` writes a path before the verb. [`ROUTEROS_LINES`] change the configuration,
/// [`ROUTEROS_COMMANDS`] are ordinary commands.
const ROUTEROS: &str = "mikrotik_routeros";
const ROUTEROS_LINES: &[&str] = &[
    "add", "comment", "disable", "edit", "enable", "move", "remove", "set", "unset",
];
const ROUTEROS_COMMANDS: &[&str] = &[
    "backup",
    "downgrade",
    "export",
    "fetch",
    "import",
    "reboot",
    "reset",
    "reset-configuration",
    "run",
    "shutdown",
    "ssh",
    "telnet",
    "upgrade",
];

/// Returns the ordinary commands that a configuration line runs.
pub(super) fn commands_in(line: &str, platform: &Platform) -> Vec<String> {
    let Some(mode) = &platform.configuration else {
        return vec![line.trim().to_owned()];
    };
    let word = mode.run.as_deref().and_then(run_word);
    let typed = by_bytes(line, platform);
    let parts: Vec<&str> = if word == Some("do") {
        vec![&typed]
    } else {
        parts(&typed)
    };
    let mut commands = Vec::new();
    for part in parts {
        let part = part.trim();
        match without_run_word(part, word) {
            Some(command) => {
                // `do do reload` runs `reload`.
                let inner = without_run_word(&command, word);
                commands.push(inner.unwrap_or(command));
            }
            None if is_command(part, platform, word) => commands.push(part.to_owned()),
            None => {}
        }
    }
    commands
}

/// Returns the texts that the denied patterns are matched against: the whole line, and each command
/// in it.
pub(super) fn pieces(line: &str, platform: Option<&Platform>) -> Vec<String> {
    let typed = platform.map_or_else(|| line.to_owned(), |platform| by_bytes(line, platform));
    let mode = platform.and_then(|platform| platform.configuration.as_ref());
    let word = mode.and_then(|mode| mode.run.as_deref()).and_then(run_word);
    let mut pieces = vec![line.to_owned()];
    for part in parts(&typed) {
        let mut part = part.trim().to_owned();
        pieces.push(part.clone());
        while let Some(command) = without_run_word(&part, word) {
            pieces.push(command.clone());
            part = command;
        }
    }
    pieces
}

/// Returns whether a line leaves configuration mode from any level. `exit` and `quit` leave it from
/// the top level only; the session detects that.
pub(in crate::capabilities) fn leaves(line: &str, platform: &Platform) -> bool {
    let Some(mode) = &platform.configuration else {
        return false;
    };
    if mode.enter.is_none() {
        return false;
    }
    let line = in_one_spacing(&line.to_lowercase());
    let own = in_one_spacing(&mode.leave.send.to_lowercase());
    let everywhere = !matches!(own.as_str(), "exit" | "quit");
    (everywhere && is_short_for(&line, &own))
        || [
            "end",
            "exit all",
            "exit configuration-mode",
            "quit configuration-mode",
        ]
        .iter()
        .any(|form| line == *form)
        || (mode.candidate.is_some() && is_short_for(&line, "commit and-quit"))
}

fn is_short_for(line: &str, form: &str) -> bool {
    let (line, form) = (line.split(' '), form.split(' '));
    let mut both = line.clone().zip(form.clone());
    line.count() == form.count()
        && both.all(|(word, whole)| word == whole || (word.len() > 1 && whole.starts_with(word)))
}

/// Returns the word before the command in a form such as `do {command}`.
fn run_word(form: &str) -> Option<&str> {
    let (before, _) = form.split_once("{command}")?;
    Some(before.trim()).filter(|word| !word.is_empty())
}

/// Returns the command after a run word: the platform's own, an abbreviation of it, or a common
/// one.
fn without_run_word(part: &str, own: Option<&str>) -> Option<String> {
    let (first, rest) = part.split_once(char::is_whitespace)?;
    let first = first.to_lowercase();
    let rest = rest.trim();
    let is_run = match own {
        Some("do") => "do-exec".starts_with(&first),
        Some(own) => own.to_lowercase().starts_with(&first),
        None => false,
    };
    let common = matches!(first.as_str(), "do" | "do-exec" | "run");
    // No platform has configuration lines that begin with `run` or `do`.
    ((is_run || common) && !rest.is_empty()).then(|| rest.to_owned())
}

/// Splits a line at every character that begins another command on some platform.
fn parts(line: &str) -> Vec<&str> {
    let parts = line.split([';', '|', '&', '`', '(', ')', '{', '}', '[', ']', '$']);
    parts.filter(|part| !part.trim().is_empty()).collect()
}

fn is_command(part: &str, platform: &Platform, run_word: Option<&str>) -> bool {
    let name = platform.name.as_str();
    let lower = part.to_lowercase();
    let words: Vec<&str> = lower
        .split([' ', '\t', '/'])
        .filter(|word| !word.is_empty())
        .collect();
    let Some(first) = words.first() else {
        return false;
    };
    if name == ROUTEROS {
        let verb = words
            .iter()
            .find(|word| ROUTEROS_LINES.contains(word) || is_among(word, ROUTEROS_COMMANDS));
        return verb.is_some_and(|verb| !ROUTEROS_LINES.contains(verb));
    }
    if SHELLS.contains(&name) {
        return !SHELL_LINES.contains(first) && !first.starts_with('#');
    }
    // A platform with a run word runs ordinary commands in that form only.
    if run_word.is_some() {
        return false;
    }
    let of = |table: &[(&[&str], &'static [&'static str])]| {
        let rows = table.iter().filter(|(names, _)| names.contains(&name));
        rows.flat_map(|(_, words)| *words)
            .copied()
            .collect::<Vec<_>>()
    };
    let lines = of(LINES);
    (is_among(first, COMMANDS) && !lines.contains(first)) || is_among(first, &of(MORE_COMMANDS))
}

/// Returns whether a word is one of `words` or an abbreviation of one.
fn is_among(word: &str, words: &[&str]) -> bool {
    word.len() > 1 && words.iter().any(|whole| whole.starts_with(word))
}

#[cfg(test)]
mod tests {
    use netssh_core::Platform;

    use super::*;

    fn commands(platform: &str, line: &str) -> Vec<String> {
        commands_in(line, &Platform::named(platform).unwrap())
    }

    #[test]
    fn ordinary_commands_are_found_in_configuration_lines() {
        for (platform, line, found) in [
            ("cisco_ios", "do reload", "reload"),
            ("cisco_ios", "DO  reload in 5", "reload in 5"),
            (" cisco_xe".trim(), "  do reload", "reload"),
            ("cisco_xe", "do-exec reload", "reload"),
            ("cisco_xr", "do do reload", "reload"),
            (
                "juniper_junos",
                "run request system reboot",
                "request system reboot",
            ),
            (
                "juniper_junos",
                "ru request system reboot",
                "request system reboot",
            ),
            (
                "paloalto_panos",
                "run request restart system",
                "request restart system",
            ),
            ("vyos", "run reboot now", "reboot now"),
            ("vyos", "set x y; reboot", "reboot"),
            ("vyos", "sudo rm -rf /config", "sudo rm -rf /config"),
            ("vyos", "set x $(reboot)", "reboot"),
            ("arista_eos", "reload now", "reload now"),
            ("arista_eos", "rel now", "rel now"),
            ("cisco_nxos", "hostname x ; reload", "reload"),
            ("cisco_nxos", "del bootflash:x", "del bootflash:x"),
            ("cisco_asa", "write erase", "write erase"),
            ("aruba_aoscx", "boot system primary", "boot system primary"),
            ("fortinet", "execute reboot", "execute reboot"),
            ("nokia_sros", "/admin reboot now", "/admin reboot now"),
            ("mikrotik_routeros", "/system reboot", "/system reboot"),
            ("mikrotik_routeros", "/sys reb", "/sys reb"),
            (
                "mikrotik_routeros",
                ":put 1; /system reset-configuration",
                "/system reset-configuration",
            ),
            ("linux", "reboot", "reboot"),
        ] {
            assert_eq!(commands(platform, line), [found], "{platform}: {line}");
        }
    }

    #[test]
    fn configuration_lines_are_not_taken_for_commands() {
        for (platform, line) in [
            ("cisco_ios", "hostname r2"),
            ("cisco_ios", "description do not; reload | this"),
            ("cisco_ios", "no shutdown"),
            ("cisco_ios", "default interface Gi0/1"),
            ("juniper_junos", "delete interfaces ge-0/0/1"),
            ("juniper_junos", "set system host-name r2"),
            ("juniper_junos", "rename interfaces a to b"),
            ("vyos", "set interfaces ethernet eth0 description x"),
            ("vyos", "delete interfaces ethernet eth0"),
            ("arista_eos", "interface Ethernet1"),
            ("arista_eos", "shutdown"),
            ("arista_eos", "description reload"),
            ("cisco_nxos", "feature ospf"),
            ("cisco_asa", "ssh 192.0.2.0 255.255.255.0 inside"),
            ("huawei_vrp", "ssh user admin"),
            ("hp_comware", "telnet server enable"),
            ("extreme_exos", "delete vlan x"),
            ("fortinet", "delete 5"),
            ("fortinet", "set hostname x"),
            ("mikrotik_routeros", "/ip service set ssh disabled=yes"),
            ("mikrotik_routeros", "/system identity set name=r2"),
        ] {
            assert_eq!(
                commands(platform, line),
                Vec::<String>::new(),
                "{platform}: {line}"
            );
        }
    }

    #[test]
    fn lines_that_leave_configuration_mode_are_detected() {
        let leads = |platform: &str, line: &str| leaves(line, &Platform::named(platform).unwrap());
        for (platform, line) in [
            ("cisco_ios", "end"),
            ("cisco_ios", " END "),
            ("cisco_ios", "en"),
            ("hp_comware", "return"),
            ("huawei_vrp", "ret"),
            ("nokia_sros", "exit all"),
            ("juniper_junos", "exit configuration-mode"),
            ("juniper_junos", "commit and-quit"),
            ("vyos", "exit discard"),
        ] {
            assert!(leads(platform, line), "{platform}: {line}");
        }
        for (platform, line) in [
            ("cisco_ios", "exit"),
            ("cisco_ios", "endpoint x"),
            ("cisco_ios", "enable secret x"),
            ("hp_comware", "quit"),
            ("fortinet", "end"),
            ("mikrotik_routeros", "/"),
        ] {
            assert!(!leads(platform, line), "{platform}: {line}");
        }
    }
}
