//! Sessions to the job's targets. Requires the declaration `exec`, `configure`, `upload` or
//! `download`.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::Result;
use crate::bindings::job_scheduler::plugin::ssh;
use crate::error::of_host;

/// An open session. The host closes it when the job ends.
#[derive(Debug)]
pub struct Device(ssh::Device);

/// A device's reply to a command.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Reply {
    pub command: String,
    pub output: String,
    /// The exit code, on platforms that have one.
    pub exit_code: Option<i32>,
    /// The device's error message; `None` if it accepted the command.
    pub failure: Option<String>,
    pub elapsed_ms: u64,
    /// Whether the output was longer than the maximum that the host keeps.
    pub truncated: bool,
}

/// The outcome of [`Device::configure`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Configured {
    /// The number of lines sent.
    pub lines: u32,
    /// Replies to the lines that the device refused.
    pub refused: Vec<Reply>,
    /// The changes, if the platform can report them.
    pub diff: Option<String>,
    /// Whether the lines are in effect.
    pub in_effect: bool,
}

/// A transferred file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Transfer {
    pub bytes: u64,
    /// SHA-256, hexadecimal.
    pub sha256: String,
    pub elapsed_ms: u64,
    /// `sftp` or `scp`.
    pub protocol: String,
}

/// An answer to a question of the device: a pattern for the line at the end of which the device
/// waits, and the answer. The job's results contain it.
///
/// ```
/// # use plugin_sdk::ssh::Answer;
/// Answer::new(r"Destination filename .*\?", "");
/// Answer::new(r"\[confirm\]", "y").one_key();
/// Answer::new("Password:", "hunter2").secret();
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Answer<'a> {
    expect: &'a str,
    text: &'a str,
    key: bool,
    secret: Option<bool>,
}

impl<'a> Answer<'a> {
    #[must_use]
    pub const fn new(expect: &'a str, text: &'a str) -> Self {
        Self {
            expect,
            text,
            key: false,
            secret: None,
        }
    }

    /// Returns the same answer as one key, sent without a line ending.
    #[must_use]
    pub const fn one_key(self) -> Self {
        Self { key: true, ..self }
    }

    /// Returns the same answer, hidden in results and logs.
    #[must_use]
    pub const fn secret(self) -> Self {
        Self {
            secret: Some(true),
            ..self
        }
    }

    /// Returns the same answer, shown even if the pattern names a secret.
    #[must_use]
    pub const fn shown(self) -> Self {
        Self {
            secret: Some(false),
            ..self
        }
    }

    fn handle(&self) -> ssh::AnswerOptions {
        let answer = ssh::AnswerOptions::new(self.expect, self.text);
        if self.key {
            answer.key();
        }
        if let Some(secret) = self.secret {
            answer.secret(secret);
        }
        answer
    }
}

/// The behaviour when a device refuses a configuration line.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnRefused {
    #[default]
    Stop,
    Continue,
}

#[derive(Clone, Debug, Default)]
pub struct Configure<'a> {
    pub on_refused: OnRefused,
    /// On platforms with a candidate: leaves the lines uncommitted, for a later commit or rollback.
    pub stage: bool,
    pub commit: Commit<'a>,
}

#[derive(Clone, Debug, Default)]
pub struct Commit<'a> {
    /// The time after which the device reverts the commit unless it is confirmed.
    pub confirm: Option<Duration>,
    pub comment: Option<&'a str>,
    /// Answers to questions of the device; `configure` also uses them for the lines.
    pub answers: &'a [Answer<'a>],
}

/// Opens a session to the job's only target.
///
/// # Errors
/// Code `invalid` if the job has several targets; otherwise the error of the connection.
pub fn open() -> Result<Device> {
    ssh::open(None).map(Device).map_err(of_host)
}

/// Opens a session to one of the job's targets.
///
/// # Errors
/// Code `denied` if it is not a target of the job; otherwise the error of the connection.
pub fn open_target(target: &str) -> Result<Device> {
    ssh::open(Some(target)).map(Device).map_err(of_host)
}

impl Device {
    /// Returns the target's name.
    pub fn target(&self) -> String {
        self.0.target()
    }

    /// Returns the platform in the connection: `cisco_ios`, `juniper_junos`, ….
    pub fn platform(&self) -> String {
        self.0.platform()
    }

