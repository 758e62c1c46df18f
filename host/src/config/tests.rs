use std::ffi::OsString;
use std::path::{Path, PathBuf};

use super::*;

/// Configuration sources in a temporary directory.
struct Setup {
    directory: tempfile::TempDir,
    sources: Sources,
}

impl Setup {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let sources = Sources {
            directory: directory.path().to_owned(),
            ..Sources::default()
        };
        Self { directory, sources }
    }

    fn file(self, text: &str) -> Self {
        std::fs::write(self.directory.path().join("config.toml"), text).unwrap();
        self
    }

    fn variable(mut self, name: &str, value: &str) -> Self {
        self.sources.environment.push((name.into(), value.into()));
        self
    }

    fn flag(mut self, key: &str, value: &str) -> Self {
        self.sources.overrides.push((key.into(), value.into()));
        self
    }

    fn load(&self) -> Result<Config, ConfigError> {
        Config::load(&self.sources)
    }

    fn refusal(&self) -> String {
        self.load().unwrap_err().to_string()
    }
}

/// Returns the keys and defaults of the structs, as `section.name` and value.
fn defaults() -> Vec<(String, serde_json::Value)> {
    let config = serde_json::to_value(Config::default()).unwrap();
    let mut keys = Vec::new();
    for (section, content) in config.as_object().unwrap() {
        for (name, value) in content.as_object().unwrap() {
            keys.push((format!("{section}.{name}"), value.clone()));
        }
    }
    keys
}

#[test]
fn without_sources_the_defaults_hold() {
    assert_eq!(Setup::new().load().unwrap(), Config::default());
}

#[test]
fn the_list_of_keys_and_the_structs_agree() {
    let listed: Vec<String> = KEYS.iter().map(Key::path).collect();
    let in_structs: Vec<String> = defaults().into_iter().map(|(path, _)| path).collect();
    assert_eq!(listed, in_structs);
}

#[test]
fn every_default_is_allowed() {
    for ((path, value), key) in defaults().iter().zip(KEYS) {
        let text = match value {
            serde_json::Value::Null => continue,
            serde_json::Value::Array(items) if items.is_empty() => continue,
            serde_json::Value::String(text) => text.clone(),
            other => other.to_string(),
        };
        assert!(key.allowed.parse(&text).is_ok(), "{path} = {text}");
    }
}

