//! Scenarios of the records of downloaded files.

use super::Scratch;
use crate::storage::DownloadedFile;

fn file(path: &str, plugin: &str, bytes: u64) -> DownloadedFile {
    DownloadedFile {
        path: path.to_owned(),
        plugin: plugin.to_owned(),
        bytes,
    }
}

pub(crate) async fn a_download_is_recorded_once_per_path(storage: &mut Scratch) {
    let files = [file("b/é", "p", 1), file("a", "p", 5_000_000_000)];
    for file in &files {
        storage.add_downloaded_file(file).await.unwrap();
    }
    let replaced = file("b/é", "q", 2);
    storage.add_downloaded_file(&replaced).await.unwrap();
    storage.reopen().await;
    let stored = storage.downloaded_files().await.unwrap();
    assert_eq!(stored, [files[1].clone(), replaced]);
}

pub(crate) async fn records_of_downloads_are_removed_by_path(storage: &mut Scratch) {
    for path in ["a", "b", "c"] {
        storage
            .add_downloaded_file(&file(path, "p", 1))
            .await
            .unwrap();
    }
    let paths = ["a".to_owned(), "unknown".to_owned(), "c".to_owned()];
    storage.forget_downloaded_files(&paths).await.unwrap();
    storage.forget_downloaded_files(&[]).await.unwrap();
    let stored = storage.downloaded_files().await.unwrap();
    assert_eq!(stored, [file("b", "p", 1)]);
}
