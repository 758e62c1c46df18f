//! Passwords: rules for new ones, and their hashes.

use std::sync::Arc;

use argon2::Argon2;
use argon2::password_hash::phc::PasswordHash as Phc;
use argon2::password_hash::{PasswordHasher, PasswordVerifier};
use secrecy::{ExposeSecret, SecretString};
use tokio::sync::Semaphore;

use super::AuthError;
use crate::model::PasswordHash;

/// Minimum length of a password, in characters (NIST SP 800-63B asks for length rather than kinds of
/// characters).
pub const MIN_PASSWORD: usize = 12;
/// Maximum length of a password, in bytes: longer ones would only cost time.
pub const MAX_PASSWORD: usize = 1_024;

/// Hashes computed at once. Each takes 19 MiB and some 50 ms of a core, which logins must not take from
/// jobs.
const AT_ONCE: usize = 2;
/// Logins that wait for a hash. More are rejected: they would wait for too long.
const WAITING: usize = 32;

/// Computes and verifies the hashes of passwords: Argon2id with 19 MiB, two passes and one lane, as the
/// OWASP Password Storage Cheat Sheet recommends and the crate defaults to.
pub(super) struct Passwords {
    running: Arc<Semaphore>,
    admitted: Arc<Semaphore>,
    /// The hash of a random password, verified for users without one.
    nobody: PasswordHash,
}

/// The result of a verification.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Verified {
    Yes,
    /// The password is right, and its hash has outdated parameters.
    WithOldHash,
    No,
}

impl Passwords {
    /// # Errors
    /// If the system gives no random numbers.
    pub(super) fn new() -> anyhow::Result<Self> {
        let mut random = [0; 32];
        getrandom::fill(&mut random)?;
        let nobody = hash(&random).map_err(anyhow::Error::msg)?;
        Ok(Self {
            running: Arc::new(Semaphore::new(AT_ONCE)),
            admitted: Arc::new(Semaphore::new(AT_ONCE + WAITING)),
            nobody,
        })
    }

    /// # Errors
    /// [`AuthError::Busy`] if too many hashes are being computed.
    pub(super) async fn hash(&self, password: SecretString) -> Result<PasswordHash, AuthError> {
        self.compute(move || hash(password.expose_secret().as_bytes()))
            .await?
            .map_err(|error| AuthError::Internal(error.to_string()))
    }

    /// Verifies a password. Without a hash it takes as long as with one, and the answer is no, so that
    /// the time does not tell which users exist.
    ///
    /// # Errors
    /// [`AuthError::Busy`] if too many hashes are being computed.
    pub(super) async fn verify(
        &self,
        password: SecretString,
        stored: Option<PasswordHash>,
    ) -> Result<Verified, AuthError> {
        let is_known = stored.is_some();
        let stored = stored.unwrap_or_else(|| self.nobody.clone());
        let verified = self
            .compute(move || verify(password.expose_secret().as_bytes(), &stored))
            .await?;
        Ok(if is_known { verified } else { Verified::No })
    }

    async fn compute<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, AuthError> {
        let admitted = Arc::clone(&self.admitted).try_acquire_owned();
        let admitted = admitted.map_err(|_| AuthError::Busy)?;
        let turn = Arc::clone(&self.running).acquire_owned().await;
        // The permits move to the thread: a client that disconnects does not make room for more.
        let worked = tokio::task::spawn_blocking(move || {
            let _permits = (admitted, turn);
            work()
        });
        worked
            .await
            .map_err(|error| AuthError::Internal(error.to_string()))
    }
}

fn hash(password: &[u8]) -> argon2::password_hash::Result<PasswordHash> {
    let hash: Phc = Argon2::default().hash_password(password)?;
    Ok(PasswordHash(hash.to_string()))
}

fn verify(password: &[u8], stored: &PasswordHash) -> Verified {
    let Ok(parsed) = Phc::new(&stored.0) else {
        return Verified::No;
    };
    if Argon2::default()
        .verify_password(password, &parsed)
        .is_err()
    {
        return Verified::No;
    }
    // The algorithm, version and parameters precede the salt, which is the last but one part.
    let parameters = |hash: &str| hash.rsplitn(3, '$').nth(2).map(str::to_owned);
    let current = hash(b"").ok().and_then(|hash| parameters(&hash.0));
    if parameters(&stored.0) == current {
        Verified::Yes
    } else {
        Verified::WithOldHash
    }
}

/// Checks a new password for a user of this name.
pub(super) fn check(password: &SecretString, name: &str) -> Result<(), String> {
    let text = password.expose_secret();
    if text.chars().count() < MIN_PASSWORD {
        return Err(format!("expected at least {MIN_PASSWORD} characters"));
    }
    if text.len() > MAX_PASSWORD {
        return Err(format!("expected at most {MAX_PASSWORD} bytes"));
    }
    if name.len() >= 4 && text.to_lowercase().contains(&name.to_lowercase()) {
        return Err("a password that contains the name of the user is not allowed".to_owned());
    }
    let mut characters: Vec<char> = text.chars().collect();
    characters.sort_unstable();
    characters.dedup();
    if characters.len() < 4 {
        return Err("expected at least 4 different characters".to_owned());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use argon2::{Algorithm, Params, Version};

    use super::*;

    fn secret(text: &str) -> SecretString {
        SecretString::from(text.to_owned())
    }

    #[tokio::test]
    async fn a_password_matches_its_own_hash_alone() {
        let passwords = Passwords::new().unwrap();
        let hash = passwords.hash(secret("correct horse")).await.unwrap();
        assert!(hash.0.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"));
        let verify = |text, hash| passwords.verify(secret(text), hash);
        let right = verify("correct horse", Some(hash.clone())).await;
        assert_eq!(right.unwrap(), Verified::Yes);
        let wrong = verify("correct hors", Some(hash)).await;
        assert_eq!(wrong.unwrap(), Verified::No);
        assert_eq!(verify("anything", None).await.unwrap(), Verified::No);
        let damaged = Some(PasswordHash("damaged".to_owned()));
        assert_eq!(verify("damaged", damaged).await.unwrap(), Verified::No);
    }

    #[tokio::test]
    async fn a_hash_with_other_parameters_is_outdated() {
        let weak = Argon2::new(
            Algorithm::Argon2id,
            Version::default(),
            Params::new(8_192, 1, 1, None).unwrap(),
        );
        let hash: Phc = weak.hash_password(b"correct horse").unwrap();
        let hash = Some(PasswordHash(hash.to_string()));
        let passwords = Passwords::new().unwrap();
        let verified = passwords.verify(secret("correct horse"), hash.clone());
        assert_eq!(verified.await.unwrap(), Verified::WithOldHash);
        let verified = passwords.verify(secret("wrong"), hash);
        assert_eq!(verified.await.unwrap(), Verified::No);
    }

    #[test]
    fn new_passwords_are_long_and_not_the_name() {
        for good in ["correct horse battery", "ßßßßüüüüööää", "12345678abcd"] {
            assert_eq!(check(&secret(good), "anna"), Ok(()), "{good}");
        }
        for bad in [
            "",
            "short",
            "elevenchars",
            "aaaaaaaaaaaaaaaa",
            "abcabcabcabcabc",
            "Anna-12345678",
        ] {
            assert!(check(&secret(bad), "anna").is_err(), "{bad}");
        }
        assert!(check(&secret(&"ab12".repeat(257)), "anna").is_err());
    }
}
