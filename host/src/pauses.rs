//! Use cases for pauses: create, replace, end, remove. The rules are also kept in memory, because they
//! are evaluated for every job.

use std::collections::HashSet;
use std::sync::Arc;

use arc_swap::ArcSwap;
use chrono::{DateTime, Utc};
use tokio::sync::{Mutex, Notify, OwnedRwLockReadGuard, RwLock};
use uuid::Uuid;

use crate::connections::{ConnectionError, Connections};
use crate::fields::{check_name, check_time};
use crate::model::{
    Connection, FieldError, MAX_WINDOW, Pause, PauseAction, PauseError, PauseRule, now,
};
use crate::nearest::nearest;
use crate::registry::Registry;
use crate::storage::{PauseStore, StorageError};

/// Maximum number of pauses.
pub const MAX_PAUSES: usize = 1_000;
const MAX_REASON: usize = 1_000;
const MAX_PATTERNS: usize = 100;

/// Why a request is rejected.
#[derive(Debug, thiserror::Error)]
pub enum PauseRefused {
    #[error("pause `{0}` not found")]
    NotFound(String),
    #[error("too many pauses: at most {MAX_PAUSES} are allowed; remove ended ones")]
    TooMany,
    #[error("pause `{0}` is not in force")]
    NotInForce(String),
    #[error("invalid pause")]
    Invalid(Vec<FieldError>),
    #[error(transparent)]
    Storage(#[from] StorageError),
}

/// The pauses, with their rules in memory.
pub struct Pauses {
    storage: Arc<dyn PauseStore>,
    registry: Arc<Registry>,
    connections: Arc<Connections>,
    rules: ArcSwap<Vec<PauseRule>>,
    /// Serializes changes, so that the rules in memory match the database.
    changing: Mutex<()>,
    claims: Arc<RwLock<()>>,
    changed: Notify,
}

/// The pause that covers a job.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ActivePause {
    /// Name of the pause.
    pub name: String,
    pub reason: Option<String>,
    pub action: PauseAction,
    /// End of the pause; `None` until it is removed.
    pub until: Option<DateTime<Utc>>,
    pub version: PauseVersion,
}

/// A pause as of its last update.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct PauseVersion {
    id: Uuid,
    updated_at: DateTime<Utc>,
}

impl PauseVersion {
    pub(crate) fn of(pause: &Pause) -> Self {
        Self {
            id: pause.id,
            updated_at: pause.updated_at,
        }
    }
}

impl ActivePause {
    fn of(rule: &PauseRule, now: DateTime<Utc>) -> Option<Self> {
        let in_force = rule.in_force(now)?;
        let pause = &rule.pause;
        Some(Self {
            name: pause.name.clone(),
            reason: pause.reason.clone(),
            action: pause.action,
            until: in_force.until,
            version: PauseVersion::of(pause),
        })
    }

    /// Describes the pause for the job's log.
    #[must_use]
    pub fn describe(&self) -> String {
        let until = match self.until {
            Some(until) => format!("until {}", until.format("%Y-%m-%d %H:%M:%SZ")),
            None => "until it is removed".to_owned(),
        };
        let reason = self.reason.as_deref();
        let reason = reason.map(|reason| format!(": {reason}"));
        format!(
            "pause `{}`, {until}{}",
            self.name,
            reason.unwrap_or_default()
        )
    }
}

impl Pauses {
    /// Loads the pauses from the database.
    ///
    /// # Errors
    /// If the database is unavailable.
    pub async fn load(
        storage: Arc<dyn PauseStore>,
        registry: Arc<Registry>,
        connections: Arc<Connections>,
    ) -> Result<Self, StorageError> {
        let rules = rules_of(storage.pauses().await?);
        Ok(Self {
            storage,
            registry,
            connections,
            rules: ArcSwap::from_pointee(rules),
            changing: Mutex::new(()),
            claims: Arc::default(),
            changed: Notify::new(),
        })
    }

    /// Returns all pauses with their rules, by name.
    #[must_use]
    pub fn list(&self) -> Arc<Vec<PauseRule>> {
        self.rules.load_full()
    }

    /// Finds a pause by id or name.
    ///
    /// # Errors
    /// If it does not exist.
    pub fn find(&self, id: &str) -> Result<Pause, PauseRefused> {
        let rules = self.rules.load();
        let by_id = Uuid::parse_str(id).ok();
        let mut pauses = rules.iter().map(|rule| &rule.pause);
        let found = pauses.find(|pause| pause.name == id || Some(pause.id) == by_id);
        found
            .cloned()
            .ok_or_else(|| PauseRefused::NotFound(id.to_owned()))
    }

