//! Known host keys, and the effect of changing them on secrets.
//!
//! A host key is stored by the address and the route to it. Forgetting a key, or naming another one,
//! decides which device gets the secrets.

use std::sync::Arc;

use async_trait::async_trait;
use netssh_core::{HostKey, HostKeyPolicy, HostKeyStore, HostKeyStoreError};

use super::check::{A_PIN, is_pin};
use super::{ConnectionError, Connections, unusable};
use crate::model::{
    AnswerValue, Connection, ErrorCode, FieldError, HostKeyPlace, JobError, KnownHostKey,
    SavedConnections, Way, fingerprint_of, now,
};
use crate::storage::{ConnectionChange, ConnectionStore};

/// Whether a login may store a new host key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Learning {
    NewKeys,
    Nothing,
}

impl Connections {
    /// Returns the host keys known for a connection's address and route.
    ///
    /// # Errors
    /// If the connection does not exist.
    pub async fn host_keys(
        &self,
        id_or_name: &str,
    ) -> Result<(Connection, Vec<KnownHostKey>), ConnectionError> {
        let connection = self.find(id_or_name).await?;
        let way = self.saved_for(&connection).await?.way(&connection);
        let known = match way {
            Ok(way) => self.storage.host_keys(&way.host_key_place()).await?,
            // The database was changed by hand; a login reports that.
            Err(_) => Vec::new(),
        };
        Ok((connection, known))
    }

    /// Pins the host key that an operator has verified, for example after a device was replaced. Keeps
    /// all secrets, including those of connections that lead through this one.
    ///
    /// # Errors
    /// If the connection does not exist, or the key is neither a fingerprint nor a public key.
    pub async fn trust_host_key(
        &self,
        id_or_name: &str,
        key: &str,
    ) -> Result<(Connection, Vec<KnownHostKey>), ConnectionError> {
        if !is_pin(key) {
            let error = FieldError::field("fingerprint", A_PIN);
            return Err(ConnectionError::Invalid(vec![error]));
        }
        let alone = self.changing.lock().await;
        let old = self.find(id_or_name).await?;
        let saved = self.saved().await?;
        let mut new = Connection {
            host_key: Some(key.trim().to_owned()),
            updated_at: now(),
            ..old.clone()
        };
        let after = saved.with(&new);
        if let (Ok(old_way), Ok(new_way)) = (saved.way(&old), after.way(&new)) {
            let kept = self.resealed_or_kept(&old, &old_way, &new_way);
            (new.secrets, new.answers) = (kept.secrets, kept.answers);
        }
        let others = self.others_after(&saved, &after, &new, true).await?;
        self.storage
            .change_connections(ConnectionChange {
                updated: Some(new.clone()),
                sealed: others.sealed,
                moved_host_keys: others.moved_host_keys,
                ..ConnectionChange::default()
            })
            .await?
            .ok_or_else(|| ConnectionError::NotFound(id_or_name.to_owned()))?;
        drop(alone);
        tracing::info!(
            connection = %new.name,
            host = %new.host,
            port = new.port,
            fingerprint = fingerprint_of(key),
            replaced = old.host_key.as_deref().map(fingerprint_of),
            "host key trusted"
        );
        self.host_keys(&new.id.to_string()).await
    }

    /// Forgets the host keys known for a connection's address and route, so that the next session learns
    /// the device's key. Clears the secrets that only these keys protect from another device, if
    /// `forget_secrets` allows it.
    ///
    /// # Errors
    /// If the connection does not exist, or there are such secrets and they may not be cleared.
    pub async fn forget_host_keys(
        &self,
        id_or_name: &str,
        forget_secrets: bool,
    ) -> Result<u64, ConnectionError> {
        let _alone = self.changing.lock().await;
        let connection = self.find(id_or_name).await?;
        let saved = self.saved().await?;
        let Ok(way) = saved.way(&connection) else {
            return Ok(0);
        };
        let place = way.host_key_place();
        if self.storage.host_keys(&place).await?.is_empty() {
            return Ok(0);
        }
        let affected = self.kept_safe_by(&place, &saved).await?;
        if !affected.is_empty() && !forget_secrets {
            return Err(ConnectionError::KeyProtectsSecrets {
                name: connection.name,
                others: affected.iter().map(|other| other.name.clone()).collect(),
            });
        }
        let change = ConnectionChange {
            sealed: affected.iter().map(|other| other.unsealed()).collect(),
            forgotten_host_keys: Some(place),
            ..ConnectionChange::default()
        };
        let forgotten = self.storage.change_connections(change).await?;
        let forgotten = forgotten.unwrap_or_default();
        let (host, port) = (connection.host, connection.port);
        tracing::info!(connection = %connection.name, host, port, forgotten, "host keys removed");
        for other in affected {
            tracing::info!(connection = %other.name, "secrets cleared");
        }
        Ok(forgotten)
    }

