//! Recognises shells and boot loaders by their messages and prompts.

use std::sync::LazyLock;

use regex::RegexSet;

/// Maximum length of a refusal and of a prompt, in bytes. Bounds in the patterns would instead take
/// megabytes, because a pattern is repeated for each character that it may match.
const MAX_LINE: usize = 1_000;

/// Lines in which a shell or a boot loader refuses a command. Each pattern matches the whole line,
/// because a log that quotes such a line puts a time or a path before it.
///
/// Sources: bash, dash, ksh93, mksh, zsh, tcsh, fish and `BusyBox`; Microsoft's `cmd.exe` and
/// PowerShell; Debian's command-not-found; "The U-Boot Documentation", GRUB's manual, FreeBSD's
/// loader(8), Broadcom's CFE, "Cisco ROM Monitor Guide" and the boot loader of Catalyst switches;
/// netmiko #152, #298, #643 and #2621.
static REFUSALS: LazyLock<RegexSet> = LazyLock::new(|| {
    // `-bash`, `/bin/sh`, `-sh`, `vbash`, `rbash`, and the line number that dash and bash add.
    const SHELL: &str = r"-?(?:/\S*/)?(?:(?:ba|vba|rba|da|a|k|mk|pdk|lk|z|c|tc|fi)?sh\d*)(?:\[\d+\])?: (?:line )?(?:\d+: )?";
    let after_a_shell = |text: &str| format!("^{SHELL}{text}$");
    let patterns = [
        after_a_shell(r".+: (?:command )?not found\.?"),
        after_a_shell(r"command not found: .+"),
        after_a_shell(r".+: (?:inaccessible or not found|not found \[.*\])"),
        after_a_shell(r".+: (?:Permission denied|[Ee]vent not found|restricted.*)"),
        after_a_shell(r".+: No such file or directory"),
        after_a_shell(r"(?:syntax error|unexpected EOF).*"),
        after_a_shell(r"Unknown command:? .+"),
        // csh, tcsh and FreeBSD's sh print only the command's name.
        r"^\S{1,64}: not found$".into(),
        r"^\S+: (?:[Cc]ommand not found|[Ee]vent not found|applet not found)\.?$".into(),
        r"^(?:exec|nohup|env): .+: (?:not found|No such file or directory)$".into(),
        r"^(?:[Cc]ommand|The program) '[^']+' (?:not found|is currently not installed|is not installed).*$"
            .into(),
        r"^(?:bash|sh): no job control in this shell$".into(),
        r"^'[^']+' is not recognized as an internal or external command,?.*$".into(),
        r"^\S+ : The term '[^']+' is not recognized as .*$".into(),
        // U-Boot, GRUB, CFE, RedBoot, ROM monitor, Catalyst's and FreeBSD's loader.
        r#"^Unknown command ['"]?[^'"]+['"]? - try 'help'.*$"#.into(),
        r"^(?:error: )?unknown command [`'].+'\.?$".into(),
        r"^error: can't find command [`'].+'\.?$".into(),
        r"^Error \d+: Unrecognized command$".into(),
        r#"^Invalid command: "[^"]+"$"#.into(),
        r"^\*\* Error: Illegal command.*$".into(),
        r#"^monitor: command "[^"]+" not found$"#.into(),
        r"^[Uu]nknown cmd: .+$".into(),
        r"^unknown command$".into(),
    ];
    RegexSet::new(patterns).expect("the tests compile the patterns")
});

/// Prompts of a shell.
static SHELL_PROMPTS: LazyLock<RegexSet> = LazyLock::new(|| {
    let patterns = [
        // `bash-4.2#`, `sh-3.2$`, `-sh-4.1$`, `bash$`.
        r"^-?(?:ba|a|da|k|mk|z|c|tc|vba|rba|fi)?sh(?:-\d[\w.]*)?[#$%]$",
        // `[admin@sw1 ~]$`, `[root@sw1 log]#`: bash of Red Hat's family.
        r"^\[[\w.\-]+@[\w.\-]+ [~/\w.\-][^\[\]]*\][#$%]$",
        r"^\[[\w.\-]+@[\w.\-]+ [~/\w]\][#$%]$",
        // `root@sw1:~#`, `root@fw:~ #`, `root@sw1:/var/log%`: with a directory, and without `$`.
        r"^[\w.\-]+@[\w.\-]*:[~/]\S* ?[#%]$",
        // BusyBox: `~ #`, `/ #`, `/var/log $`.
        r"^[~/]\S* ?[#$%]$",
        r"^\(none\):\S* ?[#$%]$",
        // csh, as on Junos: `root@ex1:RE:0%`, `root@%`, `fw%`, `%`. No CLI's prompt ends with `%`.
        r"^(?:[A-Za-z][\w.\-]*(?:@[\w.\-:]*)?)?%$",
        // `host:~ user$`, and a bare `$`.
        r"^[\w.\-]+:[~/]\S* [\w.\-]+[#$%]$",
        r"^\$$",
        // zsh: `user@host ~ %`.
        r"^[\w.\-]+@[\w.\-]+ [~/]\S* [#%]$",
        // Windows.
        r"^(?:PS )?[A-Za-z]:\\[^<>|]*>$",
    ];
    RegexSet::new(patterns).expect("the tests compile the patterns")
});

