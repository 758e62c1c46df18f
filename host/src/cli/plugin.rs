//! `scheduler plugin`: what can be run.

mod list;
mod show;

use clap::Subcommand;

use super::Failure;

#[derive(Debug, Subcommand)]
pub(crate) enum PluginCommand {
    /// List the plugins, broken ones too
    List(list::ListArgs),
    /// Show a plugin: what it needs, which parameters it takes
    Show(show::ShowArgs),
}

impl PluginCommand {
    pub(super) async fn run(self) -> Result<(), Failure> {
        match self {
            Self::List(args) => list::run(args).await,
            Self::Show(args) => show::run(args).await,
        }
    }
}
