//! Use cases of connection profiles: store, change, and turn one into something to connect to.
//!
//! The only place where a stored secret is opened; it goes straight into a
//! [`netssh_core::Endpoint`] and nowhere else.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use netssh_core::{
    Credentials, Endpoint, HostKey, HostKeyPolicy, HostKeyStore, HostKeyStoreError, Platform,
    Timeouts,
};
use secrecy::{ExposeSecret, SecretString};
use uuid::Uuid;

use crate::model::{Connection, ErrorCode, JobError, SealedSecrets, SecretField, Target, now};
use crate::sealing::MasterKey;
use crate::storage::{Storage, StorageError};

/// What a client says of a connection.
#[derive(Clone, Debug)]
pub struct ConnectionInput {
    pub name: String,
    pub host: String,
    pub port: u16,
    pub username: String,
    pub device_type: String,
    pub timeout_seconds: u32,
    pub tags: Vec<String>,
    pub host_key: Option<String>,
    pub secrets: Vec<(SecretField, SecretChange)>,
}

/// A write-only field: absent means kept.
#[derive(Clone, Debug)]
pub enum SecretChange {
    Set(SecretString),
    Clear,
}

/// One thing that is wrong with an input: which field, and what would be right.
#[derive(Clone, Debug)]
pub struct FieldError {
    pub field: &'static str,
    pub message: String,
}

#[derive(Debug, thiserror::Error)]
pub enum ConnectionError {
    #[error("the connection is not valid")]
    Invalid(Vec<FieldError>),
    #[error("there is no connection `{0}`")]
    NotFound(String),
    #[error(transparent)]
    Storage(#[from] StorageError),
}

pub struct Connections {
    storage: Arc<dyn Storage>,
    master_key: MasterKey,
    host_key_policy: HostKeyPolicy,
}

impl Connections {
    #[must_use]
    pub fn new(
        storage: Arc<dyn Storage>,
        master_key: MasterKey,
        host_key_policy: HostKeyPolicy,
    ) -> Self {
        Self {
            storage,
            master_key,
            host_key_policy,
        }
    }

    /// # Errors
    /// When the input is not valid, or the name is taken.
    pub async fn create(&self, input: ConnectionInput) -> Result<Connection, ConnectionError> {
        let connection = self.prepare(input, None)?;
        self.storage.add_connection(&connection).await?;
        Ok(connection)
    }

    /// A connection for one job alone, ready to be stored with it.
    ///
    /// # Errors
    /// When the input is not valid.
    pub fn inline(
        &self,
        input: ConnectionInput,
        owner: Uuid,
    ) -> Result<Connection, ConnectionError> {
        self.prepare(input, Some(owner))
    }

    /// Replaces what is stored; secrets that the input does not mention stay.
    ///
    /// # Errors
    /// When there is no such connection, the input is not valid, or the new name is taken.
    pub async fn update(
        &self,
        id_or_name: &str,
        input: ConnectionInput,
    ) -> Result<Connection, ConnectionError> {
        let old = self.find(id_or_name).await?;
        check(&input)?;
        let mut secrets = old.secrets;
        self.apply(old.id, &mut secrets, &input.secrets);
        let new = Connection {
            name: input.name,
            host: input.host,
            port: input.port,
            username: input.username,
            device_type: input.device_type,
            timeout_seconds: input.timeout_seconds,
            tags: input.tags,
            host_key: input.host_key,
            secrets,
            updated_at: now(),
            ..old
        };
        if !self.storage.update_connection(&new).await? {
            return Err(ConnectionError::NotFound(id_or_name.to_owned()));
        }
        Ok(new)
    }

    /// # Errors
    /// When there is no such connection.
    pub async fn delete(&self, id_or_name: &str) -> Result<(), ConnectionError> {
        let connection = self.find(id_or_name).await?;
        if !self.storage.delete_connection(connection.id).await? {
            return Err(ConnectionError::NotFound(id_or_name.to_owned()));
        }
        Ok(())
    }

    /// # Errors
    /// When there is no such connection.
    pub async fn find(&self, id_or_name: &str) -> Result<Connection, ConnectionError> {
        let named = self.storage.connection_named(id_or_name).await?;
        let found = match (named, Uuid::parse_str(id_or_name)) {
            (Some(connection), _) => Some(connection),
            (None, Ok(id)) => self.storage.connection(id).await?,
            (None, Err(_)) => None,
        };
        found
            .filter(|connection| connection.owner_job_id.is_none())
            .ok_or_else(|| ConnectionError::NotFound(id_or_name.to_owned()))
    }

    /// # Errors
    /// When the database is not available.
    pub async fn list(&self) -> Result<Vec<Connection>, ConnectionError> {
        Ok(self.storage.connections().await?)
    }

