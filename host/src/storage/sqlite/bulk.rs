//! Batched database operations: new jobs, claims, write intents, results, log lines, progress, ends of
//! attempts. The writer executes all waiting operations of a kind with few queries, because most of the
//! cost of a query is the round trip to the thread that owns the connection.

use std::collections::VecDeque;
use std::fmt::Write;
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use sqlx::query::Query;
use sqlx::sqlite::{Sqlite, SqliteArguments, SqliteConnection, SqliteRow};
use sqlx::{AssertSqlSafe, Row};
use tokio::sync::oneshot;

use super::in_flight::AddNote;
use super::jobs::AddJob;
use super::running::{AddResult, ClaimJob, EndAttempt, SetProgress};
use super::writer::Committed;
use super::{Result, StorageError};
use crate::model::JobLog;

/// Batch sizes, with one query each. A batch uses the largest size first, then smaller ones for the
/// remainder.
const SIZES: [usize; 5] = [16, 8, 4, 2, 1];

/// One operation of a kind that can be batched.
pub(super) trait BulkWork: Send + Sync + Sized + 'static {
    type Answer: Send + 'static;

    /// SQL for one operation. Its parameters are `$1`, `$2` and so on, up to [`Self::PARAMETERS`]; `$0`
    /// is the operation's index in the batch.
    const STATEMENTS: &str;
    const PARAMETERS: usize;

    fn bind<'q>(&self, query: SqliteQuery<'q>) -> SqliteQuery<'q>;

    /// Reads the row that the statements returned for this operation; its first column is `$0`.
    ///
    /// # Errors
    /// The error to return to the caller. It does not undo the operation: only a failed statement does.
    fn answer(&self, row: Option<&SqliteRow>) -> Result<Self::Answer>;

    /// Returns the queue of this kind of operation.
    fn bulk(kinds: &mut Kinds) -> &mut Bulk<Self>;
}

pub(super) type SqliteQuery<'q> = Query<'q, Sqlite, SqliteArguments>;

/// Operations that wait for the writer.
#[derive(Default)]
pub(super) struct Bulks {
    kinds: Mutex<Kinds>,
}

/// Queues in the order in which they are executed: an intent before the result that removes it, and all
/// records of an attempt before its end.
#[derive(Default)]
pub(super) struct Kinds {
    pub jobs: Bulk<AddJob>,
    pub claims: Bulk<ClaimJob>,
    pub notes: Bulk<AddNote>,
    pub results: Bulk<AddResult>,
    pub lines: Bulk<JobLog>,
    pub progress: Bulk<SetProgress>,
    pub ends: Bulk<EndAttempt>,
}

/// The queue of one kind of operation.
pub(super) struct Bulk<W: BulkWork> {
    waiting: VecDeque<Asked<W>>,
    queries: Arc<Queries>,
}

struct Asked<W: BulkWork> {
    work: W,
    answer: oneshot::Sender<Result<W::Answer>>,
}

pub(super) type Answered<W> = oneshot::Receiver<Result<<W as BulkWork>::Answer>>;

/// The query for each of [`SIZES`].
type Queries = [(usize, Arc<str>); SIZES.len()];

impl Bulks {
    /// Enqueues operations. Returns their reply channels, and whether the queues were empty before.
    pub(super) fn add<W: BulkWork>(&self, work: Vec<W>) -> (Vec<Answered<W>>, bool) {
        let mut kinds = self.kinds.lock().unwrap_or_else(PoisonError::into_inner);
        let is_first = kinds.is_empty() && !work.is_empty();
        let bulk = W::bulk(&mut kinds);
        let add = |work| {
            let (answer, answered) = oneshot::channel();
            bulk.waiting.push_back(Asked { work, answer });
            answered
        };
        (work.into_iter().map(add).collect(), is_first)
    }

    /// Takes at most `most` operations of each kind. Returns them, and whether any are left.
    pub(super) fn take(&self, most: usize) -> (Vec<Box<dyn Taken>>, bool) {
        let mut kinds = self.kinds.lock().unwrap_or_else(PoisonError::into_inner);
        let taken = [
            kinds.jobs.take(most),
            kinds.claims.take(most),
            kinds.notes.take(most),
            kinds.results.take(most),
            kinds.lines.take(most),
            kinds.progress.take(most),
            kinds.ends.take(most),
        ];
        (taken.into_iter().flatten().collect(), !kinds.is_empty())
    }
}

impl Kinds {
    fn is_empty(&self) -> bool {
        self.jobs.waiting.is_empty()
            && self.claims.waiting.is_empty()
            && self.notes.waiting.is_empty()
            && self.results.waiting.is_empty()
            && self.lines.waiting.is_empty()
            && self.progress.waiting.is_empty()
            && self.ends.waiting.is_empty()
    }
}

