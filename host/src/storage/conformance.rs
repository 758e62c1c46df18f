//! The conformance suite: the promises of the storage roles, as scenarios that every database passes.
//!
//! A scenario uses the traits alone: no SQL, and no knowledge of a database. The scenarios of a role are
//! in the file of its name, and [`for_all_scenarios`] lists them all. A database runs them by giving
//! that macro a macro that makes a test of each, as `sqlite/conformance_tests.rs` does.
//!
//! Times are fixed: [`at`] counts seconds from one moment, so that no scenario depends on the clock.

pub(super) mod attempts;
pub(super) mod batches;
pub(super) mod connections;
mod coverage;
pub(super) mod device_logins;
pub(super) mod downloads;
pub(super) mod health;
pub(super) mod jobs;
pub(super) mod listings;
pub(super) mod logs;
pub(super) mod meta;
pub(super) mod notifications;
pub(super) mod pauses;
pub(super) mod plugin_values;
pub(super) mod plugin_versions;
pub(super) mod results;
pub(super) mod retention;
pub(super) mod schedules;
pub(super) mod states;
pub(super) mod users;
pub(super) mod waiting_jobs;

use std::ops::Deref;
use std::sync::Arc;

use async_trait::async_trait;
use chrono::{DateTime, TimeDelta, Utc};
use serde_json::json;
use uuid::Uuid;

use super::{AddOutcome, Claim, Outcome, Storage};
use crate::model::{
    CommandKind, CommandResult, Job, JobError, JobStatus, NewJob, OnInterrupt, Target,
};

/// A database under test: empty at first, and with what was stored when it is opened again.
#[async_trait(?Send)]
pub(super) trait Database {
    async fn open(&self) -> Arc<dyn Storage>;
}

/// The open database of one scenario.
pub(super) struct Scratch {
    database: Box<dyn Database>,
    /// `None` only while the database is opened again.
    storage: Option<Arc<dyn Storage>>,
}

impl Scratch {
    pub(super) async fn open(database: impl Database + 'static) -> Self {
        Self {
            storage: Some(database.open().await),
            database: Box::new(database),
        }
    }

    /// Closes the database and opens it again.
    async fn reopen(&mut self) {
        self.close().await;
        // Dropped first, because a database may be locked for as long as a handle exists.
        self.storage = None;
        self.storage = Some(self.database.open().await);
    }
}

impl Deref for Scratch {
    type Target = dyn Storage;

    fn deref(&self) -> &Self::Target {
        self.storage.as_deref().expect("the database is open")
    }
}

