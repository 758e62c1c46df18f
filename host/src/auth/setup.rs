//! The one-time secret with which the first user is set up.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use secrecy::SecretString;

use super::{AuthError, secrets};
use crate::model::SecretDigest;

/// How long the secret is valid after the start.
const LIFETIME: Duration = Duration::from_secs(15 * 60);

/// The secret, while it is valid. It is not stored: a restart makes another one.
#[derive(Default)]
pub struct SetupSecret(Mutex<Option<Valid>>);

struct Valid {
    digest: SecretDigest,
    until: Instant,
}

impl SetupSecret {
    pub(super) fn renew(&self) -> Result<SecretString, AuthError> {
        let secret = secrets::new_secret()?;
        *self.lock() = Some(Valid {
            digest: secret.digest,
            until: Instant::now() + LIFETIME,
        });
        Ok(secret.text)
    }

    pub(super) fn is_valid(&self) -> bool {
        self.lock()
            .as_ref()
            .is_some_and(|valid| valid.until > Instant::now())
    }

    /// Returns whether this is the secret. Digests are compared, so the time tells nothing about it.
    pub(super) fn is(&self, text: &str) -> bool {
        let digest = secrets::digest_of(text);
        self.lock()
            .as_ref()
            .is_some_and(|valid| valid.until > Instant::now() && valid.digest == digest)
    }

    pub(super) fn spend(&self) {
        *self.lock() = None;
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Option<Valid>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
