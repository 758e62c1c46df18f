use clap::Args;
use secrecy::{ExposeSecret as _, SecretString};
use serde_json::json;

use super::named;
use crate::cli::password::PasswordArgs;
use crate::cli::{Failure, OutputFormat, ServerArgs, output};
use crate::model::{Permission, Role};
use crate::wire::UserResponse;

#[derive(Debug, Args)]
pub(crate) struct EditArgs {
    /// The name of the user
    name: String,

    /// The new name
    #[arg(long, value_name = "NAME")]
    rename: Option<String>,

    /// The new role
    #[arg(long, value_parser = named::<Role>)]
    role: Option<Role>,

    /// All permissions beyond those of the role, which replace the current ones; can be repeated
    #[arg(long = "permission", value_name = "PERMISSION", value_parser = named::<Permission>)]
    permissions: Vec<Permission>,

    /// Remove all permissions beyond those of the role
    #[arg(long, conflicts_with = "permissions")]
    no_permissions: bool,

    /// Disable the user: logins and tokens are rejected
    #[arg(long, conflicts_with = "enable")]
    disable: bool,

    /// Enable the user again
    #[arg(long)]
    enable: bool,

    /// Set a new password, which is asked for at the terminal
    #[arg(long)]
    new_password: bool,

    #[command(flatten)]
    password: PasswordArgs,

    #[command(flatten)]
    server: ServerArgs,
}

pub(super) async fn run(args: EditArgs) -> Result<(), Failure> {
    let client = args.server.client()?;
    let old = client
        .get::<UserResponse>(&["users", &args.name])
        .await?
        .body;
    let password = match args.new_password || args.password.is_given() {
        true => {
            client.warn_of_plain_http();
            Some(args.password.read_new(&args.name)?)
        }
        false => None,
    };
    let permissions = match args.permissions.is_empty() && !args.no_permissions {
        true => old.permissions,
        false => args.permissions.into_iter().collect(),
    };
    let user = json!({
        "name": args.rename.unwrap_or(old.name),
        "kind": old.kind,
        "role": args.role.unwrap_or(old.role),
        "permissions": permissions,
        "disabled": (old.disabled || args.disable) && !args.enable,
        "password": password.as_ref().map(SecretString::expose_secret),
    });
    let answer = client
        .put::<UserResponse>(&["users", &args.name], &user)
        .await?;
    match args.server.output {
        OutputFormat::Json => output::json(&answer.text),
        OutputFormat::Table => {
            output::talk(&format!("user {} changed", answer.body.name));
            Ok(())
        }
    }
}
