//! Wire types of connections.

use std::fmt;

use chrono::{DateTime, Utc};
use serde::de::{Error as _, Unexpected, Visitor};
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Value;
use utoipa::ToSchema;
use uuid::Uuid;

use crate::model::{
    Algorithms, AnswerCredential, AnswerValue, Connection, KnownHostKey, SecretField, StoredAnswer,
};

/// A connection to be stored. An absent secret is unchanged; null removes it.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ConnectionRequest {
    #[schema(example = "core-1")]
    pub name: Option<String>,
    /// A host name or an IP address.
    #[schema(example = "192.0.2.1")]
    pub host: String,
    #[serde(default = "port_22", deserialize_with = "port")]
    #[schema(default = 22)]
    pub port: u16,
    pub username: String,
    /// The platform, by its netmiko name.
    #[schema(example = "cisco_ios")]
    pub device_type: String,
    /// Timeout of one command, seconds.
    #[serde(default = "thirty_seconds")]
    #[schema(default = 30)]
    pub timeout_seconds: u32,
    #[serde(default)]
    pub tags: Vec<String>,
    /// The only host key to accept: `SHA256:…`, or a public key in OpenSSH format.
    #[serde(default)]
    pub host_key: Option<String>,
    /// The jump hosts: names of connections, in order from the server to the device, or a single name.
    /// The first one is reached through its own `jump`.
    #[serde(default, deserialize_with = "one_or_several")]
    #[schema(value_type = Option<JumpChoice>, example = json!(["bastion"]))]
    pub jump: Vec<String>,
    /// `legacy` also offers algorithms for old devices: SHA-1, CBC, 1024-bit groups.
    #[serde(default)]
    pub algorithms: Algorithms,
    /// An OpenSSH user certificate for the private key or a key of the agent.
    #[serde(default)]
    pub certificate: Option<String>,
    /// Whether to log in with the server's ssh-agent (`devices.ssh_agent`).
    #[serde(default)]
    pub agent: bool,
    /// Maximum number of jobs with sessions to the device at the same time, 1 to 64.
    #[serde(default = "one")]
    #[schema(default = 1)]
    pub max_sessions: u32,
    #[serde(default, with = "written_secret")]
    #[schema(value_type = Option<String>, write_only)]
    pub password: WrittenSecret,
    /// A private key as OpenSSH or PEM text.
    #[serde(default, with = "written_secret")]
    #[schema(value_type = Option<String>, write_only)]
    pub private_key: WrittenSecret,
    /// The passphrase of the private key.
    #[serde(default, with = "written_secret")]
    #[schema(value_type = Option<String>, write_only)]
    pub passphrase: WrittenSecret,
    /// The secret for `enable`.
    #[serde(default, with = "written_secret")]
    #[schema(value_type = Option<String>, write_only)]
    pub secret: WrittenSecret,
    /// Answers to questions that the device asks at login, at most 16. If absent, the stored
    /// answers are kept; null or an empty list removes them.
    #[serde(default, deserialize_with = "given")]
    #[schema(value_type = Option<Vec<LoginAnswerRequest>>, max_items = 16)]
    pub answers: Option<Vec<LoginAnswerRequest>>,
}

/// An answer to a question that the device asks at login. Exactly one of `answer`, `credential` and
/// `set` is given.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct LoginAnswerRequest {
    /// A regular expression for the question. Each question is listed once.
    #[schema(example = "Select a role", min_length = 1, max_length = 512)]
    pub question: String,
    /// The answer: one line of at most 1024 bytes. An empty one is Enter.
    #[serde(default, deserialize_with = "written_secret::optional")]
    #[schema(value_type = Option<String>, max_length = 1024)]
    pub answer: Option<secrecy::SecretString>,
    /// The answer is the connection's own user name, password or secret.
    #[serde(default)]
    pub credential: Option<AnswerCredential>,
    /// Keeps the stored secret answer to this question.
    #[serde(default)]
    pub set: bool,
    /// Whether the answer is write-only and masked in session logs.
    #[serde(default)]
    #[schema(default = true)]
    pub secret: Option<bool>,
    /// Whether the answer is one key, sent without a line ending.
    #[serde(default)]
    #[schema(default = false)]
    pub key: bool,
}

/// Deserializes a list; null becomes an empty list.
fn given<'de, T: Deserialize<'de>, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<Vec<T>>, D::Error> {
    Ok(Some(
        Option::<Vec<T>>::deserialize(deserializer)?.unwrap_or_default(),
    ))
}

/// A secret in a request: absent, null, or text.
pub type WrittenSecret = Option<Option<secrecy::SecretString>>;

mod written_secret {
    use secrecy::SecretString;
    use serde::de::Error;
    use serde::{Deserialize, Deserializer};

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<super::WrittenSecret, D::Error> {
        // An error from serde itself would repeat the value it found.
        match Option::<serde_json::Value>::deserialize(deserializer)? {
            None => Ok(Some(None)),
            Some(serde_json::Value::String(text)) => Ok(Some(Some(SecretString::from(text)))),
            Some(_) => Err(D::Error::custom("expected a text or null")),
        }
    }

    /// Deserializes a secret; null counts as absent.
    pub(super) fn optional<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Option<SecretString>, D::Error> {
        deserialize(deserializer).map(Option::flatten)
    }
}

/// Documents [`ConnectionRequest::jump`].
#[derive(ToSchema)]
#[schema(title = "JumpChoice")]
#[serde(untagged)]
pub enum JumpChoice {
    One(String),
    Several(Vec<String>),
}

