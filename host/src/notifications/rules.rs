//! Rules that select which jobs are reported to which channels.

use std::collections::HashSet;

use anyhow::Context as _;

use crate::config::RuleConfig;
use crate::model::{Connection, Job, NotificationEvent, Target, TargetExpression, matches_pattern};

/// A configured rule.
pub(super) struct Rule {
    pub(super) on: Vec<NotificationEvent>,
    /// Patterns of plugin names; empty: all plugins.
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

    /// Returns whether the rule covers the job's plugin.
    pub(super) fn takes(&self, job: &Job) -> bool {
        let mut patterns = self.plugins.iter();
        self.plugins.is_empty() || patterns.any(|pattern| matches_pattern(pattern, &job.plugin))
    }

    /// Returns whether the rule covers one of these devices.
    pub(super) fn fits(&self, devices: &[Connection]) -> bool {
        match &self.targets {
            None => true,
            Some(expression) => devices.iter().any(|device| expression.matches(device)),
        }
    }
}

/// Returns the targets to report: the failed ones of a batch, otherwise all.
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