#[test]
fn every_key_can_be_set_by_its_variable_and_in_the_file() {
    let values = [
        (
            "database.url",
            "sqlite:/srv/jobs.db",
            "'sqlite:/srv/jobs.db'",
        ),
        ("database.max_connections", "3", "3"),
        ("database.check_seconds", "30", "30"),
        ("database.min_free_mb", "0", "0"),
        (
            "queue.url",
            "sqlite:/srv/queue.db",
            "'sqlite:/srv/queue.db'",
        ),
        ("server.host", "::1", "'::1'"),
        ("server.port", "0", "0"),
        ("server.request_timeout_seconds", "9", "9"),
        ("server.max_body_bytes", "2048", "2048"),
        ("server.max_request_memory_bytes", "1048576", "1048576"),
        ("server.trust_network", "true", "true"),
        (
            "server.allowed_hosts",
            "noc.example, noc",
            "['noc.example', 'noc']",
        ),
        (
            "server.cors_origins",
            "https://a.example, http://b:8000",
            "['https://a.example', 'http://b:8000']",
        ),
        ("server.header_timeout_seconds", "5", "5"),
        ("server.idle_timeout_seconds", "5", "5"),
        ("server.write_timeout_seconds", "5", "5"),
        ("server.max_connections", "9", "9"),
        ("server.max_connections_per_address", "9", "9"),
        ("server.tls_cert_file", "/srv/tls.crt", "'/srv/tls.crt'"),
        ("server.tls_key_file", "/srv/tls.key", "'/srv/tls.key'"),
        ("server.tls_client_ca_file", "/srv/ca.crt", "'/srv/ca.crt'"),
        ("worker.concurrency", "1024", "1024"),
        ("worker.timeout_seconds", "604800", "604800"),
        ("worker.shutdown_grace_seconds", "1", "1"),
        ("worker.retry_delay_seconds", "7", "7"),
        ("worker.retry_delay_max_seconds", "70", "70"),
        ("board.enabled", "false", "false"),
        ("board.ui_path", "/ui", "'/ui'"),
        ("board.api_prefix", "/ui/api", "'/ui/api'"),
        ("board.auth_enabled", "true", "true"),
        ("auth.mode", "local", "'local'"),
        ("auth.session_idle_seconds", "60", "60"),
        ("auth.session_lifetime_seconds", "60", "60"),
        ("logging.level", "info,host=debug", "'info,host=debug'"),
        ("logging.file", "logs/s.log", "'logs/s.log'"),
        ("logging.format", "json", "'json'"),
        ("logging.rotation", "hourly", "'hourly'"),
        ("logging.max_mb", "64", "64"),
        ("plugins.scripts_dir", "/srv/scripts", "'/srv/scripts'"),
        ("plugins.components_dir", "/srv/wasm", "'/srv/wasm'"),
        ("plugins.watch", "false", "false"),
        ("plugins.cache_dir", "/srv/cache", "'/srv/cache'"),
        ("plugins.cpu_seconds", "5", "5"),
        ("plugins.memory_mb", "64", "64"),
        ("plugins.compile_seconds", "5", "5"),
        ("plugins.compile_memory_mb", "64", "64"),
        ("plugins.compilers", "2", "2"),
        ("policy.ssh_exec", "show *", "['show *']"),
        ("policy.ssh_answers", "flash:*", "['flash:*']"),
        (
            "policy.ssh_configure",
            "ntp *, no ntp *",
            "['ntp *', 'no ntp *']",
        ),
        ("policy.ssh_upload", "false", "false"),
        ("policy.ssh_download", "false", "false"),
        ("policy.deny", "reload*, erase*", "['reload*', 'erase*']"),
        ("policy.storage", "false", "false"),
        ("policy.queue_submit", "noop", "['noop']"),
        ("policy.targets", "lab-*, tag:lab", "['lab-*', 'tag:lab']"),
        ("policy.inline", "false", "false"),
        ("policy.inline_agent", "true", "true"),
        ("policy.inline_jump", "true", "true"),
        ("policy.max_running", "2", "2"),
        ("security.master_key_file", "/srv/key", "'/srv/key'"),
        ("security.host_keys", "strict", "'strict'"),
        (
            "devices.platforms_dir",
            "/srv/platforms",
            "'/srv/platforms'",
        ),
        (
            "devices.templates_dir",
            "/srv/templates",
            "'/srv/templates'",
        ),
        ("devices.files_dir", "/srv/files", "'/srv/files'"),
        ("devices.files_max_mb", "100", "100"),
        ("devices.files_max_count", "10", "10"),
        ("devices.files_plugin_max_mb", "50", "50"),
        ("devices.files_plugin_max_count", "5", "5"),
        ("devices.ssh_agent", "/run/agent.sock", "'/run/agent.sock'"),
        (
            "devices.session_log_dir",
            "/srv/sessions",
            "'/srv/sessions'",
        ),
        ("devices.session_log_file_mb", "1", "1"),
        ("devices.session_log_files", "3", "3"),
        ("devices.session_log_max_mb", "0", "0"),
        ("devices.session_log_days", "30", "30"),
        ("devices.pool_idle_seconds", "0", "0"),
        ("devices.pool_sessions", "8", "8"),
        ("devices.max_sessions_per_device", "1", "1"),
        ("devices.logins_per_minute", "4", "4"),
        ("devices.breaker_failures", "5", "5"),
        ("devices.breaker_seconds", "90", "90"),
        ("devices.terminal_idle_seconds", "30", "30"),
        ("retention.days", "7", "7"),
        ("retention.failed_days", "0", "0"),
        ("retention.jobs_per_plugin", "50", "50"),
        ("retention.max_mb", "100", "100"),
        (
            "notifications.board_url",
            "https://noc.example.com/board",
            "'https://noc.example.com/board'",
        ),
        ("notifications.slow_percent", "150", "150"),
        ("notifications.slow_seconds", "0", "0"),
        ("notifications.retry_seconds", "1", "1"),
        ("notifications.give_up_hours", "2", "2"),
        (
            "notifications.from",
            "Jobs <jobs@example.com>",
            "'Jobs <jobs@example.com>'",
        ),
        (
            "notifications.smtp_host",
            "mail.example.com",
            "'mail.example.com'",
        ),
        ("notifications.smtp_port", "2525", "2525"),
        ("notifications.smtp_tls", "tls", "'tls'"),
        ("notifications.smtp_username", "jobs", "'jobs'"),
        (
            "notifications.smtp_password_file",
            "/srv/smtp-password",
            "'/srv/smtp-password'",
        ),
    ];
    let paths: Vec<String> = values.iter().map(|(path, ..)| (*path).to_owned()).collect();
    assert_eq!(paths, KEYS.iter().map(Key::path).collect::<Vec<_>>());

    let mut by_variables = Setup::new();
    let mut file = String::new();
    for (key, (_, text, toml)) in KEYS.iter().zip(values) {
        by_variables = by_variables.variable(&key.variable(), text);
        file.push_str(&format!("{}.{} = {toml}\n", key.section, key.name));
    }
    let from_variables = by_variables.load().unwrap();
    let from_file = Setup::new().file(&file).load().unwrap();

    assert_eq!(from_variables, from_file);
    assert_eq!(from_file.server.cors_origins.len(), 2);
    let set = serde_json::to_value(&from_file).unwrap();
    for (path, default) in defaults() {
        let (section, name) = path.split_once('.').unwrap();
        assert_ne!(set[section][name], default, "{path} was not set");
    }
}

