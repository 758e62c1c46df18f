//! Channels and rules of notifications. Both are tables, so only a file can contain them.

use std::fmt;
use std::path::PathBuf;

use config::{Map, Value, ValueKind};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::keys::{file_path, http_url, mail_address, pattern};
use super::sources::{names, show, show_text};
use super::{Allowed, Key, Problem};
use crate::model::{NotificationEvent, TargetExpression};
use crate::nearest::nearest;

/// The table `[notifications.channels.NAME]`.
pub(super) const CHANNELS: &str = "channels";
/// The array of tables `[[notifications.rules]]`.
pub(super) const RULES: &str = "rules";
/// Each channel has its own task; a larger number is taken for a mistake.
const MAX_CHANNELS: usize = 32;
const MAX_RULES: usize = 100;
const MAX_NAME: usize = 64;

/// The destination of a message.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(tag = "kind", rename_all = "lowercase", deny_unknown_fields)]
pub enum ChannelConfig {
    /// JSON, signed with the key in the file.
    Webhook {
        url: SecretUrl,
        secret_file: PathBuf,
    },
    /// Text in Slack's format, which compatible services accept too.
    Slack {
        #[serde(default)]
        url: Option<SecretUrl>,
        #[serde(default)]
        url_file: Option<PathBuf>,
    },
    Email {
        to: Vec<String>,
    },
}

/// A rule that selects jobs to notify about, and the channels to use.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RuleConfig {
    pub on: Vec<NotificationEvent>,
    /// Patterns of plugin names; empty means all plugins.
    #[serde(default)]
    pub plugins: Vec<String>,
    /// An expression that one of the job's targets must match.
    #[serde(default)]
    pub targets: Option<String>,
    pub channels: Vec<String>,
}

/// A webhook URL. Anyone with the URL may post to it, so it is never shown.
#[derive(Clone, PartialEq)]
pub struct SecretUrl(String);

impl SecretUrl {
    #[must_use]
    pub fn new(url: impl Into<String>) -> Self {
        Self(url.into())
    }

    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for SecretUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SecretUrl")
    }
}

impl<'de> Deserialize<'de> for SecretUrl {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer).map(Self)
    }
}

/// Serializes a placeholder: tables are not keys, so comparisons of configurations leave them out.
pub(super) fn not_shown<T, S: Serializer>(_: &T, serializer: S) -> Result<S::Ok, S::Error> {
    "not shown".serialize(serializer)
}

const KIND: Key = Key {
    section: "notifications.channels",
    name: "kind",
    allowed: Allowed::OneOf(&["webhook", "slack", "email"]),
    meaning: "Type of the channel.",
};
const URL: Key = Key {
    section: "notifications.channels",
    name: "url",
    allowed: Allowed::Text {
        described: "an http:// or https:// URL",
        check: http_url,
    },
    meaning: "URL that messages are sent to. It is never shown.",
};

/// The keys of each kind of channel, and whether they are required.
const OF_WEBHOOK: &[(Key, bool)] = &[
    (KIND, true),
    (URL, true),
    (
        Key {
            section: "notifications.channels",
            name: "secret_file",
            allowed: Allowed::Text {
                described: "a file path",
                check: file_path,
            },
            meaning: "File with the key that messages are signed with.",
        },
        true,
    ),
];
const OF_SLACK: &[(Key, bool)] = &[
    (KIND, true),
    (URL, false),
    (
        Key {
            section: "notifications.channels",
            name: "url_file",
            allowed: Allowed::Text {
                described: "a file path",
                check: file_path,
            },
            meaning: "File with the URL that messages are sent to.",
        },
        false,
    ),
];
const OF_EMAIL: &[(Key, bool)] = &[
    (KIND, true),
    (
        Key {
            section: "notifications.channels",
            name: "to",
            allowed: Allowed::List {
                described: "a list of mail addresses",
                check: mail_address,
            },
            meaning: "Recipients of the mail.",
        },
        true,
    ),
];

const OF_RULE: &[(Key, bool)] = &[
    (
        Key {
            section: "notifications.rules",
            name: "on",
            allowed: Allowed::List {
                described: "a list of failed, cancelled, recovered, slow, completed",
                check: event,
            },
            meaning: "Events to notify of.",
        },
        true,
    ),
    (
        Key {
            section: "notifications.rules",
            name: "plugins",
            allowed: Allowed::List {
                described: "a list of plugins' names, * for any text",
                check: pattern,
            },
            meaning: "Only jobs of these plugins.",
        },
        false,
    ),
    (
        Key {
            section: "notifications.rules",
            name: "targets",
            allowed: Allowed::Text {
                described: "an expression such as \"tag:core and not name:lab-*\"",
                check: expression,
            },
            meaning: "Only jobs on these devices.",
        },
        false,
    ),
    (
        Key {
            section: "notifications.rules",
            name: "channels",
            allowed: Allowed::List {
                described: "a list of names of [notifications.channels.NAME]",
                check: channel_name,
            },
            meaning: "Channels to send to.",
        },
        true,
    ),
];

