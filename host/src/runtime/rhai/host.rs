//! The host API as playbooks see it: `ssh::`, `log::`, `storage::`, `queue::`, and a few functions;
//! what is done with a device is in `host/device.rs`.
//!
//! Every function is a thin binding: arguments in, one capability call, answer out.

#![expect(
    unreachable_pub,
    clippy::unwrap_used,
    reason = "export_module takes the functions that are pub, though the crate shows none of them, and the code it makes for them unwraps"
)]

mod device;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use rhai::plugin::*;
use rhai::{
    Array, Dynamic, Engine, EvalAltResult, FLOAT, INT, ImmutableString, Map, Module, Position,
    Shared,
};

use super::STRING_BYTES;
use super::arguments::{Options, Thrown, duration, invalid, json, texts};
use super::errors::thrown;
use super::values;
use crate::capabilities::{ChildOutcome, Device, JobContext, JobFacts, arguments};
use crate::model::{JobError, LogLevel, Progress};

/// The context of a run, as it travels through the engine to the functions.
#[derive(Clone)]
pub(super) struct Handle {
    job: Arc<JobContext>,
    begun: Instant,
    /// Time spent in the host's functions, nanoseconds.
    waited: Arc<AtomicU64>,
}

impl Handle {
    pub(super) fn new(job: Arc<JobContext>) -> Self {
        Self {
            job,
            begun: Instant::now(),
            waited: Arc::default(),
        }
    }

    pub(super) fn job(&self) -> &JobContext {
        &self.job
    }

    /// How long the script has computed so far: the time it did not wait for the host.
    pub(super) fn computed(&self) -> Duration {
        let waited = Duration::from_nanos(self.waited.load(Ordering::Relaxed));
        self.begun.elapsed().saturating_sub(waited)
    }

    /// Runs a capability call to its end on this thread.
    pub(super) fn wait<T>(
        &self,
        call: impl AsyncFnOnce(&JobContext) -> Result<T, JobError>,
    ) -> Result<T, JobError> {
        let begun = Instant::now();
        let answer = tokio::runtime::Handle::current().block_on(call(&self.job));
        let nanoseconds = u64::try_from(begun.elapsed().as_nanos()).unwrap_or(u64::MAX);
        self.waited.fetch_add(nanoseconds, Ordering::Relaxed);
        answer
    }
}

pub(super) struct HostModules {
    /// Functions and methods without a name before them.
    global: [Shared<Module>; 2],
    named: Vec<(&'static str, Shared<Module>)>,
}

impl HostModules {
    pub(super) fn new() -> Self {
        Self {
            global: [
                exported_module!(global).into(),
                exported_module!(device::methods).into(),
            ],
            named: vec![
                ("ssh", exported_module!(ssh).into()),
                ("log", exported_module!(log).into()),
                ("storage", exported_module!(storage).into()),
                ("queue", exported_module!(queue).into()),
            ],
        }
    }

    pub(super) fn register(&self, engine: &mut Engine) {
        for module in &self.global {
            engine.register_global_module(Shared::clone(module));
        }
        for (name, module) in &self.named {
            engine.register_static_module(*name, Shared::clone(module));
        }
    }
}

/// The `job` that `run(job, params)` gets.
pub(super) fn job_map(job: &JobFacts) -> Map {
    let name = |name: &str| Dynamic::from(name.to_owned());
    let targets: Array = job
        .targets
        .iter()
        .map(|target| name(&target.name))
        .collect();
    let only = job.only_target().map_or(Dynamic::UNIT, name);
    let optional = |text: Option<String>| text.map_or(Dynamic::UNIT, Dynamic::from);
    Map::from([
        ("id".into(), job.id.to_string().into()),
        ("plugin".into(), name(&job.plugin)),
        ("target".into(), only),
        ("targets".into(), targets.into()),
        ("attempt".into(), Dynamic::from(INT::from(job.attempt))),
        (
            "parent_id".into(),
            optional(job.parent_id.map(|id| id.to_string())),
        ),
        ("description".into(), optional(job.description.clone())),
    ])
}

#[export_module]
mod global {
    /// Waits; a job that is cancelled stops waiting at once.
    #[rhai_fn(name = "sleep", return_raw, volatile)]
    pub fn sleep_float(context: NativeCallContext<'_>, seconds: FLOAT) -> Thrown<()> {
        let time = duration("sleep", seconds)?;
        wait(&context, async |job| job.sleep(time).await)
    }

