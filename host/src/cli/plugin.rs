//! `scheduler plugin`: lists plugins and their versions.

mod definitions;
mod list;
mod show;
mod versions;

use clap::Subcommand;

use super::Failure;

#[derive(Debug, Subcommand)]
pub(crate) enum PluginCommand {
    /// List the plugins, broken ones too
    List(list::ListArgs),
    /// Show a plugin: what it needs, which parameters it takes
    Show(show::ShowArgs),
    /// List the versions of a plugin that were loaded, and how many jobs ran each
    Versions(versions::VersionsArgs),
    /// Write what playbooks may call, as .d.rhai files for editors; needs no server
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
