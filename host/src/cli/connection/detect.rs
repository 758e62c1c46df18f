use clap::Args;
use serde_json::{Map, Value};

use super::edit;
use crate::cli::{Failure, OutputFormat, ServerArgs, output};
use crate::wire::ConnectionDetection;

#[derive(Debug, Args)]
pub(crate) struct DetectArgs {
    /// The connection's name or id
    name: String,

    /// Store the likeliest platform in the connection
    #[arg(long)]
    save: bool,

    #[command(flatten)]
    server: ServerArgs,
}

pub(super) async fn run(args: DetectArgs) -> Result<(), Failure> {
    let client = args.server.client()?;
    let answer = client
        .post_empty_for::<ConnectionDetection>(&["connections", &args.name, "detect"])
        .await?;
    if args.server.output == OutputFormat::Json {
        output::json(&answer.text)?;
    }
    let detection = answer.body;
    if !detection.ok {
        return Err(Failure::Device {
            code: detection.error_code.unwrap_or_default(),
            message: detection.error.unwrap_or_default(),
        });
    }
    let Some(likeliest) = detection.candidates.first() else {
        return Err(Failure::Device {
            code: "unknown".to_owned(),
            message: format!(
                "no platform matches: the SSH server identifies itself as {}, the prompt is {}",
                detection.server.unwrap_or_default(),
                detection.prompt.unwrap_or_default()
            ),
        });
    };
    if args.server.output == OutputFormat::Table {
        let others: Vec<String> = detection.candidates[1..]
            .iter()
            .map(|other| format!("{} ({} %)", other.device_type, other.certainty))
            .collect();
        output::properties([
            ("platform", likeliest.device_type.clone()),
            ("certainty", format!("{} %", likeliest.certainty)),
            ("or", others.join(", ")),
            ("stored", detection.device_type.clone()),
            ("server", detection.server.unwrap_or_default()),
            ("prompt", detection.prompt.unwrap_or_default()),
        ])?;
    }
    if args.save && likeliest.device_type != detection.device_type {
        let device_type = Value::from(likeliest.device_type.clone());
        let change = Map::from_iter([("device_type".to_owned(), device_type)]);
        edit::change(&client, &args.name, change).await?;
        output::talk(&format!(
            "platform of connection {} set to {}",
            args.name, likeliest.device_type
        ));
    }
    Ok(())
}
