//! The output of running commands so far, for clients that follow a job.
//!
//! It is held in memory only: the whole output is stored when the command ends.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use chrono::{DateTime, Utc};
use parking_lot::Mutex;
use tokio::sync::broadcast;
use uuid::Uuid;

/// How much output is kept per command, in bytes; older output is dropped.
const OUTPUT_BYTES: usize = 64 * 1024;

/// The running commands of all jobs.
#[derive(Clone)]
pub struct LiveOutput {
    state: Arc<Mutex<State>>,
    changes: broadcast::Sender<Uuid>,
}

/// Capacity of the change notifications; a slower subscriber loses some.
const CHANGES: usize = 256;

impl Default for LiveOutput {
    fn default() -> Self {
        Self {
            state: Arc::default(),
            changes: broadcast::channel(CHANGES).0,
        }
    }
}

#[derive(Default)]
struct State {
    next_id: u64,
    jobs: HashMap<Uuid, Vec<Buffered>>,
}

struct Buffered {
    id: u64,
    target: String,
    command: String,
    started_at: DateTime<Utc>,
    lines: VecDeque<String>,
    bytes: usize,
    printed: u64,
    cut: bool,
}

/// A running command and its output so far.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RunningCommand {
    /// Unique among all commands since the server started.
    pub id: u64,
    pub target: String,
    pub command: String,
    pub started_at: DateTime<Utc>,
    pub output: String,
    /// Whether the start of the output was dropped.
    pub cut: bool,
    /// Total printed bytes, including dropped ones.
    pub printed: u64,
}

impl Buffered {
    fn output(&self) -> String {
        self.lines.iter().map(String::as_str).collect()
    }
}

impl LiveOutput {
    /// Registers a running command until the returned guard is dropped.
    pub(super) fn begin(
        &self,
        job: Uuid,
        target: &str,
        command: &str,
        started_at: DateTime<Utc>,
    ) -> Live {
        let mut state = self.state.lock();
        state.next_id += 1;
        let id = state.next_id;
        state.jobs.entry(job).or_default().push(Buffered {
            id,
            target: target.to_owned(),
            command: command.to_owned(),
            started_at,
            lines: VecDeque::new(),
            bytes: 0,
            printed: 0,
            cut: false,
        });
        Live {
            all: self.clone(),
            job,
            id,
        }
    }

    /// Returns the running commands of a job, the oldest first.
    #[must_use]
    pub fn of(&self, job: Uuid) -> Vec<RunningCommand> {
        let state = self.state.lock();
        let running = state.jobs.get(&job).map_or(&[][..], Vec::as_slice);
        running
            .iter()
            .map(|running| RunningCommand {
                id: running.id,
                target: running.target.clone(),
                command: running.command.clone(),
                started_at: running.started_at,
                output: running.output(),
                cut: running.cut,
                printed: running.printed,
            })
            .collect()
    }

    /// Subscribes to the ids of jobs with new output. A slow subscriber misses some.
    #[must_use]
    pub fn changes(&self) -> broadcast::Receiver<Uuid> {
        self.changes.subscribe()
    }
}

/// A guard for a running command.
pub(super) struct Live {
    all: LiveOutput,
    job: Uuid,
    id: u64,
}

impl Live {
    pub(super) fn push(&self, lines: &str) {
        self.with(|running| {
            running.lines.push_back(lines.to_owned());
            running.bytes += lines.len();
            running.printed += lines.len() as u64;
            while running.bytes > OUTPUT_BYTES
                && let Some(oldest) = running.lines.pop_front()
            {
                running.bytes -= oldest.len();
                running.cut = true;
            }
        });
        // Fails without subscribers.
        let _ = self.all.changes.send(self.job);
    }

    /// Returns the kept output.
    pub(super) fn printed(&self) -> String {
        self.with(|running| running.output()).unwrap_or_default()
    }

    fn with<T>(&self, look: impl FnOnce(&mut Buffered) -> T) -> Option<T> {
        let mut state = self.all.state.lock();
        let all = state.jobs.get_mut(&self.job)?;
        all.iter_mut().find(|one| one.id == self.id).map(look)
    }
}

impl Drop for Live {
    fn drop(&mut self) {
        let mut state = self.all.state.lock();
        if let Some(running) = state.jobs.get_mut(&self.job) {
            running.retain(|one| one.id != self.id);
            if running.is_empty() {
                state.jobs.remove(&self.job);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::now;

    #[test]
    fn a_command_is_seen_while_it_runs_and_its_end_is_kept() {
        let live = LiveOutput::default();
        let job = Uuid::now_v7();
        let command = live.begin(job, "r1", "show log", now());
        command.push("one\n");
        command.push("two\n");
        assert_eq!(live.of(job)[0].output, "one\ntwo\n");
        assert!(!live.of(job)[0].cut);
        command.push(&"x".repeat(OUTPUT_BYTES));
        assert_eq!(live.of(job)[0].output.len(), OUTPUT_BYTES);
        assert!(live.of(job)[0].cut);
        assert!(live.of(Uuid::now_v7()).is_empty());
        drop(command);
        assert!(live.of(job).is_empty());
        assert!(live.state.lock().jobs.is_empty());
    }
}
