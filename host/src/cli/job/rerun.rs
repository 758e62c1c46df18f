use clap::Args;
use serde::Serialize;

use super::submit;
use crate::cli::{Failure, ServerArgs};
use crate::wire::JobAccepted;

#[derive(Debug, Args)]
pub(crate) struct RerunArgs {
    /// The id of a job that has ended
    id: String,

    /// The targets of a batch: all, failed (those that failed) or unfinished (those that have not
    /// completed)
    #[arg(long, value_name = "all|failed|unfinished", value_parser = ["all", "failed", "unfinished"], default_value = "all", hide_possible_values = true)]
    only: String,

    /// Repeating the command with the same key creates no second job
    #[arg(long, value_name = "KEY")]
    idempotency_key: Option<String>,

    /// Follow the new job until it ends. Ctrl-C stops following, not the job
    #[arg(long, short)]
    wait: bool,

    #[command(flatten)]
    server: ServerArgs,
}

/// The body of `POST /api/jobs/{id}/rerun`.
#[derive(Serialize)]
struct Rerun<'a> {
    only: &'a str,
}

pub(super) async fn run(args: RerunArgs) -> Result<(), Failure> {
    let client = args.server.client()?;
    let path = ["jobs", args.id.as_str(), "rerun"];
    let rerun = Rerun { only: &args.only };
    let key = args.idempotency_key.as_deref();
    let answer = client.post::<JobAccepted>(&path, &rerun, key).await?;
    submit::taken_in(&client, &answer, args.wait, args.server.output).await
}
