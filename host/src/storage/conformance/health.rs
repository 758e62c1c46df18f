//! Scenarios of the database as a whole.

use super::{Scratch, add, new_job};
use crate::storage::StorageError;

pub(crate) async fn a_sound_database_passes_its_check(storage: &mut Scratch) {
    storage.ping().await.unwrap();
    storage.probe_files();
    assert_eq!(storage.condition().fault(), None);
    storage.condition().check().unwrap();
}

pub(crate) async fn a_closed_database_rejects_writes(storage: &mut Scratch) {
    let id = add(storage, new_job()).await;
    storage.close().await;
    let rejected = storage.set_meta("a", b"1").await;
    assert!(
        matches!(rejected, Err(StorageError::Unavailable(_))),
        "{rejected:?}"
    );
    let rejected = storage.add_job(&new_job(), &[], None).await;
    assert!(
        matches!(rejected, Err(StorageError::Unavailable(_))),
        "{rejected:?}"
    );
    storage.reopen().await;
    assert!(storage.job(id).await.unwrap().is_some());
    assert_eq!(storage.meta("a").await.unwrap(), None);
    assert_eq!(storage.count_jobs(None).await.unwrap().pending, 1);
}
