//! Reads the configuration sources and merges them key by key.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::io;
use std::path::{Path, PathBuf};

use config::{FileFormat, Map, Source as _, Value, ValueKind};
use serde::Deserialize as _;

use super::error::{hide_paths, redact};
use super::keys::Rejected;
use super::notifications::{CHANNELS, RULES, check_channels, check_rules};
use super::{
    ChannelConfig, Config, ConfigError, FILE_VARIABLE, KEYS, Key, NotificationsConfig, Problem,
    SmtpTls, Sources, URL_VARIABLE,
};
use crate::model::PluginName;
use crate::nearest::{closest, nearest};

/// Keys of the file that contain tables.
const POLICY_PLUGINS: (&str, &str) = ("policy", "plugins");
const NOTIFICATIONS: &str = "notifications";
const TABLES: [(&str, &str); 3] = [
    POLICY_PLUGINS,
    (NOTIFICATIONS, CHANNELS),
    (NOTIFICATIONS, RULES),
];
const PREFIX: &str = "SCHEDULER_";

/// A key's value and its source.
struct Found {
    value: Value,
    origin: String,
}

/// The values that any source sets, by the path of their key.
#[derive(Default)]
struct Layers {
    found: HashMap<String, Found>,
    problems: Vec<Problem>,
}

pub(super) fn load(sources: &Sources) -> Result<Config, ConfigError> {
    let mut layers = Layers::default();
    if let Some((path, text)) = read_file(sources)? {
        layers.add_file(&path, &text)?;
    }
    layers.add_environment(sources);
    layers.add_overrides(&sources.overrides);

    let config = layers.deserialize();
    layers.check_together(&config);
    if layers.problems.is_empty() {
        Ok(config)
    } else {
        Err(ConfigError::Refused(layers.problems))
    }
}

fn read_file(sources: &Sources) -> Result<Option<(PathBuf, String)>, ConfigError> {
    let from_variable = || {
        sources
            .environment
            .iter()
            .find(|(name, value)| name == FILE_VARIABLE && !value.is_empty())
            .map(|(_, value)| (PathBuf::from(value), FILE_VARIABLE))
    };
    let from_flag = sources.file.clone().map(|path| (path, "--config"));
    let (path, named_by) = match from_flag.or_else(from_variable) {
        Some((path, named_by)) => (path, Some(named_by)),
        None => (PathBuf::from("config.toml"), None),
    };
    match std::fs::read(sources.directory.join(&path)) {
        Ok(bytes) => match String::from_utf8(bytes) {
            Ok(text) => Ok(Some((path, text))),
            Err(_) => Err(ConfigError::FileInvalid {
                path,
                message: "expected UTF-8 text".to_owned(),
            }),
        },
        Err(error) if error.kind() == io::ErrorKind::NotFound => match named_by {
            Some(named_by) => Err(ConfigError::FileMissing {
                path,
                named_by: named_by.to_owned(),
            }),
            None => Ok(None),
        },
        Err(source) => Err(ConfigError::FileUnreadable { path, source }),
    }
}

impl Layers {
    fn add_file(&mut self, path: &Path, text: &str) -> Result<(), ConfigError> {
        let origin = path.display().to_string();
        for (section, content) in parse_toml(path, text)? {
            let known: Vec<&Key> = KEYS.iter().filter(|key| key.section == section).collect();
            if known.is_empty() {
                self.problems.push(unknown_section(&section, &origin));
                continue;
            }
            let ValueKind::Table(entries) = content.kind else {
                self.problems.push(Problem::BadValue {
                    found: show(&content),
                    origin: origin.clone(),
                    reason: Some("this is a section, not a key".to_owned()),
                    allowed: format!("[{section}] with the keys {}", names(&known)),
                    key: section,
                });
                continue;
            };
            for (name, value) in entries {
                if (section.as_str(), name.as_str()) == POLICY_PLUGINS {
                    self.add_policies(&known, &origin, &value);
                    continue;
                }
                if section == NOTIFICATIONS && [CHANNELS, RULES].contains(&name.as_str()) {
                    let problems = match name.as_str() {
                        CHANNELS => check_channels(&origin, &value),
                        _ => check_rules(&origin, &value),
                    };
                    if problems.is_empty() {
                        let origin = origin.clone();
                        let found = Found { value, origin };
                        self.found.insert(format!("{section}.{name}"), found);
                    }
                    self.problems.extend(problems);
                    continue;
                }
                match known.iter().find(|key| key.name == name) {
                    Some(key) => {
                        let checked = key.allowed.check(&value).map(|()| value.clone());
                        self.add(key, &origin, checked, || show(&value));
                    }
                    None => self.problems.push(Problem::UnknownKey {
                        nearest: nearest(&name, known.iter().map(|key| key.name.to_owned())),
                        key: format!("{section}.{name}"),
                        origin: origin.clone(),
                        allowed: names(&known),
                    }),
                }
            }
        }
        Ok(())
    }

