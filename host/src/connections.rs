//! Use cases of connections: storing them, changing them, and turning them into endpoints.
//!
//! This is the only module that opens stored secrets. They go directly into a [`netssh_core::Endpoint`]
//! and nowhere else.

mod answers;
mod changes;
mod check;
mod host_keys;
mod logins;
mod reseal;

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use netssh_core::{Credentials, Endpoint, HostKeyPolicy, Jump, Platforms, Timeouts};
use secrecy::SecretString;
use uuid::Uuid;

pub use self::answers::AnswerInput;
use self::host_keys::Learning;
pub use self::logins::{MAX_DEVICES, StoredLogins};
pub(crate) use self::reseal::resealed_with;
use crate::config::DevicesConfig;
use crate::model::{
    Algorithms, Connection, ErrorCode, FieldError, JobError, SavedConnections, SealedField,
    SealedSecrets, SecretField, Target, Way, now,
};
use crate::sealing::{MasterKey, UnsealError};
use crate::session_logs::{Limits, SessionLogs};
use crate::storage::{ConnectionStore, DeleteConnectionOutcome, MetaStore, StorageError};

/// The fields of a connection in a request.
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
    /// All answers, which replace the stored ones. If absent, the stored answers are kept.
    pub answers: Option<Vec<AnswerInput>>,
}

/// A change of a write-only field. Without a change, the stored value is kept.
#[derive(Clone, Debug)]
pub enum SecretChange {
    Set(SecretString),
    Clear,
}

#[derive(Debug, thiserror::Error)]
pub enum ConnectionError {
    #[error("invalid connection")]
    Invalid(Vec<FieldError>),
    #[error("connection `{0}` not found")]
    NotFound(String),
    #[error("`{name}` is the jump host of other connections: {}", .by.join(", "))]
    JumpedThrough { name: String, by: Vec<String> },
    #[error(
        "the secrets of {} are stored for the current route through `{name}`, and these connections \
         have no known or pinned host key: pin their host keys first, or clear their secrets with \
         forget_secrets_of_dependents=true and give them again afterwards",
        in_words(.others)
    )]
    Dependents { name: String, others: Vec<String> },
    #[error(
        "the secrets of {} are bound to the known host key of `{name}`: if the device has a new key, \
         trust it (POST /api/connections/{name}/host-keys); or clear the secrets as well with \
         forget_secrets=true and give them again",
        in_words(.others)
    )]
    KeyProtectsSecrets { name: String, others: Vec<String> },
    /// The change needs a permission of its own.
    #[error("the change leads `{0}` to another address, user, route or host key")]
    Redirected(String),
    #[error(transparent)]
    Storage(#[from] StorageError),
}

/// Joins names for a message, as in `a`, `b` and 3 more.
fn in_words(names: &[String]) -> String {
    const MAX_NAMES: usize = 20;
    let quoted = names.iter().take(MAX_NAMES).map(|name| format!("`{name}`"));
    let shown = quoted.collect::<Vec<_>>().join(", ");
    match names.len().saturating_sub(MAX_NAMES) {
        0 => shown,
        more => format!("{shown} and {more} more"),
    }
}

pub struct Connections {
    /// Held while connections change, because a change of one can affect the secrets of others.
    changing: tokio::sync::Mutex<()>,
    storage: Arc<dyn ConnectionStore>,
    meta: Arc<dyn MetaStore>,
    master_key: MasterKey,
    host_key_policy: HostKeyPolicy,
    devices: DevicesConfig,
    platforms: Arc<Platforms>,
    session_logs: Option<SessionLogs>,
}

