use clap::Args;

use crate::cli::{Failure, OutputFormat, ServerArgs, output};
use crate::wire::{Change, Comparison};

#[derive(Debug, Args)]
pub(crate) struct CompareArgs {
    /// The job's id
    id: String,

    /// The job to compare with [default: the last earlier one with the same plugin, parameters and
    /// targets]
    #[arg(long, value_name = "ID")]
    with: Option<String>,

    /// Only results of this target
    #[arg(long, short, value_name = "NAME")]
    target: Option<String>,

    #[command(flatten)]
    server: ServerArgs,
}

pub(super) async fn run(args: CompareArgs) -> Result<(), Failure> {
    let client = args.server.client()?;
    let query: Vec<_> = [("with", args.with), ("target", args.target)]
        .into_iter()
        .filter_map(|(name, value)| Some((name, value?)))
        .collect();
    let path = ["jobs", &args.id, "compare"];
    let answer = client.get_with::<Comparison>(&path, &query).await?;
    if args.server.output == OutputFormat::Json {
        return output::json(&answer.text);
    }
    let comparison = answer.body;
    output::talk(&format!("compared with job {}", comparison.with));
    for command in &comparison.commands {
        let what = match command.change {
            Change::Same => continue,
            Change::Changed => "",
            Change::Added => ": only in this job",
            Change::Removed => ": only in the earlier job",
        };
        output::device_text(&format!("{}: {}{what}\n", command.target, command.command))?;
        if let Some(diff) = &command.diff {
            output::device_text(diff)?;
        }
    }
    if !comparison.changed {
        output::talk("no differences");
    }
    Ok(())
}
