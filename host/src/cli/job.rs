//! `scheduler job`: submit jobs and follow them.

mod cancel;
mod list;
mod logs;
mod results;
mod show;
mod submit;
mod watch;

use clap::Subcommand;

use super::Failure;

#[derive(Debug, Subcommand)]
pub(crate) enum JobCommand {
    /// Submit a job for a plugin
    Submit(submit::SubmitArgs),
    /// List jobs, the newest first
    List(list::ListArgs),
    /// Show a job
    Show(show::ShowArgs),
    /// Show what a job's commands answered
    Results(results::ResultsArgs),
    /// Show a job's log
    Logs(logs::LogsArgs),
    /// Follow a job until it has ended
    Watch(watch::WatchArgs),
    /// Cancel a job that has not ended
    Cancel(cancel::CancelArgs),
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
        }
    }
}
