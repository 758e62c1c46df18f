//! Child jobs: implements [`ChildJobs`] for the capability `queue`.

use async_trait::async_trait;
use uuid::Uuid;

use super::{Jobs, SubmitError, check_params};
use crate::capabilities::{ChildJob, ChildJobs, ChildOutcome, ParentJob};
use crate::model::{ErrorCode, FieldError, JobError, NewJob, TargetMode, now};
use crate::storage::StorageError;

#[async_trait]
impl ChildJobs for Jobs {
    async fn submit(&self, parent: &ParentJob<'_>, child: ChildJob) -> Result<Uuid, JobError> {
        let refused = |error: SubmitError| refusal(&child.plugin, &error);
        self.deps.registry.compiled(&child.plugin).await;
        let plugin = self.plugin(&child.plugin).map_err(refused)?;
        let targets: Vec<_> = parent
            .targets
            .iter()
            .filter(|target| child.targets.contains(&target.name))
            .cloned()
            .collect();
        let mut params = child.params;
        plugin.fill_defaults(&mut params);
        let mut errors = check_params(&plugin, &params);
        let wrong = match plugin.description.targets {
            TargetMode::None => (!targets.is_empty()).then_some("takes no target"),
            TargetMode::Each => (targets.len() != 1).then_some("takes exactly one target"),
            TargetMode::All => targets.is_empty().then_some("needs at least one target"),
        };
        errors.extend(
            wrong.map(|wrong| FieldError::new("/targets", format!("`{}` {wrong}", plugin.name))),
        );
        let long = child
            .description
            .as_ref()
            .is_some_and(|text| text.len() > 1_000);
        errors.extend(
            long.then(|| FieldError::new("/description", "expected at most 1000 bytes".to_owned())),
        );
        if !errors.is_empty() {
            return Err(refused(SubmitError::Invalid(errors)));
        }
        let job = NewJob {
            id: Uuid::now_v7(),
            plugin: child.plugin.clone(),
            params,
            targets,
            priority: 0,
            description: child.description.clone(),
            parent_id: Some(parent.id),
            depth: parent.depth + 1,
            created_at: now(),
            scheduled_for: None,
            timeout_seconds: None,
            max_retries: 0,
            on_interrupt: plugin.description.on_interrupt,
            idempotency: None,
            batch: None,
            held: false,
            rerun_of: None,
            schedule: None,
            submitted_by: parent.submitted_by.map(str::to_owned),
            bounds: parent.bounds.clone(),
        };
        let (id, _) = self.add(job, None).await.map_err(refused)?;
        Ok(id)
    }

    async fn wait(&self, id: Uuid) -> Result<ChildOutcome, JobError> {
        let job = self.wait(id).await.map_err(|error| {
            tracing::error!(%error, "failed to wait for a child job");
            JobError::new(
                ErrorCode::INTERNAL,
                "the database of the server is not available",
            )
        })?;
        let job = job.ok_or_else(|| {
            JobError::new(ErrorCode::NOT_FOUND, format!("child job {id} was deleted"))
        })?;
        Ok(ChildOutcome {
            id,
            status: job.status,
            result: job.result,
            error: job.error,
        })
    }

    async fn cancel(&self, id: Uuid) {
        if let Err(error) = self.cancel(id).await {
            tracing::error!(job_id = %id, %error, "failed to cancel a child job");
        }
    }
}

/// Converts the error of a rejected submission for the job that submitted it.
fn refusal(plugin: &str, error: &SubmitError) -> JobError {
    let code = match error {
        SubmitError::UnknownPlugin(_) | SubmitError::BrokenPlugin(..) => ErrorCode::NOT_FOUND,
        SubmitError::CompilingPlugin(_) => ErrorCode::UNAVAILABLE,
        SubmitError::NotGranted(..) => ErrorCode::DENIED,
        SubmitError::Invalid(_) | SubmitError::KeyReused => ErrorCode::INVALID,
        SubmitError::Storage(StorageError::LowSpace(_)) => ErrorCode::LIMIT,
        SubmitError::Storage(_) => ErrorCode::INTERNAL,
    };
    let mut message = format!("failed to submit a job of `{plugin}`: {error}");
    if let SubmitError::Invalid(errors) = error {
        for error in errors {
            message.push_str(&format!("; {}: {}", error.pointer, error.message));
        }
    }
    JobError::new(code, message)
}
