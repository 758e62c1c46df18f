use chrono::TimeDelta;
use clap::Args;

use super::NewToken;
use crate::cli::password::PasswordArgs;
use crate::cli::user::named;
use crate::cli::{Failure, OutputFormat, ServerArgs, output};
use crate::model::{Permission, now};
use crate::wire::{MeResponse, TokenResponse};

#[derive(Debug, Args)]
pub(crate) struct CreateArgs {
    /// The name of the token
    name: String,

    /// The user of the token, such as a service account [default: the caller]
    #[arg(long)]
    user: Option<String>,

    /// Limit the token to this permission of its user; can be repeated
    #[arg(long = "permission", value_name = "PERMISSION", value_parser = named::<Permission>)]
    permissions: Vec<Permission>,

    /// Days until the token expires
    #[arg(long, default_value_t = 90, value_parser = clap::value_parser!(u16).range(1..=365))]
    days: u16,

    #[command(flatten)]
    password: PasswordArgs,

    #[command(flatten)]
    server: ServerArgs,
}

pub(super) async fn run(args: CreateArgs) -> Result<(), Failure> {
    let client = args.server.client()?;
    client.warn_of_plain_http();
    let me = client.get::<MeResponse>(&["me"]).await?.body;
    let Some(name) = me.name else {
        return Err(Failure::Usage(
            "authentication is off on this server, so there are no tokens".to_owned(),
        ));
    };
    let password = args.password.read(&name)?;
    let session = client.log_in(&name, password).await?;
    let permissions = args.permissions;
    let token = NewToken {
        name: args.name,
        user: args.user,
        permissions: (!permissions.is_empty()).then(|| permissions.into_iter().collect()),
        expires_at: now() + TimeDelta::days(args.days.into()),
    };
    let created = session
        .post::<TokenResponse>(&["tokens"], &token, None)
        .await;
    session.post_empty(&["logout"]).await?;
    let created = created?;
    if args.server.output == OutputFormat::Json {
        return output::json(&created.text);
    }
    output::talk(&format!(
        "token {} created, expires at {}; keep it now, it cannot be shown again:",
        created.body.name,
        output::time(created.body.expires_at)
    ));
    output::data(&format!("{}\n", created.body.token.unwrap_or_default()))
}
