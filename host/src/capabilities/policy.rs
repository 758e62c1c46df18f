//! What a job may do: the one place where a call is held against what its plugin declared and what
//! the operator grants. What holds is what both allow, for the targets of the job.

use std::collections::BTreeMap;

use super::{JobContext, Result, limits};
use crate::model::{ErrorCode, Grant, JobError, LogLevel, Needs, matches_pattern};

/// Characters with which one line becomes several commands, its output goes elsewhere, or another
/// command's takes a part in it, on some platform. A pattern covers them only where it spells them
/// out, or allows everything.
const CHAINING: [char; 15] = [
    ';', '|', '&', '<', '>', '`', '$', '(', ')', '[', ']', '{', '}', '\\', '!',
];

/// What the operator grants: to every plugin, and to some by name.
#[derive(Clone, Debug, Default)]
pub struct Policy {
    pub default: Grant,
    pub plugins: BTreeMap<String, Grant>,
}

impl Policy {
    /// What holds for a plugin: what it needs, as far as it is granted.
    #[must_use]
    pub fn rights(&self, plugin: &str, needs: &Needs) -> Rights {
        Rights {
            plugin: plugin.to_owned(),
            needs: needs.clone(),
            grant: self.grant(plugin).clone(),
        }
    }

    /// How many jobs of a plugin may run at once, where that is limited.
    #[must_use]
    pub fn max_running(&self, plugin: &str) -> Option<usize> {
        let most = self.grant(plugin).max_running as usize;
        (most > 0).then_some(most)
    }

    fn grant(&self, plugin: &str) -> &Grant {
        self.plugins.get(plugin).unwrap_or(&self.default)
    }
}

/// What one plugin may do.
#[derive(Clone, Debug)]
pub struct Rights {
    plugin: String,
    needs: Needs,
    grant: Grant,
}

impl Rights {
    /// What the plugin needs and is not granted, as `ssh.exec "reload"`; empty when it may run.
    #[must_use]
    pub fn missing(&self) -> Vec<String> {
        let Self { needs, grant, .. } = self;
        let mut missing = Vec::new();
        let mut lists = |need: &str, wanted: &[String], granted: &[String], covers: Covers| {
            let refused = wanted
                .iter()
                .filter(|wanted| !granted.iter().any(|granted| covers(granted, wanted)));
            missing.extend(refused.map(|wanted| format!("{need} \"{wanted}\"")));
        };
        if let Some(ssh) = &needs.ssh {
            lists("ssh.exec", &ssh.exec, &grant.ssh_exec, allows);
        }
        if let Some(queue) = &needs.queue {
            lists(
                "queue.submit",
                &queue.submit,
                &grant.queue_submit,
                covers_name,
            );
        }
        let ssh = needs.ssh.as_ref();
        let flags = [
            (
                "ssh.configure",
                ssh.is_some_and(|ssh| ssh.configure),
                grant.ssh_configure,
            ),
            (
                "ssh.upload",
                ssh.is_some_and(|ssh| ssh.upload),
                grant.ssh_upload,
            ),
            (
                "ssh.download",
                ssh.is_some_and(|ssh| ssh.download),
                grant.ssh_download,
            ),
            ("storage", needs.storage, grant.storage),
        ];
        let refused = flags
            .iter()
            .filter(|(_, wanted, granted)| *wanted && !granted);
        missing.extend(refused.map(|(need, ..)| (*need).to_owned()));
        missing
    }

    /// # Errors
    /// Code `denied`: the plugin opens no such target, or may not.
    pub fn may_reach(&self, target: &str, tags: &[String]) -> Result<()> {
        let fits = |pattern: &String| match pattern.strip_prefix("tag:") {
            Some(tag) => tags.iter().any(|own| own == tag),
            None => matches_pattern(pattern, target),
        };
        let needs = &self.needs.targets;
        if !needs.is_empty() && !needs.iter().any(fits) {
            return Err(self.refused(
                &format!("the target `{target}`"),
                "declares in needs.targets",
                needs,
            ));
        }
        if !self.grant.targets.iter().any(fits) {
            return Err(self.not_granted(
                &format!("the target `{target}`"),
                "targets",
                &self.grant.targets,
            ));
        }
        Ok(())
    }

    fn may_open(&self) -> Result<()> {
        match &self.needs.ssh {
            Some(_) => Ok(()),
            None => Err(self.undeclared("opening a session", "ssh")),
        }
    }

