//! A stored connection profile: how to reach one device.

use chrono::{DateTime, Utc};
use uuid::Uuid;

/// A connection as it is stored; its secrets are sealed.
#[derive(Clone, Debug)]
pub struct Connection {
    pub id: Uuid,
    pub name: String,
    pub host: String,
    pub port: u16,
    pub username: String,
    /// The platform's name, as netmiko spells it (`cisco_ios`).
    pub device_type: String,
    /// Limit of one command, seconds.
    pub timeout_seconds: u32,
    pub tags: Vec<String>,
    /// The only host key to accept: a `SHA256:…` fingerprint or an OpenSSH public key.
    pub host_key: Option<String>,
    pub secrets: SealedSecrets,
    /// Set for a connection that was given inline with a job.
    pub owner_job_id: Option<Uuid>,
    pub created_at: DateTime<Utc>,
    pub updated_at: DateTime<Utc>,
}

/// Ciphertexts, each bound to its row and field; see [`crate::sealing`].
#[derive(Clone, Debug, Default)]
pub struct SealedSecrets {
    pub password: Option<Vec<u8>>,
    pub private_key: Option<Vec<u8>>,
    pub passphrase: Option<Vec<u8>>,
    pub secret: Option<Vec<u8>>,
}

/// The write-only fields of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SecretField {
    Password,
    PrivateKey,
    Passphrase,
    /// What `enable` asks for.
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