    /// Everything needed to open a session to a target, and its platform's name.
    ///
    /// # Errors
    /// Code `not_found` when the connection is gone, `internal` when its secrets do not open.
    pub async fn endpoint(&self, target: &Target) -> Result<(Endpoint, String), JobError> {
        let internal = |error: &dyn std::error::Error| {
            tracing::error!(%error, connection = %target.name, "a connection cannot be used");
            JobError::new(
                ErrorCode::INTERNAL,
                format!(
                    "the connection `{}` cannot be used; the server's log says why",
                    target.name
                ),
            )
        };
        let stored = self.storage.connection(target.connection_id).await;
        let connection = stored.map_err(|error| internal(&error))?.ok_or_else(|| {
            JobError::new(
                ErrorCode::NOT_FOUND,
                format!(
                    "the connection `{}` has been deleted since the job was submitted",
                    target.name
                ),
            )
        })?;
        let platform = Platform::named(&connection.device_type).ok_or_else(|| {
            JobError::new(
                ErrorCode::INVALID,
                unknown_platform(&connection.device_type),
            )
        })?;
        let open = |field| {
            let sealed = connection.secrets.get(field);
            sealed
                .map(|sealed| self.master_key.open_secret(connection.id, field, sealed))
                .transpose()
                .map_err(|error| internal(&error))
        };
        let command_timeout = Duration::from_secs(connection.timeout_seconds.into());
        let endpoint = Endpoint {
            port: connection.port,
            credentials: Credentials {
                password: open(SecretField::Password)?,
                private_key: open(SecretField::PrivateKey)?,
                passphrase: open(SecretField::Passphrase)?,
                ..Credentials::default()
            },
            enable_secret: open(SecretField::Secret)?,
            timeouts: Timeouts {
                command: command_timeout,
                ..Timeouts::default()
            },
            host_key_policy: self.host_key_policy,
            pinned_host_key: connection.host_key.clone(),
            host_keys: Arc::new(StoredHostKeys(Arc::clone(&self.storage))),
            ..Endpoint::new(&connection.host, &connection.username, platform)
        };
        Ok((endpoint, connection.device_type))
    }

    fn prepare(
        &self,
        input: ConnectionInput,
        owner_job_id: Option<Uuid>,
    ) -> Result<Connection, ConnectionError> {
        check(&input)?;
        let id = Uuid::now_v7();
        let now = now();
        let mut secrets = SealedSecrets::default();
        self.apply(id, &mut secrets, &input.secrets);
        Ok(Connection {
            id,
            name: input.name,
            host: input.host,
            port: input.port,
            username: input.username,
            device_type: input.device_type,
            timeout_seconds: input.timeout_seconds,
            tags: input.tags,
            host_key: input.host_key,
            secrets,
            owner_job_id,
            created_at: now,
            updated_at: now,
        })
    }

    fn apply(
        &self,
        id: Uuid,
        secrets: &mut SealedSecrets,
        changes: &[(SecretField, SecretChange)],
    ) {
        for (field, change) in changes {
            let sealed = match change {
                SecretChange::Set(secret) => Some(self.master_key.seal_secret(id, *field, secret)),
                SecretChange::Clear => None,
            };
            secrets.set(*field, sealed);
        }
    }
}

/// Host keys accepted at first sight stand in the database, so that every worker knows them.
#[derive(Clone)]
struct StoredHostKeys(Arc<dyn Storage>);

impl std::fmt::Debug for StoredHostKeys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("StoredHostKeys")
    }
}

#[async_trait]
impl HostKeyStore for StoredHostKeys {
    async fn lookup(&self, host: &str, port: u16) -> Result<Vec<HostKey>, HostKeyStoreError> {
        let known = self.0.host_keys(host, port).await?;
        Ok(known
            .into_iter()
            .map(|(algorithm, key, fingerprint)| HostKey {
                algorithm,
                key,
                fingerprint,
            })
            .collect())
    }

    async fn remember(
        &self,
        host: &str,
        port: u16,
        key: &HostKey,
    ) -> Result<(), HostKeyStoreError> {
        let columns = (
            key.algorithm.as_str(),
            key.key.as_str(),
            key.fingerprint.as_str(),
        );
        self.0.add_host_key(host, port, columns, now()).await?;
        Ok(())
    }
}

fn check(input: &ConnectionInput) -> Result<(), ConnectionError> {
    let mut errors = Vec::new();
    let mut expect = |holds: bool, field, message: &str| {
        if !holds {
            errors.push(FieldError {
                field,
                message: message.to_owned(),
            });
        }
    };
    let is_word = |text: &str, most: usize| {
        !text.is_empty()
            && text.len() <= most
            && !text.contains(|c: char| c.is_control() || c.is_whitespace())
    };
    let is_name = |text: &str| is_word(text, 128) && !text.contains(['/', ':', ',', '?', '#', '%']);
    expect(
        is_name(&input.name),
        "name",
        "is 1 to 128 characters without spaces and without / : , ? # %",
    );
    expect(
        Uuid::parse_str(&input.name).is_err(),
        "name",
        "must not look like an id",
    );
    expect(
        is_word(&input.host, 253),
        "host",
        "is a host name or an IP address",
    );
    expect(input.port != 0, "port", "is 1 to 65535");
    expect(
        is_word(&input.username, 256),
        "username",
        "is 1 to 256 characters without spaces",
    );
    expect(
        Platform::named(&input.device_type).is_some(),
        "device_type",
        &unknown_platform(&input.device_type),
    );
    expect(
        (1..=86_400).contains(&input.timeout_seconds),
        "timeout_seconds",
        "is 1 to 86400 seconds",
    );
    expect(
        input.tags.len() <= 64 && input.tags.iter().all(|tag| is_name(tag)),
        "tags",
        "are at most 64, each 1 to 128 characters without spaces and without / : , ? # %",
    );
    let pin_is_one =
        |pin: &String| pin.starts_with("SHA256:") || pin.split_whitespace().count() >= 2;
    expect(
        input.host_key.as_ref().is_none_or(pin_is_one),
        "host_key",
        "is a fingerprint (SHA256:…) or a public key as OpenSSH writes it (ssh-ed25519 AAAA…)",
    );
    for (field, change) in &input.secrets {
        if let SecretChange::Set(secret) = change {
            let length = secret.expose_secret().len();
            expect(
                (1..=65_536).contains(&length),
                field.as_str(),
                "is 1 to 65536 bytes; null takes it away",
            );
        }
    }
    if errors.is_empty() {
        Ok(())
    } else {
        Err(ConnectionError::Invalid(errors))
    }
}

fn unknown_platform(name: &str) -> String {
    format!(
        "`{name}` is no platform known here; known are {}",
        Platform::names().join(", ")
    )
}
