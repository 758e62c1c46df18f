//! `scheduler session`: lists and ends logins in browsers.

mod end;
mod list;

use clap::Subcommand;

use super::Failure;

#[derive(Debug, Subcommand)]
pub(crate) enum SessionCommand {
    /// List the logins in browsers
    List(list::ListArgs),
    /// End a login in a browser
    End(end::EndArgs),
}

impl SessionCommand {
    pub(super) async fn run(self) -> Result<(), Failure> {
        match self {
            Self::List(args) => list::run(args).await,
            Self::End(args) => end::run(args).await,
        }
    }
}
