//! Crash recovery: jobs recorded as running without a process that runs them.

use crate::model::{ErrorCode, InFlight, Job, JobError, JobLog, LogLevel, OnInterrupt, now};
use crate::storage::{Claim, Outcome, Result, Storage};

/// After this many interrupted attempts, a job is assumed to be what crashes the process.
const ATTEMPTS: u32 = 3;

/// Ends the jobs that a dead process left running, as their plugins declare: failed as interrupted, or
/// pending again.
///
/// # Errors
/// If the database is unavailable.
pub async fn end_interrupted(storage: &dyn Storage) -> Result<()> {
    for job in storage.running_jobs().await? {
        let claim = Claim {
            job_id: job.id,
            attempt: job.attempt,
            worker_id: job.worker_id.clone().unwrap_or_default(),
        };
        let in_flight = storage.commands_in_flight(job.id).await?;
        let (level, outcome, error) = end_of(&job, &in_flight);
        tracing::warn!(job_id = %job.id, plugin = %job.plugin, "{error}");
        let line = JobLog::of(job.id, level, error.to_string());
        storage.add_logs(vec![line]).await?;
        storage.finish_job(&claim, outcome, now()).await?;
    }
    Ok(())
}

fn end_of(job: &Job, in_flight: &[InFlight]) -> (LogLevel, Outcome, JobError) {
    let interrupted = |message: &str| JobError::new(ErrorCode::INTERRUPTED, message);
    if job.cancel_requested {
        let error = JobError::new(
            ErrorCode::CANCELLED,
            "cancelled; the server stopped before the job did",
        );
        return (LogLevel::Warn, Outcome::Cancelled(error.clone()), error);
    }
    match job.on_interrupt {
        OnInterrupt::Retry if job.attempt < ATTEMPTS => {
            let error =
                interrupted("the server stopped while the job was running; the job runs again");
            (LogLevel::Warn, Outcome::RunAgain(error.clone()), error)
        }
        OnInterrupt::Retry => {
            let error = interrupted(&format!(
                "the server stopped during each of {} attempts; no more retries",
                job.attempt
            ));
            (LogLevel::Error, Outcome::Failed(error.clone()), error)
        }
        OnInterrupt::Fail => {
            let error = interrupted(&match in_flight {
                [] => {
                    "the server stopped while the job was running; no change was being sent to a \
                       device"
                        .to_owned()
                }
                commands => {
                    let named =
                        |command: &InFlight| format!("`{}` on {}", command.command, command.target);
                    let commands: Vec<_> = commands.iter().map(named).collect();
                    format!(
                        "the server stopped while {} was being sent; it is unknown whether the device \
                         executed it",
                        commands.join(", ")
                    )
                }
            });
            (LogLevel::Error, Outcome::Failed(error.clone()), error)
        }
    }
}
