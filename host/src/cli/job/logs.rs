use clap::Args;
use serde_json::Value;

use crate::cli::{Failure, OutputFormat, ServerArgs, output};
use crate::wire::{LogList, LogResponse};

#[derive(Debug, Args)]
pub(crate) struct LogsArgs {
    /// The job's id
    id: String,

    /// Only lines of this level and above: debug, info, warn, error
    #[arg(long)]
    level: Option<String>,

    /// Only lines after the one with this id
    #[arg(long, value_name = "LINE")]
    after: Option<String>,

    #[command(flatten)]
    server: ServerArgs,
}

pub(super) async fn run(args: LogsArgs) -> Result<(), Failure> {
    let client = args.server.client()?;
    let mut after = args.after;
    let mut lines = Vec::new();
    loop {
        let query: Vec<_> = [("level", args.level.clone()), ("after", after.clone())]
            .into_iter()
            .filter_map(|(name, value)| Some((name, value?)))
            .collect();
        let page = client
            .get_with::<LogList>(&["jobs", &args.id, "logs"], &query)
            .await?;
        let LogList {
            logs, next_after, ..
        } = page.body;
        match args.server.output {
            OutputFormat::Json => lines.extend(logs),
            OutputFormat::Table => {
                for line in &logs {
                    output::device_text(&text(line))?;
                }
            }
        }
        match next_after {
            Some(id) => after = Some(id.to_string()),
            None => break,
        }
    }
    if args.server.output == OutputFormat::Json {
        let all = LogList {
            logs: lines,
            next_after: None,
            next_before: None,
        };
        let whole = serde_json::to_string(&all).map_err(anyhow::Error::from)?;
        output::json(&whole)?;
    }
    Ok(())
}

/// Formats a log line as one line, whatever the message contains: `2026-07-30T13:02:11Z warn  the
/// message {"context":1}`.
pub(super) fn text(line: &LogResponse) -> String {
    let context = match &line.context {
        None | Some(Value::Null) => String::new(),
        Some(context) => format!(" {context}"),
    };
    format!(
        "{} {:<5} {}{context}",
        output::time(line.timestamp),
        line.level.as_str(),
        output::line(&line.message)
    )
}