#[test]
fn flags_win_over_environment_over_file_over_defaults() {
    let file = "[server]\nport = 1\nhost = 'file'\n[worker]\nconcurrency = 1\n";
    let config = Setup::new()
        .file(file)
        .variable("SCHEDULER_SERVER_PORT", "2")
        .variable("SCHEDULER_SERVER_HOST", "variable")
        .flag("server.port", "3")
        .load()
        .unwrap();

    assert_eq!(config.server.port, 3);
    assert_eq!(config.server.host, "variable");
    assert_eq!(config.worker.concurrency, 1);
    assert_eq!(config.worker.timeout_seconds, 300);
}

#[test]
fn an_empty_variable_is_as_if_unset() {
    let config = Setup::new()
        .file("[logging]\nlevel = 'warn'\n")
        .variable("SCHEDULER_LOGGING_LEVEL", "")
        .variable("SCHEDULER_SERVER_PORT", "")
        .variable("SCHEDULER_CONFIG", "")
        .load()
        .unwrap();

    assert_eq!(config.logging.level, "warn");
    assert_eq!(config.server.port, 8080);
}

#[test]
fn an_unknown_variable_is_refused_with_the_nearest_known_one() {
    let setup = Setup::new()
        .variable("SCHEDULER_SERVER__PORT", "1")
        .variable("SCHEDULER_URL", "http://elsewhere:8080")
        .variable("SCHEDULERS", "not ours")
        .variable("PATH", "/bin");
    assert_eq!(
        setup.refusal(),
        "configuration error: unknown environment variable SCHEDULER_SERVER__PORT; did you mean \
         SCHEDULER_SERVER_PORT?"
    );

    // Empty variables are rejected too, because a misspelled name is always a mistake.
    let empty = Setup::new().variable("SCHEDULER_DATABSE_URL", "");
    assert!(
        empty
            .refusal()
            .ends_with("did you mean SCHEDULER_DATABASE_URL?")
    );

    let section = Setup::new().variable("SCHEDULER_POLICI", "x").refusal();
    assert!(
        section.ends_with("did you mean SCHEDULER_POLICY_…?"),
        "{section}"
    );
    let key = Setup::new()
        .variable("SCHEDULER_POLICI_DENY", "x")
        .refusal();
    assert!(
        key.ends_with("did you mean SCHEDULER_POLICY_DENY?"),
        "{key}"
    );

    let kubernetes = Setup::new().variable("SCHEDULER_PORT_8080_TCP_ADDR", "10.0.0.1");
    assert!(kubernetes.refusal().contains("enableServiceLinks: false"));
}

#[cfg(unix)]
#[test]
fn a_variable_that_is_not_utf_8_is_refused() {
    use std::os::unix::ffi::OsStringExt as _;

    let mut setup = Setup::new();
    let latin1 = OsString::from_vec(b"stra\xdfe".to_vec());
    setup
        .sources
        .environment
        .push(("SCHEDULER_SERVER_HOST".into(), latin1.clone()));
    setup.sources.environment.push(("OTHER".into(), latin1));
    assert_eq!(
        setup.refusal(),
        "configuration error: invalid environment variable SCHEDULER_SERVER_HOST: expected UTF-8"
    );
}

#[test]
fn an_unknown_key_or_section_of_the_file_is_refused() {
    let refusal = |text: &str| Setup::new().file(text).refusal();
    assert_eq!(
        refusal("[server]\nprot = 1\n"),
        "configuration error: unknown key server.prot in config.toml; \
         did you mean port?; known: host, port, request_timeout_seconds, max_body_bytes, \
         max_request_memory_bytes, trust_network, allowed_hosts, cors_origins, header_timeout_seconds, \
         idle_timeout_seconds, write_timeout_seconds, max_connections, \
         max_connections_per_address, tls_cert_file, tls_key_file, tls_client_ca_file"
    );
    assert_eq!(
        refusal("[sever]\nport = 1\n"),
        "configuration error: unknown key sever in config.toml; did you mean \
         server?; known: the sections database, queue, server, worker, board, auth, \
         logging, plugins, policy, security, devices, retention, notifications"
    );
    assert!(refusal("port = 1\n").contains("did you mean port under [server]?"));
    assert!(refusal("server = 1\n").contains("this is a section, not a key"));
}

