//! The epoch's clock: ticks while a component runs, sleeps while none does.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::Thread;
use std::time::Duration;

use anyhow::Context as _;
use wasmtime::EngineWeak;

/// How long a component may compute before it lets others run, and before its budget is looked at.
const TICK: Duration = Duration::from_millis(10);

pub(super) struct Ticker {
    running: Arc<AtomicUsize>,
    thread: Thread,
}

impl Ticker {
    /// Ticks for as long as the engine is there.
    pub(super) fn start(engine: EngineWeak) -> anyhow::Result<Self> {
        let running = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&running);
        let thread = std::thread::Builder::new()
            .name("epoch".to_owned())
            .spawn(move || {
                while let Some(engine) = engine.upgrade() {
                    engine.increment_epoch();
                    drop(engine);
                    if counted.load(Ordering::SeqCst) == 0 {
                        std::thread::park();
                    } else {
                        std::thread::sleep(TICK);
                    }
                }
            })
            .context("cannot start a thread")?;
        Ok(Self {
            running,
            thread: thread.thread().clone(),
        })
    }

    /// Ticks at least until what is returned is dropped.
    pub(super) fn tick(&self) -> Ticking<'_> {
        if self.running.fetch_add(1, Ordering::SeqCst) == 0 {
            self.thread.unpark();
        }
        Ticking(self)
    }
}

impl Drop for Ticker {
    fn drop(&mut self) {
        self.thread.unpark();
    }
}

pub(super) struct Ticking<'a>(&'a Ticker);

impl Drop for Ticking<'_> {
    fn drop(&mut self) {
        self.0.running.fetch_sub(1, Ordering::SeqCst);
    }
}
