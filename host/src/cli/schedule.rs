//! `scheduler schedule`: manages the schedules that submit jobs repeatedly.

mod add;
mod edit;
mod fields;
mod list;
mod preview;
mod remove;
mod show;
mod switch;
mod trigger;

use clap::Subcommand;

use super::Failure;

#[derive(Debug, Subcommand)]
pub(crate) enum ScheduleCommand {
    /// Add a schedule
    Add(Box<add::AddArgs>),
    /// List the schedules
    List(list::ListArgs),
    /// Show a schedule and its next runs
    Show(show::ShowArgs),
    /// Change a schedule; options that are not given are unchanged
    Edit(Box<edit::EditArgs>),
    /// Enable a schedule
    Enable(switch::SwitchArgs),
    /// Disable a schedule; running jobs are not affected
    Disable(switch::SwitchArgs),
    /// Submit a job of a schedule now
    Trigger(trigger::TriggerArgs),
    /// Show the next runs of a cron expression
    Preview(preview::PreviewArgs),
    /// Remove a schedule; its jobs are kept
    #[command(name = "rm", visible_alias = "remove")]
    Remove(remove::RemoveArgs),
}

impl ScheduleCommand {
    pub(super) async fn run(self) -> Result<(), Failure> {
        match self {
            Self::Add(args) => add::run(*args).await,
            Self::List(args) => list::run(args).await,
            Self::Show(args) => show::run(args).await,
            Self::Edit(args) => edit::run(*args).await,
            Self::Enable(args) => switch::run(args, "enable").await,
            Self::Disable(args) => switch::run(args, "disable").await,
            Self::Trigger(args) => trigger::run(args).await,
            Self::Preview(args) => preview::run(args).await,
            Self::Remove(args) => remove::run(args).await,
        }
    }
}
