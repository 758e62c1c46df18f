//! The host API of components: each function binds to one capability.
//!
//! A function converts its arguments, makes one capability call and converts the result. Permissions are
//! checked by the capabilities.

#![expect(
    unreachable_pub,
    reason = "the bindings hand out the types of the guest's handles in public traits"
)]

use std::time::Duration;

use wasmtime::component::{HasSelf, Linker, Resource};

use super::bindings::JobPlugin;
use super::bindings::job_scheduler::plugin::{
    job, log, progress, queue, ssh, storage, text, types,
};
use super::errors::no_handle;
use super::guest::Guest;
use crate::capabilities::{
    self, ChildJob, CommitOptions, ConfigureOptions, Configured, Device, ExecReply, Question,
    arguments, limits,
};
use crate::model::{ErrorCode, JobError, LogLevel, Progress};

type Result<T> = std::result::Result<T, JobError>;

#[derive(Clone, Default)]
pub struct ExecOptions {
    timeout: Option<Duration>,
    answers: Vec<Question>,
}

#[derive(Clone, Default)]
pub struct SaveOptions {
    answers: Vec<Question>,
}

#[derive(Default)]
pub struct SubmitOptions {
    targets: Vec<String>,
    description: Option<String>,
}

pub(super) fn add_to_linker(linker: &mut Linker<Guest>) -> wasmtime::Result<()> {
    JobPlugin::add_to_linker::<_, HasSelf<_>>(linker, |guest| guest)
}

impl types::Host for Guest {
    /// Converts an error for the guest. A stop is never passed to the guest, because it must not handle
    /// it.
    fn convert_error(&mut self, error: JobError) -> wasmtime::Result<types::Error> {
        match self.stopped() {
            Some(stopped) => Err(stopped.into()),
            None => Ok(error.into()),
        }
    }
}

impl job::Host for Guest {
    async fn id(&mut self) -> wasmtime::Result<String> {
        Ok(self.facts()?.id.to_string())
    }

    async fn plugin(&mut self) -> wasmtime::Result<String> {
        Ok(self.facts()?.plugin.clone())
    }

    async fn target(&mut self) -> wasmtime::Result<Option<String>> {
        Ok(self.facts()?.only_target().map(str::to_owned))
    }

    async fn targets(&mut self) -> wasmtime::Result<Vec<String>> {
        let targets = &self.facts()?.targets;
        Ok(targets.iter().map(|target| target.name.clone()).collect())
    }

    async fn attempt(&mut self) -> wasmtime::Result<u32> {
        Ok(self.facts()?.attempt)
    }

    async fn parent_id(&mut self) -> wasmtime::Result<Option<String>> {
        Ok(self.facts()?.parent_id.map(|id| id.to_string()))
    }

    async fn description(&mut self) -> wasmtime::Result<Option<String>> {
        Ok(self.facts()?.description.clone())
    }

    async fn sleep(&mut self, seconds: f64) -> Result<()> {
        let time = arguments::seconds("sleep", seconds)?;
        self.call(async |job| job.sleep(time).await).await
    }
}

impl ssh::Host for Guest {
    async fn open(&mut self, target: Option<String>) -> Result<Resource<Device>> {
        let device = self
            .call(async |job| job.ssh_open(target.as_deref()).await)
            .await?;
        self.table.push(device).map_err(no_handle)
    }
}

impl ssh::HostDevice for Guest {
    async fn target(&mut self, device: Resource<Device>) -> wasmtime::Result<String> {
        Ok(self.table.get(&device)?.target().to_owned())
    }

    async fn platform(&mut self, device: Resource<Device>) -> wasmtime::Result<String> {
        Ok(self.table.get(&device)?.platform().to_owned())
    }

    async fn prompt(&mut self, device: Resource<Device>) -> wasmtime::Result<String> {
        Ok(self.table.get(&device)?.prompt())
    }

    async fn exec(
        &mut self,
        device: Resource<Device>,
        command: String,
        options: Option<Resource<ExecOptions>>,
    ) -> Result<ssh::Reply> {
        ssh::HostDevice::send_interactive(self, device, command, Vec::new(), options).await
    }

