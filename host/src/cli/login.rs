//! `scheduler login`: gets an API token for this user of this machine, and stores it.

use chrono::TimeDelta;
use clap::Args;
use uuid::Uuid;

use super::client::Client;
use super::password::PasswordArgs;
use super::token::NewToken;
use super::{Failure, ServerArgs, output, tokens_file};
use crate::model::now;
use crate::wire::TokenResponse;

/// Lifetime of the token if none is given, in days.
const DAYS: u16 = 30;
/// The file with the host name of this machine, which the names of tokens contain.
const HOST_NAME: &str = "/proc/sys/kernel/hostname";

#[derive(Debug, Args)]
pub(crate) struct LoginArgs {
    /// The name of the user
    name: String,

    /// Days until the login expires
    #[arg(long, default_value_t = DAYS, value_parser = clap::value_parser!(u16).range(1..=366))]
    days: u16,

    #[command(flatten)]
    password: PasswordArgs,

    #[command(flatten)]
    server: ServerArgs,
}

pub(super) async fn run(args: LoginArgs) -> Result<(), Failure> {
    let client = args.server.client()?;
    client.warn_of_plain_http();
    let password = args.password.read(&args.name)?;
    let session = client.log_in(&args.name, password).await?;
    store_token(&session, args.days).await?;
    output::talk(&format!("logged in as {}", args.name));
    Ok(())
}

/// Creates a token in the session, stores it for the server, and ends the session.
pub(super) async fn store_token(session: &Client, days: u16) -> Result<(), Failure> {
    let machine = std::fs::read_to_string(HOST_NAME).unwrap_or_default();
    let plain = |letter: char| letter.is_ascii_alphanumeric() || "-_.".contains(letter);
    let machine: String = machine.chars().filter(|c| plain(*c)).take(60).collect();
    let id = Uuid::now_v7().simple().to_string();
    let token = NewToken {
        name: format!("cli-{machine}-{}", &id[24..]),
        user: None,
        permissions: None,
        expires_at: now() + TimeDelta::days(days.into()),
    };
    let created = session
        .post::<TokenResponse>(&["tokens"], &token, None)
        .await?;
    session.post_empty(&["logout"]).await?;
    let path = tokens_file::store(&session.server(), created.body.token)?;
    output::talk(&format!(
        "the token {} is stored in {} and expires at {}",
        created.body.name,
        path.display(),
        output::time(created.body.expires_at)
    ));
    Ok(())
}
