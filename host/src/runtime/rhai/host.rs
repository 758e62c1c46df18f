//! The host API as playbooks see it: `ssh::`, `log::`, `storage::`, `queue::`, and a few functions.
//!
//! Every function is a thin binding: arguments in, one capability call, answer out.

#![expect(
    unreachable_pub,
    clippy::unwrap_used,
    reason = "export_module takes the functions that are pub, though the crate shows none of them, and the code it makes for them unwraps"
)]

use std::sync::Arc;
use std::time::Duration;

use rhai::plugin::*;
use rhai::{
    Array, Dynamic, Engine, EvalAltResult, FLOAT, INT, ImmutableString, Map, Module, Position,
    Shared,
};

use super::STRING_BYTES;
use super::arguments::{Options, Thrown, duration, invalid, json, texts};
use super::errors::thrown;
use super::values;
use crate::capabilities::{
    ChildOutcome, CommitOptions, ConfigureOptions, Device, ExecReply, JobContext, JobFacts,
    OnRefused, Question,
};
use crate::model::{JobError, LogLevel, Progress};

/// The context of a run, as it travels through the engine to the functions.
#[derive(Clone)]
pub(super) struct Handle(pub(super) Arc<JobContext>);

pub(super) struct HostModules {
    global: Shared<Module>,
    named: Vec<(&'static str, Shared<Module>)>,
}

impl HostModules {
    pub(super) fn new() -> Self {
        Self {
            global: exported_module!(global).into(),
            named: vec![
                ("ssh", exported_module!(ssh).into()),
                ("log", exported_module!(log).into()),
                ("storage", exported_module!(storage).into()),
                ("queue", exported_module!(queue).into()),
            ],
        }
    }

