//! What turns a plugin's file into something that runs.
//!
//! A runtime knows one kind of plugin. It is a thin binding: what a plugin may call is defined in
//! [`crate::capabilities`], and checked there.

pub mod rhai;

use std::path::Path;
use std::sync::Arc;

use async_trait::async_trait;
use serde_json::Value;

use crate::capabilities::JobContext;
use crate::model::{Description, JobError, LoadError, PluginKind};

pub trait JobRuntime: Send + Sync + 'static {
    fn kind(&self) -> PluginKind;

    /// How the names of its files end, without the dot.
    fn extension(&self) -> &'static str;

    /// Compiles a plugin and asks it to describe itself. May take a while: call it where blocking
    /// is allowed.
    ///
    /// # Errors
    /// Says what is wrong, and in which file, line and column.
    fn load(&self, file: &Path, bytes: &[u8]) -> Result<Loaded, LoadError>;
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
