//! The pool of read-only connections. Checks all their errors for damage.

use futures::future::BoxFuture;
use futures::stream::BoxStream;
use futures::{StreamExt, TryFutureExt};
use sqlx::pool::PoolConnection;
use sqlx::sqlite::{Sqlite, SqlitePool, SqliteQueryResult, SqliteRow, SqliteStatement};
use sqlx::{Describe, Either, Execute, Executor, SqlStr};

use super::StorageError;
use crate::storage::Condition;

/// A pool that checks the errors of all statements for signs of damage.
#[derive(Clone, Debug)]
pub(super) struct Readers {
    pool: SqlitePool,
    condition: Condition,
}

impl Readers {
    pub(super) fn new(pool: SqlitePool, condition: Condition) -> Self {
        Self { pool, condition }
    }

    /// Acquires one connection for several statements; the caller passes their errors to
    /// [`Self::noted`].
    ///
    /// # Errors
    /// If all connections stay in use for too long.
    pub(super) async fn acquire(&self) -> sqlx::Result<PoolConnection<Sqlite>> {
        self.pool.acquire().await
    }

    pub(super) fn noted<T>(&self, result: super::Result<T>) -> super::Result<T> {
        result.inspect_err(|error| self.condition.note(error))
    }

    pub(super) async fn close(&self) {
        self.pool.close().await;
    }

    fn note(&self, error: &sqlx::Error) {
        if let Some(fault) = super::damage_of(error) {
            self.condition.note(&StorageError::Unusable(fault));
        }
    }
}

impl<'p> Executor<'p> for &'p Readers {
    type Database = Sqlite;

    fn fetch_many<'e, 'q: 'e, E>(
        self,
        query: E,
    ) -> BoxStream<'e, sqlx::Result<Either<SqliteQueryResult, SqliteRow>>>
    where
        'p: 'e,
        E: 'q + Execute<'q, Sqlite>,
    {
        let rows = (&self.pool).fetch_many(query);
        Box::pin(rows.inspect(|row| {
            if let Err(error) = row {
                self.note(error);
            }
        }))
    }

    fn fetch_optional<'e, 'q: 'e, E>(
        self,
        query: E,
    ) -> BoxFuture<'e, sqlx::Result<Option<SqliteRow>>>
    where
        'p: 'e,
        E: 'q + Execute<'q, Sqlite>,
    {
        let row = (&self.pool).fetch_optional(query);
        Box::pin(row.inspect_err(|error| self.note(error)))
    }

    fn prepare_with<'e>(
        self,
        sql: SqlStr,
        parameters: &'e [sqlx::sqlite::SqliteTypeInfo],
    ) -> BoxFuture<'e, sqlx::Result<SqliteStatement>>
    where
        'p: 'e,
    {
        let prepared = (&self.pool).prepare_with(sql, parameters);
        Box::pin(prepared.inspect_err(|error| self.note(error)))
    }

    fn describe<'e>(self, sql: SqlStr) -> BoxFuture<'e, sqlx::Result<Describe<Sqlite>>>
    where
        'p: 'e,
    {
        let described = (&self.pool).describe(sql);
        Box::pin(described.inspect_err(|error| self.note(error)))
    }
}
