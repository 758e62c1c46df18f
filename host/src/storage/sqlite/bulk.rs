//! Work that many callers have at the same time, each for a job of its own: new jobs, claims, notes, results,
//! lines of logs, progress, ends. What waits when the writer comes to it is done with few queries,
//! because what a query costs is mostly the way to the thread that has the connection, and back.

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

/// How many are done by one query: as many as fit of the first, then of the second, and so on.
const SIZES: [usize; 5] = [16, 8, 4, 2, 1];

/// Work of one kind.
pub(super) trait BulkWork: Send + Sync + Sized + 'static {
    type Answer: Send + 'static;

    /// For one of them. The parameters are `$1`, `$2` and so on, as many as [`Self::bind`] binds;
    /// `$0` is its number among those that are done together.
    const STATEMENTS: &str;
    const PARAMETERS: usize;

    fn bind<'q>(&self, query: SqliteQuery<'q>) -> SqliteQuery<'q>;

    /// Reads the row that the statements returned for it, the first column of which is `$0`.
    ///
    /// # Errors
    /// What the caller hears. The work stands all the same: only its statements take it back.
    fn answer(&self, row: Option<&SqliteRow>) -> Result<Self::Answer>;

    /// Those of its kind.
    fn bulk(kinds: &mut Kinds) -> &mut Bulk<Self>;
}

pub(super) type SqliteQuery<'q> = Query<'q, Sqlite, SqliteArguments>;

/// What waits for the writer.
#[derive(Default)]
pub(super) struct Bulks {
    kinds: Mutex<Kinds>,
}

/// In the order in which they are done: a note before the result that takes it away, and all that an
/// attempt leaves behind before its end.
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

/// All of one kind that wait.
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
    /// Adds to what waits; and whether nothing waited before.
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

    /// Takes what waits, of each kind `most` at most; and whether something is left.
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

/// Some of one kind, on their way through the writer. Dropped before its end, it lets those who wait
/// know.
#[async_trait]
pub(super) trait Taken: Send {
    /// Does it all, with few queries, in its order.
    ///
    /// # Errors
    /// Of the first query that failed. Part of it may be done, and is to be taken back.
    async fn do_together(&mut self, connection: &mut SqliteConnection) -> sqlx::Result<()>;

    /// Does each by itself, so that one that fails takes only itself back.
    ///
    /// # Errors
    /// When SQLite has taken back the whole transaction.
    async fn do_one_by_one(&mut self, connection: &mut SqliteConnection) -> sqlx::Result<()>;

    fn tell(self: Box<Self>, committed: &Committed);
}

struct TakenBulk<W: BulkWork> {
    queries: Arc<Queries>,
    asked: Vec<Asked<W>>,
    /// Of those that were done, in the same order.
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
            // What was not come to has no answer but the group's failure.
            let undone = || StorageError::Unavailable("nothing was written".to_owned());
            let answer = match answers.next() {
                Some(answer) => committed.answer(answer),
                None => committed.answer(Ok(())).and_then(|()| Err(undone())),
            };
            // A caller that was cancelled no longer listens; the work stands.
            let _ = asked.answer.send(answer);
        }
    }
}

/// Does one inside of other work.
///
/// # Errors
/// Of its statements.
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

/// The statements as often as asked for. Parameters are named `$NNN` and not numbered `?NNN`: with
/// those, SQLite counts the ones before them in each statement as well.
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
