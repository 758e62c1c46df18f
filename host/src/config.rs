//! Loads one validated [`Config`] from four sources. Flags override the environment, which overrides the
//! file, which overrides the defaults.
//!
//! [`KEYS`] lists every key once, with its allowed values and its meaning; variable names, checks, error
//! messages and the table in `docs/configuration.md` are derived from it. The structs below define the
//! Rust types and defaults. A test compares the two.
//!
//! Start reading at [`Config::load`].

mod error;
mod keys;
mod notifications;
mod sources;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::model::{Grant, Lines};

pub use error::{ConfigError, Problem};
pub use keys::{Allowed, Check, KEYS, Key};
pub use notifications::{ChannelConfig, RuleConfig, SecretUrl};

/// The variable that names the configuration file.
pub const FILE_VARIABLE: &str = "SCHEDULER_CONFIG";
/// The variable with the server's address for the CLI. It is not a key of the server's configuration.
pub const URL_VARIABLE: &str = "SCHEDULER_URL";

/// All inputs of [`Config::load`].
#[derive(Clone, Debug, Default)]
pub struct Sources {
    /// The file named by `--config`. Without it, `SCHEDULER_CONFIG`, then `./config.toml`.
    pub file: Option<PathBuf>,
    pub environment: Vec<(OsString, OsString)>,
    /// Keys set by command-line flags, such as `("server.port", "8080")`.
    pub overrides: Vec<(String, String)>,
    /// The working directory, which may contain `config.toml`.
    pub directory: PathBuf,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    pub database: DatabaseConfig,
    pub queue: QueueConfig,
    pub server: ServerConfig,
    pub worker: WorkerConfig,
    pub board: BoardConfig,
    pub auth: AuthConfig,
    pub logging: LoggingConfig,
    pub plugins: PluginsConfig,
    pub policy: PolicyConfig,
    pub security: SecurityConfig,
    pub devices: DevicesConfig,
    pub retention: RetentionConfig,
    pub notifications: NotificationsConfig,
}

/// Notifications about ended jobs: channels, rules and the mail server.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct NotificationsConfig {
    /// The public URL of the dashboard; messages link to it.
    pub board_url: Option<String>,
    pub slow_percent: u32,
    pub slow_seconds: u32,
    pub retry_seconds: u32,
    pub give_up_hours: u32,
    /// The sender address of mails.
    pub from: Option<String>,
    pub smtp_host: Option<String>,
    /// The configured value; [`NotificationsConfig::smtp_port`] also applies the defaults.
    pub smtp_port: Option<u16>,
    pub smtp_tls: SmtpTls,
    pub smtp_username: Option<String>,
    pub smtp_password_file: Option<PathBuf>,
    /// `[notifications.channels.NAME]`, in a file only.
    #[serde(
        skip_serializing_if = "BTreeMap::is_empty",
        serialize_with = "notifications::not_shown"
    )]
    pub channels: BTreeMap<String, ChannelConfig>,
    /// `[[notifications.rules]]`, in a file only.
    #[serde(
        skip_serializing_if = "Vec::is_empty",
        serialize_with = "notifications::not_shown"
    )]
    pub rules: Vec<RuleConfig>,
}

/// Encryption of the connection to the mail server.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SmtpTls {
    /// Upgraded before any command with content. A server without STARTTLS gets no mail.
    #[default]
    Starttls,
    Tls,
    None,
}

impl NotificationsConfig {
    #[must_use]
    pub fn smtp_port(&self) -> u16 {
        self.smtp_port.unwrap_or(match self.smtp_tls {
            SmtpTls::Starttls => 587,
            SmtpTls::Tls => 465,
            SmtpTls::None => 25,
        })
    }
}

impl Default for NotificationsConfig {
    fn default() -> Self {
        Self {
            board_url: None,
            slow_percent: 200,
            slow_seconds: 10,
            retry_seconds: 10,
            give_up_hours: 24,
            from: None,
            smtp_host: None,
            smtp_port: None,
            smtp_tls: SmtpTls::default(),
            smtp_username: None,
            smtp_password_file: None,
            channels: BTreeMap::new(),
            rules: Vec::new(),
        }
    }
}

/// How long ended jobs are kept, with their results and logs. 0 means forever.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RetentionConfig {
    pub days: u32,
    pub failed_days: u32,
    pub jobs_per_plugin: u32,
    /// In MiB; 0 means no limit.
    pub max_mb: u64,
}

