//! Converts the engine's errors: names the exceeded limit, or the guest's message and backtrace.

use std::fmt::Write as _;

use wasmtime::component::types::ComponentItem;
use wasmtime::component::{Component, ResourceTableError};
use wasmtime::{Engine, Trap, WasmBacktrace};
use wasmtime_wasi::I32Exit;

use super::bindings::job_scheduler::plugin::types;
use super::guest::{Guest, HANDLES};
use crate::capabilities::StopReason;
use crate::model::{ErrorCode, JobError, LoadError};

/// Maximum number of functions in a backtrace, innermost first.
const FRAMES: usize = 12;
/// Prefixes of the functions through which Rust panics; a backtrace leaves them out.
const PANICKING: [&str; 6] = ["abort", "std::", "core::", "alloc::", "__rustc", "<std::"];
/// The prefix of imports that the host provides.
const OURS: &str = "job-scheduler:plugin/";
const FIRST_BYTES: &[u8] = b"\0asm";
/// The bytes of a component after the magic number: version and layer.
const COMPONENT: &[u8] = &[0x0d, 0x00, 0x01, 0x00];

/// The guest exceeded its CPU budget.
#[derive(Debug, thiserror::Error)]
#[error("out of CPU")]
pub(super) struct OutOfCpu;

/// The job was stopped.
#[derive(Debug, thiserror::Error)]
#[error("stopped")]
pub(super) struct Stopped(pub(super) StopReason);

/// Converts an error that ended a guest's call.
pub(super) fn failed(file: &str, error: &wasmtime::Error, guest: &Guest) -> JobError {
    if let Some(Stopped(reason)) = error.downcast_ref() {
        return (*reason).into();
    }
    let sandbox = &guest.sandbox;
    if error.is::<OutOfCpu>() {
        return placed(file, sandbox.out_of_cpu());
    }
    // After a refused allocation, the guest aborts like in any other crash.
    if guest.memory.refused {
        return placed(file, sandbox.out_of_memory());
    }
    if let Some(I32Exit(code)) = error.downcast_ref() {
        return JobError::new(
            ErrorCode::SCRIPT,
            format!("{file}: exited with code {code}, without a result"),
        );
    }
    if let Some(ResourceTableError::Full) = error.downcast_ref() {
        return placed(file, no_handle(ResourceTableError::Full));
    }
    let backtrace = error.downcast_ref::<WasmBacktrace>();
    let (code, what) = match error.downcast_ref::<Trap>() {
        Some(Trap::StackOverflow) => (
            ErrorCode::LIMIT,
            "too many nested function calls".to_owned(),
        ),
        Some(trap) => (ErrorCode::SCRIPT, trap_message(*trap, guest)),
        None => (ErrorCode::SCRIPT, format!("{:#}", error.root_cause())),
    };
    let mut message = format!("{file}: {what}");
    if let Some(backtrace) = backtrace {
        write_frames(&mut message, backtrace);
    }
    JobError::new(code, message)
}

fn placed(file: &str, error: JobError) -> JobError {
    JobError {
        message: format!("{file}: {}", error.message),
        ..error
    }
}

/// Returns the guest's own message about a crash, or else the engine's.
fn trap_message(trap: Trap, guest: &Guest) -> String {
    let said = guest.output.last_words();
    if let Some(raised) = python_exception(&said) {
        return raised;
    }
    let panicked = said.find("panicked at").map(|at| said[at..].trim());
    match (trap, panicked) {
        (Trap::UnreachableCodeReached, Some(panicked)) => {
            let told = panicked.lines().filter(|line| !line.starts_with("note:"));
            told.collect::<Vec<_>>().join("\n")
        }
        _ => format!("crashed: {trap}"),
    }
}

/// Returns the exception of the last traceback that Python printed, and where it was raised:
/// <https://docs.python.org/3/library/traceback.html>
fn python_exception(said: &str) -> Option<String> {
    let (_, traceback) = said.rsplit_once("Traceback (most recent call last):\n")?;
    let is_inner = |line: &&str| line.starts_with(' ');
    let place = traceback.lines().take_while(is_inner);
    let place = place.filter_map(|line| line.trim_start().strip_prefix("File \""));
    let place = place.last().map(|line| line.replacen('"', "", 1));
    // A multi-line message ends where other output begins.
    let raised = traceback.lines().skip_while(is_inner);
    let raised = raised.take_while(|line| !line.contains("panicked at"));
    let raised = raised.collect::<Vec<_>>().join("\n");
    let raised = raised.trim_end();
    if raised.is_empty() {
        return None;
    }
    Some(match place {
        Some(place) => format!("{raised}\n  in {place}"),
        None => raised.to_owned(),
    })
}

