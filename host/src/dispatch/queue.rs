//! The job queue: Apalis on its own SQLite file, carrying only job ids.
//!
//! Apalis provides the schema, atomic fetches and priorities. Its data is disposable: the application
//! database is the source of truth, and this file is emptied at every start and filled again from
//! there. Acknowledgements, locks, retries and timeouts of Apalis are disabled; [`crate::dispatch`] and
//! [`crate::worker`] have their own, because those of Apalis were measured to lose or repeat work (see
//! `docs/internals/queue-and-dispatch.md`).

mod wake;

use std::path::Path;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use apalis::prelude::*;
use apalis_core::backend::ext::BackendExt;
use apalis_core::task::builder::TaskBuilder;
use apalis_sqlite::{Config, SqliteStorage, SqliteTask};
use futures::future::BoxFuture;
use parking_lot::Mutex;
use sqlx::sqlite::{
    SqliteConnectOptions, SqliteJournalMode, SqliteLockingMode, SqlitePool, SqlitePoolOptions,
    SqliteSynchronous,
};
use sqlx::{Connection as _, SqliteConnection};
use tokio::sync::oneshot;
use uuid::Uuid;

use super::Waiter;
use crate::storage::sqlite::{self, create_private, file_of};
use wake::WorkerWaker;

/// Name of the queue inside the file.
const QUEUE: &str = "jobs";
/// Indexes that no query here needs, but every push, fetch and removal would update. The first three
/// also mislead SQLite's planner into scanning by status: with a backlog of 20,000 jobs, fetches drop
/// from 8,200 to 142 per second.
const DROPPED_INDEXES: [&str; 6] = [
    "LIdx",
    "idx_jobs_status_run_at",
    "idx_jobs_claimable",
    "idx_jobs_job_type_status_run_at",
    "idx_jobs_completed_done_at",
    "idx_jobs_running",
];
/// Priorities range from `-PRIORITY_LIMIT` to `PRIORITY_LIMIT`; Apalis has none below 0, so they are
/// shifted.
pub const PRIORITY_LIMIT: i32 = 100;
/// Increase of a job's priority at each [`Queue::age`].
const AGEING: i32 = 10;

/// A handle to the job queue.
#[derive(Clone)]
pub struct Queue {
    pool: SqlitePool,
    waker: WorkerWaker,
    changes: Arc<Mutex<Changes>>,
}

/// Changes waiting for the connection.
#[derive(Default)]
struct Changes {
    /// Applied first, because a removed job may be pushed again.
    leaving: Vec<Uuid>,
    arriving: Vec<SqliteTask>,
    callers: Vec<oneshot::Sender<Result<(), String>>>,
}

impl Changes {
    async fn make(&self, connection: &mut SqliteConnection) -> anyhow::Result<()> {
        // A single statement is its own transaction.
        if self.arriving.len() + usize::from(!self.leaving.is_empty()) <= 1 {
            return self.write(connection).await;
        }
        let mut transaction = connection.begin().await?;
        self.write(&mut transaction).await?;
        Ok(transaction.commit().await?)
    }

    async fn write(&self, connection: &mut SqliteConnection) -> anyhow::Result<()> {
        if !self.leaving.is_empty() {
            sqlx::query(
                "DELETE FROM Jobs
                 WHERE job_type = ? AND idempotency_key IN (SELECT value FROM json_each(?))",
            )
            .bind(QUEUE)
            .bind(serde_json::to_string(&self.leaving)?)
            .execute(&mut *connection)
            .await?;
        }
        apalis_sqlite::queries::push_tasks(connection, QUEUE, &self.arriving).await?;
        Ok(())
    }
}

impl Queue {
    /// Opens and empties the queue file. A damaged file is renamed and replaced.
    ///
    /// # Errors
    /// If the file cannot be created or opened.
    pub async fn open(url: &str) -> anyhow::Result<Self> {
        let path = file_of(url)?;
        let pool = match Self::open_file(url, &path).await {
            Ok(pool) => pool,
            Err(error) if is_damaged(&error) => {
                let aside = path.with_extension(format!("damaged-{}", Uuid::now_v7().simple()));
                tracing::warn!(file = %path.display(), aside = %aside.display(), %error, "queue file \
                     corrupt; moving it away and creating a new one");
                std::fs::rename(&path, &aside)?;
                Self::open_file(url, &path).await?
            }
            Err(error) if is_full(&error) => {
                tracing::warn!(file = %path.display(), "no space left for the queue file; keeping the \
                     queue in memory until the next start");
                Self::open_in_memory().await?
            }
            Err(error) => return Err(error),
        };
        Ok(Self {
            pool,
            waker: WorkerWaker::default(),
            changes: Arc::default(),
        })
    }