impl Connections {
    /// Loads the operator's platforms and starts the session logs.
    ///
    /// # Errors
    /// If a platform is invalid, with its file, key and reason, or the session log directory cannot be
    /// used.
    pub fn new(
        storage: Arc<dyn ConnectionStore>,
        meta: Arc<dyn MetaStore>,
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
            changing: tokio::sync::Mutex::default(),
            storage,
            meta,
            master_key,
            host_key_policy,
            devices,
            platforms: Arc::new(platforms),
            session_logs: session_logs
                .transpose()
                .context("devices.session_log_dir")?,
        })
    }

    /// Returns the platforms that a connection may use.
    #[must_use]
    pub fn platforms(&self) -> &Arc<Platforms> {
        &self.platforms
    }

    /// Stores a new connection.
    ///
    /// # Errors
    /// If the input is invalid or the name is taken.
    pub async fn create(&self, input: ConnectionInput) -> Result<Connection, ConnectionError> {
        let _alone = self.changing.lock().await;
        let connection = self.prepare(input, None).await?;
        self.storage.add_connection(&connection).await?;
        Ok(connection)
    }

    /// Prepares a connection for a single job, to be stored with it.
    ///
    /// # Errors
    /// If the input is invalid.
    pub async fn inline(
        &self,
        input: ConnectionInput,
        owner: Uuid,
    ) -> Result<Connection, ConnectionError> {
        self.prepare(input, Some(owner)).await
    }

    /// Prepares a connection that is used without being stored.
    ///
    /// # Errors
    /// If the input is invalid.
    pub async fn unsaved(&self, input: ConnectionInput) -> Result<Connection, ConnectionError> {
        self.prepare(input, None).await
    }

    /// Deletes a connection.
    ///
    /// # Errors
    /// If the connection does not exist, or others jump through it.
    pub async fn delete(&self, id_or_name: &str) -> Result<(), ConnectionError> {
        let _alone = self.changing.lock().await;
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

    /// Finds a connection by name or id.
    ///
    /// # Errors
    /// If the connection does not exist.
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

    /// Returns the connection of a target.
    ///
    /// # Errors
    /// Code `not_found` if the connection has been deleted, `internal` if the database is not available.
    pub async fn of_target(&self, target: &Target) -> Result<Connection, JobError> {
        let stored = self.storage.connection(target.connection_id).await;
        stored
            .map_err(|error| unusable(&target.name, &error))?
            .ok_or_else(|| {
                JobError::new(
                    ErrorCode::NOT_FOUND,
                    format!(
                        "connection `{}` not found: it was deleted after the job was submitted",
                        target.name
                    ),
                )
            })
    }

    /// Returns the endpoint for sessions over a connection.
    ///
    /// # Errors
    /// Code `invalid` if there is no route to the device or a secret does not open.
    pub async fn endpoint_of(&self, connection: &Connection) -> Result<Endpoint, JobError> {
        self.endpoint(connection, Learning::NewKeys).await
    }

    /// Returns the endpoint for a connection that is not stored. Its sessions learn no host keys,
    /// because the client may have made up the connection.
    ///
    /// # Errors
    /// Like [`Self::endpoint_of`].
    pub async fn unsaved_endpoint_of(&self, connection: &Connection) -> Result<Endpoint, JobError> {
        self.endpoint(connection, Learning::Nothing).await
    }

    async fn endpoint(
        &self,
        connection: &Connection,
        learning: Learning,
    ) -> Result<Endpoint, JobError> {
        let platform = self
            .platforms
            .named(&connection.device_type)
            .ok_or_else(|| {
                JobError::new(
                    ErrorCode::INVALID,
                    self.unknown_platform(&connection.device_type),
                )
            })?;
        let no_way = |name: &str, error| {
            JobError::new(ErrorCode::INVALID, format!("no route to `{name}`: {error}"))
        };
        let saved = self.saved_for(connection).await;
        let saved = saved.map_err(|error| unusable(&connection.name, &error))?;
        let hops = saved
            .jumps(connection)
            .map_err(|error| no_way(&connection.name, error))?;
        let way = Way::new(connection, &hops);
        let mut jumps = Vec::new();
        for (at, hop) in hops.iter().enumerate() {
            let own_way = saved.way(hop).map_err(|error| no_way(&hop.name, error))?;
            let this_way = Way::new(hop, &hops[..at]);
            let (host_keys, host_key_policy) = self
                .keys_of_jump(hop, &own_way, &this_way, learning)
                .await?;
            jumps.push(Jump {
                credentials: self.credentials(hop, &own_way)?,
                host: hop.host.clone(),
                port: hop.port,
                username: hop.username.clone(),
                algorithms: offered(hop.algorithms),
                host_key_policy,
                pinned_host_key: hop.host_key.clone(),
                host_keys,
            });
        }
        let mut endpoint = Endpoint::new(&connection.host, &connection.username, platform);
        endpoint.port = connection.port;
        endpoint.credentials = self.credentials(connection, &way)?;
        endpoint.enable_secret = self.open(connection, SecretField::Secret, &way)?;
        endpoint.timeouts = Timeouts {
            command: Duration::from_secs(connection.timeout_seconds.into()),
            ..Timeouts::default()
        };
        endpoint.host_key_policy = self.host_key_policy;
        endpoint.pinned_host_key.clone_from(&connection.host_key);
        endpoint.host_keys = self.stored_keys(way.host_key_place().route, learning);
        endpoint.jumps = jumps;
        endpoint.algorithms = offered(connection.algorithms);
        let logs = self.session_logs.as_ref();
        endpoint.session_log = logs.map(|logs| logs.of(&log_name(connection)));
        Ok(endpoint)
    }

    fn unknown_platform(&self, name: &str) -> String {
        format!(
            "unknown platform `{name}`; known: {}",
            self.platforms.names().join(", ")
        )
    }

    /// Describes an error of a login, with a hint about the host key or the unanswered question.
    #[must_use]
    pub fn explain(&self, connection: &Connection, error: &netssh_core::Error) -> JobError {
        let mut message = error.to_string();
        if error.code() == "host_key" && connection.host_key.is_some() {
            message.push_str(&format!(
                "; the connection accepts only its pinned host key: if the device was replaced, \
                 compare the new key's fingerprint with the device, then: scheduler connection \
                 host-keys {} --trust FINGERPRINT (for the key of a jump host, name the jump host's \
                 connection)",
                connection.name
            ));
        } else if error.code() == "host_key" {
            message.push_str(&format!(
                "; if the device was replaced, compare the new key's fingerprint with the device, \
                 then: scheduler connection host-keys {} --trust FINGERPRINT (for the key of a jump \
                 host, name the jump host's connection)",
                connection.name
            ));
        }
        // The library's message names `answers` if a question had no answer.
        if error.code() == "authentication" && message.contains("`answers`") {
            message.push_str(&format!(
                ": scheduler connection edit {} --answer-file FILE, or --answer 'QUESTION=TEXT' if it \
                 is not secret (if a jump host asks, edit its connection)",
                connection.name
            ));
        }
        JobError::new(error.code(), message)
    }

    /// Loads the connections that the route to a connection may depend on.
    async fn saved_for(&self, connection: &Connection) -> Result<SavedConnections, StorageError> {
        if connection.jump.is_empty() {
            return Ok(SavedConnections::default());
        }
        self.saved().await
    }

    async fn saved(&self) -> Result<SavedConnections, StorageError> {
        Ok(SavedConnections::new(self.storage.connections().await?))
    }

    fn credentials(&self, connection: &Connection, way: &Way) -> Result<Credentials, JobError> {
        let agent = match (connection.agent, &self.devices.ssh_agent) {
            (false, _) => None,
            (true, Some(socket)) => Some(socket.clone()),
            (true, None) => {
                return Err(JobError::new(
                    ErrorCode::INVALID,
                    format!(
                        "`{}` logs in with an ssh-agent: {NO_AGENT}",
                        connection.name
                    ),
                ));
            }
        };
        Ok(Credentials {
            password: self.open(connection, SecretField::Password, way)?,
            private_key: self.open(connection, SecretField::PrivateKey, way)?,
            passphrase: self.open(connection, SecretField::Passphrase, way)?,
            certificate: connection.certificate.clone(),
            agent,
            answers: self.login_answers(connection, way)?,
        })
    }

    fn open(
        &self,
        connection: &Connection,
        field: SecretField,
        way: &Way,
    ) -> Result<Option<SecretString>, JobError> {
        let sealed = connection.secrets.get(field);
        sealed
            .map(|sealed| self.open_field(connection, SealedField::Secret(field), way, sealed))
            .transpose()
    }

    fn open_field(
        &self,
        connection: &Connection,
        field: SealedField<'_>,
        way: &Way,
        sealed: &[u8],
    ) -> Result<SecretString, JobError> {
        let opened = self
            .master_key
            .open_secret(connection.id, field, way, sealed);
        opened.map_err(|error| does_not_open(connection, field, error))
    }

    async fn prepare(
        &self,
        input: ConnectionInput,
        owner_job_id: Option<Uuid>,
    ) -> Result<Connection, ConnectionError> {
        let now = now();
        let mut new = Connection {
            id: Uuid::now_v7(),
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
            secrets: SealedSecrets::default(),
            answers: Vec::new(),
            owner_job_id,
            created_at: now,
            updated_at: now,
        };
        let saved = self.saved_for(&new).await?;
        let way = self.check(&input, &new, None, &saved).await?;
        self.apply(new.id, &way, &mut new.secrets, &input.secrets);
        new.answers = self.stored_answers(new.id, &way, input.answers, Vec::new());
        Ok(new)
    }

    fn apply(
        &self,
        id: Uuid,
        way: &Way,
        secrets: &mut SealedSecrets,
        changes: &[(SecretField, SecretChange)],
    ) {
        for (field, change) in changes {
            let sealed = match change {
                SecretChange::Set(secret) => {
                    let place = SealedField::Secret(*field);
                    Some(self.master_key.seal_secret(id, place, way, secret))
                }
                SecretChange::Clear => None,
            };
            secrets.set(*field, sealed);
        }
    }
}