fn one_or_several<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<String>, D::Error> {
    match Value::deserialize(deserializer)? {
        Value::Null => Ok(Vec::new()),
        Value::String(name) => Ok(vec![name]),
        other => serde_json::from_value(other)
            .map_err(|_| D::Error::custom("expected a name or a list of names")),
    }
}

/// Deserializes a port. serde's message for a `u16` would name 0 as valid, but 0 is rejected when the
/// connection's other fields are checked.
fn port<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u16, D::Error> {
    struct Port;

    impl Visitor<'_> for Port {
        type Value = u16;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a whole number from 1 to 65535")
        }

        fn visit_u64<E: serde::de::Error>(self, number: u64) -> Result<u16, E> {
            u16::try_from(number).map_err(|_| E::invalid_value(Unexpected::Unsigned(number), &self))
        }
    }

    deserializer.deserialize_u16(Port)
}

fn one() -> u32 {
    1
}

fn port_22() -> u16 {
    22
}

fn thirty_seconds() -> u32 {
    30
}

#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct ConnectionResponse {
    pub id: Uuid,
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
    /// Maximum number of jobs with sessions to the device at the same time.
    pub max_sessions: u32,
    /// Which of `password`, `private_key`, `passphrase` and `secret` are stored.
    pub secrets_set: Vec<String>,
    /// Answers to questions that the device asks at login, secret ones without their text. The list
    /// can be sent back unchanged.
    pub answers: Vec<LoginAnswerResponse>,
    pub created_at: DateTime<Utc>,
    pub updated_at: DateTime<Utc>,
}

/// An answer to a question that the device asks at login.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct LoginAnswerResponse {
    /// A regular expression.
    #[schema(example = "Select a role")]
    pub question: String,
    /// The answer, unless it is secret.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub answer: Option<String>,
    /// The field of the connection that is the answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub credential: Option<AnswerCredential>,
    /// Whether a secret answer, which is not shown, is stored.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub set: bool,
    pub secret: bool,
    /// Whether the answer is one key, sent without a line ending.
    pub key: bool,
}

#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct ConnectionList {
    pub connections: Vec<ConnectionResponse>,
    /// For the next page: `?cursor=`; null on the last.
    #[serde(default)]
    pub next_cursor: Option<String>,
}

/// The host keys known for a connection's address and route.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct HostKeyList {
    pub host: String,
    pub port: u16,
    /// The only host key that the connection accepts; known host keys are then ignored.
    pub pinned: Option<String>,
    pub host_keys: Vec<HostKeyResponse>,
}

/// A host key that the operator has verified.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct TrustHostKey {
    /// `SHA256:…`, or a public key in OpenSSH format.
    pub fingerprint: String,
}

/// A host key that was accepted on first use.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct HostKeyResponse {
    #[schema(example = "ssh-ed25519")]
    pub algorithm: String,
    #[schema(example = "SHA256:…")]
    pub fingerprint: String,
    /// The public key in OpenSSH format.
    pub key: String,
    pub first_seen: DateTime<Utc>,
}

/// The outcome of connecting and logging in.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct ConnectionTest {
    pub ok: bool,
    /// The device's prompt.
    pub prompt: Option<String>,
    /// The platform of the session.
    pub platform: Option<String>,
    pub duration_ms: u64,
    pub error_code: Option<String>,
    pub error: Option<String>,
}

/// The outcome of detecting a device's platform.
#[derive(Debug, Default, Serialize, Deserialize, ToSchema)]
pub struct ConnectionDetection {
    pub ok: bool,
    /// The platform in the connection.
    pub device_type: String,
    /// The possible platforms, likeliest first.
    pub candidates: Vec<DetectedPlatform>,
    /// The identification of its SSH server.
    pub server: Option<String>,
    pub prompt: Option<String>,
    pub duration_ms: u64,
    pub error_code: Option<String>,
    pub error: Option<String>,
}

#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct DetectedPlatform {
    pub device_type: String,
    /// The certainty in percent, 1 to 100.
    pub certainty: u8,
}

impl From<Connection> for ConnectionResponse {
    fn from(connection: Connection) -> Self {
        let secrets_set = SecretField::ALL
            .into_iter()
            .filter(|field| connection.secrets.get(*field).is_some())
            .map(|field| field.as_str().to_owned())
            .collect();
        Self {
            id: connection.id,
            name: connection.name,
            host: connection.host,
            port: connection.port,
            username: connection.username,
            device_type: connection.device_type,
            timeout_seconds: connection.timeout_seconds,
            tags: connection.tags,
            host_key: connection.host_key,
            jump: connection.jump,
            algorithms: connection.algorithms,
            certificate: connection.certificate,
            agent: connection.agent,
            max_sessions: connection.max_sessions,
            secrets_set,
            answers: connection.answers.into_iter().map(Into::into).collect(),
            created_at: connection.created_at,
            updated_at: connection.updated_at,
        }
    }
}

impl From<StoredAnswer> for LoginAnswerResponse {
    fn from(stored: StoredAnswer) -> Self {
        let (answer, credential, set) = match stored.value {
            AnswerValue::Shown(text) => (Some(text), None, false),
            AnswerValue::Sealed(_) => (None, None, true),
            AnswerValue::Credential(credential) => (None, Some(credential), false),
        };
        let is_secret = credential.is_some_and(|credential| credential.secret_field().is_some());
        Self {
            question: stored.question,
            answer,
            credential,
            set,
            secret: set || is_secret,
            key: stored.key,
        }
    }
}

impl From<KnownHostKey> for HostKeyResponse {
    fn from(known: KnownHostKey) -> Self {
        Self {
            algorithm: known.algorithm,
            fingerprint: known.fingerprint,
            key: known.key,
            first_seen: known.first_seen,
        }
    }
}
