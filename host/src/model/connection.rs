//! A stored connection profile: how to reach one device.

use std::collections::HashSet;
use std::fmt;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use uuid::Uuid;

/// Maximum number of jump hosts on the way to a device.
pub const MAX_JUMPS: usize = 8;

/// A connection as stored; its secrets are sealed.
#[derive(Clone, Debug)]
pub struct Connection {
    pub id: Uuid,
    pub name: String,
    pub host: String,
    pub port: u16,
    pub username: String,
    /// Platform name, as in netmiko (`cisco_ios`).
    pub device_type: String,
    /// Timeout of a command, in seconds.
    pub timeout_seconds: u32,
    pub tags: Vec<String>,
    /// The only accepted host key: a `SHA256:…` fingerprint or an OpenSSH public key.
    pub host_key: Option<String>,
    /// Names of the jump hosts, in order from here to the device. The `jump` of the first one precedes
    /// them; see [`route`].
    pub jump: Vec<String>,
    pub algorithms: Algorithms,
    /// OpenSSH user certificate, which is public.
    pub certificate: Option<String>,
    /// Whether to log in with the configured ssh-agent.
    pub agent: bool,
    /// Maximum number of jobs with sessions to the device at once, 1 to 64.
    pub max_sessions: u32,
    pub secrets: SealedSecrets,
    /// Answers to questions of the device at login, in the order in which they are tried.
    pub answers: Vec<StoredAnswer>,
    /// The job that the connection was given inline with, if any.
    pub owner_job_id: Option<Uuid>,
    pub created_at: DateTime<Utc>,
    pub updated_at: DateTime<Utc>,
}

/// The SSH algorithms that are offered to a device.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Algorithms {
    /// Secure algorithms only.
    #[default]
    Default,
    /// Also algorithms for old devices: SHA-1, CBC, 1024-bit groups.
    Legacy,
}

impl Algorithms {
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Default => "default",
            Self::Legacy => "legacy",
        }
    }

    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        [Self::Default, Self::Legacy]
            .into_iter()
            .find(|algorithms| algorithms.as_str() == text)
    }
}

/// Ciphertexts, each bound to its row, its field and the way to the device; see [`crate::sealing`].
#[derive(Clone, Debug, Default)]
pub struct SealedSecrets {
    pub password: Option<Vec<u8>>,
    pub private_key: Option<Vec<u8>>,
    pub passphrase: Option<Vec<u8>>,
    pub secret: Option<Vec<u8>>,
}

/// An answer to a question that a device asks at login.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StoredAnswer {
    /// A regular expression, unique among the connection's answers.
    pub question: String,
    /// Whether the answer is a single key, sent without a line ending.
    #[serde(default)]
    pub key: bool,
    pub value: AnswerValue,
}

/// The text of an answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AnswerValue {
    /// Plain text.
    Shown(String),
    /// A ciphertext, bound to its row, question, `key` and the way to the device; see
    /// [`crate::sealing`].
    Sealed(#[serde(with = "base64")] Vec<u8>),
    /// The value of a credential.
    Credential(AnswerCredential),
}

/// A credential of a connection that can be the answer to a question.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum AnswerCredential {
    Username,
    Password,
    /// The secret for `enable`.
    Secret,
}

impl AnswerCredential {
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Username => "username",
            Self::Password => "password",
            Self::Secret => "secret",
        }
    }

    /// Returns the secret field of the credential; `None` if it is not secret.
    #[must_use]
    pub fn secret_field(self) -> Option<SecretField> {
        match self {
            Self::Username => None,
            Self::Password => Some(SecretField::Password),
            Self::Secret => Some(SecretField::Secret),
        }
    }
}

mod base64 {
    use data_encoding::BASE64;
    use serde::de::Error as _;
    use serde::{Deserialize as _, Deserializer, Serializer};

    pub(super) fn serialize<S: Serializer>(bytes: &[u8], to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(&BASE64.encode(bytes))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<u8>, D::Error> {
        let text = String::deserialize(from)?;
        BASE64.decode(text.as_bytes()).map_err(D::Error::custom)
    }
}

/// The write-only fields of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SecretField {
    Password,
    PrivateKey,
    Passphrase,
    /// Secret for `enable`.
    Secret,
}

