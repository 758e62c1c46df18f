//! Changes of a connection, and their effect on the secrets of connections that jump through it.

use netssh_core::HostKeyPolicy;

use super::check::Replaced;
use super::{ConnectionError, ConnectionInput, Connections};
use crate::model::{
    Connection, FieldError, HostKeyPlace, SavedConnections, SealedField, SealedRow, Way, now,
    rename_jumps,
};
use crate::storage::{ConnectionChange, StorageError};

/// The effect of a change to one connection on the others.
#[derive(Debug, Default)]
pub(super) struct Others {
    pub(super) sealed: Vec<SealedRow>,
    pub(super) moved_host_keys: Vec<(HostKeyPlace, HostKeyPlace)>,
    /// Connections with secrets that could now reach another host.
    unprotected: Vec<Connection>,
}

impl Connections {
    /// Replaces a stored connection. Secrets that the input does not mention are kept; the update is
    /// rejected if they would then reach another host. The same holds for the secrets of connections
    /// that lead through this one, unless `forget_others` allows clearing them.
    ///
    /// # Errors
    /// If the connection does not exist, the input is invalid, the new name is taken, or secrets of
    /// other connections would have to be cleared; if the connection would lead elsewhere, and
    /// `may_redirect` does not allow it.
    pub async fn update(
        &self,
        id_or_name: &str,
        input: ConnectionInput,
        forget_others: bool,
        may_redirect: bool,
    ) -> Result<Connection, ConnectionError> {
        let _alone = self.changing.lock().await;
        let old = self.find(id_or_name).await?;
        let saved = self.saved().await?;
        let old_way = saved.way(&old).ok();
        let mut new = Connection {
            name: input.name.clone(),
            host: input.host.clone(),
            port: input.port,
            username: input.username.clone(),
            device_type: input.device_type.clone(),
            timeout_seconds: input.timeout_seconds,
            tags: input.tags.clone(),
            host_key: input.host_key.clone(),
            jump: input.jump.clone(),
            algorithms: input.algorithms,
            certificate: input.certificate.clone(),
            agent: input.agent,
            max_sessions: input.max_sessions,
            updated_at: now(),
            ..old.clone()
        };
        let replaced = Replaced {
            connection: &old,
            way: old_way.as_ref(),
        };
        let way = self.check(&input, &new, Some(replaced), &saved).await?;
        if !may_redirect && old_way.as_ref() != Some(&way) {
            return Err(ConnectionError::Redirected(old.name));
        }
        if let Some(old_way) = old_way.filter(|old_way| *old_way != way) {
            let kept = self.kept(&old, &input, &old_way, &way)?;
            (new.secrets, new.answers) = (kept.secrets, kept.answers);
        }
        self.apply(new.id, &way, &mut new.secrets, &input.secrets);
        new.answers = self.stored_answers(new.id, &way, input.answers, new.answers);

        let after = saved.with(&new);
        let mut others = self.others_after(&saved, &after, &new, false).await?;
        if !others.unprotected.is_empty() && !forget_others {
            return Err(ConnectionError::Dependents {
                name: old.name,
                others: names(&others.unprotected),
            });
        }
        let forgotten = others.unprotected.iter().map(Connection::unsealed);
        others.sealed.extend(forgotten);
        let change = ConnectionChange {
            updated: Some(new.clone()),
            sealed: others.sealed,
            moved_host_keys: others.moved_host_keys,
            ..ConnectionChange::default()
        };
        if self.storage.change_connections(change).await?.is_none() {
            return Err(ConnectionError::NotFound(id_or_name.to_owned()));
        }
        for other in others.unprotected {
            tracing::info!(connection = %other.name, through = %new.name, "secrets cleared");
        }
        Ok(new)
    }

    /// Reseals the kept secrets for their new route.
    fn kept(
        &self,
        old: &Connection,
        input: &ConnectionInput,
        old_way: &Way,
        new_way: &Way,
    ) -> Result<SealedRow, ConnectionError> {
        let is_kept = |field: SealedField<'_>| match field {
            SealedField::Secret(field) => input.secrets.iter().all(|(said, _)| *said != field),
            SealedField::Answer { question, .. } => match &input.answers {
                None => true,
                Some(answers) => answers
                    .iter()
                    .any(|answer| answer.set && answer.question == question),
            },
        };
        let resealed = old.resealed(|field, sealed| {
            if !is_kept(field) {
                return Ok(sealed.to_vec());
            }
            self.reseal(old, field, old_way, new_way, sealed)
                .map_err(|error| {
                    let place = match field {
                        SealedField::Secret(field) => field.as_str(),
                        SealedField::Answer { .. } => "answers",
                    };
                    let message = format!(
                        "failed to keep the stored secret: {error}; give it again, or null to \
                                 clear it"
                    );
                    FieldError::field(place, message)
                })
        });
        resealed.map_err(|error| ConnectionError::Invalid(vec![error]))
    }

    /// Finds the connections that get another route by this change. Reseals their secrets for the new
    /// route if they can reach no other device, because its host key is pinned or known. Known host keys
    /// are moved to the new route too. If an operator has trusted the changed connection's key
    /// (`is_trusted`), this applies to all of them.
    pub(super) async fn others_after(
        &self,
        before: &SavedConnections,
        after: &SavedConnections,
        changed: &Connection,
        is_trusted: bool,
    ) -> Result<Others, StorageError> {
        let inline = self.storage.sealed_inline_connections().await?;
        let old_name = before.name_of(changed.id).unwrap_or(&changed.name);
        let mut others = Others::default();
        for other in before.all().into_iter().chain(&inline) {
            if other.id == changed.id {
                continue;
            }
            let mut new = other.clone();
            rename_jumps(&mut new, old_name, &changed.name);
            let new_way = after.way(&new);
            // Without a route, nothing can be sent.
            let (Ok(old_way), Ok(new_way)) = (before.way(other), new_way) else {
                continue;
            };
            if old_way == new_way {
                continue;
            }
            let (from, to) = (old_way.host_key_place(), new_way.host_key_place());
            let has_secrets = !other.sealed().is_empty();
            if is_trusted || self.is_protected(&old_way).await? {
                if has_secrets {
                    let resealed = self.resealed_or_kept(other, &old_way, &new_way);
                    others.sealed.push(resealed);
                }
                if from != to {
                    others.moved_host_keys.push((from, to));
                }
            } else if has_secrets && other.owner_job_id.is_none() {
                others.unprotected.push(other.clone());
            }
        }
        Ok(others)
    }

    /// Returns whether only the genuine device can answer at the end of a route, whatever hosts are on
    /// it.
    pub(super) async fn is_protected(&self, way: &Way) -> Result<bool, StorageError> {
        if way.pin().is_some() {
            return Ok(true);
        }
        if self.host_key_policy == HostKeyPolicy::Insecure {
            return Ok(false);
        }
        let known = self.storage.host_keys(&way.host_key_place()).await?;
        Ok(!known.is_empty())
    }
}

fn names(connections: &[Connection]) -> Vec<String> {
    let names = connections.iter();
    names.map(|connection| connection.name.clone()).collect()
}
