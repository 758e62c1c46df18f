//! Methods of a device, as returned by `ssh::open`.

#![expect(
    unreachable_pub,
    clippy::unwrap_used,
    reason = "export_module exports pub functions only, the crate does not re-export them, and the generated code unwraps"
)]

use std::time::Duration;

use rhai::plugin::*;
use rhai::{Array, Dynamic, INT, Map};

use super::{answer, wait};
use crate::capabilities::{
    CommitOptions, ConfigureOptions, Configured, Device, ExecReply, OnRefused, Question, arguments,
};
use crate::runtime::rhai::arguments::{Options, Thrown, invalid, texts};
use crate::runtime::rhai::errors::thrown;
use crate::runtime::rhai::values;

#[export_module]
pub(super) mod methods {
    /// Parses a command's output with the operator's templates for the platform: returns an array
    /// of maps.
    #[rhai_fn(name = "parse", return_raw, volatile)]
    pub fn parse(
        context: NativeCallContext<'_>,
        platform: &str,
        command: &str,
        output: &str,
    ) -> Thrown<Dynamic> {
        answer(
            &context,
            async |job| job.parse(platform, command, output).await,
            values::from_records,
        )
    }

    /// Parses a reply of this device.
    #[rhai_fn(name = "parse", pure, return_raw, volatile)]
    pub fn parse_reply(
        context: NativeCallContext<'_>,
        device: &mut Device,
        reply: Map,
    ) -> Thrown<Dynamic> {
        let text = |name: &str| {
            reply
                .get(name)
                .and_then(|value| value.clone().into_immutable_string().ok())
                .ok_or_else(|| invalid("parse: invalid reply: expected a reply of exec".to_owned()))
        };
        let (command, output) = (text("command")?, text("output")?);
        let platform = device.platform().to_owned();
        parse(context, &platform, &command, &output)
    }

    /// Returns the target's name.
    #[rhai_fn(get = "target", pure)]
    pub fn target(device: &mut Device) -> String {
        device.target().to_owned()
    }

    /// Returns the connection's platform: `cisco_ios`, `juniper_junos`, ….
    #[rhai_fn(get = "platform", pure)]
    pub fn platform(device: &mut Device) -> String {
        device.platform().to_owned()
    }

    /// Returns the prompt that the device showed last.
    #[rhai_fn(get = "prompt", pure)]
    pub fn prompt(device: &mut Device) -> String {
        device.prompt()
    }

    /// Runs a command. Returns `output`, `ok`, `failure` (the device's refusal or `()`),
    /// `exit_code` (or `()`), `elapsed_ms`, `truncated` and `command`.
    #[rhai_fn(name = "exec", pure, return_raw, volatile)]
    pub fn exec(context: NativeCallContext<'_>, device: &mut Device, command: &str) -> Thrown<Map> {
        run_command(&context, device, command, &[], None)
    }

    /// Runs a command with `#{timeout: seconds, answers: [#{expect: "pattern", answer: "text"},
    /// …]}`.
    #[rhai_fn(name = "exec", pure, return_raw, volatile)]
    pub fn exec_with(
        context: NativeCallContext<'_>,
        device: &mut Device,
        command: &str,
        options: Map,
    ) -> Thrown<Map> {
        let options = Options::new("exec", options, &["timeout", "answers"])?;
        let timeout = options.duration("timeout")?;
        let answers = answers("exec", &options)?;
        run_command(&context, device, command, &answers, timeout)
    }

    /// Runs commands together, with one round trip for all of them if the platform allows it;
    /// returns their replies in order. A refused command does not stop those after it.
    #[rhai_fn(name = "exec_all", pure, return_raw, volatile)]
    pub fn exec_all(
        context: NativeCallContext<'_>,
        device: &mut Device,
        commands: Array,
    ) -> Thrown<Array> {
        let commands = texts("exec_all", "a command", commands)?;
        answer(
            &context,
            async |job| job.ssh_exec_all(device, &commands).await,
            |replies| {
                replies
                    .iter()
                    .map(|reply| reply_map(reply).into())
                    .collect()
            },
        )
    }

    /// Runs a command that asks questions: `[#{expect: "pattern", answer: "text"}, …]`. Each answer
    /// is used once. It may be one key (`key: true`) or a secret (`secret: true`), which the job's
    /// results do not show.
    #[rhai_fn(name = "send_interactive", pure, return_raw, volatile)]
    pub fn send_interactive(
        context: NativeCallContext<'_>,
        device: &mut Device,
        command: &str,
        questions: Array,
    ) -> Thrown<Map> {
        send_interactive_with(context, device, command, questions, Map::new())
    }

