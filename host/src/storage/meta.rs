//! Facts about the database, such as the check value of the master key.

use async_trait::async_trait;

use super::Result;

/// Facts about the database, by key.
#[async_trait]
pub trait MetaStore: Send + Sync + 'static {
    async fn meta(&self, key: &str) -> Result<Option<Vec<u8>>>;
    async fn set_meta(&self, key: &str, value: &[u8]) -> Result<()>;
}
