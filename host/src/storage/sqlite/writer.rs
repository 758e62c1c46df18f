//! The database writer, with group commit.
//!
//! A durable commit takes most of a millisecond, a row some microseconds. Callers therefore send their
//! writes to one task, which executes all pending ones in one transaction and replies to each caller
//! after the commit. A failed write rolls back only itself: SQLite rolls back a single statement, and a
//! write of several statements has its own savepoint.
//!
//! Each statement is a round trip to the thread that owns the connection, which costs about the same as
//! executing most of them. To save round trips, several statements are sent as one where possible, and
//! writes of the same kind are batched (`batching`); `writes` lists these kinds.

use std::sync::Arc;

use futures::future::BoxFuture;
use sqlx::{Connection, SqliteConnection};
use tokio::sync::mpsc::OwnedPermit;
use tokio::sync::oneshot::error::RecvError;
use tokio::sync::{Mutex, mpsc, oneshot};
use tokio::task::JoinHandle;

use super::batching::{Batch, BatchedWrite, HasQueue, Reply, WaitingWrites, execute};
use super::commit::{Committed, Failure};
use super::files::{DatabaseFile, WatchedFiles};
use super::writes::Kinds;
use super::{Result, StorageError, damage_of};
use crate::storage::Condition;

/// Maximum number of writes in one transaction, per batched kind and for single writes; bounds how long
/// the first caller waits for the last.
const MAX_GROUP: usize = 256;
/// Capacity of the queue of single writes; further callers wait. Batched writes are not counted: a job
/// has few of them waiting, because it waits for the reply.
const QUEUE_CAPACITY: usize = 4096;

const BEGIN: &str = "BEGIN IMMEDIATE";

/// A message to the writer task.
enum Message {
    Single(SingleWrite),
    /// Batched writes are waiting.
    Batched,
}

/// A write that is not batched.
struct SingleWrite {
    /// Whether it has several statements, which have to be rolled back together.
    savepoint: bool,
    run: Run,
}

/// Executes the write; its result includes the callback that replies to the caller after the commit.
type Run = Box<dyn for<'c> FnOnce(&'c mut SqliteConnection) -> BoxFuture<'c, Executed> + Send>;

/// The result of a write: whether to keep its effects, and the reply to its caller.
struct Executed {
    keep: bool,
    reply: SendReply,
}

type SendReply = Box<dyn FnOnce(&Committed) + Send>;

/// Decides whether committed writes may be acknowledged.
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
    messages: Mutex<Option<mpsc::Sender<Message>>>,
    sender: mpsc::WeakSender<Message>,
    task: Mutex<Option<JoinHandle<()>>>,
    waiting: Arc<WaitingWrites<Kinds>>,
    condition: Condition,
    files: Arc<WatchedFiles>,
}

impl Writer {
    pub(super) fn start(connection: SqliteConnection, guard: Guard) -> Self {
        let (sender, receiver) = mpsc::channel(QUEUE_CAPACITY);
        let waiting = Arc::new(WaitingWrites::default());
        let (condition, files) = (guard.condition.clone(), Arc::clone(&guard.files));
        let groups = write_groups(connection, receiver, Arc::clone(&waiting), guard);
        let task = tokio::spawn(groups);
        Self {
            sender: sender.downgrade(),
            messages: Mutex::new(Some(sender)),
            task: Mutex::new(Some(task)),
            waiting,
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
        self.single(true, work).await
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
        self.single(false, work).await
    }

    async fn single<T, F>(&self, savepoint: bool, work: F) -> Result<T>
    where
        T: Send + 'static,
        F: for<'c> FnOnce(&'c mut SqliteConnection) -> BoxFuture<'c, Result<T>> + Send + 'static,
    {
        let (reply, replied) = oneshot::channel();
        let run: Run = Box::new(move |connection| {
            Box::pin(async move {
                let result = work(connection).await;
                Executed {
                    keep: result.is_ok(),
                    reply: Box::new(move |committed| {
                        // Fails if the caller was cancelled; the write is committed regardless.
                        let _ = reply.send(committed.reply(result));
                    }),
                }
            })
        });
        let permit = self.reserve().await?;
        permit.send(Message::Single(SingleWrite { savepoint, run }));
        let result = replied.await.map_err(unwritten)?;
        let result = result.map_err(|error| self.files.explain(error));
        result.inspect_err(|error| self.condition.note(error))
    }

    /// Executes a write in a batch with others of its kind, and returns once it is on disk.
    ///
    /// # Errors
    /// The error of the write, which then has no effect, or of the commit.
    pub(super) async fn batched<W: BatchedWrite>(&self, write: W) -> Result<W::Output>
    where
        Kinds: HasQueue<W>,
    {
        let mut replies = self.add(vec![write]).await?;
        let result = replies.remove(0).await.map_err(unwritten)?;
        result.map_err(|error| self.files.explain(error))
    }