    async fn exec_all(
        &mut self,
        device: Resource<Device>,
        commands: Vec<String>,
    ) -> Result<Vec<ssh::Reply>> {
        let device = self.device(&device)?;
        let replies = self
            .call(async |job| job.ssh_exec_all(&device, &commands).await)
            .await?;
        Ok(replies.into_iter().map(Into::into).collect())
    }

    async fn send_interactive(
        &mut self,
        device: Resource<Device>,
        command: String,
        questions: Vec<ssh::Question>,
        options: Option<Resource<ExecOptions>>,
    ) -> Result<ssh::Reply> {
        let device = self.device(&device)?;
        let ExecOptions { timeout, answers } = self.options(options)?;
        let own = questions.into_iter().map(|question| Question {
            expect: question.expect,
            answer: question.answer.into(),
            key: false,
            secret: None,
        });
        let questions: Vec<_> = own.chain(answers).collect();
        let reply = self
            .call(async |job| job.ssh_exec(&device, &command, &questions, timeout).await)
            .await?;
        Ok(reply.into())
    }

    async fn facts(&mut self, device: Resource<Device>) -> Result<Vec<(String, String)>> {
        let device = self.device(&device)?;
        let facts = self.call(async |job| job.ssh_facts(&device).await).await?;
        Ok(facts.into_iter().collect())
    }

    async fn configure(
        &mut self,
        device: Resource<Device>,
        lines: Vec<String>,
        options: Option<Resource<ConfigureOptions>>,
    ) -> Result<ssh::Configured> {
        let device = self.device(&device)?;
        let options = self.options(options)?;
        let configured = self
            .call(async |job| job.ssh_configure(&device, &lines, options).await)
            .await?;
        Ok(configured.into())
    }

    async fn commit(
        &mut self,
        device: Resource<Device>,
        options: Option<Resource<CommitOptions>>,
    ) -> Result<ssh::Reply> {
        let device = self.device(&device)?;
        let options = self.options(options)?;
        let reply = self
            .call(async |job| job.ssh_commit(&device, options).await)
            .await?;
        Ok(reply.into())
    }

    async fn rollback(
        &mut self,
        device: Resource<Device>,
        number: Option<u32>,
    ) -> Result<ssh::Reply> {
        let device = self.device(&device)?;
        let reply = self
            .call(async |job| job.ssh_rollback(&device, number).await)
            .await?;
        Ok(reply.into())
    }

    async fn save(&mut self, device: Resource<Device>) -> Result<ssh::Reply> {
        let device = self.device(&device)?;
        let reply = self
            .call(async |job| job.ssh_save(&device, &[]).await)
            .await?;
        Ok(reply.into())
    }

    async fn save_with(
        &mut self,
        device: Resource<Device>,
        options: Resource<SaveOptions>,
    ) -> Result<ssh::Reply> {
        let device = self.device(&device)?;
        let SaveOptions { answers } = self.options(Some(options))?;
        let reply = self
            .call(async |job| job.ssh_save(&device, &answers).await)
            .await?;
        Ok(reply.into())
    }

    async fn upload(
        &mut self,
        device: Resource<Device>,
        file: String,
        remote: String,
    ) -> Result<ssh::Transfer> {
        let device = self.device(&device)?;
        let transfer = self
            .call(async |job| job.ssh_upload(&device, &file, &remote).await)
            .await?;
        Ok(transfer.into())
    }

    async fn download(
        &mut self,
        device: Resource<Device>,
        remote: String,
        file: String,
    ) -> Result<ssh::Transfer> {
        let device = self.device(&device)?;
        let transfer = self
            .call(async |job| job.ssh_download(&device, &remote, &file).await)
            .await?;
        Ok(transfer.into())
    }

    async fn close(&mut self, device: Resource<Device>) -> Result<()> {
        let device = self.device(&device)?;
        self.call(async |job| {
            job.ssh_close(&device).await;
            Ok(())
        })
        .await
    }

    async fn drop(&mut self, device: Resource<Device>) -> wasmtime::Result<()> {
        self.table.delete(device)?;
        Ok(())
    }
}

impl ssh::HostAnswerOptions for Guest {
    async fn new(&mut self, expect: String, text: String) -> wasmtime::Result<Resource<Question>> {
        let question = Question {
            expect,
            answer: text.into(),
            key: false,
            secret: None,
        };
        Ok(self.table.push(question)?)
    }

