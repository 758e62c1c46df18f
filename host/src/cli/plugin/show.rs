use clap::Args;

use crate::cli::{Failure, OutputFormat, ServerArgs, output};
use crate::model::{Lines, Needs};
use crate::wire::PluginResponse;

#[derive(Debug, Args)]
pub(crate) struct ShowArgs {
    /// The plugin's name
    name: String,

    #[command(flatten)]
    server: ServerArgs,
}

pub(super) async fn run(args: ShowArgs) -> Result<(), Failure> {
    let client = args.server.client()?;
    let answer = client
        .get::<PluginResponse>(&["plugins", &args.name])
        .await?;
    if args.server.output == OutputFormat::Json {
        return output::json(&answer.text);
    }
    let plugin = answer.body;
    output::properties([
        ("name", plugin.name),
        ("summary", plugin.summary.unwrap_or_default()),
        ("kind", output::word(&plugin.kind)),
        ("status", output::word(&plugin.status)),
        (
            "error",
            plugin
                .error
                .map_or_else(String::new, |error| error.to_string()),
        ),
        ("not granted", plugin.not_granted.join(", ")),
        ("configures", configures(plugin.needs.as_ref())),
        ("targets", output::word(&plugin.targets)),
        ("digest", plugin.digest.unwrap_or_default()),
        (
            "loaded",
            plugin.loaded_at.map_or_else(String::new, output::time),
        ),
    ])?;
    if let Some(needs) = plugin.needs {
        let needs = serde_json::to_value(needs).map_err(anyhow::Error::from)?;
        output::device_text(&format!("needs:\n{}", output::readable(&needs)))?;
    }
    if let Some(schema) = plugin.params_schema {
        output::device_text(&format!("params:\n{}", output::readable(&schema)))?;
    }
    Ok(())
}

/// Describes the lines that a configuring plugin may send.
fn configures(needs: Option<&Needs>) -> String {
    let ssh = needs.and_then(|needs| needs.ssh.as_ref());
    match ssh.map(|ssh| &ssh.configure) {
        None | Some(Lines::Any(false)) => String::new(),
        Some(Lines::Matching(patterns)) => format!("lines: {}", patterns.join(", ")),
        Some(Lines::Any(true)) => "any line, and any command on platforms that run commands from \
                                   configuration lines, unless policy.ssh_configure restricts it"
            .to_owned(),
    }
}
