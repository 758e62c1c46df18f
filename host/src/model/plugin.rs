//! What a plugin says of itself.

use std::fmt;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

use super::{JobError, OnInterrupt};

/// Which runtime a plugin is written for.
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

/// The name jobs are submitted by: 1 to 64 of `a-z 0-9 - _`, beginning with a letter or digit.
///
/// It comes from a file's name and goes into URLs, tables and logs, so it is narrow on purpose.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PluginName(String);

impl PluginName {
    /// # Errors
    /// Says which rule the text breaks.
    pub fn parse(text: &str) -> Result<Self, String> {
        let rule = "a plugin's name is 1 to 64 of a-z, 0-9, '-' and '_', and begins with a letter or a digit";
        let fits = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-' || c == '_';
        let begins_well = text.starts_with(|c: char| c.is_ascii_lowercase() || c.is_ascii_digit());
        if text.len() > 64 || !begins_well || !text.chars().all(fits) {
            return Err(format!("`{text}`: {rule}"));
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

/// How a plugin takes its targets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum TargetMode {
    /// One job, one target.
    Each,
    /// One job may open several targets.
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

/// Which errors are worth another attempt, where the plugin knows better than the host.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RetryRules {
    /// Codes that are, beside those that always are.
    pub on: Vec<String>,
    /// Codes that are not.
    pub not_on: Vec<String>,
}

impl RetryRules {
    /// Whether an error is worth another attempt.
    #[must_use]
    pub fn allow(&self, error: &JobError) -> bool {
        let code = &error.code.0;
        !self.not_on.contains(code) && (error.retryable || self.on.contains(code))
    }
}

/// What a plugin may do. Whatever is absent is refused.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Needs {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ssh: Option<SshNeeds>,
    /// Keeping values between jobs.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub storage: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub queue: Option<QueueNeeds>,
    /// The only targets it opens: names with `*` for any text, or `tag:x`. None: whatever a job is
    /// submitted for.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub targets: Vec<String>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub struct SshNeeds {
    /// Patterns of commands, `*` for any text: `show *`.
    pub exec: Vec<String>,
    /// Entering configuration mode, and saving.
    pub configure: bool,
    /// Writing files of the operator's directory to devices.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub upload: bool,
    /// Writing files of devices into the operator's directory.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub download: bool,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub struct QueueNeeds {
    /// Names of the plugins it may submit; `*` for any.
    pub submit: Vec<String>,
}

/// What the operator lets a plugin do, out of what it needs. The default is everything.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Grant {
    /// Patterns of commands, `*` for any text.
    pub ssh_exec: Vec<String>,
    pub ssh_configure: bool,
    pub ssh_upload: bool,
    pub ssh_download: bool,
    pub storage: bool,
    /// Names of plugins; `*` for any.
    pub queue_submit: Vec<String>,
    /// Names of targets with `*` for any text, or `tag:x`.
    pub targets: Vec<String>,
    /// How many of its jobs may run at once; 0: any number.
    pub max_running: u32,
}

impl Default for Grant {
    fn default() -> Self {
        let any = || vec!["*".to_owned()];
        Self {
            ssh_exec: any(),
            ssh_configure: true,
            ssh_upload: true,
            ssh_download: true,
            storage: true,
            queue_submit: any(),
            targets: any(),
            max_running: 0,
        }
    }
}

/// Why a plugin could not be loaded, and where in its file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema, thiserror::Error)]
#[error("{}", self.describe())]
pub struct LoadError {
    pub message: String,
    pub file: String,
    /// From 1.
    pub line: Option<u32>,
    /// From 1, in characters.
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
