//! The state of one store: the job, the guest's handles, its limits and its output.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use wasmtime::UpdateDeadline;
use wasmtime::component::ResourceTable;
use wasmtime_wasi::{WasiCtx, WasiCtxView, WasiView};

use super::errors::{OutOfCpu, Stopped};
use super::limits::{CpuClock, MemoryLimit};
use super::output::{Level, Output};
use crate::capabilities::{JobContext, Result};
use crate::model::{ErrorCode, JobError};
use crate::runtime::Sandbox;

/// Handles that a guest may hold at once: sessions, options, pollables.
pub(super) const HANDLES: usize = 1_024;
/// Random bytes per call.
const RANDOM_BYTES: u64 = 64 * 1024;

pub(super) struct Guest {
    /// `None` while the component describes itself.
    job: Option<Arc<JobContext>>,
    pub(super) table: ResourceTable,
    pub(super) memory: MemoryLimit,
    pub(super) output: Output,
    pub(super) sandbox: Sandbox,
    calling: Calling,
    clock: CpuClock,
    wasi: WasiCtx,
}

/// Whether a capability call is in progress.
#[derive(Clone, Default)]
pub(super) struct Calling(Arc<AtomicBool>);

impl Calling {
    pub(super) fn is_on(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

impl Guest {
    pub(super) fn new(
        job: Option<Arc<JobContext>>,
        sandbox: Sandbox,
        clock: CpuClock,
        calling: Calling,
    ) -> Self {
        let output = Output::new(job.clone());
        let mut table = ResourceTable::new();
        table.set_max_capacity(HANDLES);
        let wasi = WasiCtx::builder()
            .stdout(output.stream(Level::Stdout))
            .stderr(output.stream(Level::Stderr))
            .allow_tcp(false)
            .allow_udp(false)
            .max_random_size(RANDOM_BYTES)
            .build();
        Self {
            job,
            table,
            memory: MemoryLimit::new(sandbox.memory_bytes),
            output,
            sandbox,
            calling,
            clock,
            wasi,
        }
    }

    pub(super) fn job(&self) -> Result<&Arc<JobContext>> {
        self.job.as_ref().ok_or_else(|| {
            JobError::new(
                ErrorCode::INVALID,
                "describe() is not allowed to call the host",
            )
        })
    }

    /// Makes a capability call. Writes the guest's earlier output to the log first, to keep the order.
    pub(super) async fn call<T>(
        &mut self,
        call: impl AsyncFnOnce(&JobContext) -> Result<T> + Send,
    ) -> Result<T> {
        let job = Arc::clone(self.job()?);
        self.calling.0.store(true, Ordering::Relaxed);
        self.output.write_lines().await;
        let answer = call(&job).await;
        self.calling.0.store(false, Ordering::Relaxed);
        answer
    }

    /// Runs CPU-bound work of the host.
    pub(super) async fn compute<T: Send + 'static>(
        &mut self,
        work: impl FnOnce() -> Result<T> + Send + 'static,
    ) -> Result<T> {
        if self.job.is_none() {
            let working = tokio::task::spawn_blocking(work).await;
            return working.unwrap_or_else(|error| {
                let message = format!("internal error in the host: {error}");
                Err(JobError::new(ErrorCode::INTERNAL, message))
            });
        }
        self.call(async |job| job.compute(work).await).await
    }

    /// Returns the stop reason if the job was stopped.
    pub(super) fn stopped(&self) -> Option<Stopped> {
        let reason = self.job.as_ref()?.stop().reason()?;
        Some(Stopped(reason))
    }

    /// Checks the limits of a computing guest at a tick. If they hold, the guest yields and continues.
    pub(super) fn at_tick(&self) -> wasmtime::Result<UpdateDeadline> {
        if let Some(stopped) = self.stopped() {
            return Err(stopped.into());
        }
        let budget: Duration = self.sandbox.cpu;
        let for_it = self.job.as_ref().map(|job| job.computed());
        if self.clock.spent() + for_it.unwrap_or_default() > budget {
            return Err(OutOfCpu.into());
        }
        Ok(UpdateDeadline::Yield(1))
    }
}

impl WasiView for Guest {
    fn ctx(&mut self) -> WasiCtxView<'_> {
        WasiCtxView {
            ctx: &mut self.wasi,
            table: &mut self.table,
        }
    }
}
