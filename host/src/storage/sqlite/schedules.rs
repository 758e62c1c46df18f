//! Schedules and their occurrences.

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use sqlx::sqlite::SqliteRow;
use sqlx::{Row, SqliteConnection};
use uuid::Uuid;

use super::rows::{json, named as column, optional, time, uuid};
use super::{Result, SqliteStorage, StorageError, is_unique, text_of};
use crate::model::{ListedJob, ListedSchedule, Misfire, Overlap, Schedule, Tick};
use crate::storage::{AddScheduleOutcome, Page, ScheduleStore};

/// Occurrences kept per schedule, so that none fires twice.
const TICKS_KEPT: u32 = 100;

#[async_trait]
impl ScheduleStore for SqliteStorage {
    async fn add_schedule(
        &self,
        schedule: &Schedule,
        idempotency: Option<&(String, String)>,
    ) -> Result<AddScheduleOutcome> {
        let (row, request) = (schedule.clone(), idempotency.cloned());
        let added = self
            .writer
            .run(move |connection| Box::pin(async move { insert(connection, &row, request).await }))
            .await;
        match (added, idempotency) {
            (Ok(()), _) => Ok(AddScheduleOutcome::Added),
            (Err(StorageError::Database(error)), Some((key, digest))) if is_unique(&error) => {
                match self.schedule_with_key(key).await? {
                    Some((first, first_digest)) if first_digest == *digest => {
                        Ok(AddScheduleOutcome::Same(Box::new(first)))
                    }
                    Some(_) => Ok(AddScheduleOutcome::KeyReused),
                    None => Err(named_already(error, &schedule.name)),
                }
            }
            (Err(StorageError::Database(error)), None) => Err(named_already(error, &schedule.name)),
            (Err(error), _) => Err(error),
        }
    }

    async fn update_schedule(&self, schedule: &Schedule) -> Result<bool> {
        let row = schedule.clone();
        let updated = self
            .writer
            .run(move |connection| {
                Box::pin(async move {
                    let done = sqlx::query(
                        "UPDATE schedules
                         SET name = ?, plugin = ?, params = ?, targets = ?, cron_expression = ?,
                             timezone = ?, enabled = ?, misfire = ?, overlap = ?, starts_at = ?,
                             ends_at = ?, jitter_seconds = ?, priority = ?, max_retries = ?,
                             timeout_seconds = ?, description = ?, batch = ?, next_run_at = ?,
                             updated_at = ?, owner = ?
                         WHERE id = ?",
                    )
                    .bind(&row.name)
                    .bind(&row.plugin)
                    .bind(row.params.as_ref().map(ToString::to_string))
                    .bind(serde_json::json!(row.targets).to_string())
                    .bind(&row.cron_expression)
                    .bind(&row.timezone)
                    .bind(row.enabled)
                    .bind(row.misfire.as_str())
                    .bind(row.overlap.as_str())
                    .bind(row.starts_at.map(text_of))
                    .bind(row.ends_at.map(text_of))
                    .bind(row.jitter_seconds)
                    .bind(row.priority)
                    .bind(row.max_retries)
                    .bind(row.timeout_seconds)
                    .bind(&row.description)
                    .bind(row.batch.map(|batch| serde_json::json!(batch).to_string()))
                    .bind(row.next_run_at.map(text_of))
                    .bind(text_of(row.updated_at))
                    .bind(&row.owner)
                    .bind(row.id.to_string())
                    .execute(&mut *connection)
                    .await?;
                    if !row.enabled {
                        sqlx::query("UPDATE schedule_ticks SET due = 0 WHERE schedule_id = ?")
                            .bind(row.id.to_string())
                            .execute(&mut *connection)
                            .await?;
                    }
                    Ok(done.rows_affected() == 1)
                })
            })
            .await;
        match updated {
            Err(StorageError::Database(error)) => Err(named_already(error, &schedule.name)),
            other => other,
        }
    }

    async fn delete_schedule(&self, id: Uuid) -> Result<bool> {
        self.writer
            .run(move |connection| {
                Box::pin(async move {
                    let done = sqlx::query("DELETE FROM schedules WHERE id = ?")
                        .bind(id.to_string())
                        .execute(&mut *connection)
                        .await?;
                    Ok(done.rows_affected() == 1)
                })
            })
            .await
    }

