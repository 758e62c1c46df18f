//! Sessions to the job's targets. To be declared: `exec`, `configure`, `upload`, `download`.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::Result;
use crate::bindings::job_scheduler::plugin::ssh;
use crate::error::of_host;

/// An open session. Whatever is left open is closed when the job ends.
#[derive(Debug)]
pub struct Device(ssh::Device);

/// What a device answered to a command.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Reply {
    pub command: String,
    pub output: String,
    /// Where the platform has one.
    pub exit_code: Option<i32>,
    /// The device's own words of refusal; none when it did as it was told.
    pub failure: Option<String>,
    pub elapsed_ms: u64,
    /// The output was longer than what is kept.
    pub truncated: bool,
}

/// What came of configuring.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Configured {
    /// Lines sent.
    pub lines: u32,
    /// Those that the device refused.
    pub refused: Vec<Reply>,
    /// What the platform says that the lines change, where it can tell.
    pub diff: Option<String>,
    /// The lines have taken effect.
    pub in_effect: bool,
}

/// A file that was transferred.
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

/// An answer to a question that the device may ask: a pattern for the line at whose end the device
/// waits, and the answering line. The job's results contain it.
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

/// What to do when a device refuses a line of configuration.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnRefused {
    #[default]
    Stop,
    Continue,
}

#[derive(Clone, Debug, Default)]
pub struct Configure<'a> {
    pub on_refused: OnRefused,
    /// Where the platform has a candidate: leave it at that, for a later commit or rollback.
    pub stage: bool,
    pub commit: Commit<'a>,
}

#[derive(Clone, Debug, Default)]
pub struct Commit<'a> {
    /// The device takes the commit back after this time unless it is confirmed.
    pub confirm: Option<Duration>,
    pub comment: Option<&'a str>,
    /// Answers to questions that the device may ask; `configure` uses them for the lines too.
    pub answers: &'a [Answer<'a>],
}

/// Opens a session to the job's only target.
///
/// # Errors
/// Code `invalid` where there are several; else what went wrong on the way.
pub fn open() -> Result<Device> {
    ssh::open(None).map(Device).map_err(of_host)
}

/// Opens a session to one of the job's targets.
///
/// # Errors
/// Code `denied` where the job was not submitted for it; else what went wrong on the way.
pub fn open_target(target: &str) -> Result<Device> {
    ssh::open(Some(target)).map(Device).map_err(of_host)
}

impl Device {
    /// The target's name.
    pub fn target(&self) -> String {
        self.0.target()
    }

    /// What kind of device it is, as the connection says: `cisco_ios`, `juniper_junos`, ….
    pub fn platform(&self) -> String {
        self.0.platform()
    }

    /// The prompt that the device showed last.
    pub fn prompt(&self) -> String {
        self.0.prompt()
    }

    /// Runs a command. A refusal is an answer; an error is when there is none.
    ///
    /// # Errors
    /// Code `denied` for a command that is not declared or granted; `timeout`, `disconnected` and
    /// the like when no answer came.
    pub fn exec(&self, command: &str) -> Result<Reply> {
        self.0.exec(command, None).map(reply).map_err(of_host)
    }

    /// [`Self::exec`], waiting at most so long.
    ///
    /// # Errors
    /// As [`Self::exec`].
    pub fn exec_within(&self, command: &str, timeout: Duration) -> Result<Reply> {
        let options = options_within(timeout)?;
        let answer = self.0.exec(command, Some(&options));
        answer.map(reply).map_err(of_host)
    }

    /// Runs commands in one go, where the platform allows it with one round trip for all of them.
    /// A refused one does not stop those after it.
    ///
    /// # Errors
    /// As [`Self::exec`]; code `denied` before anything is sent.
    pub fn exec_all<C: AsRef<str>>(&self, commands: &[C]) -> Result<Vec<Reply>> {
        let replies = self.0.exec_all(&texts(commands)).map_err(of_host)?;
        Ok(replies.into_iter().map(reply).collect())
    }

    /// Runs a command that asks questions: each a pattern found in the line that the device waits
    /// behind, and the line that answers it. More about an answer says
    /// [`Self::exec_answering`].
    ///
    /// # Errors
    /// As [`Self::exec`]; `refused` when a question is asked again although it was answered.
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

    /// What the device says of itself, as far as its platform knows where to look: `hostname`,
    /// `version`, `model`, `serial`, `uptime`.
    ///
    /// # Errors
    /// As [`Self::exec`].
    pub fn facts(&self) -> Result<BTreeMap<String, String>> {
        let facts = self.0.facts().map_err(of_host)?;
        Ok(facts.into_iter().collect())
    }

    /// Sends lines of configuration and makes them take effect.
    ///
    /// # Errors
    /// Code `refused` at the first line that the device refuses, or when it refuses the commit.
    pub fn configure<L: AsRef<str>>(&self, lines: &[L]) -> Result<Configured> {
        self.configure_with(lines, &Configure::default())
    }

    /// [`Self::configure`], with a say in how.
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

    /// Makes what was staged take effect, or confirms a commit that the device would take back.
    ///
    /// # Errors
    /// Code `unsupported` where the platform commits nothing, `invalid` when there is nothing to
    /// commit, `refused` when the device does not want to.
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

    /// Throws away what was staged; without that, takes the device back to its configuration of so
    /// many commits ago, 1 where no number is given.
    ///
    /// # Errors
    /// Code `unsupported` where the platform cannot, `refused` when the device does not want to.
    pub fn rollback(&self, number: Option<u32>) -> Result<Reply> {
        self.0.rollback(number).map(reply).map_err(of_host)
    }

    /// Makes the running configuration the one the device starts with.
    ///
    /// # Errors
    /// Code `unsupported` where the platform has no such thing.
    pub fn save(&self) -> Result<Reply> {
        self.0.save().map(reply).map_err(of_host)
    }

    /// Saves like [`Self::save`], with answers to questions that the device may ask.
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

    /// Writes a file of the operator's directory to the device.
    ///
    /// # Errors
    /// Code `not_found` for a file that is not there, `refused` in the device's words.
    pub fn upload(&self, file: &str, remote: &str) -> Result<Transfer> {
        self.0.upload(file, remote).map(transfer).map_err(of_host)
    }

    /// Writes a file of the device into the operator's directory.
    ///
    /// # Errors
    /// As [`Self::upload`].
    pub fn download(&self, remote: &str, file: &str) -> Result<Transfer> {
        self.0.download(remote, file).map(transfer).map_err(of_host)
    }

    /// The records in a reply of this device, by the operator's templates for its platform.
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
    /// The device did as it was told.
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