#[test]
fn a_plugin_is_granted_what_all_are_but_for_what_its_own_table_says() {
    let config = Setup::new()
        .file(
            "[policy]\nssh_exec = ['show *']\nssh_upload = false\n\
             [policy.plugins.push-config]\nssh_exec = ['show *', 'write *']\nstorage = false\n",
        )
        .load()
        .unwrap();
    let named = config.policy.by_name();
    let grant = &named["push-config"];
    assert_eq!(grant.ssh_exec, ["show *", "write *"]);
    assert!(!grant.ssh_upload && !grant.storage);
    assert_eq!(grant.ssh_configure, Lines::Any(true));
    assert_eq!(config.policy.for_all.ssh_exec, ["show *"]);
    assert_eq!(named.len(), 1);
}

#[test]
fn lines_are_all_none_or_patterns() {
    for (text, lines) in [
        ("true", Lines::Any(true)),
        ("false", Lines::Any(false)),
        ("['ntp *']", Lines::Matching(vec!["ntp *".to_owned()])),
        ("[]", Lines::Matching(Vec::new())),
    ] {
        let file = format!(
            "[policy.plugins.x]\nssh_configure = {text}\n[policy]\nssh_configure = {text}\n"
        );
        let config = Setup::new().file(&file).load().unwrap();
        assert_eq!(config.policy.for_all.ssh_configure, lines, "{text}");
        assert_eq!(config.policy.by_name()["x"].ssh_configure, lines, "{text}");
        if text != "[]" {
            let variable = text.trim_matches(['[', ']', '\'']);
            let setup = Setup::new().variable("SCHEDULER_POLICY_SSH_CONFIGURE", variable);
            assert_eq!(setup.load().unwrap().policy.for_all.ssh_configure, lines);
        }
    }
    let refusal = Setup::new()
        .file("[policy]\nssh_configure = 'true'\n")
        .refusal();
    assert!(
        refusal.contains("true, false or patterns of lines"),
        "{refusal}"
    );
}

#[test]
fn answers_go_with_the_commands_of_the_same_table() {
    let config = Setup::new()
        .file(
            "[policy]\nssh_exec = ['*']\nssh_answers = ['*']\n\
             [policy.plugins.a]\nssh_exec = ['show *']\n\
             [policy.plugins.b]\nssh_exec = ['show *']\nssh_answers = ['x']\n\
             [policy.plugins.c]\nstorage = false\n",
        )
        .load()
        .unwrap();
    let named = config.policy.by_name();
    assert_eq!(named["a"].ssh_answers, None);
    assert_eq!(named["b"].ssh_answers, Some(vec!["x".to_owned()]));
    assert_eq!(named["c"].ssh_answers, Some(vec!["*".to_owned()]));
}

#[test]
fn a_policy_that_cannot_be_read_is_refused() {
    let refusal = |text: &str| Setup::new().file(text).refusal();
    let unknown = refusal("[policy.plugins.noop]\nssh_exce = ['*']\n");
    assert!(
        unknown.contains("unknown key policy.plugins.noop.ssh_exce")
            && unknown.contains("did you mean ssh_exec?"),
        "{unknown}"
    );
    let bad = refusal("[policy.plugins.noop]\nstorage = 'no'\n");
    assert!(bad.contains("policy.plugins.noop.storage"), "{bad}");
    let target = refusal("[policy.plugins.noop]\ntargets = ['host:10.9.0.0/99']\n");
    assert!(
        target.contains("policy.plugins.noop.targets")
            && target.contains("\"host:10.9.0.0/99\"")
            && target.contains("a prefix length from 0 to 32"),
        "{target}"
    );
    let name = refusal("[policy.plugins.'../x']\nstorage = false\n");
    assert!(name.contains("invalid plugin name"), "{name}");
    for text in ["[policy]\nplugins = 1\n", "[policy.plugins]\nnoop = 1\n"] {
        assert!(refusal(text).contains("[policy.plugins.NAME]"), "{text}");
    }
}