    /// Adds `[policy.plugins.NAME]`: the keys of `[policy]` for one plugin.
    fn add_policies(&mut self, known: &[&Key], origin: &str, value: &Value) {
        let (section, plugins) = POLICY_PLUGINS;
        let path = format!("{section}.{plugins}");
        let mut not_a_table = |key: String, value: &Value| {
            self.problems.push(Problem::BadValue {
                found: show(value),
                origin: origin.to_owned(),
                reason: None,
                allowed: format!("tables [{path}.NAME] with the keys {}", names(known)),
                key,
            });
        };
        let ValueKind::Table(policies) = &value.kind else {
            return not_a_table(path.clone(), value);
        };
        let mut policies: Vec<_> = policies.iter().collect();
        policies.sort_by_key(|(name, _)| name.as_str());
        let mut refused = Vec::new();
        for (name, policy) in policies {
            let key = format!("{path}.{name}");
            let ValueKind::Table(entries) = &policy.kind else {
                not_a_table(key, policy);
                continue;
            };
            if let Err(reason) = PluginName::parse(name) {
                refused.push(Problem::BadValue {
                    key: key.clone(),
                    found: show_text(name),
                    origin: origin.to_owned(),
                    reason: Some(reason),
                    allowed: "the name of a plugin".to_owned(),
                });
            }
            for (name, value) in entries {
                match known.iter().find(|known| known.name == name) {
                    Some(known) => {
                        if let Err(rejected) = known.allowed.check(value) {
                            refused.push(Problem::BadValue {
                                key: format!("{key}.{name}"),
                                found: show(value),
                                origin: origin.to_owned(),
                                reason: rejected.reason,
                                allowed: known.allowed.describe(),
                            });
                        }
                    }
                    None => refused.push(Problem::UnknownKey {
                        nearest: nearest(name, known.iter().map(|key| key.name.to_owned())),
                        key: format!("{key}.{name}"),
                        origin: origin.to_owned(),
                        allowed: names(known),
                    }),
                }
            }
        }
        if refused.is_empty() {
            let found = Found {
                value: value.clone(),
                origin: origin.to_owned(),
            };
            self.found.insert(path, found);
        }
        self.problems.extend(refused);
    }

    fn add_environment(&mut self, sources: &Sources) {
        // Sorted, so that the same mistakes always give the same message.
        let mut variables: Vec<_> = sources.environment.iter().collect();
        variables.sort();
        for (name, value) in variables {
            if !name.as_encoded_bytes().starts_with(PREFIX.as_bytes())
                || name == FILE_VARIABLE
                || name == URL_VARIABLE
            {
                continue;
            }
            let Some(key) = KEYS
                .iter()
                .find(|key| *name == *OsStr::new(&key.variable()))
            else {
                self.problems.push(unknown_variable(name));
                continue;
            };
            let variable = key.variable();
            match value.to_str() {
                None => self.problems.push(Problem::NotUnicode { variable }),
                // Compose files and unit files pass unset variables as empty ones.
                Some("") => {}
                Some(text) => {
                    self.add(key, &variable, key.allowed.parse(text), || show_text(text));
                }
            }
        }
    }

    fn add_overrides(&mut self, overrides: &[(String, String)]) {
        for (path, text) in overrides {
            match KEYS.iter().find(|key| key.path() == *path) {
                Some(key) => {
                    let flag = format!("--{}", key.name.replace('_', "-"));
                    self.add(key, &flag, key.allowed.parse(text), || show_text(text));
                }
                None => self.problems.push(Problem::UnknownKey {
                    key: path.clone(),
                    origin: "a command-line flag".to_owned(),
                    nearest: nearest(path, KEYS.iter().map(Key::path)),
                    allowed: "the keys of docs/configuration.md".to_owned(),
                }),
            }
        }
    }

    /// Adds a value or the problem with it. An invalid value is reported even if another source
    /// overrides the key, because the file has to stay valid whichever way the server is started.
    fn add(
        &mut self,
        key: &Key,
        origin: &str,
        checked: Result<Value, Rejected>,
        found: impl Fn() -> String,
    ) {
        match checked {
            Ok(value) => {
                let found = Found {
                    value,
                    origin: origin.to_owned(),
                };
                self.found.insert(key.path(), found);
            }
            Err(rejected) => self.problems.push(Problem::BadValue {
                key: key.path(),
                origin: origin.to_owned(),
                found: found(),
                reason: rejected.reason,
                allowed: key.allowed.describe(),
            }),
        }
    }

