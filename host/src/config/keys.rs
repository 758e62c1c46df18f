//! The list of all configuration keys, with their allowed values and meanings.

use config::{Value, ValueKind};
use tracing_subscriber::EnvFilter;

use crate::model::{OWN_RIGHTS, PluginName, TargetPattern, check_host, is_host_name};

/// A configuration key.
#[derive(Debug)]
pub struct Key {
    pub section: &'static str,
    pub name: &'static str,
    pub allowed: Allowed,
    pub meaning: &'static str,
}

/// The allowed values of a key.
#[derive(Debug)]
pub enum Allowed {
    Flag,
    Whole {
        from: i64,
        to: i64,
    },
    OneOf(&'static [&'static str]),
    Text {
        described: &'static str,
        check: Check,
    },
    /// A list of texts: an array in the file, comma-separated in the environment.
    List {
        described: &'static str,
        check: Check,
    },
    /// [`Self::Flag`] or [`Self::List`].
    FlagOrList {
        described: &'static str,
        check: Check,
    },
}

/// Checks a text, and returns the reason if it is invalid.
pub type Check = fn(&str) -> Result<(), String>;

/// A rejected value. The reason is set if "allowed: …" does not explain the rejection fully.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Rejected {
    pub(super) reason: Option<String>,
}

impl Key {
    /// Returns the path of the key, such as `server.port`.
    pub fn path(&self) -> String {
        format!("{}.{}", self.section, self.name)
    }

    /// Returns the environment variable of the key, such as `SCHEDULER_SERVER_PORT`.
    pub fn variable(&self) -> String {
        format!("SCHEDULER_{}_{}", self.section, self.name).to_uppercase()
    }
}

impl Allowed {
    pub fn describe(&self) -> String {
        match self {
            Self::Flag => "true or false".to_owned(),
            Self::Whole { from, to } => format!("a whole number from {from} to {to}"),
            Self::OneOf(choices) => choices.join(", "),
            Self::Text { described, .. } => (*described).to_owned(),
            Self::List { described, .. } => (*described).to_owned(),
            Self::FlagOrList { described, .. } => format!("true, false or {described}"),
        }
    }

    /// Parses a value from a variable or a flag, where everything is text.
    pub(super) fn parse(&self, text: &str) -> Result<Value, Rejected> {
        let kind = match self {
            Self::Flag => ValueKind::Boolean(text.parse().map_err(|_| Rejected::default())?),
            Self::Whole { .. } => ValueKind::I64(text.parse().map_err(|_| Rejected::default())?),
            Self::OneOf(_) | Self::Text { .. } => text.into(),
            Self::FlagOrList { .. } if matches!(text, "true" | "false") => {
                ValueKind::Boolean(text == "true")
            }
            Self::FlagOrList { .. } if is_one_word(text) => {
                return Err(Rejected {
                    reason: Some(format!(
                        "{text:?} is one word: expected true or false here, or patterns; a list of \
                         one word is possible in the configuration file"
                    )),
                });
            }
            Self::List { .. } | Self::FlagOrList { .. } => {
                text.split(',').map(str::trim).collect::<Vec<_>>().into()
            }
        };
        let value = Value::new(None, kind);
        self.check(&value)?;
        Ok(value)
    }

    /// Checks a typed value from the file. The `config` crate would convert types ("yes" to true, 80.6
    /// to 81), but a file with the wrong type should be rejected.
    pub(super) fn check(&self, value: &Value) -> Result<(), Rejected> {
        let accepted = match (self, &value.kind) {
            (Self::Flag | Self::FlagOrList { .. }, ValueKind::Boolean(_)) => true,
            (Self::Whole { from, to }, ValueKind::I64(number)) => (from..=to).contains(&number),
            (Self::OneOf(choices), ValueKind::String(text)) => choices.contains(&text.as_str()),
            (Self::Text { check, .. }, ValueKind::String(text)) => return run(*check, text),
            (
                Self::List { check, .. } | Self::FlagOrList { check, .. },
                ValueKind::Array(items),
            ) => {
                for item in items {
                    let ValueKind::String(text) = &item.kind else {
                        return Err(Rejected::default());
                    };
                    run(*check, text)?;
                }
                true
            }
            (Self::Flag | Self::Whole { .. }, ValueKind::String(_)) => {
                return Err(Rejected {
                    reason: Some("this key takes no text, so write it without quotes".to_owned()),
                });
            }
            _ => false,
        };
        if accepted {
            Ok(())
        } else {
            Err(Rejected::default())
        }
    }
}