/// Returns the problems in the tables of channels.
pub(super) fn check_channels(origin: &str, value: &Value) -> Vec<Problem> {
    let path = "notifications.channels";
    let wanted = format!("tables [{path}.NAME] with the key kind");
    let ValueKind::Table(channels) = &value.kind else {
        return vec![bad(
            path,
            origin,
            "a value that is not a table",
            None,
            &wanted,
        )];
    };
    let mut problems = Vec::new();
    if channels.len() > MAX_CHANNELS {
        let found = format!("{} channels", channels.len());
        let allowed = format!("at most {MAX_CHANNELS}");
        problems.push(bad(path, origin, &found, None, &allowed));
    }
    let mut channels: Vec<_> = channels.iter().collect();
    channels.sort_by_key(|(name, _)| name.as_str());
    for (name, channel) in channels {
        let path = format!("{path}.{name}");
        if let Err(reason) = channel_name(name) {
            let allowed = "a name for the channel";
            problems.push(bad(&path, origin, &show_text(name), Some(reason), allowed));
        }
        let ValueKind::Table(entries) = &channel.kind else {
            problems.push(bad(
                &path,
                origin,
                "a value that is not a table",
                None,
                &wanted,
            ));
            continue;
        };
        let kind = entries.get("kind").and_then(|kind| match &kind.kind {
            ValueKind::String(kind) => Some(kind.as_str()),
            _ => None,
        });
        let keys = match kind {
            Some("webhook") => OF_WEBHOOK,
            Some("slack") => OF_SLACK,
            Some("email") => OF_EMAIL,
            _ => {
                let found = entries.get("kind").map_or("nothing".to_owned(), show);
                let path = format!("{path}.kind");
                problems.push(bad(&path, origin, &found, None, &KIND.allowed.describe()));
                continue;
            }
        };
        problems.extend(check_entries(&path, origin, entries, keys));
        let given = ["url", "url_file"].map(|key| entries.contains_key(key));
        if kind == Some("slack") && given[0] == given[1] {
            let found = if given[0] { "both" } else { "neither" };
            let allowed = "one of url and url_file";
            problems.push(bad(&path, origin, found, None, allowed));
        }
    }
    problems
}

/// Returns the problems in the rules.
pub(super) fn check_rules(origin: &str, value: &Value) -> Vec<Problem> {
    let path = "notifications.rules";
    let wanted = format!("tables [[{path}]] with the keys on, plugins, targets, channels");
    let ValueKind::Array(rules) = &value.kind else {
        return vec![bad(
            path,
            origin,
            "a value that is not a list of tables",
            None,
            &wanted,
        )];
    };
    let mut problems = Vec::new();
    if rules.len() > MAX_RULES {
        let found = format!("{} rules", rules.len());
        let allowed = format!("at most {MAX_RULES}");
        problems.push(bad(path, origin, &found, None, &allowed));
    }
    for (index, rule) in rules.iter().enumerate() {
        let path = format!("{path}[{index}]");
        match &rule.kind {
            ValueKind::Table(entries) => {
                problems.extend(check_entries(&path, origin, entries, OF_RULE));
            }
            _ => problems.push(bad(&path, origin, &show(rule), None, &wanted)),
        }
    }
    problems
}

fn check_entries(
    path: &str,
    origin: &str,
    entries: &Map<String, Value>,
    keys: &[(Key, bool)],
) -> Vec<Problem> {
    let known: Vec<&Key> = keys.iter().map(|(key, _)| key).collect();
    let mut problems = Vec::new();
    let mut entries: Vec<_> = entries.iter().collect();
    entries.sort_by_key(|(name, _)| name.as_str());
    for (name, value) in &entries {
        let path = format!("{path}.{name}");
        let Some(key) = known.iter().find(|key| key.name == name.as_str()) else {
            problems.push(Problem::UnknownKey {
                nearest: nearest(name, known.iter().map(|key| key.name.to_owned())),
                key: path,
                origin: origin.to_owned(),
                allowed: names(&known),
            });
            continue;
        };
        let allowed = key.allowed.describe();
        if let Err(rejected) = key.allowed.check(value) {
            let found = match key.name {
                "url" => "a value that is not shown".to_owned(),
                _ => show(value),
            };
            problems.push(bad(&path, origin, &found, rejected.reason, &allowed));
        } else if matches!(&value.kind, ValueKind::Array(items) if items.is_empty()) {
            problems.push(bad(&path, origin, "an empty list", None, &allowed));
        }
    }
    for (key, required) in keys {
        if *required && !entries.iter().any(|(name, _)| *name == key.name) {
            let path = format!("{path}.{}", key.name);
            let allowed = key.allowed.describe();
            problems.push(bad(&path, origin, "nothing", None, &allowed));
        }
    }
    problems
}

fn bad(key: &str, origin: &str, found: &str, reason: Option<String>, allowed: &str) -> Problem {
    Problem::BadValue {
        key: key.to_owned(),
        origin: origin.to_owned(),
        found: found.to_owned(),
        reason,
        allowed: allowed.to_owned(),
    }
}

fn event(text: &str) -> Result<(), String> {
    let known = NotificationEvent::OF_JOBS.map(NotificationEvent::as_str);
    if known.contains(&text) {
        Ok(())
    } else {
        Err(format!("unknown event {text:?}"))
    }
}

fn expression(text: &str) -> Result<(), String> {
    TargetExpression::parse(text).map(drop)
}

fn channel_name(name: &str) -> Result<(), String> {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_');
    if (1..=MAX_NAME).contains(&name.len()) && name.chars().all(plain) {
        Ok(())
    } else {
        Err(format!(
            "invalid channel name: expected 1 to {MAX_NAME} letters, digits, - and _"
        ))
    }
}