    /// Like [`Writer::batched`], for several writes in order.
    ///
    /// # Errors
    /// The first error, like [`Writer::batched`]. The other writes are unaffected.
    pub(super) async fn batched_all<W: BatchedWrite>(
        &self,
        writes: Vec<W>,
    ) -> Result<Vec<W::Output>>
    where
        Kinds: HasQueue<W>,
    {
        let mut outputs = Vec::with_capacity(writes.len());
        for reply in self.add(writes).await? {
            outputs.push(reply.await.map_err(unwritten)?);
        }
        let outputs = outputs.into_iter().collect::<Result<_>>();
        outputs.map_err(|error| self.files.explain(error))
    }

    async fn add<W: BatchedWrite>(&self, writes: Vec<W>) -> Result<Vec<Reply<W>>>
    where
        Kinds: HasQueue<W>,
    {
        // Reserves the wake-up message first: if this future were dropped in between, the writes would
        // be queued but the writer not woken.
        let permit = self.reserve().await?;
        let (replies, is_first) = self.waiting.add(writes);
        if is_first {
            permit.send(Message::Batched);
        }
        Ok(replies)
    }

    /// Waits for free capacity in the queue.
    async fn reserve(&self) -> Result<OwnedPermit<Message>> {
        let closed = || StorageError::Unavailable("the database is shutting down".to_owned());
        let sender = self.sender.upgrade().ok_or_else(closed)?;
        sender.reserve_owned().await.map_err(|_| closed())
    }

    /// Waits until all queued writes are committed, then ends the task.
    pub(super) async fn close(&self) {
        self.messages.lock().await.take();
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
    mut messages: mpsc::Receiver<Message>,
    waiting: Arc<WaitingWrites<Kinds>>,
    guard: Guard,
) {
    let mut group = Vec::with_capacity(MAX_GROUP);
    let mut left = false;
    loop {
        if left {
            // Also takes single writes, which must not starve while batched ones are left.
            let ready = std::iter::from_fn(|| messages.try_recv().ok());
            group.extend(ready.take(MAX_GROUP));
        } else if messages.recv_many(&mut group, MAX_GROUP).await == 0 {
            break;
        }
        let mut batches;
        (batches, left) = waiting.take(MAX_GROUP);
        let singles = group.drain(..).filter_map(|message| match message {
            Message::Single(write) => Some(write),
            Message::Batched => None,
        });
        let mut replies = Vec::new();
        let written =
            write_group(&mut connection, &mut batches, singles, &mut replies, &guard).await;
        // Also checked before the commit: rejected writes must not be committed.
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
        for batch in batches {
            batch.reply(&committed);
        }
        for reply in replies {
            reply(&committed);
        }
    }
    if let Err(error) = connection.close().await {
        tracing::warn!(%error, "closing the database");
    }
}

/// Executes a group without its commit. Dropping a write drops its reply channel, which tells the
/// caller that it was not written.
async fn write_group(
    connection: &mut SqliteConnection,
    batches: &mut [Box<dyn Batch>],
    singles: impl Iterator<Item = SingleWrite>,
    replies: &mut Vec<SendReply>,
    guard: &Guard,
) -> sqlx::Result<()> {
    execute(connection, BEGIN).await?;
    write_batches(connection, batches, guard).await?;
    // A savepoint stays open until the next one or the commit releases it.
    let mut has_savepoint = false;
    for write in singles {
        if write.savepoint {
            let savepoint = match has_savepoint {
                true => "RELEASE single; SAVEPOINT single",
                false => "SAVEPOINT single",
            };
            execute(connection, savepoint).await?;
            has_savepoint = true;
        }
        let executed = (write.run)(&mut *connection).await;
        replies.push(executed.reply);
        if !executed.keep && write.savepoint {
            execute(connection, "ROLLBACK TO single").await?;
        }
    }
    Ok(())
}

/// Executes batched writes. They come first in the transaction, so that they need no savepoint, which
/// would double the cost.
async fn write_batches(
    connection: &mut SqliteConnection,
    batches: &mut [Box<dyn Batch>],
    guard: &Guard,
) -> sqlx::Result<()> {
    let mut failed = false;
    for batch in &mut *batches {
        if let Err(error) = batch.execute_together(connection).await {
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
    // Retries batch by batch, so that one failed write does not fail the others. SQLite may have rolled
    // back the transaction itself.
    let _ = execute(connection, "ROLLBACK").await;
    execute(connection, BEGIN).await?;
    for batch in batches {
        execute(connection, "SAVEPOINT batch").await?;
        if let Err(error) = batch.execute_together(connection).await {
            if execute(connection, "ROLLBACK TO batch").await.is_err() {
                return Err(error);
            }
            batch.execute_one_by_one(connection).await?;
        }
        execute(connection, "RELEASE batch").await?;
    }
    Ok(())
}