    fn may_exec(&self, command: &str) -> Result<()> {
        let declared = match &self.needs.ssh {
            Some(ssh) => ssh.exec.as_slice(),
            None => &[],
        };
        check_command_text(command)?;
        check_visible(command)?;
        if !declared.iter().any(|pattern| allows(pattern, command)) {
            return Err(self.refused(
                &format!("the command `{command}`"),
                "declares in needs.ssh.exec",
                declared,
            ));
        }
        self.is_granted(command)
    }

    /// A command that the host itself knows, for a fact: the plugin need not declare it.
    fn is_granted(&self, command: &str) -> Result<()> {
        let granted = &self.grant.ssh_exec;
        if granted.iter().any(|pattern| allows(pattern, command)) {
            return Ok(());
        }
        Err(self.not_granted(&format!("the command `{command}`"), "ssh_exec", granted))
    }

    fn may_configure(&self) -> Result<()> {
        let declared = self.needs.ssh.as_ref().is_some_and(|ssh| ssh.configure);
        self.may(
            declared,
            self.grant.ssh_configure,
            "configuring a device",
            "ssh.configure",
        )
    }

    fn may_upload(&self) -> Result<()> {
        let declared = self.needs.ssh.as_ref().is_some_and(|ssh| ssh.upload);
        self.may(
            declared,
            self.grant.ssh_upload,
            "writing files to a device",
            "ssh.upload",
        )
    }

    fn may_download(&self) -> Result<()> {
        let declared = self.needs.ssh.as_ref().is_some_and(|ssh| ssh.download);
        self.may(
            declared,
            self.grant.ssh_download,
            "reading files of a device",
            "ssh.download",
        )
    }

    fn may_store(&self) -> Result<()> {
        self.may(
            self.needs.storage,
            self.grant.storage,
            "keeping values",
            "storage",
        )
    }

    fn may_submit(&self, plugin: &str) -> Result<()> {
        let declared = self.needs.queue.as_ref();
        let declared = declared.map_or(&[][..], |queue| &queue.submit);
        let covers = |names: &[String]| names.iter().any(|name| covers_name(name, plugin));
        let what = format!("submitting `{plugin}`");
        if !covers(declared) {
            return Err(self.refused(&what, "declares in needs.queue.submit", declared));
        }
        if !covers(&self.grant.queue_submit) {
            return Err(self.not_granted(&what, "queue_submit", &self.grant.queue_submit));
        }
        Ok(())
    }

    fn may(&self, declared: bool, granted: bool, what: &str, need: &str) -> Result<()> {
        if !declared {
            return Err(self.undeclared(what, need));
        }
        if !granted {
            return Err(self.not_granted(what, &need.replace('.', "_"), &[]));
        }
        Ok(())
    }

    fn undeclared(&self, what: &str, need: &str) -> JobError {
        denied(format!(
            "{what} is not declared: `{}` has no needs.{need}",
            self.plugin
        ))
    }

    fn refused(&self, what: &str, list: &str, allowed: &[String]) -> JobError {
        denied(format!(
            "{what} is not among what `{}` {list}: {}",
            self.plugin,
            listed(allowed)
        ))
    }

    fn not_granted(&self, what: &str, key: &str, granted: &[String]) -> JobError {
        denied(format!(
            "{what} is not granted to `{}`: policy.{key} of the server's configuration allows {}",
            self.plugin,
            listed(granted)
        ))
    }
}

type Covers = fn(&str, &str) -> bool;

fn denied(message: String) -> JobError {
    JobError::new(ErrorCode::DENIED, message)
}

impl JobContext {
    pub(super) async fn may_open(&self) -> Result<()> {
        self.permit(self.rights.may_open()).await
    }

    pub(super) async fn may_reach(&self, target: &str, tags: &[String]) -> Result<()> {
        self.permit(self.rights.may_reach(target, tags)).await
    }

    pub(super) async fn may_exec(&self, command: &str) -> Result<()> {
        self.permit(self.rights.may_exec(command)).await
    }

    pub(super) async fn may_ask(&self, command: &str) -> Result<()> {
        self.permit(self.rights.is_granted(command)).await
    }

    pub(super) async fn may_configure(&self) -> Result<()> {
        self.permit(self.rights.may_configure()).await
    }

    pub(super) async fn may_upload(&self) -> Result<()> {
        self.permit(self.rights.may_upload()).await
    }

    pub(super) async fn may_download(&self) -> Result<()> {
        self.permit(self.rights.may_download()).await
    }

