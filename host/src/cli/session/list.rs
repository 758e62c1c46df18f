use clap::Args;

use crate::cli::{Failure, OutputFormat, ServerArgs, output};
use crate::wire::{SessionList, SessionResponse};

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
    let query: Vec<_> = args.user.map(|user| ("user", user)).into_iter().collect();
    let answer = client
        .get_with::<SessionList>(&["sessions"], &query)
        .await?;
    if args.server.output == OutputFormat::Json {
        return output::json(&answer.text);
    }
    if answer.body.sessions.is_empty() {
        output::talk("no logins in browsers");
        return Ok(());
    }
    output::table(
        ["ID", "LOGIN", "LAST USED", "EXPIRES", "FROM", "BROWSER"],
        answer.body.sessions.into_iter().map(row),
    )
}

fn row(session: SessionResponse) -> [String; 6] {
    [
        session.id.to_string(),
        output::time(session.created_at),
        output::time(session.last_used_at),
        output::time(session.expires_at),
        session.address.unwrap_or_default(),
        session.client.unwrap_or_default(),
    ]
}