impl SecretField {
    pub const ALL: [Self; 4] = [
        Self::Password,
        Self::PrivateKey,
        Self::Passphrase,
        Self::Secret,
    ];

    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Password => "password",
            Self::PrivateKey => "private_key",
            Self::Passphrase => "passphrase",
            Self::Secret => "secret",
        }
    }
}

impl SealedSecrets {
    #[must_use]
    pub fn get(&self, field: SecretField) -> Option<&[u8]> {
        match field {
            SecretField::Password => self.password.as_deref(),
            SecretField::PrivateKey => self.private_key.as_deref(),
            SecretField::Passphrase => self.passphrase.as_deref(),
            SecretField::Secret => self.secret.as_deref(),
        }
    }

    pub fn set(&mut self, field: SecretField, sealed: Option<Vec<u8>>) {
        match field {
            SecretField::Password => self.password = sealed,
            SecretField::PrivateKey => self.private_key = sealed,
            SecretField::Passphrase => self.passphrase = sealed,
            SecretField::Secret => self.secret = sealed,
        }
    }
}

/// A sealed value of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SealedField<'a> {
    Secret(SecretField),
    /// The answer to a question.
    Answer {
        question: &'a str,
        key: bool,
    },
}

impl SealedField<'_> {
    /// Returns the kind of the field, without the name of the secret or the question.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Secret(_) => "secret",
            Self::Answer { key: false, .. } => "answers/line",
            Self::Answer { key: true, .. } => "answers/key",
        }
    }
}

impl fmt::Display for SealedField<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Secret(SecretField::PrivateKey) => f.write_str("private key"),
            Self::Secret(field) => f.write_str(field.as_str()),
            Self::Answer { question, .. } => write!(f, "answer to {question:?}"),
        }
    }
}

/// The sealed values of a connection, together with all its answers.
#[derive(Clone, Debug)]
pub struct SealedRow {
    pub id: Uuid,
    pub secrets: SealedSecrets,
    pub answers: Vec<StoredAnswer>,
}

impl Connection {
    /// Returns all sealed values.
    #[must_use]
    pub fn sealed(&self) -> Vec<(SealedField<'_>, &[u8])> {
        let secrets = SecretField::ALL.into_iter().filter_map(|field| {
            let sealed = self.secrets.get(field)?;
            Some((SealedField::Secret(field), sealed))
        });
        let answers = self
            .answers
            .iter()
            .filter_map(|answer| match &answer.value {
                AnswerValue::Sealed(sealed) => Some((answer.field(), sealed.as_slice())),
                _ => None,
            });
        secrets.chain(answers).collect()
    }

    /// Replaces each sealed value by the result of `reseal`.
    ///
    /// # Errors
    /// The first error of `reseal`.
    pub fn resealed<E>(
        &self,
        mut reseal: impl FnMut(SealedField<'_>, &[u8]) -> Result<Vec<u8>, E>,
    ) -> Result<SealedRow, E> {
        let mut secrets = SealedSecrets::default();
        for field in SecretField::ALL {
            if let Some(sealed) = self.secrets.get(field) {
                secrets.set(field, Some(reseal(SealedField::Secret(field), sealed)?));
            }
        }
        let mut answers = self.answers.clone();
        for answer in &mut answers {
            if let AnswerValue::Sealed(sealed) = &answer.value {
                answer.value = AnswerValue::Sealed(reseal(answer.field(), sealed)?);
            }
        }
        Ok(SealedRow {
            id: self.id,
            secrets,
            answers,
        })
    }

    /// Returns the row without its sealed values.
    #[must_use]
    pub fn unsealed(&self) -> SealedRow {
        let answers = self.answers.iter();
        let shown = answers.filter(|answer| !matches!(answer.value, AnswerValue::Sealed(_)));
        SealedRow {
            id: self.id,
            secrets: SealedSecrets::default(),
            answers: shown.cloned().collect(),
        }
    }
}

impl StoredAnswer {
    /// Returns the answer's field among the sealed values.
    #[must_use]
    pub fn field(&self) -> SealedField<'_> {
        SealedField::Answer {
            question: &self.question,
            key: self.key,
        }
    }
}

/// A host key trusted on first use.
#[derive(Clone, Debug)]
pub struct KnownHostKey {
    /// Algorithm, as in `ssh-ed25519`.
    pub algorithm: String,
    /// Public key in OpenSSH's notation.
    pub key: String,
    /// Fingerprint, as in `SHA256:…`.
    pub fingerprint: String,
    pub first_seen: DateTime<Utc>,
}

