//! `scheduler setup`: creates the first user of a server, and logs in.

use clap::Args;
use secrecy::ExposeSecret as _;
use serde_json::json;

use super::password::PasswordArgs;
use super::{Failure, ServerArgs, login, output};

/// Lifetime of the token of the first login, in days.
const DAYS: u16 = 30;

#[derive(Debug, Args)]
pub(crate) struct SetupArgs {
    /// The name of the first user, an admin
    name: String,

    /// The code that the server printed at its start [default: asked for at the terminal]
    #[arg(long)]
    code: Option<String>,

    #[command(flatten)]
    password: PasswordArgs,

    #[command(flatten)]
    server: ServerArgs,
}

pub(super) async fn run(args: SetupArgs) -> Result<(), Failure> {
    let client = args.server.client()?;
    client.warn_of_plain_http();
    let code = match args.code {
        Some(code) => code,
        None => rpassword::prompt_password("Setup code: ").map_err(anyhow::Error::from)?,
    };
    let password = args.password.read_new(&args.name)?;
    let request = json!({
        "code": code.trim(),
        "name": args.name,
        "password": password.expose_secret(),
    });
    let session = client.session_from(&["setup"], &request).await?;
    output::talk(&format!("user {} created", args.name));
    login::store_token(&session, DAYS).await
}
