//! `scheduler token`: manages API tokens.

mod create;
mod list;
mod revoke;

use std::collections::BTreeSet;

use chrono::{DateTime, Utc};
use clap::Subcommand;
use serde::Serialize;

use super::Failure;
use crate::model::Permission;

#[derive(Debug, Subcommand)]
pub(crate) enum TokenCommand {
    /// Create a token, which is printed once; asks for the caller's password
    Create(create::CreateArgs),
    /// List the tokens
    List(list::ListArgs),
    /// Revoke a token
    Revoke(revoke::RevokeArgs),
}

impl TokenCommand {
    pub(super) async fn run(self) -> Result<(), Failure> {
        match self {
            Self::Create(args) => create::run(args).await,
            Self::List(args) => list::run(args).await,
            Self::Revoke(args) => revoke::run(args).await,
        }
    }
}

/// The body of `POST /api/tokens`.
#[derive(Debug, Serialize)]
pub(super) struct NewToken {
    pub(super) name: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) user: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) permissions: Option<BTreeSet<Permission>>,
    pub(super) expires_at: DateTime<Utc>,
}

/// Returns the query that selects a user; the caller if there is none.
fn of_user(user: Option<&str>) -> Vec<(&'static str, String)> {
    user.map(|user| ("user", user.to_owned()))
        .into_iter()
        .collect()
}
