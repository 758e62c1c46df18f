use clap::Args;
use secrecy::ExposeSecret as _;
use serde_json::json;

use crate::cli::password::PasswordArgs;
use crate::cli::{Failure, ServerArgs, output, secrets};
use crate::wire::MeResponse;

#[derive(Debug, Args)]
pub(crate) struct PasswordChangeArgs {
    /// Read the new password from a file
    #[arg(long, value_name = "FILE")]
    new_password_file: Option<std::path::PathBuf>,

    /// The current password
    #[command(flatten)]
    password: PasswordArgs,

    #[command(flatten)]
    server: ServerArgs,
}

pub(super) async fn run(args: PasswordChangeArgs) -> Result<(), Failure> {
    let client = args.server.client()?;
    client.warn_of_plain_http();
    let me = client.get::<MeResponse>(&["me"]).await?.body;
    let name = me.name.unwrap_or_default();
    let current = args.password.read(&name)?;
    let new = match &args.new_password_file {
        Some(file) => secrets::without_line_end(secrets::read(file)?).into(),
        None => PasswordArgs::default().read_new(&name)?,
    };
    // A token cannot change a password, so this needs a session of its own.
    let session = client.log_in(&name, current.clone()).await?;
    let request = json!({
        "current_password": current.expose_secret(),
        "new_password": new.expose_secret(),
    });
    session.put_empty(&["me", "password"], &request).await?;
    session.post_empty(&["logout"]).await?;
    output::talk("password changed; your other logins in browsers have ended");
    Ok(())
}