    #[rhai_fn(name = "sleep", return_raw, volatile)]
    pub fn sleep_int(context: NativeCallContext<'_>, seconds: INT) -> Thrown<()> {
        sleep_float(context, seconds as FLOAT)
    }

    /// Says how far the job is: `done` of `total`.
    #[rhai_fn(name = "progress", return_raw, volatile)]
    pub fn progress(context: NativeCallContext<'_>, done: INT, total: INT) -> Thrown<()> {
        set_progress(&context, done, Some(total), None)
    }

    #[rhai_fn(name = "progress", return_raw, volatile)]
    pub fn progress_with(
        context: NativeCallContext<'_>,
        done: INT,
        total: INT,
        message: &str,
    ) -> Thrown<()> {
        set_progress(&context, done, Some(total), Some(message))
    }

    /// The lines in which two texts differ, as a unified diff; empty when they do not.
    #[rhai_fn(name = "diff", return_raw)]
    pub fn diff(old: &str, new: &str) -> Thrown<String> {
        crate::capabilities::unified_diff(old, new).map_err(thrown)
    }

    // The language's own `replace` makes its result before it looks at the limits, so that two
    // texts of a few megabytes could ask for more memory than there is.
    /// Replaces what is found in a text, everywhere.
    #[rhai_fn(name = "replace", return_raw)]
    pub fn replace(text: &mut ImmutableString, find: &str, put: &str) -> Thrown<()> {
        *text = replaced(text, find, put)?.into();
        Ok(())
    }

    #[rhai_fn(name = "replace", return_raw)]
    pub fn replace_char(text: &mut ImmutableString, find: char, put: &str) -> Thrown<()> {
        *text = replaced(text, find.encode_utf8(&mut [0; 4]), put)?.into();
        Ok(())
    }

    /// A text without the lines that begin with one of the prefixes.
    #[rhai_fn(name = "without_lines", return_raw)]
    pub fn without_lines(text: &str, prefixes: Array) -> Thrown<String> {
        let prefixes = texts("without_lines", "a prefix", prefixes)?;
        Ok(crate::capabilities::without_lines(text, &prefixes))
    }

    /// The elements of a whole configuration, as `configure` takes them: lines, and lines with the
    /// text that belongs to them, such as a banner.
    #[rhai_fn(name = "split_config", return_raw)]
    pub fn split_config(platform: &str, text: &str) -> Thrown<Array> {
        let elements = crate::capabilities::split_config(platform, text).map_err(thrown)?;
        Ok(elements.into_iter().map(Dynamic::from).collect())
    }
}

#[export_module]
mod ssh {
    /// Opens a session to the job's only target.
    #[rhai_fn(name = "open", return_raw, volatile)]
    pub fn open_only(context: NativeCallContext<'_>) -> Thrown<Device> {
        wait(&context, async |job| job.ssh_open(None).await)
    }

    /// Opens a session to one of the job's targets.
    #[rhai_fn(name = "open", return_raw, volatile)]
    pub fn open(context: NativeCallContext<'_>, target: &str) -> Thrown<Device> {
        let target = target.to_owned();
        wait(&context, async |job| job.ssh_open(Some(&target)).await)
    }
}

#[export_module]
mod log {
    use crate::model::LogLevel;

    /// Adds a line at a level given by name: "debug", "info", "warn" or "error".
    #[rhai_fn(return_raw, volatile)]
    pub fn write(context: NativeCallContext<'_>, level: &str, message: Dynamic) -> Thrown<()> {
        write_log(
            &context,
            located(&context, named_level(level))?,
            &message,
            None,
        )
    }

    /// With a map of fields beside the message.
    #[rhai_fn(name = "write", return_raw, volatile)]
    pub fn write_with(
        context: NativeCallContext<'_>,
        level: &str,
        message: Dynamic,
        fields: Map,
    ) -> Thrown<()> {
        write_log(
            &context,
            located(&context, named_level(level))?,
            &message,
            Some(fields),
        )
    }

