use super::{database, size};
use crate::cli::{Failure, output};
use crate::config::Config;
use crate::storage::sqlite;

pub(super) async fn run(config: &Config) -> Result<(), Failure> {
    let database = database(config)?;
    let report = sqlite::check_database(&database).await?;
    if !report.problems.is_empty() {
        output::data(&format!("{}\n", report.problems.join("\n")))?;
        return Err(anyhow::anyhow!(
            "the database {} is damaged; restore a backup with `scheduler db restore FILE`",
            database.display()
        )
        .into());
    }
    let newest = match report.schema == report.known_schema {
        true => String::new(),
        false => format!(
            "; the next start migrates it to schema {}",
            report.known_schema
        ),
    };
    output::data(&format!(
        "{}: no damage found, {}, schema {}{newest}\n",
        database.display(),
        size(report.bytes),
        report.schema
    ))
}
