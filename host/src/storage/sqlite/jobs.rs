//! Submitted jobs: add, list, count, cancel, delete.

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use serde_json::{Value, json};
use sqlx::sqlite::{Sqlite, SqliteRow};
use sqlx::{QueryBuilder, Row, SqliteConnection};
use tokio::sync::broadcast;
use uuid::Uuid;

use super::batching::{self, BatchedWrite, SqliteQuery};
use super::{Result, SqliteStorage, StorageError, batches, connections, is_unique, rows, text_of};
use crate::model::{
    Connection, ErrorCode, Job, JobFilter, JobStatus, JobTexts, ListedJob, NewJob, StatusCounts,
};
use crate::storage::{AddOutcome, CancelOutcome, DeleteOutcome, JobStore};

#[async_trait]
impl JobStore for SqliteStorage {
    async fn add_job(
        &self,
        job: &NewJob,
        children: &[Uuid],
        inline: Option<&Connection>,
    ) -> Result<AddOutcome> {
        let key = job.idempotency.clone();
        let new = AddJob::of(job);
        let added = if children.is_empty() && inline.is_none() {
            self.writer.batched(new).await
        } else {
            self.add_with(new, job, children, inline).await
        };
        match (added, key) {
            (Ok(()), _) => Ok(AddOutcome::Added),
            (Err(StorageError::Database(error)), Some((key, digest))) if is_unique(&error) => {
                let Some((first, first_digest)) = self.job_with_key(&key).await? else {
                    return Err(error.into());
                };
                if first_digest == digest {
                    Ok(AddOutcome::Same(Box::new(first)))
                } else {
                    Ok(AddOutcome::KeyReused)
                }
            }
            (Err(error), _) => Err(error),
        }
    }

    async fn job_with_key(&self, key: &str) -> Result<Option<(Job, String)>> {
        let row = sqlx::query("SELECT * FROM jobs WHERE idempotency_key = ?")
            .bind(key)
            .fetch_optional(&self.readers)
            .await?;
        // Jobs from before digests were keyed have none; no request matches them.
        row.map(|row| {
            let digest: Option<String> = row.try_get("request_digest")?;
            Ok((rows::job(&row)?, digest.unwrap_or_default()))
        })
        .transpose()
    }

    async fn job(&self, id: Uuid) -> Result<Option<Job>> {
        let row = sqlx::query("SELECT * FROM jobs WHERE id = ?")
            .bind(id.to_string())
            .fetch_optional(&self.readers)
            .await?;
        row.as_ref().map(rows::job).transpose()
    }

    async fn listed_job(&self, id: Uuid) -> Result<Option<ListedJob>> {
        let columns = listed_columns();
        let row = sqlx::query(sqlx::AssertSqlSafe(format!(
            "SELECT {columns}, 0 AS is_same FROM jobs WHERE id = ?"
        )))
        .bind(id.to_string())
        .fetch_optional(&self.readers)
        .await?;
        row.as_ref().map(rows::listed_job).transpose()
    }

    async fn job_texts(&self, id: Uuid) -> Result<Option<JobTexts>> {
        let row =
            sqlx::query("SELECT payload, result, targets, error_message FROM jobs WHERE id = ?")
                .bind(id.to_string())
                .fetch_optional(&self.readers)
                .await?;
        row.as_ref().map(rows::job_texts).transpose()
    }

