use clap::Args;

use crate::cli::{Failure, OutputFormat, ServerArgs, output};
use crate::wire::{PauseList, PauseResponse};

#[derive(Debug, Args)]
pub(crate) struct ListArgs {
    #[command(flatten)]
    server: ServerArgs,
}

pub(super) async fn run(args: ListArgs) -> Result<(), Failure> {
    let client = args.server.client()?;
    let answer = client.get_list::<PauseList>(&["pauses"], "pauses").await?;
    if args.server.output == OutputFormat::Json {
        return output::json(&answer.text);
    }
    if answer.body.pauses.is_empty() {
        output::talk("no pauses");
        return Ok(());
    }
    output::table(
        [
            "NAME", "IN FORCE", "UNTIL", "NEXT", "PLUGINS", "TARGETS", "JOBS", "REASON",
        ],
        answer.body.pauses.into_iter().map(row),
    )
}

fn row(pause: PauseResponse) -> [String; 8] {
    let until = match (pause.in_force, pause.until) {
        (true, Some(until)) => output::time(until),
        (true, None) => "removed".to_owned(),
        (false, _) => String::new(),
    };
    let all = || "all".to_owned();
    [
        pause.name,
        if pause.in_force { "yes" } else { "no" }.to_owned(),
        until,
        pause
            .next_starts
            .first()
            .map(|start| output::time(*start))
            .unwrap_or_default(),
        match pause.plugins.is_empty() {
            true => all(),
            false => pause.plugins.join(", "),
        },
        pause.targets.unwrap_or_else(all),
        output::word(&pause.action),
        pause.reason.unwrap_or_default(),
    ]
}
