//! Use cases of connection profiles: store, change, and turn one into something to connect to.
//!
//! The only place where a stored secret is opened; it goes straight into a
//! [`netssh_core::Endpoint`] and nowhere else.

mod answers;
mod check;
mod logins;

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use async_trait::async_trait;
use netssh_core::{
    Credentials, Endpoint, HostKey, HostKeyPolicy, HostKeyStore, HostKeyStoreError, Jump,
    Platforms, Timeouts,
};
use secrecy::SecretString;
use uuid::Uuid;

pub use self::answers::AnswerInput;
pub use self::logins::{MOST_DEVICES, StoredLogins};
use crate::config::DevicesConfig;
use crate::model::{
    Algorithms, Connection, ErrorCode, JobError, KnownHostKey, SealedSecrets, SecretField, Target,
    now, route,
};
use crate::sealing::MasterKey;
use crate::session_logs::{Limits, SessionLogs};
use crate::storage::{DeleteConnectionOutcome, Storage, StorageError};

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
    pub jump: Vec<String>,
    pub algorithms: Algorithms,
    pub certificate: Option<String>,
    pub agent: bool,
    pub max_sessions: u32,
    pub secrets: Vec<(SecretField, SecretChange)>,
    /// All answers; they replace the stored ones. Absent keeps those.
    pub answers: Option<Vec<AnswerInput>>,
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
    /// A field or the path to a nested one, such as `answers/0/question`.
    pub field: Cow<'static, str>,
    pub message: String,
}

impl FieldError {
    pub(crate) fn new(field: impl Into<Cow<'static, str>>, message: impl Into<String>) -> Self {
        Self {
            field: field.into(),
            message: message.into(),
        }
    }
}

#[derive(Debug, thiserror::Error)]
pub enum ConnectionError {
    #[error("the connection is not valid")]
    Invalid(Vec<FieldError>),
    #[error("there is no connection `{0}`")]
    NotFound(String),
    #[error("`{name}` is the way to other connections, which jump through it: {}", .by.join(", "))]
    JumpedThrough { name: String, by: Vec<String> },
    #[error(transparent)]
    Storage(#[from] StorageError),
}

pub struct Connections {
    storage: Arc<dyn Storage>,
    master_key: MasterKey,
    host_key_policy: HostKeyPolicy,
    devices: DevicesConfig,
    platforms: Arc<Platforms>,
    session_logs: Option<SessionLogs>,
}

impl Connections {
    /// Reads the operator's platforms.
    ///
    /// # Errors
    /// When one of them is wrong: the file, the key, the reason.
    pub fn new(
        storage: Arc<dyn Storage>,
        master_key: MasterKey,
        host_key_policy: HostKeyPolicy,
        devices: DevicesConfig,
    ) -> anyhow::Result<Self> {
        let platforms = match &devices.platforms_dir {
            Some(directory) => Platforms::load(directory).context("devices.platforms_dir")?,
            None => Platforms::built_in().clone(),
        };
        let limits = Limits::from(&devices);
        let session_logs = devices
            .session_log_dir
            .as_deref()
            .map(|directory| SessionLogs::start(directory, limits));
        Ok(Self {
            storage,
            master_key,
            host_key_policy,
            devices,
            platforms: Arc::new(platforms),
            session_logs: session_logs
                .transpose()
                .context("devices.session_log_dir")?,
        })
    }

    /// The platforms that a connection may have.
    #[must_use]
    pub fn platforms(&self) -> &Arc<Platforms> {
        &self.platforms
    }

    /// # Errors
    /// When the input is not valid, or the name is taken.
    pub async fn create(&self, input: ConnectionInput) -> Result<Connection, ConnectionError> {
        let connection = self.prepare(input, None).await?;
        self.storage.add_connection(&connection).await?;
        Ok(connection)
    }

    /// A connection for one job alone, ready to be stored with it.
    ///
    /// # Errors
    /// When the input is not valid.
    pub async fn inline(
        &self,
        input: ConnectionInput,
        owner: Uuid,
    ) -> Result<Connection, ConnectionError> {
        self.prepare(input, Some(owner)).await
    }

    /// A connection that is used and forgotten.
    ///
    /// # Errors
    /// When the input is not valid.
    pub async fn unsaved(&self, input: ConnectionInput) -> Result<Connection, ConnectionError> {
        self.prepare(input, None).await
    }

