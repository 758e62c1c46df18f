use clap::{Args, ValueEnum};
use serde_json::{Map, Value};

use super::answers::AnswerArgs;
use super::fields::AccessArgs;
use crate::cli::client::{Answer, Client};
use crate::cli::secrets::SecretArgs;
use crate::cli::{Failure, OutputFormat, ServerArgs, output};
use crate::wire::ConnectionResponse;

#[derive(Debug, Args)]
pub(crate) struct EditArgs {
    /// The connection's name or id
    name: String,

    /// New name
    #[arg(long, value_name = "NAME")]
    rename: Option<String>,

    /// New address; the stored secrets must then be given again or cleared
    #[arg(long)]
    host: Option<String>,

    /// New SSH port
    #[arg(long)]
    port: Option<u16>,

    /// New user to log in as
    #[arg(long)]
    username: Option<String>,

    /// New platform
    #[arg(long, value_name = "PLATFORM")]
    device_type: Option<String>,

    /// A tag; replaces all stored tags; can be repeated
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

    /// A field to clear; can be repeated
    #[arg(long, value_name = "FIELD")]
    clear: Vec<Clearable>,

    /// Also clear the secrets of connections that use this one as a jump host and could reach another
    /// device after the change; without it, such a change is rejected
    #[arg(long)]
    forget_secrets_of_dependents: bool,

    #[command(flatten)]
    secrets: SecretArgs,

    #[command(flatten)]
    answers: AnswerArgs,

