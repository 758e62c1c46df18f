//! Parameters of a job on the command line.

use std::io::Read as _;

use anyhow::Context as _;
use clap::Args;
use serde_json::{Map, Value};

use super::Failure;
use crate::json::{Flaw, measure, reserved_field};

#[derive(Debug, Args)]
pub(crate) struct ParamArgs {
    /// A parameter; VALUE is JSON if it parses as JSON, otherwise text. Overrides --params; can be
    /// repeated
    #[arg(long = "param", short, value_name = "KEY=VALUE", value_parser = parameter)]
    param: Vec<(String, Value)>,

    /// All parameters as a JSON object, @FILE to read a file, or - for stdin
    #[arg(long, value_name = "JSON|@FILE|-")]
    params: Option<String>,
}

impl ParamArgs {
    /// Returns the parameters as one JSON value, or `None` without any.
    pub(super) fn read(&self) -> Result<Option<Value>, Failure> {
        parameters(self.params.as_deref(), &self.param)
    }
}

/// Merges every `--param` over `--params`.
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
                "--param is allowed with --params only if that is a JSON object".to_owned(),
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
            .context("failed to read the parameters from stdin")?;
        (text, "stdin")
    } else if let Some(path) = argument.strip_prefix('@') {
        let text = std::fs::read_to_string(path)
            .with_context(|| format!("failed to read the parameters from {path}"))?;
        (text, path)
    } else {
        (argument.to_owned(), "--params")
    };
    check_fields(&text)
        .map_err(|error| Failure::Usage(format!("invalid parameters ({source}): {error}")))?;
    serde_json::from_str(&text).map_err(|error| {
        Failure::Usage(format!(
            "invalid parameters ({source}): expected JSON: {error}"
        ))
    })
}

fn parameter(argument: &str) -> Result<(String, Value), String> {
    let (key, value) = argument
        .split_once('=')
        .filter(|(key, _)| !key.is_empty())
        .ok_or("expected KEY=VALUE")?;
    let value = match serde_json::from_str(value) {
        Ok(json) => {
            check_fields(value)?;
            json
        }
        Err(_) => Value::String(value.to_owned()),
    };
    Ok((key.to_owned(), value))
}

/// Rejects fields that serde would silently drop or misread.
fn check_fields(text: &str) -> Result<(), String> {
    if let Some((pointer, message)) = reserved_field(text.as_bytes()) {
        return Err(format!("{pointer}: {message}"));
    }
    match measure(text.as_bytes(), usize::MAX) {
        Err(Flaw::Duplicate(pointer)) => Err(format!("duplicate field {pointer}")),
        Err(Flaw::TooLarge) | Ok(_) => Ok(()),
    }
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
        assert!(parameter("a={\"b\":[{\"c\":1,\"c\":2}]}").is_err());
        assert!(parameter("a={\"$serde_json::private::Number\":\"1\"}").is_err());
        assert!(matches!(
            parameters(Some(r#"{"a":1,"a":2}"#), &[]),
            Err(Failure::Usage(_))
        ));
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