    async fn schedule(&self, id: Uuid) -> Result<Option<Schedule>> {
        let row = sqlx::query("SELECT * FROM schedules WHERE id = ?")
            .bind(id.to_string())
            .fetch_optional(&self.readers)
            .await?;
        row.as_ref().map(schedule).transpose()
    }

    async fn schedule_named(&self, name: &str) -> Result<Option<Schedule>> {
        let row = sqlx::query("SELECT * FROM schedules WHERE name = ?")
            .bind(name)
            .fetch_optional(&self.readers)
            .await?;
        row.as_ref().map(schedule).transpose()
    }

    async fn schedule_with_key(&self, key: &str) -> Result<Option<(Schedule, String)>> {
        let row = sqlx::query("SELECT * FROM schedules WHERE idempotency_key = ?")
            .bind(key)
            .fetch_optional(&self.readers)
            .await?;
        row.map(|row| {
            let digest: Option<String> = row.try_get("request_digest")?;
            Ok((schedule(&row)?, digest.unwrap_or_default()))
        })
        .transpose()
    }

    async fn schedules_page(&self, after: &str, page: Page) -> Result<(Vec<ListedSchedule>, bool)> {
        let (params, targets, outcome) = (
            ListedJob::PARAMS_BYTES,
            ListedJob::TARGETS,
            ListedJob::ERROR_CHARS,
        );
        // Truncates large fields in SQL, before they are read.
        let query = format!(
            "SELECT id, name, plugin, cron_expression, timezone, enabled, misfire, overlap, starts_at,
                    ends_at, jitter_seconds, priority, max_retries, timeout_seconds, description, batch,
                    next_run_at, last_run_at, last_job_id, substr(last_outcome, 1, {outcome}) AS last_outcome,
                    created_at, updated_at, owner,
                    iif(octet_length(params) <= {params}, params, NULL) AS params,
                    octet_length(params) AS params_bytes,
                    json_array_length(targets) AS target_count,
                    iif(octet_length(targets) <= {targets} * 64, targets,
                        (SELECT json_group_array(substr(value, 1, 512))
                         FROM (SELECT value FROM json_each(schedules.targets) LIMIT {targets}))) AS targets
             FROM schedules WHERE name > ? ORDER BY name LIMIT ?"
        );
        let found = sqlx::query(sqlx::AssertSqlSafe(query))
            .bind(after)
            .bind(page.limit.saturating_add(1))
            .fetch_all(&self.readers)
            .await?;
        let more = found.len() > page.limit as usize;
        let listed: Result<_> = found.iter().take(page.limit as usize).map(listed).collect();
        Ok((listed?, more))
    }

    async fn count_schedules(&self) -> Result<u64> {
        let count: i64 = sqlx::query_scalar("SELECT count(*) FROM schedules")
            .fetch_one(&self.readers)
            .await?;
        Ok(count.unsigned_abs())
    }

    // Skips unreadable rows so that other schedules still run.
    async fn due_schedules(&self, now: DateTime<Utc>) -> Result<Vec<Schedule>> {
        let found =
            sqlx::query("SELECT * FROM schedules WHERE next_run_at <= ? ORDER BY next_run_at")
                .bind(text_of(now))
                .fetch_all(&self.readers)
                .await?;
        Ok(readable(&found))
    }

    async fn schedules_after(&self, time: DateTime<Utc>) -> Result<Vec<Schedule>> {
        let found = sqlx::query("SELECT * FROM schedules WHERE next_run_at > ?")
            .bind(text_of(time))
            .fetch_all(&self.readers)
            .await?;
        Ok(readable(&found))
    }

    async fn move_schedule(&self, id: Uuid, from: DateTime<Utc>, to: DateTime<Utc>) -> Result<()> {
        self.writer
            .run(move |connection| {
                Box::pin(async move {
                    sqlx::query(
                        "UPDATE schedules SET next_run_at = ? WHERE id = ? AND next_run_at = ?",
                    )
                    .bind(text_of(to))
                    .bind(id.to_string())
                    .bind(text_of(from))
                    .execute(&mut *connection)
                    .await?;
                    Ok(())
                })
            })
            .await
    }