    /// Returns the last prompt of the device.
    pub fn prompt(&self) -> String {
        self.0.prompt()
    }

    /// Runs a command. A refused command is a [`Reply`]; an error means that there is no reply.
    ///
    /// # Errors
    /// Code `denied` for a command that is not declared or granted; `timeout`, `disconnected` and similar
    /// codes if there is no reply.
    pub fn exec(&self, command: &str) -> Result<Reply> {
        self.0.exec(command, None).map(reply).map_err(of_host)
    }

    /// Runs a command like [`Self::exec`], with a timeout.
    ///
    /// # Errors
    /// As [`Self::exec`].
    pub fn exec_within(&self, command: &str, timeout: Duration) -> Result<Reply> {
        let options = options_within(timeout)?;
        let answer = self.0.exec(command, Some(&options));
        answer.map(reply).map_err(of_host)
    }

    /// Runs several commands, in one round trip if the platform allows it. A refused command does
    /// not stop the following ones.
    ///
    /// # Errors
    /// As [`Self::exec`]; code `denied` before anything is sent.
    pub fn exec_all<C: AsRef<str>>(&self, commands: &[C]) -> Result<Vec<Reply>> {
        let replies = self.0.exec_all(&texts(commands)).map_err(of_host)?;
        Ok(replies.into_iter().map(reply).collect())
    }

    /// Runs a command that asks questions. Each question is a pattern for the line at the end of
    /// which the device waits, with the line that answers it. [`Self::exec_answering`] offers more
    /// options.
    ///
    /// # Errors
    /// As [`Self::exec`]; `refused` if the device repeats a question that was answered.
    pub fn send_interactive(
        &self,
        command: &str,
        questions: &[(&str, &str)],
        timeout: Option<Duration>,
    ) -> Result<Reply> {
        let questions: Vec<_> = questions
            .iter()
            .map(|(expect, answer)| ssh::Question {
                expect: (*expect).to_owned(),
                answer: (*answer).to_owned(),
            })
            .collect();
        let options = timeout.map(options_within).transpose()?;
        let answer = self
            .0
            .send_interactive(command, &questions, options.as_ref());
        answer.map(reply).map_err(of_host)
    }

