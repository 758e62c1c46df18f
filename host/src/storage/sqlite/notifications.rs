//! Ended jobs to send notifications about, comparable earlier jobs, and the outbox.

use async_trait::async_trait;
use chrono::{DateTime, TimeDelta, Utc};
use sqlx::sqlite::{Sqlite, SqliteRow};
use sqlx::{QueryBuilder, Row, SqliteConnection};
use uuid::Uuid;

use super::{Result, SqliteStorage, rows, text_of};
use crate::model::{
    Job, JobStatus, Notification, NotificationContent, NotificationEvent, NotificationState,
};
use crate::storage::{Delivery, FailedChild, NotificationStore};

/// Key of `meta` that the trigger `jobs_note_end` reads.
const NOTE_ENDED_JOBS: &str = "note_ended_jobs";
/// Maximum number of messages that wait for one channel.
const MAX_WAITING: i64 = 10_000;
/// Maximum number of settled messages of all channels.
const MAX_SETTLED: i64 = 10_000;
const KEPT_DAYS: i64 = 7;
/// Maximum number of jobs to search for an earlier comparable one; bounds the query for plugins and
/// devices with many jobs.
const LOOK_BACK: u32 = 1_000;

#[async_trait]
impl NotificationStore for SqliteStorage {
    async fn note_ended_jobs(&self, note: bool) -> Result<()> {
        self.writer
            .run(move |connection| {
                Box::pin(async move {
                    if !note {
                        sqlx::query("DELETE FROM ended_jobs")
                            .execute(&mut *connection)
                            .await?;
                    }
                    sqlx::query("INSERT OR REPLACE INTO meta (key, value) VALUES (?, ?)")
                        .bind(NOTE_ENDED_JOBS)
                        .bind(vec![u8::from(note)])
                        .execute(&mut *connection)
                        .await?;
                    Ok(())
                })
            })
            .await
    }

    async fn ended_jobs(&self, limit: u32) -> Result<Vec<Uuid>> {
        let found = sqlx::query("SELECT job_id FROM ended_jobs ORDER BY number LIMIT ?")
            .bind(limit)
            .fetch_all(&self.readers)
            .await?;
        found.iter().map(|row| rows::uuid(row, "job_id")).collect()
    }

    async fn notify(
        &self,
        job_id: Uuid,
        messages: Vec<Notification>,
        now: DateTime<Utc>,
    ) -> Result<u64> {
        self.writer
            .run(move |connection| {
                Box::pin(async move {
                    let done = sqlx::query("DELETE FROM ended_jobs WHERE job_id = ?")
                        .bind(job_id.to_string())
                        .execute(&mut *connection)
                        .await?;
                    // The job was deleted in the meantime, or was processed before.
                    if done.rows_affected() == 0 {
                        return Ok(0);
                    }
                    let mut given_up = 0;
                    for message in &messages {
                        insert(connection, message).await?;
                        given_up += bound(connection, &message.channel, now).await?;
                    }
                    if given_up > 0 {
                        sweep(connection, now).await?;
                    }
                    Ok(given_up)
                })
            })
            .await
    }