    pub(super) fn register(&self, engine: &mut Engine) {
        engine.register_global_module(Shared::clone(&self.global));
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
    let only = match job.targets.as_slice() {
        [only] => name(&only.name),
        _ => Dynamic::UNIT,
    };
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
        wait(&context, |job| async move { job.sleep(time).await })
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

    /// The records in a command's output, by the operator's templates for the platform: an array of
    /// maps.
    #[rhai_fn(name = "parse", return_raw, volatile)]
    pub fn parse(
        context: NativeCallContext<'_>,
        platform: &str,
        command: &str,
        output: &str,
    ) -> Thrown<Dynamic> {
        let (platform, command) = (platform.to_owned(), command.to_owned());
        let output = output.to_owned();
        let records = wait(&context, |job| async move {
            job.parse(&platform, &command, output).await
        })?;
        Ok(values::from_json(&records))
    }

    /// `parse` of a reply of this device.
    #[rhai_fn(name = "parse", pure, return_raw, volatile)]
    pub fn parse_reply(
        context: NativeCallContext<'_>,
        device: &mut Device,
        reply: Map,
    ) -> Thrown<Dynamic> {
        let text = |name: &str| {
            reply
                .get(name)
                .and_then(|value| value.clone().into_string().ok())
                .ok_or_else(|| invalid("parse: takes a reply, as exec answers it".to_owned()))
        };
        let (command, output) = (text("command")?, text("output")?);
        let platform = device.platform().to_owned();
        parse(context, &platform, &command, &output)
    }

    #[rhai_fn(get = "target", pure)]
    pub fn target(device: &mut Device) -> String {
        device.target().to_owned()
    }

    #[rhai_fn(get = "platform", pure)]
    pub fn platform(device: &mut Device) -> String {
        device.platform().to_owned()
    }

    /// The prompt that the device showed last.
    #[rhai_fn(get = "prompt", pure)]
    pub fn prompt(device: &mut Device) -> String {
        device.prompt()
    }

    /// Runs a command. The answer has `output`, `ok`, `failure` (the device's words of refusal, or
    /// `()`), `exit_code` (or `()`), `elapsed_ms`, `truncated` and `command`.
    #[rhai_fn(name = "exec", pure, return_raw, volatile)]
    pub fn exec(context: NativeCallContext<'_>, device: &mut Device, command: &str) -> Thrown<Map> {
        run_command(&context, device, command, None)
    }

    /// `exec` with `#{timeout: seconds}`.
    #[rhai_fn(name = "exec", pure, return_raw, volatile)]
    pub fn exec_with(
        context: NativeCallContext<'_>,
        device: &mut Device,
        command: &str,
        options: Map,
    ) -> Thrown<Map> {
        let options = Options::new("exec", options, &["timeout"])?;
        let timeout = options.duration("timeout")?;
        run_command(&context, device, command, timeout)
    }

    /// Runs commands in one go, where the platform allows it with one round trip for all of them;
    /// answers with their replies, in order. A refused one does not stop those after it.
    #[rhai_fn(name = "exec_all", pure, return_raw, volatile)]
    pub fn exec_all(
        context: NativeCallContext<'_>,
        device: &mut Device,
        commands: Array,
    ) -> Thrown<Array> {
        let commands = texts("exec_all", "a command", commands)?;
        let device = device.clone();
        let replies = wait(&context, |job| async move {
            job.ssh_exec_all(&device, &commands).await
        })?;
        Ok(replies
            .into_iter()
            .map(|reply| reply_map(reply).into())
            .collect())
    }

    /// Runs a command that asks questions: `[#{expect: "pattern", answer: "text"}, …]`. Each
    /// answer is used once; the job's results do not show it.
    #[rhai_fn(name = "send_interactive", pure, return_raw, volatile)]
    pub fn send_interactive(
        context: NativeCallContext<'_>,
        device: &mut Device,
        command: &str,
        questions: Array,
    ) -> Thrown<Map> {
        send_interactive_with(context, device, command, questions, Map::new())
    }

    /// `send_interactive` with `#{timeout: seconds}`.
    #[rhai_fn(name = "send_interactive", pure, return_raw, volatile)]
    pub fn send_interactive_with(
        context: NativeCallContext<'_>,
        device: &mut Device,
        command: &str,
        questions: Array,
        options: Map,
    ) -> Thrown<Map> {
        let options = Options::new("send_interactive", options, &["timeout"])?;
        let timeout = options.duration("timeout")?;
        let questions = questions
            .into_iter()
            .map(question)
            .collect::<Thrown<Vec<_>>>()?;
        let (device, command) = (device.clone(), command.to_owned());
        let reply = wait(&context, |job| async move {
            job.ssh_interact(&device, &command, &questions, timeout)
                .await
        })?;
        Ok(reply_map(reply))
    }

    /// What the device says of itself, as far as its platform knows where to look: `hostname`,
    /// `version`, `model`, `serial`, `uptime`.
    #[rhai_fn(name = "facts", pure, return_raw, volatile)]
    pub fn facts(context: NativeCallContext<'_>, device: &mut Device) -> Thrown<Map> {
        let device = device.clone();
        let facts = wait(&context, |job| async move { job.ssh_facts(&device).await })?;
        Ok(facts
            .into_iter()
            .map(|(name, value)| (name.into(), value.into()))
            .collect())
    }

    /// Enters configuration mode, sends the lines, makes them take effect (where the platform has
    /// a candidate, by a commit), leaves the mode again. Throws `refused` at the first line that
    /// the device refuses, or when it refuses the commit. Answers with `lines`, `refused`, `diff`
    /// (or `()`) and `in_effect`.
    #[rhai_fn(name = "configure", pure, return_raw, volatile)]
    pub fn configure(
        context: NativeCallContext<'_>,
        device: &mut Device,
        lines: Array,
    ) -> Thrown<Map> {
        send_lines(&context, device, lines, ConfigureOptions::default())
    }

    /// `configure` with `#{on_refused: "stop" | "continue", commit: true | false, confirm:
    /// seconds, comment: "text"}`.
    #[rhai_fn(name = "configure", pure, return_raw, volatile)]
    pub fn configure_with(
        context: NativeCallContext<'_>,
        device: &mut Device,
        lines: Array,
        options: Map,
    ) -> Thrown<Map> {
        let known = ["on_refused", "commit", "confirm", "comment"];
        let options = Options::new("configure", options, &known)?;
        let on_refused = match options.text("on_refused")?.as_deref() {
            None | Some("stop") => OnRefused::Stop,
            Some("continue") => OnRefused::Continue,
            Some(other) => {
                let message =
                    format!("configure: on_refused is \"stop\" or \"continue\", not \"{other}\"");
                return Err(invalid(message));
            }
        };
        let options = ConfigureOptions {
            on_refused,
            stage: options.flag("commit")? == Some(false),
            commit: commit_options(&options)?,
        };
        send_lines(&context, device, lines, options)
    }

    /// Makes what `configure` left uncommitted take effect, or confirms a commit that the device
    /// would take back.
    #[rhai_fn(name = "commit", pure, return_raw, volatile)]
    pub fn commit(context: NativeCallContext<'_>, device: &mut Device) -> Thrown<Map> {
        commit_with(context, device, Map::new())
    }

    /// `commit` with `#{confirm: seconds, comment: "text"}`.
    #[rhai_fn(name = "commit", pure, return_raw, volatile)]
    pub fn commit_with(
        context: NativeCallContext<'_>,
        device: &mut Device,
        options: Map,
    ) -> Thrown<Map> {
        let options = Options::new("commit", options, &["confirm", "comment"])?;
        let options = commit_options(&options)?;
        let device = device.clone();
        let reply = wait(&context, |job| async move {
            job.ssh_commit(&device, options).await
        })?;
        Ok(reply_map(reply))
    }

    /// Throws away what `configure` left uncommitted; without that, takes the device back to its
    /// configuration before the last commit.
    #[rhai_fn(name = "rollback", pure, return_raw, volatile)]
    pub fn rollback(context: NativeCallContext<'_>, device: &mut Device) -> Thrown<Map> {
        roll_back(&context, device, None)
    }

    /// Takes the device back to its configuration of so many commits ago.
    #[rhai_fn(name = "rollback", pure, return_raw, volatile)]
    pub fn rollback_to(
        context: NativeCallContext<'_>,
        device: &mut Device,
        number: INT,
    ) -> Thrown<Map> {
        let number = u32::try_from(number)
            .map_err(|_| invalid(format!("rollback: {number} is no number of commits")))?;
        roll_back(&context, device, Some(number))
    }

    /// Makes the running configuration the one the device starts with.
    #[rhai_fn(name = "save", pure, return_raw, volatile)]
    pub fn save(context: NativeCallContext<'_>, device: &mut Device) -> Thrown<Map> {
        let device = device.clone();
        let reply = wait(&context, |job| async move { job.ssh_save(&device).await })?;
        Ok(reply_map(reply))
    }

    /// Writes a file of the operator's directory to the device. Answers with `bytes`, `sha256`,
    /// `elapsed_ms` and `protocol`.
    #[rhai_fn(name = "upload", pure, return_raw, volatile)]
    pub fn upload(
        context: NativeCallContext<'_>,
        device: &mut Device,
        file: &str,
        remote: &str,
    ) -> Thrown<Map> {
        let (device, file, remote) = (device.clone(), file.to_owned(), remote.to_owned());
        let transfer = wait(&context, |job| async move {
            job.ssh_upload(&device, &file, &remote).await
        })?;
        Ok(transfer_map(&transfer))
    }

    /// Writes a file of the device into the operator's directory.
    #[rhai_fn(name = "download", pure, return_raw, volatile)]
    pub fn download(
        context: NativeCallContext<'_>,
        device: &mut Device,
        remote: &str,
        file: &str,
    ) -> Thrown<Map> {
        let (device, remote, file) = (device.clone(), remote.to_owned(), file.to_owned());
        let transfer = wait(&context, |job| async move {
            job.ssh_download(&device, &remote, &file).await
        })?;
        Ok(transfer_map(&transfer))
    }

    /// Closes the session. What a job leaves open is closed when it ends.
    #[rhai_fn(name = "close", pure, return_raw, volatile)]
    pub fn close(context: NativeCallContext<'_>, device: &mut Device) -> Thrown<()> {
        let device = device.clone();
        wait(&context, |job| async move {
            job.ssh_close(&device).await;
            Ok(())
        })
    }
}

#[export_module]
mod ssh {
    /// Opens a session to the job's only target.
    #[rhai_fn(name = "open", return_raw, volatile)]
    pub fn open_only(context: NativeCallContext<'_>) -> Thrown<Device> {
        wait(&context, |job| async move { job.ssh_open(None).await })
    }