const CHANNELS: &str = "
[notifications]
smtp_host = 'mail.example.com'
from = 'jobs@example.com'
[notifications.channels.ops]
kind = 'webhook'
url = 'https://hooks.example.com/s3cret'
secret_file = 'hook.key'
[notifications.channels.chat]
kind = 'slack'
url_file = 'slack-url'
[notifications.channels.mail]
kind = 'email'
to = ['ops@example.com', 'Night Shift <night@example.com>']
[[notifications.rules]]
on = ['failed', 'recovered']
channels = ['ops', 'mail']
[[notifications.rules]]
on = ['slow']
plugins = ['backup-*']
targets = 'tag:core and not name:lab-*'
channels = ['chat']
";

#[test]
fn channels_and_rules_are_read() {
    let config = Setup::new().file(CHANNELS).load().unwrap();
    let notifications = config.notifications;
    assert_eq!(notifications.channels.len(), 3);
    assert_eq!(
        notifications.channels["ops"],
        ChannelConfig::Webhook {
            url: SecretUrl::new("https://hooks.example.com/s3cret"),
            secret_file: "hook.key".into(),
        }
    );
    assert_eq!(notifications.rules[1].plugins, ["backup-*"]);
    assert_eq!(notifications.smtp_port(), 587);
    assert!(!format!("{notifications:?}").contains("s3cret"));
}

#[test]
fn what_is_wrong_with_a_channel_or_a_rule_is_said_with_its_key() {
    let refusal = |from: &str, to: &str| {
        let text = CHANNELS.replacen(from, to, 1);
        assert_ne!(text, CHANNELS, "{from}");
        Setup::new().file(&text).refusal()
    };
    for (from, to, key, told) in [
        (
            "'slack'",
            "'slak'",
            "channels.chat.kind",
            "webhook, slack or email",
        ),
        ("kind = 'slack'", "", "channels.chat.kind", "got nothing"),
        (
            "url_file",
            "url_fil",
            "channels.chat.url_fil",
            "did you mean url_file?",
        ),
        (
            "url_file = 'slack-url'",
            "",
            "channels.chat",
            "one of url and url_file",
        ),
        (
            "secret_file = 'hook.key'",
            "",
            "channels.ops.secret_file",
            "got nothing",
        ),
        (
            "'https://hooks",
            "'hooks",
            "channels.ops.url",
            "a value that is not shown",
        ),
        (
            "'ops@example.com', ",
            "'ops', ",
            "channels.mail.to",
            "\"ops\" is not a mail address",
        ),
        (
            "channels.ops]",
            "channels.'o ps']",
            "channels.o ps",
            "invalid channel name",
        ),
        (
            "['failed', 'recovered']",
            "['fail']",
            "rules[0].on",
            "unknown event \"fail\"",
        ),
        ("on = ['slow']", "on = []", "rules[1].on", "an empty list"),
        ("on = ['slow']", "", "rules[1].on", "got nothing"),
        (
            "plugins = ",
            "plugin = ",
            "rules[1].plugin",
            "did you mean plugins?",
        ),
        (
            "'tag:core and",
            "'tag:core nor",
            "rules[1].targets",
            "got `nor`",
        ),
        (
            "['chat']",
            "['chad']",
            "rules[1].channels",
            "chat, mail, ops",
        ),
        (
            "smtp_host = 'mail.example.com'",
            "",
            "smtp_host",
            "channels of kind email",
        ),
        (
            "from = 'jobs@example.com'",
            "",
            "from",
            "channels of kind email",
        ),
        (
            "from =",
            "smtp_username = 'x'\nfrom =",
            "smtp_password_file",
            "both keys set or both unset",
        ),
        (
            "from =",
            "smtp_username = 'x'\nsmtp_password_file = 'p'\nsmtp_tls = 'none'\nfrom =",
            "smtp_tls",
            "in clear",
        ),
    ] {
        let refusal = refusal(from, to);
        let key = format!("notifications.{key}");
        assert!(
            refusal.contains(&key) && refusal.contains(told),
            "{refusal}"
        );
        assert!(!refusal.contains("s3cret"), "{refusal}");
    }
    for text in ["channels = 1", "rules = 1", "channels.x = 1", "rules = [1]"] {
        let refusal = Setup::new()
            .file(&format!("[notifications]\n{text}\n"))
            .refusal();
        assert!(refusal.contains("notifications."), "{refusal}");
    }
    // The secret is hidden in a syntax error too.
    let unterminated = CHANNELS.replace("s3cret'", "s3cret");
    let refusal = Setup::new().file(&unterminated).refusal();
    assert!(
        refusal.contains("TOML parse error") && !refusal.contains("s3cret"),
        "{refusal}"
    );
}