    async fn outcome_before(&self, job: &Job) -> Result<Option<JobStatus>> {
        let Some(completed_at) = job.completed_at.map(text_of) else {
            return Ok(None);
        };
        let query = match (job.schedule_id, job.targets.first()) {
            // The jobs of a schedule are comparable even if its target expression now finds other devices.
            (Some(schedule), _) => sqlx::query(
                "SELECT status FROM (
                     SELECT status, job_type, completed_at FROM jobs INDEXED BY jobs_ended_of_schedule
                     WHERE schedule_id = ?2 AND completed_at IS NOT NULL AND completed_at < ?1
                     ORDER BY completed_at DESC LIMIT ?4)
                 WHERE job_type = ?3 AND status IN ('completed', 'failed')
                 ORDER BY completed_at DESC LIMIT 1",
            )
            .bind(completed_at)
            .bind(schedule.to_string())
            .bind(&job.plugin)
            .bind(LOOK_BACK),
            (None, None) => sqlx::query(
                "SELECT status FROM (
                     SELECT status, targets, completed_at FROM jobs INDEXED BY jobs_ended_of_plugin
                     WHERE job_type = ?2 AND parent_id IS NULL AND completed_at IS NOT NULL
                           AND completed_at < ?1
                     ORDER BY completed_at DESC LIMIT ?3)
                 WHERE targets = '[]' AND status IN ('completed', 'failed')
                 ORDER BY completed_at DESC LIMIT 1",
            )
            .bind(completed_at)
            .bind(&job.plugin)
            .bind(LOOK_BACK),
            // Searches by device: a plugin may run on thousands of devices, and each device has fewer jobs.
            (None, Some(target)) => sqlx::query(
                "SELECT status FROM (
                     SELECT jobs.status, jobs.completed_at, jobs.job_type, jobs.targets, jobs.parent_id
                     FROM job_targets INDEXED BY job_targets_newest
                     CROSS JOIN jobs ON jobs.id = job_targets.job_id
                     WHERE job_targets.name = ?2 AND job_targets.created_at <= ?3
                     ORDER BY job_targets.created_at DESC, job_targets.job_id DESC LIMIT ?4)
                 WHERE job_type = ?5 AND targets = ?6 AND parent_id IS NULL AND completed_at < ?1
                       AND status IN ('completed', 'failed')
                 ORDER BY completed_at DESC LIMIT 1",
            )
            .bind(completed_at)
            .bind(&target.name)
            .bind(text_of(job.created_at))
            .bind(LOOK_BACK)
            .bind(&job.plugin)
            .bind(serde_json::json!(job.targets).to_string()),
        };
        let found = query.fetch_optional(&self.readers).await?;
        found
            .map(|row| rows::named(&row, "status", JobStatus::parse))
            .transpose()
    }

    async fn durations_before(&self, job: &Job, limit: u32) -> Result<Vec<i64>> {
        let Some(completed_at) = job.completed_at.map(text_of) else {
            return Ok(Vec::new());
        };
        let found = sqlx::query(
            "SELECT started_at, completed_at FROM (
                 SELECT started_at, completed_at, status, batch
                 FROM jobs INDEXED BY jobs_ended_of_plugin
                 WHERE job_type = ?1 AND parent_id IS NULL AND completed_at IS NOT NULL
                       AND completed_at < ?2
                 ORDER BY completed_at DESC LIMIT ?3)
             WHERE status = 'completed' AND started_at IS NOT NULL AND (batch IS NOT NULL) = ?4
             ORDER BY completed_at DESC LIMIT ?5",
        )
        .bind(&job.plugin)
        .bind(completed_at)
        .bind(LOOK_BACK)
        .bind(job.batch.is_some())
        .bind(limit)
        .fetch_all(&self.readers)
        .await?;
        let duration = |row: &SqliteRow| {
            let took = rows::time(row, "completed_at")? - rows::time(row, "started_at")?;
            Ok(took.num_milliseconds())
        };
        found.iter().map(duration).collect()
    }

    async fn failed_children(&self, id: Uuid, limit: u32) -> Result<Vec<FailedChild>> {
        let found = sqlx::query(
            "SELECT jobs.id, jobs.error_code, jobs.error_message, job_targets.name
             FROM jobs JOIN job_targets ON job_targets.job_id = jobs.id
             WHERE jobs.parent_id = ? AND jobs.status = 'failed' ORDER BY jobs.id LIMIT ?",
        )
        .bind(id.to_string())
        .bind(limit)
        .fetch_all(&self.readers)
        .await?;
        let child = |row: &SqliteRow| {
            Ok(FailedChild {
                job_id: rows::uuid(row, "id")?,
                target: row.try_get("name")?,
                error: rows::error(row)?,
            })
        };
        found.iter().map(child).collect()
    }

    async fn due_notification(
        &self,
        channel: &str,
        now: DateTime<Utc>,
    ) -> Result<Option<Notification>> {
        let found = sqlx::query(
            "SELECT * FROM notifications
             WHERE channel = ? AND state = 'waiting' AND next_at <= ? ORDER BY id LIMIT 1",
        )
        .bind(channel)
        .bind(text_of(now))
        .fetch_optional(&self.readers)
        .await?;
        found.as_ref().map(notification).transpose()
    }

    async fn give_up_due_notification(
        &self,
        channel: &str,
        error: &str,
        now: DateTime<Utc>,
    ) -> Result<()> {
        let (channel, error) = (channel.to_owned(), error.to_owned());
        self.writer
            .run(move |connection| {
                Box::pin(async move {
                    sqlx::query(
                        "UPDATE notifications
                         SET state = 'given_up', settled_at = ?2, last_error = ?3, text = '', body = ''
                         WHERE id = (SELECT id FROM notifications
                                     WHERE channel = ?1 AND state = 'waiting' AND next_at <= ?2
                                     ORDER BY id LIMIT 1)",
                    )
                    .bind(channel)
                    .bind(text_of(now))
                    .bind(error)
                    .execute(&mut *connection)
                    .await?;
                    Ok(())
                })
            })
            .await
    }

    async fn next_notification_at(&self, channel: &str) -> Result<Option<DateTime<Utc>>> {
        let found = sqlx::query(
            "SELECT next_at FROM notifications
             WHERE channel = ? AND state = 'waiting' ORDER BY next_at LIMIT 1",
        )
        .bind(channel)
        .fetch_optional(&self.readers)
        .await?;
        found.map(|row| rows::time(&row, "next_at")).transpose()
    }

    async fn settle_notification(
        &self,
        id: Uuid,
        delivery: Delivery,
        now: DateTime<Utc>,
    ) -> Result<()> {
        let (state, error, next_at) = match delivery {
            Delivery::Sent => (NotificationState::Sent, None, None),
            Delivery::Later(error, at) => (NotificationState::Waiting, Some(error), Some(at)),
            Delivery::GivenUp(error) => (NotificationState::GivenUp, Some(error), None),
        };
        self.writer
            .run(move |connection| {
                Box::pin(async move {
                    sqlx::query(
                        // Deletes the text of settled messages, which may be confidential.
                        "UPDATE notifications
                         SET state = ?2, attempts = attempts + 1, last_error = coalesce(?3, last_error),
                             next_at = coalesce(?4, next_at), settled_at = ?5,
                             text = iif(?2 = 'waiting', text, ''), body = iif(?2 = 'waiting', body, '')
                         WHERE id = ?1 AND state = 'waiting'",
                    )
                    .bind(id.to_string())
                    .bind(state.as_str())
                    .bind(error)
                    .bind(next_at.map(text_of))
                    .bind((state != NotificationState::Waiting).then(|| text_of(now)))
                    .execute(&mut *connection)
                    .await?;
                    sweep(connection, now).await
                })
            })
            .await
    }

    async fn abandon_other_channels(&self, channels: &[String], now: DateTime<Utc>) -> Result<u64> {
        let channels = serde_json::json!(channels).to_string();
        self.writer
            .run(move |connection| {
                Box::pin(async move {
                    let done = sqlx::query(
                        "UPDATE notifications
                         SET state = 'given_up', settled_at = ?2, text = '', body = '',
                             last_error = 'the channel is no longer configured'
                         WHERE state = 'waiting' AND channel NOT IN (SELECT value FROM json_each(?1))",
                    )
                    .bind(channels)
                    .bind(text_of(now))
                    .execute(&mut *connection)
                    .await?;
                    sweep(connection, now).await?;
                    Ok(done.rows_affected())
                })
            })
            .await
    }

    async fn notifications(
        &self,
        state: Option<NotificationState>,
        after: Option<Uuid>,
        limit: u32,
    ) -> Result<Vec<Notification>> {
        let mut query = QueryBuilder::<Sqlite>::new("SELECT * FROM notifications WHERE 1 = 1");
        if let Some(state) = state {
            query.push(" AND state = ").push_bind(state.as_str());
        }
        if let Some(id) = after {
            query.push(" AND id < ").push_bind(id.to_string());
        }
        query.push(" ORDER BY id DESC LIMIT ").push_bind(limit);
        let found = query.build().fetch_all(&self.readers).await?;
        // Skips unreadable rows.
        let readable = found.iter().filter_map(|row| {
            let read = notification(row);
            if let Err(error) = &read {
                let id: String = row.try_get("id").unwrap_or_default();
                tracing::error!(id, %error, "a notification cannot be read");
            }
            read.ok()
        });
        Ok(readable.collect())
    }
}