    async fn next_schedule_at(&self, after: DateTime<Utc>) -> Result<Option<DateTime<Utc>>> {
        let row =
            sqlx::query("SELECT min(next_run_at) AS next FROM schedules WHERE next_run_at > ?")
                .bind(text_of(after))
                .fetch_one(&self.readers)
                .await?;
        optional(&row, "next", time)
    }

    async fn fire_tick(
        &self,
        tick: &Tick,
        next: Option<DateTime<Utc>>,
        left_out: Option<String>,
    ) -> Result<bool> {
        let tick = tick.clone();
        self.writer
            .run(move |connection| {
                Box::pin(async move {
                    let id = tick.schedule_id.to_string();
                    let moved = sqlx::query(
                        "UPDATE schedules SET next_run_at = ?, last_outcome = coalesce(?, last_outcome)
                         WHERE id = ? AND next_run_at = ?",
                    )
                    .bind(next.map(text_of))
                    .bind(&left_out)
                    .bind(&id)
                    .bind(text_of(tick.at))
                    .execute(&mut *connection)
                    .await?;
                    // Advanced or changed in the meantime.
                    if moved.rows_affected() == 0 {
                        return Ok(false);
                    }
                    // The occurrence exists already if it fired before and the clock was set back.
                    let added = sqlx::query(
                        "INSERT INTO schedule_ticks (schedule_id, tick, due) VALUES (?, ?, ?)
                         ON CONFLICT DO NOTHING",
                    )
                    .bind(&id)
                    .bind(text_of(tick.at))
                    .bind(left_out.is_none())
                    .execute(&mut *connection)
                    .await?;
                    sqlx::query(
                        "DELETE FROM schedule_ticks WHERE schedule_id = ?1 AND due = 0 AND tick < (
                             SELECT tick FROM schedule_ticks WHERE schedule_id = ?1
                             ORDER BY tick DESC LIMIT 1 OFFSET ?2)",
                    )
                    .bind(&id)
                    .bind(TICKS_KEPT)
                    .execute(&mut *connection)
                    .await?;
                    Ok(added.rows_affected() == 1)
                })
            })
            .await
    }

    async fn due_ticks(&self) -> Result<Vec<Tick>> {
        let found =
            sqlx::query("SELECT schedule_id, tick FROM schedule_ticks WHERE due = 1 ORDER BY tick")
                .fetch_all(&self.readers)
                .await?;
        found
            .iter()
            .map(|row| {
                Ok(Tick {
                    schedule_id: uuid(row, "schedule_id")?,
                    at: time(row, "tick")?,
                })
            })
            .collect()
    }

    async fn settle_tick(&self, tick: &Tick, job_id: Option<Uuid>, outcome: &str) -> Result<()> {
        let (tick, outcome) = (tick.clone(), outcome.to_owned());
        self.writer
            .run(move |connection| {
                Box::pin(async move {
                    let id = tick.schedule_id.to_string();
                    sqlx::query(
                        "UPDATE schedule_ticks SET due = 0 WHERE schedule_id = ? AND tick = ?",
                    )
                    .bind(&id)
                    .bind(text_of(tick.at))
                    .execute(&mut *connection)
                    .await?;
                    sqlx::query(
                        "UPDATE schedules
                         SET last_outcome = ?1, last_job_id = coalesce(?2, last_job_id),
                             last_run_at = iif(?2 IS NULL, last_run_at, ?3)
                         WHERE id = ?4",
                    )
                    .bind(outcome)
                    .bind(job_id.map(|id| id.to_string()))
                    .bind(text_of(tick.at))
                    .bind(&id)
                    .execute(&mut *connection)
                    .await?;
                    Ok(())
                })
            })
            .await
    }

    async fn schedule_is_busy(&self, id: Uuid) -> Result<bool> {
        let busy = sqlx::query_scalar(
            "SELECT EXISTS (SELECT 1 FROM jobs WHERE schedule_id = ?
                            AND status NOT IN ('completed', 'failed', 'cancelled'))",
        )
        .bind(id.to_string())
        .fetch_one(&self.readers)
        .await?;
        Ok(busy)
    }
}

