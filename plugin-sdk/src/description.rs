//! What a plugin says of itself.

use serde::Serialize;
use serde_json::Value;

/// How a plugin takes its targets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Targets {
    /// One job, one target.
    Each,
    /// One job may open several targets.
    All,
    /// No target.
    None,
}

/// What happens to a job that was cut off in mid-run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum OnInterrupt {
    /// It has failed.
    #[default]
    Fail,
    /// It runs again from the start: only for what does no harm when it is done twice.
    Retry,
}

/// What a plugin is, and what it needs. Whatever it does not ask for here is refused.
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
    /// A plugin that takes no target and needs nothing.
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

    /// It opens sessions and runs commands that these patterns cover, `*` for any text: `show *`.
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

    /// It writes files of the operator's directory to devices.
    #[must_use]
    pub fn upload(mut self) -> Self {
        self.ssh().upload = true;
        self
    }

    /// It writes files of devices into the operator's directory.
    #[must_use]
    pub fn download(mut self) -> Self {
        self.ssh().download = true;
        self
    }

    /// Errors with these codes are worth another attempt, too.
    #[must_use]
    pub fn retry_on<C: Into<String>>(mut self, codes: impl IntoIterator<Item = C>) -> Self {
        self.retry.on.extend(codes.into_iter().map(Into::into));
        self
    }

    /// Errors with these codes are not worth another attempt.
    #[must_use]
    pub fn never_retry_on<C: Into<String>>(mut self, codes: impl IntoIterator<Item = C>) -> Self {
        self.retry.not_on.extend(codes.into_iter().map(Into::into));
        self
    }

    /// It keeps values between jobs.
    #[must_use]
    pub fn storage(mut self) -> Self {
        self.needs.storage = true;
        self
    }

    /// It submits jobs of these plugins; `*` for any.
    #[must_use]
    pub fn submit<P: Into<String>>(mut self, plugins: impl IntoIterator<Item = P>) -> Self {
        let queue = self.needs.queue.get_or_insert_default();
        queue.submit.extend(plugins.into_iter().map(Into::into));
        self
    }

    /// It opens only these targets: names, with `*` for any text, and tags as `tag:core`. Without
    /// this, any that a job is submitted for.
    #[must_use]
    pub fn only_targets<P: Into<String>>(mut self, names: impl IntoIterator<Item = P>) -> Self {
        self.needs.targets.extend(names.into_iter().map(Into::into));
        self
    }

    /// What happens to a job that was cut off in mid-run; without this, it has failed.
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