    /// Adds a line to the job's log.
    #[rhai_fn(return_raw, volatile)]
    pub fn info(context: NativeCallContext<'_>, message: Dynamic) -> Thrown<()> {
        write_log(&context, LogLevel::Info, &message, None)
    }

    /// Adds a line of level "warn" to the job's log.
    #[rhai_fn(return_raw, volatile)]
    pub fn warn(context: NativeCallContext<'_>, message: Dynamic) -> Thrown<()> {
        write_log(&context, LogLevel::Warn, &message, None)
    }

    /// Adds a line of level "error" to the job's log.
    #[rhai_fn(return_raw, volatile)]
    pub fn error(context: NativeCallContext<'_>, message: Dynamic) -> Thrown<()> {
        write_log(&context, LogLevel::Error, &message, None)
    }

    #[rhai_fn(name = "info", return_raw, volatile)]
    pub fn info_with(context: NativeCallContext<'_>, message: Dynamic, fields: Map) -> Thrown<()> {
        write_log(&context, LogLevel::Info, &message, Some(fields))
    }

    #[rhai_fn(name = "warn", return_raw, volatile)]
    pub fn warn_with(context: NativeCallContext<'_>, message: Dynamic, fields: Map) -> Thrown<()> {
        write_log(&context, LogLevel::Warn, &message, Some(fields))
    }

    #[rhai_fn(name = "error", return_raw, volatile)]
    pub fn error_with(context: NativeCallContext<'_>, message: Dynamic, fields: Map) -> Thrown<()> {
        write_log(&context, LogLevel::Error, &message, Some(fields))
    }
}

#[export_module]
mod storage {
    /// The value kept under a key, or `()`.
    #[rhai_fn(return_raw, volatile)]
    pub fn get(context: NativeCallContext<'_>, key: &str) -> Thrown<Dynamic> {
        let key = key.to_owned();
        let value = wait(&context, async |job| job.storage_get(&key).await)?;
        Ok(value.as_ref().map_or(Dynamic::UNIT, values::from_json))
    }

    /// Keeps a value under a key.
    #[rhai_fn(return_raw, volatile)]
    pub fn set(context: NativeCallContext<'_>, key: &str, value: Dynamic) -> Thrown<()> {
        let key = key.to_owned();
        let value = located(&context, json("storage::set", &value))?;
        wait(&context, async |job| job.storage_set(&key, &value).await)
    }

    /// Forgets a key; returns whether it was there.
    #[rhai_fn(return_raw, volatile)]
    pub fn delete(context: NativeCallContext<'_>, key: &str) -> Thrown<bool> {
        let key = key.to_owned();
        wait(&context, async |job| job.storage_delete(&key).await)
    }

    /// The keys that begin with a prefix, in order.
    #[rhai_fn(return_raw, volatile)]
    pub fn keys(context: NativeCallContext<'_>, prefix: &str) -> Thrown<Array> {
        let prefix = prefix.to_owned();
        let keys = wait(&context, async |job| job.storage_keys(&prefix).await)?;
        Ok(keys.into_iter().map(Dynamic::from).collect())
    }
}

#[export_module]
mod queue {
    use crate::capabilities::ChildJob;

    /// Submits a child job and returns its id. Options: `targets` (of this job's), `description`.
    #[rhai_fn(return_raw, volatile)]
    pub fn submit(
        context: NativeCallContext<'_>,
        plugin: &str,
        params: Map,
        options: Map,
    ) -> Thrown<String> {
        let child = located(&context, child_of(plugin, params, options))?;
        let id = wait(&context, async |job| job.queue_submit(child).await)?;
        Ok(id.to_string())
    }

    fn child_of(plugin: &str, params: Map, options: Map) -> Thrown<ChildJob> {
        let options = Options::new("queue::submit", options, &["targets", "description"])?;
        Ok(ChildJob {
            plugin: plugin.to_owned(),
            params: json("queue::submit", &params.into())?,
            targets: options.texts("targets")?,
            description: options.text("description")?,
        })
    }

    #[rhai_fn(name = "submit", return_raw, volatile)]
    pub fn submit_plain(
        context: NativeCallContext<'_>,
        plugin: &str,
        params: Map,
    ) -> Thrown<String> {
        submit(context, plugin, params, Map::new())
    }