    /// Opens a session to one of the job's targets.
    #[rhai_fn(name = "open", return_raw, volatile)]
    pub fn open(context: NativeCallContext<'_>, target: &str) -> Thrown<Device> {
        let target = target.to_owned();
        wait(
            &context,
            |job| async move { job.ssh_open(Some(&target)).await },
        )
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

    #[rhai_fn(return_raw, volatile)]
    pub fn info(context: NativeCallContext<'_>, message: Dynamic) -> Thrown<()> {
        write_log(&context, LogLevel::Info, &message, None)
    }

    #[rhai_fn(return_raw, volatile)]
    pub fn warn(context: NativeCallContext<'_>, message: Dynamic) -> Thrown<()> {
        write_log(&context, LogLevel::Warn, &message, None)
    }

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
        let value = wait(&context, |job| async move { job.storage_get(&key).await })?;
        Ok(value.as_ref().map_or(Dynamic::UNIT, values::from_json))
    }

    /// Keeps a value under a key.
    #[rhai_fn(return_raw, volatile)]
    pub fn set(context: NativeCallContext<'_>, key: &str, value: Dynamic) -> Thrown<()> {
        let key = key.to_owned();
        let value = located(&context, json("storage::set", &value))?;
        wait(&context, |job| async move {
            job.storage_set(&key, &value).await
        })
    }

