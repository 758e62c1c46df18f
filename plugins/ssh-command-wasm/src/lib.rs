//! Runs commands on a device in order and stores the replies: the playbook `ssh-command` as a
//! component.

use std::collections::BTreeMap;

use plugin_sdk::prelude::*;

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Params {
    /// Commands to run, in this order
    #[schemars(length(min = 1, max = 1000), inner(length(min = 1)))]
    commands: Vec<String>,
    /// Behaviour when the device refuses a command
    #[serde(default)]
    on_error: OnError,
}

#[derive(Clone, Copy, Default, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(inline)]
enum OnError {
    #[default]
    Stop,
    Continue,
}

/// Maximum size of the outputs in the result, in bytes. Longer outputs are only in the job's
/// results, so that one of them does not displace the others.
const KEPT_BYTES: usize = 4 << 20;
/// Maximum characters of a command or a refusal in the result.
const CUT_CHARS: usize = 200;

#[derive(Default, Serialize)]
struct Report {
    outputs: BTreeMap<String, String>,
    refused: Vec<Refusal>,
    commands: Vec<Executed>,
}

#[derive(Serialize)]
struct Executed {
    command: String,
    ok: bool,
    bytes: usize,
    truncated: bool,
    /// Whether `outputs` contains the command's output.
    kept: bool,
}

#[derive(Serialize)]
struct Refusal {
    command: String,
    failure: String,
}

fn describe() -> Description {
    Description::new("Run commands on a device (as a component)")
        .targets(Targets::Each)
        .exec(["*"])
}

fn run(_job: &Job, params: Params) -> Result<Report> {
    let device = ssh::open()?;
    let mut report = Report::default();
    let mut room = KEPT_BYTES;
    let total = params.commands.len() as u64;
    for (done, command) in (1..).zip(params.commands) {
        let reply = device.exec(&command)?;
        let bytes = reply.output.len();
        let left = room.checked_sub(command.len() + bytes);
        report.commands.push(Executed {
            command: cut(&command),
            ok: reply.failure.is_none(),
            bytes,
            truncated: reply.truncated,
            kept: left.is_some(),
        });
        if let Some(failure) = reply.failure {
            if params.on_error == OnError::Stop {
                let message = format!("{} refused '{command}': {failure}", device.target());
                return Err(Error::new("refused", message));
            }
            report.refused.push(Refusal {
                command: cut(&command),
                failure: cut(&failure),
            });
        }
        if let Some(left) = left {
            room = left;
            report.outputs.insert(command, reply.output);
        }
        progress(done, total, None)?;
    }
    device.close()?;
    Ok(report)
}

fn cut(text: &str) -> String {
    match text.char_indices().nth(CUT_CHARS) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

plugin_sdk::plugin!(describe, run);
