//! `scheduler notification`: lists notifications about ended jobs, and tests the channels.

mod list;
mod test;

use clap::Subcommand;

use super::Failure;

#[derive(Debug, Subcommand)]
pub(crate) enum NotificationCommand {
    /// List notifications (sent, waiting and abandoned), newest first
    List(list::ListArgs),
    /// Send a test message to a channel
    Test(test::TestArgs),
}

impl NotificationCommand {
    pub(super) async fn run(self) -> Result<(), Failure> {
        match self {
            Self::List(args) => list::run(args).await,
            Self::Test(args) => test::run(args).await,
        }
    }
}
