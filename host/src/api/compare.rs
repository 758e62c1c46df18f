//! `/api/jobs/{id}/compare`: diffs the outputs of a job's commands against an earlier job's.

use std::collections::HashMap;
use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use serde::Deserialize;
use utoipa::IntoParams;
use uuid::Uuid;

use super::Problem;
use super::extract::{IdInPath, QueryParams};
use super::jobs::no_job;
use crate::app::App;
use crate::capabilities::unified_diff;
use crate::model::{CommandKind, CommandResult, Job, JobFilter, JobStatus};
use crate::wire;
use crate::wire::{Change, ComparedCommand, Comparison};

/// How many earlier jobs are searched for one to compare with.
const MAX_CANDIDATES: u32 = 200;
/// Limit of the commands and outputs of one comparison, in bytes.
const MAX_OUTPUT_BYTES: u64 = 64 << 20;

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct CompareQuery {
    /// The job to compare with; by default, the last earlier job that completed with the same plugin and
    /// parameters on the same targets.
    with: Option<Uuid>,
    /// Only results of this target.
    target: Option<String>,
}

/// Compares the outputs of two jobs per device and command, as unified diffs.
#[utoipa::path(
    get, path = "/jobs/{id}/compare", tag = "jobs", params(("id" = Uuid, Path), CompareQuery),
    responses(
        (status = 200, body = Comparison),
        (status = 404, description = "Job not found, or no earlier job to compare with", body = Problem, content_type = "application/problem+json"),
        (status = 422, description = "The outputs are too large; name one target", body = Problem, content_type = "application/problem+json"),
    )
)]
pub(super) async fn compare(
    State(app): State<Arc<App>>,
    IdInPath(id): IdInPath,
    QueryParams(query): QueryParams<CompareQuery>,
) -> Result<Json<Comparison>, Problem> {
    let job = app.storage.job(id).await?.ok_or_else(|| no_job(id))?;
    let with = match query.with {
        Some(with) => app.storage.job(with).await?.ok_or_else(|| no_job(with))?.id,
        None => before(&app, &job).await?.ok_or_else(|| {
            Problem::not_found(format!(
                "no earlier completed job with the plugin, parameters and targets of {id} found; name \
                 one with ?with="
            ))
        })?,
    };
    let mut budget = MAX_OUTPUT_BYTES;
    let target = query.target.as_deref();
    let old = results(&app, with, target, &mut budget).await?;
    let new = results(&app, id, target, &mut budget).await?;
    // Diffs of large texts are CPU-bound, so they run on a blocking thread.
    let commands = tokio::task::spawn_blocking(move || compared(&old, &new)).await;
    let commands = commands.map_err(|_| Problem::internal())?;
    Ok(Json(Comparison {
        id,
        with,
        changed: commands.iter().any(|one| one.change != Change::Same),
        commands,
    }))
}

/// Returns the most recent earlier job that completed with the same plugin, parameters and targets.
async fn before(app: &App, job: &Job) -> Result<Option<Uuid>, Problem> {
    let filter = JobFilter {
        status: Some(JobStatus::Completed),
        plugin: Some(job.plugin.clone()),
        target: job.targets.first().map(|target| target.name.clone()),
        after: Some((job.created_at, job.id)),
        same_as: Some(job.id),
        limit: MAX_CANDIDATES,
        ..JobFilter::default()
    };
    let earlier = app.storage.jobs(&filter).await?;
    let same = earlier.iter().find(|other| other.is_same);
    Ok(same.map(|listed| listed.job.id))
}

/// Returns a job's results on all targets or on one; the results of a batch are those of its child jobs.
async fn results(
    app: &App,
    id: Uuid,
    target: Option<&str>,
    budget: &mut u64,
) -> Result<Vec<CommandResult>, Problem> {
    let children = JobFilter {
        parent: Some(id),
        target: target.map(ToOwned::to_owned),
        limit: u32::MAX,
        ..JobFilter::default()
    };
    let children = app.storage.jobs(&children).await?;
    let mut children: Vec<Job> = children.into_iter().map(|listed| listed.job).collect();
    children.retain(|child| child.batch.is_none());
    children.sort_by_key(|child| child.id);
    let mut results = Vec::new();
    for id in std::iter::once(id).chain(children.into_iter().map(|child| child.id)) {
        // Check the size before reading the outputs into memory.
        let size = app.storage.output_bytes(id, target).await?;
        *budget = budget.checked_sub(size).ok_or_else(|| {
            let advice = match target {
                None => "; name one target",
                Some(_) => "",
            };
            let most = MAX_OUTPUT_BYTES >> 20;
            let message =
                format!("the outputs are too large: at most {most} MiB are compared{advice}");
            Problem::invalid_field("/target", message)
        })?;
        let more = app.storage.results(id).await?.into_iter();
        // Answers to questions are part of the command before them.
        let more = more.filter(|result| result.kind != CommandKind::Answer);
        results.extend(more.filter(|result| target.is_none_or(|target| target == result.target)));
    }
    Ok(results)
}

/// Pairs the commands with the same text on the same target in order: first with first, second with
/// second.
fn compared(old: &[CommandResult], new: &[CommandResult]) -> Vec<ComparedCommand> {
    let mut olds: HashMap<_, Vec<&CommandResult>> = HashMap::new();
    for result in old.iter().rev() {
        olds.entry(key(result)).or_default().push(result);
    }
    let mut commands = Vec::with_capacity(new.len());
    for result in new {
        let before = olds.get_mut(&key(result)).and_then(Vec::pop);
        commands.push(one(before, Some(result)));
    }
    let left = old.iter().filter(|result| {
        let left = olds.get(&key(result));
        left.is_some_and(|left| left.iter().any(|other| other.id == result.id))
    });
    commands.extend(left.map(|result| one(Some(result), None)));
    commands
}

fn key(result: &CommandResult) -> (&str, &str) {
    (&result.target, &result.command)
}

fn one(old: Option<&CommandResult>, new: Option<&CommandResult>) -> ComparedCommand {
    let (target, command) = old.or(new).map(key).unwrap_or_default();
    let (change, diff) = match (old, new) {
        (Some(old), Some(new)) if old.output == new.output => (Change::Same, None),
        (Some(old), Some(new)) => match unified_diff(&old.output, &new.output) {
            Ok(diff) => (Change::Changed, Some(diff)),
            Err(too_large) => (Change::Changed, Some(too_large.message)),
        },
        (None, _) => (Change::Added, None),
        (_, None) => (Change::Removed, None),
    };
    wire::ComparedCommand {
        target: target.to_owned(),
        command: command.to_owned(),
        change,
        diff,
    }
}
