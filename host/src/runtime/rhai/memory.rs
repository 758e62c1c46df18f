//! Limits the memory of a playbook.
//!
//! A playbook runs on its own thread, so it holds exactly the memory that the thread has allocated
//! and not freed, in variables, temporary values and functions alike. The allocator counts that
//! memory anyway; the engine compares it with the limit at every operation. The engine's own limits
//! are off: they walk through a value whenever a function has changed it, which makes building an
//! array of records quadratic.
//!
//! One operation can exceed the limit by the size of its operands. Functions that could exceed it
//! further reserve the memory they need (`texts.rs`).
//!
//! The nesting depth of arrays and maps is limited too, because the engine recurses into them, even
//! to free them.

use std::sync::atomic::{AtomicI64, AtomicUsize, Ordering};

use rhai::{Dynamic, Engine, EvalAltResult, EvalContext, Position};
use tikv_jemalloc_ctl::thread::{ThreadLocal, allocatedp, deallocatedp};

/// Variable reads between two measurements of the depth: one per this many elements, between the
/// two limits below. A measurement visits every element in scope, so it takes a fixed share of the
/// run time, and the depth cannot grow by more than the upper limit in between.
const ELEMENTS_PER_READ: usize = 8;
const MIN_READS: usize = 16;
const MAX_READS: usize = 25_000;
/// Maximum nesting depth of arrays and maps.
const MAX_DEPTH: usize = 256;

thread_local! {
    static COUNTERS: Option<(ThreadLocal<u64>, ThreadLocal<u64>)> =
        allocatedp::read().ok().zip(deallocatedp::read().ok());
}

/// Returns the bytes that the current thread has allocated and not freed; negative if it freed
/// other threads' memory. `None` if the allocator does not count.
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

/// Measures the memory of a playbook. Every method is called on the playbook's thread.
#[derive(Debug)]
pub(super) struct Meter {
    bound: i64,
    /// The bytes that the thread held at the start, plus the change by the host's work since.
    base: AtomicI64,
}

impl Meter {
    pub(super) fn start(bound: usize) -> Self {
        Self {
            bound: i64::try_from(bound).unwrap_or(i64::MAX),
            base: AtomicI64::new(held().unwrap_or_default()),
        }
    }

    /// Runs work of the host: memory that it allocates, frees or passes to other threads does not
    /// count as the playbook's.
    pub(super) fn exclude<T>(&self, work: impl FnOnce() -> T) -> T {
        let before = held().unwrap_or_default();
        let done = work();
        let change = held().unwrap_or_default() - before;
        self.base.fetch_add(change, Ordering::Relaxed);
        done
    }

    /// Returns the bytes that the playbook may still allocate; `None` if it exceeds the limit.
    pub(super) fn room(&self) -> Option<usize> {
        // Without counters the limit cannot be enforced, so no playbook may run.
        let used = held()? - self.base.load(Ordering::Relaxed);
        usize::try_from(self.bound - used).ok()
    }
}

/// Limits the nesting depth of arrays and maps in the variables of one function.
pub(super) fn bound_depth(engine: &mut Engine) {
    let until_measured = AtomicUsize::new(MIN_READS);
    #[expect(
        deprecated,
        reason = "the documentation calls it volatile, not deprecated"
    )]
    engine.on_var(move |_name, _index, context| {
        if until_measured.fetch_sub(1, Ordering::Relaxed) > 1 {
            return Ok(None);
        }
        let measured = measure(&context);
        if measured.too_deep {
            let what = format!("arrays and maps nested more than {MAX_DEPTH} levels");
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