    /// Runs a command that asks questions, with `#{timeout: seconds}`.
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
            .map(|written| question("send_interactive", written))
            .collect::<Thrown<Vec<_>>>()?;
        run_command(&context, device, command, &questions, timeout)
    }

    /// Returns the facts that the platform can find: `hostname`, `version`, `model`, `serial`,
    /// `uptime`.
    #[rhai_fn(name = "facts", pure, return_raw, volatile)]
    pub fn facts(context: NativeCallContext<'_>, device: &mut Device) -> Thrown<Map> {
        answer(
            &context,
            async |job| job.ssh_facts(device).await,
            |facts| {
                let facts = facts.iter();
                facts
                    .map(|(name, value)| (name.as_str().into(), value.clone().into()))
                    .collect()
            },
        )
    }

    /// Enters configuration mode, sends the lines, makes them take effect (by a commit if the
    /// platform has a candidate), and leaves the mode. Throws `refused` at the first refused line
    /// or if the device refuses the commit. Returns `lines`, `refused`, `diff` (or `()`) and
    /// `in_effect`.
    #[rhai_fn(name = "configure", pure, return_raw, volatile)]
    pub fn configure(
        context: NativeCallContext<'_>,
        device: &mut Device,
        lines: Array,
    ) -> Thrown<Map> {
        send_lines(&context, device, lines, ConfigureOptions::default())
    }

    /// Configures with `#{on_refused: "stop" | "continue", commit: true | false, confirm: seconds,
    /// comment: "text", answers: [#{expect: "pattern", answer: "text"}, …]}`.
    #[rhai_fn(name = "configure", pure, return_raw, volatile)]
    pub fn configure_with(
        context: NativeCallContext<'_>,
        device: &mut Device,
        lines: Array,
        options: Map,
    ) -> Thrown<Map> {
        let known = ["on_refused", "commit", "confirm", "comment", "answers"];
        let options = Options::new("configure", options, &known)?;
        let on_refused = match options.text("on_refused")? {
            None => OnRefused::default(),
            Some(choice) => arguments::on_refused(&choice).map_err(thrown)?,
        };
        let options = ConfigureOptions {
            on_refused,
            stage: options.flag("commit")? == Some(false),
            commit: commit_options("configure", &options)?,
        };
        send_lines(&context, device, lines, options)
    }

    /// Commits the lines that `configure` left uncommitted, or confirms a commit that the device
    /// would revert.
    #[rhai_fn(name = "commit", pure, return_raw, volatile)]
    pub fn commit(context: NativeCallContext<'_>, device: &mut Device) -> Thrown<Map> {
        commit_with(context, device, Map::new())
    }

    /// Commits with `#{confirm: seconds, comment: "text", answers: [#{expect: "pattern", answer:
    /// "text"}, …]}`.
    #[rhai_fn(name = "commit", pure, return_raw, volatile)]
    pub fn commit_with(
        context: NativeCallContext<'_>,
        device: &mut Device,
        options: Map,
    ) -> Thrown<Map> {
        let options = Options::new("commit", options, &["confirm", "comment", "answers"])?;
        let options = commit_options("commit", &options)?;
        answer(
            &context,
            async |job| job.ssh_commit(device, options).await,
            reply_map,
        )
    }

    /// Discards the lines that `configure` left uncommitted; without any, restores the
    /// configuration before the last commit.
    #[rhai_fn(name = "rollback", pure, return_raw, volatile)]
    pub fn rollback(context: NativeCallContext<'_>, device: &mut Device) -> Thrown<Map> {
        roll_back(&context, device, None)
    }

    /// Restores the configuration of `number` commits ago.
    #[rhai_fn(name = "rollback", pure, return_raw, volatile)]
    pub fn rollback_to(
        context: NativeCallContext<'_>,
        device: &mut Device,
        number: INT,
    ) -> Thrown<Map> {
        let number = u32::try_from(number).map_err(|_| {
            invalid(format!(
                "rollback: invalid number: expected a non-negative number of \
                                          commits, got {number}"
            ))
        })?;
        roll_back(&context, device, Some(number))
    }

    /// Makes the running configuration the start-up configuration.
    #[rhai_fn(name = "save", pure, return_raw, volatile)]
    pub fn save(context: NativeCallContext<'_>, device: &mut Device) -> Thrown<Map> {
        save_with(context, device, Map::new())
    }

    /// Saves with `#{answers: [#{expect: "pattern", answer: "text"}, …]}`.
    #[rhai_fn(name = "save", pure, return_raw, volatile)]
    pub fn save_with(
        context: NativeCallContext<'_>,
        device: &mut Device,
        options: Map,
    ) -> Thrown<Map> {
        let options = Options::new("save", options, &["answers"])?;
        let answers = answers("save", &options)?;
        answer(
            &context,
            async |job| job.ssh_save(device, &answers).await,
            reply_map,
        )
    }

    /// Uploads a file of the operator's directory to the device. Returns `bytes`, `sha256`,
    /// `elapsed_ms` and `protocol`.
    #[rhai_fn(name = "upload", pure, return_raw, volatile)]
    pub fn upload(
        context: NativeCallContext<'_>,
        device: &mut Device,
        file: &str,
        remote: &str,
    ) -> Thrown<Map> {
        answer(
            &context,
            async |job| job.ssh_upload(device, file, remote).await,
            transfer_map,
        )
    }

    /// Downloads a file of the device into the operator's directory.
    #[rhai_fn(name = "download", pure, return_raw, volatile)]
    pub fn download(
        context: NativeCallContext<'_>,
        device: &mut Device,
        remote: &str,
        file: &str,
    ) -> Thrown<Map> {
        answer(
            &context,
            async |job| job.ssh_download(device, remote, file).await,
            transfer_map,
        )
    }

    /// Closes the session. A job's open sessions are closed when it ends.
    #[rhai_fn(name = "close", pure, return_raw, volatile)]
    pub fn close(context: NativeCallContext<'_>, device: &mut Device) -> Thrown<()> {
        let device = device.clone();
        wait(&context, async |job| {
            job.ssh_close(&device).await;
            Ok(())
        })
    }
}

