//! The clock of the engine's epoch. It ticks while components run and sleeps otherwise.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::Thread;
use std::time::Duration;

use anyhow::Context as _;
use wasmtime::EngineWeak;

/// How long a component may compute before it yields and its CPU budget is checked.
const TICK: Duration = Duration::from_millis(10);

pub(super) struct Ticker {
    running: Arc<AtomicUsize>,
    thread: Thread,
}

impl Ticker {
    /// Starts the clock, which runs until the engine is dropped.
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

    /// Keeps the clock ticking until the returned guard is dropped.
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