    fn deserialize(&mut self) -> Config {
        let mut sections = Map::<String, Map<String, Value>>::new();
        for key in KEYS {
            if let Some(found) = self.found.get(&key.path()) {
                sections
                    .entry(key.section.to_owned())
                    .or_default()
                    .insert(key.name.to_owned(), found.value.clone());
            }
        }
        for (section, name) in TABLES {
            if let Some(found) = self.found.get(&format!("{section}.{name}")) {
                let section = sections.entry(section.to_owned()).or_default();
                section.insert(name.to_owned(), found.value.clone());
            }
        }
        Config::deserialize(Value::new(None, sections)).unwrap_or_else(|error| {
            // Every value has passed its check, so `KEYS` and the structs disagree.
            self.problems.push(Problem::BadValue {
                key: "configuration".to_owned(),
                origin: "the sources together".to_owned(),
                found: "a value of a wrong type".to_owned(),
                reason: Some(redact(&error.to_string())),
                allowed: "a value as in docs/configuration.md".to_owned(),
            });
            Config::default()
        })
    }

    /// Checks rules that span several keys.
    fn check_together(&mut self, config: &Config) {
        let server = &config.server;
        let needed = [
            (
                "server.tls_key_file",
                &server.tls_key_file,
                &server.tls_cert_file,
            ),
            (
                "server.tls_cert_file",
                &server.tls_cert_file,
                &server.tls_key_file,
            ),
            (
                "server.tls_cert_file",
                &server.tls_cert_file,
                &server.tls_client_ca_file,
            ),
        ];
        for (key, file, with) in needed {
            if let (None, Some(other)) = (file, with) {
                let reason = format!("it is needed with {}", other.display());
                self.refuse(key, "nothing", &reason, "a file path");
            }
        }
        if config.board.ui_path == config.board.api_prefix {
            self.refuse(
                "board.api_prefix",
                &show_text(&config.board.api_prefix),
                "board.ui_path has the same value",
                "a different path",
            );
        }
        let file = |url: &str| url.split('?').next().map(str::to_owned);
        if file(&config.queue_url()) == file(&config.database.url) {
            // Their tables "Jobs" and "jobs" would collide, because SQLite ignores case in names.
            self.refuse(
                "queue.url",
                &show_text(&config.queue_url()),
                "database.url has the same file",
                "a different file",
            );
        }
        self.check_rule_channels(&config.notifications);
        self.check_mail_server(&config.notifications);
    }

    fn check_rule_channels(&mut self, notifications: &NotificationsConfig) {
        for (index, rule) in notifications.rules.iter().enumerate() {
            for channel in &rule.channels {
                if !notifications.channels.contains_key(channel) {
                    let names: Vec<&str> =
                        notifications.channels.keys().map(String::as_str).collect();
                    self.refuse_in(
                        &format!("{NOTIFICATIONS}.{RULES}"),
                        &format!("{NOTIFICATIONS}.{RULES}[{index}].channels"),
                        &show_text(channel),
                        "channel not found",
                        &match names.as_slice() {
                            [] => "a channel of [notifications.channels.NAME], but none is defined"
                                .to_owned(),
                            names => names.join(", "),
                        },
                    );
                }
            }
        }
    }

    fn check_mail_server(&mut self, notifications: &NotificationsConfig) {
        let mails = |channel: &ChannelConfig| matches!(channel, ChannelConfig::Email { .. });
        if notifications.channels.values().any(mails) {
            for (key, set) in [
                ("notifications.smtp_host", notifications.smtp_host.is_some()),
                ("notifications.from", notifications.from.is_some()),
            ] {
                if !set {
                    let reason = "it is required for channels of kind email";
                    self.refuse(key, "nothing", reason, "a value");
                }
            }
        }
        let password = notifications.smtp_password_file.is_some();
        match (notifications.smtp_username.is_some(), password) {
            (true, false) => self.refuse(
                "notifications.smtp_password_file",
                "nothing",
                "notifications.smtp_username is set",
                "both keys set or both unset",
            ),
            (false, true) => self.refuse(
                "notifications.smtp_username",
                "nothing",
                "notifications.smtp_password_file is set",
                "both keys set or both unset",
            ),
            _ => {}
        }
        let host = notifications.smtp_host.as_deref().unwrap_or_default();
        let here = host == "localhost"
            || host
                .parse::<std::net::IpAddr>()
                .is_ok_and(|address| address.is_loopback());
        if password && notifications.smtp_tls == SmtpTls::None && !here {
            self.refuse(
                "notifications.smtp_tls",
                "\"none\"",
                "the password would be sent in clear text to another machine",
                "starttls or tls",
            );
        }
    }

    fn refuse(&mut self, key: &str, found: &str, reason: &str, allowed: &str) {
        self.refuse_in(key, key, found, reason, allowed);
    }

