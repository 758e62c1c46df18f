//! `scheduler connection`: manages the stored connections.

mod add;
mod answers;
mod detect;
mod edit;
mod fields;
mod host_keys;
mod list;
mod remove;
mod show;
mod test;

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
    /// Change a connection; options that are not given are unchanged
    Edit(Box<edit::EditArgs>),
    /// Log in to the device and show its prompt
    Test(test::TestArgs),
    /// Detect the platform of the device
    Detect(detect::DetectArgs),
    /// Show, trust or forget the host keys of the device
    HostKeys(host_keys::HostKeysArgs),
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
            Self::Edit(args) => edit::run(*args).await,
            Self::Test(args) => test::run(args).await,
            Self::Detect(args) => detect::run(args).await,
            Self::HostKeys(args) => host_keys::run(args).await,
            Self::Remove(args) => remove::run(args).await,
        }
    }
}
