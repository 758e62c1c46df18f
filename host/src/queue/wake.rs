//! Waking the Apalis worker as soon as something was pushed.
//!
//! Apalis looks for work when it is polled, and by itself it is polled when its 30 s heartbeat is
//! due. A push that arrives while a fetch is under way finds a worker that has already looked, and
//! the wake-up is lost. So after each push the worker is woken at once and again after 1, 2, 4, …
//! 64 ms, by when a fetch that was under way has ended; and a tick bounds what is left to chance.

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

/// The ringing side: shared by all who push.
#[derive(Clone, Default)]
pub(super) struct Bell {
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    rings: AtomicU64,
    worker: AtomicWaker,
}

impl Bell {
    pub(super) fn ring(&self) {
        self.shared.rings.fetch_add(1, Ordering::Release);
        self.shared.worker.wake();
    }

    /// The listening side, for one worker.
    pub(super) fn listen(&self) -> WakeOnRing {
        let mut tick = tokio::time::interval(TICK);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        WakeOnRing {
            bell: self.clone(),
            heard: 0,
            tick,
            repeat: None,
        }
    }
}

pub(super) struct WakeOnRing {
    bell: Bell,
    heard: u64,
    tick: Interval,
    repeat: Option<(Duration, Pin<Box<Sleep>>)>,
}

impl PollStrategy for WakeOnRing {
    fn poll_drive(&mut self, cx: &mut Context<'_>, _: &PollSnapshot) -> Poll<Option<()>> {
        // Registered before the count is read: a ring in between is either counted or wakes.
        self.bell.shared.worker.register(cx.waker());
        let rings = self.bell.shared.rings.load(Ordering::Acquire);
        if rings != self.heard {
            self.heard = rings;
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

impl WakeOnRing {
    fn arm(&mut self, after: Duration) {
        self.repeat = Some((after, Box::pin(tokio::time::sleep(after))));
    }
}
