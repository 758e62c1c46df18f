//! The host API of playbooks: `ssh::`, `log::`, `storage::`, `queue::`, and global functions. Methods of
//! devices are in `host/device.rs`.
//!
//! Every function is a thin binding that converts its arguments, makes one capability call and converts
//! the result.

#![expect(
    unreachable_pub,
    reason = "export_module exports pub functions only, and the crate does not re-export them"
)]

mod device;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use rhai::plugin::*;
use rhai::{Array, Dynamic, Engine, FLOAT, INT, Map, Module, Shared};

use super::arguments::{Options, Thrown, duration, invalid, json, texts};
use super::errors::{ended, thrown};
use super::memory::Meter;
use super::{numbers, texts as text_functions, values};
use crate::capabilities::{ChildOutcome, Device, JobContext, JobFacts, arguments};
use crate::model::{JobError, LogLevel, Progress};
use crate::runtime::Sandbox;

/// The context of a run, which the engine passes to the functions.
#[derive(Clone)]
pub(super) struct Handle {
    job: Arc<JobContext>,
    begun: Instant,
    /// Time spent in host functions, in nanoseconds.
    waited: Arc<AtomicU64>,
    memory: Arc<Meter>,
    sandbox: Sandbox,
}

impl Handle {
    /// Begins a run on the current thread, on which the playbook stays.
    pub(super) fn new(job: Arc<JobContext>, sandbox: Sandbox) -> Self {
        Self {
            job,
            begun: Instant::now(),
            waited: Arc::default(),
            memory: Arc::new(Meter::start(sandbox.memory_bytes)),
            sandbox,
        }
    }

    /// Returns the run that a call belongs to; `None` while `describe()` runs.
    pub(super) fn of(context: &NativeCallContext<'_>) -> Option<Self> {
        context.tag()?.clone().try_cast()
    }

    /// Returns the script's computing time: the time that it did not wait for the host, plus the
    /// time that the host computed on its behalf.
    pub(super) fn computed(&self) -> Duration {
        let waited = Duration::from_nanos(self.waited.load(Ordering::Relaxed));
        let own = self.begun.elapsed().saturating_sub(waited);
        own + self.job.computed()
    }

    /// Returns the reason to end the script now: it was stopped or has used up its computing time.
    pub(super) fn end(&self) -> Option<JobError> {
        if let Some(reason) = self.job.stop().reason() {
            return Some(reason.into());
        }
        (self.computed() > self.sandbox.cpu).then(|| self.sandbox.out_of_cpu())
    }

    /// Returns whether the script exceeds its memory limit.
    pub(super) fn is_out_of_memory(&self) -> bool {
        self.memory.room().is_none()
    }

    /// Checks that the script may allocate `bytes` more.
    ///
    /// # Errors
    /// The memory limit would be exceeded.
    pub(super) fn reserve(&self, bytes: usize) -> Thrown<()> {
        match self.memory.room() {
            Some(room) if room >= bytes => Ok(()),
            _ => Err(ended(self.sandbox.out_of_memory())),
        }
    }

    /// Runs work of the host. Its memory does not count as the script's.
    pub(super) fn exclude<T>(&self, work: impl FnOnce() -> T) -> T {
        self.memory.exclude(work)
    }

    /// Runs a capability call to its end on this thread and converts its answer for the script. The
    /// answer's memory counts as the host's, the converted value's as the script's.
    pub(super) fn answer<T, R>(
        &self,
        call: impl AsyncFnOnce(&JobContext) -> Result<T, JobError>,
        convert: impl FnOnce(&T) -> R,
    ) -> Thrown<R> {
        let begun = Instant::now();
        let runtime = tokio::runtime::Handle::current();
        let answer = self.exclude(|| runtime.block_on(call(&self.job)));
        let nanoseconds = u64::try_from(begun.elapsed().as_nanos()).unwrap_or(u64::MAX);
        self.waited.fetch_add(nanoseconds, Ordering::Relaxed);
        let converted = match &answer {
            Ok(answer) => Ok(convert(answer)),
            Err(error) => Err(thrown(error.clone())),
        };
        self.exclude(|| drop(answer));
        converted
    }
}

