use clap::Args;

use crate::cli::{Failure, OutputFormat, ServerArgs, output};
use crate::wire::PluginVersions;

#[derive(Debug, Args)]
pub(crate) struct VersionsArgs {
    /// The plugin's name
    name: String,

    #[command(flatten)]
    server: ServerArgs,
}

pub(super) async fn run(args: VersionsArgs) -> Result<(), Failure> {
    let client = args.server.client()?;
    let path = ["plugins", &args.name, "versions"];
    let answer = client.get::<PluginVersions>(&path).await?;
    if args.server.output == OutputFormat::Json {
        return output::json(&answer.text);
    }
    output::table(
        ["DIGEST", "FIRST LOADED", "LAST LOADED", "JOBS", ""],
        answer.body.versions.into_iter().map(|version| {
            [
                version.digest,
                output::time(version.first_seen),
                output::time(version.last_seen),
                version.jobs.to_string(),
                if version.serving { "serving" } else { "" }.to_owned(),
            ]
        }),
    )
}
