use clap::Args;

use crate::cli::{Failure, OutputFormat, ServerArgs, output};
use crate::wire::PluginList;

#[derive(Debug, Args)]
pub(crate) struct ListArgs {
    #[command(flatten)]
    server: ServerArgs,
}

pub(super) async fn run(args: ListArgs) -> Result<(), Failure> {
    let client = args.server.client()?;
    let answer = client
        .get_list::<PluginList>(&["plugins"], "plugins")
        .await?;
    if args.server.output == OutputFormat::Json {
        return output::json(&answer.text);
    }
    let plugins = answer.body.plugins;
    if plugins.is_empty() {
        output::talk("no plugins in the server's plugins.scripts_dir and plugins.components_dir");
        return Ok(());
    }
    let broken: Vec<String> = plugins
        .iter()
        .filter_map(|plugin| {
            let error = plugin.error.as_ref()?;
            Some(format!("{} is broken: {}", plugin.name, error))
        })
        .collect();
    let conflicts: Vec<String> = plugins
        .iter()
        .filter(|plugin| plugin.error.is_none())
        .filter_map(|plugin| {
            let other = plugin.conflict.as_ref()?;
            Some(format!(
                "{other} has the plugin name {} as well, and is ignored",
                plugin.name
            ))
        })
        .collect();
    let not_granted: Vec<String> = plugins
        .iter()
        .filter(|plugin| !plugin.not_granted.is_empty())
        .map(|plugin| {
            let missing = plugin.not_granted.join(", ");
            format!("{} lacks grants: {missing}", plugin.name)
        })
        .collect();
    output::table(
        ["NAME", "KIND", "STATUS", "TARGETS", "SUMMARY"],
        plugins.into_iter().map(|plugin| {
            [
                plugin.name,
                output::word(&plugin.kind),
                output::word(&plugin.status),
                output::word(&plugin.targets),
                plugin.summary.unwrap_or_default(),
            ]
        }),
    )?;
    for message in broken.into_iter().chain(conflicts).chain(not_granted) {
        output::talk(&message);
    }
    Ok(())
}
