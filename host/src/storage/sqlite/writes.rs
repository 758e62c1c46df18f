//! The kinds of writes that are batched across jobs, in the order of execution.

use super::attempts::{ClaimJob, EndAttempt, SetProgress};
use super::batching::{AnyQueue, HasQueue, Queues, WriteQueue};
use super::jobs::AddJob;
use super::results::{AddIntent, AddResult};
use crate::model::JobLog;

/// Lists the kinds of writes, with one queue each.
macro_rules! kinds {
    ($($queue:ident: $write:ty,)+) => {
        /// The queues of all kinds of batched writes.
        #[derive(Default)]
        pub(super) struct Kinds {
            $($queue: WriteQueue<$write>,)+
        }

        impl Queues for Kinds {
            fn for_each(&mut self, mut visit: impl FnMut(&mut dyn AnyQueue)) {
                $(visit(&mut self.$queue);)+
            }
        }

        $(impl HasQueue<$write> for Kinds {
            fn queue(&mut self) -> &mut WriteQueue<$write> {
                &mut self.$queue
            }
        })+
    };
}

// The order matters: an intent is written before the result that removes it, and all records of an
// attempt before its end.
kinds! {
    jobs: AddJob,
    claims: ClaimJob,
    intents: AddIntent,
    results: AddResult,
    lines: JobLog,
    progress: SetProgress,
    ends: EndAttempt,
}