impl<W: BulkWork> Default for Bulk<W> {
    fn default() -> Self {
        let query = |size| repeated(W::STATEMENTS, W::PARAMETERS, size).into();
        Self {
            waiting: VecDeque::new(),
            queries: Arc::new(SIZES.map(|size| (size, query(size)))),
        }
    }
}

impl<W: BulkWork> Bulk<W> {
    fn take(&mut self, most: usize) -> Option<Box<dyn Taken>> {
        let most = most.min(self.waiting.len());
        let asked: Vec<_> = self.waiting.drain(..most).collect();
        if asked.is_empty() {
            return None;
        }
        Some(Box::new(TakenBulk {
            queries: Arc::clone(&self.queries),
            asked,
            answers: Vec::new(),
        }))
    }
}

/// A batch of one kind that the writer is executing. Dropping it closes the reply channels of the
/// callers.
#[async_trait]
pub(super) trait Taken: Send {
    /// Executes all operations in order, with few queries.
    ///
    /// # Errors
    /// If a query failed. The batch may be executed in part and has to be rolled back.
    async fn do_together(&mut self, connection: &mut SqliteConnection) -> sqlx::Result<()>;

    /// Executes each operation in its own savepoint, so that a failure rolls back only that operation.
    ///
    /// # Errors
    /// If SQLite has rolled back the whole transaction.
    async fn do_one_by_one(&mut self, connection: &mut SqliteConnection) -> sqlx::Result<()>;

    fn tell(self: Box<Self>, committed: &Committed);
}

struct TakenBulk<W: BulkWork> {
    queries: Arc<Queries>,
    asked: Vec<Asked<W>>,
    /// Results of the executed operations, in the same order.
    answers: Vec<Result<W::Answer>>,
}

#[async_trait]
impl<W: BulkWork> Taken for TakenBulk<W> {
    async fn do_together(&mut self, connection: &mut SqliteConnection) -> sqlx::Result<()> {
        self.answers.clear();
        let mut left = self.asked.as_slice();
        for (size, query) in &*self.queries {
            while let Some((some, others)) = left.split_at_checked(*size) {
                let work = some.iter().map(|asked| &asked.work);
                self.answers.extend(run(connection, query, work).await?);
                left = others;
            }
        }
        Ok(())
    }

    async fn do_one_by_one(&mut self, connection: &mut SqliteConnection) -> sqlx::Result<()> {
        self.answers.clear();
        let [.., (_, query)] = &*self.queries;
        for Asked { work, .. } in &self.asked {
            execute(connection, "SAVEPOINT one").await?;
            match run(connection, query, [work].into_iter()).await {
                Ok(answers) => self.answers.extend(answers),
                Err(error) => {
                    if execute(connection, "ROLLBACK TO one").await.is_err() {
                        return Err(error);
                    }
                    self.answers.push(Err(error.into()));
                }
            }
            execute(connection, "RELEASE one").await?;
        }
        Ok(())
    }

    fn tell(self: Box<Self>, committed: &Committed) {
        let mut answers = self.answers.into_iter();
        for asked in self.asked {
            // Operations that were not executed fail with the error of the group.
            let undone = || StorageError::Unavailable("nothing was written".to_owned());
            let answer = match answers.next() {
                Some(answer) => committed.answer(answer),
                None => committed.answer(Ok(())).and_then(|()| Err(undone())),
            };
            // Fails if the caller was cancelled; the operation is committed regardless.
            let _ = asked.answer.send(answer);
        }
    }
}

/// Executes one operation inside another transaction.
///
/// # Errors
/// If one of its statements fails.
pub(super) async fn do_one<W: BulkWork>(
    connection: &mut SqliteConnection,
    work: &W,
) -> Result<W::Answer> {
    let query = repeated(W::STATEMENTS, W::PARAMETERS, 1).into();
    let mut answers = run(connection, &query, [work].into_iter()).await?;
    answers.remove(0)
}

async fn run<'w, W: BulkWork>(
    connection: &mut SqliteConnection,
    query: &Arc<str>,
    work: impl Iterator<Item = &'w W> + Clone,
) -> sqlx::Result<Vec<Result<W::Answer>>> {
    let query = sqlx::query(AssertSqlSafe(Arc::clone(query)));
    let query = work.clone().fold(query, |query, one| one.bind(query));
    let rows = query.fetch_all(connection).await?;
    Ok(answers(work, &rows))
}

pub(super) async fn execute(
    connection: &mut SqliteConnection,
    sql: &'static str,
) -> sqlx::Result<()> {
    sqlx::query(sql).execute(connection).await.map(drop)
}

fn answers<'w, W: BulkWork>(
    work: impl Iterator<Item = &'w W>,
    rows: &[SqliteRow],
) -> Vec<Result<W::Answer>> {
    let answer = |(number, one): (usize, &W)| {
        let is_its = |row: &&SqliteRow| row.try_get(0).is_ok_and(|of: i64| of == number as i64);
        one.answer(rows.iter().find(is_its))
    };
    work.enumerate().map(answer).collect()
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