    async fn open_file(url: &str, path: &Path) -> anyhow::Result<SqlitePool> {
        create_private(path)?;
        // NORMAL is enough: data lost in a power failure is restored from the application database.
        let options = SqliteConnectOptions::from_str(url)
            .with_context(|| format!("invalid queue.url: expected an SQLite URL, got `{url}`"))?
            .journal_mode(SqliteJournalMode::Wal);
        Self::connect(options)
            .await
            .with_context(|| format!("failed to open the queue {}", path.display()))
    }

    /// Opens an in-memory queue. This is safe, because the queue is filled from the database at each
    /// start.
    async fn open_in_memory() -> anyhow::Result<SqlitePool> {
        Self::connect(SqliteConnectOptions::from_str("sqlite::memory:")?)
            .await
            .context("failed to create the queue in memory")
    }

    async fn connect(options: SqliteConnectOptions) -> anyhow::Result<SqlitePool> {
        use sqlx::ConnectOptions;
        let options = options
            // A single process uses this file; exclusive mode avoids locks and shared memory in each
            // transaction.
            .locking_mode(SqliteLockingMode::Exclusive)
            .synchronous(SqliteSynchronous::Normal)
            .foreign_keys(false)
            .busy_timeout(Duration::from_secs(10))
            .disable_statement_logging();
        // With one connection, pushes and fetches cannot fail with SQLITE_BUSY, which would end Apalis'
        // worker.
        let pool = SqlitePoolOptions::new()
            .max_connections(1)
            .test_before_acquire(false)
            .idle_timeout(None)
            .max_lifetime(None)
            .connect_with(options)
            .await?;
        SqliteStorage::migrations().run(&pool).await?;
        for index in DROPPED_INDEXES {
            let drop = sqlx::AssertSqlSafe(format!("DROP INDEX IF EXISTS {index}"));
            sqlx::query(drop).execute(&pool).await?;
        }
        sqlx::query("DELETE FROM Jobs").execute(&pool).await?;
        sqlx::query("DELETE FROM Workers").execute(&pool).await?;
        Ok(pool)
    }

    /// Enqueues jobs with their priorities and wakes the worker. Jobs already in the queue are
    /// unchanged.
    ///
    /// # Errors
    /// If the queue file cannot be written.
    pub async fn push(&self, jobs: &[Waiter]) -> anyhow::Result<()> {
        let tasks = jobs.iter().map(|Waiter { id, priority }| {
            let priority = priority.clamp(&-PRIORITY_LIMIT, &PRIORITY_LIMIT) + PRIORITY_LIMIT;
            TaskBuilder::new(serde_json::to_vec(id).unwrap_or_default())
                .idempotency_key(id.to_string())
                .priority(usize::try_from(priority).unwrap_or_default())
                .build()
        });
        self.change(|changes| changes.arriving.extend(tasks))
            .await?;
        self.waker.wake();
        Ok(())
    }

    /// Removes a job from the queue, even if a worker has it.
    ///
    /// # Errors
    /// If the queue file cannot be written.
    pub async fn remove(&self, id: Uuid) -> anyhow::Result<()> {
        self.change(|changes| changes.leaving.push(id)).await
    }

    /// Queues a change and returns once it is committed. Changes that arrive while the connection is in
    /// use share one transaction.
    async fn change(&self, add: impl FnOnce(&mut Changes)) -> anyhow::Result<()> {
        let (made, answer) = oneshot::channel();
        let is_first = {
            let mut changes = self.changes.lock();
            add(&mut changes);
            changes.callers.push(made);
            changes.callers.len() == 1
        };
        if is_first {
            let queue = self.clone();
            tokio::spawn(async move {
                let connection = queue.pool.acquire().await;
                let mut changes = std::mem::take(&mut *queue.changes.lock());
                let made = match connection {
                    Ok(mut connection) => changes.make(&mut connection).await,
                    Err(error) => Err(error.into()),
                };
                let made = made.map_err(|error| format!("{error:#}"));
                for caller in changes.callers.drain(..) {
                    // Fails if the caller was cancelled.
                    let _ = caller.send(made.clone());
                }
            });
        }
        answer.await?.map_err(anyhow::Error::msg)
    }