#[test]
fn all_refusals_are_reported_together_with_where_they_stand() {
    let refusal = Setup::new()
        .file("[worker]\nconcurrency = 0\n")
        .variable("SCHEDULER_SERVER_PORT", "http")
        .flag("server.host", "127.0.0.1:80")
        .refusal();
    assert_eq!(
        refusal,
        "3 configuration errors:\n  \
         - invalid worker.concurrency in config.toml: expected a whole number from 1 to 1024, got 0\n  \
         - invalid server.port in SCHEDULER_SERVER_PORT: expected a whole number from 0 to 65535, \
         got \"http\"\n  \
         - invalid server.host in --host: expected an IP address or a host name, without a port, \
         or unix:PATH of a socket, got \"127.0.0.1:80\": expected a host name or an IP address; \
         the port is a separate field"
    );
}

#[test]
fn values_that_are_refused() {
    let refused = [
        ("database.url", "scheduler.db"),
        ("database.url", "sqlite:"),
        ("database.url", "sqlite://"),
        ("database.url", "sqlite:data/"),
        ("database.url", "sqlite::memory:"),
        ("database.url", "sqlite:a.db?mode=memory"),
        ("database.url", "sqlite:a.db?mode=ro"),
        ("database.url", "postgres://db/scheduler"),
        ("database.url", "mysql://db/scheduler"),
        ("database.max_connections", "0"),
        ("database.check_seconds", "3601"),
        ("database.max_connections", "1001"),
        ("database.max_connections", "10 "),
        ("queue.url", "redis://localhost"),
        ("queue.url", "sqlite:scheduler.db?mode=rwc"),
        ("server.host", "two words"),
        ("server.host", "127.0.0.256"),
        ("server.host", "[::1]"),
        ("server.host", "-x"),
        ("server.host", "unix:"),
        ("server.host", "unix:/run/"),
        (
            "server.host",
            "unix:/a/path/that/is/much/too/long/for/the/address/of/a/socket/because/it/has/more/than/one/hundred/and/seven/bytes",
        ),
        ("server.header_timeout_seconds", "0"),
        ("server.max_connections", "0"),
        ("server.port", "65536"),
        ("server.port", "-1"),
        ("server.port", "8080.5"),
        ("server.port", "99999999999999999999"),
        ("server.request_timeout_seconds", "0"),
        ("server.max_body_bytes", "1MB"),
        ("server.cors_origins", "noc.example.com"),
        ("server.cors_origins", "https://noc.example.com/"),
        (
            "server.cors_origins",
            "https://a.example,,https://b.example",
        ),
        ("server.cors_origins", "*"),
        ("server.cors_origins", "*,https://a.example"),
        ("server.allowed_hosts", "*"),
        ("server.allowed_hosts", "noc.example,*"),
        ("server.allowed_hosts", "*.example"),
        ("server.allowed_hosts", "noc.example:8080"),
        ("server.allowed_hosts", "https://noc.example"),
        ("server.allowed_hosts", "192.0.2.1"),
        ("worker.concurrency", "many"),
        ("worker.timeout_seconds", "0"),
        ("worker.timeout_seconds", "604801"),
        ("worker.shutdown_grace_seconds", "3601"),
        ("board.enabled", "maybe"),
        ("board.enabled", "1"),
        ("board.ui_path", "board"),
        ("board.ui_path", "/"),
        ("board.ui_path", "/board/"),
        ("board.ui_path", "/a//b"),
        ("board.ui_path", "/a/../api"),
        ("board.ui_path", "/{x}"),
        ("board.ui_path", "/api"),
        ("board.ui_path", "/api/board"),
        ("board.api_prefix", "/health"),
        ("board.api_prefix", "/metrics/x"),
        ("board.api_prefix", "/board"),
        ("board.auth_enabled", "yes"),
        ("auth.mode", "oidc"),
        ("auth.mode", "Local"),
        ("auth.session_idle_seconds", "59"),
        ("logging.level", "loud"),
        ("logging.level", "info,host"),
        ("logging.level", "host=loud"),
        ("logging.file", "logs/"),
        ("logging.file", ".."),
        ("logging.format", "JSON"),
        ("logging.rotation", "weekly"),
        ("plugins.scripts_dir", "  "),
        ("plugins.watch", "yes"),
        ("policy.ssh_configure", "True"),
        ("policy.ssh_configure", "yes"),
        ("policy.ssh_configure", "maybe"),
        ("policy.ssh_configure", "ntp *,"),
        ("policy.ssh_exec", "show *,,ping *"),
        ("policy.storage", "True"),
        ("policy.queue_submit", "x:with-rights"),
        ("policy.queue_submit", "x:"),
        ("policy.queue_submit", "backup-*"),
        ("policy.queue_submit", "Backup"),
        ("policy.queue_submit", ":with-own-rights"),
        ("policy.targets", "host:10.9.0.0/99"),
        ("policy.targets", "tag:"),
        ("policy.targets", "lab-*, tags:lab"),
        ("policy.targets", "10.9.0.0/16"),
        ("security.master_key_file", "/"),
        ("security.host_keys", "accept_new"),
        ("devices.files_dir", " "),
        ("devices.ssh_agent", "/run/"),
        ("devices.pool_idle_seconds", "-1"),
        ("devices.pool_sessions", "0"),
        ("devices.max_sessions_per_device", "0"),
        ("devices.terminal_idle_seconds", "0"),
        ("notifications.board_url", "noc.example.com/board"),
        ("notifications.slow_percent", "100"),
        ("notifications.retry_seconds", "0"),
        ("notifications.give_up_hours", "0"),
        ("notifications.from", "nobody"),
        ("notifications.smtp_host", "mail:25"),
        ("notifications.smtp_port", "0"),
        ("notifications.smtp_tls", "yes"),
    ];
    for (path, text) in refused {
        let key = KEYS.iter().find(|key| key.path() == path).unwrap();
        let setup = Setup::new().variable(&key.variable(), text);
        let Err(ConfigError::Refused(problems)) = setup.load() else {
            panic!("{path} = {text:?} was accepted");
        };
        let message = problems[0].to_string();
        assert_eq!(problems.len(), 1, "{message}");
        assert!(message.contains(path), "{message}");
        assert!(message.contains(&key.variable()), "{message}");
        assert!(message.contains(": expected "), "{message}");
    }
}

