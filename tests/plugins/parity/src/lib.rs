//! Makes the calls in its parameters, in order, and returns the outcome of each: the same plugin as
//! `parity.rhai` in this directory.

use std::time::Duration;

use plugin_sdk::prelude::*;
use plugin_sdk::ssh::{Answer, Commit, Configure, Device, OnRefused, Reply, Transfer};

#[derive(Deserialize, JsonSchema)]
struct Params {
    calls: Vec<Value>,
    throw: Option<Value>,
}

#[derive(Default)]
struct State {
    device: Option<Device>,
    reply: Option<Reply>,
    child: String,
}

fn describe() -> Description {
    Description::new("Parity")
        .targets(Targets::All)
        .exec(["show *", "echo *", "sleep *", "boom *", "ask *", "copy *"])
        .answers(["flash:*"])
        .configure()
        .upload()
        .download()
        .storage()
        .submit(["noop", "missing"])
}

fn run(job: &Job, params: Params) -> Result<Vec<Value>> {
    let mut state = State::default();
    let mut answers = Vec::new();
    for call in &params.calls {
        let answer = make(job, &mut state, call);
        answers.push(match answer {
            Ok(value) => json!({ "ok": value }),
            Err(error) => json!({ "code": error.code, "message": error.message, "retryable": error.retryable }),
        });
    }
    match params.throw {
        None => Ok(answers),
        Some(error) => Err(Error {
            code: text(&error, "code").to_owned(),
            message: text(&error, "message").to_owned(),
            retryable: flag(&error, "retryable"),
        }),
    }
}

fn make(job: &Job, state: &mut State, call: &Value) -> Result<Value> {
    let nothing = Ok(Value::Null);
    let timeout = seconds(call, "timeout");
    match text(call, "make") {
        "job" => Ok(json!({
            "plugin": job.plugin.replace("-wasm", ""), "target": job.target, "targets": job.targets, "attempt": job.attempt,
            "parent_id": job.parent_id, "description": job.description, "id": job.id.len(),
        })),
        "open" => {
            let opened = match call["target"].as_str() {
                Some(target) => ssh::open_target(target),
                None => ssh::open(),
            };
            state.device = Some(opened?);
            nothing
        }
        "describe_device" => {
            let device = device(state)?;
            Ok(
                json!({ "target": device.target(), "platform": device.platform(), "prompt": device.prompt() }),
            )
        }
        "exec" if call.get("answers").is_some() => {
            let answers = answers_of(call);
            let answer = device(state)?.exec_answering(text(call, "command"), &answers, timeout)?;
            Ok(reply(&answer))
        }
        "exec" => {
            let answer = match timeout {
                Some(time) => device(state)?.exec_within(text(call, "command"), time),
                None => device(state)?.exec(text(call, "command")),
            };
            let answer = answer?;
            state.reply = Some(answer.clone());
            Ok(reply(&answer))
        }
        "exec_all" => {
            let replies = device(state)?.exec_all(&texts(call, "commands"))?;
            Ok(replies.iter().map(reply).collect())
        }
        "send_interactive" => {
            let questions: Vec<_> = call["questions"].as_array().into_iter().flatten().collect();
            let questions: Vec<_> = questions
                .iter()
                .map(|question| (text(question, "expect"), text(question, "answer")))
                .collect();
            let answer =
                device(state)?.send_interactive(text(call, "command"), &questions, timeout)?;
            Ok(reply(&answer))
        }
        "facts" => Ok(json!(device(state)?.facts()?)),
        "configure" => {
            let answers = answers_of(call);
            let how = Configure {
                on_refused: match text(call, "on_refused") {
                    "continue" => OnRefused::Continue,
                    _ => OnRefused::Stop,
                },
                stage: call["commit"] == false,
                commit: commit_of(call, &answers),
            };
            let done = device(state)?.configure_with(&texts(call, "lines"), &how)?;
            let refused: Vec<Value> = done.refused.iter().map(reply).collect();
            Ok(
                json!({ "lines": done.lines, "refused": refused, "diff": done.diff, "in_effect": done.in_effect }),
            )
        }
        "commit" => {
            let answers = answers_of(call);
            Ok(reply(&device(state)?.commit(&commit_of(call, &answers))?))
        }
        "rollback" => {
            let number = call["number"]
                .as_u64()
                .and_then(|number| u32::try_from(number).ok());
            Ok(reply(&device(state)?.rollback(number)?))
        }
        "save" => Ok(reply(&match answers_of(call).as_slice() {
            [] => device(state)?.save()?,
            answers => device(state)?.save_answering(answers)?,
        })),
        "upload" => Ok(transfer(
            &device(state)?.upload(text(call, "file"), text(call, "remote"))?,
        )),
        "download" => Ok(transfer(
            &device(state)?.download(text(call, "remote"), text(call, "file"))?,
        )),
        "close" => {
            if let Some(device) = state.device.take() {
                device.close()?;
            }
            nothing
        }
        "parse_reply" => {
            let reply = state
                .reply
                .clone()
                .ok_or_else(|| Error::new("none", "no reply"))?;
            Ok(Value::Array(device(state)?.parse(&reply)?))
        }
        "parse" => Ok(Value::Array(text::parse(
            text(call, "platform"),
            text(call, "command"),
            text(call, "output"),
        )?)),
        "diff" => Ok(text::diff(text(call, "before"), text(call, "after"))?.into()),
        "without_lines" => {
            Ok(text::without_lines(text(call, "text"), &texts(call, "prefixes")).into())
        }
        "split_config" => Ok(json!(text::split_config(
            text(call, "platform"),
            text(call, "text")
        )?)),
        "get" => Ok(storage::get::<Value>(text(call, "key"))?.unwrap_or_default()),
        "set" => storage::set(text(call, "key"), &call["value"]).map(|()| Value::Null),
        "delete" => Ok(storage::delete(text(call, "key"))?.into()),
        "keys" => Ok(json!(storage::keys(text(call, "prefix"))?)),
        "submit" => {
            let targets = texts(call, "targets");
            let how = queue::Submit {
                targets: &targets,
                description: call["description"].as_str(),
            };
            state.child = queue::submit(text(call, "plugin"), &call["params"], &how)?;
            nothing
        }
        "wait" => {
            let id = call["id"].as_str().unwrap_or(&state.child);
            let outcome = queue::wait(id, seconds(call, "seconds"))?;
            Ok(
                json!({ "status": outcome.status, "result": outcome.result, "error": outcome.error.map(|error| error.code) }),
            )
        }
        "log" => {
            match call.get("fields") {
                Some(fields) => {
                    log::write_with(text(call, "level"), text(call, "message"), fields)?;
                }
                None => log::write(text(call, "level"), text(call, "message"))?,
            }
            nothing
        }
        "info" => {
            log::info(text(call, "message"));
            nothing
        }
        "warn" => {
            log::warn(text(call, "message"));
            nothing
        }
        "error" => {
            log::error(text(call, "message"));
            nothing
        }
        "progress" => progress(
            number(call, "done") as u64,
            number(call, "total") as u64,
            call["message"].as_str(),
        )
        .map(|()| Value::Null),
        "sleep" => {
            // An invalid number of seconds cannot reach the host as a `Duration`.
            let time = Duration::try_from_secs_f64(number(call, "seconds")).map_err(|_| {
                Error::new(
                    "invalid",
                    format!(
                        "sleep: invalid time: expected a number of seconds, got {}",
                        number(call, "seconds")
                    ),
                )
            })?;
            sleep(time).map(|()| Value::Null)
        }
        other => Err(Error::new("unknown", other)),
    }
}