    async fn key(&mut self, answer: Resource<Question>) -> wasmtime::Result<()> {
        self.table.get_mut(&answer)?.key = true;
        Ok(())
    }

    async fn secret(&mut self, answer: Resource<Question>, secret: bool) -> wasmtime::Result<()> {
        self.table.get_mut(&answer)?.secret = Some(secret);
        Ok(())
    }

    async fn drop(&mut self, answer: Resource<Question>) -> wasmtime::Result<()> {
        self.table.delete(answer)?;
        Ok(())
    }
}

impl ssh::HostSaveOptions for Guest {
    async fn new(&mut self) -> wasmtime::Result<Resource<SaveOptions>> {
        Ok(self.table.push(SaveOptions::default())?)
    }

    async fn answer(
        &mut self,
        options: Resource<SaveOptions>,
        answer: Resource<Question>,
    ) -> wasmtime::Result<()> {
        let answer = self.table.get(&answer)?.clone();
        add_answer(&mut self.table.get_mut(&options)?.answers, answer)
    }

    async fn drop(&mut self, options: Resource<SaveOptions>) -> wasmtime::Result<()> {
        self.table.delete(options)?;
        Ok(())
    }
}

impl ssh::HostExecOptions for Guest {
    async fn new(&mut self) -> wasmtime::Result<Resource<ExecOptions>> {
        Ok(self.table.push(ExecOptions::default())?)
    }

    async fn timeout(&mut self, options: Resource<ExecOptions>, seconds: f64) -> Result<()> {
        let time = arguments::seconds("timeout", seconds)?;
        self.options_of(&options)?.timeout = Some(time);
        Ok(())
    }

    async fn answer(
        &mut self,
        options: Resource<ExecOptions>,
        answer: Resource<Question>,
    ) -> wasmtime::Result<()> {
        let answer = self.table.get(&answer)?.clone();
        add_answer(&mut self.table.get_mut(&options)?.answers, answer)
    }

    async fn drop(&mut self, options: Resource<ExecOptions>) -> wasmtime::Result<()> {
        self.table.delete(options)?;
        Ok(())
    }
}

impl ssh::HostConfigureOptions for Guest {
    async fn new(&mut self) -> wasmtime::Result<Resource<ConfigureOptions>> {
        Ok(self.table.push(ConfigureOptions::default())?)
    }

    async fn on_refused(
        &mut self,
        options: Resource<ConfigureOptions>,
        choice: String,
    ) -> Result<()> {
        let choice = arguments::on_refused(&choice)?;
        self.options_of(&options)?.on_refused = choice;
        Ok(())
    }

    async fn commit(
        &mut self,
        options: Resource<ConfigureOptions>,
        commit: bool,
    ) -> wasmtime::Result<()> {
        self.table.get_mut(&options)?.stage = !commit;
        Ok(())
    }

    async fn confirm(&mut self, options: Resource<ConfigureOptions>, seconds: f64) -> Result<()> {
        let time = arguments::seconds("confirm", seconds)?;
        self.options_of(&options)?.commit.confirm_within = Some(time);
        Ok(())
    }

    async fn comment(
        &mut self,
        options: Resource<ConfigureOptions>,
        text: String,
    ) -> wasmtime::Result<()> {
        self.table.get_mut(&options)?.commit.comment = Some(text);
        Ok(())
    }

    async fn answer(
        &mut self,
        options: Resource<ConfigureOptions>,
        answer: Resource<Question>,
    ) -> wasmtime::Result<()> {
        let answer = self.table.get(&answer)?.clone();
        add_answer(&mut self.table.get_mut(&options)?.commit.answers, answer)
    }

    async fn drop(&mut self, options: Resource<ConfigureOptions>) -> wasmtime::Result<()> {
        self.table.delete(options)?;
        Ok(())
    }
}

impl ssh::HostCommitOptions for Guest {
    async fn new(&mut self) -> wasmtime::Result<Resource<CommitOptions>> {
        Ok(self.table.push(CommitOptions::default())?)
    }

    async fn confirm(&mut self, options: Resource<CommitOptions>, seconds: f64) -> Result<()> {
        let time = arguments::seconds("confirm", seconds)?;
        self.options_of(&options)?.confirm_within = Some(time);
        Ok(())
    }