    /// Runs a command that asks questions.
    ///
    /// # Errors
    /// As [`Self::send_interactive`]; code `denied` for an answer that is not declared or granted.
    pub fn exec_answering(
        &self,
        command: &str,
        answers: &[Answer<'_>],
        timeout: Option<Duration>,
    ) -> Result<Reply> {
        let options = ssh::ExecOptions::new();
        if let Some(time) = timeout {
            options.timeout(time.as_secs_f64()).map_err(of_host)?;
        }
        for answer in answers {
            options.answer(&answer.handle());
        }
        let answer = self.0.exec(command, Some(&options));
        answer.map(reply).map_err(of_host)
    }

    /// Returns what the device reports about itself: `hostname`, `version`, `model`, `serial`,
    /// `uptime`, as far as the platform supports it.
    ///
    /// # Errors
    /// As [`Self::exec`].
    pub fn facts(&self) -> Result<BTreeMap<String, String>> {
        let facts = self.0.facts().map_err(of_host)?;
        Ok(facts.into_iter().collect())
    }

    /// Sends configuration lines and puts them into effect.
    ///
    /// # Errors
    /// Code `refused` at the first line that the device refuses, or if it refuses the commit.
    pub fn configure<L: AsRef<str>>(&self, lines: &[L]) -> Result<Configured> {
        self.configure_with(lines, &Configure::default())
    }

    /// Configures like [`Self::configure`], with options.
    ///
    /// # Errors
    /// As [`Self::configure`].
    pub fn configure_with<L: AsRef<str>>(
        &self,
        lines: &[L],
        how: &Configure<'_>,
    ) -> Result<Configured> {
        let options = ssh::ConfigureOptions::new();
        if how.on_refused == OnRefused::Continue {
            options.on_refused("continue").map_err(of_host)?;
        }
        options.commit(!how.stage);
        if let Some(time) = how.commit.confirm {
            options.confirm(time.as_secs_f64()).map_err(of_host)?;
        }
        if let Some(comment) = how.commit.comment {
            options.comment(comment);
        }
        for answer in how.commit.answers {
            options.answer(&answer.handle());
        }
        let configured = self
            .0
            .configure(&texts(lines), Some(&options))
            .map_err(of_host)?;
        Ok(Configured {
            lines: configured.lines,
            refused: configured.refused.into_iter().map(reply).collect(),
            diff: configured.diff,
            in_effect: configured.in_effect,
        })
    }

    /// Commits staged lines, or confirms a commit that the device would revert.
    ///
    /// # Errors
    /// Code `unsupported` if the platform has no commit, `invalid` if there is nothing to commit, `refused`
    /// if the device refuses.
    pub fn commit(&self, how: &Commit<'_>) -> Result<Reply> {
        let options = ssh::CommitOptions::new();
        if let Some(time) = how.confirm {
            options.confirm(time.as_secs_f64()).map_err(of_host)?;
        }
        if let Some(comment) = how.comment {
            options.comment(comment);
        }
        for answer in how.answers {
            options.answer(&answer.handle());
        }
        self.0.commit(Some(&options)).map(reply).map_err(of_host)
    }

    /// Discards staged lines. Without any, rolls the device back by this number of commits, by
    /// default 1.
    ///
    /// # Errors
    /// Code `unsupported` if the platform cannot roll back, `refused` if the device refuses.
    pub fn rollback(&self, number: Option<u32>) -> Result<Reply> {
        self.0.rollback(number).map(reply).map_err(of_host)
    }

    /// Saves the running configuration as the start-up configuration.
    ///
    /// # Errors
    /// Code `unsupported` if the platform has no such command.
    pub fn save(&self) -> Result<Reply> {
        self.0.save().map(reply).map_err(of_host)
    }

    /// Saves like [`Self::save`], with answers to questions of the device.
    ///
    /// # Errors
    /// As [`Self::save`]; code `denied` for an answer that is not declared or granted.
    pub fn save_answering(&self, answers: &[Answer<'_>]) -> Result<Reply> {
        let options = ssh::SaveOptions::new();
        for answer in answers {
            options.answer(&answer.handle());
        }
        self.0.save_with(&options).map(reply).map_err(of_host)
    }

    /// Uploads a file from the operator's directory to the device.
    ///
    /// # Errors
    /// Code `not_found` if the file does not exist, `refused` with the device's message.
    pub fn upload(&self, file: &str, remote: &str) -> Result<Transfer> {
        self.0.upload(file, remote).map(transfer).map_err(of_host)
    }

    /// Downloads a file from the device to the operator's directory.
    ///
    /// # Errors
    /// As [`Self::upload`].
    pub fn download(&self, remote: &str, file: &str) -> Result<Transfer> {
        self.0.download(remote, file).map(transfer).map_err(of_host)
    }

    /// Parses a reply of this device into records, with the operator's templates for its platform.
    ///
    /// # Errors
    /// As [`crate::text::parse`].
    pub fn parse<T: DeserializeOwned>(&self, reply: &Reply) -> Result<Vec<T>> {
        crate::text::parse(&self.platform(), &reply.command, &reply.output)
    }

    /// Closes the session; dropping the handle does not.
    ///
    /// # Errors
    /// None that a plugin sees.
    pub fn close(self) -> Result<()> {
        self.0.close().map_err(of_host)
    }
}

impl Reply {
    /// Returns whether the device accepted the command.
    #[must_use]
    pub fn ok(&self) -> bool {
        self.failure.is_none()
    }
}

fn options_within(timeout: Duration) -> Result<ssh::ExecOptions> {
    let options = ssh::ExecOptions::new();
    options.timeout(timeout.as_secs_f64()).map_err(of_host)?;
    Ok(options)
}

fn texts<T: AsRef<str>>(texts: &[T]) -> Vec<String> {
    texts.iter().map(|text| text.as_ref().to_owned()).collect()
}

fn reply(reply: ssh::Reply) -> Reply {
    Reply {
        command: reply.command,
        output: reply.output,
        exit_code: reply.exit_code,
        failure: reply.failure,
        elapsed_ms: reply.elapsed_ms,
        truncated: reply.truncated,
    }
}

fn transfer(transfer: ssh::Transfer) -> Transfer {
    Transfer {
        bytes: transfer.bytes,
        sha256: transfer.sha256,
        elapsed_ms: transfer.elapsed_ms,
        protocol: transfer.protocol,
    }
}