fn device(state: &State) -> Result<&Device> {
    state
        .device
        .as_ref()
        .ok_or_else(|| Error::new("none", "no device"))
}

fn commit_of<'a>(call: &'a Value, answers: &'a [Answer<'a>]) -> Commit<'a> {
    Commit {
        confirm: seconds(call, "confirm"),
        comment: call["comment"].as_str(),
        answers,
    }
}

fn answers_of(call: &Value) -> Vec<Answer<'_>> {
    let answers = call["answers"].as_array().into_iter().flatten();
    answers
        .map(|written| {
            let answer = Answer::new(text(written, "expect"), text(written, "answer"));
            let answer = if flag(written, "key") {
                answer.one_key()
            } else {
                answer
            };
            match written["secret"].as_bool() {
                Some(true) => answer.secret(),
                Some(false) => answer.shown(),
                None => answer,
            }
        })
        .collect()
}

fn reply(reply: &Reply) -> Value {
    json!({
        "command": reply.command, "output": reply.output, "ok": reply.ok(), "failure": reply.failure,
        "exit_code": reply.exit_code, "truncated": reply.truncated,
    })
}

fn transfer(transfer: &Transfer) -> Value {
    json!({ "bytes": transfer.bytes, "sha256": transfer.sha256, "protocol": transfer.protocol })
}

fn text<'a>(call: &'a Value, name: &str) -> &'a str {
    call[name].as_str().unwrap_or_default()
}

fn texts<'a>(call: &'a Value, name: &str) -> Vec<&'a str> {
    let values = call[name].as_array().into_iter().flatten();
    values.filter_map(Value::as_str).collect()
}

fn flag(call: &Value, name: &str) -> bool {
    call[name].as_bool().unwrap_or_default()
}

fn number(call: &Value, name: &str) -> f64 {
    call[name].as_f64().unwrap_or_default()
}

fn seconds(call: &Value, name: &str) -> Option<Duration> {
    call[name]
        .as_f64()
        .and_then(|seconds| Duration::try_from_secs_f64(seconds).ok())
}

plugin_sdk::plugin!(describe, run);
