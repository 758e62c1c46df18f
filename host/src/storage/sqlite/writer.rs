//! The database writer, with group commit.
//!
//! A durable commit takes most of a millisecond, a row some microseconds. Callers therefore send their
//! operations to one task, which executes all pending ones in one transaction and replies to each
//! caller after the commit. A failed operation rolls back only itself: SQLite rolls back a single
//! statement, and an operation of several statements has its own savepoint.
//!
//! Each statement is a round trip to the thread that owns the connection, which costs about the same as
//! executing most of them. To save round trips, several statements are sent as one where possible, and
//! operations of the same kind are batched (`bulk`).

use std::sync::Arc;

use futures::future::BoxFuture;
use sqlx::{Connection, SqliteConnection};
use tokio::sync::mpsc::OwnedPermit;
use tokio::sync::oneshot::error::RecvError;
use tokio::sync::{Mutex, mpsc, oneshot};
use tokio::task::JoinHandle;

use super::bulk::{Answered, BulkWork, Bulks, Taken, execute};
use super::files::{DatabaseFile, WatchedFiles};
use super::{Result, StorageError, damage_of};
use crate::storage::{Condition, Fault};

/// Maximum number of operations in one transaction, per batched kind and for single operations; bounds
/// how long the first caller waits for the last.
const MAX_GROUP: usize = 256;
/// Capacity of the queue of single operations; further callers wait. Batched operations are not
/// counted: a job has few of them in flight, because it waits for the reply.
const QUEUE: usize = 4096;

const BEGIN: &str = "BEGIN IMMEDIATE";

/// A message to the writer task.
enum Work {
    Alone(Alone),
    /// Batched operations are waiting.
    Bulk,
}

struct Alone {
    /// Whether it has several statements, which have to be rolled back together.
    savepoint: bool,
    run: Run,
}

/// Runs the operation; its result includes the callback that replies to the caller after the commit.
type Run = Box<dyn for<'c> FnOnce(&'c mut SqliteConnection) -> BoxFuture<'c, Worked> + Send>;

/// The result of an operation: whether to keep its effects, and the reply to its caller.
struct Worked {
    keep: bool,
    answer: Answer,
}

type Answer = Box<dyn FnOnce(&Committed) + Send>;

/// The result of a group's commit.
pub(super) struct Committed(std::result::Result<(), Failure>);

impl Committed {
    /// Returns the reply for a caller: its own error if it failed, otherwise the result of the commit.
    pub(super) fn answer<T>(&self, result: Result<T>) -> Result<T> {
        match &self.0 {
            Ok(()) => result,
            Err(failure) => result.and(Err(failure.clone().into())),
        }
    }
}

/// Why a group was not committed.
#[derive(Clone)]
enum Failure {
    Full,
    Unusable(Fault),
    Other(String),
}

impl From<Failure> for StorageError {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::Full => Self::Full,
            Failure::Unusable(fault) => Self::Unusable(fault),
            Failure::Other(reason) => Self::Unavailable(reason),
        }
    }
}

/// Decides whether committed operations may be acknowledged.
pub(super) struct Guard {
    pub(super) condition: Condition,
    pub(super) files: Arc<WatchedFiles>,
    /// Closed after the connection.
    pub(super) _file: Arc<DatabaseFile>,
}

impl Guard {
    /// Rejects a commit to files that were deleted or replaced.
    fn confirm(&self) -> std::result::Result<(), Failure> {
        let Some(fault) = self.files.changed() else {
            return Ok(());
        };
        self.condition.fail(fault.clone());
        Err(Failure::Unusable(fault))
    }

    fn failure_of(&self, error: sqlx::Error) -> Failure {
        tracing::error!(%error, "database transaction failed");
        let error = self.files.explain(error.into());
        self.condition.note(&error);
        match error {
            StorageError::Full => Failure::Full,
            StorageError::Unusable(fault) => Failure::Unusable(fault),
            other => Failure::Other(other.to_string()),
        }
    }
}

pub(super) struct Writer {
    work: Mutex<Option<mpsc::Sender<Work>>>,
    sender: mpsc::WeakSender<Work>,
    task: Mutex<Option<JoinHandle<()>>>,
    bulks: Arc<Bulks>,
    condition: Condition,
    files: Arc<WatchedFiles>,
}