fn run(check: Check, text: &str) -> Result<(), Rejected> {
    check(text).map_err(|reason| Rejected {
        reason: Some(reason),
    })
}

pub const KEYS: &[Key] = &[
    Key {
        section: "database",
        name: "url",
        allowed: Allowed::Text {
            described: "sqlite:PATH of a file, with mode=rwc (create, the default) or mode=rw as option",
            check: sqlite_url,
        },
        meaning: "The product's database: jobs, results, logs, connections. The file is created when it is missing.",
    },
    Key {
        section: "database",
        name: "max_connections",
        allowed: Allowed::Whole { from: 1, to: 1000 },
        meaning: "Maximum number of connections to the database.",
    },
    Key {
        section: "database",
        name: "check_seconds",
        allowed: Allowed::Whole { from: 0, to: 3600 },
        meaning: "How long the server checks the database for damage at its start. The small tables come first; the log says which were not checked. 0: no check.",
    },
    Key {
        section: "database",
        name: "min_free_mb",
        allowed: Allowed::Whole {
            from: 0,
            to: 16_777_216,
        },
        meaning: "Free space on the database's disk, in MiB, below which the server accepts no new jobs (507); 5 % of the disk if that is less. Running jobs continue. 0: no limit.",
    },
    Key {
        section: "queue",
        name: "url",
        allowed: Allowed::Text {
            described: "sqlite:PATH of a file, with mode=rwc (create, the default) or mode=rw as option",
            check: sqlite_url,
        },
        meaning: "The Apalis queue's database. Unset: `apalis_queue.db` in the directory of `database.url`. The file may be deleted while the server is stopped; the server rebuilds it.",
    },
    Key {
        section: "server",
        name: "host",
        allowed: Allowed::Text {
            described: "an IP address or a host name, without a port, or unix:PATH of a socket",
            check: listen_address,
        },
        meaning: "The address to listen on. An address off loopback needs `trust_network`. A Unix socket, such as `unix:/run/scheduler/http.sock`, has mode 0660; the server removes it when it stops and replaces the socket of a killed server.",
    },
    Key {
        section: "server",
        name: "port",
        allowed: Allowed::Whole { from: 0, to: 65535 },
        meaning: "The port to listen on; 0 chooses a free port, which the log shows. Ignored for a Unix socket.",
    },
    Key {
        section: "server",
        name: "request_timeout_seconds",
        allowed: Allowed::Whole { from: 1, to: 3600 },
        meaning: "Timeout of an HTTP request.",
    },
    Key {
        section: "server",
        name: "max_body_bytes",
        allowed: Allowed::Whole {
            from: 1024,
            to: 1_073_741_824,
        },
        meaning: "Maximum size of a request body.",
    },
    Key {
        section: "server",
        name: "max_request_memory_bytes",
        allowed: Allowed::Whole {
            from: 1_048_576,
            to: 68_719_476_736,
        },
        meaning: "Memory for the values in the bodies of all requests that are being handled: 5 to 50 times the length of their text. A body that needs more is refused (413); one that needs what others use waits up to 10 s.",
    },
    Key {
        section: "server",
        name: "trust_network",
        allowed: Allowed::Flag,
        meaning: "Whether the server may listen off loopback. This version has no authentication: every machine that reaches the port can use every stored connection.",
    },
    Key {
        section: "server",
        name: "allowed_hosts",
        allowed: Allowed::List {
            described: "host names such as noc.example.com, without a port (environment: comma-separated)",
            check: allowed_host,
        },
        meaning: "Host names of the server, besides `localhost` and IP addresses. Requests to other names are rejected, because a web page can point a name of its own at the server (DNS rebinding).",
    },
    Key {
        section: "server",
        name: "cors_origins",
        allowed: Allowed::List {
            described: "origins such as https://noc.example.com (environment: comma-separated)",
            check: cors_origin,
        },
        meaning: "Other web origins whose pages may call the API from a browser. The dashboard needs no entry.",
    },
    Key {
        section: "server",
        name: "header_timeout_seconds",
        allowed: Allowed::Whole { from: 1, to: 300 },
        meaning: "Timeout of a request's head, from its first byte; in a new connection, from the start of the connection.",
    },
    Key {
        section: "server",
        name: "idle_timeout_seconds",
        allowed: Allowed::Whole { from: 1, to: 3600 },
        meaning: "Timeout of a connection between two requests.",
    },
    Key {
        section: "server",
        name: "write_timeout_seconds",
        allowed: Allowed::Whole { from: 1, to: 3600 },
        meaning: "Timeout of a client that does not read its response, event stream or terminal.",
    },
    Key {
        section: "server",
        name: "max_connections",
        allowed: Allowed::Whole {
            from: 1,
            to: 100_000,
        },
        meaning: "Maximum of open connections; at most the clients' share of the process's file descriptors. At the limit, a new connection displaces the one that has waited for its client the longest; if all have a request in progress, it gets status 503.",
    },
    Key {
        section: "server",
        name: "max_connections_per_address",
        allowed: Allowed::Whole {
            from: 1,
            to: 100_000,
        },
        meaning: "Maximum of open connections from one IPv4 address or one IPv6 network (/64), except on loopback and the Unix socket. All clients of a proxy on another machine have the proxy's address.",
    },
    Key {
        section: "worker",
        name: "concurrency",
        allowed: Allowed::Whole { from: 1, to: 1024 },
        meaning: "Maximum number of running jobs.",
    },
    Key {
        section: "worker",
        name: "timeout_seconds",
        allowed: Allowed::Whole {
            from: 1,
            to: 604_800,
        },
        meaning: "Timeout of jobs without a timeout of their own.",
    },
    Key {
        section: "worker",
        name: "shutdown_grace_seconds",
        allowed: Allowed::Whole { from: 0, to: 3600 },
        meaning: "Time that running jobs have to end after SIGTERM or Ctrl-C before they are interrupted.",
    },
    Key {
        section: "worker",
        name: "retry_delay_seconds",
        allowed: Allowed::Whole {
            from: 0,
            to: 86_400,
        },
        meaning: "Delay before the first retry of a job. It doubles with each retry, and up to half of it is added at random.",
    },
    Key {
        section: "worker",
        name: "retry_delay_max_seconds",
        allowed: Allowed::Whole {
            from: 0,
            to: 604_800,
        },
        meaning: "Maximum delay before a retry of a job, without the random part.",
    },
    Key {
        section: "board",
        name: "enabled",
        allowed: Allowed::Flag,
        meaning: "Whether to serve the dashboard.",
    },
    Key {
        section: "board",
        name: "ui_path",
        allowed: Allowed::Text {
            described: "a path such as /board, outside /api, /health and /metrics",
            check: url_path,
        },
        meaning: "The path of the dashboard.",
    },
    Key {
        section: "board",
        name: "api_prefix",
        allowed: Allowed::Text {
            described: "a path such as /board/api, outside /api, /health and /metrics",
            check: url_path,
        },
        meaning: "The path of the API for the dashboard; it is the same API as under `/api`.",
    },
    Key {
        section: "board",
        name: "auth_enabled",
        allowed: Allowed::Flag,
        meaning: "Must be false: authentication is not available in this version, and true is rejected rather than ignored.",
    },
    Key {
        section: "logging",
        name: "level",
        allowed: Allowed::Text {
            described: "error, warn, info, debug, trace, or directives such as info,host=debug",
            check: log_level,
        },
        meaning: "The log level or filter. `RUST_LOG`, if set, overrides it.",
    },
    Key {
        section: "logging",
        name: "file",
        allowed: Allowed::Text {
            described: "the path of a file",
            check: file_path,
        },
        meaning: "A log file, in addition to stderr. Unset: no file.",
    },
    Key {
        section: "logging",
        name: "format",
        allowed: Allowed::OneOf(&["text", "json"]),
        meaning: "The format of log lines, on stderr and in the file.",
    },
    Key {
        section: "logging",
        name: "rotation",
        allowed: Allowed::OneOf(&["daily", "hourly", "never"]),
        meaning: "When to rotate the log file (UTC).",
    },
    Key {
        section: "logging",
        name: "max_mb",
        allowed: Allowed::Whole {
            from: 0,
            to: 16_777_216,
        },
        meaning: "Size of all log files together, in MiB. A file that has an eighth of it is rotated, too; the oldest ones are removed. 0: no limit.",
    },
    Key {
        section: "plugins",
        name: "scripts_dir",
        allowed: Allowed::Text {
            described: "the path of a directory",
            check: path,
        },
        meaning: "The directory of the Rhai playbooks (`*.rhai`).",
    },
    Key {
        section: "plugins",
        name: "components_dir",
        allowed: Allowed::Text {
            described: "the path of a directory",
            check: path,
        },
        meaning: "The directory of the WASM components (`*.wasm`).",
    },
    Key {
        section: "plugins",
        name: "watch",
        allowed: Allowed::Flag,
        meaning: "Whether to reload changed plugins while the server runs.",
    },
    Key {
        section: "plugins",
        name: "cache_dir",
        allowed: Allowed::Text {
            described: "the path of a directory",
            check: path,
        },
        meaning: "The directory of compiled components; no other user may write to it. Unset: `plugin-cache` beside the database.",
    },
    Key {
        section: "plugins",
        name: "cpu_seconds",
        allowed: Allowed::Whole {
            from: 1,
            to: 86_400,
        },
        meaning: "Maximum computing time of a job's attempt; waiting for devices does not count.",
    },
    Key {
        section: "plugins",
        name: "memory_mb",
        allowed: Allowed::Whole {
            from: 16,
            to: 4_095,
        },
        meaning: "Maximum memory of a job's attempt, MiB.",
    },
    Key {
        section: "plugins",
        name: "compile_seconds",
        allowed: Allowed::Whole { from: 1, to: 3_600 },
        meaning: "Maximum time of compiling a component; one that takes longer is broken.",
    },
    Key {
        section: "plugins",
        name: "compile_memory_mb",
        allowed: Allowed::Whole {
            from: 64,
            to: 65_536,
        },
        meaning: "Maximum memory of compiling a component, MiB; one that needs more is broken.",
    },
    Key {
        section: "plugins",
        name: "compilers",
        allowed: Allowed::Whole { from: 1, to: 2 },
        meaning: "Maximum number of components that are compiled at the same time.",
    },
    Key {
        section: "policy",
        name: "ssh_exec",
        allowed: Allowed::List {
            described: "patterns of commands, * for any text",
            check: pattern,
        },
        meaning: "Commands that plugins may run on devices, among those they declare.",
    },
    Key {
        section: "policy",
        name: "ssh_answers",
        allowed: Allowed::List {
            described: "patterns of answers, * for any text",
            check: pattern,
        },
        meaning: "Answers to devices' questions that plugins may give, among those they declare; plain confirmations are always allowed. Unset: the patterns of `ssh_exec`.",
    },
    Key {
        section: "policy",
        name: "ssh_configure",
        allowed: Allowed::FlagOrList {
            described: "patterns of lines, * for any text",
            check: pattern,
        },
        meaning: "Whether plugins that declare `configure` may configure devices; a list restricts the lines that they may send.",
    },
    Key {
        section: "policy",
        name: "ssh_upload",
        allowed: Allowed::Flag,
        meaning: "Whether plugins that declare `upload` may write files to devices.",
    },
    Key {
        section: "policy",
        name: "ssh_download",
        allowed: Allowed::Flag,
        meaning: "Whether plugins that declare `download` may read files of devices.",
    },
    Key {
        section: "policy",
        name: "deny",
        allowed: Allowed::List {
            described: "patterns of lines, * for any text",
            check: pattern,
        },
        meaning: "Commands, answers and configuration lines that are always denied, also in another case or abbreviated; overrides every grant.",
    },
    Key {
        section: "policy",
        name: "storage",
        allowed: Allowed::Flag,
        meaning: "Whether plugins that declare `storage` may store values between jobs.",
    },
    Key {
        section: "policy",
        name: "queue_submit",
        allowed: Allowed::List {
            described: "names of plugins, or * for any; :with-own-rights after a name gives the child job its own rights",
            check: submitted_plugin,
        },
        meaning: "Plugins whose jobs other plugins may submit, among those they declare. A child job's rights are limited by those of the job that submits it.",
    },
    Key {
        section: "policy",
        name: "targets",
        allowed: Allowed::List {
            described: "names of connections with * for any text, tags as tag:core, and addresses as host:10.9.0.0/16",
            check: target_pattern,
        },
        meaning: "Devices that plugins may reach. Inline connections are matched with `*` and `host:` patterns only.",
    },
    Key {
        section: "policy",
        name: "inline",
        allowed: Allowed::Flag,
        meaning: "Whether jobs may have inline connections. Unset: true if `targets` contains `*`, else false.",
    },
    Key {
        section: "policy",
        name: "inline_agent",
        allowed: Allowed::Flag,
        meaning: "Whether inline connections may log in with the server's ssh-agent.",
    },
    Key {
        section: "policy",
        name: "inline_jump",
        allowed: Allowed::Flag,
        meaning: "Whether inline connections may use stored connections as jump hosts.",
    },
    Key {
        section: "policy",
        name: "max_running",
        allowed: Allowed::Whole { from: 0, to: 1024 },
        meaning: "Maximum number of running jobs of one plugin, in addition to `worker.concurrency`; 0: no limit.",
    },
    Key {
        section: "security",
        name: "master_key_file",
        allowed: Allowed::Text {
            described: "the path of a file",
            check: file_path,
        },
        meaning: "The key that seals the connections' secrets, created at the first start with mode 0600. Without it the secrets cannot be decrypted: back it up, but not beside the database.",
    },
    Key {
        section: "security",
        name: "host_keys",
        allowed: Allowed::OneOf(&["strict", "accept-new", "insecure"]),
        meaning: "Checking of devices' host keys: accept known keys only; learn a device's first key and reject a change; or accept any key (laboratories only).",
    },
    Key {
        section: "devices",
        name: "platforms_dir",
        allowed: Allowed::Text {
            described: "the path of a directory",
            check: path,
        },
        meaning: "The directory of your own platforms, one TOML file each. Unset: only the built-in platforms.",
    },
    Key {
        section: "devices",
        name: "templates_dir",
        allowed: Allowed::Text {
            described: "the path of a directory",
            check: path,
        },
        meaning: "The directory of TextFSM templates with their `index`, in the layout of the project ntc-templates. Unset: no structured output.",
    },
    Key {
        section: "devices",
        name: "files_dir",
        allowed: Allowed::Text {
            described: "the path of a directory",
            check: path,
        },
        meaning: "The directory of files that jobs upload and download. Unset: no file transfers.",
    },
    Key {
        section: "devices",
        name: "files_max_mb",
        allowed: Allowed::Whole {
            from: 0,
            to: 16_777_216,
        },
        meaning: "Size of all downloaded files together, in MiB; 0: no limit.",
    },
    Key {
        section: "devices",
        name: "files_max_count",
        allowed: Allowed::Whole {
            from: 0,
            to: 10_000_000,
        },
        meaning: "Number of downloaded files; 0: no limit.",
    },
    Key {
        section: "devices",
        name: "files_plugin_max_mb",
        allowed: Allowed::Whole {
            from: 0,
            to: 16_777_216,
        },
        meaning: "Size of the files that one plugin has downloaded, in MiB; 0: no limit.",
    },
    Key {
        section: "devices",
        name: "files_plugin_max_count",
        allowed: Allowed::Whole {
            from: 0,
            to: 10_000_000,
        },
        meaning: "Number of files that one plugin has downloaded; 0: no limit.",
    },
    Key {
        section: "devices",
        name: "ssh_agent",
        allowed: Allowed::Text {
            described: "the path of a socket",
            check: file_path,
        },
        meaning: "The ssh-agent for connections with `agent`. Unset: such connections are rejected.",
    },
    Key {
        section: "devices",
        name: "session_log_dir",
        allowed: Allowed::Text {
            described: "the path of a directory",
            check: path,
        },
        meaning: "The directory of session logs, which contain everything sent to and received from devices, with secrets masked. Unset: no session logs.",
    },
    Key {
        section: "devices",
        name: "session_log_file_mb",
        allowed: Allowed::Whole {
            from: 1,
            to: 65_536,
        },
        meaning: "Size at which a session log is rotated, in MiB.",
    },
    Key {
        section: "devices",
        name: "session_log_files",
        allowed: Allowed::Whole { from: 1, to: 1000 },
        meaning: "Number of older files kept for each session log.",
    },
    Key {
        section: "devices",
        name: "session_log_max_mb",
        allowed: Allowed::Whole {
            from: 0,
            to: 16_777_216,
        },
        meaning: "Size of all session logs together, in MiB; the files that were written least recently are removed. 0: no limit.",
    },
    Key {
        section: "devices",
        name: "session_log_days",
        allowed: Allowed::Whole {
            from: 0,
            to: 36_500,
        },
        meaning: "Days after its last entry that a session log file is removed; 0: never.",
    },
    Key {
        section: "devices",
        name: "pool_idle_seconds",
        allowed: Allowed::Whole {
            from: 0,
            to: 86_400,
        },
        meaning: "Time that an idle session is kept for the next job; 0 switches the pool off.",
    },
    Key {
        section: "devices",
        name: "pool_sessions",
        allowed: Allowed::Whole {
            from: 1,
            to: 10_000,
        },
        meaning: "Maximum number of idle sessions, for all devices together.",
    },
    Key {
        section: "devices",
        name: "max_sessions_per_device",
        allowed: Allowed::Whole { from: 1, to: 64 },
        meaning: "Maximum number of sessions to one device; further jobs wait.",
    },
    Key {
        section: "devices",
        name: "logins_per_minute",
        allowed: Allowed::Whole { from: 0, to: 600 },
        meaning: "Login rate limit per device and minute, including failed logins; further jobs wait. 0: no limit.",
    },
    Key {
        section: "devices",
        name: "breaker_failures",
        allowed: Allowed::Whole { from: 0, to: 1000 },
        meaning: "Failed connections in a row that open a device's circuit breaker; 0: never. Credentials that are rejected twice in a row are not used again while it would be open.",
    },
    Key {
        section: "devices",
        name: "breaker_seconds",
        allowed: Allowed::Whole {
            from: 1,
            to: 86_400,
        },
        meaning: "Time that a device's circuit breaker stays open before one connection is tried; it doubles with each failed try, up to 15 minutes.",
    },
    Key {
        section: "devices",
        name: "terminal_idle_seconds",
        allowed: Allowed::Whole {
            from: 1,
            to: 86_400,
        },
        meaning: "Idle timeout of a terminal (`scheduler connect`).",
    },
    Key {
        section: "retention",
        name: "days",
        allowed: Allowed::Whole {
            from: 0,
            to: 36_500,
        },
        meaning: "Days that ended jobs are kept with their results and logs; 0: for ever. Child jobs are kept as long as their parent.",
    },
    Key {
        section: "retention",
        name: "failed_days",
        allowed: Allowed::Whole {
            from: 0,
            to: 36_500,
        },
        meaning: "Days that failed jobs are kept; 0: for ever.",
    },
    Key {
        section: "retention",
        name: "jobs_per_plugin",
        allowed: Allowed::Whole {
            from: 0,
            to: 100_000_000,
        },
        meaning: "Maximum number of ended jobs per plugin, not counting child jobs; older ones are deleted. 0: no limit.",
    },
    Key {
        section: "retention",
        name: "max_mb",
        allowed: Allowed::Whole {
            from: 0,
            to: 16_777_216,
        },
        meaning: "Size of the database's content, in MiB, above which the oldest ended jobs are removed, whatever their age; 0: no limit.",
    },
    Key {
        section: "notifications",
        name: "board_url",
        allowed: Allowed::Text {
            described: "an http:// or https:// URL",
            check: http_url,
        },
        meaning: "The dashboard's URL, such as `https://noc.example.com/board`, for links to jobs in notifications. Unset: no links.",
    },
    Key {
        section: "notifications",
        name: "slow_percent",
        allowed: Allowed::Whole {
            from: 101,
            to: 100_000,
        },
        meaning: "A job is slow if it took longer than this percentage of the median of the plugin's last 5 to 50 jobs.",
    },
    Key {
        section: "notifications",
        name: "slow_seconds",
        allowed: Allowed::Whole {
            from: 0,
            to: 86_400,
        },
        meaning: "A job is slow only if it also took at least this many seconds longer than the median.",
    },
    Key {
        section: "notifications",
        name: "retry_seconds",
        allowed: Allowed::Whole { from: 1, to: 3600 },
        meaning: "Delay before the first retry of a notification. It doubles with each retry, up to 15 minutes, and up to half of it is added at random.",
    },
    Key {
        section: "notifications",
        name: "give_up_hours",
        allowed: Allowed::Whole { from: 1, to: 720 },
        meaning: "Notifications older than this are not retried.",
    },
    Key {
        section: "notifications",
        name: "from",
        allowed: Allowed::Text {
            described: "a mail address",
            check: mail_address,
        },
        meaning: "The sender address of mails.",
    },
    Key {
        section: "notifications",
        name: "smtp_host",
        allowed: Allowed::Text {
            described: "an IP address or a host name, without a port",
            check: check_host,
        },
        meaning: "The host name or address of the mail server.",
    },
    Key {
        section: "notifications",
        name: "smtp_port",
        allowed: Allowed::Whole { from: 1, to: 65535 },
        meaning: "The port of the mail server. Unset: 587 with `starttls`, 465 with `tls`, 25 with `none`.",
    },
    Key {
        section: "notifications",
        name: "smtp_tls",
        allowed: Allowed::OneOf(&["starttls", "tls", "none"]),
        meaning: "Encryption of the connection to the mail server. With `starttls` no mail is sent to a server that does not offer it.",
    },
    Key {
        section: "notifications",
        name: "smtp_username",
        allowed: Allowed::Text {
            described: "a text",
            check: path,
        },
        meaning: "The user name for the mail server. Unset: no login.",
    },
    Key {
        section: "notifications",
        name: "smtp_password_file",
        allowed: Allowed::Text {
            described: "the path of a file",
            check: file_path,
        },
        meaning: "The file with the password for the mail server.",
    },
];

