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

use crate::capabilities::JobContext;
use crate::model::{Description, ErrorCode, JobError, LoadError, PluginFiles, PluginKind};

pub trait JobRuntime: Send + Sync + 'static {
    fn kind(&self) -> PluginKind;

    /// How the names of its files end, without the dot.
    fn extension(&self) -> &'static str;

    /// Reads a plugin's file, and whatever other files belong to it.
    ///
    /// # Errors
    /// Says which file cannot be read, or is too large.
    fn read(&self, file: &Path) -> Result<PluginFiles, LoadError>;

    /// Compiles a plugin and asks it to describe itself. May take a while: call it where blocking
    /// is allowed.
    ///
    /// # Errors
    /// Says what is wrong, and in which file, line and column.
    fn load(&self, files: &PluginFiles) -> Result<Loaded, LoadError>;
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
            format!(
                "computed for longer than {seconds} s, waiting not counted; \
                 plugins.cpu_seconds allows more"
            ),
        )
    }

    /// The error of an attempt that asked for more memory than it may have.
    #[must_use]
    pub fn out_of_memory(&self) -> JobError {
        let mebibytes = self.memory_bytes >> 20;
        JobError::new(
            ErrorCode::OUT_OF_MEMORY,
            format!("asked for more than {mebibytes} MiB of memory; plugins.memory_mb allows more"),
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
