//! CPU and memory limits of a component.

use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use wasmtime::ResourceLimiter;

/// Measures a component's computing time: the time in which it is polled. Waiting for the host, a device
/// or a slot does not count.
#[derive(Clone, Default)]
pub(super) struct CpuClock(Arc<Mutex<Spent>>);

#[derive(Default)]
struct Spent {
    before: Duration,
    since: Option<Instant>,
}

impl CpuClock {
    pub(super) fn spent(&self) -> Duration {
        let spent = self.0.lock();
        spent.before + spent.since.map_or(Duration::ZERO, |since| since.elapsed())
    }

    pub(super) async fn measure<T>(&self, work: impl Future<Output = T>) -> T {
        let mut work = pin!(work);
        std::future::poll_fn(|context| {
            self.0.lock().since = Some(Instant::now());
            let polled: Poll<T> = work.as_mut().poll(context);
            let mut spent = self.0.lock();
            if let Some(since) = spent.since.take() {
                spent.before += since.elapsed();
            }
            polled
        })
        .await
    }
}

/// Limits the total size of all memories of a component. Records a refusal, because the component's
/// reaction to it looks like any other crash.
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