pub(super) fn pattern(text: &str) -> Result<(), String> {
    if text.trim().is_empty() || text.contains(char::is_control) {
        return Err("a pattern is a text without control characters, and not empty".to_owned());
    }
    Ok(())
}

fn target_pattern(text: &str) -> Result<(), String> {
    TargetPattern::parse(text).map(drop)
}

/// Checks an entry of `queue_submit`: `*` or a plugin's name, with [`OWN_RIGHTS`] or without.
fn submitted_plugin(text: &str) -> Result<(), String> {
    let name = text.strip_suffix(OWN_RIGHTS).unwrap_or(text);
    if name == "*" {
        return Ok(());
    }
    match (name.split_once(':'), PluginName::parse(name)) {
        (_, Ok(_)) => Ok(()),
        (Some((_, suffix)), Err(_)) => Err(format!(
            "invalid suffix `:{suffix}`: expected {OWN_RIGHTS} or none"
        )),
        (None, Err(_)) if name.contains('*') => Err(format!(
            "invalid plugin `{name}`: expected a whole name, or * alone for any"
        )),
        (None, Err(reason)) => Err(reason),
    }
}

/// Returns whether a text is neither a list nor a pattern with several words.
fn is_one_word(text: &str) -> bool {
    !text.contains([',', '*']) && text.split_whitespace().count() == 1
}