impl Default for RetentionConfig {
    fn default() -> Self {
        Self {
            days: 90,
            failed_days: 365,
            jobs_per_plugin: 100_000,
            max_mb: 10_240,
        }
    }
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct DatabaseConfig {
    pub url: String,
    pub max_connections: u32,
    /// Time limit of the integrity check at startup; 0 disables the check.
    pub check_seconds: u32,
    /// In MiB; 0 means no limit.
    pub min_free_mb: u64,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct QueueConfig {
    /// The configured value; [`Config::queue_url`] also applies the default.
    pub url: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ServerConfig {
    /// An address, a name, or `unix:PATH`.
    pub host: String,
    /// 0 means any free port.
    pub port: u16,
    pub request_timeout_seconds: u64,
    pub max_body_bytes: usize,
    /// Memory of the parsed bodies of all requests in progress.
    pub max_request_memory_bytes: usize,
    pub trust_network: bool,
    /// Names of the server besides `localhost` and IP addresses; never `*`.
    pub allowed_hosts: Vec<String>,
    /// Never `*`.
    pub cors_origins: Vec<String>,
    pub header_timeout_seconds: u64,
    pub idle_timeout_seconds: u64,
    pub write_timeout_seconds: u64,
    pub max_connections: usize,
    pub max_connections_per_address: usize,
    /// The certificate chain (PEM); TLS is on if it and the key are set.
    pub tls_cert_file: Option<PathBuf>,
    pub tls_key_file: Option<PathBuf>,
    /// Authorities of client certificates (PEM); clients need a certificate of one of them.
    pub tls_client_ca_file: Option<PathBuf>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct WorkerConfig {
    pub concurrency: usize,
    pub timeout_seconds: u64,
    pub shutdown_grace_seconds: u64,
    pub retry_delay_seconds: u32,
    pub retry_delay_max_seconds: u32,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct BoardConfig {
    pub enabled: bool,
    pub ui_path: String,
    pub api_prefix: String,
    /// The older form of `auth.mode = "local"`; [`Config::auth_mode`] applies it.
    pub auth_enabled: bool,
}

/// Authentication of the clients of the API and the dashboard.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct AuthConfig {
    /// The configured value; [`Config::auth_mode`] also applies the default.
    pub mode: Option<AuthMode>,
    pub session_idle_seconds: u32,
    pub session_lifetime_seconds: u32,
}

/// The kind of authentication.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum AuthMode {
    /// None: every client may do everything.
    #[default]
    Off,
    /// A password or an API token of a user of this server.
    Local,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LoggingConfig {
    /// A level, or `EnvFilter` directives.
    pub level: String,
    pub file: Option<PathBuf>,
    pub format: LogFormat,
    pub rotation: LogRotation,
    /// In MiB; 0 means no limit.
    pub max_mb: u64,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    #[default]
    Text,
    Json,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogRotation {
    #[default]
    Daily,
    Hourly,
    Never,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct PluginsConfig {
    pub scripts_dir: PathBuf,
    pub components_dir: PathBuf,
    pub watch: bool,
    /// The configured value; [`Config::cache_dir`] also applies the default.
    pub cache_dir: Option<PathBuf>,
    pub cpu_seconds: u64,
    pub memory_mb: usize,
    pub compile_seconds: u64,
    pub compile_memory_mb: u64,
    pub compilers: usize,
}

/// Grants of capabilities: the default, and those of single plugins.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct PolicyConfig {
    #[serde(flatten)]
    pub for_all: Grant,
    /// `[policy.plugins.NAME]`, in a file only.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub plugins: BTreeMap<String, PluginPolicy>,
}

/// The grant of one plugin. Fields without a value fall back to the default grant.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct PluginPolicy {
    pub ssh_exec: Option<Vec<String>>,
    pub ssh_answers: Option<Vec<String>>,
    pub ssh_configure: Option<Lines>,
    pub ssh_upload: Option<bool>,
    pub ssh_download: Option<bool>,
    pub deny: Option<Vec<String>>,
    pub storage: Option<bool>,
    pub queue_submit: Option<Vec<String>>,
    pub targets: Option<Vec<String>>,
    pub inline: Option<bool>,
    pub inline_agent: Option<bool>,
    pub inline_jump: Option<bool>,
    pub max_running: Option<u32>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SecurityConfig {
    pub master_key_file: PathBuf,
    pub host_keys: HostKeyPolicy,
}

/// Access to devices, and the files stored for them.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct DevicesConfig {
    pub platforms_dir: Option<PathBuf>,
    pub templates_dir: Option<PathBuf>,
    pub files_dir: Option<PathBuf>,
    /// In MiB; 0 means no limit, here and in the next three fields.
    pub files_max_mb: u64,
    pub files_max_count: u64,
    pub files_plugin_max_mb: u64,
    pub files_plugin_max_count: u64,
    /// The socket of the SSH agent.
    pub ssh_agent: Option<PathBuf>,
    pub session_log_dir: Option<PathBuf>,
    pub session_log_file_mb: u64,
    pub session_log_files: usize,
    /// In MiB; 0 means no limit.
    pub session_log_max_mb: u64,
    /// 0 means forever.
    pub session_log_days: u32,
    /// 0 disables the pool.
    pub pool_idle_seconds: u64,
    pub pool_sessions: usize,
    pub max_sessions_per_device: usize,
    /// 0 means no limit.
    pub logins_per_minute: u32,
    /// 0 disables the circuit breaker.
    pub breaker_failures: u32,
    pub breaker_seconds: u32,
    pub terminal_idle_seconds: u64,
}

/// The handling of a device's host key.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum HostKeyPolicy {
    /// Accept known keys only.
    Strict,
    /// Learn the key of a new device, reject a changed one.
    #[default]
    AcceptNew,
    /// Accept any key. For laboratories.
    Insecure,
}

impl Config {
    /// Reads, merges and checks the configuration. Reads nothing but `sources` and the file they name,
    /// and reports all rejected keys together.
    pub fn load(sources: &Sources) -> Result<Self, ConfigError> {
        sources::load(sources)
    }

    /// Calls [`Config::load`] with this process's environment and working directory.
    pub fn from_process(
        file: Option<PathBuf>,
        overrides: Vec<(String, String)>,
    ) -> Result<Self, ConfigError> {
        Self::load(&Sources {
            file,
            environment: std::env::vars_os().collect(),
            overrides,
            directory: std::env::current_dir().map_err(ConfigError::WorkingDirectory)?,
        })
    }

    /// Returns the configured mode of authentication, or the one that `board.auth_enabled` stands for.
    pub fn auth_mode(&self) -> AuthMode {
        self.auth.mode.unwrap_or(match self.board.auth_enabled {
            true => AuthMode::Local,
            false => AuthMode::Off,
        })
    }

    /// Returns the queue's database: the configured one, or `apalis_queue.db` next to the main database.
    pub fn queue_url(&self) -> String {
        const DEFAULT_FILE: &str = "apalis_queue.db";
        if let Some(url) = &self.queue.url {
            return url.clone();
        }
        // Edited as text, so that percent-encoding in the path is preserved.
        let (path, _options) = self
            .database
            .url
            .split_once('?')
            .unwrap_or((&self.database.url, ""));
        match path.rsplit_once('/') {
            Some((directory, _file)) => format!("{directory}/{DEFAULT_FILE}"),
            None => format!("sqlite:{DEFAULT_FILE}"),
        }
    }
}

impl Config {
    /// Returns the cache of compiled components: the configured directory, or `plugin-cache` next to the
    /// database.
    pub fn cache_dir(&self, database: &Path) -> PathBuf {
        let beside = || database.with_file_name("plugin-cache");
        self.plugins.cache_dir.clone().unwrap_or_else(beside)
    }
}

impl Default for DatabaseConfig {
    fn default() -> Self {
        Self {
            url: "sqlite:scheduler.db".to_owned(),
            max_connections: 10,
            check_seconds: 5,
            min_free_mb: 256,
        }
    }
}

impl ServerConfig {
    /// Returns the path of the Unix socket to listen on, if `host` is one.
    #[must_use]
    pub fn unix_socket(&self) -> Option<&Path> {
        self.host.strip_prefix("unix:").map(Path::new)
    }
}

impl Default for ServerConfig {
    fn default() -> Self {
        Self {
            host: "127.0.0.1".to_owned(),
            port: 8080,
            request_timeout_seconds: 30,
            max_body_bytes: 33_554_432,
            max_request_memory_bytes: 134_217_728,
            trust_network: false,
            allowed_hosts: Vec::new(),
            cors_origins: Vec::new(),
            header_timeout_seconds: 10,
            // Longer than the 60 s after which common proxies close idle connections: the side that
            // sends requests should close first.
            idle_timeout_seconds: 75,
            write_timeout_seconds: 30,
            max_connections: 512,
            max_connections_per_address: 64,
            tls_cert_file: None,
            tls_key_file: None,
            tls_client_ca_file: None,
        }
    }
}

impl Default for WorkerConfig {
    fn default() -> Self {
        Self {
            concurrency: 4,
            timeout_seconds: 300,
            shutdown_grace_seconds: 30,
            retry_delay_seconds: 5,
            retry_delay_max_seconds: 600,
        }
    }
}

impl Default for BoardConfig {
    fn default() -> Self {
        Self {
            enabled: true,
            ui_path: "/board".to_owned(),
            api_prefix: "/board/api".to_owned(),
            auth_enabled: false,
        }
    }
}

impl Default for AuthConfig {
    fn default() -> Self {
        Self {
            mode: None,
            session_idle_seconds: 8 * 3600,
            session_lifetime_seconds: 7 * 86_400,
        }
    }
}

impl Default for LoggingConfig {
    fn default() -> Self {
        Self {
            level: "info".to_owned(),
            file: None,
            format: LogFormat::default(),
            rotation: LogRotation::default(),
            max_mb: 1024,
        }
    }
}

impl Default for PluginsConfig {
    fn default() -> Self {
        Self {
            scripts_dir: PathBuf::from("scripts"),
            components_dir: PathBuf::from("plugins"),
            watch: true,
            cache_dir: None,
            cpu_seconds: 30,
            memory_mb: 128,
            compile_seconds: 120,
            compile_memory_mb: 1_024,
            compilers: 1,
        }
    }
}

impl PolicyConfig {
    /// Returns the grant of each plugin that has its own.
    #[must_use]
    pub fn by_name(&self) -> BTreeMap<String, Grant> {
        let named = self.plugins.iter();
        named
            .map(|(name, policy)| (name.clone(), policy.over(&self.for_all)))
            .collect()
    }
}

impl PluginPolicy {
    fn over(&self, all: &Grant) -> Grant {
        let list =
            |own: &Option<Vec<String>>, all: &Vec<String>| own.as_ref().unwrap_or(all).clone();
        Grant {
            ssh_exec: list(&self.ssh_exec, &all.ssh_exec),
            ssh_answers: self.answers_over(all),
            ssh_configure: self
                .ssh_configure
                .clone()
                .unwrap_or_else(|| all.ssh_configure.clone()),
            ssh_upload: self.ssh_upload.unwrap_or(all.ssh_upload),
            ssh_download: self.ssh_download.unwrap_or(all.ssh_download),
            deny: list(&self.deny, &all.deny),
            storage: self.storage.unwrap_or(all.storage),
            queue_submit: list(&self.queue_submit, &all.queue_submit),
            targets: list(&self.targets, &all.targets),
            inline: self.inline.or(all.inline),
            inline_agent: self.inline_agent.unwrap_or(all.inline_agent),
            inline_jump: self.inline_jump.unwrap_or(all.inline_jump),
            max_running: self.max_running.unwrap_or(all.max_running),
        }
    }

    /// Returns the allowed answers. A plugin with its own `ssh_exec` uses that for answers, not the
    /// default's `ssh_answers`.
    fn answers_over(&self, all: &Grant) -> Option<Vec<String>> {
        match (&self.ssh_answers, &self.ssh_exec) {
            (Some(own), _) => Some(own.clone()),
            (None, Some(_)) => None,
            (None, None) => all.ssh_answers.clone(),
        }
    }
}

impl Default for SecurityConfig {
    fn default() -> Self {
        Self {
            master_key_file: PathBuf::from("scheduler.key"),
            host_keys: HostKeyPolicy::default(),
        }
    }
}

impl Default for DevicesConfig {
    fn default() -> Self {
        Self {
            platforms_dir: None,
            templates_dir: None,
            files_dir: None,
            files_max_mb: 16_384,
            files_max_count: 20_000,
            files_plugin_max_mb: 8192,
            files_plugin_max_count: 10_000,
            ssh_agent: None,
            session_log_dir: None,
            session_log_file_mb: 8,
            session_log_files: 1,
            session_log_max_mb: 2048,
            session_log_days: 0,
            pool_idle_seconds: 60,
            pool_sessions: 256,
            max_sessions_per_device: 4,
            logins_per_minute: 30,
            breaker_failures: 3,
            breaker_seconds: 60,
            terminal_idle_seconds: 600,
        }
    }
}
