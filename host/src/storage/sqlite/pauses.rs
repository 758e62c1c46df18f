//! Pauses.

use async_trait::async_trait;
use sqlx::Row;
use sqlx::sqlite::SqliteRow;
use uuid::Uuid;

use super::rows::{json, named, optional, time, uuid};
use super::{Result, SqliteStorage, named_already, text_of};
use crate::model::{Pause, PauseAction};
use crate::storage::PauseStore;

#[async_trait]
impl PauseStore for SqliteStorage {
    async fn set_pause(&self, pause: &Pause) -> Result<()> {
        let row = pause.clone();
        self.writer
            .run(move |connection| {
                Box::pin(async move {
                    sqlx::query(
                        "INSERT INTO pauses (id, name, reason, plugins, targets, action, starts_at,
                                             ends_at, windows, ended_at, created_at, updated_at)
                         VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
                         ON CONFLICT (id) DO UPDATE
                         SET name = excluded.name, reason = excluded.reason, plugins = excluded.plugins,
                             targets = excluded.targets, action = excluded.action,
                             starts_at = excluded.starts_at, ends_at = excluded.ends_at,
                             windows = excluded.windows, ended_at = excluded.ended_at,
                             updated_at = excluded.updated_at",
                    )
                    .bind(row.id.to_string())
                    .bind(&row.name)
                    .bind(&row.reason)
                    .bind(serde_json::json!(row.plugins).to_string())
                    .bind(&row.targets)
                    .bind(row.action.as_str())
                    .bind(row.starts_at.map(text_of))
                    .bind(row.ends_at.map(text_of))
                    .bind(row.windows.map(|each| serde_json::json!(each).to_string()))
                    .bind(row.ended_at.map(text_of))
                    .bind(text_of(row.created_at))
                    .bind(text_of(row.updated_at))
                    .execute(&mut *connection)
                    .await
                    .map_err(|error| named_already(error, "a pause", &row.name))?;
                    Ok(())
                })
            })
            .await
    }

    async fn delete_pause(&self, id: Uuid) -> Result<bool> {
        self.writer
            .run(move |connection| {
                Box::pin(async move {
                    let done = sqlx::query("DELETE FROM pauses WHERE id = ?")
                        .bind(id.to_string())
                        .execute(&mut *connection)
                        .await?;
                    Ok(done.rows_affected() == 1)
                })
            })
            .await
    }

    async fn pauses(&self) -> Result<Vec<Pause>> {
        let found = sqlx::query("SELECT * FROM pauses ORDER BY name")
            .fetch_all(&self.readers)
            .await?;
        found.iter().map(pause).collect()
    }
}

fn pause(row: &SqliteRow) -> Result<Pause> {
    Ok(Pause {
        id: uuid(row, "id")?,
        name: row.try_get("name")?,
        reason: row.try_get("reason")?,
        plugins: json(row, "plugins")?,
        targets: row.try_get("targets")?,
        action: named(row, "action", PauseAction::parse)?,
        starts_at: optional(row, "starts_at", time)?,
        ends_at: optional(row, "ends_at", time)?,
        windows: optional(row, "windows", json)?,
        ended_at: optional(row, "ended_at", time)?,
        created_at: time(row, "created_at")?,
        updated_at: time(row, "updated_at")?,
    })
}