fn sqlite_url(url: &str) -> Result<(), String> {
    let scheme = url.split(':').next().unwrap_or_default();
    if matches!(scheme, "postgres" | "postgresql") {
        return Err("PostgreSQL is not available in this version".to_owned());
    }
    let Some(path_and_options) = url.strip_prefix("sqlite:") else {
        return Err("it does not start with sqlite:".to_owned());
    };
    let (path, options) = path_and_options
        .split_once('?')
        .unwrap_or((path_and_options, ""));
    let path = path.trim_start_matches("//");
    if path == ":memory:" {
        return Err(
            "a database in memory forgets the jobs it has accepted when the server stops"
                .to_owned(),
        );
    }
    if path.is_empty() || path.ends_with('/') {
        return Err("it names no file".to_owned());
    }
    for option in options.split('&').filter(|option| !option.is_empty()) {
        if !matches!(option, "mode=rwc" | "mode=rw") {
            return Err(format!("the option {option:?} is not supported"));
        }
    }
    Ok(())
}

fn listen_address(address: &str) -> Result<(), String> {
    // A socket address has 108 bytes, including a final NUL.
    const MAX_SOCKET_PATH_BYTES: usize = 107;
    let Some(path) = address.strip_prefix("unix:") else {
        return check_host(address);
    };
    file_path(path)?;
    if path.len() > MAX_SOCKET_PATH_BYTES {
        return Err(format!(
            "the path of a socket has at most {MAX_SOCKET_PATH_BYTES} bytes, this one has {}",
            path.len()
        ));
    }
    Ok(())
}