pub(super) struct HostModules {
    /// Global functions and methods.
    global: [Shared<Module>; 7],
    named: Vec<(&'static str, Shared<Module>)>,
}

impl HostModules {
    pub(super) fn new() -> Self {
        Self {
            global: [
                exported_module!(global).into(),
                exported_module!(device::methods).into(),
                exported_module!(text_functions::functions).into(),
                exported_module!(numbers::both_big).into(),
                exported_module!(numbers::left_big).into(),
                exported_module!(numbers::right_big).into(),
                exported_module!(numbers::others).into(),
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
        numbers::register(engine);
        for (name, module) in &self.named {
            engine.register_static_module(*name, Shared::clone(module));
        }
    }
}

/// Returns the argument `job` of `run(job, params)`.
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

    /// Reports the job's progress: `done` of `total`.
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

    /// Returns the differences of two texts as a unified diff; an empty text if there are none.
    #[rhai_fn(name = "diff", return_raw)]
    pub fn diff(old: &str, new: &str) -> Thrown<String> {
        crate::capabilities::unified_diff(old, new).map_err(thrown)
    }

    /// Returns a text without the lines that begin with one of the prefixes.
    #[rhai_fn(name = "without_lines", return_raw)]
    pub fn without_lines(text: &str, prefixes: Array) -> Thrown<String> {
        let prefixes = texts("without_lines", "a prefix", prefixes)?;
        Ok(crate::capabilities::without_lines(text, &prefixes))
    }

    /// Splits a whole configuration into elements for `configure`: lines, and lines with the text
    /// that belongs to them, such as a banner.
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
        wait(&context, async |job| job.ssh_open(Some(target)).await)
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

    /// Adds a line with a map of fields.
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
    /// Returns the value stored under a key, or `()`.
    #[rhai_fn(return_raw, volatile)]
    pub fn get(context: NativeCallContext<'_>, key: &str) -> Thrown<Dynamic> {
        let value = answer(
            &context,
            async |job| job.storage_get(key).await,
            |value| value.as_ref().map_or(Ok(Dynamic::UNIT), values::from_json),
        )?;
        let value = value.map_err(|message| {
            invalid(format!("storage::get: the value of `{key}` has {message}"))
        });
        located(&context, value)
    }

    /// Stores a value under a key.
    #[rhai_fn(return_raw, volatile)]
    pub fn set(context: NativeCallContext<'_>, key: &str, value: Dynamic) -> Thrown<()> {
        hand_over(
            &context,
            || json("storage::set", &value),
            async |job, value| job.storage_set(key, &value).await,
        )
    }

    /// Deletes a key; returns whether it existed.
    #[rhai_fn(return_raw, volatile)]
    pub fn delete(context: NativeCallContext<'_>, key: &str) -> Thrown<bool> {
        wait(&context, async |job| job.storage_delete(key).await)
    }

    /// Returns the keys with a prefix, in order.
    #[rhai_fn(return_raw, volatile)]
    pub fn keys(context: NativeCallContext<'_>, prefix: &str) -> Thrown<Array> {
        answer(
            &context,
            async |job| job.storage_keys(prefix).await,
            |keys| keys.iter().cloned().map(Dynamic::from).collect(),
        )
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
        let id = hand_over(
            &context,
            || child_of(plugin, params, options),
            async |job, child| job.queue_submit(child).await,
        )?;
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

    /// Waits until a child job has ended: returns `#{id, status, result, error}`.
    #[rhai_fn(name = "wait", return_raw, volatile)]
    pub fn wait_long(context: NativeCallContext<'_>, id: &str) -> Thrown<Map> {
        wait_for(&context, id, None)
    }

    /// Waits like `wait` for at most this many seconds; throws `timeout` after them.
    #[rhai_fn(name = "wait", return_raw, volatile)]
    pub fn wait_at_most(context: NativeCallContext<'_>, id: &str, seconds: FLOAT) -> Thrown<Map> {
        wait_for(&context, id, Some(seconds))
    }

    #[rhai_fn(name = "wait", return_raw, volatile)]
    pub fn wait_at_most_int(context: NativeCallContext<'_>, id: &str, seconds: INT) -> Thrown<Map> {
        wait_at_most(context, id, seconds as FLOAT)
    }
}

/// Runs a capability call to its end on this thread. For small answers.
fn wait<T: Clone>(
    context: &NativeCallContext<'_>,
    call: impl AsyncFnOnce(&JobContext) -> Result<T, JobError>,
) -> Thrown<T> {
    answer(context, call, T::clone)
}

/// Runs a capability call to its end on this thread and converts its answer for the script.
fn answer<T, R>(
    context: &NativeCallContext<'_>,
    call: impl AsyncFnOnce(&JobContext) -> Result<T, JobError>,
    convert: impl FnOnce(&T) -> R,
) -> Thrown<R> {
    let handle = located(context, running(context))?;
    located(context, handle.answer(call, convert))
}

/// Builds an argument as the host's memory, then runs a capability call with it.
fn hand_over<A, T: Clone>(
    context: &NativeCallContext<'_>,
    make: impl FnOnce() -> Thrown<A>,
    call: impl AsyncFnOnce(&JobContext, A) -> Result<T, JobError>,
) -> Thrown<T> {
    let handle = located(context, running(context))?;
    let made = located(context, handle.exclude(make))?;
    located(
        context,
        handle.answer(async |job| call(job, made).await, T::clone),
    )
}

fn running(context: &NativeCallContext<'_>) -> Thrown<Handle> {
    Handle::of(context)
        .ok_or_else(|| invalid("describe() is not allowed to call the host".to_owned()))
}

fn wait_for(context: &NativeCallContext<'_>, id: &str, seconds: Option<FLOAT>) -> Thrown<Map> {
    let id = arguments::job_id("queue::wait", id).map_err(thrown);
    let id = located(context, id)?;
    let time = arguments::wait_time("queue::wait", seconds).map_err(thrown);
    let time = located(context, time)?;
    let outcome = answer(
        context,
        async |job| job.queue_wait(id, time).await,
        outcome_map,
    )?;
    located(context, outcome)
}

/// Adds the position of the call to an error without one: the engine does not, for functions of a
/// named module.
fn located<T>(context: &NativeCallContext<'_>, result: Thrown<T>) -> Thrown<T> {
    result.map_err(|mut error| {
        if error.position().is_none() {
            error.set_position(context.call_position());
        }
        error
    })
}

fn write_log(
    context: &NativeCallContext<'_>,
    level: LogLevel,
    message: &Dynamic,
    fields: Option<Map>,
) -> Thrown<()> {
    let message = message.to_string();
    hand_over(
        context,
        || fields.map(|fields| json("log", &fields.into())).transpose(),
        async |job, fields| job.log(level, &message, fields).await,
    )
}

// Rhai reserves the word `debug`, so `log::debug` cannot exist beside `log::info`.
fn named_level(name: &str) -> Thrown<LogLevel> {
    arguments::level(name).map_err(thrown)
}

fn set_progress(
    context: &NativeCallContext<'_>,
    done: INT,
    total: Option<INT>,
    message: Option<&str>,
) -> Thrown<()> {
    let progress = || Progress {
        done: u64::try_from(done).unwrap_or_default(),
        total: total.and_then(|total| u64::try_from(total).ok()),
        message: message.map(str::to_owned),
    };
    wait(context, async |job| job.progress(progress()).await)
}

/// Converts a child's outcome to a map.
///
/// # Errors
/// The child's result contains a number that the language cannot express.
fn outcome_map(outcome: &ChildOutcome) -> Thrown<Map> {
    let error = outcome.error.as_ref().map_or(Dynamic::UNIT, |error| {
        Dynamic::from(Map::from([
            ("code".into(), error.code.0.clone().into()),
            ("message".into(), error.message.clone().into()),
            ("retryable".into(), error.retryable.into()),
        ]))
    });
    let result = outcome.result.as_ref();
    let result = result.map_or(Ok(Dynamic::UNIT), values::from_json);
    let result = result.map_err(|message| {
        invalid(format!(
            "queue::wait: the result of the child job has {message}"
        ))
    })?;
    Ok(Map::from([
        ("id".into(), outcome.id.to_string().into()),
        ("status".into(), outcome.status.as_str().into()),
        ("result".into(), result),
        ("error".into(), error),
    ]))
}
