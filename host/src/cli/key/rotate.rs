use crate::app;
use crate::cli::{Failure, output};
use crate::config::Config;
use crate::sealing;
use crate::storage::HealthStore as _;
use crate::storage::sqlite::{file_of, lock_beside};

pub(super) async fn run(config: &Config) -> Result<(), Failure> {
    let database = file_of(&config.database.url)?;
    if !database.exists() {
        let error = anyhow::anyhow!("database {} not found", database.display());
        return Err(error.into());
    }
    let _lock = lock_beside(&database)?;
    let storage = app::open(&config.database).await?;
    let key_file = &config.security.master_key_file;
    let rotated = sealing::rotate(&storage, key_file).await;
    // Closing truncates the write-ahead log, which may still contain values sealed with the old key.
    storage.close().await;
    let rotated = rotated?;
    output::data(&format!(
        "{}: key {}, replaces key {}\n",
        key_file.display(),
        rotated.new,
        rotated.old
    ))?;
    let connections = match rotated.connections {
        1 => "1 connection".to_owned(),
        many => format!("{many} connections"),
    };
    output::talk(&format!(
        "the secrets of {connections} are sealed with the new key; keep a copy of it. The old key was \
         moved to {}: older backups need it, so remove it together with the last of them",
        rotated.old_file.display()
    ));
    for left in rotated.left {
        output::talk(&format!("warning: {left}; left unchanged"));
    }
    Ok(())
}