    async fn comment(
        &mut self,
        options: Resource<CommitOptions>,
        text: String,
    ) -> wasmtime::Result<()> {
        self.table.get_mut(&options)?.comment = Some(text);
        Ok(())
    }

    async fn answer(
        &mut self,
        options: Resource<CommitOptions>,
        answer: Resource<Question>,
    ) -> wasmtime::Result<()> {
        let answer = self.table.get(&answer)?.clone();
        add_answer(&mut self.table.get_mut(&options)?.answers, answer)
    }

    async fn drop(&mut self, options: Resource<CommitOptions>) -> wasmtime::Result<()> {
        self.table.delete(options)?;
        Ok(())
    }
}

impl storage::Host for Guest {
    async fn get(&mut self, key: String) -> Result<Option<String>> {
        let value = self.call(async |job| job.storage_get(&key).await).await?;
        Ok(value.map(|value| value.to_string()))
    }

    async fn set(&mut self, key: String, value: String) -> Result<()> {
        capabilities::check_value_size(&key, value.len())?;
        let value = arguments::json("storage::set", &value, self.sandbox.memory_bytes)?;
        self.call(async |job| job.storage_set(&key, &value).await)
            .await
    }

    async fn delete(&mut self, key: String) -> Result<bool> {
        self.call(async |job| job.storage_delete(&key).await).await
    }

    async fn keys(&mut self, prefix: String) -> Result<Vec<String>> {
        self.call(async |job| job.storage_keys(&prefix).await).await
    }
}

impl queue::Host for Guest {
    async fn submit(
        &mut self,
        plugin: String,
        params: String,
        options: Option<Resource<SubmitOptions>>,
    ) -> Result<String> {
        let SubmitOptions {
            targets,
            description,
        } = match options {
            Some(options) => {
                let options = self.options_of(&options)?;
                SubmitOptions {
                    targets: options.targets.clone(),
                    description: options.description.clone(),
                }
            }
            None => SubmitOptions::default(),
        };
        capabilities::check_params_size(params.len())?;
        let child = ChildJob {
            plugin,
            params: arguments::json("queue::submit", &params, self.sandbox.memory_bytes)?,
            targets,
            description,
        };
        let id = self.call(async |job| job.queue_submit(child).await).await?;
        Ok(id.to_string())
    }

    async fn wait(&mut self, id: String, seconds: Option<f64>) -> Result<queue::Outcome> {
        let id = arguments::job_id("queue::wait", &id)?;
        let time = arguments::wait_time("queue::wait", seconds)?;
        let outcome = self
            .call(async |job| job.queue_wait(id, time).await)
            .await?;
        Ok(queue::Outcome {
            id: outcome.id.to_string(),
            status: outcome.status.as_str().to_owned(),
            result: outcome.result.map(|result| result.to_string()),
            error: outcome.error.map(Into::into),
        })
    }
}

impl queue::HostSubmitOptions for Guest {
    async fn new(&mut self) -> wasmtime::Result<Resource<SubmitOptions>> {
        Ok(self.table.push(SubmitOptions::default())?)
    }

    async fn targets(
        &mut self,
        options: Resource<SubmitOptions>,
        names: Vec<String>,
    ) -> wasmtime::Result<()> {
        self.table.get_mut(&options)?.targets = names;
        Ok(())
    }

    async fn description(
        &mut self,
        options: Resource<SubmitOptions>,
        text: String,
    ) -> wasmtime::Result<()> {
        self.table.get_mut(&options)?.description = Some(text);
        Ok(())
    }

    async fn drop(&mut self, options: Resource<SubmitOptions>) -> wasmtime::Result<()> {
        self.table.delete(options)?;
        Ok(())
    }
}

impl log::Host for Guest {
    async fn write(
        &mut self,
        level: String,
        message: String,
        fields: Option<String>,
    ) -> Result<()> {
        self.log(arguments::level(&level)?, &message, fields).await
    }

    async fn info(&mut self, message: String, fields: Option<String>) -> Result<()> {
        self.log(LogLevel::Info, &message, fields).await
    }

    async fn warn(&mut self, message: String, fields: Option<String>) -> Result<()> {
        self.log(LogLevel::Warn, &message, fields).await
    }

