//! `scheduler user`: manages the users of a server.

mod add;
mod edit;
mod list;
mod password;
mod remove;

use clap::Subcommand;

use super::Failure;

#[derive(Debug, Subcommand)]
pub(crate) enum UserCommand {
    /// Create a user or a service account
    Add(add::AddArgs),
    /// List the users
    List(list::ListArgs),
    /// Change the role, the permissions or the password of a user, or disable the user
    Edit(edit::EditArgs),
    /// Change one's own password
    Password(password::PasswordChangeArgs),
    /// Delete a user with all sessions and tokens; the user's jobs are kept
    #[command(name = "rm", visible_alias = "remove")]
    Remove(remove::RemoveArgs),
}

impl UserCommand {
    pub(super) async fn run(self) -> Result<(), Failure> {
        match self {
            Self::Add(args) => add::run(args).await,
            Self::List(args) => list::run(args).await,
            Self::Edit(args) => edit::run(args).await,
            Self::Password(args) => password::run(args).await,
            Self::Remove(args) => remove::run(args).await,
        }
    }
}

/// Parses an API name of a value, such as a role.
pub(super) fn named<T: serde::de::DeserializeOwned>(text: &str) -> Result<T, String> {
    serde_json::from_value(serde_json::Value::String(text.to_owned()))
        .map_err(|error| error.to_string())
}