impl Writer {
    pub(super) fn start(connection: SqliteConnection, guard: Guard) -> Self {
        let (sender, receiver) = mpsc::channel(QUEUE);
        let bulks = Arc::new(Bulks::default());
        let (condition, files) = (guard.condition.clone(), Arc::clone(&guard.files));
        let groups = write_groups(connection, receiver, Arc::clone(&bulks), guard);
        let task = tokio::spawn(groups);
        Self {
            sender: sender.downgrade(),
            work: Mutex::new(Some(sender)),
            task: Mutex::new(Some(task)),
            bulks,
            condition,
            files,
        }
    }

    /// Runs `work` in the next group and returns once its effects are on disk.
    ///
    /// # Errors
    /// The error of `work`, which then has no effect, or of the commit.
    pub(super) async fn run<T, F>(&self, work: F) -> Result<T>
    where
        T: Send + 'static,
        F: for<'c> FnOnce(&'c mut SqliteConnection) -> BoxFuture<'c, Result<T>> + Send + 'static,
    {
        self.hand_over(true, work).await
    }

    /// Like [`Writer::run`], for work that changes data with at most one statement.
    ///
    /// # Errors
    /// Like [`Writer::run`].
    pub(super) async fn statement<T, F>(&self, work: F) -> Result<T>
    where
        T: Send + 'static,
        F: for<'c> FnOnce(&'c mut SqliteConnection) -> BoxFuture<'c, Result<T>> + Send + 'static,
    {
        self.hand_over(false, work).await
    }

    async fn hand_over<T, F>(&self, savepoint: bool, work: F) -> Result<T>
    where
        T: Send + 'static,
        F: for<'c> FnOnce(&'c mut SqliteConnection) -> BoxFuture<'c, Result<T>> + Send + 'static,
    {
        let (answer, answered) = oneshot::channel();
        let run: Run = Box::new(move |connection| {
            Box::pin(async move {
                let result = work(connection).await;
                Worked {
                    keep: result.is_ok(),
                    answer: Box::new(move |committed| {
                        // Fails if the caller was cancelled; the operation is committed regardless.
                        let _ = answer.send(committed.answer(result));
                    }),
                }
            })
        });
        let place = self.place().await?;
        place.send(Work::Alone(Alone { savepoint, run }));
        let result = answered.await.map_err(unwritten)?;
        let result = result.map_err(|error| self.files.explain(error));
        result.inspect_err(|error| self.condition.note(error))
    }

    /// Executes `work` batched with others of its kind, and returns once it is on disk.
    ///
    /// # Errors
    /// The error of the operation, which then has no effect, or of the commit.
    pub(super) async fn one<W: BulkWork>(&self, work: W) -> Result<W::Answer> {
        let mut answered = self.add(vec![work]).await?;
        let result = answered.remove(0).await.map_err(unwritten)?;
        result.map_err(|error| self.files.explain(error))
    }

    /// Like [`Writer::one`], for several operations in order.
    ///
    /// # Errors
    /// The first error, like [`Writer::one`]. The other operations are unaffected.
    pub(super) async fn all<W: BulkWork>(&self, work: Vec<W>) -> Result<Vec<W::Answer>> {
        let mut answers = Vec::with_capacity(work.len());
        for answered in self.add(work).await? {
            answers.push(answered.await.map_err(unwritten)?);
        }
        let answers = answers.into_iter().collect::<Result<_>>();
        answers.map_err(|error| self.files.explain(error))
    }

    async fn add<W: BulkWork>(&self, work: Vec<W>) -> Result<Vec<Answered<W>>> {
        // Reserves the wake-up message first: if this future were dropped in between, the operations
        // would be queued but the writer not woken.
        let place = self.place().await?;
        let (answered, is_first) = self.bulks.add(work);
        if is_first {
            place.send(Work::Bulk);
        }
        Ok(answered)
    }

    /// Waits for free capacity in the queue.
    async fn place(&self) -> Result<OwnedPermit<Work>> {
        let closed = || StorageError::Unavailable("the database is shutting down".to_owned());
        let sender = self.sender.upgrade().ok_or_else(closed)?;
        sender.reserve_owned().await.map_err(|_| closed())
    }

    /// Waits until all queued operations are written, then ends the task.
    pub(super) async fn close(&self) {
        self.work.lock().await.take();
        if let Some(task) = self.task.lock().await.take()
            && let Err(error) = task.await
        {
            tracing::error!(%error, "the database writer panicked");
        }
    }
}

