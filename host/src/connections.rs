//! Use cases of connection profiles: store, change, and turn one into something to connect to.
//!
//! The only place where a stored secret is opened; it goes straight into a
//! [`netssh_core::Endpoint`] and nowhere else.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use async_trait::async_trait;
use netssh_core::{
    Credentials, Endpoint, HostKey, HostKeyPolicy, HostKeyStore, HostKeyStoreError, Jump,
    Platforms, Timeouts,
};
use secrecy::{ExposeSecret, SecretString};
use uuid::Uuid;

use crate::config::DevicesConfig;
use crate::credentials::{check_certificate, check_private_key};
use crate::model::{
    Algorithms, Connection, ErrorCode, JobError, KnownHostKey, SealedSecrets, SecretField, Target,
    now, route,
};
use crate::sealing::MasterKey;
use crate::session_logs::SessionLogs;
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

impl FieldError {
    pub(crate) fn new(field: &'static str, message: impl Into<String>) -> Self {
        Self {
            field,
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
        let session_logs = devices.session_log_dir.as_deref().map(SessionLogs::start);
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

    /// # Errors
    /// When the database is not available.
    pub async fn list(&self) -> Result<Vec<Connection>, ConnectionError> {
        Ok(self.storage.connections().await?)
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
    pub async fn endpoint(&self, target: &Target) -> Result<(Endpoint, String), JobError> {
        let stored = self.storage.connection(target.connection_id).await;
        let connection = stored
            .map_err(|error| unusable(&target.name, &error))?
            .ok_or_else(|| {
                JobError::new(
                    ErrorCode::NOT_FOUND,
                    format!(
                        "the connection `{}` has been deleted since the job was submitted",
                        target.name
                    ),
                )
            })?;
        let endpoint = self.endpoint_of(&connection).await?;
        Ok((endpoint, connection.device_type))
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
        endpoint.session_log = logs.map(|logs| logs.of(&connection.name));
        Ok(endpoint)
    }

    fn unknown_platform(&self, name: &str) -> String {
        format!(
            "`{name}` is no platform known here; known are {}",
            self.platforms.names().join(", ")
        )
    }

    /// An error on the way to a device, with what can be done about a host key.
    #[must_use]
    pub fn explain(&self, connection: &Connection, error: &netssh_core::Error) -> JobError {
        let mut message = error.to_string();
        if error.code() == "host_key" {
            message.push_str(&format!(
                "; if the key has changed for a good reason, forget the old one: scheduler \
                 connection host-keys {} --forget (or, if it is a jump host's, that one's)",
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
            ..Credentials::default()
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

    /// All that can be wrong with an input; `old` is what it replaces.
    async fn check(
        &self,
        input: &ConnectionInput,
        old: Option<&Connection>,
    ) -> Result<(), ConnectionError> {
        let mut errors = check_fields(input);
        if self.platforms.named(&input.device_type).is_none() {
            let message = self.unknown_platform(&input.device_type);
            errors.push(FieldError::new("device_type", message));
        }
        if input.agent && self.devices.ssh_agent.is_none() {
            errors.push(FieldError::new("agent", NO_AGENT));
        }
        if let Some(old) = old {
            errors.extend(check_kept_secrets(input, old));
        }
        errors.extend(self.check_way(input, old).await?);
        // What opening a key costs is for inputs that are sound otherwise.
        if errors.is_empty() {
            errors.extend(self.check_keys(input, old).await);
        }
        if errors.is_empty() {
            Ok(())
        } else {
            Err(ConnectionError::Invalid(errors))
        }
    }

    /// Whether the device can be reached, and who jumps through it still can, too.
    async fn check_way(
        &self,
        input: &ConnectionInput,
        old: Option<&Connection>,
    ) -> Result<Option<FieldError>, ConnectionError> {
        let others_matter = old.is_some_and(|old| old.jump != input.jump);
        if input.jump.is_empty() && !others_matter {
            return Ok(None);
        }
        let mut jumps: HashMap<String, Vec<String>> = HashMap::new();
        for stored in self.storage.connections().await? {
            if old.is_some_and(|old| old.id == stored.id) {
                continue;
            }
            let mut jump = stored.jump;
            if let Some(old) = old {
                let renamed = jump.iter_mut().filter(|name| **name == old.name);
                renamed.for_each(|name| name.clone_from(&input.name));
            }
            jumps.insert(stored.name, jump);
        }
        if old.is_some() {
            jumps.insert(input.name.clone(), input.jump.clone());
        }
        let way = |name: &str, jump: &[String]| route(name, jump, |hop| jumps.get(hop).cloned());
        if let Err(error) = way(&input.name, &input.jump) {
            return Ok(Some(FieldError::new("jump", error.to_string())));
        }
        for (name, jump) in jumps.iter().filter(|_| others_matter) {
            if jump.contains(&input.name)
                && let Err(error) = way(name, jump)
            {
                let message = format!("`{name}` would not be reached any more: {error}");
                return Ok(Some(FieldError::new("jump", message)));
            }
        }
        Ok(None)
    }

    /// Whether the private key opens, and the certificate goes with it.
    async fn check_keys(
        &self,
        input: &ConnectionInput,
        old: Option<&Connection>,
    ) -> Option<FieldError> {
        let said = |field| input.secrets.iter().any(|(said, _)| *said == field);
        let certificate_changed = old.is_none_or(|old| old.certificate != input.certificate)
            && input.certificate.is_some();
        if !said(SecretField::PrivateKey) && !said(SecretField::Passphrase) && !certificate_changed
        {
            return None;
        }
        // What will be stored. One that does not open any more cannot be checked.
        let after = |field| match input.secrets.iter().find(|(said, _)| *said == field) {
            Some((_, SecretChange::Set(secret))) => Some(secret.clone()),
            Some((_, SecretChange::Clear)) => None,
            None => old.and_then(|old| self.open(old, field).ok().flatten()),
        };
        let key = after(SecretField::PrivateKey);
        let passphrase = after(SecretField::Passphrase);
        let certificate = input.certificate.clone();
        if certificate.is_some() && key.is_none() && !input.agent {
            let message = "needs the private key that it is of, or the agent that has it";
            return Some(FieldError::new("certificate", message));
        }
        let checking = tokio::task::spawn_blocking(move || {
            let passphrase = passphrase.as_ref().map(ExposeSecret::expose_secret);
            let key = key
                .map(|key| check_private_key(key.expose_secret(), passphrase))
                .transpose()?;
            certificate.map_or(Ok(()), |text| check_certificate(&text, key.as_ref()))
        });
        match checking.await {
            Ok(checked) => checked.err(),
            Err(_) => Some(FieldError::new("private_key", "cannot be read")),
        }
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

/// A stored secret goes to the address it was entered for, and to no other that somebody else
/// may have put in its place.
fn check_kept_secrets(input: &ConnectionInput, old: &Connection) -> Vec<FieldError> {
    let same_address = input.host.eq_ignore_ascii_case(&old.host)
        && input.port == old.port
        && input.username == old.username
        && input.jump == old.jump;
    if same_address {
        return Vec::new();
    }
    SecretField::ALL
        .into_iter()
        .filter(|field| old.secrets.get(*field).is_some())
        .filter(|field| input.secrets.iter().all(|(said, _)| said != field))
        .map(|field| {
            FieldError::new(
                field.as_str(),
                "is stored for another address (host, port, username, jump): give it again, or \
                 null to clear it",
            )
        })
        .collect()
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

fn check_fields(input: &ConnectionInput) -> Vec<FieldError> {
    let mut errors = Vec::new();
    let mut expect = |holds: bool, field, message: &str| {
        if !holds {
            errors.push(FieldError::new(field, message));
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
    let length = |text: &String| (1..=65_536).contains(&text.len());
    expect(
        input.certificate.as_ref().is_none_or(length),
        "certificate",
        "is 1 to 65536 bytes",
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
    errors
}
