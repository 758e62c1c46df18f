//! Decides whether a job may perform a capability call. A call is allowed if the plugin declared
//! it, the operator grants it, the job's targets include the device, and the rights of the job's
//! ancestors allow it.
//!
//! Every line that may reach a device is checked here: commands, answers and configuration lines.
//! `policy/text.rs` compares texts with patterns, `policy/forms.rs` finds the commands that a
//! configuration line runs.

mod forms;
mod text;

use std::collections::BTreeMap;

use netssh_core::{Answer, Platform};

pub(super) use self::forms::leaves;
use self::forms::{commands_in, pieces};
use self::text::{allows, denies, hidden_chaining, in_seven_bits};
pub(super) use self::text::{check_line, check_text, check_visible, invisible};
use super::ssh::Question;
use super::{JobContext, Result};
use crate::model::{
    Bound, Connection, ErrorCode, Grant, JobError, Lines, LogLevel, Needs, OWN_RIGHTS,
    TargetPattern,
};

/// The operator's grants: the default, and those for plugins by name.
#[derive(Clone, Debug, Default)]
pub struct Policy {
    pub default: Grant,
    pub plugins: BTreeMap<String, Grant>,
}

impl Policy {
    /// Returns the rights of a plugin: its declared needs, limited by its grant.
    #[must_use]
    pub fn rights(&self, plugin: &str, needs: &Needs) -> Rights {
        Rights {
            own: self.held(plugin, needs),
            bounds: Vec::new(),
        }
    }

    /// Returns the rights of a plugin in a job that other jobs submitted.
    #[must_use]
    pub fn rights_within(&self, plugin: &str, needs: &Needs, bounds: &[Bound]) -> Rights {
        let bounds = bounds.iter();
        Rights {
            own: self.held(plugin, needs),
            bounds: bounds
                .map(|bound| self.held(&bound.plugin, &bound.needs))
                .collect(),
        }
    }

    /// Returns the concurrency limit of a plugin; `None` without a limit.
    #[must_use]
    pub fn max_running(&self, plugin: &str) -> Option<usize> {
        let most = self.grant(plugin).max_running as usize;
        (most > 0).then_some(most)
    }

    fn held(&self, plugin: &str, needs: &Needs) -> PluginRights {
        PluginRights {
            plugin: plugin.to_owned(),
            needs: needs.clone(),
            grant: self.grant(plugin).clone(),
        }
    }

    fn grant(&self, plugin: &str) -> &Grant {
        self.plugins.get(plugin).unwrap_or(&self.default)
    }
}

/// The rights of one job: those of its plugin, limited by those of its ancestors' plugins.
#[derive(Clone, Debug)]
pub struct Rights {
    own: PluginRights,
    bounds: Vec<PluginRights>,
}

/// The needs and the grant of one plugin.
#[derive(Clone, Debug)]
struct PluginRights {
    plugin: String,
    needs: Needs,
    grant: Grant,
}

impl Rights {
    /// Returns the needs that are not granted, such as `ssh.exec "reload"`; empty if the plugin may
    /// run.
    #[must_use]
    pub fn missing(&self) -> Vec<String> {
        self.own.missing()
    }

    /// Checks whether the job may open a session to a target.
    ///
    /// # Errors
    /// Code `denied` if the plugin did not declare the target or the operator does not grant it.
    pub fn may_reach(&self, target: &str, connection: &Connection) -> Result<()> {
        self.each(|held| held.may_reach(target, connection))
    }

    /// Returns the bounds of a child job: the needs of this job's plugin and its own bounds, except
    /// where a grant gives the child its own rights.
    fn bounds_of_child(&self, child: &str) -> Vec<Bound> {
        let all = std::iter::once(&self.own).chain(&self.bounds);
        all.filter(|held| !held.grants_own_rights(child))
            .map(|held| Bound {
                plugin: held.plugin.clone(),
                needs: held.needs.clone(),
            })
            .collect()
    }

