//! The one writer, with group commit.
//!
//! A commit that reaches the disk costs most of a millisecond, a row some microseconds. So callers
//! hand their work to one task, which runs all that is waiting inside one transaction and answers
//! each caller after the commit. One that fails takes only itself back: SQLite takes back a
//! statement, and work of several stands in a savepoint of its own.
//!
//! Each statement is a round trip to the thread that has the connection, which costs as much as
//! what most of them do there. So there are few: several are sent as one where that can be, and
//! what is wanted for many jobs at once is done together (`bulk`).

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

/// Most pieces of work in one transaction, of each kind and of those that are alone: bounds how long
/// the first caller waits for the last.
const MAX_GROUP: usize = 256;
/// Pieces that may wait, beside those of a kind, of which a job hands over no more before it has its
/// answer; a caller beyond that waits before it hands its own over.
const QUEUE: usize = 4096;

const BEGIN: &str = "BEGIN IMMEDIATE";

/// Something to do inside the transaction.
enum Work {
    Alone(Alone),
    /// There is some among the bulks.
    Bulk,
}

struct Alone {
    /// It has several statements, which are to be taken back together.
    savepoint: bool,
    run: Run,
}

/// Answers its caller by itself, after the commit, through what it returns.
type Run = Box<dyn for<'c> FnOnce(&'c mut SqliteConnection) -> BoxFuture<'c, Worked> + Send>;

/// What a piece of work came to: whether to keep its effects, and how to tell its caller.
struct Worked {
    keep: bool,
    answer: Answer,
}

type Answer = Box<dyn FnOnce(&Committed) + Send>;

/// Whether the group's transaction reached the disk.
pub(super) struct Committed(std::result::Result<(), Failure>);

impl Committed {
    /// What a caller gets: what failed by itself keeps its own reason.
    pub(super) fn answer<T>(&self, result: Result<T>) -> Result<T> {
        match &self.0 {
            Ok(()) => result,
            Err(failure) => result.and(Err(failure.clone().into())),
        }
    }
}

/// Why it did not.
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

/// Decides whether what was committed may be acknowledged.
pub(super) struct Guard {
    pub(super) condition: Condition,
    pub(super) files: Arc<WatchedFiles>,
    /// Closed after the connection.
    pub(super) _file: Arc<DatabaseFile>,
}

impl Guard {
    /// Rejects a commit that went into files which no other process will find.
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

    /// Runs `work` in the next group and returns when its effects are on disk.
    ///
    /// # Errors
    /// What `work` returned, in which case it has no effect; or that the commit failed.
    pub(super) async fn run<T, F>(&self, work: F) -> Result<T>
    where
        T: Send + 'static,
        F: for<'c> FnOnce(&'c mut SqliteConnection) -> BoxFuture<'c, Result<T>> + Send + 'static,
    {
        self.hand_over(true, work).await
    }

    /// As [`Writer::run`], for work that changes something with one statement at most.
    ///
    /// # Errors
    /// As [`Writer::run`].
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
                        // A caller that was cancelled no longer listens; the work stands.
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

    /// Does `work` together with what others want of its kind, and returns when it is on disk.
    ///
    /// # Errors
    /// What failed it, in which case it has no effect; or that the commit failed.
    pub(super) async fn one<W: BulkWork>(&self, work: W) -> Result<W::Answer> {
        let mut answered = self.add(vec![work]).await?;
        let result = answered.remove(0).await.map_err(unwritten)?;
        result.map_err(|error| self.files.explain(error))
    }

    /// As [`Writer::one`], for several, in their order.
    ///
    /// # Errors
    /// As [`Writer::one`], of the first that failed. The others stand.
    pub(super) async fn all<W: BulkWork>(&self, work: Vec<W>) -> Result<Vec<W::Answer>> {
        let mut answers = Vec::with_capacity(work.len());
        for answered in self.add(work).await? {
            answers.push(answered.await.map_err(unwritten)?);
        }
        let answers = answers.into_iter().collect::<Result<_>>();
        answers.map_err(|error| self.files.explain(error))
    }

    async fn add<W: BulkWork>(&self, work: Vec<W>) -> Result<Vec<Answered<W>>> {
        // First: were this cancelled in between, nobody would do what was added.
        let place = self.place().await?;
        let (answered, is_first) = self.bulks.add(work);
        if is_first {
            place.send(Work::Bulk);
        }
        Ok(answered)
    }

    /// Waits until one more piece of work may be handed over.
    async fn place(&self) -> Result<OwnedPermit<Work>> {
        let closed = || StorageError::Unavailable("the database is shutting down".to_owned());
        let sender = self.sender.upgrade().ok_or_else(closed)?;
        sender.reserve_owned().await.map_err(|_| closed())
    }

    /// Lets what was handed over be written, then ends the task.
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
            // What is alone has its turn beside them.
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
        // Before the commit, too: what is refused must not stay.
        let committed = match (written, guard.confirm()) {
            (Ok(()), Ok(())) => match execute(&mut connection, "COMMIT").await {
                Ok(()) => guard.confirm(),
                Err(error) => Err(guard.failure_of(error)),
            },
            (Ok(()), Err(fault)) => Err(fault),
            (Err(error), _) => Err(guard.failure_of(error)),
        };
        if committed.is_err() {
            // A transaction that could not commit may still stand open.
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

/// Does all of a transaction but its commit. Dropping work drops the sender of its answer, which tells its caller that it is not written.
async fn write_group(
    connection: &mut SqliteConnection,
    bulks: &mut [Box<dyn Taken>],
    alone: impl Iterator<Item = Alone>,
    answers: &mut Vec<Answer>,
    guard: &Guard,
) -> sqlx::Result<()> {
    execute(connection, BEGIN).await?;
    write_bulks(connection, bulks, guard).await?;
    // The savepoint of work that has ended stands until the next one, or the commit, releases it.
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

/// Before all else in the transaction, so that they need no savepoint: one costs as much as what it
/// could take back.
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
    // One of them is the reason, and the others are not to suffer for it. SQLite may have taken it all
    // back by itself.
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
