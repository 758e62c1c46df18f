use clap::Args;

use crate::cli::{Failure, OutputFormat, ServerArgs, output};
use crate::wire::{UserList, UserResponse};

#[derive(Debug, Args)]
pub(crate) struct ListArgs {
    #[command(flatten)]
    server: ServerArgs,
}

pub(super) async fn run(args: ListArgs) -> Result<(), Failure> {
    let client = args.server.client()?;
    let answer = client.get::<UserList>(&["users"]).await?;
    if args.server.output == OutputFormat::Json {
        return output::json(&answer.text);
    }
    output::table(
        [
            "NAME",
            "KIND",
            "ROLE",
            "PERMISSIONS",
            "DISABLED",
            "LAST LOGIN",
        ],
        answer.body.users.into_iter().map(row),
    )
}

fn row(user: UserResponse) -> [String; 6] {
    let permissions = user.permissions.iter().map(|each| each.as_str());
    [
        user.name,
        output::word(&user.kind),
        output::word(&user.role),
        permissions.collect::<Vec<_>>().join(", "),
        if user.disabled { "yes" } else { "no" }.to_owned(),
        user.last_login_at.map(output::time).unwrap_or_default(),
    ]
}
