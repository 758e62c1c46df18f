use clap::Args;

use crate::cli::{Failure, OutputFormat, ServerArgs, output};
use crate::wire::NotificationList;

#[derive(Debug, Args)]
pub(crate) struct ListArgs {
    /// Only notifications in this state: waiting, sent or `given_up`
    #[arg(long)]
    state: Option<String>,

    /// Maximum number of notifications
    #[arg(long, value_name = "NUMBER")]
    limit: Option<u32>,

    /// The cursor that the previous page printed
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
            None => "no notifications",
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
        output::talk(&format!("more notifications: use --cursor {cursor}"));
    }
    Ok(())
}