/// Gives all scenarios, by role, to a macro.
macro_rules! for_all_scenarios {
    ($each:ident) => {
        $each! {
            jobs {
                a_job_is_stored_with_all_its_fields,
                a_job_survives_a_restart,
                a_repeated_idempotency_key_returns_the_first_job,
                an_idempotency_key_with_another_request_is_rejected,
                of_simultaneous_requests_with_one_key_one_adds_a_job,
                a_deleted_job_releases_its_idempotency_key,
                an_id_is_used_once,
                cancelling_a_pending_job_ends_it,
                cancelling_a_retrying_job_ends_it,
                cancelling_a_running_job_requests_its_end,
                cancelling_an_ended_or_unknown_job_changes_nothing,
                deleting_a_job_removes_all_its_records,
                a_running_job_is_not_deleted,
                a_job_with_a_running_descendant_is_not_deleted,
                changes_of_jobs_are_published,
                an_inline_connection_is_added_with_its_job_or_not_at_all,
            }
            listings {
                jobs_are_listed_newest_first_in_pages,
                jobs_created_at_the_same_time_are_paged_by_id,
                each_filter_selects_its_jobs,
                filters_are_combined,
                jobs_with_the_same_request_are_marked,
                a_listing_leaves_out_large_fields,
                jobs_are_counted_by_status,
                jobs_are_counted_from_a_time_on,
            }
            waiting_jobs {
                jobs_are_ready_in_the_order_of_their_times,
                ready_jobs_are_paged_by_time_and_id,
                only_jobs_that_wait_are_ready,
                a_waiting_job_has_its_targets_and_ancestors,
                a_batch_is_not_an_ancestor_of_its_children,
                a_due_job_is_skipped_with_a_reason,
            }
            attempts {
                a_job_is_claimed_once,
                of_simultaneous_claims_one_succeeds,
                a_job_that_is_not_due_or_held_is_not_claimed,
                a_claim_records_the_version_of_the_plugin,
                a_stale_attempt_writes_nothing,
                another_worker_writes_nothing,
                an_ended_attempt_writes_nothing,
                an_attempt_ends_once,
                each_outcome_leads_to_its_status,
                a_retry_waits_for_its_time,
                a_cancellation_during_an_attempt_prevents_the_next_one,
                a_completed_attempt_wins_over_a_cancellation,
                progress_is_of_the_current_attempt,
                attempts_are_recorded_in_order,
                running_jobs_are_found_after_a_restart,
            }
            results {
                results_are_paged_in_order,
                a_page_of_results_is_measured_before_it_is_read,
                results_of_all_attempts_are_kept,
                a_result_removes_its_intent,
                an_intent_survives_a_restart,
                an_attempt_that_ends_with_an_intent_gets_a_result_for_it,
                an_intent_of_a_job_that_runs_again_becomes_a_result,
                a_stale_end_leaves_the_intents_of_the_current_attempt,
                the_size_of_output_is_counted_by_target,
                the_use_of_a_job_counts_all_attempts,
            }
            logs {
                log_lines_are_paged_in_order,
                log_lines_are_paged_backwards,
                log_lines_are_filtered_by_level,
                pages_of_log_lines_are_measured_before_they_are_read,
                one_rejected_log_line_does_not_affect_others,
                the_last_log_line_is_found,
            }
            batches {
                a_batch_is_added_with_its_children,
                a_batch_starts_its_children_in_the_order_of_their_targets,
                a_batch_with_a_limit_starts_as_many_children_as_may_run,
                a_batch_stops_after_failures,
                a_batch_runs_with_its_first_child_and_ends_with_its_last,
                a_cancelled_batch_ends_with_its_running_children,
                advancing_an_ended_batch_changes_nothing,
                a_child_starts_at_its_scheduled_time,
                batches_are_counted_by_state,
            }
            connections {
                a_connection_is_stored_with_all_its_fields,
                the_name_of_a_connection_is_unique,
                connections_are_paged_by_name,
                a_renamed_connection_is_renamed_in_routes,
                a_change_of_an_unknown_connection_changes_nothing,
                a_failed_change_changes_nothing,
                a_jump_host_in_use_is_not_deleted,
                inline_connections_belong_to_their_jobs,
                the_end_of_a_job_removes_the_secrets_of_its_connection,
                sealed_values_are_replaced_together,
                an_ended_job_does_not_get_its_secrets_back,
                the_first_host_key_is_kept,
                host_keys_are_bound_to_address_and_route,
                host_keys_move_with_a_change,
                host_keys_are_forgotten,
                forgotten_digests_match_no_request,
            }
            device_logins {
                login_records_expire,
                a_login_record_is_replaced,
                login_records_are_bounded,
            }
            plugin_values {
                values_are_kept_per_plugin,
                keys_are_listed_by_prefix,
                a_plugin_stays_within_its_limits,
            }
            plugin_versions {
                versions_are_listed_last_loaded_first,
                the_files_of_a_version_are_stored,
                files_of_old_versions_are_removed,
                files_that_an_unfinished_job_needs_are_kept,
                versions_with_the_same_files_share_them,
                jobs_are_counted_by_version,
            }
            schedules {
                a_schedule_is_stored_with_all_its_fields,
                the_name_of_a_schedule_is_unique,
                a_repeated_idempotency_key_returns_the_first_schedule,
                schedules_are_paged_by_name_without_large_fields,
                due_schedules_are_found_in_order,
                a_tick_fires_once,
                of_simultaneous_firings_one_succeeds,
                a_changed_schedule_does_not_fire_an_old_tick,
                a_tick_that_fired_before_a_change_of_the_clock_does_not_fire_again,
                a_skipped_tick_is_not_due,
                a_due_tick_survives_a_restart_until_it_is_settled,
                disabling_a_schedule_withdraws_its_due_ticks,
                an_update_keeps_what_runs_have_written,
                a_schedule_moves_only_from_the_expected_time,
                a_schedule_is_busy_until_its_job_ends,
                a_deleted_schedule_takes_its_ticks_along,
            }
            pauses {
                a_pause_is_stored_with_all_its_fields,
                a_pause_is_replaced_by_id,
                the_name_of_a_pause_is_unique,
                a_pause_is_deleted_once,
            }
            downloads {
                a_download_is_recorded_once_per_path,
                records_of_downloads_are_removed_by_path,
            }
            notifications {
                ends_are_recorded_while_notifications_are_enabled,
                the_ends_of_children_are_not_recorded,
                a_job_that_runs_again_has_not_ended,
                an_ended_job_is_notified_about_once,
                a_message_waits_for_its_time,
                a_sent_message_is_sent_once,
                a_failed_message_is_retried_later,
                an_abandoned_message_keeps_no_text,
                messages_to_a_channel_are_sent_in_order,
                an_unreadable_message_is_dropped,
                messages_to_other_channels_are_abandoned,
                notifications_are_listed_newest_first_in_pages,
                the_previous_outcome_is_that_of_the_same_plugin_and_targets,
                the_previous_outcome_of_a_scheduled_job_is_that_of_its_schedule,
                durations_are_those_of_earlier_completed_jobs,
                failed_children_are_listed_in_order,
            }
            retention {
                old_jobs_are_removed_and_others_kept,
                children_are_kept_as_long_as_their_parent,
                a_sweep_continues_from_its_position,
                the_newest_jobs_of_each_plugin_are_kept,
                the_oldest_jobs_are_removed_first,
                a_job_with_an_unfinished_child_is_kept,
                removed_jobs_free_space,
                the_size_of_plugins_counts_values_and_files,
            }
            states {
                no_sequence_of_events_leads_to_an_invalid_transition,
            }
            users {
                a_user_is_stored_with_all_fields,
                the_name_of_a_user_is_unique_without_regard_to_case,
                of_simultaneous_first_users_one_is_added,
                a_change_of_access_ends_the_sessions_of_a_user,
                the_last_admin_stays,
                a_new_password_ends_the_other_sessions,
                a_hash_is_replaced_unless_the_password_changed,
                a_session_is_stored_with_its_user,
                sessions_are_bounded_per_user,
                a_session_or_token_is_removed_by_its_user_alone,
                a_token_is_stored_with_its_user,
                tokens_are_bounded_and_unique_per_user,
                a_deleted_user_takes_sessions_and_tokens_along,
            }
            meta {
                facts_are_replaced_by_key,
            }
            health {
                a_sound_database_passes_its_check,
                a_closed_database_rejects_writes,
            }
        }
    };
}
pub(super) use for_all_scenarios;

