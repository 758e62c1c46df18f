//! Batching of writes across jobs. The writer executes all waiting writes of a kind with few queries,
//! because most of the cost of a query is the round trip to the thread that owns the connection.
//!
//! This module knows a kind only by the trait [`BatchedWrite`]; `writes.rs` lists the kinds.

use std::collections::VecDeque;
use std::fmt::Write;
use std::sync::Arc;

use async_trait::async_trait;
use parking_lot::Mutex;
use sqlx::query::Query;
use sqlx::sqlite::{Sqlite, SqliteArguments, SqliteConnection, SqliteRow};
use sqlx::{AssertSqlSafe, Row};
use tokio::sync::oneshot;

use super::commit::Committed;
use super::{Result, StorageError};

/// Batch sizes, with one query each. A batch uses the largest size first, then smaller ones for the
/// remainder.
const SIZES: [usize; 5] = [16, 8, 4, 2, 1];

/// One write of a kind that can be batched.
pub(super) trait BatchedWrite: Send + Sync + Sized + 'static {
    type Output: Send + 'static;

    /// SQL for one write. Its parameters are `$1`, `$2` and so on, up to [`Self::PARAMETERS`]; `$0` is
    /// the write's index in the batch.
    const STATEMENTS: &str;
    const PARAMETERS: usize;

    fn bind<'q>(&self, query: SqliteQuery<'q>) -> SqliteQuery<'q>;

    /// Reads the row that the statements returned for this write; its first column is `$0`.
    ///
    /// # Errors
    /// The error to return to the caller. It does not undo the write: only a failed statement does.
    fn output(&self, row: Option<&SqliteRow>) -> Result<Self::Output>;
}

pub(super) type SqliteQuery<'q> = Query<'q, Sqlite, SqliteArguments>;

/// The queues of all kinds of writes.
pub(super) trait Queues: Default + Send + 'static {
    /// Visits the queues in the order in which their writes are executed.
    fn for_each(&mut self, visit: impl FnMut(&mut dyn AnyQueue));
}

/// The queue of one kind, among the queues of all kinds.
pub(super) trait HasQueue<W: BatchedWrite>: Queues {
    fn queue(&mut self) -> &mut WriteQueue<W>;
}

/// A queue of any kind.
pub(super) trait AnyQueue {
    /// Takes at most `limit` writes; `None` if none wait.
    fn take(&mut self, limit: usize) -> Option<Box<dyn Batch>>;
    fn len(&self) -> usize;
}

/// Writes that wait for the writer.
#[derive(Default)]
pub(super) struct WaitingWrites<Q> {
    shared: Mutex<Shared<Q>>,
}

#[derive(Default)]
struct Shared<Q> {
    queues: Q,
    /// Number of writes in all queues.
    waiting: usize,
}

/// The queue of one kind of write.
pub(super) struct WriteQueue<W: BatchedWrite> {
    waiting: VecDeque<QueuedWrite<W>>,
    queries: Arc<Queries>,
}

struct QueuedWrite<W: BatchedWrite> {
    write: W,
    reply: oneshot::Sender<Result<W::Output>>,
}

/// Receives the output of a write, after its commit.
pub(super) type Reply<W> = oneshot::Receiver<Result<<W as BatchedWrite>::Output>>;

/// The query for each of [`SIZES`].
type Queries = [(usize, Arc<str>); SIZES.len()];

impl<Q: Queues> WaitingWrites<Q> {
    /// Enqueues writes. Returns their reply channels, and whether the queues were empty before.
    pub(super) fn add<W: BatchedWrite>(&self, writes: Vec<W>) -> (Vec<Reply<W>>, bool)
    where
        Q: HasQueue<W>,
    {
        let mut shared = self.shared.lock();
        let is_first = shared.waiting == 0 && !writes.is_empty();
        shared.waiting += writes.len();
        let queue = shared.queues.queue();
        let add = |write| {
            let (reply, replied) = oneshot::channel();
            queue.waiting.push_back(QueuedWrite { write, reply });
            replied
        };
        (writes.into_iter().map(add).collect(), is_first)
    }

    /// Takes at most `limit` writes of each kind. Returns them, and whether any are left.
    pub(super) fn take(&self, limit: usize) -> (Vec<Box<dyn Batch>>, bool) {
        let mut shared = self.shared.lock();
        let (mut batches, mut left) = (Vec::new(), 0);
        shared.queues.for_each(|queue| {
            batches.extend(queue.take(limit));
            left += queue.len();
        });
        shared.waiting = left;
        (batches, left > 0)
    }
}

impl<W: BatchedWrite> Default for WriteQueue<W> {
    fn default() -> Self {
        let query = |size| repeated(W::STATEMENTS, W::PARAMETERS, size).into();
        Self {
            waiting: VecDeque::new(),
            queries: Arc::new(SIZES.map(|size| (size, query(size)))),
        }
    }
}

impl<W: BatchedWrite> AnyQueue for WriteQueue<W> {
    fn take(&mut self, limit: usize) -> Option<Box<dyn Batch>> {
        let limit = limit.min(self.waiting.len());
        let writes: Vec<_> = self.waiting.drain(..limit).collect();
        if writes.is_empty() {
            return None;
        }
        Some(Box::new(BatchOf {
            queries: Arc::clone(&self.queries),
            writes,
            outputs: Vec::new(),
        }))
    }