/// Prompts of a boot loader.
static BOOT_LOADER_PROMPTS: LazyLock<RegexSet> = LazyLock::new(|| {
    let patterns = [
        r"(?i)^(?:loader|grub|grub rescue|cfe|u-boot|uboot|boot|redboot|aboot|svos|bootrom|barebox)[>#]$",
        r"(?i)^rommon ?#?\d* ?>$",
        // `=>` of U-Boot, `Marvell>>`, `ok` of Open Firmware and FreeBSD's loader.
        r"^=>$",
        r"^\w+>>$",
        r"(?i)^(?:\{\d+\} )?ok$",
        // The boot loader of Catalyst switches; `switch>` is their CLI.
        r"^switch:$",
        // `(boot)>`, `switch(boot)#`: an image that only boots the system.
        r"^[\w.\-]*\(boot\)[>#]$",
        // FreeBSD's and Linux's kernel debugger.
        r"^k?db(?:\[\d+\])?>$",
    ];
    RegexSet::new(patterns).expect("the tests compile the patterns")
});

/// Returns the first line in which a shell or a boot loader refuses a command.
///
/// No device's CLI prints such a line after it has run a command. The command was therefore not
/// run, and the session is not at the CLI.
pub(crate) fn refusal(text: &str) -> Option<&str> {
    let mut lines = text.lines().map(str::trim);
    lines.find(|line| line.len() <= MAX_LINE && REFUSALS.is_match(line))
}

/// Returns whether a prompt is shown by shells only: `bash-4.2#`, `root@sw1:~#`, `[admin@sw1 ~]$`,
/// `root@ex1:RE:0%`.
///
/// `false` proves nothing: shells and CLIs share the prompts `sw1#` and `user@host:~$` (the latter
/// on VyOS and `EdgeOS`). Only the reply to a command distinguishes them; see [`refusal`]. The
/// result is meaningless on a platform with shell sessions.
pub(crate) fn looks_like_shell_prompt(prompt: &str) -> bool {
    prompt.len() <= MAX_LINE && SHELL_PROMPTS.is_match(prompt.trim())
}

