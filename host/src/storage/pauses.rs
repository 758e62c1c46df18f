//! Pauses.

use async_trait::async_trait;
use uuid::Uuid;

use super::Result;
use crate::model::Pause;

/// Pauses.
#[async_trait]
pub trait PauseStore: Send + Sync + 'static {
    async fn pauses(&self) -> Result<Vec<Pause>>;
    /// Stores a pause, replacing the one with the same id; fails with `Exists` if another pause has its
    /// name.
    async fn set_pause(&self, pause: &Pause) -> Result<()>;
    async fn delete_pause(&self, id: Uuid) -> Result<bool>;
}
