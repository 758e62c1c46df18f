//! Answers to login questions, for `add` and `edit`. Secret answers come from a file, because the
//! process list and the shell history show arguments.

use std::path::{Path, PathBuf};

use clap::Args;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::cli::{Failure, secrets};
use crate::wire::LoginAnswerResponse;

#[derive(Debug, Args)]
pub(super) struct AnswerArgs {
    /// An answer that is not secret to a question at login: a regular expression and a text; can be
    /// repeated
    #[arg(long = "answer", value_name = "QUESTION=TEXT")]
    answers: Vec<String>,

    /// A TOML or JSON file of answers to questions at login, including secret ones
    #[arg(long, value_name = "FILE")]
    answer_file: Option<PathBuf>,
}

/// A file of answers: entries in the API's form under `answers`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct AnswerFile {
    answers: Vec<Value>,
}

impl AnswerArgs {
    /// Returns the answers in the API's form, or `None` without flags.
    pub(super) fn read(&self) -> Result<Option<Vec<Value>>, Failure> {
        if self.answers.is_empty() && self.answer_file.is_none() {
            return Ok(None);
        }
        let mut answers = match &self.answer_file {
            Some(path) => in_file(path)?,
            None => Vec::new(),
        };
        for given in &self.answers {
            let (question, text) = given.split_once('=').ok_or_else(|| {
                Failure::Usage(format!(
                    "invalid --answer: expected QUESTION=TEXT, got {given:?}"
                ))
            })?;
            answers.push(json!({ "question": question, "answer": text, "secret": false }));
        }
        Ok(Some(answers))
    }

    /// Returns whether a file was given, which may contain secrets.
    pub(super) fn has_file(&self) -> bool {
        self.answer_file.is_some()
    }
}

fn in_file(path: &Path) -> Result<Vec<Value>, Failure> {
    let text = secrets::read(path)?;
    let shown = path.display();
    let is_json = path
        .extension()
        .is_some_and(|extension| extension == "json");
    // A parse error may quote the file, which contains secrets, so only its position is shown.
    let file: AnswerFile = if is_json {
        let value: Value = serde_json::from_str(&text).map_err(|error| {
            let (line, column) = (error.line(), error.column());
            Failure::Usage(format!(
                "failed to read {shown}: not valid JSON at line {line}, column {column}"
            ))
        })?;
        serde_json::from_value(value).map_err(|_| ())
    } else {
        let table: toml::Table = toml::from_str(&text).map_err(|error| {
            let start = error.span().map_or(0, |span| span.start);
            let before = text.get(..start).unwrap_or_default();
            let line = before.matches('\n').count() + 1;
            let column = before
                .rsplit('\n')
                .next()
                .unwrap_or_default()
                .chars()
                .count()
                + 1;
            Failure::Usage(format!(
                "failed to read {shown}: not valid TOML at line {line}, column {column}"
            ))
        })?;
        table.try_into().map_err(|_| ())
    }
    .map_err(|()| Failure::Usage(format!("failed to read {shown}: {EXPECTED}")))?;
    if file.answers.iter().any(|answer| !answer.is_object()) {
        return Err(Failure::Usage(format!(
            "failed to read {shown}: {EXPECTED}"
        )));
    }
    Ok(file.answers)
}

const EXPECTED: &str = "expected `answers`, a list of tables with `question` and one of `answer`, \
                        `credential` and `set`";

/// Describes an answer for `connection show`.
pub(super) fn shown(answer: &LoginAnswerResponse) -> String {
    let value = match (&answer.answer, answer.credential) {
        (Some(text), _) => format!("{text:?}"),
        (None, Some(credential)) => format!("the {}", credential.as_str()),
        (None, None) => "(hidden)".to_owned(),
    };
    let key = if answer.key { " (one key)" } else { "" };
    format!("{} -> {value}{key}", answer.question)
}
