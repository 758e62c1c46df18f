use clap::Args;

use crate::cli::answers::Plugins;
use crate::cli::{Failure, OutputFormat, ServerArgs, output};

#[derive(Debug, Args)]
pub(crate) struct ListArgs {
    #[command(flatten)]
    server: ServerArgs,
}

pub(super) async fn run(args: ListArgs) -> Result<(), Failure> {
    let client = args.server.client()?;
    let answer = client.get::<Plugins>(&["plugins"]).await?;
    if args.server.output == OutputFormat::Json {
        return output::json(&answer.text);
    }
    let plugins = answer.body.plugins;
    if plugins.is_empty() {
        output::talk("there are no plugins in the server's plugins.scripts_dir");
        return Ok(());
    }
    let broken: Vec<String> = plugins
        .iter()
        .filter_map(|plugin| {
            let error = plugin.error.as_ref()?;
            Some(format!("{} is broken: {}", plugin.name, error.located()))
        })
        .collect();
    output::table(
        ["NAME", "KIND", "STATUS", "TARGETS", "SUMMARY"],
        plugins.into_iter().map(|plugin| {
            [
                plugin.name,
                plugin.kind,
                plugin.status,
                plugin.targets.unwrap_or_default(),
                plugin.summary.unwrap_or_default(),
            ]
        }),
    )?;
    for message in broken {
        output::talk(&message);
    }
    Ok(())
}