/// Returns whether a prompt is typical of a boot loader: `loader>`, `rommon 1 >`, `switch:`, `=>`,
/// `switch(boot)#`.
///
/// `true` is only a hint, because a device may be named like a boot loader (`boot>`). Such a device
/// runs a command of its CLI, and a boot loader refuses it; see [`refusal`].
pub(crate) fn looks_like_boot_loader(prompt: &str) -> bool {
    BOOT_LOADER_PROMPTS.is_match(prompt.trim())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Platform;

    const WORDS: &[&str] = &[
        "show: Command not found.",
        "terminal: Command not found.",
        "!foo: Event not found.",
        "bash: show: command not found",
        "-bash: terminal: command not found",
        "-bash: line 3: show: command not found",
        "/bin/bash: show: command not found",
        "-vbash: shwo: command not found",
        "-rbash: show: command not found",
        "-sh: show: not found",
        "sh: show: not found",
        "sh: 1: show: not found",
        "/bin/sh: 2: show: not found",
        "-ash: show: not found",
        "ksh: show: inaccessible or not found",
        "ksh: show: not found",
        "/bin/ksh: show: not found [No such file or directory]",
        "ksh[1]: show: not found",
        "zsh: command not found: show",
        "fish: Unknown command: show",
        "fish: Unknown command 'show'",
        "-bash: !x: event not found",
        "-sh: /usr/sbin/show: Permission denied",
        "-bash: syntax error near unexpected token `newline'",
        "show: applet not found",
        "Command 'show' not found, did you mean:",
        "The program 'show' is currently not installed. You can install it by typing:",
        "'show' is not recognized as an internal or external command,",
        "show : The term 'show' is not recognized as the name of a cmdlet, function, script file, or",
        "Unknown command 'show' - try 'help'",
        "Unknown command 'show' - try 'help' without arguments for list of all known commands",
        "error: unknown command `show'.",
        "error: can't find command `show'.",
        "Error 27: Unrecognized command",
        "Invalid command: \"show\"",
        "** Error: Illegal command: \"show\"",
        "monitor: command \"show\" not found",
        "Unknown cmd: show",
        "unknown command",
    ];

    #[test]
    fn refusals_of_shells_and_boot_loaders_are_recognised() {
        for line in WORDS {
            let output = format!("\r\n  {line}  \r\n");
            assert_eq!(refusal(&output), Some(*line));
        }
    }

    #[test]
    fn other_lines_are_not_refusals_of_a_shell() {
        for line in [
            "",
            "Nov 30 10:00:00 sw1 sshd[12]: -bash: show: command not found",
            "/var/log/messages:-bash: show: command not found",
            " description show: Command not found here",
            "% Host not found",
            "Translating \"shwo\"...domain server (255.255.255.255)",
            "Flash: file not found on slot 1",
            "interface push: not found yet",
            "Last login: Mon Nov 30 10:00:00 2020 from 192.0.2.1",
            "publish: yes",
        ] {
            assert_eq!(refusal(line), None, "{line}");
        }
    }

    #[test]
    fn a_command_answered_by_a_shell_is_refused_on_every_platform() {
        for name in Platform::names() {
            let platform = Platform::named(name).unwrap();
            for line in WORDS {
                assert_eq!(
                    platform.refusal(&format!("{line}\n")),
                    Some(*line),
                    "{name}"
                );
            }
        }
    }

    #[test]
    fn a_shell_host_is_refused_only_by_an_output_without_anything_else() {
        let linux = Platform::named("linux").unwrap();
        let quoted = "-bash: show: command not found\nand what came after it\n";
        assert_eq!(linux.refusal(quoted), None);
        assert_eq!(linux.refusal(""), None);
    }

    #[test]
    fn prompts_of_shells_are_distinguished_from_those_of_devices() {
        for prompt in [
            "root@ex1:RE:0% ",
            "root@ex1% ",
            "root@% ",
            "% ",
            "ex1% ",
            "bash-4.2#",
            "bash-5.1$ ",
            "sh-3.2$",
            "sh-4.4# ",
            "-sh-4.1$ ",
            "bash$",
            "root@sw1:~#",
            "root@sw1:~# ",
            "root@fw1:~ # ",
            "root@sw1:/var/log#",
            "root@:~ #",
            "[admin@sw1 ~]$",
            "[root@sw1 ~]# ",
            "[root@sw1 log]#",
            "[admin@sw1 /var/log]$",
            "~ # ",
            "/ #",
            "/var/log $",
            "(none):/#",
            "mac:~ admin$",
            "admin@mac ~ % ",
            "$ ",
            "C:\\Users\\admin>",
            "PS C:\\> ",
        ] {
            assert!(looks_like_shell_prompt(prompt), "{prompt}");
            assert!(!looks_like_boot_loader(prompt), "{prompt}");
        }
    }

    #[test]
    fn prompts_of_boot_loaders_are_distinguished_from_those_of_devices() {
        for prompt in [
            "loader>",
            "loader> ",
            "rommon 1 >",
            "rommon 12 > ",
            "rommon #0> ",
            "rommon>",
            "switch: ",
            "=> ",
            "U-Boot>",
            "CFE> ",
            "grub> ",
            "grub rescue> ",
            "(boot)>",
            "switch(boot)#",
            "boot> ",
            "Aboot# ",
            "SVOS> ",
            "RedBoot> ",
            "Marvell>> ",
            "OK ",
            "{0} ok ",
            "db> ",
        ] {
            assert!(looks_like_boot_loader(prompt), "{prompt}");
            assert!(!looks_like_shell_prompt(prompt), "{prompt}");
        }
    }

    #[test]
    fn prompts_shared_with_a_cli_are_not_taken_for_a_shell() {
        for prompt in [
            "",
            "switch>",
            "Switch#",
            "core1#",
            "core1(config)#",
            "core1(config-if)# ",
            "root@fw>",
            "root@fw# ",
            "{master:0}",
            "admin@PA-220(active)>",
            "admin@PA-220# ",
            "[admin@MikroTik] > ",
            "[admin@MikroTik] /ip address> ",
            "[admin@MikroTik] <SAFE> ",
            "<HUAWEI>",
            "[HUAWEI]",
            "[~HUAWEI-GigabitEthernet0/0/1]",
            "[H3C-Vlan-interface1]",
            "vyos@vyos:~$ ",
            "ubnt@edge:~$",
            "vyos@vyos# ",
            "FGT60E # ",
            "FGT60E (global) # ",
            "A:PE1# ",
            "*A:PE1>config>router# ",
            "A:admin@PE1# ",
            "X440G2.12 # ",
            "* Slot-1 stack.3 # ",
            "RP/0/RSP0/CPU0:xr1#",
            "host/context/act# ",
            "bashful#",
            "push>",
            "okapi>",
            "sw1(s1)(config)#",
        ] {
            assert!(!looks_like_shell_prompt(prompt), "{prompt}");
            assert!(!looks_like_boot_loader(prompt), "{prompt}");
        }
    }
}