    /// Forgets a key; returns whether it was there.
    #[rhai_fn(return_raw, volatile)]
    pub fn delete(context: NativeCallContext<'_>, key: &str) -> Thrown<bool> {
        let key = key.to_owned();
        wait(
            &context,
            |job| async move { job.storage_delete(&key).await },
        )
    }

    /// The keys that begin with a prefix, in order.
    #[rhai_fn(return_raw, volatile)]
    pub fn keys(context: NativeCallContext<'_>, prefix: &str) -> Thrown<Array> {
        let prefix = prefix.to_owned();
        let keys = wait(
            &context,
            |job| async move { job.storage_keys(&prefix).await },
        )?;
        Ok(keys.into_iter().map(Dynamic::from).collect())
    }
}

#[export_module]
mod queue {
    use uuid::Uuid;

    use crate::capabilities::ChildJob;

    /// How long `wait` waits when it is not told, seconds: as long as a job may take at most.
    const LONGEST_WAIT: FLOAT = 604_800.0;

    /// Submits a child job and returns its id. Options: `targets` (of this job's), `description`.
    #[rhai_fn(return_raw, volatile)]
    pub fn submit(
        context: NativeCallContext<'_>,
        plugin: &str,
        params: Map,
        options: Map,
    ) -> Thrown<String> {
        let child = located(&context, child_of(plugin, params, options))?;
        let id = wait(&context, |job| async move { job.queue_submit(child).await })?;
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
        wait_at_most(context, id, LONGEST_WAIT)
    }

    /// `wait` for at most so many seconds; throws `timeout` after them.
    #[rhai_fn(name = "wait", return_raw, volatile)]
    pub fn wait_at_most(context: NativeCallContext<'_>, id: &str, seconds: FLOAT) -> Thrown<Map> {
        let time = located(&context, duration("queue::wait", seconds))?;
        let id = Uuid::parse_str(id)
            .map_err(|_| invalid(format!("queue::wait: `{id}` is not a job's id")));
        let id = located(&context, id)?;
        let outcome = wait(
            &context,
            |job| async move { job.queue_wait(id, time).await },
        )?;
        Ok(outcome_map(outcome))
    }