    async fn jobs(&self, filter: &JobFilter) -> Result<Vec<ListedJob>> {
        // Uses the index of the parent or of the target, which has the order of the listing, instead of
        // sorting or scanning all jobs.
        let (from, created_at, id, plugin) = match (filter.parent, &filter.target) {
            (Some(_), _) => (
                "jobs INDEXED BY jobs_of_parent",
                "created_at",
                "id",
                "job_type",
            ),
            (None, None) => ("jobs", "created_at", "id", "job_type"),
            (None, Some(_)) => (
                "job_targets AS target CROSS JOIN jobs ON jobs.id = target.job_id",
                "target.created_at",
                "target.job_id",
                "target.job_type",
            ),
        };
        let mut query = QueryBuilder::<Sqlite>::new("SELECT ");
        query.push(listed_columns());
        match filter.same_as {
            None => {
                query.push(", 0 AS is_same");
            }
            Some(same) => {
                query
                    .push(
                        ", (SELECT other.payload = jobs.payload AND other.targets = jobs.targets
                                   AND (other.batch IS NULL) = (jobs.batch IS NULL)
                            FROM jobs AS other WHERE other.id = ",
                    )
                    .push_bind(same.to_string())
                    .push(") AS is_same");
            }
        }
        query.push(" FROM ").push(from).push(" WHERE 1 = 1");
        if let Some(status) = filter.status {
            query.push(" AND status = ").push_bind(status.as_str());
        }
        if let Some(name) = &filter.plugin {
            query
                .push(format!(" AND {plugin} = "))
                .push_bind(name.clone());
        }
        if let Some(target) = &filter.target {
            match filter.parent {
                None => query.push(" AND target.name = ").push_bind(target.clone()),
                Some(_) => query
                    .push(
                        " AND EXISTS (SELECT 1 FROM job_targets WHERE job_id = jobs.id AND name = ",
                    )
                    .push_bind(target.clone())
                    .push(")"),
            };
        }
        if let Some(parent) = filter.parent {
            query
                .push(" AND parent_id = ")
                .push_bind(parent.to_string());
        }
        if let Some(time) = filter.created_after {
            query
                .push(format!(" AND {created_at} > "))
                .push_bind(text_of(time));
        }
        if let Some(time) = filter.created_before {
            query
                .push(format!(" AND {created_at} < "))
                .push_bind(text_of(time));
        }
        if let Some((time, last)) = filter.after {
            query
                .push(format!(" AND ({created_at}, {id}) < ("))
                .push_bind(text_of(time))
                .push(", ")
                .push_bind(last.to_string())
                .push(")");
        }
        query
            .push(format!(" ORDER BY {created_at} DESC, {id} DESC LIMIT "))
            .push_bind(filter.limit);
        let found = query.build().fetch_all(&self.readers).await?;
        found.iter().map(rows::listed_job).collect()
    }

    // Whole hours come from `job_counts`, the partial first hour from `jobs`.
    async fn count_jobs(&self, created_after: Option<DateTime<Utc>>) -> Result<StatusCounts> {
        let found = match created_after {
            None => {
                sqlx::query("SELECT status, sum(jobs) AS jobs FROM job_counts GROUP BY status")
                    .fetch_all(&self.readers)
                    .await?
            }
            Some(time) => {
                let time = text_of(time);
                sqlx::query(
                    "SELECT status, sum(jobs) AS jobs FROM (
                         SELECT status, jobs FROM job_counts WHERE hour > substr(?1, 1, 13)
                         UNION ALL
                         SELECT status, count(*) AS jobs FROM jobs
                         WHERE status IN ('pending', 'running', 'completed', 'failed', 'cancelled', 'retrying')
                               AND created_at > ?1 AND created_at < substr(?1, 1, 13) || ':99'
                         GROUP BY status
                     ) GROUP BY status",
                )
                .bind(time)
                .fetch_all(&self.readers)
                .await?
            }
        };
        let mut counts = StatusCounts::default();
        for row in found {
            let status: &str = row.try_get("status")?;
            let status = JobStatus::parse(status)
                .ok_or_else(|| StorageError::Corrupt("column `status`".to_owned()))?;
            *counts.of(status) = row.try_get::<i64, _>("jobs")?.unsigned_abs();
        }
        Ok(counts)
    }

    async fn count_children(&self, id: Uuid) -> Result<u64> {
        let count: i64 = sqlx::query_scalar("SELECT count(*) FROM jobs WHERE parent_id = ?")
            .bind(id.to_string())
            .fetch_one(&self.readers)
            .await?;
        Ok(count.unsigned_abs())
    }

    async fn cancel_job(&self, id: Uuid, now: DateTime<Utc>) -> Result<CancelOutcome> {
        let key = id.to_string();
        let cancelled = self
            .writer
            .run(move |connection| {
                Box::pin(async move {
                    let Some(status) = status_of(connection, &key).await? else {
                        return Ok(CancelOutcome::NotFound);
                    };
                    if status.is_final() {
                        return Ok(CancelOutcome::Finished);
                    }
                    if is_batch(connection, &key).await? {
                        batches::request_cancel(connection, &key, now).await?;
                        return Ok(CancelOutcome::Requested);
                    }
                    if status.is_waiting() {
                        sqlx::query(
                            "UPDATE jobs SET status = 'cancelled', held = 0, cancel_requested = 1, completed_at = ?,
                                    error_code = ?,
                                    error_message = iif(attempt = 0, 'cancelled before it started',
                                                        'cancelled while it waited for its next attempt')
                             WHERE id = ?",
                        )
                        .bind(text_of(now))
                        .bind(ErrorCode::CANCELLED)
                        .bind(&key)
                        .execute(&mut *connection)
                        .await?;
                        return Ok(CancelOutcome::Cancelled);
                    }
                    sqlx::query("UPDATE jobs SET cancel_requested = 1 WHERE id = ?")
                        .bind(&key)
                        .execute(&mut *connection)
                        .await?;
                    Ok(CancelOutcome::Requested)
                })
            })
            .await;
        self.publish_if_ok(id, cancelled)
    }

    async fn delete_job(&self, id: Uuid) -> Result<DeleteOutcome> {
        let key = id.to_string();
        let deleted = self
            .writer
            .run(move |connection| {
                Box::pin(async move {
                    let Some(status) = status_of(connection, &key).await? else {
                        return Ok(DeleteOutcome::NotFound);
                    };
                    let running_below: i64 = sqlx::query_scalar(
                        "WITH RECURSIVE below (id, status) AS (
                             SELECT id, status FROM jobs WHERE parent_id = ?
                             UNION ALL
                             SELECT jobs.id, jobs.status FROM jobs JOIN below ON jobs.parent_id = below.id
                         )
                         SELECT count(*) FROM below WHERE status = 'running'",
                    )
                    .bind(&key)
                    .fetch_one(&mut *connection)
                    .await?;
                    if status == JobStatus::Running || running_below > 0 {
                        return Ok(DeleteOutcome::Running);
                    }
                    sqlx::query("DELETE FROM jobs WHERE id = ?")
                        .bind(&key)
                        .execute(&mut *connection)
                        .await?;
                    Ok(DeleteOutcome::Deleted)
                })
            })
            .await;
        self.publish_if_ok(id, deleted)
    }

    fn changes(&self) -> broadcast::Receiver<Uuid> {
        self.changes.subscribe()
    }
}