#[test]
fn values_that_are_accepted() {
    let accepted = [
        ("database.url", "sqlite:///var/lib/scheduler/s.db?mode=rwc"),
        ("server.host", "0.0.0.0"),
        ("server.host", "scheduler.example.com"),
        ("server.host", "unix:/run/scheduler/http.sock"),
        ("server.host", "unix:http.sock"),
        ("server.allowed_hosts", "noc.example.com,NOC,a_b"),
        ("board.ui_path", "/apiary"),
        ("worker.shutdown_grace_seconds", "0"),
        ("policy.ssh_configure", "shutdown, no shutdown"),
        ("policy.ssh_configure", "no shutdown"),
        (
            "policy.queue_submit",
            "*:with-own-rights, noop, x:with-own-rights",
        ),
        (
            "policy.targets",
            "host:10.9.*, host:2001:db8::/32, tag:lab, r1",
        ),
        ("logging.level", "WARN"),
        ("logging.level", "info,[job{job_id=1}]=trace"),
    ];
    for (path, text) in accepted {
        let key = KEYS.iter().find(|key| key.path() == path).unwrap();
        let loaded = Setup::new().variable(&key.variable(), text).load();
        assert!(loaded.is_ok(), "{path} = {text:?}: {loaded:?}");
    }
}

#[test]
fn the_file_is_taken_at_its_word() {
    let refusal = |text: &str| Setup::new().file(text).refusal();
    assert!(refusal("[server]\nport = '8080'\n").contains("remove the quotes"));
    assert!(refusal("[server]\nport = 80.5\n").contains("got 80.5"));
    assert!(refusal("[board]\nenabled = 1\n").contains("true or false"));
    assert!(refusal("[logging]\nlevel = 3\n").contains("got 3"));
    assert!(refusal("[logging]\nfile = ''\n").contains("it is empty"));
    assert!(refusal("[server]\ncors_origins = '*'\n").contains("got \"*\""));
    assert!(refusal("[server]\ncors_origins = [1]\n").contains("got [1]"));
    assert!(refusal("[server.port]\nx = 1\n").contains("got a table"));
}

#[test]
fn invalid_toml_is_refused_with_its_place() {
    let refusal = Setup::new().file("[server]\nport = \n").refusal();
    assert!(
        refusal.contains("invalid configuration file config.toml"),
        "{refusal}"
    );
    assert!(refusal.contains("line 2, column 8"), "{refusal}");

    let twice = Setup::new()
        .file("[server]\nport = 1\nport = 2\n")
        .refusal();
    assert!(twice.contains("line 3, column 1"), "{twice}");

    let huge = Setup::new()
        .file("[server]\nport = 99999999999999999999\n")
        .refusal();
    assert!(
        huge.contains("line 2: port = 99999999999999999999"),
        "{huge}"
    );
}

