//! What a job may do: the one place where a call is held against what the plugin declared.

use super::{JobContext, Result, limits};
use crate::model::{ErrorCode, JobError, Needs};

/// Characters with which one line becomes several commands, or its output goes elsewhere, on some
/// platform. A pattern covers them only where it spells them out, or allows everything.
const CHAINING: [char; 9] = [';', '|', '&', '<', '>', '`', '$', '(', ')'];

impl JobContext {
    pub(super) fn may_open(&self) -> Result<()> {
        match &self.description.needs.ssh {
            Some(_) => Ok(()),
            None => Err(self.undeclared("opening a session", "ssh")),
        }
    }

    pub(super) fn may_exec(&self, command: &str) -> Result<()> {
        let patterns = match &self.description.needs.ssh {
            Some(ssh) => ssh.exec.as_slice(),
            None => &[],
        };
        check_command_text(command)?;
        if patterns.iter().any(|pattern| allows(pattern, command)) {
            return Ok(());
        }
        Err(JobError::new(
            ErrorCode::DENIED,
            format!(
                "the command `{command}` is not among what `{}` declares in needs.ssh.exec: {}",
                self.job.plugin,
                listed(patterns)
            ),
        ))
    }

    pub(super) fn may_configure(&self) -> Result<()> {
        match &self.description.needs.ssh {
            Some(ssh) if ssh.configure => Ok(()),
            _ => Err(self.undeclared("configuring a device", "ssh.configure")),
        }
    }

    pub(super) fn may_upload(&self) -> Result<()> {
        match &self.description.needs.ssh {
            Some(ssh) if ssh.upload => Ok(()),
            _ => Err(self.undeclared("writing files to a device", "ssh.upload")),
        }
    }

    pub(super) fn may_download(&self) -> Result<()> {
        match &self.description.needs.ssh {
            Some(ssh) if ssh.download => Ok(()),
            _ => Err(self.undeclared("reading files of a device", "ssh.download")),
        }
    }

    pub(super) fn may_store(&self) -> Result<()> {
        if self.description.needs.storage {
            return Ok(());
        }
        Err(self.undeclared("keeping values", "storage"))
    }

    pub(super) fn may_submit(&self, plugin: &str) -> Result<()> {
        let Needs { queue, .. } = &self.description.needs;
        let names = queue.as_ref().map_or(&[][..], |queue| &queue.submit);
        if names.iter().any(|name| name == "*" || name == plugin) {
            return Ok(());
        }
        Err(JobError::new(
            ErrorCode::DENIED,
            format!(
                "submitting `{plugin}` is not among what `{}` declares in needs.queue.submit: {}",
                self.job.plugin,
                listed(names)
            ),
        ))
    }

    fn undeclared(&self, what: &str, need: &str) -> JobError {
        JobError::new(
            ErrorCode::DENIED,
            format!(
                "{what} is not declared: `{}` has no needs.{need}",
                self.job.plugin
            ),
        )
    }
}

fn listed(names: &[String]) -> String {
    if names.is_empty() {
        "nothing".to_owned()
    } else {
        names.join(", ")
    }
}

/// One line, no control characters, of a sane length: what any command has to be.
pub(super) fn check_command_text(command: &str) -> Result<()> {
    let wrong = if command.trim().is_empty() {
        Some("is empty".to_owned())
    } else if command.len() > limits::COMMAND_BYTES {
        Some(format!("is longer than {} bytes", limits::COMMAND_BYTES))
    } else {
        command.chars().find(|c| c.is_control()).map(|c| {
            format!(
                "holds the control character U+{:04X}; a command is one line",
                c as u32
            )
        })
    };
    match wrong {
        Some(wrong) => Err(JobError::new(
            ErrorCode::INVALID,
            format!("a command {wrong}"),
        )),
        None => Ok(()),
    }
}

fn allows(pattern: &str, command: &str) -> bool {
    if pattern == "*" {
        return true;
    }
    // As many as the pattern spells out, so that none is left for a `*` to cover.
    let smuggled = CHAINING
        .iter()
        .any(|c| command.matches(*c).count() > pattern.matches(*c).count());
    if smuggled {
        return false;
    }
    let words = command.split_whitespace().collect::<Vec<_>>().join(" ");
    matches_pattern(pattern.trim(), &words)
}

/// Whether a pattern, with `*` for any text, covers the whole of a text. Linear in both.
#[must_use]
pub fn matches_pattern(pattern: &str, text: &str) -> bool {
    let Some((first, rest)) = pattern.split_once('*') else {
        return pattern == text;
    };
    let Some(mut left) = text.strip_prefix(first) else {
        return false;
    };
    let mut pieces = rest.split('*').peekable();
    while let Some(piece) = pieces.next() {
        if pieces.peek().is_none() {
            return left.ends_with(piece);
        }
        match left.find(piece) {
            Some(at) => left = &left[at + piece.len()..],
            None => return false,
        }
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_cover_whole_texts() {
        assert!(matches_pattern("show *", "show version"));
        assert!(matches_pattern("show * brief", "show ip interface brief"));
        assert!(matches_pattern("a*b*c", "a-b-b-c"));
        assert!(matches_pattern("*", ""));
        assert!(!matches_pattern("show *", "show"));
        assert!(!matches_pattern("show *", "no show version"));
        assert!(!matches_pattern("show version", "show version detail"));
        assert!(!matches_pattern("ab*ba", "aba"));
    }

    #[test]
    fn a_command_cannot_carry_a_second_one() {
        assert!(allows("show *", "show   version"));
        for disguise in [
            "show version; reload",
            "show run | redirect flash:x",
            "show version && reboot",
            "show $(reboot)",
            "show `reboot`",
            "show run > flash:x",
        ] {
            assert!(!allows("show *", disguise), "{disguise}");
        }
        assert!(allows("show * | include *", "show run | include bgp"));
        assert!(!allows(
            "show * | include *",
            "show version | redirect tftp://x | include a"
        ));
        assert!(allows("*", "a; b"));
    }

    #[test]
    fn a_command_is_one_line() {
        for bad in [
            "",
            "  ",
            "show version\nreload",
            "show\r",
            "show \u{3}",
            "show\u{0}",
        ] {
            assert!(check_command_text(bad).is_err(), "{bad:?}");
        }
    }
}
