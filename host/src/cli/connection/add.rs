use clap::Args;
use serde::Serialize;
use serde_json::Value;

use super::answers::AnswerArgs;
use super::fields::{AccessArgs, AccessFields};
use crate::cli::secrets::{SecretArgs, Secrets, note_nothing_to_log_in_with};
use crate::cli::{Failure, OutputFormat, ServerArgs, output};
use crate::wire::ConnectionResponse;

#[derive(Debug, Args)]
pub(crate) struct AddArgs {
    /// The connection's name
    name: String,

    /// The device's address
    #[arg(long)]
    host: String,

    /// The device's SSH port
    #[arg(long, default_value_t = 22)]
    port: u16,

    /// The user to log in as
    #[arg(long)]
    username: String,

    /// The device's platform, by its netmiko name: `cisco_ios`, `linux`, `frr` …
    #[arg(long, value_name = "PLATFORM")]
    device_type: String,

    /// A tag; can be repeated
    #[arg(long = "tag", value_name = "TAG")]
    tags: Vec<String>,

    /// Timeout of one command
    #[arg(long, value_name = "SECONDS")]
    timeout_seconds: Option<u32>,

    /// The only host key to accept: SHA256:… or an OpenSSH public key
    #[arg(long, value_name = "KEY")]
    host_key: Option<String>,

    #[command(flatten)]
    way: AccessArgs,

    #[command(flatten)]
    secrets: SecretArgs,

    #[command(flatten)]
    answers: AnswerArgs,

    #[command(flatten)]
    server: ServerArgs,
}

/// The body of `POST /api/connections`. Not Debug: it holds secrets.
#[derive(Serialize)]
struct NewConnection {
    name: String,
    host: String,
    port: u16,
    username: String,
    device_type: String,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    tags: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    timeout_seconds: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    host_key: Option<String>,
    #[serde(flatten)]
    way: AccessFields,
    #[serde(flatten)]
    secrets: Secrets,
    #[serde(skip_serializing_if = "Option::is_none")]
    answers: Option<Vec<Value>>,
}

pub(super) async fn run(args: AddArgs) -> Result<(), Failure> {
    let client = args.server.client()?;
    let way = args.way.read()?;
    let secrets = args
        .secrets
        .read(&format!("{} on {}", args.username, args.host))?;
    let answers = args.answers.read()?;
    if !secrets.can_log_in() && !way.can_log_in() && answers.is_none() {
        note_nothing_to_log_in_with();
    }
    client.warn_of_plain_http();
    let connection = NewConnection {
        way,
        secrets,
        answers,
        name: args.name,
        host: args.host,
        port: args.port,
        username: args.username,
        device_type: args.device_type,
        tags: args.tags,
        timeout_seconds: args.timeout_seconds,
        host_key: args.host_key,
    };
    let answer = client
        .post::<ConnectionResponse>(&["connections"], &connection, None)
        .await?;
    match args.server.output {
        OutputFormat::Json => output::json(&answer.text),
        OutputFormat::Table => {
            output::talk(&format!("connection {} created", answer.body.name));
            output::data(&format!("{}\n", answer.body.id))
        }
    }
}
