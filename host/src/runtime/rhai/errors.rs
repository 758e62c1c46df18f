//! Converts Rhai's errors: the message, its file, line and column, and the call path.

use rhai::{Dynamic, EvalAltResult, Map, Position};

use crate::model::{ErrorCode, JobError, LoadError};

/// Converts a capability's error for scripts, which catch it as `#{code, message, retryable}`.
pub(super) fn thrown(error: JobError) -> Box<EvalAltResult> {
    let stops = [ErrorCode::CANCELLED, ErrorCode::INTERRUPTED];
    if stops.contains(&error.code.0.as_str()) {
        return ended(error);
    }
    let mut value = Map::new();
    value.insert("code".into(), error.code.0.into());
    value.insert("message".into(), error.message.into());
    value.insert("retryable".into(), error.retryable.into());
    Box::new(EvalAltResult::ErrorRuntime(value.into(), Position::NONE))
}

/// Returns an error that a script cannot catch, because a script must not prevent its stop.
pub(super) fn ended(error: JobError) -> Box<EvalAltResult> {
    Box::new(EvalAltResult::ErrorTerminated(
        Dynamic::from(error),
        Position::NONE,
    ))
}

pub(super) fn load_error(file: &str, entry: &'static str, error: &EvalAltResult) -> LoadError {
    let unwound = UnwoundError::of(entry, error);
    let file = unwound.file.as_deref().unwrap_or(file);
    at(file, unwound.position, unwound.message_with_path())
}

/// Returns an error at a position of a file.
pub(super) fn at(file: &str, position: Position, message: String) -> LoadError {
    let number = |number: Option<usize>| number.and_then(|number| number.try_into().ok());
    LoadError {
        message,
        file: file.to_owned(),
        line: number(position.line()),
        column: number(position.position()),
    }
}

pub(super) fn job_error(file: &str, error: &EvalAltResult) -> JobError {
    let unwound = UnwoundError::of("run", error);
    let file = unwound.file.as_deref().unwrap_or(file);
    let place = match (unwound.position.line(), unwound.position.position()) {
        (Some(line), Some(column)) => format!("{file}:{line}:{column}"),
        (Some(line), None) => format!("{file}:{line}"),
        _ => file.to_owned(),
    };
    JobError {
        message: format!("{place}: {}", unwound.message_with_path()),
        ..unwound.error
    }
}

/// An error with its enclosing calls unwound.
struct UnwoundError {
    error: JobError,
    /// The module where it happened; `None` for the playbook itself.
    file: Option<String>,
    position: Position,
    /// The function that the host called.
    entry: &'static str,
    /// The functions called from there on, outermost first.
    path: Vec<String>,
}

impl UnwoundError {
    fn of(entry: &'static str, error: &EvalAltResult) -> Self {
        let mut path = Vec::new();
        let mut position = Position::NONE;
        let mut file = None;
        let mut inner = error;
        loop {
            // Keep the innermost known position.
            if !inner.position().is_none() {
                position = inner.position();
            }
            match inner {
                EvalAltResult::ErrorInFunctionCall(name, source, cause, _) => {
                    path.push(name.clone());
                    file = (!source.is_empty()).then(|| source.clone()).or(file);
                    inner = cause;
                }
                EvalAltResult::ErrorInModule(_, cause, _) => inner = cause,
                _ => break,
            }
        }
        Self {
            error: cause(inner),
            file,
            position,
            entry,
            path,
        }
    }

    fn message_with_path(&self) -> String {
        if self.path.is_empty() {
            return self.error.message.clone();
        }
        format!(
            "{} (in {} → {})",
            self.error.message,
            self.entry,
            self.path.join(" → ")
        )
    }
}

fn cause(error: &EvalAltResult) -> JobError {
    let script = |message: String| JobError::new(ErrorCode::SCRIPT, message);
    let limit = |message: String| JobError::new(ErrorCode::LIMIT, message);
    match error {
        EvalAltResult::ErrorRuntime(thrown, _) => thrown_by_script(thrown),
        EvalAltResult::ErrorTooManyOperations(_) => limit("too many operations".to_owned()),
        EvalAltResult::ErrorStackOverflow(_) => limit("too many nested function calls".to_owned()),
        EvalAltResult::ErrorDataTooLarge(what, _) => limit(format!("value too large: {what}")),
        EvalAltResult::ErrorTooManyVariables(_) => limit("too many variables".to_owned()),
        EvalAltResult::ErrorModuleNotFound(name, _) => script(format!("module `{name}` not found")),
        EvalAltResult::ErrorTooManyModules(_) => limit("too many imported modules".to_owned()),
        EvalAltResult::ErrorTerminated(reason, _) => reason
            .clone()
            .try_cast::<JobError>()
            .unwrap_or_else(|| limit(reason.to_string())),
        other => {
            // Remove the position that Rhai appends, because it is shown before the message.
            let text = other.to_string();
            let end = text.rfind(" (line ").unwrap_or(text.len());
            script(text[..end].to_owned())
        }
    }
}

/// Converts `throw "text"`, `throw #{code, message, retryable}`, or any other thrown value.
fn thrown_by_script(thrown: &Dynamic) -> JobError {
    if let Ok(fields) = thrown.as_map_ref() {
        let text = |name: &str| {
            let value = fields.get(name)?;
            value
                .as_immutable_string_ref()
                .ok()
                .map(|text| text.to_string())
        };
        if let Some(message) = text("message") {
            let code = ErrorCode::thrown(text("code").as_deref().unwrap_or_default());
            let mut error = JobError::new(&code.0, message);
            let said = fields.get("retryable").and_then(|flag| flag.as_bool().ok());
            error.retryable = said.unwrap_or(error.retryable);
            return error;
        }
    }
    JobError::new(ErrorCode::SCRIPT, thrown.to_string())
}