    /// Waits until a child job has ended: `#{id, status, result, error}`.
    #[rhai_fn(name = "wait", return_raw, volatile)]
    pub fn wait_long(context: NativeCallContext<'_>, id: &str) -> Thrown<Map> {
        wait_for(&context, id, None)
    }

    /// `wait` for at most so many seconds; throws `timeout` after them.
    #[rhai_fn(name = "wait", return_raw, volatile)]
    pub fn wait_at_most(context: NativeCallContext<'_>, id: &str, seconds: FLOAT) -> Thrown<Map> {
        wait_for(&context, id, Some(seconds))
    }

    #[rhai_fn(name = "wait", return_raw, volatile)]
    pub fn wait_at_most_int(context: NativeCallContext<'_>, id: &str, seconds: INT) -> Thrown<Map> {
        wait_at_most(context, id, seconds as FLOAT)
    }
}

/// Runs a capability call to its end on this thread.
fn wait<T>(
    context: &NativeCallContext<'_>,
    call: impl AsyncFnOnce(&JobContext) -> Result<T, JobError>,
) -> Thrown<T> {
    let handle = context
        .tag()
        .and_then(|tag| tag.clone().try_cast::<Handle>());
    let Some(handle) = handle else {
        let message = "describe() says what a plugin is; it cannot call the host".to_owned();
        return located(context, Err(invalid(message)));
    };
    located(context, handle.wait(call).map_err(thrown))
}

fn wait_for(context: &NativeCallContext<'_>, id: &str, seconds: Option<FLOAT>) -> Thrown<Map> {
    let id = arguments::job_id("queue::wait", id).map_err(thrown);
    let id = located(context, id)?;
    let time = arguments::wait_time("queue::wait", seconds).map_err(thrown);
    let time = located(context, time)?;
    let outcome = wait(context, async |job| job.queue_wait(id, time).await)?;
    Ok(outcome_map(outcome))
}

/// Adds the place of the call to an error that has none: the engine does not, for functions of a
/// named module.
fn located<T>(context: &NativeCallContext<'_>, result: Thrown<T>) -> Thrown<T> {
    result.map_err(|mut error| {
        if error.position().is_none() {
            error.set_position(context.call_position());
        }
        error
    })
}

fn replaced(text: &str, find: &str, put: &str) -> Thrown<String> {
    let found = text.matches(find).count();
    let length = text.len() + found * put.len();
    if length > STRING_BYTES {
        let what = "Length of string".to_owned();
        return Err(EvalAltResult::ErrorDataTooLarge(what, Position::NONE).into());
    }
    Ok(text.replace(find, put))
}

fn write_log(
    context: &NativeCallContext<'_>,
    level: LogLevel,
    message: &Dynamic,
    fields: Option<Map>,
) -> Thrown<()> {
    let message = message.to_string();
    let fields = fields.map(|fields| json("log", &fields.into())).transpose();
    let fields = located(context, fields)?;
    wait(context, async |job| job.log(level, &message, fields).await)
}

// Rhai reserves the word `debug`, so that a function of this name cannot stand beside `log::info`.
fn named_level(name: &str) -> Thrown<LogLevel> {
    arguments::level(name).map_err(thrown)
}

fn set_progress(
    context: &NativeCallContext<'_>,
    done: INT,
    total: Option<INT>,
    message: Option<&str>,
) -> Thrown<()> {
    let progress = Progress {
        done: u64::try_from(done).unwrap_or_default(),
        total: total.and_then(|total| u64::try_from(total).ok()),
        message: message.map(str::to_owned),
    };
    wait(context, async |job| job.progress(progress).await)
}

fn outcome_map(outcome: ChildOutcome) -> Map {
    let error = outcome.error.map_or(Dynamic::UNIT, |error| {
        Dynamic::from(Map::from([
            ("code".into(), error.code.0.into()),
            ("message".into(), error.message.into()),
            ("retryable".into(), error.retryable.into()),
        ]))
    });
    let result = outcome
        .result
        .as_ref()
        .map_or(Dynamic::UNIT, values::from_json);
    Map::from([
        ("id".into(), outcome.id.to_string().into()),
        ("status".into(), outcome.status.as_str().into()),
        ("result".into(), result),
        ("error".into(), error),
    ])
}
