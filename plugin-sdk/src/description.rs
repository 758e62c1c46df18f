//! The description of a plugin: targets, capabilities, retries.

use serde::Serialize;
use serde_json::Value;

/// How a plugin takes its targets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Targets {
    /// One job per target.
    Each,
    /// One job, which may open several targets.
    All,
    /// No targets.
    None,
}

/// The fate of a job that was interrupted while running.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum OnInterrupt {
    /// The job fails.
    #[default]
    Fail,
    /// The job runs again from the start: only for work that does no harm when repeated.
    Retry,
}

/// The description of a plugin and of the capabilities that it needs. The host denies everything
/// that is not declared here.
///
/// ```
/// # use plugin_sdk::{Description, Targets};
/// Description::new("Back up and push")
///     .targets(Targets::All)
///     .exec(["show *"])
///     .configure()
///     .storage()
///     .submit(["backup-config"]);
/// ```
#[derive(Clone, Debug, Serialize)]
pub struct Description {
    summary: String,
    targets: Targets,
    needs: Needs,
    on_interrupt: OnInterrupt,
    #[serde(skip_serializing_if = "Retry::is_default")]
    retry: Retry,
    params: Value,
}

#[derive(Clone, Debug, Default, Serialize)]
struct Retry {
    on: Vec<String>,
    not_on: Vec<String>,
}

impl Retry {
    fn is_default(&self) -> bool {
        self.on.is_empty() && self.not_on.is_empty()
    }
}

#[derive(Clone, Debug, Default, Serialize)]
struct Needs {
    #[serde(skip_serializing_if = "Option::is_none")]
    ssh: Option<Ssh>,
    storage: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    queue: Option<Queue>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    targets: Vec<String>,
}

#[derive(Clone, Debug, Default, Serialize)]
struct Ssh {
    exec: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    answers: Vec<String>,
    configure: Lines,
    upload: bool,
    download: bool,
}

#[derive(Clone, Debug, Serialize)]
#[serde(untagged)]
enum Lines {
    Any(bool),
    Matching(Vec<String>),
}

impl Default for Lines {
    fn default() -> Self {
        Self::Any(false)
    }
}

#[derive(Clone, Debug, Default, Serialize)]
struct Queue {
    submit: Vec<String>,
}

impl Description {
    /// Creates the description of a plugin without targets and capabilities.
    pub fn new(summary: impl Into<String>) -> Self {
        Self {
            summary: summary.into(),
            targets: Targets::None,
            needs: Needs::default(),
            on_interrupt: OnInterrupt::default(),
            retry: Retry::default(),
            params: Value::Null,
        }
    }

    #[must_use]
    pub fn targets(mut self, targets: Targets) -> Self {
        self.targets = targets;
        self
    }

    /// Declares sessions, and commands that these patterns cover: `show *`, where `*` matches any
    /// text.
    #[must_use]
    pub fn exec<P: Into<String>>(mut self, patterns: impl IntoIterator<Item = P>) -> Self {
        let exec = &mut self.ssh().exec;
        for pattern in patterns.into_iter().map(Into::into) {
            if !exec.contains(&pattern) {
                exec.push(pattern);
            }
        }
        self
    }

    /// Declares answers to devices' questions that these patterns cover. Plain confirmations
    /// (nothing, `y`, `n`, `yes`, `no`) and texts that [`Self::exec`] covers need no pattern.
    #[must_use]
    pub fn answers<P: Into<String>>(mut self, patterns: impl IntoIterator<Item = P>) -> Self {
        let answers = &mut self.ssh().answers;
        answers.extend(patterns.into_iter().map(Into::into));
        self
    }

    /// Declares that the plugin enters configuration mode, sends any line, and saves.
    #[must_use]
    pub fn configure(mut self) -> Self {
        self.ssh().configure = Lines::Any(true);
        self
    }

    /// Declares that the plugin enters configuration mode, sends lines that these patterns cover,
    /// and saves.
    #[must_use]
    pub fn configure_lines<P: Into<String>>(
        mut self,
        patterns: impl IntoIterator<Item = P>,
    ) -> Self {
        let patterns = patterns.into_iter().map(Into::into).collect();
        self.ssh().configure = Lines::Matching(patterns);
        self
    }

    /// Declares uploads of files from the operator's directory to devices.
    #[must_use]
    pub fn upload(mut self) -> Self {
        self.ssh().upload = true;
        self
    }

    /// Declares downloads of files from devices to the operator's directory.
    #[must_use]
    pub fn download(mut self) -> Self {
        self.ssh().download = true;
        self
    }

    /// Retries the job after errors with these codes as well.
    #[must_use]
    pub fn retry_on<C: Into<String>>(mut self, codes: impl IntoIterator<Item = C>) -> Self {
        self.retry.on.extend(codes.into_iter().map(Into::into));
        self
    }

    /// Never retries the job after errors with these codes.
    #[must_use]
    pub fn never_retry_on<C: Into<String>>(mut self, codes: impl IntoIterator<Item = C>) -> Self {
        self.retry.not_on.extend(codes.into_iter().map(Into::into));
        self
    }

    /// Declares values that the plugin keeps between jobs.
    #[must_use]
    pub fn storage(mut self) -> Self {
        self.needs.storage = true;
        self
    }

    /// Declares child jobs of these plugins; `*` allows any.
    #[must_use]
    pub fn submit<P: Into<String>>(mut self, plugins: impl IntoIterator<Item = P>) -> Self {
        let queue = self.needs.queue.get_or_insert_default();
        queue.submit.extend(plugins.into_iter().map(Into::into));
        self
    }

    /// Restricts the plugin to these targets: names, with `*` for any text, and tags such as
    /// `tag:core`. By default, it may open every target of its job.
    #[must_use]
    pub fn only_targets<P: Into<String>>(mut self, names: impl IntoIterator<Item = P>) -> Self {
        self.needs.targets.extend(names.into_iter().map(Into::into));
        self
    }

    /// Sets the fate of a job that was interrupted while running; by default, it fails.
    #[must_use]
    pub fn on_interrupt(mut self, choice: OnInterrupt) -> Self {
        self.on_interrupt = choice;
        self
    }

    pub(crate) fn with_params(mut self, schema: Value) -> Self {
        self.params = schema;
        self
    }

    fn ssh(&mut self) -> &mut Ssh {
        self.needs.ssh.get_or_insert_default()
    }
}
