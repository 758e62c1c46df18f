//! Converts rows of the database into types of the model.

use chrono::{DateTime, Utc};
use serde::de::DeserializeOwned;
use sqlx::sqlite::SqliteRow;
use sqlx::{Row, ValueRef};
use uuid::Uuid;

use super::{Result, StorageError};
use crate::model::{
    Algorithms, Attempt, CommandKind, CommandResult, Connection, Job, JobError, JobLog, JobStatus,
    JobTexts, KnownHostKey, ListedJob, LogLevel, OnInterrupt, SealedSecrets,
};
use crate::storage::ReadyJob;

pub(super) fn job(row: &SqliteRow) -> Result<Job> {
    Ok(Job {
        id: uuid(row, "id")?,
        plugin: row.try_get("job_type")?,
        plugin_digest: row.try_get("plugin_digest")?,
        params: json(row, "payload")?,
        targets: json(row, "targets")?,
        status: named(row, "status", JobStatus::parse)?,
        priority: row.try_get("priority")?,
        description: row.try_get("description")?,
        dry_run: row.try_get("dry_run")?,
        parent_id: optional(row, "parent_id", uuid)?,
        depth: row.try_get("depth")?,
        created_at: time(row, "created_at")?,
        started_at: optional(row, "started_at", time)?,
        completed_at: optional(row, "completed_at", time)?,
        scheduled_for: optional(row, "scheduled_for", time)?,
        ready_at: time(row, "ready_at")?,
        cron_expression: row.try_get("cron_expression")?,
        schedule_id: optional(row, "schedule_id", uuid)?,
        timeout_seconds: row.try_get("timeout_seconds")?,
        attempt: row.try_get("attempt")?,
        retry_count: row.try_get("retry_count")?,
        max_retries: row.try_get("max_retries")?,
        on_interrupt: named(row, "on_interrupt", |text| match text {
            "fail" => Some(OnInterrupt::Fail),
            "retry" => Some(OnInterrupt::Retry),
            _ => None,
        })?,
        cancel_requested: row.try_get("cancel_requested")?,
        error: error(row)?,
        worker_id: row.try_get("worker_id")?,
        progress: optional(row, "progress", json)?,
        result: optional(row, "result", json)?,
        batch: optional(row, "batch", json)?,
        held: row.try_get("held")?,
        rerun_of: optional(row, "rerun_of", uuid)?,
        submitted_by: row.try_get("submitted_by")?,
        bounds: optional(row, "bounds", json)?.unwrap_or_default(),
    })
}

pub(super) fn listed_job(row: &SqliteRow) -> Result<ListedJob> {
    let size = |column: &str| -> Result<Option<u64>> {
        let size: Option<i64> = row.try_get(column)?;
        Ok(size.map(i64::unsigned_abs))
    };
    Ok(ListedJob {
        job: job(row)?,
        params_bytes: size("params_bytes")?.unwrap_or_default(),
        result_bytes: size("result_bytes")?,
        target_count: size("target_count")?.unwrap_or_default(),
        is_same: row
            .try_get::<Option<bool>, _>("is_same")?
            .unwrap_or_default(),
    })
}

pub(super) fn job_texts(row: &SqliteRow) -> Result<JobTexts> {
    Ok(JobTexts {
        params: row.try_get("payload")?,
        result: row.try_get("result")?,
        targets: json(row, "targets")?,
        error_message: row.try_get("error_message")?,
    })
}

pub(super) fn ready_job(row: &SqliteRow) -> Result<ReadyJob> {
    Ok(ReadyJob {
        id: uuid(row, "id")?,
        priority: row.try_get("priority")?,
        ready_at: time(row, "ready_at")?,
    })
}

pub(super) fn attempt(row: &SqliteRow) -> Result<Attempt> {
    Ok(Attempt {
        attempt: row.try_get("attempt")?,
        plugin_digest: row.try_get("plugin_digest")?,
        worker_id: row.try_get("worker_id")?,
        started_at: time(row, "started_at")?,
        ended_at: optional(row, "ended_at", time)?,
        status: named(row, "status", JobStatus::parse)?,
        error: error(row)?,
        next_at: optional(row, "next_at", time)?,
    })
}