async fn insert(connection: &mut SqliteConnection, message: &Notification) -> Result<()> {
    sqlx::query(
        "INSERT INTO notifications (id, channel, event, job_id, subject, text, body, state,
                                    attempts, next_at, created_at)
         VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
    )
    .bind(message.id.to_string())
    .bind(&message.channel)
    .bind(message.event.as_str())
    .bind(message.job_id.to_string())
    .bind(&message.content.subject)
    .bind(&message.content.text)
    .bind(&message.content.body)
    .bind(message.state.as_str())
    .bind(message.attempts)
    .bind(text_of(message.next_at))
    .bind(text_of(message.created_at))
    .execute(&mut *connection)
    .await?;
    Ok(())
}

/// Drops the oldest messages of a channel if too many wait for it.
async fn bound(
    connection: &mut SqliteConnection,
    channel: &str,
    now: DateTime<Utc>,
) -> Result<u64> {
    let waiting: i64 = sqlx::query_scalar(
        "SELECT count(*) FROM notifications WHERE channel = ? AND state = 'waiting'",
    )
    .bind(channel)
    .fetch_one(&mut *connection)
    .await?;
    if waiting <= MAX_WAITING {
        return Ok(0);
    }
    let done = sqlx::query(
        "UPDATE notifications
         SET state = 'given_up', settled_at = ?2, last_error = ?3, text = '', body = ''
         WHERE id IN (SELECT id FROM notifications WHERE channel = ?1 AND state = 'waiting'
                      ORDER BY id LIMIT ?4)",
    )
    .bind(channel)
    .bind(text_of(now))
    .bind(format!(
        "outbox full: more than {MAX_WAITING} notifications were waiting for the channel"
    ))
    .bind(waiting - MAX_WAITING)
    .execute(&mut *connection)
    .await?;
    Ok(done.rows_affected())
}

