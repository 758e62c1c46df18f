//! Decides whether a job may perform a capability call. A call is allowed if the plugin declared
//! it, the operator grants it, the job's targets include the device, and the rights of the job's
//! ancestors allow it.
//!
//! Every line that may reach a device is checked here: commands, answers and configuration lines.
//! `policy/plugin_rights.rs` decides by one plugin's needs and grant, `policy/text.rs` compares texts
//! with patterns, `policy/forms.rs` finds the commands that a configuration line runs.

mod forms;
mod plugin_rights;
mod text;

use std::collections::BTreeMap;

use netssh_core::{Answer, Platform};

pub(super) use self::forms::leaves;
use self::plugin_rights::PluginRights;
use self::text::in_seven_bits;
pub(super) use self::text::{check_line, check_text, check_visible, invisible};
use super::ssh::Question;
use super::{JobContext, Result};
use crate::model::{Bound, Connection, ErrorCode, Grant, JobError, LogLevel, Needs};

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

#[cfg(test)]
mod tests;
