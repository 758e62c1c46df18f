//! The rights of one plugin: its declared needs, limited by its grant, with the reason of each denial.

use netssh_core::Platform;

use super::forms::{commands_in, pieces};
use super::text::{allows, denies, hidden_chaining};
use crate::capabilities::Result;
use crate::model::{
    Connection, ErrorCode, Grant, JobError, Lines, Needs, OWN_RIGHTS, TargetPattern,
};

/// The needs and the grant of one plugin.
#[derive(Clone, Debug)]
pub(super) struct PluginRights {
    pub(super) plugin: String,
    pub(super) needs: Needs,
    pub(super) grant: Grant,
}

impl PluginRights {
    pub(super) fn missing(&self) -> Vec<String> {
        let Self { needs, grant, .. } = self;
        let mut missing = Vec::new();
        let mut lists = |need: &str, wanted: &[String], granted: &[String], covers: Covers| {
            let refused = wanted
                .iter()
                .filter(|wanted| !granted.iter().any(|granted| covers(granted, wanted)));
            missing.extend(refused.map(|wanted| format!("{need} \"{wanted}\"")));
        };
        let covers_pattern: Covers = |granted, wanted| allows(granted, wanted, None);
        if let Some(ssh) = &needs.ssh {
            lists("ssh.exec", &ssh.exec, &grant.ssh_exec, covers_pattern);
            lists(
                "ssh.answers",
                &ssh.answers,
                self.granted_answers(),
                covers_pattern,
            );
            if let (Lines::Matching(wanted), Lines::Matching(granted)) =
                (&ssh.configure, &grant.ssh_configure)
            {
                lists("ssh.configure", wanted, granted, covers_pattern);
            }
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
        let configure = ssh.map(|ssh| &ssh.configure);
        let all_lines = match (configure, &grant.ssh_configure) {
            (Some(Lines::Any(true)), granted) => *granted == Lines::Any(true),
            (Some(Lines::Matching(_)), granted) => granted.is_some(),
            _ => true,
        };
        let flags = [
            ("ssh.configure", !all_lines, false),
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

    pub(super) fn may_reach(&self, target: &str, connection: &Connection) -> Result<()> {
        let inline = connection.owner_job_id.is_some();
        // The registry and the configuration reject patterns that cannot be parsed.
        let fits = |pattern: &String| {
            TargetPattern::parse(pattern).is_ok_and(|pattern| pattern.matches(target, connection))
        };
        let by_host = |pattern: &String| match TargetPattern::parse(pattern) {
            Ok(TargetPattern::Host(pattern)) => pattern.covers(&connection.host),
            _ => false,
        };
        let needs = &self.needs.targets;
        if !needs.is_empty() && !needs.iter().any(fits) {
            return Err(self.refused(&format!("the target `{target}`"), "in needs.targets", needs));
        }
        let granted = &self.grant.targets;
        if !inline {
            if granted.iter().any(fits) {
                return Ok(());
            }
            return Err(self.not_granted(&format!("the target `{target}`"), "targets", granted));
        }
        // The submitter chose the name and the tags of an inline connection: only its host counts.
        let any = granted.iter().any(|pattern| pattern == "*");
        let what = "an inline connection";
        if !self.grant.inline.unwrap_or(any) {
            let reason = match self.grant.inline {
                Some(_) => "policy.inline is false",
                None => "policy.targets restricts targets and policy.inline is not true",
            };
            return Err(self.not_allowed(what, reason));
        }
        if !any && !granted.iter().any(by_host) {
            let what = format!("the host `{}` of an inline connection", connection.host);
            return Err(self.not_granted(&what, "targets", granted));
        }
        if connection.agent && !self.grant.inline_agent {
            let what = format!("{what} that logs in with the server's ssh-agent");
            return Err(self.not_allowed(&what, "policy.inline_agent is false"));
        }
        if !connection.jump.is_empty() && !self.grant.inline_jump {
            let what = format!("{what} that uses stored connections as jump hosts");
            return Err(self.not_allowed(&what, "policy.inline_jump is false"));
        }
        Ok(())
    }

    pub(super) fn may_open(&self) -> Result<()> {
        match &self.needs.ssh {
            Some(_) => Ok(()),
            None => Err(self.undeclared("opening a session", "ssh")),
        }
    }

    pub(super) fn may_exec(&self, command: &str, platform: &Platform) -> Result<()> {
        self.is_not_denied(command, Some(platform))?;
        let declared = match &self.needs.ssh {
            Some(ssh) => ssh.exec.as_slice(),
            None => &[],
        };
        if !covered(declared, command, platform) {
            return Err(self.refused(
                &with_hidden(&format!("the command `{command}`"), command, platform),
                "in needs.ssh.exec",
                declared,
            ));
        }
        self.is_granted(command, platform)
    }

    pub(super) fn is_granted(&self, command: &str, platform: &Platform) -> Result<()> {
        let granted = &self.grant.ssh_exec;
        if covered(granted, command, platform) {
            return Ok(());
        }
        let what = with_hidden(&format!("the command `{command}`"), command, platform);
        Err(self.not_granted(&what, "ssh_exec", granted))
    }

    /// Checks a line against `policy.deny`, which overrides every grant.
    pub(super) fn is_not_denied(&self, line: &str, platform: Option<&Platform>) -> Result<()> {
        let pieces = pieces(line, platform);
        let denied_by = self
            .grant
            .deny
            .iter()
            .find(|pattern| pieces.iter().any(|piece| denies(pattern, piece)));
        match denied_by {
            None => Ok(()),
            Some(pattern) => Err(denied(format!(
                "`{line}` is not allowed: policy.deny in the server's configuration contains \
                 `{pattern}`"
            ))),
        }
    }

    pub(super) fn may_answer(&self, what: &str, answer: &str, platform: &Platform) -> Result<()> {
        if let Err(error) = self.is_not_denied(answer, Some(platform)) {
            return Err(denied(error.message.replace(&format!("`{answer}`"), what)));
        }
        if is_confirmation(answer) {
            return Ok(());
        }
        let ssh = self.needs.ssh.as_ref();
        let declared = ssh.map_or(&[][..], |ssh| &ssh.answers);
        let granted = self.granted_answers();
        let is_declared = covered(declared, answer, platform);
        let is_covered = is_declared && covered(granted, answer, platform);
        let is_command = !answer.trim().is_empty() && self.may_exec(answer, platform).is_ok();
        if is_covered || is_command {
            return Ok(());
        }
        if is_declared {
            let key = match self.grant.ssh_answers {
                Some(_) => "ssh_answers",
                None => "ssh_exec",
            };
            return Err(self.not_granted(what, key, granted));
        }
        Err(self.refused(what, "in needs.ssh.answers", declared))
    }

    pub(super) fn may_log_in_with(
        &self,
        what: &str,
        answer: &str,
        inline: bool,
        platform: &Platform,
    ) -> Result<()> {
        if let Err(error) = self.is_not_denied(answer, Some(platform)) {
            return Err(denied(error.message.replace(&format!("`{answer}`"), what)));
        }
        let granted = self.granted_answers();
        if !inline || is_confirmation(answer) || covered(granted, answer, platform) {
            return Ok(());
        }
        let key = match self.grant.ssh_answers {
            Some(_) => "ssh_answers",
            None => "ssh_exec",
        };
        Err(self.not_granted(what, key, granted))
    }

    fn granted_answers(&self) -> &[String] {
        let own = self.grant.ssh_answers.as_ref();
        own.unwrap_or(&self.grant.ssh_exec)
    }

    pub(super) fn may_configure(&self) -> Result<()> {
        let declared = self.needs.ssh.as_ref();
        self.may(
            declared.is_some_and(|ssh| ssh.configure.is_some()),
            self.grant.ssh_configure.is_some(),
            "configuring a device",
            "ssh.configure",
        )
    }

    pub(super) fn may_configure_line(&self, line: &str, platform: &Platform) -> Result<()> {
        self.is_not_denied(line, Some(platform))?;
        let none = Lines::default();
        let ssh = self.needs.ssh.as_ref();
        let declared = ssh.map_or(&none, |ssh| &ssh.configure);
        let what = || with_hidden(&format!("the line `{line}`"), line, platform);
        if let Some(patterns) = declared.patterns()
            && !covered(patterns, line, platform)
        {
            return Err(self.refused(&what(), "in needs.ssh.configure", patterns));
        }
        if let Some(patterns) = self.grant.ssh_configure.patterns()
            && !covered(patterns, line, platform)
        {
            return Err(self.not_granted(&what(), "ssh_configure", patterns));
        }
        for command in commands_in(line, platform) {
            self.may_exec(&command, platform)
                .map_err(|error| JobError {
                    message: format!(
                        "the line `{line}` runs an ordinary command: {}",
                        error.message
                    ),
                    ..error
                })?;
        }
        Ok(())
    }

    pub(super) fn may_upload(&self) -> Result<()> {
        let declared = self.needs.ssh.as_ref().is_some_and(|ssh| ssh.upload);
        self.may(
            declared,
            self.grant.ssh_upload,
            "uploading files",
            "ssh.upload",
        )
    }

    pub(super) fn may_download(&self) -> Result<()> {
        let declared = self.needs.ssh.as_ref().is_some_and(|ssh| ssh.download);
        self.may(
            declared,
            self.grant.ssh_download,
            "downloading files",
            "ssh.download",
        )
    }

    pub(super) fn may_store(&self) -> Result<()> {
        self.may(
            self.needs.storage,
            self.grant.storage,
            "storing values",
            "storage",
        )
    }

    pub(super) fn may_submit(&self, plugin: &str) -> Result<()> {
        let declared = self.needs.queue.as_ref();
        let declared = declared.map_or(&[][..], |queue| &queue.submit);
        let covers = |names: &[String]| names.iter().any(|name| covers_name(name, plugin));
        let what = format!("submitting `{plugin}`");
        if !covers(declared) {
            return Err(self.refused(&what, "in needs.queue.submit", declared));
        }
        if !covers(&self.grant.queue_submit) {
            return Err(self.not_granted(&what, "queue_submit", &self.grant.queue_submit));
        }
        Ok(())
    }

    pub(super) fn grants_own_rights(&self, plugin: &str) -> bool {
        self.grant
            .queue_submit
            .iter()
            .filter_map(|name| name.strip_suffix(OWN_RIGHTS))
            .any(|name| covers_name(name, plugin))
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
            "{what} is not declared by `{}` {list}: {}",
            self.plugin,
            listed(allowed)
        ))
    }

    fn not_granted(&self, what: &str, key: &str, granted: &[String]) -> JobError {
        denied(format!(
            "{what} is not granted to `{}`: policy.{key} in the server's configuration allows {}",
            self.plugin,
            listed(granted)
        ))
    }

    fn not_allowed(&self, what: &str, reason: &str) -> JobError {
        denied(format!(
            "{what} is not granted to `{}`: {reason} in the server's configuration",
            self.plugin
        ))
    }
}

type Covers = fn(&str, &str) -> bool;

fn denied(message: String) -> JobError {
    JobError::new(ErrorCode::DENIED, message)
}

/// Returns whether an answer only confirms or refuses, at a question and at any prompt.
///
/// Numbers do not count, because they choose from a menu, nor do letters other than `y` and `n`,
/// because they are abbreviations: on some platforms `w` writes, `q` leaves and `e` enters a mode.
fn is_confirmation(answer: &str) -> bool {
    ["", "y", "n", "yes", "no"]
        .iter()
        .any(|word| answer.trim().eq_ignore_ascii_case(word))
}

fn covered(patterns: &[String], text: &str, platform: &Platform) -> bool {
    patterns
        .iter()
        .any(|pattern| allows(pattern, text, Some(platform)))
}

/// Names a chaining character that only the encoded bytes of the text contain.
fn with_hidden(what: &str, text: &str, platform: &Platform) -> String {
    match hidden_chaining(text, platform) {
        Some(c) => format!("{what} (with `{c}` in its encoded bytes)"),
        None => what.to_owned(),
    }
}

fn listed(names: &[String]) -> String {
    if names.is_empty() {
        "nothing".to_owned()
    } else {
        names.join(", ")
    }
}

fn covers_name(pattern: &str, name: &str) -> bool {
    let pattern = pattern.strip_suffix(OWN_RIGHTS).unwrap_or(pattern);
    pattern == "*" || pattern == name
}
