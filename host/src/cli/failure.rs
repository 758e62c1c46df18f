//! Errors of commands: their messages, hints and exit codes.

use std::fmt::Write as _;
use std::process::ExitCode;

use super::output::{indented, printable};
use crate::api::Problem;
use crate::model::JobStatus;

#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// Contradictory arguments that clap cannot detect.
    #[error("{0}")]
    Usage(String),

    #[error("failed to reach the server at {url}: {reason}")]
    Unreachable { url: String, reason: String },

    #[error("{}", without_url(&.0.detail))]
    Refused(Problem),

    /// A server answers at the URL, but it is not this API.
    #[error("unexpected response from {url}: {found}")]
    NotTheApi { url: String, found: String },

    /// A job that was followed did not complete. Everything about it has been printed already.
    #[error("the job has {status}")]
    Job { status: JobStatus },

    /// Ctrl-C while a job was followed.
    #[error("stopped following job {job}; it continues on the server")]
    Interrupted { job: String },

    /// The server could not log in to a device, or lost the connection to it.
    #[error("{message} ({code})")]
    Device { code: String, message: String },

    /// A test message to a notification channel failed.
    #[error("failed to send to channel `{channel}`: {error}")]
    SendError { channel: String, error: String },

    /// The reader closed stdout, as `| head` does.
    #[error("stdout is closed")]
    BrokenPipe,

    #[error("{0:#}")]
    Other(#[from] anyhow::Error),
}

/// Where an API message names a URL that lists the alternatives.
const LISTED: &str = "; GET /api/";

/// Removes the URL from an API message; the hint names the command instead.
fn without_url(detail: &str) -> &str {
    detail.split(LISTED).next().unwrap_or(detail)
}

/// Returns whether the device asked a question that the connection does not answer.
fn is_question(message: &str) -> bool {
    message.contains("a question without a configured answer") || message.contains("--answer")
}

impl Failure {
    #[must_use]
    pub fn exit_code(&self) -> ExitCode {
        ExitCode::from(match self {
            Self::BrokenPipe => 0,
            Self::Job { .. }
            | Self::Other(_)
            | Self::Device { .. }
            | Self::SendError { .. }
            | Self::NotTheApi { .. } => 1,
            Self::Usage(_) => 2,
            Self::Interrupted { .. } => 130,
            Self::Unreachable { .. } => 3,
            Self::Refused(problem) => match problem.status {
                404 => 4,
                401 | 403 => 6,
                400 | 409 | 413 | 415 | 422 => 5,
                _ => 1,
            },
        })
    }

    /// Prints the error and a hint to stderr.
    pub fn print(&self) {
        if matches!(self, Self::BrokenPipe | Self::Job { .. }) {
            return;
        }
        let mut text = match self {
            Self::Interrupted { .. } => format!("\n{self}"),
            _ => format!("error: {}", indented(&self.to_string(), 2)),
        };
        if let Self::Refused(problem) = self {
            // A single error is already in the detail.
            for error in problem.errors.iter().filter(|_| problem.errors.len() > 1) {
                let _ = write!(
                    text,
                    "\n  {}: {}",
                    error.pointer,
                    indented(&error.message, 4)
                );
            }
        }
        if let Self::Interrupted { job } = self {
            let _ = write!(
                text,
                "\nhint: follow it with `scheduler job watch {job}`, cancel it with `scheduler job \
                 cancel {job}`"
            );
        }
        if let Some(hint) = self.hint() {
            let _ = write!(text, "\nhint: {hint}");
        }
        eprintln!("{}", printable(&text));
    }

    fn hint(&self) -> Option<&'static str> {
        match self {
            Self::Unreachable { .. } => Some(
                "start the server with `scheduler serve`, or set its address with --url or \
                 SCHEDULER_URL",
            ),
            Self::NotTheApi { .. } => Some("check --url or SCHEDULER_URL"),
            Self::SendError { .. } => Some(
                "check [notifications] in the server's configuration, which is read when the server \
                 starts",
            ),
            // The message already contains the remedy.
            Self::Device { message, .. } if is_question(message) => None,
            Self::Device { code, message } => match code.as_str() {
                "network" => Some(
                    "check host and port (`scheduler connection show`, `scheduler connection edit`), \
                     and that the server can reach the device",
                ),
                "authentication" => Some(
                    "check the user and the secrets; `scheduler connection edit NAME --ask-password` \
                     sets another password",
                ),
                "timeout" if message.contains("the last line is") => Some(
                    "check the device_type; if the last line is a question, add an answer: `scheduler \
                     connection edit NAME --answer 'QUESTION=TEXT'`",
                ),
                "timeout" => Some(
                    "check the device_type, and use `scheduler connect NAME` to see whether the device \
                     responds",
                ),
                "internal" => Some("see the server's log"),
                "server" => Some("the server's machine is the cause, not the device"),
                _ => None,
            },
            Self::Refused(problem) if problem.detail.contains("; GET /api/plugins") => {
                Some("`scheduler plugin list` lists the plugins")
            }
            Self::Refused(problem) if problem.kind == "/problems/unauthenticated" => Some(
                "log in with `scheduler login NAME`, or set SCHEDULER_TOKEN or SCHEDULER_TOKEN_FILE",
            ),
            Self::Refused(problem) if problem.status == 507 => {
                Some("free some space on the server's disk; it then accepts jobs again")
            }
            Self::Refused(problem) if problem.status >= 500 => Some("see the server's log"),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hints_name_commands() {
        let problem = |detail: &str| Problem {
            kind: String::new(),
            title: String::new(),
            status: 404,
            detail: detail.to_owned(),
            errors: Vec::new(),
            retry_after_seconds: None,
        };
        let refused = Failure::Refused(problem(
            "plugin `nop` not found; GET /api/plugins lists the plugins",
        ));
        assert_eq!(refused.to_string(), "plugin `nop` not found");
        assert!(refused.hint().unwrap().contains("scheduler plugin list"));

        let device = |code: &str, message: &str| Failure::Device {
            code: code.to_owned(),
            message: message.to_owned(),
        };
        let asks = device(
            "authentication",
            "r1 asks user u a question without a configured answer: \"Role:\"",
        );
        assert_eq!(asks.hint(), None);
        let waits = device(
            "timeout",
            "no prompt within 5s, the last line is \"Select a role [1-2]:\"",
        );
        assert!(waits.hint().unwrap().contains("--answer 'QUESTION=TEXT'"));
    }
}