    /// Stores a new pause, which is in effect once this returns. Running jobs continue.
    ///
    /// # Errors
    /// If it is invalid, its name is taken, or there are too many pauses.
    pub async fn create(&self, pause: Pause) -> Result<Pause, PauseRefused> {
        self.check(&pause).await?;
        let _changing = self.changing.lock().await;
        if self.rules.load().len() >= MAX_PAUSES {
            return Err(PauseRefused::TooMany);
        }
        self.store(pause).await
    }

    /// Replaces a pause. Jobs that the new version does not cover are released.
    ///
    /// # Errors
    /// Like [`Self::create`], and if it does not exist.
    pub async fn replace(&self, id: &str, pause: Pause) -> Result<Pause, PauseRefused> {
        self.check(&pause).await?;
        let _changing = self.changing.lock().await;
        let old = self.find(id)?;
        self.store(Pause {
            id: old.id,
            created_at: old.created_at,
            ..pause
        })
        .await
    }

    /// Ends a pause now and releases its jobs. A pause with windows is in force again in its next
    /// window; any other is over.
    ///
    /// # Errors
    /// If it does not exist or is not in force, or the database is unavailable.
    pub async fn end(&self, id: &str) -> Result<Pause, PauseRefused> {
        let _changing = self.changing.lock().await;
        let mut pause = self.find(id)?;
        let now = now();
        let rules = self.rules.load();
        let mut rules = rules.iter().filter(|rule| rule.pause.id == pause.id);
        if !rules.any(|rule| rule.in_force(now).is_some()) {
            return Err(PauseRefused::NotInForce(pause.name));
        }
        match pause.windows {
            Some(_) => pause.ended_at = Some(now),
            None => pause.ends_at = Some(now),
        }
        let pause = self.store(pause).await?;
        tracing::info!(pause_id = %pause.id, name = %pause.name, "pause ended");
        Ok(pause)
    }

    async fn store(&self, mut pause: Pause) -> Result<Pause, PauseRefused> {
        pause.updated_at = now();
        self.storage.set_pause(&pause).await?;
        tracing::info!(pause_id = %pause.id, name = %pause.name, "pause stored");
        let mut pauses = self.others(pause.id);
        pauses.push(pause.clone());
        pauses.sort_by(|one, other| one.name.cmp(&other.name));
        self.replace_rules(rules_of(pauses)).await;
        Ok(pause)
    }

    /// Removes a pause and releases its jobs.
    ///
    /// # Errors
    /// If it does not exist or the database is unavailable.
    pub async fn remove(&self, id: &str) -> Result<(), PauseRefused> {
        let _changing = self.changing.lock().await;
        let pause = self.find(id)?;
        self.storage.delete_pause(pause.id).await?;
        tracing::info!(pause_id = %pause.id, name = %pause.name, "pause removed");
        self.replace_rules(rules_of(self.others(pause.id))).await;
        Ok(())
    }

    fn others(&self, id: Uuid) -> Vec<Pause> {
        let rules = self.rules.load();
        let pauses = rules.iter().map(|rule| &rule.pause);
        pauses.filter(|pause| pause.id != id).cloned().collect()
    }

    async fn replace_rules(&self, rules: Vec<PauseRule>) {
        // Waits for jobs that are being claimed under the old rules, so that the new ones hold once
        // this returns.
        let _claims = self.claims.write().await;
        self.rules.store(Arc::new(rules));
        self.changed.notify_one();
    }

    /// Returns a guard that keeps the rules from changing between the check of a job and its claim.
    pub async fn claiming(&self) -> OwnedRwLockReadGuard<()> {
        Arc::clone(&self.claims).read_owned().await
    }

    /// Returns the pause that covers a job, if any. Pauses that skip jobs take precedence, then those
    /// that last longest.
    #[must_use]
    pub fn blocking_pause(
        &self,
        plugin: &str,
        targets: &[Connection],
        now: DateTime<Utc>,
    ) -> Option<ActivePause> {
        let rules = self.rules.load();
        let covering = rules.iter().filter(|rule| rule.covers(plugin, targets));
        let pauses = covering.filter_map(|rule| ActivePause::of(rule, now));
        pauses.max_by_key(|pause| {
            let lasts = pause.until.unwrap_or(DateTime::<Utc>::MAX_UTC);
            (pause.action == PauseAction::Skip, lasts)
        })
    }