fn run_command(
    context: &NativeCallContext<'_>,
    device: &Device,
    command: &str,
    questions: &[Question],
    timeout: Option<Duration>,
) -> Thrown<Map> {
    answer(
        context,
        async |job| job.ssh_exec(device, command, questions, timeout).await,
        reply_map,
    )
}

/// Reads the option `answers`.
fn answers(function: &'static str, options: &Options) -> Thrown<Vec<Question>> {
    let written = options.values("answers")?.into_iter();
    written.map(|written| question(function, written)).collect()
}

fn question(function: &'static str, written: Dynamic) -> Thrown<Question> {
    let kind = written.type_name();
    let fields = written.try_cast::<Map>().ok_or_else(|| {
        invalid(format!(
            "{function}: invalid question: expected #{{expect, answer}}, got {kind}"
        ))
    })?;
    let known = ["expect", "answer", "key", "secret"];
    let fields = Options::new(function, fields, &known)?;
    Ok(Question {
        expect: fields.required_text("expect")?,
        answer: fields.required_text("answer")?.into(),
        key: fields.flag("key")?.unwrap_or_default(),
        secret: fields.flag("secret")?,
    })
}

fn commit_options(function: &'static str, options: &Options) -> Thrown<CommitOptions> {
    Ok(CommitOptions {
        confirm_within: options.duration("confirm")?,
        comment: options.text("comment")?,
        answers: answers(function, options)?,
    })
}

fn roll_back(context: &NativeCallContext<'_>, device: &Device, number: Option<u32>) -> Thrown<Map> {
    answer(
        context,
        async |job| job.ssh_rollback(device, number).await,
        reply_map,
    )
}

fn send_lines(
    context: &NativeCallContext<'_>,
    device: &Device,
    lines: Array,
    options: ConfigureOptions,
) -> Thrown<Map> {
    let lines = texts("configure", "a line", lines)?;
    answer(
        context,
        async |job| job.ssh_configure(device, &lines, options).await,
        configured_map,
    )
}

fn configured_map(configured: &Configured) -> Map {
    let replies = &configured.replies;
    let sent = INT::try_from(replies.len()).unwrap_or(INT::MAX);
    let refused = replies.iter().filter(|reply| reply.failure.is_some());
    let refused: Array = refused.map(|reply| reply_map(reply).into()).collect();
    Map::from([
        ("lines".into(), sent.into()),
        ("refused".into(), refused.into()),
        ("diff".into(), optional(configured.diff.as_ref())),
        ("in_effect".into(), configured.in_effect.into()),
    ])
}

fn optional(text: Option<&String>) -> Dynamic {
    text.map_or(Dynamic::UNIT, |text| text.clone().into())
}

fn transfer_map(transfer: &netssh_core::Transfer) -> Map {
    let number = |number: u128| Dynamic::from(INT::try_from(number).unwrap_or(INT::MAX));
    Map::from([
        ("bytes".into(), number(transfer.bytes.into())),
        ("sha256".into(), transfer.sha256.clone().into()),
        ("elapsed_ms".into(), number(transfer.elapsed.as_millis())),
        ("protocol".into(), transfer.protocol.as_str().into()),
    ])
}

fn reply_map(reply: &ExecReply) -> Map {
    let elapsed = INT::try_from(reply.elapsed.as_millis()).unwrap_or(INT::MAX);
    let exit_code = reply.exit_code.map(INT::from);
    Map::from([
        ("command".into(), reply.command.clone().into()),
        ("output".into(), reply.output.clone().into()),
        ("ok".into(), Dynamic::from(reply.failure.is_none())),
        ("failure".into(), optional(reply.failure.as_ref())),
        (
            "exit_code".into(),
            exit_code.map_or(Dynamic::UNIT, Dynamic::from),
        ),
        ("elapsed_ms".into(), Dynamic::from(elapsed)),
        ("truncated".into(), Dynamic::from(reply.truncated)),
    ])
}