    /// Checks the plugin's own rights first, so that the message is about them if both refuse.
    fn each(&self, check: impl Fn(&PluginRights) -> Result<()>) -> Result<()> {
        check(&self.own)?;
        for bound in &self.bounds {
            check(bound).map_err(|error| JobError {
                message: format!(
                    "{}; the rights of this job are limited by the job of `{}` that submitted it",
                    error.message, bound.plugin
                ),
                ..error
            })?;
        }
        Ok(())
    }

    fn may_open(&self) -> Result<()> {
        self.each(PluginRights::may_open)
    }

    fn may_exec(&self, command: &str, platform: &Platform) -> Result<()> {
        check_line("a command", command)?;
        check_visible("a command", command)?;
        self.each(|held| held.may_exec(command, platform))?;
        match in_seven_bits("a command", command, platform)? {
            None => Ok(()),
            Some(read) => self.each(|held| held.may_exec(&read, platform)),
        }
    }

    /// Checks the answers to the questions at the login of a connection. Those of an inline
    /// connection come with the job, so they must be granted; those of a stored one come from an
    /// operator, so they must not be denied.
    fn may_log_in_with(&self, answers: &[Answer], inline: bool, platform: &Platform) -> Result<()> {
        use secrecy::ExposeSecret as _;
        for answer in answers {
            let text = answer.answer.expose_secret();
            let what = format!("the answer to `{}` at login", answer.question.as_str());
            let read = in_seven_bits(&what, text, platform)?;
            for text in std::iter::once(text).chain(read.as_deref()) {
                self.each(|held| held.may_log_in_with(&what, text, inline, platform))?;
            }
        }
        Ok(())
    }

    /// Checks a command that the host sends for a fact: the plugin need not declare it.
    fn is_granted(&self, command: &str, platform: &Platform) -> Result<()> {
        self.each(|held| {
            held.is_not_denied(command, Some(platform))?;
            held.is_granted(command, platform)
        })
    }

    /// Checks answers like commands: the device may take any of them for a command.
    fn may_answer(&self, questions: &[Question], platform: &Platform) -> Result<()> {
        use secrecy::ExposeSecret as _;
        for question in questions {
            let answer = question.answer.expose_secret();
            check_text("an answer", answer)?;
            check_visible("an answer", answer)?;
            if question.key && answer.chars().count() != 1 {
                return Err(JobError::new(
                    ErrorCode::INVALID,
                    "invalid answer: expected one character where `key` is true",
                ));
            }
            let what = if question.is_secret() {
                format!("the answer to `{}`", question.expect)
            } else {
                format!("the answer `{answer}`")
            };
            let read = in_seven_bits("an answer", answer, platform)?;
            for answer in std::iter::once(answer).chain(read.as_deref()) {
                self.each(|held| held.may_answer(&what, answer, platform))?;
            }
        }
        Ok(())
    }

    /// Checks whether the job may enter configuration mode, commit, roll back and save.
    fn may_configure(&self) -> Result<()> {
        self.each(PluginRights::may_configure)
    }

    /// Checks one configuration line; an ordinary command in it must be allowed as a command.
    fn may_configure_line(&self, line: &str, platform: &Platform) -> Result<()> {
        self.each(|held| held.may_configure_line(line, platform))?;
        match in_seven_bits("the line", line, platform)? {
            None => Ok(()),
            Some(read) => self.each(|held| held.may_configure_line(&read, platform)),
        }
    }

    /// Checks the platform's save command against the denied patterns.
    fn may_save(&self, platform: &Platform) -> Result<()> {
        let mode = platform.configuration.as_ref();
        let command = platform
            .save
            .as_ref()
            .or(mode.and_then(|mode| mode.save.as_ref()));
        self.each(|held| match command {
            Some(command) => held.is_not_denied(&command.send, Some(platform)),
            None => Ok(()),
        })
    }

