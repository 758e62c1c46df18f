//! Distinguishes a device's refusals from its remarks.

use std::sync::LazyLock;

use regex::RegexSet;

use super::{Ending, Pattern, Platform, shell};

/// Number of lines at the start of an output that may contain a refusal.
const FIRST_LINES: usize = 5;
/// Number of lines at the end of an output that may contain a refusal.
const LAST_LINES: usize = 3;

/// How much of a line decides whether it is a log line, in bytes.
const LOG_LINE_START: usize = 300;

/// Log lines that a device may print on the terminal at any time. They do not belong to a command's
/// output.
///
/// Sources: "Cisco IOS System Message Guide" (`*Mar  1 00:00:01.003: %SYS-5-CONFIG_I: …`, with a
/// sequence number or without a time; after `RP/0/RSP0/CPU0:` on XR, after `<189>` if the level is
/// shown); "Huawei Information Center" and "HPE Comware Information Center" (`%Jun  1 09:53:09:123
/// 2024 SW1 IFNET/3/PHY_UPDOWN: …`, `#Jun …` for traps, `%%01IFNET/4/LINK_STATE(l)`).
static LOG_LINES: LazyLock<RegexSet> = LazyLock::new(|| {
    let patterns = [
        // A mnemonic with a severity, followed by a colon and preceded by number, time, unit or
        // process.
        r"^(?:[^%]*[\s:]|.* )?%[A-Z][A-Z0-9_]*(?:-[A-Z0-9_]+)*-[0-7]-[A-Z0-9_]+ ?:",
        r"^[%#][A-Z][a-z]{2} [ \d]\d \d\d:\d\d:\d\d[:.]\d+ \d{4} ",
        r"^[A-Z][a-z]{2} [ \d]\d (?:\d{4} )?\d\d:\d\d:\d\d\S* \S+ %%\d\d\w+/[0-7]/",
    ];
    RegexSet::new(patterns).expect("the tests compile the patterns")
});

/// Returns whether a line is a log line. Its mnemonic is near its start.
fn is_log_line(line: &str) -> bool {
    LOG_LINES.is_match(&line[..line.floor_char_boundary(LOG_LINE_START)])
}

/// Returns the line in which a device refused a command.
pub(super) fn refusal<'a>(platform: &Platform, output: &'a str) -> Option<&'a str> {
    let lines = || {
        let lines = output.lines();
        lines.filter(|line| !line.trim().is_empty() && !is_log_line(line.trim()))
    };
    if matches!(platform.ending, Ending::ShellPrompt) {
        // The exit code usually decides. An output that only quotes a shell is not a refusal.
        let mut all = lines().peekable();
        all.peek()?;
        let only_refusals = all.all(|line| shell::refusal(line).is_some());
        return only_refusals.then(|| shell::refusal(output)).flatten();
    }
    let refused = |line: &&str| {
        let found = |patterns: &[Pattern]| patterns.iter().any(|pattern| pattern.matches(line));
        shell::refusal(line).is_some() || (found(&platform.refusals) && !found(&platform.remarks))
    };
    lines()
        .take(FIRST_LINES)
        .find(refused)
        .or_else(|| lines().rev().take(LAST_LINES).find(refused))
        .map(str::trim)
}

#[cfg(test)]
mod tests;
