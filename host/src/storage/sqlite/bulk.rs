//! Work that many callers have at the same time, each for a job of its own: claims, results, lines
//! of logs, ends. What waits when the writer comes to it is done with few queries, because what a
//! query costs is mostly the way to the thread that has the connection, and back.

use std::fmt::Write;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use sqlx::query::Query;
use sqlx::sqlite::{Sqlite, SqliteArguments, SqliteConnection, SqliteRow};
use sqlx::{AssertSqlSafe, Row};
use tokio::sync::oneshot;

use super::Result;
use super::in_flight::Noting;
use super::running::{Answering, Claiming, Ending, Progressing};
use super::writer::Committed;
use crate::model::JobLog;

/// How many are done by one query: as many as fit of the first, then of the second, and so on.
const SIZES: [usize; 5] = [16, 8, 4, 2, 1];

/// Work of one kind.
pub(super) trait Alike: Send + Sync + Sized + 'static {
    type Answer: Send + 'static;

    /// For one of them. The parameters are `$1`, `$2` and so on, as many as [`Self::bind`] binds;
    /// `$0` is its number among those that are done together.
    const STATEMENTS: &str;
    const PARAMETERS: usize;

    /// Where those of its kind wait.
    fn bulk(bulks: &Bulks) -> &Bulk<Self>;

    fn bind<'q>(&self, query: Bound<'q>) -> Bound<'q>;

    /// Reads the row that the statements returned for it, the first column of which is `$0`.
    ///
    /// # Errors
    /// What the caller hears. The work stands all the same: only its statements take it back.
    fn answer(&self, row: Option<&SqliteRow>) -> Result<Self::Answer>;
}

pub(super) type Bound<'q> = Query<'q, Sqlite, SqliteArguments>;

/// What waits for the writer, by its kind.
#[derive(Default)]
pub(super) struct Bulks {
    pub claims: Bulk<Claiming>,
    pub notes: Bulk<Noting>,
    pub results: Bulk<Answering>,
    pub lines: Bulk<JobLog>,
    pub progress: Bulk<Progressing>,
    pub ends: Bulk<Ending>,
}

/// All of one kind that wait for the writer.
pub(super) struct Bulk<W: Alike> {
    waiting: Waiting<W>,
    queries: Arc<Queries>,
}

type Waiting<W> = Arc<Mutex<Vec<Asked<W>>>>;

struct Asked<W: Alike> {
    work: W,
    answer: oneshot::Sender<Result<W::Answer>>,
}

pub(super) type Answered<W> = oneshot::Receiver<Result<<W as Alike>::Answer>>;

/// The query for each of [`SIZES`].
type Queries = [(usize, Arc<str>); SIZES.len()];

impl<W: Alike> Default for Bulk<W> {
    fn default() -> Self {
        let query = |size| repeated(W::STATEMENTS, W::PARAMETERS, size).into();
        Self {
            waiting: Arc::default(),
            queries: Arc::new(SIZES.map(|size| (size, query(size)))),
        }
    }
}

impl<W: Alike> Bulk<W> {
    /// Adds to those that wait. Whoever adds the first ones has to hand what is pending to the
    /// writer.
    pub(super) fn add(&self, work: Vec<W>) -> (Vec<Answered<W>>, Option<Box<dyn Pending>>) {
        let mut waiting = lock(&self.waiting);
        let is_first = waiting.is_empty() && !work.is_empty();
        let add = |work| {
            let (answer, answered) = oneshot::channel();
            waiting.push(Asked { work, answer });
            answered
        };
        let answered = work.into_iter().map(add).collect();
        let pending = is_first.then(|| {
            let pending: Box<dyn Pending> = Box::new(PendingBulk {
                waiting: Some(Arc::clone(&self.waiting)),
                queries: Arc::clone(&self.queries),
                asked: Vec::new(),
                answers: Vec::new(),
            });
            pending
        });
        (answered, pending)
    }
}

/// What waits of one kind, on its way through the writer. Dropped before its end, it lets those who
/// wait know.
#[async_trait]
pub(super) trait Pending: Send {
    /// Takes what waits by now; what comes later is somebody else's.
    fn take(&mut self);

    /// Does it all, with few queries, in its order.
    ///
    /// # Errors
    /// Of the first query that failed. Part of it may be done, and is to be taken back.
    async fn do_together(&mut self, connection: &mut SqliteConnection) -> sqlx::Result<()>;

    /// Does each by itself, so that one that fails takes only itself back.
    ///
    /// # Errors
    /// When that cannot be done.
    async fn do_one_by_one(&mut self, connection: &mut SqliteConnection) -> sqlx::Result<()>;

    fn tell(self: Box<Self>, committed: &Committed);
}

struct PendingBulk<W: Alike> {
    /// Until they are taken.
    waiting: Option<Waiting<W>>,
    queries: Arc<Queries>,
    asked: Vec<Asked<W>>,
    answers: Vec<Result<W::Answer>>,
}

#[async_trait]
impl<W: Alike> Pending for PendingBulk<W> {
    fn take(&mut self) {
        if let Some(waiting) = self.waiting.take() {
            self.asked = std::mem::take(&mut *lock(&waiting));
        }
    }

    async fn do_together(&mut self, connection: &mut SqliteConnection) -> sqlx::Result<()> {
        self.answers.clear();
        let mut left = self.asked.as_slice();
        for (size, query) in &*self.queries {
            while let Some((some, others)) = left.split_at_checked(*size) {
                self.answers.extend(run(connection, query, some).await?);
                left = others;
            }
        }
        Ok(())
    }

    async fn do_one_by_one(&mut self, connection: &mut SqliteConnection) -> sqlx::Result<()> {
        self.answers.clear();
        let [.., (_, query)] = &*self.queries;
        for one in self.asked.chunks(1) {
            execute(connection, "SAVEPOINT one").await?;
            match run(connection, query, one).await {
                Ok(answers) => self.answers.extend(answers),
                Err(error) => {
                    execute(connection, "ROLLBACK TO one").await?;
                    self.answers.push(Err(error.into()));
                }
            }
            execute(connection, "RELEASE one").await?;
        }
        Ok(())
    }

    fn tell(mut self: Box<Self>, committed: &Committed) {
        let asked = std::mem::take(&mut self.asked);
        for (asked, answer) in asked.into_iter().zip(self.answers.drain(..)) {
            // A caller that was cancelled no longer listens; the work stands.
            let _ = asked.answer.send(committed.answer(answer));
        }
    }
}

impl<W: Alike> Drop for PendingBulk<W> {
    fn drop(&mut self) {
        if let Some(waiting) = &self.waiting {
            lock(waiting).clear();
        }
    }
}

async fn run<W: Alike>(
    connection: &mut SqliteConnection,
    query: &Arc<str>,
    asked: &[Asked<W>],
) -> sqlx::Result<Vec<Result<W::Answer>>> {
    let query = sqlx::query(AssertSqlSafe(Arc::clone(query)));
    let work = asked.iter().map(|asked| &asked.work);
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

fn answers<'w, W: Alike>(
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

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
