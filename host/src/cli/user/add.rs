use clap::Args;
use secrecy::{ExposeSecret as _, SecretString};
use serde_json::json;

use super::named;
use crate::cli::password::PasswordArgs;
use crate::cli::{Failure, OutputFormat, ServerArgs, output};
use crate::model::{Permission, Role};
use crate::wire::UserResponse;

#[derive(Debug, Args)]
pub(crate) struct AddArgs {
    /// The name of the user
    name: String,

    /// viewer, reader, operator, author, admin or auditor
    #[arg(long, value_parser = named::<Role>)]
    role: Role,

    /// A permission beyond those of the role, such as terminals.open; can be repeated
    #[arg(long = "permission", value_name = "PERMISSION", value_parser = named::<Permission>)]
    permissions: Vec<Permission>,

    /// Create a service account: it has tokens and no password
    #[arg(long, conflicts_with_all = ["password_stdin", "password_file"])]
    service: bool,

    #[command(flatten)]
    password: PasswordArgs,

    #[command(flatten)]
    server: ServerArgs,
}

pub(super) async fn run(args: AddArgs) -> Result<(), Failure> {
    let client = args.server.client()?;
    let password = match args.service {
        true => None,
        false => {
            client.warn_of_plain_http();
            Some(args.password.read_new(&args.name)?)
        }
    };
    let user = json!({
        "name": args.name,
        "kind": if args.service { "service" } else { "person" },
        "role": args.role,
        "permissions": args.permissions,
        "password": password.as_ref().map(SecretString::expose_secret),
    });
    let answer = client.post::<UserResponse>(&["users"], &user, None).await?;
    match args.server.output {
        OutputFormat::Json => output::json(&answer.text),
        OutputFormat::Table => {
            output::talk(&format!("user {} created", answer.body.name));
            Ok(())
        }
    }
}
