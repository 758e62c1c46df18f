use super::database;
use crate::app;
use crate::cli::{Failure, output};
use crate::config::Config;
use crate::storage::HealthStore as _;
use crate::storage::sqlite::{beside, lock_beside};

pub(super) async fn run(config: &Config) -> Result<(), Failure> {
    let database = database(config)?;
    let _lock = lock_beside(&database)?;
    for file in [database.clone(), beside(&database, "-wal")] {
        if std::fs::metadata(&file).is_ok_and(|file| file.len() > 0) {
            let error = anyhow::anyhow!("{} already exists; nothing was changed", file.display());
            return Err(error.into());
        }
    }
    let storage = app::open(&config.database).await?;
    storage.close().await;
    output::data(&format!("{}: created, empty\n", database.display()))
}
