//! What a component may take of the machine: CPU time, memory, tables.

use std::pin::pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::Poll;
use std::time::{Duration, Instant};

use wasmtime::ResourceLimiter;

/// Measures what a component computes: the time in which it is polled, which is none while it waits
/// for the host, for a device or for its turn.
#[derive(Clone, Default)]
pub(super) struct CpuClock(Arc<Mutex<Spent>>);

#[derive(Default)]
struct Spent {
    before: Duration,
    since: Option<Instant>,
}

impl CpuClock {
    pub(super) fn spent(&self) -> Duration {
        let spent = self.lock();
        spent.before + spent.since.map_or(Duration::ZERO, |since| since.elapsed())
    }

    pub(super) async fn measure<T>(&self, work: impl Future<Output = T>) -> T {
        let mut work = pin!(work);
        std::future::poll_fn(|context| {
            self.lock().since = Some(Instant::now());
            let polled: Poll<T> = work.as_mut().poll(context);
            let mut spent = self.lock();
            if let Some(since) = spent.since.take() {
                spent.before += since.elapsed();
            }
            polled
        })
        .await
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Spent> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Refuses memory beyond the bound, and remembers that it did: what the component makes of the
/// refusal looks like any other crash. The bound is one for all of its memories together.
pub(super) struct MemoryLimit {
    most: usize,
    used: usize,
    pub(super) refused: bool,
}

impl MemoryLimit {
    pub(super) fn new(most: usize) -> Self {
        Self {
            most,
            used: 0,
            refused: false,
        }
    }
}

impl ResourceLimiter for MemoryLimit {
    fn memory_growing(
        &mut self,
        current: usize,
        desired: usize,
        _maximum: Option<usize>,
    ) -> wasmtime::Result<bool> {
        let used = self.used.saturating_add(desired.saturating_sub(current));
        let allowed = used <= self.most;
        if allowed {
            self.used = used;
        }
        self.refused |= !allowed;
        Ok(allowed)
    }

    fn table_growing(
        &mut self,
        _current: usize,
        desired: usize,
        _maximum: Option<usize>,
    ) -> wasmtime::Result<bool> {
        Ok(desired <= super::TABLE_ELEMENTS)
    }
}
