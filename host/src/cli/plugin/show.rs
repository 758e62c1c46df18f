use clap::Args;
use serde_json::Value;

use crate::cli::answers::Plugin;
use crate::cli::{Failure, OutputFormat, ServerArgs, output};

#[derive(Debug, Args)]
pub(crate) struct ShowArgs {
    /// The plugin's name
    name: String,

    #[command(flatten)]
    server: ServerArgs,
}

pub(super) async fn run(args: ShowArgs) -> Result<(), Failure> {
    let client = args.server.client()?;
    let answer = client.get::<Plugin>(&["plugins", &args.name]).await?;
    if args.server.output == OutputFormat::Json {
        return output::json(&answer.text);
    }
    let plugin = answer.body;
    output::properties([
        ("name", plugin.name),
        ("summary", plugin.summary.unwrap_or_default()),
        ("kind", plugin.kind),
        ("status", plugin.status),
        (
            "error",
            plugin
                .error
                .map_or_else(String::new, |error| error.located()),
        ),
        ("targets", plugin.targets.unwrap_or_default()),
        ("digest", plugin.digest.unwrap_or_default()),
        (
            "loaded",
            plugin.loaded_at.map_or_else(String::new, output::time),
        ),
    ])?;
    for (name, value) in [("needs", plugin.needs), ("params", plugin.params_schema)] {
        if value != Value::Null {
            output::data(&format!("{name}:\n"))?;
            output::device_text(&output::readable(&value))?;
        }
    }
    Ok(())
}