impl SqliteStorage {
    /// Adds a job together with its child jobs and its inline connection.
    async fn add_with(
        &self,
        new: AddJob,
        job: &NewJob,
        children: &[Uuid],
        inline: Option<&Connection>,
    ) -> Result<()> {
        let children = children.iter().zip(&job.targets);
        let children: Vec<_> = children
            .map(|(id, target)| json!({ "id": id, "target": target }))
            .collect();
        let inline = inline.cloned();
        self.writer
            .run(move |connection| {
                Box::pin(async move {
                    batching::execute_one(connection, &new).await?;
                    if !children.is_empty() {
                        insert_children(connection, &new, &Value::from(children)).await?;
                    }
                    if let Some(inline) = &inline {
                        connections::insert(connection, inline).await?;
                    }
                    Ok(())
                })
            })
            .await
    }
}

/// A new job in the form in which it is stored.
pub(super) struct AddJob {
    id: String,
    targets: String,
    created_at: String,
    plugin: String,
    params: String,
    priority: i32,
    description: Option<String>,
    parent_id: Option<String>,
    depth: u32,
    scheduled_for: Option<String>,
    ready_at: String,
    timeout_seconds: Option<u32>,
    max_retries: u32,
    on_interrupt: &'static str,
    idempotency: (Option<String>, Option<String>),
    batch: Option<String>,
    held: bool,
    rerun_of: Option<String>,
    schedule: (Option<String>, Option<String>),
    bounds: Option<String>,
    submitted_by: Option<String>,
}

impl AddJob {
    fn of(job: &NewJob) -> Self {
        let (schedule_id, cron_expression) = job.schedule.clone().unzip();
        Self {
            id: job.id.to_string(),
            targets: json!(job.targets).to_string(),
            created_at: text_of(job.created_at),
            plugin: job.plugin.clone(),
            params: job.params.to_string(),
            priority: job.priority,
            description: job.description.clone(),
            parent_id: job.parent_id.map(|id| id.to_string()),
            depth: job.depth,
            scheduled_for: job.scheduled_for.map(text_of),
            ready_at: text_of(job.scheduled_for.unwrap_or(job.created_at)),
            timeout_seconds: job.timeout_seconds,
            max_retries: job.max_retries,
            on_interrupt: job.on_interrupt.as_str(),
            idempotency: job.idempotency.clone().unzip(),
            batch: job.batch.map(|batch| json!(batch).to_string()),
            held: job.held,
            rerun_of: job.rerun_of.map(|id| id.to_string()),
            schedule: (schedule_id.map(|id| id.to_string()), cron_expression),
            bounds: (!job.bounds.is_empty()).then(|| json!(job.bounds).to_string()),
            submitted_by: job.submitted_by.clone(),
        }
    }
}

impl BatchedWrite for AddJob {
    type Output = ();

    const STATEMENTS: &str = "
        INSERT INTO jobs (id, targets, created_at, job_type, payload, status, priority, description,
                          parent_id, depth, scheduled_for, ready_at, timeout_seconds, max_retries,
                          on_interrupt, idempotency_key, request_digest, batch, held, rerun_of,
                          schedule_id, cron_expression, bounds, submitted_by)
        VALUES ($1, $2, $3, $4, $5, 'pending', $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16,
                $17, $18, $19, $20, $21, $22, $23);