fn allowed_host(host: &str) -> Result<(), String> {
    if is_host_name(host) {
        return Ok(());
    }
    Err(match host {
        "*" => "without authentication, * would let any web page that an operator opens use this \
                server by a name of its own (DNS rebinding); list the names"
            .to_owned(),
        _ if host.parse::<std::net::IpAddr>().is_ok() => {
            format!("{host:?} is an address, and addresses are allowed without being listed")
        }
        _ => format!("{host:?} is not a host name without scheme and port"),
    })
}

/// Checks an `http://` or `https://` URL. The reason never contains the URL, which may be a secret.
pub(super) fn http_url(text: &str) -> Result<(), String> {
    let url = reqwest::Url::parse(text).map_err(|error| error.to_string())?;
    if !matches!(url.scheme(), "http" | "https") || url.host_str().is_none() {
        return Err("it starts with neither http:// nor https://".to_owned());
    }
    Ok(())
}

pub(super) fn mail_address(text: &str) -> Result<(), String> {
    text.parse::<lettre::message::Mailbox>()
        .map(drop)
        .map_err(|_| format!("{text:?} is no mail address"))
}

fn cors_origin(origin: &str) -> Result<(), String> {
    if origin == "*" {
        return Err(
            "without authentication, * would let any web page that an operator opens use this \
             server; list the origins"
                .to_owned(),
        );
    }
    let authority = origin
        .strip_prefix("http://")
        .or_else(|| origin.strip_prefix("https://"))
        .ok_or_else(|| format!("{origin:?} starts with neither http:// nor https://"))?;
    // Browsers send an origin in lower case without a path or trailing slash, and origins are compared
    // byte by byte: no other form would ever match.
    let plain = authority.chars().all(|c| {
        c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '.' | '-' | ':' | '[' | ']')
    });
    if authority.is_empty() || !plain {
        return Err(format!(
            "{origin:?} is not scheme://host[:port] in lower case, without path or trailing slash"
        ));
    }
    Ok(())
}

