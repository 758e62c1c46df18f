//! Random secrets: of browser sessions, API tokens and the setup of the first user.

use std::fmt::Write as _;

use secrecy::SecretString;
use sha2::{Digest as _, Sha256};

use crate::model::SecretDigest;

/// Start of each API token, by which scanners for leaked secrets recognise it.
pub const TOKEN_PREFIX: &str = "jst_";

/// Length of a secret, in bytes.
const LENGTH: usize = 32;
/// Length of the checksum of an API token, in hexadecimal digits.
const CHECKSUM_DIGITS: usize = 8;

/// A new secret: the text to give out, and the digest to store.
pub(super) struct NewSecret {
    pub(super) text: SecretString,
    pub(super) digest: SecretDigest,
}

/// Creates a secret of 256 random bits, in hexadecimal.
///
/// # Errors
/// If the system gives no random numbers.
pub(super) fn new_secret() -> Result<NewSecret, getrandom::Error> {
    Ok(given_out(random_text()?))
}

/// Creates an API token: the prefix, 256 random bits and a checksum, in hexadecimal.
///
/// # Errors
/// If the system gives no random numbers.
pub(super) fn new_token() -> Result<NewSecret, getrandom::Error> {
    let random = random_text()?;
    Ok(given_out(format!(
        "{TOKEN_PREFIX}{random}{}",
        checksum(&random)
    )))
}

/// Returns the digest of a secret that a client sent.
///
/// A plain digest is enough, because the secret is random and too long to be guessed.
pub(super) fn digest_of(text: &str) -> SecretDigest {
    SecretDigest(Sha256::digest(text.as_bytes()).into())
}

/// Returns whether a text has the form of a token with a matching checksum. A mistyped or truncated
/// token is found without the database.
pub(super) fn is_token(text: &str) -> bool {
    let Some(rest) = text.strip_prefix(TOKEN_PREFIX) else {
        return false;
    };
    let is_hex = |c: u8| c.is_ascii_digit() || (b'a'..=b'f').contains(&c);
    if rest.len() != 2 * LENGTH + CHECKSUM_DIGITS || !rest.bytes().all(is_hex) {
        return false;
    }
    let (random, sum) = rest.split_at(2 * LENGTH);
    checksum(random) == sum
}

fn given_out(text: String) -> NewSecret {
    NewSecret {
        digest: digest_of(&text),
        text: SecretString::from(text),
    }
}

fn random_text() -> Result<String, getrandom::Error> {
    let mut bytes = [0; LENGTH];
    getrandom::fill(&mut bytes)?;
    let mut text = String::with_capacity(2 * LENGTH);
    for byte in bytes {
        let _ = write!(text, "{byte:02x}");
    }
    Ok(text)
}

/// The first digits of the SHA-256 of the prefix and the random part.
fn checksum(random: &str) -> String {
    let digest = Sha256::new()
        .chain_update(TOKEN_PREFIX)
        .chain_update(random)
        .finalize();
    let mut text = String::with_capacity(CHECKSUM_DIGITS);
    for byte in &digest[..CHECKSUM_DIGITS / 2] {
        let _ = write!(text, "{byte:02x}");
    }
    text
}

#[cfg(test)]
mod tests {
    use secrecy::ExposeSecret as _;

    use super::*;

    #[test]
    fn a_changed_or_truncated_token_is_recognised() {
        let token = new_token().unwrap();
        let text = token.text.expose_secret();
        assert!(is_token(text));
        assert_eq!(digest_of(text), token.digest);
        for at in 0..text.len() {
            assert!(!is_token(&text[..at]), "{at}");
            let other = if text.as_bytes()[at] == b'0' {
                "1"
            } else {
                "0"
            };
            let mut changed = text.to_owned();
            changed.replace_range(at..=at, other);
            assert!(!is_token(&changed), "{at}");
        }
        for other in [
            "",
            "jst_",
            "Bearer",
            &format!("{text}0"),
            &text.to_uppercase(),
        ] {
            assert!(!is_token(other), "{other}");
        }
    }

    #[test]
    fn secrets_differ() {
        let (first, second) = (new_secret().unwrap(), new_secret().unwrap());
        assert_ne!(first.digest, second.digest);
        assert_eq!(first.text.expose_secret().len(), 64);
    }
}