    pub(super) async fn may_store(&self) -> Result<()> {
        self.permit(self.rights.may_store()).await
    }

    pub(super) async fn may_submit(&self, plugin: &str) -> Result<()> {
        self.permit(self.rights.may_submit(plugin)).await
    }

    /// A denial stands in the job's log, whatever the plugin makes of it.
    async fn permit(&self, checked: Result<()>) -> Result<()> {
        if let Err(error) = &checked
            && error.code.0 == ErrorCode::DENIED
        {
            self.note(LogLevel::Warn, error.to_string()).await;
        }
        checked
    }
}

fn listed(names: &[String]) -> String {
    if names.is_empty() {
        "nothing".to_owned()
    } else {
        names.join(", ")
    }
}

/// Nothing that looks like less than it is: no blank but the space, nothing that takes no room or
/// turns the direction of the text.
fn check_visible(command: &str) -> Result<()> {
    let hidden = |c: &char| {
        let formats = matches!(*c, '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}'
            | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}'
            | '\u{e0000}'..='\u{e007f}');
        formats || (c.is_whitespace() && *c != ' ')
    };
    match command.chars().find(hidden) {
        Some(c) => Err(JobError::new(
            ErrorCode::INVALID,
            format!(
                "a command holds the character U+{:04X}, which cannot be seen for what it is",
                c as u32
            ),
        )),
        None => Ok(()),
    }
}

fn covers_name(pattern: &str, name: &str) -> bool {
    pattern == "*" || pattern == name
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

#[cfg(test)]
mod tests {
    use super::*;

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
            "show [/system reboot]",
            "show {reload}",
            "show !reload",
            "show version \\",
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

    fn rights(needs: serde_json::Value, grant: Grant) -> Rights {
        let policy = Policy {
            default: grant,
            ..Policy::default()
        };
        policy.rights("it", &serde_json::from_value(needs).unwrap())
    }

    #[test]
    fn what_is_needed_and_not_granted_is_named() {
        let needs = serde_json::json!({
            "ssh": { "exec": ["show *", "show * | include *", "reload"], "configure": true },
            "storage": true,
            "queue": { "submit": ["noop", "*"] },
        });
        assert!(rights(needs.clone(), Grant::default()).missing().is_empty());
        let grant = Grant {
            ssh_exec: vec!["show *".to_owned()],
            ssh_configure: false,
            queue_submit: vec!["noop".to_owned()],
            ..Grant::default()
        };
        assert_eq!(
            rights(needs, grant).missing(),
            [
                "ssh.exec \"show * | include *\"",
                "ssh.exec \"reload\"",
                "queue.submit \"*\"",
                "ssh.configure",
            ]
        );
    }

    #[test]
    fn both_have_to_allow_a_command() {
        let needs = serde_json::json!({ "ssh": { "exec": ["show *"] } });
        let grant = Grant {
            ssh_exec: vec!["* version".to_owned()],
            ..Grant::default()
        };
        let rights = rights(needs, grant);
        assert!(rights.may_exec("show version").is_ok());
        let undeclared = rights.may_exec("delete version").unwrap_err();
        assert!(undeclared.message.contains("needs.ssh.exec: show *"));
        let ungranted = rights.may_exec("show clock").unwrap_err();
        assert!(
            ungranted.message.contains("policy.ssh_exec")
                && ungranted.message.contains("* version"),
            "{ungranted}"
        );
    }

    #[test]
    fn targets_are_held_against_names_and_tags() {
        let needs = serde_json::json!({ "targets": ["lab-*", "tag:core"] });
        let grant = Grant {
            targets: vec!["*-r1".to_owned()],
            ..Grant::default()
        };
        let rights = rights(needs, grant);
        let core = ["core".to_owned()];
        assert!(rights.may_reach("lab-r1", &[]).is_ok());
        assert!(rights.may_reach("x-r1", &core).is_ok());
        assert!(rights.may_reach("x-r1", &[]).is_err());
        assert!(rights.may_reach("lab-r2", &core).is_err());
    }

    #[test]
    fn a_command_hides_nothing() {
        for bad in [
            "show\u{a0}version",
            "show version\u{2028}reload",
            "show ver\u{200b}sion",
            "show \u{202e}daoler",
            "show\u{3000}run",
        ] {
            assert_eq!(check_visible(bad).unwrap_err().code.0, "invalid", "{bad:?}");
        }
        assert!(check_visible("show interface Gi0/1 description Zürich").is_ok());
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