/// Returns a time, counted from the first moment of the scenarios.
fn at(seconds: i64) -> DateTime<Utc> {
    DateTime::UNIX_EPOCH + TimeDelta::days(20_000) + TimeDelta::seconds(seconds)
}

/// Returns a new job of the plugin `p`, created at the first moment.
fn new_job() -> NewJob {
    NewJob {
        id: Uuid::now_v7(),
        plugin: "p".to_owned(),
        params: json!({}),
        targets: Vec::new(),
        priority: 0,
        description: None,
        parent_id: None,
        depth: 0,
        created_at: at(0),
        scheduled_for: None,
        timeout_seconds: None,
        max_retries: 3,
        on_interrupt: OnInterrupt::Fail,
        idempotency: None,
        batch: None,
        held: false,
        rerun_of: None,
        schedule: None,
        submitted_by: None,
        bounds: Vec::new(),
    }
}

fn target(name: &str) -> Target {
    Target {
        connection_id: Uuid::now_v7(),
        name: name.to_owned(),
    }
}

fn error(message: &str) -> JobError {
    JobError::new("network", message)
}

/// Adds a job and returns its id.
async fn add(storage: &Scratch, job: NewJob) -> Uuid {
    let added = storage.add_job(&job, &[], None).await.unwrap();
    assert!(matches!(added, AddOutcome::Added), "{added:?}");
    job.id
}

/// Returns a stored job.
async fn stored(storage: &Scratch, id: Uuid) -> Job {
    storage.job(id).await.unwrap().unwrap()
}

async fn status(storage: &Scratch, id: Uuid) -> JobStatus {
    stored(storage, id).await.status
}

/// Claims a job for the worker `w`.
async fn claim_at(storage: &Scratch, id: Uuid, now: DateTime<Utc>) -> Claim {
    let claimed = storage.claim_job(id, "w", None, now).await.unwrap();
    let job = claimed.unwrap();
    assert_eq!(job.id, id);
    Claim {
        job_id: id,
        attempt: job.attempt,
        worker_id: "w".to_owned(),
    }
}

/// Adds a job and claims it.
async fn running(storage: &Scratch) -> Claim {
    let id = add(storage, new_job()).await;
    claim_at(storage, id, at(1)).await
}

/// Ends an attempt that has a valid claim.
async fn finish(storage: &Scratch, claim: &Claim, outcome: Outcome, now: DateTime<Utc>) {
    let finished = storage.finish_job(claim, outcome, now).await.unwrap();
    assert!(finished, "the claim is valid");
}

/// Claims a job, and completes it.
async fn complete(storage: &Scratch, id: Uuid, begun: DateTime<Utc>, ended: DateTime<Utc>) {
    let claim = claim_at(storage, id, begun).await;
    finish(storage, &claim, Outcome::Completed(json!(1)), ended).await;
}

/// Claims a job, and ends it as failed.
async fn fail(storage: &Scratch, id: Uuid, begun: DateTime<Utc>, ended: DateTime<Utc>) {
    let claim = claim_at(storage, id, begun).await;
    finish(storage, &claim, Outcome::Failed(error("failed")), ended).await;
}

/// Returns the result of a command of an attempt, with a new id.
fn result_of(claim: &Claim, command: &str) -> CommandResult {
    CommandResult {
        id: Uuid::now_v7(),
        job_id: claim.job_id,
        attempt: claim.attempt,
        target: "device".to_owned(),
        kind: CommandKind::Exec,
        command: command.to_owned(),
        output: format!("output of {command}, with a $1 and a ?2"),
        error: None,
        exit_code: None,
        truncated: false,
        executed_at: at(2),
        duration_ms: 1,
        in_flight: None,
    }
}
