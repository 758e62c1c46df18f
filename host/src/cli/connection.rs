//! `scheduler connection`: how to reach which device.

mod add;
mod list;
mod remove;
mod show;

use clap::Subcommand;

use super::Failure;

#[derive(Debug, Subcommand)]
pub(crate) enum ConnectionCommand {
    /// Add a connection
    Add(Box<add::AddArgs>),
    /// List the connections
    List(list::ListArgs),
    /// Show a connection
    Show(show::ShowArgs),
    /// Remove a connection
    #[command(name = "rm", visible_alias = "remove")]
    Remove(remove::RemoveArgs),
}

impl ConnectionCommand {
    pub(super) async fn run(self) -> Result<(), Failure> {
        match self {
            Self::Add(args) => add::run(*args).await,
            Self::List(args) => list::run(args).await,
            Self::Show(args) => show::run(args).await,
            Self::Remove(args) => remove::run(args).await,
        }
    }
}