    #[rhai_fn(name = "wait", return_raw, volatile)]
    pub fn wait_at_most_int(context: NativeCallContext<'_>, id: &str, seconds: INT) -> Thrown<Map> {
        wait_at_most(context, id, seconds as FLOAT)
    }
}

/// Runs a capability call to its end on this thread.
fn wait<T, F>(context: &NativeCallContext<'_>, call: impl FnOnce(Arc<JobContext>) -> F) -> Thrown<T>
where
    F: Future<Output = Result<T, JobError>>,
{
    let handle = context
        .tag()
        .and_then(|tag| tag.clone().try_cast::<Handle>());
    let Some(Handle(job)) = handle else {
        let message = "describe() says what a plugin is; it cannot call the host".to_owned();
        return located(context, Err(invalid(message)));
    };
    let runtime = tokio::runtime::Handle::current();
    let answer = runtime.block_on(call(job)).map_err(thrown);
    located(context, answer)
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

fn run_command(
    context: &NativeCallContext<'_>,
    device: &Device,
    command: &str,
    timeout: Option<Duration>,
) -> Thrown<Map> {
    let (device, command) = (device.clone(), command.to_owned());
    let reply = wait(context, |job| async move {
        job.ssh_exec(&device, &command, timeout).await
    })?;
    Ok(reply_map(reply))
}

fn question(written: Dynamic) -> Thrown<Question> {
    let kind = written.type_name();
    let fields = written.try_cast::<Map>().ok_or_else(|| {
        invalid(format!(
            "send_interactive: a question is #{{expect, answer}}, not {kind}"
        ))
    })?;
    let fields = Options::new("send_interactive", fields, &["expect", "answer"])?;
    Ok(Question {
        expect: fields.required_text("expect")?,
        answer: fields.required_text("answer")?.into(),
    })
}

fn commit_options(options: &Options) -> Thrown<CommitOptions> {
    Ok(CommitOptions {
        confirm_within: options.duration("confirm")?,
        comment: options.text("comment")?,
    })
}

fn roll_back(context: &NativeCallContext<'_>, device: &Device, number: Option<u32>) -> Thrown<Map> {
    let device = device.clone();
    let reply = wait(context, |job| async move {
        job.ssh_rollback(&device, number).await
    })?;
    Ok(reply_map(reply))
}

fn send_lines(
    context: &NativeCallContext<'_>,
    device: &Device,
    lines: Array,
    options: ConfigureOptions,
) -> Thrown<Map> {
    let lines = texts("configure", "a line", lines)?;
    let device = device.clone();
    let configured = wait(context, |job| async move {
        job.ssh_configure(&device, &lines, options).await
    })?;
    let replies = configured.replies;
    let sent = INT::try_from(replies.len()).unwrap_or(INT::MAX);
    let refused = replies.into_iter().filter(|reply| reply.failure.is_some());
    let refused: Array = refused.map(|reply| reply_map(reply).into()).collect();
    Ok(Map::from([
        ("lines".into(), sent.into()),
        ("refused".into(), refused.into()),
        (
            "diff".into(),
            configured.diff.map_or(Dynamic::UNIT, Dynamic::from),
        ),
        ("in_effect".into(), configured.in_effect.into()),
    ]))
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
    wait(context, |job| async move {
        job.log(level, &message, fields).await
    })
}

// Rhai reserves the word `debug`, so that a function of this name cannot stand beside `log::info`.
fn named_level(name: &str) -> Thrown<LogLevel> {
    LogLevel::parse(name).ok_or_else(|| {
        invalid(format!(
            "log::write: a level is \"debug\", \"info\", \"warn\" or \"error\", not \"{name}\""
        ))
    })
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
    wait(context, |job| async move { job.progress(progress).await })
}

fn transfer_map(transfer: &netssh_core::Transfer) -> Map {
    let number = |number: u128| Dynamic::from(INT::try_from(number).unwrap_or(INT::MAX));
    let protocol = match transfer.protocol {
        netssh_core::Protocol::Sftp => "sftp",
        netssh_core::Protocol::Scp => "scp",
    };
    Map::from([
        ("bytes".into(), number(transfer.bytes.into())),
        ("sha256".into(), transfer.sha256.clone().into()),
        ("elapsed_ms".into(), number(transfer.elapsed.as_millis())),
        ("protocol".into(), protocol.into()),
    ])
}

fn reply_map(reply: ExecReply) -> Map {
    let elapsed = INT::try_from(reply.elapsed.as_millis()).unwrap_or(INT::MAX);
    Map::from([
        ("command".into(), reply.command.into()),
        ("output".into(), reply.output.into()),
        ("ok".into(), Dynamic::from(reply.failure.is_none())),
        (
            "failure".into(),
            reply.failure.map_or(Dynamic::UNIT, Dynamic::from),
        ),
        (
            "exit_code".into(),
            reply
                .exit_code
                .map_or(Dynamic::UNIT, |code| Dynamic::from(INT::from(code))),
        ),
        ("elapsed_ms".into(), Dynamic::from(elapsed)),
        ("truncated".into(), Dynamic::from(reply.truncated)),
    ])
}

fn outcome_map(outcome: ChildOutcome) -> Map {
    let error = outcome.error.map_or(Dynamic::UNIT, |error| {
        Dynamic::from(Map::from([
            ("code".into(), error.code.0.into()),
            ("message".into(), error.message.into()),
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
