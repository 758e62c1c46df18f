//! Rhai's errors as the host's: what went wrong, in which file, line and column, called from where.

use rhai::{Dynamic, EvalAltResult, Map, Position};

use crate::model::{ErrorCode, JobError, LoadError};

/// An error of a capability, as a script catches it: `#{code, message}`.
pub(super) fn thrown(error: JobError) -> Box<EvalAltResult> {
    let stops = [ErrorCode::CANCELLED, ErrorCode::INTERRUPTED];
    if stops.contains(&error.code.0.as_str()) {
        // Cannot be caught: a script has no say in whether it is stopped.
        return Box::new(EvalAltResult::ErrorTerminated(
            error.message.into(),
            Position::NONE,
        ));
    }
    let mut value = Map::new();
    value.insert("code".into(), error.code.0.into());
    value.insert("message".into(), error.message.into());
    Box::new(EvalAltResult::ErrorRuntime(value.into(), Position::NONE))
}

pub(super) fn load_error(file: &str, error: &EvalAltResult) -> LoadError {
    let told = Told::of("describe", error);
    LoadError {
        message: told.message_with_path(),
        file: file.to_owned(),
        line: told.position.line().and_then(|line| line.try_into().ok()),
        column: told
            .position
            .position()
            .and_then(|column| column.try_into().ok()),
    }
}

pub(super) fn job_error(file: &str, error: &EvalAltResult) -> JobError {
    let told = Told::of("run", error);
    let place = match (told.position.line(), told.position.position()) {
        (Some(line), Some(column)) => format!("{file}:{line}:{column}"),
        (Some(line), None) => format!("{file}:{line}"),
        _ => file.to_owned(),
    };
    JobError {
        message: format!("{place}: {}", told.message_with_path()),
        code: told.code,
    }
}

/// An error with the calls around it taken off.
struct Told {
    code: ErrorCode,
    message: String,
    position: Position,
    /// The function that the host called.
    entry: &'static str,
    /// The functions it came through from there, outermost first.
    path: Vec<String>,
}

impl Told {
    fn of(entry: &'static str, error: &EvalAltResult) -> Self {
        let mut path = Vec::new();
        let mut position = Position::NONE;
        let mut inner = error;
        loop {
            // The innermost place that is known.
            if !inner.position().is_none() {
                position = inner.position();
            }
            match inner {
                EvalAltResult::ErrorInFunctionCall(name, _, cause, _) => {
                    path.push(name.clone());
                    inner = cause;
                }
                EvalAltResult::ErrorInModule(_, cause, _) => inner = cause,
                _ => break,
            }
        }
        let (code, message) = code_and_message(inner);
        Self {
            code,
            message,
            position,
            entry,
            path,
        }
    }

    fn message_with_path(&self) -> String {
        if self.path.is_empty() {
            return self.message.clone();
        }
        format!(
            "{} (in {} → {})",
            self.message,
            self.entry,
            self.path.join(" → ")
        )
    }
}

fn code_and_message(error: &EvalAltResult) -> (ErrorCode, String) {
    let script = |message: String| (ErrorCode::from(ErrorCode::SCRIPT), message);
    let limit = |message: String| (ErrorCode::from(ErrorCode::LIMIT), message);
    match error {
        EvalAltResult::ErrorRuntime(thrown, _) => thrown_by_script(thrown),
        EvalAltResult::ErrorTooManyOperations(_) => {
            limit("the script ran more operations than it may".to_owned())
        }
        EvalAltResult::ErrorStackOverflow(_) => {
            limit("the script's functions call one another too deep".to_owned())
        }
        EvalAltResult::ErrorDataTooLarge(what, _) => {
            limit(format!("the script made something too large: {what}"))
        }
        EvalAltResult::ErrorTooManyVariables(_) => {
            limit("the script has too many variables".to_owned())
        }
        EvalAltResult::ErrorModuleNotFound(name, _) => script(format!(
            "there is no module `{name}`; playbooks of this version cannot import any"
        )),
        EvalAltResult::ErrorTooManyModules(_) => {
            script("playbooks of this version cannot import modules".to_owned())
        }
        EvalAltResult::ErrorTerminated(reason, _) => limit(reason.to_string()),
        other => {
            // Without the position that Rhai puts at the end: it is told in front.
            let text = other.to_string();
            let end = text.rfind(" (line ").unwrap_or(text.len());
            script(text[..end].to_owned())
        }
    }
}

/// Whether a script may throw this code: a short word, and none by which the host says that it has
/// stopped a job.
fn is_free(code: &str) -> bool {
    let is_word = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_' || c == '-';
    (1..=64).contains(&code.len())
        && code.chars().all(is_word)
        && ![ErrorCode::CANCELLED, ErrorCode::INTERRUPTED].contains(&code)
}

/// `throw "text"`, `throw #{code, message}`, or anything else.
fn thrown_by_script(thrown: &Dynamic) -> (ErrorCode, String) {
    if let Ok(fields) = thrown.as_map_ref() {
        let text = |name: &str| {
            let value = fields.get(name)?;
            value
                .as_immutable_string_ref()
                .ok()
                .map(|text| text.to_string())
        };
        if let Some(message) = text("message") {
            let code = text("code").filter(|code| is_free(code));
            let code = code.unwrap_or_else(|| ErrorCode::SCRIPT.to_owned());
            return (ErrorCode(code), message);
        }
    }
    (ErrorCode::from(ErrorCode::SCRIPT), thrown.to_string())
}