/// Returns the name of a connection's session log. The log of an inline connection includes its id, so
/// that its submitter cannot choose another connection's name.
fn log_name(connection: &Connection) -> String {
    match connection.owner_job_id {
        None => connection.name.clone(),
        Some(_) => format!("{}.{}", connection.name, connection.id),
    }
}

const NO_AGENT: &str = "no ssh-agent is configured; set devices.ssh_agent";

fn offered(algorithms: Algorithms) -> netssh_core::Algorithms {
    match algorithms {
        Algorithms::Default => netssh_core::Algorithms::Default,
        Algorithms::Legacy => netssh_core::Algorithms::Legacy,
    }
}

fn unusable(connection: &str, error: &dyn std::error::Error) -> JobError {
    tracing::error!(%error, connection, "failed to load a connection");
    JobError::new(
        ErrorCode::INTERNAL,
        format!("failed to load connection `{connection}`; see the server's log"),
    )
}

/// Reports a secret that does not open. A secret never opens for another host than the one it was given
/// for.
fn does_not_open(connection: &Connection, field: SealedField<'_>, error: UnsealError) -> JobError {
    let name = &connection.name;
    tracing::error!(connection = %name, %field, %error, "failed to decrypt a stored secret");
    let again = match connection.owner_job_id {
        Some(_) => "submit the job again with the secret".to_owned(),
        None => {
            let flag = match field {
                SealedField::Secret(SecretField::Password) => "--ask-password",
                SealedField::Secret(SecretField::PrivateKey) => "--private-key-file FILE",
                SealedField::Secret(SecretField::Passphrase) => {
                    "--private-key-file FILE --passphrase-file FILE"
                }
                SealedField::Secret(SecretField::Secret) => "--secret-file FILE",
                SealedField::Answer { .. } => "--answer-file FILE",
            };
            format!("give it again: scheduler connection edit {name} {flag}")
        }
    };
    JobError::new(
        ErrorCode::INVALID,
        format!("failed to decrypt the {field} of connection `{name}`: {error}; {again}"),
    )
}
