//! `scheduler job`: submits jobs and follows them.

mod attempts;
mod cancel;
mod compare;
mod list;
mod logs;
mod rerun;
mod results;
mod show;
mod submit;
pub(super) mod watch;

use chrono::Utc;
use clap::Subcommand;

use super::{Failure, output};
use crate::wire::JobResponse;

#[derive(Debug, Subcommand)]
pub(crate) enum JobCommand {
    /// Submit a job for a plugin
    Submit(submit::SubmitArgs),
    /// List jobs, newest first
    List(list::ListArgs),
    /// Show a job
    Show(show::ShowArgs),
    /// Show the outputs of a job's commands
    Results(results::ResultsArgs),
    /// Show a job's log
    Logs(logs::LogsArgs),
    /// Follow a job until it ends
    Watch(watch::WatchArgs),
    /// Cancel a job that has not ended
    Cancel(cancel::CancelArgs),
    /// Run an ended job again, or the failed or unfinished targets of a batch
    Rerun(rerun::RerunArgs),
    /// Show the attempts of a job and their outcomes
    Attempts(attempts::AttemptsArgs),
    /// Show the differences to the outputs of an earlier job
    Compare(compare::CompareArgs),
}

impl JobCommand {
    pub(super) async fn run(self) -> Result<(), Failure> {
        match self {
            Self::Submit(args) => submit::run(args).await,
            Self::List(args) => list::run(args).await,
            Self::Show(args) => show::run(args).await,
            Self::Results(args) => results::run(args).await,
            Self::Logs(args) => logs::run(args).await,
            Self::Watch(args) => watch::run(args).await,
            Self::Cancel(args) => cancel::run(args).await,
            Self::Rerun(args) => rerun::run(args).await,
            Self::Attempts(args) => attempts::run(args).await,
            Self::Compare(args) => compare::run(args).await,
        }
    }
}

/// Formats how long the job's last attempt took, or has been running.
fn took(job: &JobResponse) -> String {
    let end = job.completed_at.unwrap_or_else(Utc::now);
    job.started_at.map_or_else(String::new, |start| {
        output::duration((end - start).num_milliseconds())
    })
}

/// Returns what blocks a job from running, if anything.
fn waits_for(job: &JobResponse) -> Option<String> {
    if let Some(held) = &job.paused_by {
        let until = match held.until {
            Some(until) => output::time(until),
            None => "it is removed".to_owned(),
        };
        return Some(format!("pause {} until {until}", held.pause));
    }
    if job.held {
        return Some("its batch".to_owned());
    }
    (!job.waiting_for.is_empty()).then(|| job.waiting_for.join(", "))
}

/// Formats an error, as in `timeout: the device did not answer within 30 s`.
fn error_of(job: &JobResponse) -> String {
    let parts = [job.error_code.as_deref(), job.error_message.as_deref()];
    let parts: Vec<&str> = parts.into_iter().flatten().collect();
    parts.join(": ")
}