    fn may_upload(&self) -> Result<()> {
        self.each(PluginRights::may_upload)
    }

    fn may_download(&self) -> Result<()> {
        self.each(PluginRights::may_download)
    }

    fn may_store(&self) -> Result<()> {
        self.each(PluginRights::may_store)
    }

    fn may_submit(&self, plugin: &str) -> Result<()> {
        self.each(|held| held.may_submit(plugin))
    }
}

impl PluginRights {
    fn missing(&self) -> Vec<String> {
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

    fn may_reach(&self, target: &str, connection: &Connection) -> Result<()> {
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

    fn may_open(&self) -> Result<()> {
        match &self.needs.ssh {
            Some(_) => Ok(()),
            None => Err(self.undeclared("opening a session", "ssh")),
        }
    }

    fn may_exec(&self, command: &str, platform: &Platform) -> Result<()> {
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

    fn is_granted(&self, command: &str, platform: &Platform) -> Result<()> {
        let granted = &self.grant.ssh_exec;
        if covered(granted, command, platform) {
            return Ok(());
        }
        let what = with_hidden(&format!("the command `{command}`"), command, platform);
        Err(self.not_granted(&what, "ssh_exec", granted))
    }

    /// Checks a line against `policy.deny`, which overrides every grant.
    fn is_not_denied(&self, line: &str, platform: Option<&Platform>) -> Result<()> {
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

    fn may_answer(&self, what: &str, answer: &str, platform: &Platform) -> Result<()> {
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

    fn may_log_in_with(
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

    fn may_configure(&self) -> Result<()> {
        let declared = self.needs.ssh.as_ref();
        self.may(
            declared.is_some_and(|ssh| ssh.configure.is_some()),
            self.grant.ssh_configure.is_some(),
            "configuring a device",
            "ssh.configure",
        )
    }

    fn may_configure_line(&self, line: &str, platform: &Platform) -> Result<()> {
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

    fn may_upload(&self) -> Result<()> {
        let declared = self.needs.ssh.as_ref().is_some_and(|ssh| ssh.upload);
        self.may(
            declared,
            self.grant.ssh_upload,
            "uploading files",
            "ssh.upload",
        )
    }

    fn may_download(&self) -> Result<()> {
        let declared = self.needs.ssh.as_ref().is_some_and(|ssh| ssh.download);
        self.may(
            declared,
            self.grant.ssh_download,
            "downloading files",
            "ssh.download",
        )
    }

    fn may_store(&self) -> Result<()> {
        self.may(
            self.needs.storage,
            self.grant.storage,
            "storing values",
            "storage",
        )
    }

    fn may_submit(&self, plugin: &str) -> Result<()> {
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

    fn grants_own_rights(&self, plugin: &str) -> bool {
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

impl JobContext {
    pub(super) async fn may_open(&self) -> Result<()> {
        self.permit(self.rights.may_open()).await
    }

    pub(super) async fn may_reach(&self, target: &str, connection: &Connection) -> Result<()> {
        self.permit(self.rights.may_reach(target, connection)).await
    }

    pub(super) async fn may_log_in_with(
        &self,
        answers: &[Answer],
        inline: bool,
        platform: &Platform,
    ) -> Result<()> {
        self.permit(self.rights.may_log_in_with(answers, inline, platform))
            .await
    }

    pub(super) async fn may_exec(&self, command: &str, platform: &Platform) -> Result<()> {
        self.permit(self.rights.may_exec(command, platform)).await
    }

    pub(super) async fn may_ask(&self, command: &str, platform: &Platform) -> Result<()> {
        self.permit(self.rights.is_granted(command, platform)).await
    }

    pub(super) async fn may_answer(
        &self,
        questions: &[Question],
        platform: &Platform,
    ) -> Result<()> {
        self.permit(self.rights.may_answer(questions, platform))
            .await
    }

    pub(super) async fn may_configure(&self) -> Result<()> {
        self.permit(self.rights.may_configure()).await
    }

    pub(super) async fn may_configure_line(&self, line: &str, platform: &Platform) -> Result<()> {
        self.permit(self.rights.may_configure_line(line, platform))
            .await
    }

    pub(super) async fn may_save(&self, platform: &Platform) -> Result<()> {
        self.permit(self.rights.may_save(platform)).await
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

    /// Returns the bounds of a child job's rights.
    pub(super) fn bounds_of_child(&self, plugin: &str) -> Vec<Bound> {
        self.rights.bounds_of_child(plugin)
    }

    /// Writes a denial to the job's log, even if the plugin catches the error.
    async fn permit(&self, checked: Result<()>) -> Result<()> {
        if let Err(error) = &checked
            && error.code.0 == ErrorCode::DENIED
        {
            self.note(LogLevel::Warn, error.to_string()).await;
        }
        checked
    }
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

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};
    use uuid::Uuid;

    use super::*;
    use crate::model::{Algorithms, SealedSecrets, now};

    fn rights(needs: Value, grant: Grant) -> Rights {
        let policy = Policy {
            default: grant,
            ..Policy::default()
        };
        policy.rights("it", &serde_json::from_value(needs).unwrap())
    }

    fn platform(name: &str) -> std::sync::Arc<Platform> {
        Platform::named(name).unwrap()
    }

    fn texts(texts: &[&str]) -> Vec<String> {
        texts.iter().map(|text| (*text).to_owned()).collect()
    }

    fn connection(host: &str, tags: &[&str]) -> Connection {
        Connection {
            id: Uuid::nil(),
            name: "x".to_owned(),
            host: host.to_owned(),
            port: 22,
            username: "u".to_owned(),
            device_type: "linux".to_owned(),
            timeout_seconds: 30,
            tags: texts(tags),
            host_key: None,
            jump: Vec::new(),
            algorithms: Algorithms::Default,
            certificate: None,
            agent: false,
            max_sessions: 1,
            secrets: SealedSecrets::default(),
            answers: Vec::new(),
            owner_job_id: None,
            created_at: now(),
            updated_at: now(),
        }
    }

    fn inline(host: &str) -> Connection {
        Connection {
            owner_job_id: Some(Uuid::nil()),
            ..connection(host, &[])
        }
    }

    #[test]
    fn missing_lists_needs_that_are_not_granted() {
        let needs = json!({
            "ssh": { "exec": ["show *", "show * | include *", "reload"], "configure": true,
                     "answers": ["flash:*"] },
            "storage": true,
            "queue": { "submit": ["noop", "*"] },
        });
        let all = Grant {
            queue_submit: texts(&["*"]),
            ..Grant::default()
        };
        assert!(rights(needs.clone(), all).missing().is_empty());
        let grant = Grant {
            ssh_exec: texts(&["show *"]),
            ssh_configure: Lines::Any(false),
            queue_submit: texts(&["noop"]),
            ..Grant::default()
        };
        assert_eq!(
            rights(needs, grant).missing(),
            [
                "ssh.exec \"show * | include *\"",
                "ssh.exec \"reload\"",
                "ssh.answers \"flash:*\"",
                "queue.submit \"*\"",
                "ssh.configure",
            ]
        );
    }

    #[test]
    fn missing_compares_patterns_of_lines() {
        let needs = |configure: Value| json!({ "ssh": { "configure": configure } });
        let missing = |configure: Value, granted: Lines| {
            let grant = Grant {
                ssh_configure: granted,
                ..Grant::default()
            };
            rights(needs(configure), grant).missing()
        };
        let ntp = || Lines::Matching(texts(&["ntp *"]));
        assert!(missing(json!(["ntp server *"]), ntp()).is_empty());
        assert!(missing(json!(["ntp server *"]), true.into()).is_empty());
        assert_eq!(missing(json!(true), ntp()), ["ssh.configure"]);
        assert_eq!(
            missing(json!(["hostname *", "ntp *"]), ntp()),
            ["ssh.configure \"hostname *\""]
        );
        assert_eq!(missing(json!(["ntp *"]), false.into()), ["ssh.configure"]);
        assert!(missing(json!(false), false.into()).is_empty());
    }

    #[test]
    fn a_command_must_be_declared_and_granted() {
        let needs = json!({ "ssh": { "exec": ["show *"] } });
        let grant = Grant {
            ssh_exec: texts(&["* version"]),
            ..Grant::default()
        };
        let rights = rights(needs, grant);
        let ios = platform("cisco_ios");
        assert!(rights.may_exec("show version", &ios).is_ok());
        let undeclared = rights.may_exec("delete version", &ios).unwrap_err();
        assert!(undeclared.message.contains("needs.ssh.exec: show *"));
        let ungranted = rights.may_exec("show clock", &ios).unwrap_err();
        assert!(
            ungranted.message.contains("policy.ssh_exec")
                && ungranted.message.contains("* version"),
            "{ungranted}"
        );
    }

    #[test]
    fn targets_match_names_tags_and_hosts() {
        let needs = json!({ "targets": ["lab-*", "tag:core"] });
        let grant = Grant {
            targets: texts(&["*-r1", "host:192.0.2.*"]),
            ..Grant::default()
        };
        let rights = rights(needs, grant);
        let at = |host| connection(host, &[]);
        assert!(rights.may_reach("lab-r1", &at("h")).is_ok());
        assert!(
            rights
                .may_reach("x-r1", &connection("h", &["core"]))
                .is_ok()
        );
        assert!(rights.may_reach("x-r1", &at("h")).is_err());
        assert!(
            rights
                .may_reach("lab-r2", &connection("h", &["core"]))
                .is_err()
        );
        assert!(rights.may_reach("lab-r2", &at("192.0.2.7")).is_ok());
        assert!(rights.may_reach("lab-r2", &at("192.0.3.7")).is_err());
    }

    #[test]
    fn inline_connections_are_matched_by_host_only() {
        let may = |grant: &Grant, connection: &Connection| {
            let rights = rights(json!({ "ssh": {} }), grant.clone());
            rights.may_reach("lab-x", connection)
        };
        let restricted = Grant {
            targets: texts(&["lab-*", "tag:lab", "host:192.0.2.*"]),
            ..Grant::default()
        };
        let tagged = Connection {
            tags: texts(&["lab"]),
            ..inline("192.0.2.1")
        };
        for connection in [&inline("10.0.0.1"), &inline("192.0.2.1"), &tagged] {
            let error = may(&restricted, connection).unwrap_err();
            assert!(error.message.contains("policy.inline"), "{error}");
            assert!(may(&Grant::default(), connection).is_ok());
        }
        let opened = Grant {
            inline: Some(true),
            ..restricted
        };
        assert!(may(&opened, &tagged).is_ok());
        for host in ["10.0.0.1", "192.0.2.example.net", "3221225985"] {
            let error = may(&opened, &inline(host)).unwrap_err();
            assert!(error.message.contains("policy.targets"), "{error}");
        }
        let closed = Grant {
            inline: Some(false),
            ..Grant::default()
        };
        assert!(may(&closed, &inline("192.0.2.1")).is_err());

        let agent = Connection {
            agent: true,
            ..inline("192.0.2.1")
        };
        let jump = Connection {
            jump: texts(&["bastion"]),
            ..inline("192.0.2.1")
        };
        for connection in [&agent, &jump] {
            let error = may(&Grant::default(), connection).unwrap_err();
            assert!(error.message.contains("policy.inline_"), "{error}");
            let borrows = Grant {
                inline_agent: true,
                inline_jump: true,
                ..Grant::default()
            };
            assert!(may(&borrows, connection).is_ok());
            let stored = Connection {
                owner_job_id: None,
                ..(*connection).clone()
            };
            assert!(may(&Grant::default(), &stored).is_ok());
        }
    }

    fn question(answer: &str) -> Question {
        Question {
            expect: ".".to_owned(),
            answer: answer.into(),
            key: false,
            secret: Some(false),
        }
    }

    #[test]
    fn answers_are_checked_like_commands() {
        let ios = platform("cisco_ios");
        let may = |needs: Value, grant: &Grant, answer: &str| {
            rights(needs, grant.clone()).may_answer(&[question(answer)], &ios)
        };
        let shows = || json!({ "ssh": { "exec": ["show *"] } });
        let all = Grant::default();
        for answer in ["", "y", "N", "yes", "No", "show clock", " "] {
            assert!(may(shows(), &all, answer).is_ok(), "{answer:?}");
        }
        for answer in [
            "reload",
            "configure terminal",
            "username x privilege 15 secret y",
            "end",
            "1",
            "w",
            "q",
            "show clock ; reload",
            "yes; reload",
        ] {
            let error = may(shows(), &all, answer).unwrap_err();
            assert_eq!(error.code.0, "denied", "{answer:?}");
            assert!(error.message.contains("needs.ssh.answers"), "{error}");
        }
        for answer in ["y\u{200b}", "y\n", "re\u{8}", "\u{3}", "\u{1a}"] {
            let error = may(json!({ "ssh": { "exec": ["*"] } }), &all, answer).unwrap_err();
            assert_eq!(error.code.0, "invalid", "{answer:?}");
        }
        let declared = || json!({ "ssh": { "exec": ["copy *"], "answers": ["flash:*", "1"] } });
        assert!(may(declared(), &all, "flash:x").is_ok());
        assert!(may(declared(), &all, "1").is_ok());
        assert!(may(declared(), &all, "reload").is_err());
        // A grant that restricts commands restricts answers too, unless it lists answers.
        let restricted = Grant {
            ssh_exec: texts(&["copy *"]),
            ..Grant::default()
        };
        let error = may(declared(), &restricted, "flash:x").unwrap_err();
        assert!(error.message.contains("policy.ssh_exec"), "{error}");
        let granted = Grant {
            ssh_answers: Some(texts(&["flash:*"])),
            ..restricted
        };
        assert!(may(declared(), &granted, "flash:x").is_ok());
        assert!(may(declared(), &granted, "1").is_err());
        let denying = Grant {
            deny: texts(&["reload*", "y"]),
            ..Grant::default()
        };
        let any = || json!({ "ssh": { "exec": ["*"], "answers": ["*"] } });
        for answer in ["rel", "Reload in 5", "y", "x; reload"] {
            assert!(may(any(), &denying, answer).is_err(), "{answer}");
        }
        assert!(may(any(), &denying, "anything else").is_ok());
    }

    #[test]
    fn a_secret_answer_is_not_in_the_message() {
        let rights = rights(json!({ "ssh": { "exec": ["show *"] } }), Grant::default());
        let secret = Question {
            secret: Some(true),
            ..question("s3cret-token")
        };
        let error = rights
            .may_answer(&[secret], &platform("cisco_ios"))
            .unwrap_err();
        assert!(!error.message.contains("s3cret"), "{error}");
    }

    #[test]
    fn a_key_is_one_character() {
        let rights = rights(json!({ "ssh": { "exec": ["*"] } }), Grant::default());
        let key = |answer: &str| {
            let question = Question {
                key: true,
                ..question(answer)
            };
            rights.may_answer(&[question], &platform("cisco_ios"))
        };
        assert!(key("y").is_ok());
        assert!(key(" ").is_ok());
        for wrong in ["", "reload", "yy"] {
            assert_eq!(key(wrong).unwrap_err().code.0, "invalid", "{wrong:?}");
        }
    }

    #[test]
    fn configuration_lines_cannot_run_denied_commands() {
        let may = |needs: Value, grant: Grant, name: &str, line: &str| {
            rights(needs, grant).may_configure_line(line, &platform(name))
        };
        let needs = || json!({ "ssh": { "exec": ["show *"], "configure": true } });
        for (platform, line) in [
            ("cisco_ios", "do reload"),
            ("cisco_xe", "DO rel"),
            ("juniper_junos", "run request system reboot"),
            ("arista_eos", "reload"),
            ("cisco_nxos", "hostname x ; reload"),
            ("mikrotik_routeros", "/system reboot"),
        ] {
            let error = may(needs(), Grant::default(), platform, line).unwrap_err();
            assert_eq!(error.code.0, "denied", "{platform}: {line}");
        }
        for (platform, line) in [
            ("cisco_ios", "hostname r2"),
            ("cisco_ios", "do show clock"),
            ("arista_eos", "hostname r2"),
        ] {
            let allowed = may(needs(), Grant::default(), platform, line);
            assert!(allowed.is_ok(), "{platform}: {line}");
        }
        let patterns = Grant {
            ssh_configure: Lines::Matching(texts(&["ntp server *", "no ntp server *"])),
            ..Grant::default()
        };
        for line in [
            "hostname r2",
            "ntp server 1 ; reload",
            "exit",
            "do show clock",
        ] {
            let error = may(needs(), patterns.clone(), "cisco_ios", line).unwrap_err();
            assert!(error.message.contains("policy.ssh_configure"), "{error}");
        }
        assert!(may(needs(), patterns, "cisco_ios", "ntp server 192.0.2.1").is_ok());
        let denying = Grant {
            deny: texts(&["reload*", "no router *"]),
            ..Grant::default()
        };
        let all = || json!({ "ssh": { "exec": ["*"], "configure": true } });
        for line in [
            "do reload",
            "no router bgp 1",
            "NO ROUTER BGP 1",
            "no rou bgp 1",
        ] {
            let error = may(all(), denying.clone(), "cisco_ios", line).unwrap_err();
            assert!(error.message.contains("policy.deny"), "{error}");
        }
        assert!(may(all(), denying, "cisco_ios", "do clear counters").is_ok());
    }

    #[test]
    fn a_child_has_no_more_rights_than_its_parent() {
        let mut policy = Policy {
            default: Grant {
                ssh_exec: texts(&["show *"]),
                queue_submit: texts(&["ssh-command"]),
                ..Grant::default()
            },
            ..Policy::default()
        };
        policy
            .plugins
            .insert("ssh-command".to_owned(), Grant::default());
        let needs = |needs: Value| serde_json::from_value::<Needs>(needs).unwrap();
        let deputy = needs(json!({
            "ssh": { "exec": ["show *"] }, "queue": { "submit": ["ssh-command"] },
        }));
        let child_needs = needs(json!({ "ssh": { "exec": ["*"] }, "storage": true }));
        let ios = platform("cisco_ios");
        let bounds = policy
            .rights("deputy", &deputy)
            .bounds_of_child("ssh-command");
        assert_eq!(bounds.len(), 1);
        let child = policy.rights_within("ssh-command", &child_needs, &bounds);
        assert!(child.may_exec("show clock", &ios).is_ok());
        let error = child.may_exec("reload in 5", &ios).unwrap_err();
        assert!(error.message.contains("deputy"), "{error}");
        assert!(child.may_store().is_err());
        // The parent and the grandparent bound the child's own children.
        assert_eq!(child.bounds_of_child("x").len(), 2);

        let own_rights = Grant {
            queue_submit: texts(&["ssh-command:with-own-rights"]),
            ..policy.default.clone()
        };
        policy.plugins.insert("deputy".to_owned(), own_rights);
        let granted = policy.rights("deputy", &deputy);
        assert!(granted.may_submit("ssh-command").is_ok());
        assert!(granted.missing().is_empty());
        assert!(granted.bounds_of_child("ssh-command").is_empty());
        assert_eq!(granted.bounds_of_child("other").len(), 1);
    }
}