    fn len(&self) -> usize {
        self.waiting.len()
    }
}

/// A batch of writes of one kind that the writer is executing. Dropping it closes the reply channels of
/// the callers.
#[async_trait]
pub(super) trait Batch: Send {
    /// Executes all writes in order, with few queries.
    ///
    /// # Errors
    /// If a query failed. The batch may be executed in part and has to be rolled back.
    async fn execute_together(&mut self, connection: &mut SqliteConnection) -> sqlx::Result<()>;

    /// Executes each write in its own savepoint, so that a failure rolls back only that write.
    ///
    /// # Errors
    /// If SQLite has rolled back the whole transaction.
    async fn execute_one_by_one(&mut self, connection: &mut SqliteConnection) -> sqlx::Result<()>;

    /// Replies to the callers after the commit.
    fn reply(self: Box<Self>, committed: &Committed);
}

struct BatchOf<W: BatchedWrite> {
    queries: Arc<Queries>,
    writes: Vec<QueuedWrite<W>>,
    /// Outputs of the executed writes, in the same order.
    outputs: Vec<Result<W::Output>>,
}

#[async_trait]
impl<W: BatchedWrite> Batch for BatchOf<W> {
    async fn execute_together(&mut self, connection: &mut SqliteConnection) -> sqlx::Result<()> {
        self.outputs.clear();
        let mut left = self.writes.as_slice();
        for (size, query) in &*self.queries {
            while let Some((some, others)) = left.split_at_checked(*size) {
                let writes = some.iter().map(|queued| &queued.write);
                self.outputs.extend(run(connection, query, writes).await?);
                left = others;
            }
        }
        Ok(())
    }

    async fn execute_one_by_one(&mut self, connection: &mut SqliteConnection) -> sqlx::Result<()> {
        self.outputs.clear();
        let [.., (_, query)] = &*self.queries;
        for QueuedWrite { write, .. } in &self.writes {
            execute(connection, "SAVEPOINT one").await?;
            match run(connection, query, [write].into_iter()).await {
                Ok(outputs) => self.outputs.extend(outputs),
                Err(error) => {
                    if execute(connection, "ROLLBACK TO one").await.is_err() {
                        return Err(error);
                    }
                    self.outputs.push(Err(error.into()));
                }
            }
            execute(connection, "RELEASE one").await?;
        }
        Ok(())
    }

    fn reply(self: Box<Self>, committed: &Committed) {
        let mut outputs = self.outputs.into_iter();
        for queued in self.writes {
            // Writes that were not executed fail with the error of the group.
            let undone = || StorageError::Unavailable("nothing was written".to_owned());
            let reply = match outputs.next() {
                Some(output) => committed.reply(output),
                None => committed.reply(Ok(())).and_then(|()| Err(undone())),
            };
            // Fails if the caller was cancelled; the write is committed regardless.
            let _ = queued.reply.send(reply);
        }
    }
}

/// Executes one write inside another transaction.
///
/// # Errors
/// If one of its statements fails.
pub(super) async fn execute_one<W: BatchedWrite>(
    connection: &mut SqliteConnection,
    write: &W,
) -> Result<W::Output> {
    let query = repeated(W::STATEMENTS, W::PARAMETERS, 1).into();
    let mut outputs = run(connection, &query, [write].into_iter()).await?;
    outputs.remove(0)
}

async fn run<'w, W: BatchedWrite>(
    connection: &mut SqliteConnection,
    query: &Arc<str>,
    writes: impl Iterator<Item = &'w W> + Clone,
) -> sqlx::Result<Vec<Result<W::Output>>> {
    let query = sqlx::query(AssertSqlSafe(Arc::clone(query)));
    let query = writes.clone().fold(query, |query, one| one.bind(query));
    let rows = query.fetch_all(connection).await?;
    Ok(outputs(writes, &rows))
}

pub(super) async fn execute(
    connection: &mut SqliteConnection,
    sql: &'static str,
) -> sqlx::Result<()> {
    sqlx::query(sql).execute(connection).await.map(drop)
}

fn outputs<'w, W: BatchedWrite>(
    writes: impl Iterator<Item = &'w W>,
    rows: &[SqliteRow],
) -> Vec<Result<W::Output>> {
    let output = |(index, write): (usize, &W)| {
        let is_its = |row: &&SqliteRow| row.try_get(0).is_ok_and(|of: i64| of == index as i64);
        write.output(rows.iter().find(is_its))
    };
    writes.enumerate().map(output).collect()
}

/// Repeats the statements and renumbers their parameters. Parameters are `$NNN`, not `?NNN`: for
/// `?NNN`, SQLite also counts all lower-numbered parameters in each statement.
fn repeated(statements: &str, parameters: usize, times: usize) -> String {
    let mut text = String::new();
    for number in 0..times {
        let mut parts = statements.split('$');
        text.extend(parts.next());
        for part in parts {
            let digits = part.len() - part.trim_start_matches(|c: char| c.is_ascii_digit()).len();
            let (digits, rest) = part.split_at(digits);
            let _ = match digits.parse() {
                Ok(0) => write!(text, "{number}{rest}"),
                Ok(parameter @ 1..) => write!(text, "${}{rest}", number * parameters + parameter),
                Err(_) => write!(text, "${part}"),
            };
        }
        text.push_str(";\n");
    }
    text
}