    /// Returns the connections with secrets that could reach another host if the keys at this place were
    /// forgotten.
    async fn kept_safe_by<'a>(
        &self,
        place: &HostKeyPlace,
        saved: &'a SavedConnections,
    ) -> Result<Vec<&'a Connection>, ConnectionError> {
        let mut affected = Vec::new();
        if self.host_key_policy == HostKeyPolicy::Insecure {
            return Ok(affected);
        }
        for other in saved.all() {
            let Ok(jumps) = saved.jumps(other) else {
                continue;
            };
            let way = Way::new(other, &jumps);
            let here = |(at, pin): (HostKeyPlace, Option<&str>)| at == *place && pin.is_none();
            // On any other route, a jump host is identified by the keys known from its own connection's
            // route.
            let by_own_way = jumps.iter().any(|jump| {
                let own = saved.way(jump);
                jump.host_key.is_none() && own.is_ok_and(|own| own.host_key_place() == *place)
            });
            let leads_through = by_own_way || way.host_key_places().any(here);
            if !leads_through || other.sealed().is_empty() {
                continue;
            }
            if way.host_key_place() == *place || !self.is_protected(&way).await? {
                affected.push(other);
            }
        }
        Ok(affected)
    }

    /// Returns the known keys of a jump host, and the policy for them.
    ///
    /// Its password was given for the route of its own connection. On another route, any host could be
    /// at its address, so it has to show a key that is known from its own route, or the pinned one.
    pub(super) async fn keys_of_jump(
        &self,
        jump: &Connection,
        own_way: &Way,
        this_way: &Way,
        learning: Learning,
    ) -> Result<(Arc<dyn HostKeyStore>, HostKeyPolicy), JobError> {
        let own_place = own_way.host_key_place();
        let policy = self.host_key_policy;
        if own_way == this_way
            || jump.host_key.is_some()
            || policy == HostKeyPolicy::Insecure
            || !sends_secrets(jump)
        {
            let route = this_way.host_key_place().route;
            return Ok((self.stored_keys(route, learning), policy));
        }
        let known = self.storage.host_keys(&own_place).await;
        let known = known.map_err(|error| unusable(&jump.name, &error))?;
        if known.is_empty() {
            let name = &jump.name;
            return Err(JobError::new(
                ErrorCode::INVALID,
                format!(
                    "unknown host key of jump host `{name}`, which is reached by a different route \
                     than that of its own connection: connect to it by its own route first (scheduler \
                     connection test {name}), set its own jump, or pin its host key"
                ),
            ));
        }
        let keys = self.stored_keys(own_place.route, learning);
        Ok((keys, HostKeyPolicy::Strict))
    }

    pub(super) fn stored_keys(&self, route: String, learning: Learning) -> Arc<dyn HostKeyStore> {
        Arc::new(StoredHostKeys {
            storage: Arc::clone(&self.storage),
            route,
            learning,
        })
    }
}

/// Returns whether a login could send a secret to an impostor. A private key only signs.
fn sends_secrets(connection: &Connection) -> bool {
    let mut answers = connection.answers.iter();
    connection.secrets.password.is_some()
        || answers.any(|answer| matches!(answer.value, AnswerValue::Sealed(_)))
}

/// Host keys in the database, shared by all workers.
struct StoredHostKeys {
    storage: Arc<dyn ConnectionStore>,
    route: String,
    learning: Learning,
}

impl StoredHostKeys {
    fn place(&self, host: &str, port: u16) -> HostKeyPlace {
        HostKeyPlace {
            host: host.to_owned(),
            port,
            route: self.route.clone(),
        }
    }
}

impl std::fmt::Debug for StoredHostKeys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("StoredHostKeys")
    }
}

#[async_trait]
impl HostKeyStore for StoredHostKeys {
    async fn lookup(&self, host: &str, port: u16) -> Result<Vec<HostKey>, HostKeyStoreError> {
        let known = self.storage.host_keys(&self.place(host, port)).await?;
        Ok(known
            .into_iter()
            .map(|known| HostKey {
                algorithm: known.algorithm,
                key: known.key,
                fingerprint: known.fingerprint,
            })
            .collect())
    }

    async fn remember(
        &self,
        host: &str,
        port: u16,
        key: &HostKey,
    ) -> Result<(), HostKeyStoreError> {
        if self.learning == Learning::Nothing {
            return Ok(());
        }
        let columns = (
            key.algorithm.as_str(),
            key.key.as_str(),
            key.fingerprint.as_str(),
        );
        let place = self.place(host, port);
        self.storage.add_host_key(&place, columns, now()).await?;
        Ok(())
    }
}