    /// Returns the pauses in force; jobs held by another pause or an older version may be released.
    #[must_use]
    pub fn in_force(&self, now: DateTime<Utc>) -> HashSet<PauseVersion> {
        let rules = self.rules.load();
        let in_force = rules.iter().filter(|rule| rule.in_force(now).is_some());
        in_force.map(|rule| PauseVersion::of(&rule.pause)).collect()
    }

    /// Returns when the first of the pauses in force ends.
    #[must_use]
    pub fn next_end(&self, now: DateTime<Utc>) -> Option<DateTime<Utc>> {
        let rules = self.rules.load();
        let in_force = rules.iter().filter_map(|rule| rule.in_force(now));
        in_force.filter_map(|found| found.until).min()
    }

    /// Returns the details of a pause for the jobs that it covers, while it is in force.
    #[must_use]
    pub fn active(&self, version: PauseVersion, now: DateTime<Utc>) -> Option<ActivePause> {
        let rules = self.rules.load();
        let mut rules = rules.iter();
        let rule = rules.find(|rule| PauseVersion::of(&rule.pause) == version)?;
        ActivePause::of(rule, now)
    }

    /// Waits until pauses have changed.
    pub async fn changed(&self) {
        self.changed.notified().await;
    }

    async fn check(&self, pause: &Pause) -> Result<(), PauseRefused> {
        let mut errors = check_fields(pause);
        for (index, name) in pause.plugins.iter().enumerate() {
            if !name.contains('*') && self.registry.entry(name).is_none() {
                let known = self.registry.entries().into_iter();
                let near = nearest(name, known.map(|entry| entry.name));
                let near = near.map(|near| format!("; did you mean `{near}`?"));
                let message = format!("plugin `{name}` not found{}", near.unwrap_or_default());
                errors.push(FieldError::new(format!("/plugins/{index}"), message));
            }
        }
        match PauseRule::new(pause.clone()) {
            Err(PauseError { field, message }) => {
                errors.push(FieldError::new(format!("/{field}"), message));
            }
            Ok(rule) => {
                let now = now();
                let ever = rule.in_force(now).is_some() || !rule.next_starts(now, 1).is_empty();
                if errors.is_empty() && !ever {
                    let message = "no time matches the expression";
                    errors.push(FieldError::new("/windows/cron_expression", message));
                }
                for name in rule.names() {
                    match self.connections.find(name).await {
                        Ok(_) => {}
                        Err(ConnectionError::Storage(error)) => return Err(error.into()),
                        Err(error) => errors.push(FieldError::new("/targets", error.to_string())),
                    }
                }
            }
        }
        match errors.is_empty() {
            true => Ok(()),
            false => Err(PauseRefused::Invalid(errors)),
        }
    }
}

/// Builds the rules. A pause that cannot be read covers no job and is logged, so that the server still
/// starts.
fn rules_of(pauses: Vec<Pause>) -> Vec<PauseRule> {
    let rules = pauses.into_iter().filter_map(|pause| {
        let name = pause.name.clone();
        let rule = PauseRule::new(pause);
        if let Err(PauseError { field, message }) = &rule {
            tracing::error!(
                name,
                field,
                message,
                "failed to read a pause; it is ignored"
            );
        }
        rule.ok()
    });
    rules.collect()
}

fn check_fields(pause: &Pause) -> Vec<FieldError> {
    let mut errors = Vec::from_iter(check_name(&pause.name));
    errors.extend(check_time("/starts_at", pause.starts_at));
    errors.extend(check_time("/ends_at", pause.ends_at));
    let mut expect = |holds: bool, pointer: &str, message: String| {
        if !holds {
            errors.push(FieldError::new(pointer, message));
        }
    };
    let reason = pause.reason.as_ref();
    expect(
        reason.is_none_or(|reason| reason.len() <= MAX_REASON),
        "/reason",
        format!("expected at most {MAX_REASON} bytes"),
    );
    expect(
        pause.plugins.len() <= MAX_PATTERNS
            && pause
                .plugins
                .iter()
                .all(|name| (1..=100).contains(&name.len())),
        "/plugins",
        format!("expected at most {MAX_PATTERNS} names of plugins, with `*` for any text"),
    );
    if let (Some(start), Some(end)) = (pause.starts_at, pause.ends_at) {
        expect(
            start < end,
            "/ends_at",
            "expected a time after starts_at".to_owned(),
        );
    }
    expect(
        pause.ends_at.is_none_or(|end| end > now()),
        "/ends_at",
        "expected a time in the future".to_owned(),
    );
    if let Some(windows) = &pause.windows {
        expect(
            (1..=MAX_WINDOW).contains(&windows.minutes),
            "/windows/minutes",
            format!("expected 1 to {MAX_WINDOW}"),
        );
    }
    errors
}
