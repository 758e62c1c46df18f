//! Rollout options for several targets, for jobs and schedules.

use clap::Args;

use crate::model::{BatchOptions, Share};

/// How several targets are gone about; a number, or a part of them such as 25%.
#[derive(Debug, Args)]
pub(crate) struct BatchArgs {
    /// So many devices at once
    #[arg(long, value_name = "SHARE", value_parser = Share::parse)]
    concurrency: Option<Share>,

    /// In groups of so many, one group after the other
    #[arg(long, value_name = "SHARE", value_parser = Share::parse)]
    batch_size: Option<Share>,

    /// The first so many have to succeed before the others start
    #[arg(long, value_name = "SHARE", value_parser = Share::parse)]
    canary: Option<Share>,

    /// When more have failed, the rest is not started
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
