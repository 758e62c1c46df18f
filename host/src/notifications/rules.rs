//! Who wants to be told of which jobs.

use std::collections::HashSet;

use anyhow::Context as _;

use crate::config::RuleConfig;
use crate::model::{Connection, Job, NotificationEvent, Target, TargetExpression, matches_pattern};

pub(super) struct Rule {
    pub(super) on: Vec<NotificationEvent>,
    /// Patterns; none: all plugins.
    plugins: Vec<String>,
    pub(super) targets: Option<TargetExpression>,
    pub(super) channels: Vec<String>,
}

impl Rule {
    pub(super) fn build(config: &RuleConfig) -> anyhow::Result<Self> {
        let targets = config.targets.as_deref().map(TargetExpression::parse);
        let targets = targets.transpose().map_err(anyhow::Error::msg);
        Ok(Self {
            on: config.on.clone(),
            plugins: config.plugins.clone(),
            targets: targets.context("notifications.rules: targets")?,
            channels: config.channels.clone(),
        })
    }

    /// Whether it is for jobs of this plugin.
    pub(super) fn takes(&self, job: &Job) -> bool {
        let mut patterns = self.plugins.iter();
        self.plugins.is_empty() || patterns.any(|pattern| matches_pattern(pattern, &job.plugin))
    }

    /// Whether it is for jobs on one of these devices.
    pub(super) fn fits(&self, devices: &[Connection]) -> bool {
        match &self.targets {
            None => true,
            Some(expression) => devices.iter().any(|device| expression.matches(device)),
        }
    }
}

/// The targets that a job's end is about: of a batch those that have failed, if some have.
pub(super) fn failed_targets(job: &Job) -> Vec<&Target> {
    let failed = job
        .batch
        .and(job.result.as_ref())
        .and_then(|result| result.get("failed")?.as_array());
    let names: HashSet<&str> = failed
        .into_iter()
        .flatten()
        .filter_map(|name| name.as_str())
        .collect();
    let is_meant = |target: &&Target| names.is_empty() || names.contains(target.name.as_str());
    job.targets.iter().filter(is_meant).collect()
}
