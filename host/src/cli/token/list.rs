use clap::Args;

use super::of_user;
use crate::cli::{Failure, OutputFormat, ServerArgs, output};
use crate::wire::{TokenList, TokenResponse};

#[derive(Debug, Args)]
pub(crate) struct ListArgs {
    /// The user [default: the caller]
    #[arg(long)]
    user: Option<String>,

    #[command(flatten)]
    server: ServerArgs,
}

pub(super) async fn run(args: ListArgs) -> Result<(), Failure> {
    let client = args.server.client()?;
    let query = of_user(args.user.as_deref());
    let answer = client.get_with::<TokenList>(&["tokens"], &query).await?;
    if args.server.output == OutputFormat::Json {
        return output::json(&answer.text);
    }
    if answer.body.tokens.is_empty() {
        output::talk("no tokens");
        return Ok(());
    }
    output::table(
        ["NAME", "EXPIRES", "LAST USED", "FROM", "PERMISSIONS", "ID"],
        answer.body.tokens.into_iter().map(row),
    )
}

fn row(token: TokenResponse) -> [String; 6] {
    let permissions = token.permissions.map(|permissions| {
        let names = permissions.iter().map(|each| each.as_str());
        names.collect::<Vec<_>>().join(", ")
    });
    [
        token.name,
        output::time(token.expires_at),
        token.last_used_at.map(output::time).unwrap_or_default(),
        token.last_address.unwrap_or_default(),
        permissions.unwrap_or_else(|| "all of the user".to_owned()),
        token.id.to_string(),
    ]
}
