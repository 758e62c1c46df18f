use chrono::{DateTime, Utc};
use clap::Args;
use serde::Serialize;

use crate::cli::{Failure, OutputFormat, ServerArgs, output};
use crate::model::{PauseAction, Windows};
use crate::wire::PauseResponse;

#[derive(Debug, Args)]
pub(crate) struct AddArgs {
    /// The pause's name: letters, digits, `-`, `_` and `.`
    name: String,

    /// The reason, shown with each paused job
    #[arg(long, value_name = "TEXT")]
    reason: Option<String>,

    /// Only jobs of this plugin, `*` for any text; can be repeated
    #[arg(long = "plugin", value_name = "NAME")]
    plugins: Vec<String>,

    /// Only jobs with a matching target, for example `tag:core and not name:lab-*`
    #[arg(long, value_name = "EXPRESSION")]
    targets: Option<String>,

    /// Cancel due jobs instead of delaying them
    #[arg(long)]
    skip: bool,

    /// Start of the pause (RFC 3339)
    #[arg(long, value_name = "TIME")]
    starts_at: Option<DateTime<Utc>>,

    /// End of the pause (RFC 3339)
    #[arg(long, value_name = "TIME")]
    ends_at: Option<DateTime<Utc>>,

    /// Start of recurring windows: `minute hour day month weekday`
    #[arg(long, value_name = "EXPRESSION", requires = "minutes")]
    cron: Option<String>,

    /// Length of a window
    #[arg(long, value_name = "NUMBER", requires = "cron")]
    minutes: Option<u32>,

    /// Time zone of the windows, for example Europe/Berlin
    #[arg(long, value_name = "ZONE", requires = "cron", default_value = "UTC")]
    timezone: String,

    #[command(flatten)]
    server: ServerArgs,
}

/// The body of `POST /api/pauses`.
#[derive(Serialize)]
struct NewPause {
    name: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
    plugins: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    targets: Option<String>,
    action: PauseAction,
    #[serde(skip_serializing_if = "Option::is_none")]
    starts_at: Option<DateTime<Utc>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    ends_at: Option<DateTime<Utc>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    windows: Option<Windows>,
}

pub(super) async fn run(args: AddArgs) -> Result<(), Failure> {
    let client = args.server.client()?;
    let windows = args.cron.zip(args.minutes);
    let windows = windows.map(|(cron_expression, minutes)| Windows {
        cron_expression,
        timezone: args.timezone,
        minutes,
    });
    let pause = NewPause {
        name: args.name,
        reason: args.reason,
        plugins: args.plugins,
        targets: args.targets,
        action: match args.skip {
            true => PauseAction::Skip,
            false => PauseAction::Wait,
        },
        starts_at: args.starts_at,
        ends_at: args.ends_at,
        windows,
    };
    let answer = client
        .post::<PauseResponse>(&["pauses"], &pause, None)
        .await?;
    if args.server.output == OutputFormat::Json {
        return output::json(&answer.text);
    }
    let pause = answer.body;
    let when = match (pause.in_force, pause.until, pause.next_starts.first()) {
        (true, Some(until), _) => format!("in force until {}", output::time(until)),
        (true, None, _) => {
            let name = &pause.name;
            format!("in force until removed with `scheduler pause rm {name}`")
        }
        (false, _, Some(start)) => format!("in force from {}", output::time(*start)),
        (false, _, None) => "never in force".to_owned(),
    };
    output::talk(&format!("pause {} created; {when}", pause.name));
    output::data(&format!("{}\n", pause.id))
}
