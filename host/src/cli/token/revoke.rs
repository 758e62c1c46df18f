use clap::Args;

use super::of_user;
use crate::cli::{Failure, ServerArgs, output};
use crate::wire::TokenList;

#[derive(Debug, Args)]
pub(crate) struct RevokeArgs {
    /// The name or id of the token
    token: String,

    /// The user [default: the caller]
    #[arg(long)]
    user: Option<String>,

    #[command(flatten)]
    server: ServerArgs,
}

pub(super) async fn run(args: RevokeArgs) -> Result<(), Failure> {
    let client = args.server.client()?;
    let query = of_user(args.user.as_deref());
    let tokens = client.get_with::<TokenList>(&["tokens"], &query).await?;
    let mut tokens = tokens.body.tokens.into_iter();
    let named = tokens.find(|token| token.name == args.token);
    let id = named.map_or_else(|| args.token.clone(), |token| token.id.to_string());
    let query = args.user.as_deref().map(|user| ("user", user));
    client
        .delete_with(&["tokens", &id], query.as_slice())
        .await?;
    output::talk(&format!("token {} revoked", args.token));
    Ok(())
}