fn write_frames(message: &mut String, backtrace: &WasmBacktrace) {
    let frames = backtrace.frames().iter().map(|frame| {
        let symbol = frame.symbols().first();
        let name = symbol
            .and_then(|symbol| symbol.name())
            .or(frame.func_name())
            .unwrap_or("unnamed function");
        // The alternate form omits the hash suffix.
        (format!("{:#}", rustc_demangle::demangle(name)), symbol)
    });
    let is_panicking = |name: &str| PANICKING.iter().any(|start| name.starts_with(start));
    let frames = frames.skip_while(|(name, _)| is_panicking(name));
    for (name, symbol) in frames.take(FRAMES) {
        let _ = write!(message, "\n  in {name}");
        if let Some((file, line)) = symbol.and_then(|symbol| Some((symbol.file()?, symbol.line()?)))
        {
            let _ = write!(message, " ({file}:{line})");
        }
    }
}

/// Reports that the guest has too many handles, or used an unknown one.
pub(super) fn no_handle(error: ResourceTableError) -> JobError {
    match error {
        ResourceTableError::Full => JobError::new(
            ErrorCode::LIMIT,
            format!("too many handles: at most {HANDLES} per job are allowed; drop some first"),
        ),
        other => JobError::new(ErrorCode::INVALID, format!("invalid handle: {other}")),
    }
}

/// Converts the error that `run` returned.
pub(super) fn thrown(file: &str, error: &types::Error) -> JobError {
    JobError {
        code: ErrorCode::thrown(&error.code),
        message: format!("{file}: {}", error.message),
        retryable: error.retryable,
    }
}

impl From<JobError> for types::Error {
    fn from(error: JobError) -> Self {
        Self {
            code: error.code.0,
            message: error.message,
            retryable: error.retryable,
        }
    }
}

/// Checks that the bytes are a component.
///
/// # Errors
/// Names what the bytes are instead of a component.
pub(super) fn expect_component(file: &str, bytes: &[u8]) -> Result<(), LoadError> {
    let is = if bytes.is_empty() {
        "is empty"
    } else if !bytes.starts_with(FIRST_BYTES) {
        "invalid component: expected WebAssembly, which begins with `\\0asm`"
    } else if bytes.get(4..8) == Some(&[1, 0, 0, 0]) {
        "invalid component: got a core module; build it for wasm32-wasip2, or convert it with \
         `wasm-tools component new`"
    } else if bytes.get(4..8) != Some(COMPONENT) {
        "invalid component: unknown version of WebAssembly"
    } else {
        return Ok(());
    };
    Err(LoadError::new(file, is))
}

/// Returns whether the engine, which has no compiler, did not find the component in its cache.
pub(super) fn is_want_of_compiler(error: &wasmtime::Error) -> bool {
    format!("{error:#}").contains("not configured with a compiler")
}

/// Reports a valid component that exceeds the pool's limits.
pub(super) fn does_not_fit(file: &str, error: &wasmtime::Error) -> LoadError {
    let text = format!("{error:#}");
    let hint = match text.contains("memory has a minimum byte size") {
        true => "; increase plugins.memory_mb",
        false => "",
    };
    LoadError::new(
        file,
        format!("the component exceeds the limits: {text}{hint}"),
    )
}

/// Reports a component with an unknown import or without a required export.
pub(super) fn does_not_link(
    file: &str,
    component: &Component,
    engine: &Engine,
    error: &wasmtime::Error,
) -> LoadError {
    let component = component.component_type();
    let imports: Vec<_> = component
        .imports(engine)
        .map(|(name, _)| name.to_owned())
        .collect();
    let text = format!("{error:#}");
    let missing = imports.iter().find(|name| text.contains(name.as_str()));
    let exported = component
        .exports(engine)
        .any(|(name, item)| is_plugin(name) && is_instance(&item.ty));
    let message = match missing {
        Some(name) if name.starts_with(OURS) => format!(
            "import `{name}` not found, or of another type, in this host; check that the component is \
             not built for a newer host ({text})"
        ),
        Some(name) => format!(
            "import `{name}` is not allowed: a plugin gets clocks, random numbers and `{OURS}` only \
             ({text})"
        ),
        None if !exported => format!(
            "export `{OURS}plugin` not found; build the component for the world `job-plugin`"
        ),
        None => format!("the component does not match the world `job-plugin`: {text}"),
    };
    LoadError::new(file, message)
}

fn is_plugin(name: &str) -> bool {
    name.strip_prefix(OURS)
        .is_some_and(|rest| rest.split('@').next() == Some("plugin"))
}

fn is_instance(item: &ComponentItem) -> bool {
    matches!(item, ComponentItem::ComponentInstance(_))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Output of a component built with componentize-py.
    const TRACEBACK: &str = "\
Traceback (most recent call last):
  File \"/0/app.py\", line 42, in run
    raise ValueError(\"no\\nsuch thing\")
ValueError: no
such thing

thread '<unnamed>' panicked at runtime/src/lib.rs:1293:29:
Python function threw an unexpected exception
note: run with `RUST_BACKTRACE=1` environment variable to display a backtrace
";

    #[test]
    fn an_exception_of_python_is_the_error_with_its_place() {
        assert_eq!(
            python_exception(TRACEBACK).as_deref(),
            Some("ValueError: no\nsuch thing\n  in /0/app.py, line 42, in run")
        );
        assert_eq!(python_exception("thread '<unnamed>' panicked at x"), None);
    }
}
