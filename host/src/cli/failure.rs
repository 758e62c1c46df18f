//! How a command can fail, what is said about it, and the exit code that follows.

use std::fmt::Write as _;
use std::process::ExitCode;

use super::output::printable;
use crate::api::Problem;
use crate::model::JobStatus;

#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// The command line contradicts itself, beyond what clap can see.
    #[error("{0}")]
    Usage(String),

    #[error("cannot reach the server at {url}: {reason}")]
    Unreachable { url: String, reason: String },

    #[error("{}", .0.detail)]
    Refused(Problem),

    /// Something answers at the URL, but not with this API.
    #[error("{url} does not answer as this API does: {found}")]
    NotTheApi { url: String, found: String },

    /// A job that was waited for has not completed. All there is to say has been said.
    #[error("the job has {status}")]
    Job { status: JobStatus },

    /// The server could not log in to a device, or lost it.
    #[error("{message} ({code})")]
    Device { code: String, message: String },

    /// A message that was to try a channel did not get through.
    #[error("the channel `{channel}` does not work: {error}")]
    NotSent { channel: String, error: String },

    /// Nobody reads our stdout any more, as after `| head`.
    #[error("stdout is closed")]
    BrokenPipe,

    #[error("{0:#}")]
    Other(#[from] anyhow::Error),
}

impl Failure {
    #[must_use]
    pub fn exit_code(&self) -> ExitCode {
        ExitCode::from(match self {
            Self::BrokenPipe => 0,
            Self::Job { .. }
            | Self::Other(_)
            | Self::Device { .. }
            | Self::NotSent { .. }
            | Self::NotTheApi { .. } => 1,
            Self::Usage(_) => 2,
            Self::Unreachable { .. } => 3,
            Self::Refused(problem) => match problem.status {
                404 => 4,
                400 | 409 | 413 | 415 | 422 => 5,
                _ => 1,
            },
        })
    }

    /// Says to stderr what happened and what can be done about it.
    pub fn print(&self) {
        if matches!(self, Self::BrokenPipe | Self::Job { .. }) {
            return;
        }
        let mut text = format!("error: {self}");
        if let Self::Refused(problem) = self {
            // A single error is the detail already.
            for error in problem.errors.iter().filter(|_| problem.errors.len() > 1) {
                let _ = write!(text, "\n  {}: {}", error.pointer, error.message);
            }
        }
        if let Some(hint) = self.hint() {
            let _ = write!(text, "\nhint: {hint}");
        }
        eprintln!("{}", printable(&text));
    }

    fn hint(&self) -> Option<&'static str> {
        match self {
            Self::Unreachable { .. } => Some(
                "is the server running? start it with `scheduler serve`, or say where it is with \
                 --url or SCHEDULER_URL",
            ),
            Self::NotTheApi { .. } => Some("is --url (or SCHEDULER_URL) right?"),
            Self::NotSent { .. } => Some(
                "what it is stands in [notifications] of the server's configuration, which is read \
                 when the server starts",
            ),
            Self::Device { code, .. } => match code.as_str() {
                "network" => Some(
                    "are host and port right, and is the device reachable from the server? \
                     `scheduler connection show` shows them, `connection edit` changes them",
                ),
                "authentication" => Some(
                    "are the user and the secrets right? `scheduler connection edit NAME \
                     --ask-password` sets another password",
                ),
                "timeout" => Some(
                    "is it the right device_type, and does the device answer at all? `scheduler \
                     connect NAME` shows what it says",
                ),
                "internal" => Some("the cause is in the server's log"),
                _ => None,
            },
            Self::Refused(problem) if problem.status >= 500 => {
                Some("the cause is in the server's log")
            }
            _ => None,
        }
    }
}
