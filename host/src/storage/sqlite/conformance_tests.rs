//! Runs the conformance suite with SQLite.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;

use super::SqliteStorage;
use crate::storage::Storage;
use crate::storage::conformance::{self, Database, Scratch, for_all_scenarios};

/// A database file in a directory of its own.
struct Directory(tempfile::TempDir);

#[async_trait(?Send)]
impl Database for Directory {
    async fn open(&self) -> Arc<dyn Storage> {
        let url = format!("sqlite:{}", self.0.path().join("jobs.db").display());
        let opened = SqliteStorage::open(&url, 4, Duration::ZERO).await;
        Arc::new(opened.unwrap())
    }
}

macro_rules! test_each {
    ($($role:ident { $($scenario:ident,)+ })+) => {
        $(mod $role {
            use super::*;

            $(#[tokio::test]
            async fn $scenario() {
                let directory = Directory(tempfile::tempdir().unwrap());
                let mut scratch = Scratch::open(directory).await;
                conformance::$role::$scenario(&mut scratch).await;
                scratch.close().await;
            })+
        })+
    };
}

for_all_scenarios!(test_each);
