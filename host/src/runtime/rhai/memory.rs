//! Bounds the memory of a playbook.
//!
//! A playbook runs on a thread of its own, so what that thread has allocated and not freed is what
//! the playbook holds, whichever variables, temporary values and functions it is in. The allocator
//! counts it anyway; it is compared with the bound at every operation. The engine's own limits are
//! off: the engine walks through a value each time that a function has changed it, so that building
//! an array of records one by one takes a time that grows with the square of their number.
//!
//! One operation can go beyond the bound before the comparison: by as much as its operands hold,
//! since the functions that could do worse ask for the room that they need (`texts.rs`).
//!
//! How deep arrays and maps are inside one another is bounded, too: the engine recurses into them,
//! also to free them.

use std::sync::atomic::{AtomicI64, AtomicUsize, Ordering};

use rhai::{Dynamic, Engine, EvalAltResult, EvalContext, Position};
use tikv_jemalloc_ctl::thread::{ThreadLocal, allocatedp, deallocatedp};

/// Variables read between two measurements of the depth: one for this many elements, within these
/// bounds. The measurement walks through all that is in scope, so that it takes a fixed share of
/// the time, and depth cannot grow by more than the upper bound in between.
const ELEMENTS_PER_READ: usize = 8;
const MIN_READS: usize = 16;
const MAX_READS: usize = 25_000;
/// Arrays and maps inside one another.
const MAX_DEPTH: usize = 256;

thread_local! {
    static COUNTERS: Option<(ThreadLocal<u64>, ThreadLocal<u64>)> =
        allocatedp::read().ok().zip(deallocatedp::read().ok());
}

/// Bytes that the current thread has allocated and not freed; negative where it freed what others
/// had allocated. None where the allocator does not count.
fn held() -> Option<i64> {
    COUNTERS.with(|counters| {
        let (allocated, deallocated) = counters.as_ref()?;
        Some(
            allocated
                .get()
                .wrapping_sub(deallocated.get())
                .cast_signed(),
        )
    })
}

/// Measures what a playbook holds. Every method is called on the playbook's thread.
#[derive(Debug)]
pub(super) struct Meter {
    bound: i64,
    /// What the thread held at the beginning, and what it has gained or lost since by work that is
    /// not the playbook's.
    base: AtomicI64,
}

impl Meter {
    pub(super) fn start(bound: usize) -> Self {
        Self {
            bound: i64::try_from(bound).unwrap_or(i64::MAX),
            base: AtomicI64::new(held().unwrap_or_default()),
        }
    }

    /// Does work of the host: what it allocates, frees or hands to other threads is not the
    /// playbook's.
    pub(super) fn exclude<T>(&self, work: impl FnOnce() -> T) -> T {
        let before = held().unwrap_or_default();
        let done = work();
        let change = held().unwrap_or_default() - before;
        self.base.fetch_add(change, Ordering::Relaxed);
        done
    }

    /// Returns the bytes that the playbook may still allocate; none where it holds too much.
    pub(super) fn room(&self) -> Option<usize> {
        // Without counters nothing is bounded, so nothing may run.
        let used = held()? - self.base.load(Ordering::Relaxed);
        usize::try_from(self.bound - used).ok()
    }
}

/// Bounds how deep arrays and maps may be inside one another, in the variables of one function.
pub(super) fn bound_depth(engine: &mut Engine) {
    let until_measured = AtomicUsize::new(MIN_READS);
    #[expect(
        deprecated,
        reason = "not deprecated, says its documentation, but volatile"
    )]
    engine.on_var(move |_name, _index, context| {
        if until_measured.fetch_sub(1, Ordering::Relaxed) > 1 {
            return Ok(None);
        }
        let measured = measure(&context);
        if measured.too_deep {
            let what = format!("arrays and maps more than {MAX_DEPTH} deep");
            return Err(EvalAltResult::ErrorDataTooLarge(what, Position::NONE).into());
        }
        let reads = (measured.elements / ELEMENTS_PER_READ).clamp(MIN_READS, MAX_READS);
        until_measured.store(reads, Ordering::Relaxed);
        Ok(None)
    });
}

#[derive(Default)]
struct Measured {
    elements: usize,
    too_deep: bool,
}

fn measure(context: &EvalContext<'_, '_, '_, '_, '_, '_>) -> Measured {
    let mut measured = Measured::default();
    let variables = context.scope().iter_raw().map(|(_, _, value)| value);
    for value in variables.chain(context.this_ptr()) {
        measured.add(value, MAX_DEPTH);
    }
    measured
}

impl Measured {
    fn add(&mut self, value: &Dynamic, depth: usize) {
        self.elements += 1;
        let Some(depth) = depth.checked_sub(1) else {
            self.too_deep = true;
            return;
        };
        if let Ok(values) = value.as_array_ref() {
            values.iter().for_each(|value| self.add(value, depth));
        } else if let Ok(fields) = value.as_map_ref() {
            fields.values().for_each(|value| self.add(value, depth));
        }
    }
}