    async fn error(&mut self, message: String, fields: Option<String>) -> Result<()> {
        self.log(LogLevel::Error, &message, fields).await
    }
}

impl progress::Host for Guest {
    async fn progress(
        &mut self,
        done: u64,
        total: Option<u64>,
        message: Option<String>,
    ) -> Result<()> {
        let progress = Progress {
            done,
            total,
            message,
        };
        self.call(async |job| job.progress(progress).await).await
    }
}

impl text::Host for Guest {
    async fn parse(&mut self, platform: String, command: String, output: String) -> Result<String> {
        let records = self
            .call(async |job| job.parse(&platform, &command, &output).await)
            .await?;
        serde_json::to_string(&records)
            .map_err(|error| JobError::new(ErrorCode::INTERNAL, format!("the records: {error}")))
    }

    async fn diff(&mut self, old: String, new: String) -> Result<String> {
        self.compute(move || capabilities::unified_diff(&old, &new))
            .await
    }

    async fn without_lines(
        &mut self,
        text: String,
        prefixes: Vec<String>,
    ) -> wasmtime::Result<String> {
        let left = self.compute(move || Ok(capabilities::without_lines(&text, &prefixes)));
        left.await
            .map_err(|error| wasmtime::Error::msg(error.message))
    }

    async fn split_config(&mut self, platform: String, text: String) -> Result<Vec<String>> {
        self.compute(move || capabilities::split_config(&platform, &text))
            .await
    }
}

impl Guest {
    fn facts(&self) -> wasmtime::Result<&capabilities::JobFacts> {
        match self.job() {
            Ok(job) => Ok(job.job()),
            Err(error) => Err(wasmtime::Error::msg(error.message)),
        }
    }

    fn device(&self, device: &Resource<Device>) -> Result<Device> {
        self.table.get(device).cloned().map_err(no_handle)
    }

    fn options<T: Clone + Default + Send + 'static>(
        &self,
        options: Option<Resource<T>>,
    ) -> Result<T> {
        match options {
            Some(options) => self.table.get(&options).cloned().map_err(no_handle),
            None => Ok(T::default()),
        }
    }

    fn options_of<T: Send + 'static>(&mut self, options: &Resource<T>) -> Result<&mut T> {
        self.table.get_mut(options).map_err(no_handle)
    }

    async fn log(&mut self, level: LogLevel, message: &str, fields: Option<String>) -> Result<()> {
        // Drops fields that are too long.
        let fields = fields
            .filter(|fields| fields.len() <= limits::LOG_CONTEXT_BYTES)
            .map(|fields| arguments::json("log", &fields, self.sandbox.memory_bytes))
            .transpose()?;
        self.call(async |job| job.log(level, message, fields).await)
            .await
    }
}

/// Adds an answer to options. Stores at most one more than allowed: the call then rejects them.
fn add_answer(answers: &mut Vec<Question>, answer: Question) -> wasmtime::Result<()> {
    if answers.len() <= capabilities::limits::QUESTIONS {
        answers.push(answer);
    }
    Ok(())
}

impl From<ExecReply> for ssh::Reply {
    fn from(reply: ExecReply) -> Self {
        Self {
            command: reply.command,
            output: reply.output,
            exit_code: reply.exit_code,
            failure: reply.failure,
            elapsed_ms: milliseconds(reply.elapsed),
            truncated: reply.truncated,
        }
    }
}

impl From<Configured> for ssh::Configured {
    fn from(configured: Configured) -> Self {
        let lines = u32::try_from(configured.replies.len()).unwrap_or(u32::MAX);
        let replies = configured.replies.into_iter();
        Self {
            lines,
            refused: replies
                .filter(|reply| reply.failure.is_some())
                .map(Into::into)
                .collect(),
            diff: configured.diff,
            in_effect: configured.in_effect,
        }
    }
}

impl From<netssh_core::Transfer> for ssh::Transfer {
    fn from(transfer: netssh_core::Transfer) -> Self {
        Self {
            bytes: transfer.bytes,
            sha256: transfer.sha256,
            elapsed_ms: milliseconds(transfer.elapsed),
            protocol: transfer.protocol.as_str().to_owned(),
        }
    }
}

fn milliseconds(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}
