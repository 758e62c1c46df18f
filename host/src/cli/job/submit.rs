use std::io::Read as _;

use anyhow::Context as _;
use clap::Args;
use serde::Serialize;
use serde_json::{Map, Value};

use super::watch;
use crate::api::types::JobAccepted;
use crate::cli::{Failure, OutputFormat, ServerArgs, output};

#[derive(Debug, Args)]
pub(crate) struct SubmitArgs {
    /// The plugin's name, as in `scheduler plugin list`
    plugin: String,

    /// A connection that the job may reach; can be given more than once
    #[arg(long = "target", short, value_name = "NAME")]
    targets: Vec<String>,

    /// A parameter; VALUE is JSON where it can be read as JSON, else text. Goes over --params;
    /// can be given more than once
    #[arg(long = "param", short, value_name = "KEY=VALUE", value_parser = parameter)]
    param: Vec<(String, Value)>,

    /// All parameters as a JSON object, @FILE to read them from a file, or - for stdin
    #[arg(long, value_name = "JSON|@FILE|-")]
    params: Option<String>,

    /// A remark, for people
    #[arg(long, value_name = "TEXT")]
    description: Option<String>,

    /// How long an attempt may take
    #[arg(long, value_name = "SECONDS")]
    timeout_seconds: Option<u32>,

    /// Jobs with a higher one go first
    #[arg(long, value_name = "NUMBER", allow_negative_numbers = true)]
    priority: Option<i32>,

    /// How often the job is tried again when a device cannot be reached
    #[arg(long, value_name = "NUMBER")]
    max_retries: Option<u32>,

    /// Submitting twice with the same key makes one job
    #[arg(long, value_name = "KEY")]
    idempotency_key: Option<String>,

    /// Follow the job until it has ended. It goes on if you stop following it
    #[arg(long, short)]
    wait: bool,

    #[command(flatten)]
    server: ServerArgs,
}

/// The body of `POST /api/jobs`.
#[derive(Debug, Serialize)]
struct Submission<'a> {
    plugin: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    params: Option<Value>,
    #[serde(skip_serializing_if = "<[String]>::is_empty")]
    targets: &'a [String],
    #[serde(skip_serializing_if = "Option::is_none")]
    description: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    timeout_seconds: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    priority: Option<i32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    max_retries: Option<u32>,
}

pub(super) async fn run(args: SubmitArgs) -> Result<(), Failure> {
    let submission = Submission {
        plugin: &args.plugin,
        params: parameters(args.params.as_deref(), &args.param)?,
        targets: &args.targets,
        description: args.description.as_deref(),
        timeout_seconds: args.timeout_seconds,
        priority: args.priority,
        max_retries: args.max_retries,
    };
    let client = args.server.client()?;
    let answer = client
        .post::<JobAccepted>(&["jobs"], &submission, args.idempotency_key.as_deref())
        .await?;
    let JobAccepted { id, status } = &answer.body;
    if args.wait {
        output::talk(&format!("job {id} submitted"));
        return watch::follow(&client, &id.to_string(), args.server.output).await;
    }
    match args.server.output {
        OutputFormat::Json => output::json(&answer.text),
        OutputFormat::Table => {
            output::talk(&format!(
                "the job is {status}; follow it with `scheduler job watch {id}`"
            ));
            output::data(&format!("{id}\n"))
        }
    }
}

/// `--params` with every `--param` laid over it.
fn parameters(whole: Option<&str>, single: &[(String, Value)]) -> Result<Option<Value>, Failure> {
    let whole = whole.map(whole_parameters).transpose()?;
    if single.is_empty() {
        return Ok(whole);
    }
    let mut parameters = match whole {
        None => Map::new(),
        Some(Value::Object(parameters)) => parameters,
        Some(_) => {
            return Err(Failure::Usage(
                "--param can be laid over --params only where that is a JSON object".to_owned(),
            ));
        }
    };
    parameters.extend(single.iter().cloned());
    Ok(Some(Value::Object(parameters)))
}

fn whole_parameters(argument: &str) -> Result<Value, Failure> {
    let (text, source) = if argument == "-" {
        let mut text = String::new();
        std::io::stdin()
            .read_to_string(&mut text)
            .context("cannot read the parameters from stdin")?;
        (text, "stdin")
    } else if let Some(path) = argument.strip_prefix('@') {
        let text = std::fs::read_to_string(path)
            .with_context(|| format!("cannot read the parameters from {path}"))?;
        (text, path)
    } else {
        (argument.to_owned(), "--params")
    };
    serde_json::from_str(&text)
        .map_err(|error| Failure::Usage(format!("the parameters ({source}) are no JSON: {error}")))
}

fn parameter(argument: &str) -> Result<(String, Value), String> {
    let (key, value) = argument
        .split_once('=')
        .filter(|(key, _)| !key.is_empty())
        .ok_or("it is not KEY=VALUE")?;
    let value = serde_json::from_str(value).unwrap_or_else(|_| Value::String(value.to_owned()));
    Ok((key.to_owned(), value))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_value_is_json_or_else_text() {
        let value = |argument: &str| parameter(argument).unwrap().1;
        assert_eq!(value("n=3"), json!(3));
        assert_eq!(value("n=\"3\""), json!("3"));
        assert_eq!(
            value("commands=[\"show version\"]"),
            json!(["show version"])
        );
        assert_eq!(
            value("command=show ip route | include a=b"),
            json!("show ip route | include a=b")
        );
        assert_eq!(value("vlan=010"), json!("010"));
        assert_eq!(value("empty="), json!(""));
        assert!(parameter("novalue").is_err());
        assert!(parameter("=1").is_err());
    }

    #[test]
    fn single_parameters_go_over_the_whole() {
        let single = [parameter("a=2").unwrap(), parameter("b=x").unwrap()];
        assert_eq!(parameters(None, &[]).unwrap(), None);
        assert_eq!(
            parameters(Some(r#"{"a":1,"c":true}"#), &single).unwrap(),
            Some(json!({"a": 2, "c": true, "b": "x"}))
        );
        assert!(matches!(
            parameters(Some("[]"), &single),
            Err(Failure::Usage(_))
        ));
        assert!(matches!(parameters(Some("{"), &[]), Err(Failure::Usage(_))));
    }
}
