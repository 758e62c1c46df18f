//! What the CLI reads in the API's answers.
//!
//! Not the API's own types: those promise everything the contract holds, these ask for what is
//! shown, so that a client and a server of neighbouring versions understand each other.

use std::fmt;

use chrono::{DateTime, Utc};
use serde::Deserialize;
use serde_json::Value;

/// `application/problem+json`
#[derive(Debug, Deserialize)]
pub struct Problem {
    pub status: u16,
    #[serde(default)]
    pub title: String,
    pub detail: Option<String>,
    #[serde(default)]
    pub errors: Vec<FieldError>,
}

#[derive(Debug, Deserialize)]
pub struct FieldError {
    #[serde(default)]
    pub pointer: String,
    pub message: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.detail {
            Some(detail) => f.write_str(detail),
            None => write!(f, "{} ({})", self.title, self.status),
        }
    }
}

#[derive(Debug, Deserialize)]
pub(super) struct Submitted {
    pub(super) id: String,
    pub(super) status: String,
}

#[derive(Debug, Deserialize)]
pub(super) struct Jobs {
    pub(super) jobs: Vec<Job>,
    pub(super) next_cursor: Option<String>,
}

#[derive(Debug, Deserialize)]
pub(super) struct Job {
    pub(super) id: String,
    pub(super) plugin: String,
    pub(super) status: String,
    #[serde(default)]
    pub(super) plugin_digest: Option<String>,
    #[serde(default)]
    pub(super) params: Value,
    #[serde(default)]
    pub(super) targets: Vec<Value>,
    pub(super) created_at: DateTime<Utc>,
    #[serde(default)]
    pub(super) started_at: Option<DateTime<Utc>>,
    #[serde(default)]
    pub(super) completed_at: Option<DateTime<Utc>>,
    #[serde(default)]
    pub(super) scheduled_for: Option<DateTime<Utc>>,
    #[serde(default)]
    pub(super) retry_count: u32,
    #[serde(default)]
    pub(super) max_retries: u32,
    #[serde(default)]
    pub(super) error_message: Option<String>,
    #[serde(default)]
    pub(super) worker_id: Option<String>,
    #[serde(default)]
    pub(super) description: Option<String>,
    #[serde(default)]
    pub(super) result: Option<Value>,
}

#[derive(Debug, Deserialize)]
pub(super) struct Results {
    pub(super) results: Vec<CommandResult>,
}

#[derive(Debug, Deserialize)]
pub(super) struct CommandResult {
    pub(super) id: Value,
    #[serde(default)]
    pub(super) target: Option<String>,
    pub(super) command: String,
    #[serde(default)]
    pub(super) output: Option<String>,
    #[serde(default)]
    pub(super) error: Option<String>,
    #[serde(default)]
    pub(super) duration_ms: Option<i64>,
}

#[derive(Debug, Deserialize)]
pub(super) struct Logs {
    pub(super) logs: Vec<LogLine>,
}

#[derive(Debug, Deserialize)]
pub(super) struct LogLine {
    pub(super) id: Value,
    pub(super) level: String,
    pub(super) message: String,
    pub(super) timestamp: DateTime<Utc>,
    #[serde(default)]
    pub(super) context: Option<Value>,
}

#[derive(Debug, Deserialize)]
pub(super) struct Connections {
    pub(super) connections: Vec<Connection>,
}

#[derive(Debug, Deserialize)]
pub(super) struct Connection {
    pub(super) id: String,
    pub(super) name: String,
    pub(super) host: String,
    pub(super) port: u16,
    pub(super) username: String,
    pub(super) device_type: String,
    #[serde(default)]
    pub(super) timeout_seconds: Option<u32>,
    #[serde(default)]
    pub(super) tags: Vec<String>,
    #[serde(default)]
    pub(super) host_key: Option<String>,
    #[serde(default)]
    pub(super) secrets_set: Vec<String>,
    pub(super) created_at: DateTime<Utc>,
    pub(super) updated_at: DateTime<Utc>,
}

#[derive(Debug, Deserialize)]
pub(super) struct Plugins {
    pub(super) plugins: Vec<Plugin>,
}

#[derive(Debug, Deserialize)]
pub(super) struct Plugin {
    pub(super) name: String,
    pub(super) kind: String,
    pub(super) status: String,
    #[serde(default)]
    pub(super) digest: Option<String>,
    #[serde(default)]
    pub(super) summary: Option<String>,
    #[serde(default)]
    pub(super) targets: Option<String>,
    #[serde(default)]
    pub(super) needs: Value,
    #[serde(default)]
    pub(super) params_schema: Value,
    #[serde(default)]
    pub(super) loaded_at: Option<DateTime<Utc>>,
    #[serde(default)]
    pub(super) error: Option<PluginError>,
}

#[derive(Debug, Deserialize)]
pub(super) struct PluginError {
    pub(super) message: String,
    #[serde(default)]
    pub(super) file: Option<String>,
    #[serde(default)]
    pub(super) line: Option<u32>,
    #[serde(default)]
    pub(super) column: Option<u32>,
}

impl Job {
    pub(super) fn has_ended(&self) -> bool {
        matches!(self.status.as_str(), "completed" | "failed" | "cancelled")
    }

    /// The names of its targets.
    pub(super) fn target_names(&self) -> String {
        let names: Vec<String> = self
            .targets
            .iter()
            .map(|target| match target.get("name").unwrap_or(target) {
                Value::String(name) => name.clone(),
                other => other.to_string(),
            })
            .collect();
        names.join(", ")
    }

    /// How long its last attempt has taken, or has been taking.
    pub(super) fn milliseconds(&self) -> Option<i64> {
        let end = self.completed_at.unwrap_or_else(Utc::now);
        Some((end - self.started_at?).num_milliseconds())
    }
}

impl PluginError {
    /// `scripts/x.rhai:3:14: message`
    pub(super) fn located(&self) -> String {
        let mut text = String::new();
        if let Some(file) = &self.file {
            text.push_str(file);
            for place in [self.line, self.column].into_iter().flatten() {
                text.push_str(&format!(":{place}"));
            }
            text.push_str(": ");
        }
        text.push_str(&self.message);
        text
    }
}