/// Why a route to a device is invalid.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RouteError {
    #[error("jump host `{0}` not found")]
    Unknown(String),
    #[error("duplicate jump host `{0}` in the route {1}")]
    Circle(String, String),
    #[error("too many jump hosts: at most {MAX_JUMPS} are allowed: {0}")]
    TooLong(String),
}

/// Returns all jump hosts on the way to a connection, in order: its own `jump`, preceded by the route
/// to its first jump host. The `jump` of the other jump hosts is ignored, as they are reached from the
/// one before them.
///
/// # Errors
/// If a name is unknown or occurs twice (including `name`), or the route is too long.
pub fn route(
    name: &str,
    jump: &[String],
    jump_of: impl Fn(&str) -> Option<Vec<String>>,
) -> Result<Vec<String>, RouteError> {
    let mut way = jump.to_vec();
    loop {
        let shown = || format!("{} -> {name}", way.join(" -> "));
        let mut seen = HashSet::from([name]);
        if let Some(twice) = way.iter().find(|hop| !seen.insert(hop)) {
            return Err(RouteError::Circle(twice.clone(), shown()));
        }
        if way.len() > MAX_JUMPS {
            return Err(RouteError::TooLong(shown()));
        }
        if let Some(unknown) = way.iter().find(|hop| jump_of(hop).is_none()) {
            return Err(RouteError::Unknown(unknown.clone()));
        }
        let before = way.first().and_then(|first| jump_of(first));
        match before {
            Some(before) if !before.is_empty() => {
                way.splice(..0, before);
            }
            _ => return Ok(way),
        }
    }
}

/// Returns a connection for tests, without secrets.
#[cfg(test)]
pub(crate) fn test_connection(name: &str, host: &str, jump: &[&str]) -> Connection {
    Connection {
        id: Uuid::now_v7(),
        name: name.to_owned(),
        host: host.to_owned(),
        port: 22,
        username: "admin".to_owned(),
        device_type: "linux".to_owned(),
        timeout_seconds: 30,
        tags: Vec::new(),
        host_key: None,
        jump: jump.iter().map(|name| (*name).to_owned()).collect(),
        algorithms: Algorithms::Default,
        certificate: None,
        agent: false,
        max_sessions: 1,
        secrets: SealedSecrets::default(),
        answers: Vec::new(),
        owner_job_id: None,
        created_at: super::now(),
        updated_at: super::now(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(text: &str) -> Vec<String> {
        text.split_whitespace().map(str::to_owned).collect()
    }

    /// Returns the route to `device` via `jump`, with stored connections as `(name, jump)`.
    fn way(stored: &[(&str, &str)], jump: &str) -> Result<Vec<String>, RouteError> {
        let jump_of = |name: &str| {
            let found = stored.iter().find(|(stored, _)| *stored == name);
            found.map(|(_, jump)| names(jump))
        };
        route("device", &names(jump), jump_of)
    }

    #[test]
    fn the_first_jump_host_is_reached_by_its_own_jump() {
        let stored = [("outer", ""), ("inner", "outer"), ("last", "elsewhere")];
        assert_eq!(way(&stored, ""), Ok(vec![]));
        assert_eq!(way(&stored, "inner last"), Ok(names("outer inner last")));
    }

    #[test]
    fn a_way_that_leads_nowhere_is_refused() {
        let circle = [("a", "b"), ("b", "a"), ("c", "device")];
        let refused = |jump| way(&circle, jump).unwrap_err().to_string();
        assert!(
            refused("a").contains("duplicate jump host `a`"),
            "{}",
            refused("a")
        );
        assert!(refused("c").contains("duplicate jump host `device`"));
        assert!(refused("device").contains("duplicate jump host `device`"));
        assert_eq!(way(&circle, "x"), Err(RouteError::Unknown("x".to_owned())));
        let long: Vec<_> = ["1", "2", "3", "4", "5", "6", "7", "8", "9"]
            .map(|n| (n, ""))
            .into();
        assert!(way(&long, "1 2 3 4 5 6 7 8").is_ok());
        let nine = way(&long, "1 2 3 4 5 6 7 8 9");
        assert!(matches!(nine, Err(RouteError::TooLong(_))), "{nine:?}");
    }
}
