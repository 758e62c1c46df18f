//! Plugin runtimes: load a plugin's file and run its jobs.
//!
//! Each runtime handles one kind of plugin. It is a thin binding: [`crate::capabilities`] defines and
//! checks what a plugin may call.

pub mod rhai;
pub mod wasm;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use serde_json::Value;
use tokio::sync::OwnedSemaphorePermit;

use crate::capabilities::JobContext;
use crate::model::{Description, ErrorCode, JobError, LoadError, PluginFiles, PluginKind};

#[async_trait]
pub trait JobRuntime: Send + Sync + 'static {
    fn kind(&self) -> PluginKind;

    /// Returns the file extension of its plugins, without the dot.
    fn extension(&self) -> &'static str;

    /// Returns whether loading may take long enough that it should run in the background.
    fn loads_in_background(&self) -> bool {
        false
    }

    /// Reads a plugin's file and the files that belong to it.
    ///
    /// # Errors
    /// If a file cannot be read or is too large.
    fn read(&self, file: &Path) -> Result<PluginFiles, LoadError>;

    /// Loads a plugin and calls its `describe`.
    ///
    /// # Errors
    /// The error with file, line and column; or that the plugin has to be compiled first.
    async fn load(&self, files: &Arc<PluginFiles>) -> Result<Loaded, NotLoaded>;

    /// Waits for a permit to compile, which is held while [`Self::compile`] runs.
    async fn compile_turn(&self) -> Option<OwnedSemaphorePermit> {
        None
    }

    /// Compiles a plugin so that it can be loaded.
    ///
    /// # Errors
    /// The reason why it does not compile.
    async fn compile(&self, files: &Arc<PluginFiles>) -> Result<(), LoadError> {
        let _ = files;
        Ok(())
    }
}

/// The reason why a plugin was not loaded.
#[derive(Debug)]
pub enum NotLoaded {
    /// The plugin has to be compiled first.
    Uncompiled,
    Broken(LoadError),
}

impl From<LoadError> for NotLoaded {
    fn from(error: LoadError) -> Self {
        Self::Broken(error)
    }
}

/// Resource limits of one attempt, in either runtime.
#[derive(Clone, Copy, Debug)]
pub struct Sandbox {
    /// CPU time. Waiting for devices and for the host does not count.
    pub cpu: Duration,
    pub memory_bytes: usize,
}

impl Sandbox {
    /// Returns the error of an attempt that exceeded its CPU budget.
    #[must_use]
    pub fn out_of_cpu(&self) -> JobError {
        let seconds = self.cpu.as_secs_f64();
        JobError::new(
            ErrorCode::OUT_OF_CPU,
            format!("CPU limit of {seconds} s exceeded; increase plugins.cpu_seconds"),
        )
    }

    /// Returns the error of an attempt that exceeded its memory limit.
    #[must_use]
    pub fn out_of_memory(&self) -> JobError {
        let mebibytes = self.memory_bytes >> 20;
        JobError::new(
            ErrorCode::OUT_OF_MEMORY,
            format!("memory limit of {mebibytes} MiB exceeded; increase plugins.memory_mb"),
        )
    }
}

/// A plugin that was loaded.
pub struct Loaded {
    pub description: Description,
    pub program: Arc<dyn Program>,
}

/// A loaded plugin. Any number of jobs may run it at once.
#[async_trait]
pub trait Program: Send + Sync {
    /// Runs one attempt to its end. Returns soon after the context's stop signal.
    ///
    /// # Errors
    /// The reason why the job failed: the plugin's error, or a limit or stop of the host.
    async fn run(&self, context: Arc<JobContext>) -> Result<Value, JobError>;
}
