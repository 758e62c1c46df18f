//! Rollout options for several targets, for jobs and schedules.

use clap::Args;

use crate::model::{BatchOptions, Share};

/// Rollout options for several targets; a number, or a percentage such as 25%.
#[derive(Debug, Args)]
pub(crate) struct BatchArgs {
    /// Maximum number of devices at the same time
    #[arg(long, value_name = "SHARE", value_parser = Share::parse)]
    concurrency: Option<Share>,

    /// Size of a group; each group starts when the previous one has ended
    #[arg(long, value_name = "SHARE", value_parser = Share::parse)]
    batch_size: Option<Share>,

    /// Number of targets that must succeed before the others start
    #[arg(long, value_name = "SHARE", value_parser = Share::parse)]
    canary: Option<Share>,

    /// Maximum number of failed targets; if more fail, the remaining ones are not started
    #[arg(long, value_name = "SHARE", value_parser = Share::parse)]
    max_failures: Option<Share>,
}

impl BatchArgs {
    pub(super) fn options(&self) -> Option<BatchOptions> {
        let options = BatchOptions {
            concurrency: self.concurrency,
            batch_size: self.batch_size,
            canary: self.canary,
            max_failures: self.max_failures,
        };
        (options != BatchOptions::default()).then_some(options)
    }
}
