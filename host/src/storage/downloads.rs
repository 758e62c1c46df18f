//! Records of downloaded files.

use async_trait::async_trait;

use super::Result;

/// A downloaded file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DownloadedFile {
    /// Path relative to the operator's download directory.
    pub path: String,
    pub plugin: String,
    pub bytes: u64,
}

/// Records of downloaded files, by path.
#[async_trait]
pub trait DownloadStore: Send + Sync + 'static {
    async fn downloaded_files(&self) -> Result<Vec<DownloadedFile>>;
    /// Records a file, replacing the record of the same path.
    async fn add_downloaded_file(&self, file: &DownloadedFile) -> Result<()>;
    /// Removes the records of files that no longer exist.
    async fn forget_downloaded_files(&self, paths: &[String]) -> Result<()>;
}
