//! Wakes the Apalis worker after a push.
//!
//! Apalis fetches jobs when it is polled, which by itself happens only at its 30 s heartbeat. A push
//! that arrives during a fetch is missed by that fetch, and its wake-up is lost. The worker is
//! therefore woken at once after each push and again after 1, 2, 4, … 64 ms, when a running fetch has
//! ended; a periodic tick covers the remaining cases.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use apalis_core::backend::ext::poll_strategy::{PollSnapshot, PollStrategy};
use futures::task::AtomicWaker;
use tokio::time::{Interval, MissedTickBehavior, Sleep};

const TICK: Duration = Duration::from_millis(500);
const FIRST_REPEAT: Duration = Duration::from_millis(1);
const LAST_REPEAT: Duration = Duration::from_millis(64);

/// The waking side, shared by all callers of `push`.
#[derive(Clone, Default)]
pub(super) struct WorkerWaker {
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    pushes: AtomicU64,
    worker: AtomicWaker,
}

impl WorkerWaker {
    pub(super) fn wake(&self) {
        self.shared.pushes.fetch_add(1, Ordering::Release);
        self.shared.worker.wake();
    }

    /// Returns the poll strategy of one worker.
    pub(super) fn listen(&self) -> WakeStrategy {
        let mut tick = tokio::time::interval(TICK);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        WakeStrategy {
            waker: self.clone(),
            seen: 0,
            tick,
            repeat: None,
        }
    }
}

pub(super) struct WakeStrategy {
    waker: WorkerWaker,
    seen: u64,
    tick: Interval,
    repeat: Option<(Duration, Pin<Box<Sleep>>)>,
}

impl PollStrategy for WakeStrategy {
    fn poll_drive(&mut self, cx: &mut Context<'_>, _: &PollSnapshot) -> Poll<Option<()>> {
        // Registers before reading the count, so that a concurrent wake-up is either counted or wakes
        // this task.
        self.waker.shared.worker.register(cx.waker());
        let pushes = self.waker.shared.pushes.load(Ordering::Acquire);
        if pushes != self.seen {
            self.seen = pushes;
            self.arm(FIRST_REPEAT);
        }
        while let Some((after, sleep)) = &mut self.repeat
            && sleep.as_mut().poll(cx).is_ready()
        {
            let next = *after * 2;
            self.repeat = None;
            if next <= LAST_REPEAT {
                self.arm(next);
            }
        }
        while self.tick.poll_tick(cx).is_ready() {}
        Poll::Pending
    }
}

impl WakeStrategy {
    fn arm(&mut self, after: Duration) {
        self.repeat = Some((after, Box::pin(tokio::time::sleep(after))));
    }
}