fn url_path(path: &str) -> Result<(), String> {
    const TAKEN: [&str; 3] = ["/api", "/health", "/metrics"];
    if !path.starts_with('/') {
        return Err("it does not start with /".to_owned());
    }
    if path.ends_with('/') {
        return Err("it ends with /".to_owned());
    }
    let segments_are_plain = path[1..].split('/').all(|segment| {
        !matches!(segment, "" | "." | "..")
            && segment
                .chars()
                .all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.' | '~'))
    });
    if !segments_are_plain {
        return Err("its segments may hold letters, digits, '-', '_', '.' and '~' only".to_owned());
    }
    for taken in TAKEN {
        if path == taken || path.starts_with(&format!("{taken}/")) {
            return Err(format!("{taken} belongs to the server"));
        }
    }
    Ok(())
}

fn log_level(directives: &str) -> Result<(), String> {
    const LEVELS: [&str; 6] = ["off", "error", "warn", "info", "debug", "trace"];
    // `EnvFilter` reads a bare word that is not a level as a module name, so that `level = "inof"` would
    // silently disable nearly all logging.
    for directive in directives.split(',') {
        let is_level = LEVELS
            .iter()
            .any(|level| level.eq_ignore_ascii_case(directive));
        if !is_level && !directive.contains('=') {
            return Err(format!("{directive:?} is no level"));
        }
    }
    EnvFilter::builder()
        .parse(directives)
        .map(drop)
        .map_err(|error| error.to_string())
}

fn path(path: &str) -> Result<(), String> {
    if path.trim().is_empty() {
        Err("it is empty".to_owned())
    } else if path.contains('\0') {
        Err("it holds a NUL character".to_owned())
    } else {
        Ok(())
    }
}

pub(super) fn file_path(text: &str) -> Result<(), String> {
    path(text)?;
    if text.ends_with('/') || std::path::Path::new(text).file_name().is_none() {
        return Err("it names a directory".to_owned());
    }
    Ok(())
}