pub(super) fn error(row: &SqliteRow) -> Result<Option<JobError>> {
    let message: Option<String> = row.try_get("error_message")?;
    let code: Option<String> = row.try_get("error_code")?;
    Ok(message.map(|message| JobError::new(code.as_deref().unwrap_or_default(), message)))
}

pub(super) fn result(row: &SqliteRow) -> Result<CommandResult> {
    Ok(CommandResult {
        id: uuid(row, "id")?,
        job_id: uuid(row, "job_id")?,
        attempt: row.try_get("attempt")?,
        target: row.try_get("target")?,
        kind: named(row, "kind", CommandKind::parse)?,
        command: row.try_get("command")?,
        output: row.try_get("output")?,
        error: row.try_get("error")?,
        exit_code: row.try_get("exit_code")?,
        truncated: row.try_get("truncated")?,
        executed_at: time(row, "executed_at")?,
        duration_ms: row.try_get::<i64, _>("duration_ms")?.unsigned_abs(),
        in_flight: None,
    })
}

pub(super) fn log(row: &SqliteRow) -> Result<JobLog> {
    Ok(JobLog {
        id: row.try_get("id")?,
        job_id: uuid(row, "job_id")?,
        level: named(row, "level", LogLevel::parse)?,
        message: row.try_get("message")?,
        timestamp: time(row, "timestamp")?,
        context: optional(row, "context", json)?,
    })
}

pub(super) fn connection(row: &SqliteRow) -> Result<Connection> {
    Ok(Connection {
        id: uuid(row, "id")?,
        name: row.try_get("name")?,
        host: row.try_get("host")?,
        port: row.try_get("port")?,
        username: row.try_get("username")?,
        device_type: row.try_get("device_type")?,
        timeout_seconds: row.try_get("timeout_seconds")?,
        tags: json(row, "tags")?,
        host_key: row.try_get("host_key")?,
        jump: json(row, "jump")?,
        algorithms: named(row, "algorithms", Algorithms::parse)?,
        certificate: row.try_get("certificate")?,
        agent: row.try_get("agent")?,
        max_sessions: row.try_get("max_sessions")?,
        secrets: SealedSecrets {
            password: row.try_get("password")?,
            private_key: row.try_get("private_key")?,
            passphrase: row.try_get("passphrase")?,
            secret: row.try_get("secret")?,
        },
        answers: json(row, "answers")?,
        owner_job_id: optional(row, "owner_job_id", uuid)?,
        created_at: time(row, "created_at")?,
        updated_at: time(row, "updated_at")?,
    })
}

pub(super) fn host_key(row: &SqliteRow) -> Result<KnownHostKey> {
    Ok(KnownHostKey {
        algorithm: row.try_get("algorithm")?,
        key: row.try_get("key")?,
        fingerprint: row.try_get("fingerprint")?,
        first_seen: time(row, "first_seen")?,
    })
}

pub(super) fn uuid(row: &SqliteRow, column: &str) -> Result<Uuid> {
    named(row, column, |text| Uuid::parse_str(text).ok())
}

pub(super) fn time(row: &SqliteRow, column: &str) -> Result<DateTime<Utc>> {
    named(row, column, |text| {
        let time = DateTime::parse_from_rfc3339(text).ok()?;
        Some(time.with_timezone(&Utc))
    })
}

pub(super) fn json<T: DeserializeOwned>(row: &SqliteRow, column: &str) -> Result<T> {
    named(row, column, |text| serde_json::from_str(text).ok())
}

pub(super) fn optional<T>(
    row: &SqliteRow,
    column: &str,
    read: impl FnOnce(&SqliteRow, &str) -> Result<T>,
) -> Result<Option<T>> {
    if row.try_get_raw(column)?.is_null() {
        return Ok(None);
    }
    read(row, column).map(Some)
}

pub(super) fn named<T>(
    row: &SqliteRow,
    column: &str,
    parse: impl FnOnce(&str) -> Option<T>,
) -> Result<T> {
    let text: &str = row.try_get(column)?;
    // Leaves out the value: it may be confidential, and errors are shown to users.
    parse(text).ok_or_else(|| StorageError::Corrupt(format!("column `{column}`")))
}
