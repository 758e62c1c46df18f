use clap::Args;

use crate::api::types::NotificationList;
use crate::cli::{Failure, OutputFormat, ServerArgs, output};

#[derive(Debug, Args)]
pub(crate) struct ListArgs {
    /// Only those that are: waiting, sent or `given_up`
    #[arg(long)]
    state: Option<String>,

    /// How many at most
    #[arg(long, value_name = "NUMBER")]
    limit: Option<u32>,

    /// Where the page before said to go on
    #[arg(long)]
    cursor: Option<String>,

    #[command(flatten)]
    server: ServerArgs,
}

pub(super) async fn run(args: ListArgs) -> Result<(), Failure> {
    let client = args.server.client()?;
    let parameters = [
        ("state", args.state.clone()),
        ("limit", args.limit.map(|limit| limit.to_string())),
        ("cursor", args.cursor),
    ];
    let query: Vec<_> = parameters
        .into_iter()
        .filter_map(|(name, value)| Some((name, value?)))
        .collect();
    let answer = client
        .get_with::<NotificationList>(&["notifications"], &query)
        .await?;
    if args.server.output == OutputFormat::Json {
        return output::json(&answer.text);
    }
    if answer.body.notifications.is_empty() {
        output::talk(match args.state {
            Some(_) => "no notification matches --state",
            None => "there are no notifications",
        });
        return Ok(());
    }
    output::table(
        [
            "CREATED",
            "CHANNEL",
            "STATE",
            "TRIES",
            "SUBJECT",
            "NEXT",
            "LAST ERROR",
        ],
        answer.body.notifications.into_iter().map(|notification| {
            [
                output::time(notification.created_at),
                notification.channel,
                output::word(&notification.state),
                notification.attempts.to_string(),
                notification.subject,
                notification.next_at.map(output::time).unwrap_or_default(),
                notification.last_error.unwrap_or_default(),
            ]
        }),
    )?;
    if let Some(cursor) = answer.body.next_cursor {
        output::talk(&format!("there are more: --cursor {cursor}"));
    }
    Ok(())
}