    /// Reports a key inside a table. `table` is the path under which the origin was recorded.
    fn refuse_in(&mut self, table: &str, key: &str, found: &str, reason: &str, allowed: &str) {
        let origin = match self.found.get(table) {
            Some(found) => found.origin.clone(),
            None => "the defaults".to_owned(),
        };
        self.problems.push(Problem::BadValue {
            key: key.to_owned(),
            origin,
            found: found.to_owned(),
            reason: Some(reason.to_owned()),
            allowed: allowed.to_owned(),
        });
    }
}

fn parse_toml(path: &Path, text: &str) -> Result<Vec<(String, Value)>, ConfigError> {
    let parsed = config::File::from_str(text, FileFormat::Toml).collect();
    match parsed {
        Ok(entries) => {
            let mut entries: Vec<_> = entries.into_iter().collect();
            entries.sort_by(|(one, _), (other, _)| one.cmp(other));
            Ok(entries)
        }
        Err(error) => Err(ConfigError::FileInvalid {
            path: path.to_owned(),
            message: match huge_number(text) {
                // The only error for which the parser reports no position.
                Some((line, content)) => {
                    format!("line {line}: {content}: number too large")
                }
                // The quoted line may contain a webhook's URL.
                None => hide_paths(&redact(error.to_string().trim_end())),
            },
        }),
    }
}

/// Finds the first line with an integer too large to parse: `key = 99999999999999999999`.
fn huge_number(text: &str) -> Option<(usize, &str)> {
    text.lines().enumerate().find_map(|(index, line)| {
        let (_key, value) = line.split_once('=')?;
        let value = value.split('#').next()?.trim().replace('_', "");
        let digits = value.trim_start_matches(['+', '-']);
        let is_number = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
        (is_number && value.parse::<i64>().is_err()).then(|| (index + 1, line.trim()))
    })
}

fn unknown_section(section: &str, origin: &str) -> Problem {
    let mut sections: Vec<&str> = KEYS.iter().map(|key| key.section).collect();
    sections.dedup();
    // More likely, the key was written above the first section.
    let misplaced = KEYS
        .iter()
        .find(|key| key.name == section)
        .map(|key| format!("{} under [{}]", key.name, key.section));
    Problem::UnknownKey {
        key: section.to_owned(),
        origin: origin.to_owned(),
        nearest: misplaced
            .or_else(|| nearest(section, sections.iter().map(|name| (*name).to_owned()))),
        allowed: format!("the sections {}", sections.join(", ")),
    }
}

fn unknown_variable(name: &OsStr) -> Problem {
    let variable = name.to_string_lossy().into_owned();
    // Kubernetes sets these variables in every pod if there is a Service called "scheduler".
    let service_link = ["SCHEDULER_SERVICE_", "SCHEDULER_PORT_"]
        .iter()
        .any(|prefix| variable.starts_with(prefix))
        || variable == "SCHEDULER_PORT";
    Problem::UnknownVariable {
        nearest: nearest_variable(&variable),
        hint: if service_link {
            " (in Kubernetes, a Service named scheduler sets such variables; set enableServiceLinks: \
             false)"
        } else {
            ""
        },
        variable,
    }
}

/// Returns the known variable most similar to `variable`, or `SCHEDULER_POLICY_…` if only a section was
/// given, or if the section has no similar key.
fn nearest_variable(variable: &str) -> String {
    let known = KEYS
        .iter()
        .map(Key::variable)
        .chain([FILE_VARIABLE.to_owned(), URL_VARIABLE.to_owned()]);
    let section = |key: &Key| format!("{PREFIX}{}", key.section.to_uppercase());
    let (section, to_section) = closest(variable, KEYS.iter().map(section)).unwrap_or_default();
    match closest(variable, known) {
        Some((name, distance)) if distance <= to_section => name,
        _ => format!("{section}_…"),
    }
}

pub(super) fn names(keys: &[&Key]) -> String {
    let names: Vec<&str> = keys.iter().map(|key| key.name).collect();
    names.join(", ")
}

pub(super) fn show(value: &Value) -> String {
    match &value.kind {
        ValueKind::String(text) => show_text(text),
        ValueKind::Array(items) => {
            let items: Vec<String> = items.iter().map(show).collect();
            format!("[{}]", items.join(", "))
        }
        ValueKind::Table(_) => "a table".to_owned(),
        other => other.to_string(),
    }
}

/// Formats a value for an error: quoted, truncated, and without a password.
pub(super) fn show_text(text: &str) -> String {
    const MAX_CHARS: usize = 120;
    let redacted = redact(text);
    let mut shown: String = redacted.chars().take(MAX_CHARS).collect();
    if shown.len() < redacted.len() {
        shown.push('…');
    }
    format!("{shown:?}")
}