async fn insert(
    connection: &mut SqliteConnection,
    row: &Schedule,
    idempotency: Option<(String, String)>,
) -> Result<()> {
    let (key, digest) = idempotency.unzip();
    sqlx::query(
        "INSERT INTO schedules (id, name, plugin, params, targets, cron_expression, timezone,
                                enabled, misfire, overlap, starts_at, ends_at, jitter_seconds,
                                priority, max_retries, timeout_seconds, description, batch, next_run_at,
                                created_at, updated_at, owner, idempotency_key, request_digest)
         VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
    )
    .bind(row.id.to_string())
    .bind(&row.name)
    .bind(&row.plugin)
    .bind(row.params.as_ref().map(ToString::to_string))
    .bind(serde_json::json!(row.targets).to_string())
    .bind(&row.cron_expression)
    .bind(&row.timezone)
    .bind(row.enabled)
    .bind(row.misfire.as_str())
    .bind(row.overlap.as_str())
    .bind(row.starts_at.map(text_of))
    .bind(row.ends_at.map(text_of))
    .bind(row.jitter_seconds)
    .bind(row.priority)
    .bind(row.max_retries)
    .bind(row.timeout_seconds)
    .bind(&row.description)
    .bind(row.batch.map(|batch| serde_json::json!(batch).to_string()))
    .bind(row.next_run_at.map(text_of))
    .bind(text_of(row.created_at))
    .bind(text_of(row.updated_at))
    .bind(&row.owner)
    .bind(key)
    .bind(digest)
    .execute(&mut *connection)
    .await?;
    Ok(())
}

fn listed(row: &SqliteRow) -> Result<ListedSchedule> {
    let size = |column: &str| -> Result<Option<u64>> {
        let size: Option<i64> = row.try_get(column)?;
        Ok(size.map(i64::unsigned_abs))
    };
    Ok(ListedSchedule {
        schedule: schedule(row)?,
        params_bytes: size("params_bytes")?,
        target_count: size("target_count")?.unwrap_or_default(),
    })
}

fn readable(found: &[SqliteRow]) -> Vec<Schedule> {
    let read = found.iter().filter_map(|row| {
        let read = schedule(row);
        if let Err(error) = &read {
            let id: String = row.try_get("id").unwrap_or_default();
            tracing::error!(schedule_id = id, %error, "a schedule cannot be read");
        }
        read.ok()
    });
    read.collect()
}

fn schedule(row: &SqliteRow) -> Result<Schedule> {
    Ok(Schedule {
        id: uuid(row, "id")?,
        name: row.try_get("name")?,
        plugin: row.try_get("plugin")?,
        params: optional(row, "params", json)?,
        targets: json(row, "targets")?,
        cron_expression: row.try_get("cron_expression")?,
        timezone: row.try_get("timezone")?,
        enabled: row.try_get("enabled")?,
        misfire: column(row, "misfire", Misfire::parse)?,
        overlap: column(row, "overlap", Overlap::parse)?,
        starts_at: optional(row, "starts_at", time)?,
        ends_at: optional(row, "ends_at", time)?,
        jitter_seconds: row.try_get("jitter_seconds")?,
        priority: row.try_get("priority")?,
        max_retries: row.try_get("max_retries")?,
        timeout_seconds: row.try_get("timeout_seconds")?,
        description: row.try_get("description")?,
        batch: optional(row, "batch", json)?,
        next_run_at: optional(row, "next_run_at", time)?,
        last_run_at: optional(row, "last_run_at", time)?,
        last_job_id: optional(row, "last_job_id", uuid)?,
        last_outcome: row.try_get("last_outcome")?,
        created_at: time(row, "created_at")?,
        updated_at: time(row, "updated_at")?,
        owner: row.try_get("owner")?,
    })
}

fn named_already(error: sqlx::Error, name: &str) -> StorageError {
    super::named_already(error, "a schedule", name)
}