    #[command(flatten)]
    server: ServerArgs,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Clearable {
    Tags,
    HostKey,
    Jump,
    Certificate,
    Password,
    PrivateKey,
    Passphrase,
    Secret,
    Answers,
}

/// Where an API message turns from the reason to the remedy.
const GIVE_AGAIN: &str = ": give ";

/// Response fields of a connection that a request must not contain.
const ANSWERED_ALONE: [&str; 4] = ["id", "secrets_set", "created_at", "updated_at"];

pub(super) async fn run(args: EditArgs) -> Result<(), Failure> {
    let client = args.server.client()?;
    let stored = client
        .get::<ConnectionResponse>(&["connections", &args.name])
        .await?;
    let user = format!(
        "{} on {}",
        args.username.as_ref().unwrap_or(&stored.body.username),
        args.host.as_ref().unwrap_or(&stored.body.host)
    );
    let changes = args.changes(&user)?;
    if changes.is_empty() {
        return Err(Failure::Usage(
            "no change given; --help lists the options".to_owned(),
        ));
    }
    if args.secrets.any() || args.answers.has_file() {
        client.warn_of_plain_http();
    }
    let answer = put(&client, &stored, changes, args.forget_secrets_of_dependents).await?;
    match args.server.output {
        OutputFormat::Json => output::json(&answer.text),
        OutputFormat::Table => {
            output::talk(&format!("connection {} updated", answer.body.name));
            Ok(())
        }
    }
}

/// Changes single fields of a connection.
pub(super) async fn change(
    client: &Client,
    name: &str,
    changes: Map<String, Value>,
) -> Result<(), Failure> {
    let stored = client
        .get::<ConnectionResponse>(&["connections", name])
        .await?;
    put(client, &stored, changes, false).await?;
    Ok(())
}

async fn put(
    client: &Client,
    stored: &Answer<ConnectionResponse>,
    changes: Map<String, Value>,
    forget_others: bool,
) -> Result<Answer<ConnectionResponse>, Failure> {
    let mut connection: Map<String, Value> =
        serde_json::from_str(&stored.text).map_err(anyhow::Error::from)?;
    connection.retain(|field, _| !ANSWERED_ALONE.contains(&field.as_str()));
    connection.extend(changes);
    // Addressed by id: another connection may have taken over the name meanwhile.
    let id = stored.body.id.to_string();
    let query: &[(&str, &str)] = match forget_others {
        true => &[("forget_secrets_of_dependents", "true")],
        false => &[],
    };
    let answer = client
        .put_with(&["connections", &id], query, &connection)
        .await;
    answer.map_err(|failure| with_options(failure, &stored.body.name))
}

/// Rewrites the API's advice on keeping or clearing secrets as command-line options.
fn with_options(failure: Failure, name: &str) -> Failure {
    let Failure::Refused(mut problem) = failure else {
        return failure;
    };
    for error in &mut problem.errors {
        let Some(message) = message_with_options(&error.pointer, &error.message, name) else {
            continue;
        };
        let old = std::mem::replace(&mut error.message, message);
        problem.detail = problem.detail.replace(&old, &error.message);
    }
    Failure::Refused(problem)
}

fn message_with_options(pointer: &str, message: &str, name: &str) -> Option<String> {
    let give = match pointer {
        "/password" => "--ask-password or --password-file",
        "/private_key" => "--private-key-file",
        "/passphrase" => "--passphrase-file",
        "/secret" => "--secret-file",
        "/forget_secrets_of_dependents" => {
            let flag = "--forget-secrets-of-dependents";
            return Some(message.replace("forget_secrets_of_dependents=true", flag));
        }
        pointer if pointer.starts_with("/answers") => "--answer or --answer-file",
        _ => return None,
    };
    let (reason, _) = message.split_once(GIVE_AGAIN)?;
    if !reason.contains("is stored for another") {
        return None;
    }
    let field = pointer.split('/').nth(1).unwrap_or_default();
    let clear = field.replace('_', "-");
    let keep = match message.contains("/host-keys") {
        true => format!(
            "; to keep it, trust the new host key: scheduler connection host-keys {name} --trust KEY"
        ),
        false => String::new(),
    };
    Some(format!(
        "{reason}: give it again with {give}, or use --clear {clear}{keep}"
    ))
}

impl EditArgs {
    fn changes(&self, user: &str) -> Result<Map<String, Value>, Failure> {
        let mut changes = Map::new();
        let plain = [
            ("name", self.rename.as_deref().map(Value::from)),
            ("host", self.host.as_deref().map(Value::from)),
            ("port", self.port.map(Value::from)),
            ("username", self.username.as_deref().map(Value::from)),
            ("device_type", self.device_type.as_deref().map(Value::from)),
            ("timeout_seconds", self.timeout_seconds.map(Value::from)),
            ("host_key", self.host_key.as_deref().map(Value::from)),
            (
                "tags",
                (!self.tags.is_empty()).then(|| self.tags.clone().into()),
            ),
        ];
        let said = plain
            .into_iter()
            .filter_map(|(field, value)| Some((field.to_owned(), value?)));
        changes.extend(said);
        let fields = [
            serde_json::to_value(self.way.read()?),
            serde_json::to_value(self.secrets.read(user)?),
        ];
        for fields in fields {
            if let Value::Object(fields) = fields.map_err(anyhow::Error::from)? {
                changes.extend(fields);
            }
        }
        if let Some(answers) = self.answers.read()? {
            changes.insert("answers".to_owned(), answers.into());
        }
        for field in &self.clear {
            let field = field.name();
            let nothing = match field {
                "tags" | "jump" | "answers" => Value::Array(Vec::new()),
                _ => Value::Null,
            };
            if changes.insert(field.to_owned(), nothing).is_some() {
                return Err(Failure::Usage(format!(
                    "setting {field} is not allowed together with clearing it"
                )));
            }
        }
        Ok(changes)
    }
}

impl Clearable {
    fn name(self) -> &'static str {
        match self {
            Self::Tags => "tags",
            Self::HostKey => "host_key",
            Self::Jump => "jump",
            Self::Certificate => "certificate",
            Self::Password => "password",
            Self::PrivateKey => "private_key",
            Self::Passphrase => "passphrase",
            Self::Secret => "secret",
            Self::Answers => "answers",
        }
    }
}
