//! `scheduler setup`: creates the first user of a server, and logs in.

use std::path::PathBuf;

use clap::Args;
use secrecy::ExposeSecret as _;
use serde_json::json;

use super::password::PasswordArgs;
use super::{Failure, ServerArgs, login, output, secrets};

/// Lifetime of the token of the first login, in days.
const DAYS: u16 = 30;

#[derive(Debug, Args)]
pub(crate) struct SetupArgs {
    /// The name of the first user, an admin
    name: String,

    /// Read the code that the server printed at its start from a file [default: asked for at the
    /// terminal]
    #[arg(long, value_name = "FILE")]
    code_file: Option<PathBuf>,

    #[command(flatten)]
    password: PasswordArgs,

    #[command(flatten)]
    server: ServerArgs,
}

pub(super) async fn run(args: SetupArgs) -> Result<(), Failure> {
    let client = args.server.client()?;
    client.warn_of_plain_http();
    let code = match &args.code_file {
        Some(file) => secrets::read(file)?,
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
