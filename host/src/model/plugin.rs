//! Plugin descriptions, grants and names.

use std::fmt;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

use super::{JobError, OnInterrupt};

/// The runtime of a plugin.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum PluginKind {
    /// A playbook.
    Rhai,
    /// A component.
    Wasm,
}

impl PluginKind {
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Rhai => "rhai",
            Self::Wasm => "wasm",
        }
    }

    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        [Self::Rhai, Self::Wasm]
            .into_iter()
            .find(|kind| kind.as_str() == name)
    }
}

/// The name of a plugin: 1 to 64 of `a-z 0-9 - _`, beginning with a letter or digit.
///
/// It is derived from a file name and used in URLs, tables and logs, so the character set is narrow on
/// purpose.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PluginName(String);

impl PluginName {
    /// Parses a name.
    ///
    /// # Errors
    /// A message with the rule that the text breaks.
    pub fn parse(text: &str) -> Result<Self, String> {
        let rule = "expected 1 to 64 of a-z, 0-9, '-' and '_', beginning with a letter or a digit";
        let fits = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-' || c == '_';
        let begins_well = text.starts_with(|c: char| c.is_ascii_lowercase() || c.is_ascii_digit());
        if text.len() > 64 || !begins_well || !text.chars().all(fits) {
            return Err(format!("invalid plugin name `{text}`: {rule}"));
        }
        Ok(Self(text.to_owned()))
    }

    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for PluginName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The number of targets per job of a plugin.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum TargetMode {
    /// One target per job.
    Each,
    /// One or more targets per job.
    All,
    /// No target.
    None,
}

/// The document that a plugin's `describe` returns, the same for both runtimes.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Description {
    pub summary: String,
    pub targets: TargetMode,
    #[serde(default)]
    pub needs: Needs,
    #[serde(default)]
    pub on_interrupt: OnInterrupt,
    #[serde(default)]
    pub retry: RetryRules,
    /// JSON Schema of the parameters.
    #[serde(default = "any_object")]
    pub params: Value,
}

/// Rules for retrying errors, for plugins that know better than the host.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RetryRules {
    /// Codes to retry, in addition to the default ones.
    pub on: Vec<String>,
    /// Codes not to retry.
    pub not_on: Vec<String>,
}

impl RetryRules {
    /// Returns whether an error may be retried.
    #[must_use]
    pub fn allow(&self, error: &JobError) -> bool {
        let code = &error.code.0;
        !self.not_on.contains(code) && (error.retryable || self.on.contains(code))
    }
}

/// The rights that a plugin declares. Anything else is denied.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Needs {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ssh: Option<SshNeeds>,
    /// Storing values between jobs.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub storage: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub queue: Option<QueueNeeds>,
    /// The only targets that the plugin opens: names with `*` for any text, or `tag:x`. If empty, any
    /// target of the job.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub targets: Vec<String>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub struct SshNeeds {
    /// Patterns of commands, `*` for any text: `show *`.
    pub exec: Vec<String>,
    /// Patterns of answers to devices' questions, besides plain confirmations.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub answers: Vec<String>,
    /// Configuring devices and saving, with any lines or only those that match these patterns.
    pub configure: Lines,
    /// Uploading files from the operator's directory to devices.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub upload: bool,
    /// Downloading files from devices into the operator's directory.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub download: bool,
}

/// Configuration lines: `true` for all, `false` for none, or patterns of lines.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(untagged, expecting = "expected true, false or a list of patterns")]
pub enum Lines {
    Any(bool),
    Matching(Vec<String>),
}

impl Lines {
    /// Returns whether at least one line is allowed.
    #[must_use]
    pub fn is_some(&self) -> bool {
        match self {
            Self::Any(any) => *any,
            Self::Matching(patterns) => !patterns.is_empty(),
        }
    }

    /// Returns the patterns that restrict the lines; `None` if all lines or none are allowed.
    #[must_use]
    pub fn patterns(&self) -> Option<&[String]> {
        match self {
            Self::Any(_) => None,
            Self::Matching(patterns) => Some(patterns),
        }
    }
}