fn unwritten(_: RecvError) -> StorageError {
    StorageError::Unavailable("the transaction failed".to_owned())
}

async fn write_groups(
    mut connection: SqliteConnection,
    mut waiting: mpsc::Receiver<Work>,
    bulks: Arc<Bulks>,
    guard: Guard,
) {
    let mut group = Vec::with_capacity(MAX_GROUP);
    let mut left = false;
    loop {
        if left {
            // Also takes single operations, which must not starve while batched ones are left.
            let ready = std::iter::from_fn(|| waiting.try_recv().ok());
            group.extend(ready.take(MAX_GROUP));
        } else if waiting.recv_many(&mut group, MAX_GROUP).await == 0 {
            break;
        }
        let mut taken;
        (taken, left) = bulks.take(MAX_GROUP);
        let alone = group.drain(..).filter_map(|work| match work {
            Work::Alone(work) => Some(work),
            Work::Bulk => None,
        });
        let mut answers = Vec::new();
        let written = write_group(&mut connection, &mut taken, alone, &mut answers, &guard).await;
        // Also checked before the commit: rejected operations must not be committed.
        let committed = match (written, guard.confirm()) {
            (Ok(()), Ok(())) => match execute(&mut connection, "COMMIT").await {
                Ok(()) => guard.confirm(),
                Err(error) => Err(guard.failure_of(error)),
            },
            (Ok(()), Err(fault)) => Err(fault),
            (Err(error), _) => Err(guard.failure_of(error)),
        };
        if committed.is_err() {
            // A transaction that failed to commit may still be open.
            let _ = execute(&mut connection, "ROLLBACK").await;
        }
        let committed = Committed(committed);
        for bulk in taken {
            bulk.tell(&committed);
        }
        for answer in answers {
            answer(&committed);
        }
    }
    if let Err(error) = connection.close().await {
        tracing::warn!(%error, "closing the database");
    }
}

/// Executes a group without its commit. Dropping an operation drops its reply channel, which tells the
/// caller that it was not written.
async fn write_group(
    connection: &mut SqliteConnection,
    bulks: &mut [Box<dyn Taken>],
    alone: impl Iterator<Item = Alone>,
    answers: &mut Vec<Answer>,
    guard: &Guard,
) -> sqlx::Result<()> {
    execute(connection, BEGIN).await?;
    write_bulks(connection, bulks, guard).await?;
    // A savepoint stays open until the next one or the commit releases it.
    let mut stands = false;
    for work in alone {
        if work.savepoint {
            let savepoint = match stands {
                true => "RELEASE work; SAVEPOINT work",
                false => "SAVEPOINT work",
            };
            execute(connection, savepoint).await?;
            stands = true;
        }
        let worked = (work.run)(&mut *connection).await;
        answers.push(worked.answer);
        if !worked.keep && work.savepoint {
            execute(connection, "ROLLBACK TO work").await?;
        }
    }
    Ok(())
}

/// Executes batched operations. They come first in the transaction, so that they need no savepoint,
/// which would double the cost.
async fn write_bulks(
    connection: &mut SqliteConnection,
    bulks: &mut [Box<dyn Taken>],
    guard: &Guard,
) -> sqlx::Result<()> {
    let mut failed = false;
    for bulk in &mut *bulks {
        if let Err(error) = bulk.do_together(connection).await {
            if let Some(fault) = damage_of(&error) {
                guard.condition.fail(fault);
            }
            failed = true;
            break;
        }
    }
    if !failed {
        return Ok(());
    }
    // Retries batch by batch, so that one failed operation does not fail the others. SQLite may have
    // rolled back the transaction itself.
    let _ = execute(connection, "ROLLBACK").await;
    execute(connection, BEGIN).await?;
    for bulk in bulks {
        execute(connection, "SAVEPOINT bulk").await?;
        if let Err(error) = bulk.do_together(connection).await {
            if execute(connection, "ROLLBACK TO bulk").await.is_err() {
                return Err(error);
            }
            bulk.do_one_by_one(connection).await?;
        }
        execute(connection, "RELEASE bulk").await?;
    }
    Ok(())
}