    /// Returns the number of jobs in the queue, delivered or not.
    ///
    /// # Errors
    /// If the queue file cannot be read.
    pub async fn length(&self) -> anyhow::Result<u64> {
        let count: i64 = sqlx::query_scalar("SELECT count(*) FROM Jobs")
            .fetch_one(&self.pool)
            .await?;
        Ok(count.unsigned_abs())
    }

    /// Calls `handle` with job ids, one at a time, until the future is dropped or Apalis fails. Takes the
    /// `prefetch` most urgent jobs at once and delivers those in any order: a more urgent job that
    /// arrives later waits for less than twice that number.
    ///
    /// # Errors
    /// The error of Apalis' worker; the caller starts another one under a new name.
    pub async fn consume<F, T>(
        &self,
        worker: &str,
        prefetch: usize,
        handle: F,
    ) -> anyhow::Result<()>
    where
        F: Fn(Uuid) -> T + Clone + Send + Sync + 'static,
        T: Future<Output = ()> + Send + 'static,
    {
        self.requeue_orphans(&[]).await?;
        let config = Config::default()
            .queue(QUEUE)
            .batch_size(prefetch)
            .lock_tasks(false)
            .persist_results(false);
        let backend = SqliteStorage::<Uuid>::new(&self.pool)
            .with_config(config)
            .poll_with_strategy(self.waker.listen());
        let worker = WorkerBuilder::new(worker)
            .backend(backend)
            .concurrency(1)
            .build(handle);
        // Boxed, because otherwise the compiler cannot prove that the future is `Send`.
        let running: BoxFuture<'_, _> = Box::pin(worker.run());
        Ok(running.await?)
    }

    /// Raises the priority of waiting jobs step by step, so that a steady stream of more urgent jobs
    /// cannot starve them.
    ///
    /// # Errors
    /// If the queue file cannot be written.
    pub async fn age(&self) -> anyhow::Result<()> {
        sqlx::query("UPDATE Jobs SET priority = min(priority + ?, ?) WHERE status = 'Pending'")
            .bind(AGEING)
            .bind(2 * PRIORITY_LIMIT)
            .execute(&self.pool)
            .await?;
        Ok(())
    }

    /// Requeues jobs that were taken but are not running: their worker failed, they ended and could not
    /// be removed, or they were prefetched. A prefetched job is then delivered twice, which is
    /// harmless: a job that has run cannot be claimed again.
    ///
    /// # Errors
    /// If the queue file cannot be written.
    pub async fn requeue_orphans(&self, running: &[Uuid]) -> anyhow::Result<()> {
        sqlx::query(
            "UPDATE Jobs SET status = 'Pending', lock_by = NULL, lock_at = NULL
             WHERE lock_by IS NOT NULL AND idempotency_key NOT IN (SELECT value FROM json_each(?))",
        )
        .bind(serde_json::to_string(running)?)
        .execute(&self.pool)
        .await?;
        Ok(())
    }

    pub async fn close(&self) {
        self.pool.close().await;
    }
}

fn is_full(error: &anyhow::Error) -> bool {
    let mut causes = error.chain();
    causes.any(|cause| cause.downcast_ref().is_some_and(sqlite::is_full))
}

/// Returns whether SQLite reports that the file is damaged or not a database.
fn is_damaged(error: &anyhow::Error) -> bool {
    error.chain().any(|cause| {
        let code = match cause.downcast_ref::<sqlx::Error>() {
            Some(sqlx::Error::Database(error)) => error.code(),
            _ => None,
        };
        // SQLITE_CORRUPT and SQLITE_NOTADB, https://www.sqlite.org/rescode.html
        matches!(code.as_deref(), Some("11" | "26"))
    })
}