/// Removes settled messages by age and by number.
async fn sweep(connection: &mut SqliteConnection, now: DateTime<Utc>) -> Result<()> {
    sqlx::query("DELETE FROM notifications WHERE state <> 'waiting' AND settled_at < ?")
        .bind(text_of(now - TimeDelta::days(KEPT_DAYS)))
        .execute(&mut *connection)
        .await?;
    sqlx::query(
        "DELETE FROM notifications WHERE id IN (
             SELECT id FROM notifications WHERE state <> 'waiting'
             ORDER BY settled_at DESC, id DESC LIMIT 100 OFFSET ?)",
    )
    .bind(MAX_SETTLED)
    .execute(&mut *connection)
    .await?;
    Ok(())
}

fn notification(row: &SqliteRow) -> Result<Notification> {
    Ok(Notification {
        id: rows::uuid(row, "id")?,
        channel: row.try_get("channel")?,
        event: rows::named(row, "event", NotificationEvent::parse)?,
        job_id: rows::uuid(row, "job_id")?,
        content: NotificationContent {
            subject: row.try_get("subject")?,
            text: row.try_get("text")?,
            body: row.try_get("body")?,
        },
        state: rows::named(row, "state", NotificationState::parse)?,
        attempts: row.try_get("attempts")?,
        next_at: rows::time(row, "next_at")?,
        last_error: row.try_get("last_error")?,
        created_at: rows::time(row, "created_at")?,
        settled_at: rows::optional(row, "settled_at", rows::time)?,
    })
}