    /// Replaces what is stored; secrets that the input does not mention stay, unless they would
    /// then go to another address.
    ///
    /// # Errors
    /// When there is no such connection, the input is not valid, or the new name is taken.
    pub async fn update(
        &self,
        id_or_name: &str,
        input: ConnectionInput,
    ) -> Result<Connection, ConnectionError> {
        let old = self.find(id_or_name).await?;
        self.check(&input, Some(&old)).await?;
        let mut secrets = old.secrets;
        self.apply(old.id, &mut secrets, &input.secrets);
        let answers = self.stored_answers(old.id, input.answers, old.answers);
        let new = Connection {
            name: input.name,
            host: input.host,
            port: input.port,
            username: input.username,
            device_type: input.device_type,
            timeout_seconds: input.timeout_seconds,
            tags: input.tags,
            host_key: input.host_key,
            jump: input.jump,
            algorithms: input.algorithms,
            certificate: input.certificate,
            agent: input.agent,
            max_sessions: input.max_sessions,
            secrets,
            answers,
            updated_at: now(),
            ..old
        };
        if !self.storage.update_connection(&new).await? {
            return Err(ConnectionError::NotFound(id_or_name.to_owned()));
        }
        Ok(new)
    }

    /// # Errors
    /// When there is no such connection, or others jump through it.
    pub async fn delete(&self, id_or_name: &str) -> Result<(), ConnectionError> {
        let connection = self.find(id_or_name).await?;
        match self.storage.delete_connection(connection.id).await? {
            DeleteConnectionOutcome::Deleted => Ok(()),
            DeleteConnectionOutcome::NotFound => {
                Err(ConnectionError::NotFound(id_or_name.to_owned()))
            }
            DeleteConnectionOutcome::JumpedThrough(by) => Err(ConnectionError::JumpedThrough {
                name: connection.name,
                by,
            }),
        }
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

    /// The host keys known for a connection's address.
    ///
    /// # Errors
    /// When there is no such connection.
    pub async fn host_keys(
        &self,
        id_or_name: &str,
    ) -> Result<(Connection, Vec<KnownHostKey>), ConnectionError> {
        let connection = self.find(id_or_name).await?;
        let keys = self
            .storage
            .host_keys(&connection.host, connection.port)
            .await?;
        Ok((connection, keys))
    }

    /// Forgets the host keys of a connection's address, so that the next session learns anew.
    ///
    /// # Errors
    /// When there is no such connection.
    pub async fn forget_host_keys(&self, id_or_name: &str) -> Result<u64, ConnectionError> {
        let connection = self.find(id_or_name).await?;
        let (host, port) = (connection.host, connection.port);
        let forgotten = self.storage.delete_host_keys(&host, port).await?;
        tracing::info!(connection = %connection.name, host, port, forgotten, "host keys forgotten");
        Ok(forgotten)
    }

    /// Everything needed to open a session to a target, and its platform's name.
    ///
    /// # Errors
    /// Code `not_found` when the connection is gone, `internal` when its secrets do not open.
    pub async fn of_target(&self, target: &Target) -> Result<Connection, JobError> {
        let stored = self.storage.connection(target.connection_id).await;
        stored
            .map_err(|error| unusable(&target.name, &error))?
            .ok_or_else(|| {
                JobError::new(
                    ErrorCode::NOT_FOUND,
                    format!(
                        "the connection `{}` has been deleted since the job was submitted",
                        target.name
                    ),
                )
            })
    }

    /// Everything needed to open a session by a connection.
    ///
    /// # Errors
    /// Code `invalid` when there is no way to the device, `internal` when secrets do not open.
    pub async fn endpoint_of(&self, connection: &Connection) -> Result<Endpoint, JobError> {
        let platform = self
            .platforms
            .named(&connection.device_type)
            .ok_or_else(|| {
                JobError::new(
                    ErrorCode::INVALID,
                    self.unknown_platform(&connection.device_type),
                )
            })?;
        let host_keys: Arc<dyn HostKeyStore> = Arc::new(StoredHostKeys(Arc::clone(&self.storage)));
        let mut jumps = Vec::new();
        for hop in self.hops(connection).await? {
            jumps.push(Jump {
                credentials: self.credentials(&hop)?,
                host: hop.host,
                port: hop.port,
                username: hop.username,
                algorithms: offered(hop.algorithms),
                host_key_policy: self.host_key_policy,
                pinned_host_key: hop.host_key,
                host_keys: Arc::clone(&host_keys),
            });
        }
        let mut endpoint = Endpoint::new(&connection.host, &connection.username, platform);
        endpoint.port = connection.port;
        endpoint.credentials = self.credentials(connection)?;
        endpoint.enable_secret = self.open(connection, SecretField::Secret)?;
        endpoint.timeouts = Timeouts {
            command: Duration::from_secs(connection.timeout_seconds.into()),
            ..Timeouts::default()
        };
        endpoint.host_key_policy = self.host_key_policy;
        endpoint.pinned_host_key.clone_from(&connection.host_key);
        endpoint.host_keys = host_keys;
        endpoint.jumps = jumps;
        endpoint.algorithms = offered(connection.algorithms);
        let logs = self.session_logs.as_ref();
        endpoint.session_log = logs.map(|logs| logs.of(&log_name(connection)));
        Ok(endpoint)
    }

    fn unknown_platform(&self, name: &str) -> String {
        format!(
            "`{name}` is no platform known here; known are {}",
            self.platforms.names().join(", ")
        )
    }

    /// Describes an error on the way to a device, with a hint on a host key or an unanswered
    /// question.
    #[must_use]
    pub fn explain(&self, connection: &Connection, error: &netssh_core::Error) -> JobError {
        let mut message = error.to_string();
        if error.code() == "host_key" && connection.host_key.is_some() {
            message.push_str(&format!(
                "; the connection accepts only the host key that it names: if the key has changed \
                 for a good reason, scheduler connection edit {0} --host-key KEY, or --clear \
                 host-key (or, if it is a jump host's, that one's)",
                connection.name
            ));
        } else if error.code() == "host_key" {
            message.push_str(&format!(
                "; if the key has changed for a good reason, forget the old one: scheduler \
                 connection host-keys {} --forget (or, if it is a jump host's, that one's)",
                connection.name
            ));
        }
        // The library's message names `answers` if a question had no answer.
        if error.code() == "authentication" && message.contains("`answers`") {
            message.push_str(&format!(
                ": scheduler connection edit {} --answer-file FILE, or --answer 'QUESTION=TEXT' for \
                 one that is not secret (or, if a jump host asks, for that one)",
                connection.name
            ));
        }
        JobError::new(error.code(), message)
    }

    /// The jump hosts on the way to a device, in order.
    async fn hops(&self, connection: &Connection) -> Result<Vec<Connection>, JobError> {
        if connection.jump.is_empty() {
            return Ok(Vec::new());
        }
        let stored = self.storage.connections().await;
        let stored = stored.map_err(|error| unusable(&connection.name, &error))?;
        let mut by_name: HashMap<String, Connection> = stored
            .into_iter()
            .map(|stored| (stored.name.clone(), stored))
            .collect();
        let jump_of = |name: &str| by_name.get(name).map(|stored| stored.jump.clone());
        let way = route(&connection.name, &connection.jump, jump_of);
        let way = way.map_err(|error| {
            JobError::new(
                ErrorCode::INVALID,
                format!("no way to `{}`: {error}", connection.name),
            )
        })?;
        Ok(way.iter().filter_map(|name| by_name.remove(name)).collect())
    }

    fn credentials(&self, connection: &Connection) -> Result<Credentials, JobError> {
        let agent = match (connection.agent, &self.devices.ssh_agent) {
            (false, _) => None,
            (true, Some(socket)) => Some(socket.clone()),
            (true, None) => {
                return Err(JobError::new(
                    ErrorCode::INVALID,
                    format!("`{}` logs in by ssh-agent: {NO_AGENT}", connection.name),
                ));
            }
        };
        Ok(Credentials {
            password: self.open(connection, SecretField::Password)?,
            private_key: self.open(connection, SecretField::PrivateKey)?,
            passphrase: self.open(connection, SecretField::Passphrase)?,
            certificate: connection.certificate.clone(),
            agent,
            answers: self.login_answers(connection)?,
        })
    }

    fn open(
        &self,
        connection: &Connection,
        field: SecretField,
    ) -> Result<Option<SecretString>, JobError> {
        let sealed = connection.secrets.get(field);
        sealed
            .map(|sealed| self.master_key.open_secret(connection.id, field, sealed))
            .transpose()
            .map_err(|error| unusable(&connection.name, &error))
    }

    async fn prepare(
        &self,
        input: ConnectionInput,
        owner_job_id: Option<Uuid>,
    ) -> Result<Connection, ConnectionError> {
        self.check(&input, None).await?;
        let id = Uuid::now_v7();
        let now = now();
        let mut secrets = SealedSecrets::default();
        self.apply(id, &mut secrets, &input.secrets);
        let answers = self.stored_answers(id, input.answers, Vec::new());
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
            jump: input.jump,
            algorithms: input.algorithms,
            certificate: input.certificate,
            agent: input.agent,
            max_sessions: input.max_sessions,
            secrets,
            answers,
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

/// Returns the name of a connection's session log. The log of an inline connection carries its
/// identifier, so that its submitter cannot choose another connection's name.
fn log_name(connection: &Connection) -> String {
    match connection.owner_job_id {
        None => connection.name.clone(),
        Some(_) => format!("{}.{}", connection.name, connection.id),
    }
}

const NO_AGENT: &str = "no ssh-agent is configured; devices.ssh_agent names its socket";

fn offered(algorithms: Algorithms) -> netssh_core::Algorithms {
    match algorithms {
        Algorithms::Default => netssh_core::Algorithms::Default,
        Algorithms::Legacy => netssh_core::Algorithms::Legacy,
    }
}

fn unusable(connection: &str, error: &dyn std::error::Error) -> JobError {
    tracing::error!(%error, connection, "a connection cannot be used");
    JobError::new(
        ErrorCode::INTERNAL,
        format!("the connection `{connection}` cannot be used; the server's log says why"),
    )
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
        let columns = (
            key.algorithm.as_str(),
            key.key.as_str(),
            key.fingerprint.as_str(),
        );
        self.0.add_host_key(host, port, columns, now()).await?;
        Ok(())
    }
}