        INSERT INTO job_targets (job_id, name, connection_id, created_at, job_type)
        SELECT $1, value ->> 'name', value ->> 'connection_id', $3, $4 FROM json_each($2)";
    const PARAMETERS: usize = 23;

    fn bind<'q>(&self, query: SqliteQuery<'q>) -> SqliteQuery<'q> {
        query
            .bind(self.id.clone())
            .bind(self.targets.clone())
            .bind(self.created_at.clone())
            .bind(self.plugin.clone())
            .bind(self.params.clone())
            .bind(self.priority)
            .bind(self.description.clone())
            .bind(self.parent_id.clone())
            .bind(self.depth)
            .bind(self.scheduled_for.clone())
            .bind(self.ready_at.clone())
            .bind(self.timeout_seconds)
            .bind(self.max_retries)
            .bind(self.on_interrupt)
            .bind(self.idempotency.0.clone())
            .bind(self.idempotency.1.clone())
            .bind(self.batch.clone())
            .bind(self.held)
            .bind(self.rerun_of.clone())
            .bind(self.schedule.0.clone())
            .bind(self.schedule.1.clone())
            .bind(self.bounds.clone())
            .bind(self.submitted_by.clone())
    }

    fn output(&self, _: Option<&SqliteRow>) -> Result<()> {
        Ok(())
    }
}

/// Inserts the child jobs of a batch: copies of the batch, each with its own id and target.
async fn insert_children(
    connection: &mut SqliteConnection,
    batch: &AddJob,
    children: &Value,
) -> Result<()> {
    sqlx::query(
        "INSERT INTO jobs (id, targets, parent_id, depth, created_at, job_type, payload, status,
                           priority, description, scheduled_for, ready_at, timeout_seconds,
                           max_retries, on_interrupt, held, bounds, submitted_by)
         SELECT child.value ->> 'id', json_array(child.value -> 'target'), batch.id, depth + 1,
                created_at, job_type, payload, status, priority, description, scheduled_for,
                ready_at, timeout_seconds, max_retries, on_interrupt, held, bounds, submitted_by
         FROM jobs AS batch, json_each(?2) AS child WHERE batch.id = ?1;

         INSERT INTO job_targets (job_id, name, connection_id, created_at, job_type)
         SELECT value ->> 'id', value ->> '$.target.name', value ->> '$.target.connection_id', ?3, ?4
         FROM json_each(?2)",
    )
    .bind(&batch.id)
    .bind(children.to_string())
    .bind(&batch.created_at)
    .bind(&batch.plugin)
    .execute(&mut *connection)
    .await?;
    Ok(())
}

/// Returns the columns of a job without large fields. Lengths are read from the row headers.
fn listed_columns() -> String {
    let (params, targets, error) = (
        ListedJob::PARAMS_BYTES,
        ListedJob::TARGETS,
        ListedJob::ERROR_CHARS,
    );
    format!(
        "jobs.id, jobs.job_type, plugin_digest, status, priority, description, dry_run, parent_id, depth,
         jobs.created_at, started_at, completed_at, scheduled_for, ready_at, cron_expression, schedule_id,
         timeout_seconds, attempt, retry_count, max_retries, on_interrupt, cancel_requested, error_code,
         substr(error_message, 1, {error}) AS error_message, worker_id, progress, batch, held, rerun_of,
         NULL AS result, NULL AS bounds, submitted_by,
         iif(octet_length(payload) <= {params}, payload, 'null') AS payload,
         octet_length(payload) AS params_bytes, octet_length(jobs.result) AS result_bytes,
         json_array_length(targets) AS target_count,
         iif(octet_length(targets) <= {targets} * 64, targets,
             (SELECT json_group_array(json(value))
              FROM (SELECT value FROM json_each(jobs.targets) LIMIT {targets}))) AS targets"
    )
}

async fn is_batch(connection: &mut SqliteConnection, id: &str) -> Result<bool> {
    let batch = sqlx::query_scalar("SELECT batch IS NOT NULL FROM jobs WHERE id = ?")
        .bind(id)
        .fetch_one(&mut *connection)
        .await?;
    Ok(batch)
}

async fn status_of(connection: &mut SqliteConnection, id: &str) -> Result<Option<JobStatus>> {
    let status: Option<String> = sqlx::query_scalar("SELECT status FROM jobs WHERE id = ?")
        .bind(id)
        .fetch_optional(&mut *connection)
        .await?;
    status
        .map(|text| {
            JobStatus::parse(&text)
                .ok_or_else(|| StorageError::Corrupt("column `status`".to_owned()))
        })
        .transpose()
}
