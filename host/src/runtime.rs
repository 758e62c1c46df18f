//! What turns a plugin's file into something that runs.
//!
//! A runtime knows one kind of plugin. It is a thin binding: what a plugin may call is defined in
//! [`crate::capabilities`], and checked there.

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

    /// How the names of its files end, without the dot.
    fn extension(&self) -> &'static str;

    /// Whether loading may take so long that nothing else should wait for it.
    fn loads_in_background(&self) -> bool {
        false
    }

    /// Reads a plugin's file, and whatever other files belong to it.
    ///
    /// # Errors
    /// Says which file cannot be read, or is too large.
    fn read(&self, file: &Path) -> Result<PluginFiles, LoadError>;

    /// Loads a plugin and asks it to describe itself.
    ///
    /// # Errors
    /// Says what is wrong, and in which file, line and column; or that it has to be compiled first.
    async fn load(&self, files: &Arc<PluginFiles>) -> Result<Loaded, NotLoaded>;

    /// Waits for a turn to compile, which is held while [`Self::compile`] runs.
    async fn compile_turn(&self) -> Option<OwnedSemaphorePermit> {
        None
    }

    /// Compiles a plugin, so that it can be loaded.
    ///
    /// # Errors
    /// Says why it does not compile.
    async fn compile(&self, files: &Arc<PluginFiles>) -> Result<(), LoadError> {
        let _ = files;
        Ok(())
    }
}

/// Why a plugin is not loaded.
#[derive(Debug)]
pub enum NotLoaded {
    /// It has to be compiled first.
    Uncompiled,
    Broken(LoadError),
}

impl From<LoadError> for NotLoaded {
    fn from(error: LoadError) -> Self {
        Self::Broken(error)
    }
}

/// What one attempt may take of the machine, whatever its plugin is written in.
#[derive(Clone, Copy, Debug)]
pub struct Sandbox {
    /// Computing; waiting for devices and for the host is not counted.
    pub cpu: Duration,
    pub memory_bytes: usize,
}

impl Sandbox {
    /// The error of an attempt that has used up its CPU budget.
    #[must_use]
    pub fn out_of_cpu(&self) -> JobError {
        let seconds = self.cpu.as_secs_f64();
        JobError::new(
            ErrorCode::OUT_OF_CPU,
            format!("CPU limit of {seconds} s exceeded; increase plugins.cpu_seconds"),
        )
    }

    /// The error of an attempt that asked for more memory than it may have.
    #[must_use]
    pub fn out_of_memory(&self) -> JobError {
        let mebibytes = self.memory_bytes >> 20;
        JobError::new(
            ErrorCode::OUT_OF_MEMORY,
            format!("memory limit of {mebibytes} MiB exceeded; increase plugins.memory_mb"),
        )
    }
}

/// A plugin that compiled.
pub struct Loaded {
    pub description: Description,
    pub program: Arc<dyn Program>,
}

/// A compiled plugin; any number of jobs may run it at once.
#[async_trait]
pub trait Program: Send + Sync {
    /// Runs one attempt to its end. Returns soon after the context's stop signal.
    ///
    /// # Errors
    /// Why the job failed: what the plugin threw, or what stopped it.
    async fn run(&self, context: Arc<JobContext>) -> Result<Value, JobError>;
}
