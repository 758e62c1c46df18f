//! Versions of plugins and their files.

use std::collections::BTreeMap;

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use sqlx::Row;
use sqlx::sqlite::SqliteConnection;

use super::{Result, SqliteStorage, rows, text_of};
use crate::model::{LoadedVersion, PluginFiles, PluginKind, PluginVersion};
use crate::storage::PluginVersionStore;

/// Maximum number of versions kept per plugin.
const REMEMBERED: u32 = 200;
/// Versions per plugin that keep their files, besides those that unfinished jobs need.
const KEPT: u32 = 10;
/// Versions written in one transaction.
const BATCH: usize = 250;

#[async_trait]
impl PluginVersionStore for SqliteStorage {
    async fn keep_versions(&self, versions: Vec<LoadedVersion>, now: DateTime<Utc>) -> Result<()> {
        let mut versions = versions.into_iter();
        loop {
            // Other writes are processed between two batches.
            let batch: Vec<_> = versions.by_ref().take(BATCH).collect();
            if batch.is_empty() {
                return Ok(());
            }
            self.writer
                .run(move |connection| {
                    Box::pin(async move {
                        for version in &batch {
                            remember(connection, version, now).await?;
                            keep_files(connection, version).await?;
                        }
                        forget_oldest(connection, &batch).await
                    })
                })
                .await?;
        }
    }

    async fn plugin_versions(&self, plugin: &str) -> Result<Vec<PluginVersion>> {
        let found = sqlx::query(
            "SELECT digest, kind, first_seen, last_seen,
                    (SELECT count(*) FROM jobs WHERE job_type = plugin AND plugin_digest = digest) AS jobs
             FROM plugin_versions WHERE plugin = ? ORDER BY last_seen DESC, digest",
        )
        .bind(plugin)
        .fetch_all(&self.readers)
        .await?;
        found
            .iter()
            .map(|row| {
                let jobs: i64 = row.try_get("jobs")?;
                Ok(PluginVersion {
                    digest: row.try_get("digest")?,
                    kind: rows::named(row, "kind", PluginKind::parse)?,
                    first_seen: rows::time(row, "first_seen")?,
                    last_seen: rows::time(row, "last_seen")?,
                    jobs: jobs.unsigned_abs(),
                })
            })
            .collect()
    }

    async fn plugin_files(
        &self,
        plugin: &str,
        digest: &str,
    ) -> Result<Option<(PluginKind, PluginFiles)>> {
        let kind = sqlx::query("SELECT kind FROM plugin_versions WHERE plugin = ? AND digest = ?")
            .bind(plugin)
            .bind(digest)
            .fetch_optional(&self.readers)
            .await?;
        let Some(kind) = kind else { return Ok(None) };
        let kind = rows::named(&kind, "kind", PluginKind::parse)?;
        let found = sqlx::query("SELECT path, module, bytes FROM plugin_files WHERE digest = ?")
            .bind(digest)
            .fetch_all(&self.readers)
            .await?;
        let mut main = None;
        let mut modules = BTreeMap::new();
        for row in &found {
            let (path, bytes): (String, Vec<u8>) = (row.try_get("path")?, row.try_get("bytes")?);
            if row.try_get("module")? {
                modules.insert(path, bytes);
            } else {
                main = Some((path, bytes));
            }
        }
        Ok(main.map(|(name, main)| {
            let files = PluginFiles {
                name,
                main,
                modules,
            };
            (kind, files)
        }))
    }
}

async fn remember(
    connection: &mut SqliteConnection,
    version: &LoadedVersion,
    now: DateTime<Utc>,
) -> Result<()> {
    sqlx::query(
        "INSERT INTO plugin_versions (plugin, digest, kind, first_seen, last_seen)
         VALUES (?1, ?2, ?3, ?4, ?4)
         ON CONFLICT (plugin, digest) DO UPDATE SET last_seen = excluded.last_seen",
    )
    .bind(&version.plugin)
    .bind(&version.digest)
    .bind(version.kind.as_str())
    .bind(text_of(now))
    .execute(connection)
    .await?;
    Ok(())
}

async fn keep_files(connection: &mut SqliteConnection, version: &LoadedVersion) -> Result<()> {
    let kept: i64 =
        sqlx::query_scalar("SELECT EXISTS (SELECT 1 FROM plugin_files WHERE digest = ?)")
            .bind(&version.digest)
            .fetch_one(&mut *connection)
            .await?;
    if kept != 0 {
        return Ok(());
    }
    let PluginFiles {
        name,
        main,
        modules,
    } = &version.files;
    let files = modules.iter().map(|(path, bytes)| (path, true, bytes));
    for (path, module, bytes) in std::iter::once((name, false, main)).chain(files) {
        sqlx::query("INSERT INTO plugin_files (digest, path, module, bytes) VALUES (?, ?, ?, ?)")
            .bind(&version.digest)
            .bind(path)
            .bind(module)
            .bind(bytes)
            .execute(&mut *connection)
            .await?;
    }
    Ok(())
}

/// Removes versions and files beyond the limits, only for the plugins of this batch: the history of
/// other plugins is unchanged and may be long.
///
/// Two plugins may have the same files; files are removed once no plugin keeps them.
async fn forget_oldest(connection: &mut SqliteConnection, batch: &[LoadedVersion]) -> Result<()> {
    let plugins: Vec<_> = batch.iter().map(|version| &version.plugin).collect();
    let plugins = serde_json::json!(plugins).to_string();
    sqlx::query(
        "WITH candidates AS MATERIALIZED (
             SELECT DISTINCT digest FROM plugin_files WHERE digest IN (
                 SELECT digest FROM plugin_versions
                 WHERE plugin IN (SELECT value FROM json_each(?1)))),
         sharing AS MATERIALIZED (
             SELECT DISTINCT plugin FROM plugin_versions WHERE digest IN candidates),
         kept AS MATERIALIZED (
             SELECT digest FROM (
                 SELECT digest, row_number() OVER (
                     PARTITION BY plugin ORDER BY last_seen DESC, digest) AS place
                 FROM plugin_versions WHERE plugin IN sharing)
             WHERE place <= ?2)
         DELETE FROM plugin_files WHERE digest IN candidates AND digest NOT IN kept
         AND digest NOT IN (
             SELECT plugin_digest FROM jobs
             WHERE status IN ('pending', 'running', 'retrying') AND plugin_digest IS NOT NULL)",
    )
    .bind(&plugins)
    .bind(KEPT)
    .execute(&mut *connection)
    .await?;
    // Keeps a version at least as long as its files, which this query uses to find it.
    for version in batch {
        sqlx::query(
            "DELETE FROM plugin_versions WHERE plugin = ?1 AND digest IN (
                 SELECT digest FROM plugin_versions WHERE plugin = ?1
                 ORDER BY last_seen DESC, digest LIMIT -1 OFFSET ?2)
             AND digest NOT IN (SELECT digest FROM plugin_files WHERE digest = plugin_versions.digest)",
        )
        .bind(&version.plugin)
        .bind(REMEMBERED)
        .execute(&mut *connection)
        .await?;
    }
    Ok(())
}
