//! `scheduler pause`: manages pauses, which withhold jobs.

mod add;
mod end;
mod list;
mod remove;

use clap::Subcommand;

use super::Failure;

#[derive(Debug, Subcommand)]
pub(crate) enum PauseCommand {
    /// Withhold jobs; running jobs are not affected
    Add(Box<add::AddArgs>),
    /// List the pauses
    List(list::ListArgs),
    /// End a pause now and release its jobs; one with windows is in force again in the next window
    End(end::EndArgs),
    /// Remove a pause and release its jobs
    #[command(name = "rm", visible_alias = "remove")]
    Remove(remove::RemoveArgs),
}

impl PauseCommand {
    pub(super) async fn run(self) -> Result<(), Failure> {
        match self {
            Self::Add(args) => add::run(*args).await,
            Self::List(args) => list::run(args).await,
            Self::End(args) => end::run(args).await,
            Self::Remove(args) => remove::run(args).await,
        }
    }
}