#[test]
fn a_password_in_a_url_is_never_shown() {
    let url = "postgres://scheduler:s3cr/et@x@db:5432/jobs";
    let by_variable = Setup::new().variable("SCHEDULER_DATABASE_URL", url);
    let by_file = Setup::new().file(&format!("[database]\nurl = '{url}'\n"));
    let unterminated = Setup::new().file(&format!("[database]\nurl = '{url}\n"));

    for refusal in [by_variable, by_file].map(|setup| setup.refusal()) {
        assert!(!refusal.contains("et@x"), "{refusal}");
        assert!(refusal.contains("postgres://scheduler:***@db:5432/jobs"));
        assert!(refusal.contains("PostgreSQL is not available in this version"));
    }
    assert!(!unterminated.refusal().contains("s3cr"));
}

#[test]
fn which_file_is_read() {
    let mut setup = Setup::new().file("[server]\nport = 1\n");
    let other = setup.directory.path().join("other.toml");
    std::fs::write(&other, "[server]\nport = 2\n").unwrap();
    assert_eq!(setup.load().unwrap().server.port, 1);

    setup = setup.variable(FILE_VARIABLE, "other.toml");
    assert_eq!(setup.load().unwrap().server.port, 2);

    setup.sources.file = Some(PathBuf::from("config.toml"));
    assert_eq!(setup.load().unwrap().server.port, 1);

    setup.sources.file = Some(PathBuf::from("/nowhere/config.toml"));
    assert_eq!(
        setup.refusal(),
        "configuration file /nowhere/config.toml not found (named by --config)"
    );

    let by_variable = Setup::new().variable(FILE_VARIABLE, "gone.toml");
    assert!(
        by_variable
            .refusal()
            .contains("gone.toml not found (named by SCHEDULER_CONFIG)")
    );

    let a_directory = Setup::new().variable(FILE_VARIABLE, ".");
    assert!(a_directory.refusal().starts_with("failed to read"));
}

#[test]
fn the_queue_lies_beside_the_database() {
    let cases = [
        ("sqlite:scheduler.db", "sqlite:apalis_queue.db"),
        ("sqlite://scheduler.db", "sqlite://apalis_queue.db"),
        ("sqlite:data/s.db?mode=rwc", "sqlite:data/apalis_queue.db"),
        (
            "sqlite:///var/lib/s.db",
            "sqlite:///var/lib/apalis_queue.db",
        ),
        ("sqlite:/s.db", "sqlite:/apalis_queue.db"),
    ];
    for (database, queue) in cases {
        let mut config = Config::default();
        config.database.url = database.to_owned();
        assert_eq!(config.queue_url(), queue);
    }
    let mut config = Config::default();
    config.queue.url = Some("sqlite:elsewhere.db".to_owned());
    assert_eq!(config.queue_url(), "sqlite:elsewhere.db");
}

/// Checks that the tables of docs/configuration.md match [`KEYS`]; `UPDATE_DOCS=1` rewrites them.
#[test]
fn the_reference_in_the_book_is_up_to_date() {
    const BEGIN: &str =
        "<!-- made from host/src/config/keys.rs; UPDATE_DOCS=1 cargo test -p host config -->\n";
    const END: &str = "<!-- end -->\n";
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/configuration.md");
    let text = std::fs::read_to_string(&path).unwrap();
    let (before, rest) = text.split_once(BEGIN).unwrap();
    let (tables, after) = rest.split_once(END).unwrap();

    let expected = reference();
    if std::env::var_os("UPDATE_DOCS").is_some() {
        std::fs::write(&path, format!("{before}{BEGIN}{expected}{END}{after}")).unwrap();
    } else {
        assert_eq!(tables, expected, "UPDATE_DOCS=1 brings it up to date");
    }
}

fn reference() -> String {
    let mut text = String::new();
    let mut section = "";
    for (key, (_, default)) in KEYS.iter().zip(defaults()) {
        if key.section != section {
            section = key.section;
            text.push_str(&format!(
                "\n### `[{section}]`\n\n| key | default | variable | allowed | meaning |\n\
                 |---|---|---|---|---|\n"
            ));
        }
        let default = match default {
            serde_json::Value::Null => "unset".to_owned(),
            value => format!("`{value}`"),
        };
        text.push_str(&format!(
            "| `{}` | {default} | `{}` | {} | {} |\n",
            key.name,
            key.variable(),
            key.allowed.describe().replace('*', "`*`"),
            key.meaning
        ));
    }
    text.push('\n');
    text
}
