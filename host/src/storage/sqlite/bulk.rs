//! Work that many callers have at the same time, each for a job of its own: claims, results, lines
//! of logs, ends. What waits when the writer comes to it is done with few queries, because what a
//! query costs is mostly the way to the thread that has the connection, and back.

use std::fmt::Write;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

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
struct Queries([(usize, Arc<str>); SIZES.len()]);

/// What is to be done for those that wait. Dropped instead, it lets them know.
pub(super) struct Pending<W: Alike> {
    waiting: Option<Waiting<W>>,
    queries: Arc<Queries>,
}

/// What came of it, until the commit.
pub(super) struct Done<W: Alike>(Vec<(oneshot::Sender<Result<W::Answer>>, Result<W::Answer>)>);

impl<W: Alike> Default for Bulk<W> {
    fn default() -> Self {
        Self {
            waiting: Arc::default(),
            queries: Arc::new(Queries::of::<W>()),
        }
    }
}

impl<W: Alike> Bulk<W> {
    /// Adds to those that wait. Whoever adds the first ones has to hand what is pending to the
    /// writer.
    pub(super) fn add(&self, work: Vec<W>) -> (Vec<Answered<W>>, Option<Pending<W>>) {
        let mut waiting = lock(&self.waiting);
        let is_first = waiting.is_empty() && !work.is_empty();
        let add = |work| {
            let (answer, answered) = oneshot::channel();
            waiting.push(Asked { work, answer });
            answered
        };
        let answered = work.into_iter().map(add).collect();
        let pending = is_first.then(|| Pending {
            waiting: Some(Arc::clone(&self.waiting)),
            queries: Arc::clone(&self.queries),
        });
        (answered, pending)
    }
}

impl<W: Alike> Pending<W> {
    /// Does all that waits by now, in its order. One that fails takes only itself back.
    pub(super) async fn run(mut self, connection: &mut SqliteConnection) -> Done<W> {
        let waiting = self.waiting.take();
        let asked = waiting.map(|waiting| std::mem::take(&mut *lock(&waiting)));
        let asked = asked.into_iter().flatten();
        let (work, senders): (Vec<_>, Vec<_>) =
            asked.map(|asked| (asked.work, asked.answer)).unzip();
        let answers = self.queries.run(connection, &work).await;
        Done(senders.into_iter().zip(answers).collect())
    }
}

impl<W: Alike> Drop for Pending<W> {
    fn drop(&mut self) {
        if let Some(waiting) = &self.waiting {
            lock(waiting).clear();
        }
    }
}

impl<W: Alike> Done<W> {
    pub(super) fn tell(self, committed: &Committed) {
        for (sender, answer) in self.0 {
            // A caller that was cancelled no longer listens; the work stands.
            let _ = sender.send(committed.answer(answer));
        }
    }
}

impl Queries {
    fn of<W: Alike>() -> Self {
        let query = |size| repeated(W::STATEMENTS, W::PARAMETERS, size).into();
        Self(SIZES.map(|size| (size, query(size))))
    }

    async fn run<W: Alike>(
        &self,
        connection: &mut SqliteConnection,
        mut work: &[W],
    ) -> Vec<Result<W::Answer>> {
        let [.., (_, query_for_one)] = &self.0;
        let mut answered = Vec::with_capacity(work.len());
        for (size, query) in &self.0 {
            while let Some((some, rest)) = work.split_at_checked(*size) {
                match run_all(connection, query, some).await {
                    Ok(answers) => answered.extend(answers),
                    // One of them is the reason, and the others are not to suffer for it.
                    Err(_) => {
                        for one in some.chunks(1) {
                            match run_all(connection, query_for_one, one).await {
                                Ok(answers) => answered.extend(answers),
                                Err(error) => answered.push(Err(error.into())),
                            }
                        }
                    }
                }
                work = rest;
            }
        }
        answered
    }
}

/// Does all of it or nothing.
async fn run_all<W: Alike>(
    connection: &mut SqliteConnection,
    query: &Arc<str>,
    work: &[W],
) -> sqlx::Result<Vec<Result<W::Answer>>> {
    let query = sqlx::query(AssertSqlSafe(Arc::clone(query)));
    let query = work.iter().fold(query, |query, one| one.bind(query));
    match query.fetch_all(&mut *connection).await {
        Ok(rows) => Ok(answers(work, &rows)),
        Err(error) => {
            sqlx::query("ROLLBACK TO bulk; RELEASE bulk")
                .execute(connection)
                .await?;
            Err(error)
        }
    }
}

fn answers<W: Alike>(work: &[W], rows: &[SqliteRow]) -> Vec<Result<W::Answer>> {
    let numbered = work.iter().enumerate();
    let answer = |(number, one): (usize, &W)| {
        let mut rows = rows.iter();
        let row = rows.find(|row| row.try_get::<i64, _>(0).is_ok_and(|of| of == number as i64));
        one.answer(row)
    };
    numbered.map(answer).collect()
}

/// The statements as often as asked for, in a savepoint. Parameters are named `$NNN` and not
/// numbered `?NNN`: with those, SQLite counts the ones before them in each statement as well.
fn repeated(statements: &str, parameters: usize, times: usize) -> String {
    let mut text = String::from("SAVEPOINT bulk;\n");
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
    text.push_str("RELEASE bulk");
    text
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
