//! `scheduler plugin`: lists plugins and their versions.

mod definitions;
mod list;
mod show;
mod versions;

use clap::Subcommand;

use super::Failure;

#[derive(Debug, Subcommand)]
pub(crate) enum PluginCommand {
    /// List the plugins, including broken ones
    List(list::ListArgs),
    /// Show a plugin, with its needs and parameters
    Show(show::ShowArgs),
    /// List the loaded versions of a plugin, with the number of their jobs
    Versions(versions::VersionsArgs),
    /// Write the host functions for playbooks as .d.rhai files for editors; works without a server
    Definitions(definitions::DefinitionsArgs),
}

impl PluginCommand {
    pub(super) async fn run(self) -> Result<(), Failure> {
        match self {
            Self::List(args) => list::run(args).await,
            Self::Show(args) => show::run(args).await,
            Self::Versions(args) => versions::run(args).await,
            Self::Definitions(args) => definitions::run(&args),
        }
    }
}
