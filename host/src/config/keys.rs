//! The list of all configuration keys, with their allowed values and meanings.

mod allowed;
mod checks;

pub(super) use self::allowed::Rejected;
pub use self::allowed::{Allowed, Check};
use self::checks::{
    allowed_host, cors_origin, listen_address, log_level, path, sqlite_url, submitted_plugin,
    target_pattern, url_path,
};
pub(super) use self::checks::{file_path, http_url, mail_address, pattern};
use crate::model::check_host;

/// A configuration key.
#[derive(Debug)]
pub struct Key {
    pub section: &'static str,
    pub name: &'static str,
    pub allowed: Allowed,
    pub meaning: &'static str,
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

pub const KEYS: &[Key] = &[
    Key {
        section: "database",
        name: "url",
        allowed: Allowed::Text {
            described: "sqlite:PATH of a file, with mode=rwc (create, the default) or mode=rw as option",
            check: sqlite_url,
        },
        meaning: "The database of jobs, results, logs and connections. The file is created if it is missing.",
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
        meaning: "Maximum time to check the database for damage at start. Small tables are checked first; the log lists the tables that were not checked. 0: no check.",
    },
    Key {
        section: "database",
        name: "min_free_mb",
        allowed: Allowed::Whole {
            from: 0,
            to: 16_777_216,
        },
        meaning: "Minimum free space on the database's disk, MiB, or 5 % of the disk if that is less. With less free space, new jobs are rejected (507) and running jobs continue. 0: no limit.",
    },
    Key {
        section: "queue",
        name: "url",
        allowed: Allowed::Text {
            described: "sqlite:PATH of a file, with mode=rwc (create, the default) or mode=rw as option",
            check: sqlite_url,
        },
        meaning: "The database of the Apalis queue. Unset: `apalis_queue.db` in the directory of `database.url`. The file may be deleted while the server is stopped; the server rebuilds it.",
    },
    Key {
        section: "server",
        name: "host",
        allowed: Allowed::Text {
            described: "an IP address or a host name, without a port, or unix:PATH of a socket",
            check: listen_address,
        },
        meaning: "The address to listen on. A non-loopback address requires `trust_network`. A Unix socket, such as `unix:/run/scheduler/http.sock`, has mode 0660; the server removes it when it stops and replaces the socket of a killed server.",
    },
    Key {
        section: "server",
        name: "port",
        allowed: Allowed::Whole { from: 0, to: 65535 },
        meaning: "The port to listen on; 0 selects a free port, which is logged. Ignored for a Unix socket.",
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
        meaning: "Maximum memory for the values in the bodies of all requests in progress, bytes. Values take 5 to 50 times the length of their text. A body that needs more is rejected (413); a body that needs memory in use by others waits up to 10 s (503).",
    },
    Key {
        section: "server",
        name: "trust_network",
        allowed: Allowed::Flag,
        meaning: "Whether the server may listen on non-loopback addresses without both authentication and TLS. Without authentication, every machine that reaches the port can use every stored connection; without TLS, passwords and tokens can be read in transit.",
    },
    Key {
        section: "server",
        name: "allowed_hosts",
        allowed: Allowed::List {
            described: "host names such as noc.example.com, without a port (environment: comma-separated)",
            check: allowed_host,
        },
        meaning: "Host names of the server, besides `localhost` and IP addresses. Requests to other names are rejected, because a web page could point a name of its own at the server (DNS rebinding).",
    },
    Key {
        section: "server",
        name: "cors_origins",
        allowed: Allowed::List {
            described: "origins such as https://noc.example.com (environment: comma-separated)",
            check: cors_origin,
        },
        meaning: "Other web origins that may call the API from a browser. The dashboard needs no entry.",
    },
    Key {
        section: "server",
        name: "header_timeout_seconds",
        allowed: Allowed::Whole { from: 1, to: 300 },
        meaning: "Timeout of a request's head, from its first byte, or from the start of a new connection.",
    },
    Key {
        section: "server",
        name: "idle_timeout_seconds",
        allowed: Allowed::Whole { from: 1, to: 3600 },
        meaning: "Idle timeout of a connection between two requests.",
    },
    Key {
        section: "server",
        name: "write_timeout_seconds",
        allowed: Allowed::Whole { from: 1, to: 3600 },
        meaning: "Timeout of writing to a client that does not read its response, event stream or terminal.",
    },
    Key {
        section: "server",
        name: "max_connections",
        allowed: Allowed::Whole {
            from: 1,
            to: 100_000,
        },
        meaning: "Maximum number of open connections, limited to the clients' share of the process's file descriptors. At the limit, a new connection replaces the one that has been idle the longest; if all have a request in progress, it gets status 503.",
    },
    Key {
        section: "server",
        name: "max_connections_per_address",
        allowed: Allowed::Whole {
            from: 1,
            to: 100_000,
        },
        meaning: "Maximum number of open connections from one IPv4 address or IPv6 network (/64), except on loopback and the Unix socket. All clients of a proxy on another machine have the proxy's address.",
    },
    Key {
        section: "server",
        name: "tls_cert_file",
        allowed: Allowed::Text {
            described: "a file path",
            check: file_path,
        },
        meaning: "The certificate of the server and those of its issuers (PEM). With it and `tls_key_file`, the server speaks HTTPS on its TCP port. Both files are read again when they change; if they are not valid, the previous certificate stays in use.",
    },
    Key {
        section: "server",
        name: "tls_key_file",
        allowed: Allowed::Text {
            described: "a file path",
            check: file_path,
        },
        meaning: "The private key of the certificate (PEM).",
    },
    Key {
        section: "server",
        name: "tls_client_ca_file",
        allowed: Allowed::Text {
            described: "a file path",
            check: file_path,
        },
        meaning: "Authorities of client certificates (PEM). Clients then need a certificate of one of them, besides a login.",
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
        meaning: "Timeout of an attempt of jobs without their own `timeout_seconds`.",
    },
    Key {
        section: "worker",
        name: "shutdown_grace_seconds",
        allowed: Allowed::Whole { from: 0, to: 3600 },
        meaning: "Grace period for running jobs after SIGTERM or Ctrl-C, after which they are interrupted.",
    },
    Key {
        section: "worker",
        name: "retry_delay_seconds",
        allowed: Allowed::Whole {
            from: 0,
            to: 86_400,
        },
        meaning: "Delay before the first retry of a job. It doubles with each retry, and a random part of up to half of it is added.",
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
        meaning: "The path of the API for the dashboard, the same API as under `/api`.",
    },
    Key {
        section: "board",
        name: "auth_enabled",
        allowed: Allowed::Flag,
        meaning: "true has the effect of `auth.mode = \"local\"` if `auth.mode` is not set.",
    },
    Key {
        section: "auth",
        name: "mode",
        allowed: Allowed::OneOf(&["off", "local"]),
        meaning: "Whether clients have to authenticate. `local`: with a password or an API token of a user of this server. Unset: `off`, or `local` with `board.auth_enabled = true`.",
    },
    Key {
        section: "auth",
        name: "session_idle_seconds",
        allowed: Allowed::Whole {
            from: 60,
            to: 2_592_000,
        },
        meaning: "Time without a request after which a login in a browser ends.",
    },
    Key {
        section: "auth",
        name: "session_lifetime_seconds",
        allowed: Allowed::Whole {
            from: 60,
            to: 31_536_000,
        },
        meaning: "Time after which a login in a browser ends in any case.",
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
            described: "a file path",
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
        meaning: "Maximum size of all log files together, MiB. A file is also rotated at an eighth of it, and the oldest files are removed. 0: no limit.",
    },
    Key {
        section: "plugins",
        name: "scripts_dir",
        allowed: Allowed::Text {
            described: "a directory path",
            check: path,
        },
        meaning: "The directory of the Rhai playbooks (`*.rhai`).",
    },
    Key {
        section: "plugins",
        name: "components_dir",
        allowed: Allowed::Text {
            described: "a directory path",
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
            described: "a directory path",
            check: path,
        },
        meaning: "The directory of compiled components, which no other user may write to. Unset: `plugin-cache` beside the database.",
    },
    Key {
        section: "plugins",
        name: "cpu_seconds",
        allowed: Allowed::Whole {
            from: 1,
            to: 86_400,
        },
        meaning: "Maximum CPU time of an attempt; waiting for devices does not count.",
    },
    Key {
        section: "plugins",
        name: "memory_mb",
        allowed: Allowed::Whole {
            from: 16,
            to: 4_095,
        },
        meaning: "Maximum memory of an attempt, MiB.",
    },
    Key {
        section: "plugins",
        name: "compile_seconds",
        allowed: Allowed::Whole { from: 1, to: 3_600 },
        meaning: "Timeout of compiling a component; a component that exceeds it is broken.",
    },
    Key {
        section: "plugins",
        name: "compile_memory_mb",
        allowed: Allowed::Whole {
            from: 64,
            to: 65_536,
        },
        meaning: "Maximum memory of compiling a component, MiB; a component that exceeds it is broken.",
    },
    Key {
        section: "plugins",
        name: "compilers",
        allowed: Allowed::Whole { from: 1, to: 2 },
        meaning: "Maximum number of components compiled at the same time.",
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
        meaning: "Answers that plugins may give to devices' questions, among those they declare; plain confirmations are always allowed. Unset: the patterns of `ssh_exec`.",
    },
    Key {
        section: "policy",
        name: "ssh_configure",
        allowed: Allowed::FlagOrList {
            described: "patterns of lines, * for any text",
            check: pattern,
        },
        meaning: "Whether plugins that declare `configure` may configure devices; a list of patterns restricts the lines.",
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
        meaning: "Commands, answers and configuration lines that are always denied, in any case and abbreviated; overrides every grant.",
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
        meaning: "Plugins that other plugins may submit jobs for, among those they declare. A child job's rights are limited by those of the job that submits it.",
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
        meaning: "Maximum number of running jobs of one plugin, besides `worker.concurrency`. 0: no limit.",
    },
    Key {
        section: "security",
        name: "master_key_file",
        allowed: Allowed::Text {
            described: "a file path",
            check: file_path,
        },
        meaning: "The master key, which seals the connections' secrets. It is created at the first start with mode 0600. Without it, the secrets cannot be decrypted: back it up, apart from the database.",
    },
    Key {
        section: "security",
        name: "host_keys",
        allowed: Allowed::OneOf(&["strict", "accept-new", "insecure"]),
        meaning: "Verification of devices' host keys. `strict`: accept known keys only. `accept-new`: accept and store a device's first key, reject a changed one. `insecure`: accept any key (laboratories only).",
    },
    Key {
        section: "devices",
        name: "platforms_dir",
        allowed: Allowed::Text {
            described: "a directory path",
            check: path,
        },
        meaning: "The directory of additional platforms, one TOML file each. Unset: built-in platforms only.",
    },
    Key {
        section: "devices",
        name: "templates_dir",
        allowed: Allowed::Text {
            described: "a directory path",
            check: path,
        },
        meaning: "The directory of TextFSM templates with an `index`, in the layout of ntc-templates. Unset: no structured output.",
    },
    Key {
        section: "devices",
        name: "files_dir",
        allowed: Allowed::Text {
            described: "a directory path",
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
        meaning: "Maximum size of all downloaded files together, MiB. 0: no limit.",
    },
    Key {
        section: "devices",
        name: "files_max_count",
        allowed: Allowed::Whole {
            from: 0,
            to: 10_000_000,
        },
        meaning: "Maximum number of downloaded files. 0: no limit.",
    },
    Key {
        section: "devices",
        name: "files_plugin_max_mb",
        allowed: Allowed::Whole {
            from: 0,
            to: 16_777_216,
        },
        meaning: "Maximum size of the downloaded files of one plugin, MiB. 0: no limit.",
    },
    Key {
        section: "devices",
        name: "files_plugin_max_count",
        allowed: Allowed::Whole {
            from: 0,
            to: 10_000_000,
        },
        meaning: "Maximum number of downloaded files of one plugin. 0: no limit.",
    },
    Key {
        section: "devices",
        name: "ssh_agent",
        allowed: Allowed::Text {
            described: "a socket path",
            check: file_path,
        },
        meaning: "The ssh-agent for connections with `agent`. Unset: such connections are rejected.",
    },
    Key {
        section: "devices",
        name: "session_log_dir",
        allowed: Allowed::Text {
            described: "a directory path",
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
        meaning: "Maximum size of a session log file, MiB, at which it is rotated.",
    },
    Key {
        section: "devices",
        name: "session_log_files",
        allowed: Allowed::Whole { from: 1, to: 1000 },
        meaning: "Maximum number of rotated files of each session log.",
    },
    Key {
        section: "devices",
        name: "session_log_max_mb",
        allowed: Allowed::Whole {
            from: 0,
            to: 16_777_216,
        },
        meaning: "Maximum size of all session logs together, MiB; the least recently written files are removed. 0: no limit.",
    },
    Key {
        section: "devices",
        name: "session_log_days",
        allowed: Allowed::Whole {
            from: 0,
            to: 36_500,
        },
        meaning: "Maximum age of a session log file's last entry, days; older files are removed. 0: no limit.",
    },
    Key {
        section: "devices",
        name: "pool_idle_seconds",
        allowed: Allowed::Whole {
            from: 0,
            to: 86_400,
        },
        meaning: "Idle timeout of a session that is kept for the next job. 0: sessions are not kept.",
    },
    Key {
        section: "devices",
        name: "pool_sessions",
        allowed: Allowed::Whole {
            from: 1,
            to: 10_000,
        },
        meaning: "Maximum number of idle sessions to all devices together.",
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
        meaning: "Login rate limit: maximum number of logins to one device per minute, including failed ones; further jobs wait. 0: no limit.",
    },
    Key {
        section: "devices",
        name: "breaker_failures",
        allowed: Allowed::Whole { from: 0, to: 1000 },
        meaning: "Consecutive failed connections that open a device's circuit breaker. Credentials that are rejected twice in a row are blocked for the same time. 0: never.",
    },
    Key {
        section: "devices",
        name: "breaker_seconds",
        allowed: Allowed::Whole {
            from: 1,
            to: 86_400,
        },
        meaning: "Time that a device's circuit breaker stays open before one connection is tried. It doubles with each failed try, up to 15 minutes.",
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
        meaning: "Maximum age of ended jobs with their results and logs, days. Child jobs are kept as long as their parent. 0: no limit.",
    },
    Key {
        section: "retention",
        name: "failed_days",
        allowed: Allowed::Whole {
            from: 0,
            to: 36_500,
        },
        meaning: "Maximum age of failed jobs, days. 0: no limit.",
    },
    Key {
        section: "retention",
        name: "jobs_per_plugin",
        allowed: Allowed::Whole {
            from: 0,
            to: 100_000_000,
        },
        meaning: "Maximum number of ended jobs per plugin, without child jobs; the oldest ones are removed. 0: no limit.",
    },
    Key {
        section: "retention",
        name: "max_mb",
        allowed: Allowed::Whole {
            from: 0,
            to: 16_777_216,
        },
        meaning: "Maximum size of jobs with their results and logs in the database, MiB; above it, the oldest ended jobs are removed, whatever their age. Plugins' files and stored values do not count. 0: no limit.",
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
        meaning: "Maximum age of a notification; an older one is not retried.",
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
        meaning: "Encryption of the connection to the mail server. With `starttls`, no mail is sent to a server that does not offer it.",
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
            described: "a file path",
            check: file_path,
        },
        meaning: "The file with the password for the mail server.",
    },
];