impl Default for Lines {
    fn default() -> Self {
        Self::Any(false)
    }
}

impl From<bool> for Lines {
    fn from(any: bool) -> Self {
        Self::Any(any)
    }
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub struct QueueNeeds {
    /// Names of the plugins of the jobs that it may submit; `*` for any.
    pub submit: Vec<String>,
}

/// The operator's grant to a plugin. The default grants all that a plugin does by itself;
/// submitting other plugins' jobs, stored jump hosts and the ssh-agent need an explicit grant.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Grant {
    /// Patterns of commands, `*` for any text.
    pub ssh_exec: Vec<String>,
    /// Patterns of answers; `None` uses those of `ssh_exec`.
    pub ssh_answers: Option<Vec<String>>,
    pub ssh_configure: Lines,
    pub ssh_upload: bool,
    pub ssh_download: bool,
    /// Patterns of lines that are always denied.
    pub deny: Vec<String>,
    pub storage: bool,
    /// Names of plugins, `*` for any; [`OWN_RIGHTS`] after a name gives the child job its own
    /// rights.
    pub queue_submit: Vec<String>,
    /// Names of targets with `*` for any text, `tag:x`, or `host:x` for the address.
    pub targets: Vec<String>,
    /// Whether inline connections are allowed; `None` allows them unless `targets` restricts.
    pub inline: Option<bool>,
    /// Whether inline connections may log in with the server's ssh-agent.
    pub inline_agent: bool,
    /// Whether inline connections may use stored connections as jump hosts.
    pub inline_jump: bool,
    /// Maximum number of its jobs that run at once; 0 for no limit.
    pub max_running: u32,
}

/// The suffix of a plugin's name in `queue_submit` that exempts its jobs from their parent's
/// rights.
pub const OWN_RIGHTS: &str = ":with-own-rights";

impl Default for Grant {
    fn default() -> Self {
        let any = || vec!["*".to_owned()];
        Self {
            ssh_exec: any(),
            ssh_answers: None,
            ssh_configure: Lines::Any(true),
            ssh_upload: true,
            ssh_download: true,
            deny: Vec::new(),
            storage: true,
            queue_submit: Vec::new(),
            targets: any(),
            inline: None,
            inline_agent: false,
            inline_jump: false,
            max_running: 0,
        }
    }
}

/// An ancestor of a job, with the declared needs that limit the job's rights. Its grant is looked up
/// when the job runs, so that a narrower policy takes effect for the job too.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Bound {
    pub plugin: String,
    pub needs: Needs,
}

/// Why a plugin failed to load, and where in its file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema, thiserror::Error)]
#[error("{}", self.describe())]
pub struct LoadError {
    pub message: String,
    pub file: String,
    /// Line, from 1.
    pub line: Option<u32>,
    /// Column in characters, from 1.
    pub column: Option<u32>,
}

impl LoadError {
    pub fn new(file: &str, message: impl Into<String>) -> Self {
        Self {
            message: message.into(),
            file: file.to_owned(),
            line: None,
            column: None,
        }
    }

    fn describe(&self) -> String {
        match (self.line, self.column) {
            (Some(line), Some(column)) => {
                format!("{}:{line}:{column}: {}", self.file, self.message)
            }
            (Some(line), None) => format!("{}:{line}: {}", self.file, self.message),
            _ => format!("{}: {}", self.file, self.message),
        }
    }
}

fn any_object() -> Value {
    serde_json::json!({ "type": "object", "additionalProperties": false })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_narrow() {
        for good in ["noop", "ssh-command", "a", "9lives", "x_y"] {
            assert!(PluginName::parse(good).is_ok(), "{good}");
        }
        let long = "a".repeat(65);
        for bad in [
            "",
            "-x",
            "_x",
            "../x",
            "A",
            "a b",
            "ü",
            "a/b",
            long.as_str(),
        ] {
            assert!(PluginName::parse(bad).is_err(), "{bad}");
        }
    }
}
