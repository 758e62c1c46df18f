//! `scheduler pause`: manages pauses, which withhold jobs.

mod add;
mod end;
mod list;
mod remove;

use clap::Subcommand;

use super::Failure;

#[derive(Debug, Subcommand)]
pub(crate) enum PauseCommand {
    /// Hold jobs back; those that run go on
    Add(Box<add::AddArgs>),
    /// List the pauses
    List(list::ListArgs),
    /// End a pause now; one with windows comes into force again with the next one
    End(end::EndArgs),
    /// Remove a pause and its definition: what it held back runs
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
