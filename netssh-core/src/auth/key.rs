//! Private keys and certificates of the credentials.

use data_encoding::BASE64_MIME_PERMISSIVE;
use russh::keys::agent::AgentIdentity;
use russh::keys::signature::Signer as _;
use russh::keys::ssh_encoding::Encode;
use russh::keys::ssh_key::private::KeypairData;
use russh::keys::ssh_key::{Kdf, Signature};
use russh::keys::{Certificate, HashAlg, PrivateKey, decode_secret_key};
use russh::{AgentAuthError, Signer};
use secrecy::ExposeSecret;

use crate::certificate::{check_nesting, is_out_of_date, validity};
use crate::error::Error;
use crate::hop::Hop;

/// Maximum cost of a passphrase, so that a key cannot occupy a thread for long: rounds of bcrypt,
/// about 1.5 s.
const BCRYPT_ROUNDS: u32 = 200;
/// Maximum number of rounds of PBKDF2.
const PBKDF2_ROUNDS: u64 = 2_000_000;
/// Maximum number of 128-byte blocks processed by scrypt: 128 MiB.
const SCRYPT_BLOCKS: u64 = 1 << 20;
/// Maximum number of KiB processed by Argon2 in all passes together: 1 GiB.
const ARGON2_KIBIBYTES: u64 = 1 << 20;

/// Decodes the private key of the credentials.
pub(super) async fn read(hop: &Hop<'_>) -> Result<PrivateKey, Error> {
    let has_passphrase = hop.credentials.passphrase.is_some();
    let (text, passphrase) = (
        hop.credentials.private_key.clone(),
        hop.credentials.passphrase.clone(),
    );
    let user = &hop.username;
    let unreadable = |reason: &str| {
        Error::no_credentials(format!(
            "failed to read the private key of user {user} on {hop}: {reason}"
        ))
    };
    // Not on an async thread: the key itself defines the cost of its passphrase.
    let decoding = tokio::task::spawn_blocking(move || {
        let text = text.as_ref().map_or("", |key| key.expose_secret());
        check_work(text)?;
        let passphrase = passphrase.as_ref().map(ExposeSecret::expose_secret);
        decode_secret_key(text, passphrase).map_err(|error| {
            let hint = match (&error, has_passphrase) {
                (russh::keys::Error::KeyIsEncrypted, false) => " (it needs a passphrase)",
                (_, true) => " (is the passphrase right?)",
                (_, false) => "",
            };
            format!("{error}{hint}")
        })
    });
    decoding
        .await
        .map_err(|_| unreadable("malformed key"))?
        .map_err(|reason| unreadable(&reason))
}

/// Rejects keys with an excessively expensive passphrase check.
fn check_work(text: &str) -> Result<(), String> {
    let too_much = |what: &str, is: u64, limit: u64| {
        if is <= limit {
            return Ok(());
        }
        Err(format!(
            "too expensive to decrypt: {is} {what}, the limit is {limit}; encrypt it again with fewer"
        ))
    };
    if text.trim_start().starts_with("PuTTY-User-Key-File-") {
        let value = |name: &str| {
            text.lines()
                .find_map(|line| line.strip_prefix(name)?.trim().parse::<u64>().ok())
                .unwrap_or(0)
        };
        let work = value("Argon2-Memory:").saturating_mul(value("Argon2-Passes:"));
        return too_much("KiB of Argon2", work, ARGON2_KIBIBYTES);
    }
    let body: String = text
        .lines()
        .skip_while(|line| !line.starts_with("-----BEGIN "))
        .skip(1)
        .take_while(|line| !line.starts_with("-----END "))
        .collect();
    let Ok(bytes) = BASE64_MIME_PERMISSIVE.decode(body.as_bytes()) else {
        return Ok(());
    };
    if let Ok(key) = PrivateKey::from_bytes(&bytes) {
        return match key.kdf() {
            Kdf::Bcrypt { rounds, .. } => too_much(
                "rounds of bcrypt",
                u64::from(*rounds),
                u64::from(BCRYPT_ROUNDS),
            ),
            _ => Ok(()),
        };
    }
    if let Some(parameters) = after(&bytes, PBKDF2) {
        let rounds = integers(parameters).first().copied().unwrap_or(u64::MAX);
        return too_much("rounds of PBKDF2", rounds, PBKDF2_ROUNDS);
    }
    if let Some(parameters) = after(&bytes, SCRYPT) {
        let blocks = match integers(parameters)[..] {
            [n, r, p, ..] => n.saturating_mul(r).saturating_mul(p),
            _ => u64::MAX,
        };
        return too_much("blocks of scrypt", blocks, SCRYPT_BLOCKS);
    }
    Ok(())
}

/// Object identifiers in DER: 1.2.840.113549.1.5.12 and 1.3.6.1.4.1.11591.4.11.
const PBKDF2: &[u8] = b"\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x05\x0c";
const SCRYPT: &[u8] = b"\x06\x09\x2b\x06\x01\x04\x01\xda\x47\x04\x0b";

fn after<'a>(bytes: &'a [u8], identifier: &[u8]) -> Option<&'a [u8]> {
    let at = bytes
        .windows(identifier.len())
        .position(|part| part == identifier)?;
    bytes.get(at + identifier.len()..)
}

/// Returns the integers in a DER sequence that begins with an octet string, the salt.
fn integers(sequence: &[u8]) -> Vec<u64> {
    let element = |bytes: &mut &[u8]| -> Option<(u8, Vec<u8>)> {
        let (&tag, rest) = bytes.split_first()?;
        let (&first, mut rest) = rest.split_first()?;
        let mut length = usize::from(first);
        if first & 0x80 != 0 {
            let (digits, after) = rest.split_at_checked(usize::from(first & 0x7f).min(8))?;
            length = digits
                .iter()
                .fold(0, |sum, digit| sum << 8 | usize::from(*digit));
            rest = after;
        }
        let (content, rest) = rest.split_at_checked(length)?;
        *bytes = rest;
        Some((tag, content.to_vec()))
    };
    let mut numbers = Vec::new();
    let mut outer = sequence;
    let Some((0x30, content)) = element(&mut outer) else {
        return numbers;
    };
    let mut inner = content.as_slice();
    while let Some((tag, content)) = element(&mut inner) {
        if tag == 0x02 {
            let significant = content.iter().skip_while(|byte| **byte == 0);
            let number = match significant.clone().count() {
                0..=8 => significant.fold(0, |sum, byte| sum << 8 | u64::from(*byte)),
                _ => u64::MAX,
            };
            numbers.push(number);
        }
    }
    numbers
}

/// Returns the certificate of the credentials, if there is one. It must belong to the key.
pub(super) fn certificate(hop: &Hop<'_>, key: &PrivateKey) -> Result<Option<Certificate>, Error> {
    let Some(line) = &hop.credentials.certificate else {
        return Ok(None);
    };
    let wrong = |what: String| {
        Error::no_credentials(format!(
            "invalid certificate of user {} on {hop}: {what}",
            hop.username
        ))
    };
    check_nesting(line).map_err(&wrong)?;
    let certificate =
        Certificate::from_openssh(line.trim()).map_err(|error| wrong(error.to_string()))?;
    if certificate.public_key() != key.public_key().key_data() {
        return Err(wrong("it belongs to another private key".into()));
    }
    Ok(Some(certificate))
}

/// Returns an obvious problem of a certificate, for the error if the host refuses it.
pub(super) fn problem(certificate: &Certificate, user: &str) -> Option<String> {
    let principals = certificate.valid_principals();
    if is_out_of_date(certificate) {
        Some(format!(
            "the certificate is not valid now (valid {})",
            validity(certificate)
        ))
    } else if certificate.cert_type().is_host() {
        Some("the certificate is a host certificate: expected a user certificate".into())
    } else if !principals.is_empty() && !principals.iter().any(|name| name == user) {
        // The host may map names, so the certificate is tried nevertheless.
        Some(format!(
            "the certificate is valid for {}, not for {user}",
            principals.join(", ")
        ))
    } else {
        None
    }
}

/// Signs with a private key and the negotiated hash: by default, the library signs RSA certificates
/// with SHA-1.
pub(super) struct OwnKey<'a>(pub(super) &'a PrivateKey);

impl Signer for OwnKey<'_> {
    type Error = AgentAuthError;

    async fn auth_sign(
        &mut self,
        _: &AgentIdentity,
        hash: Option<HashAlg>,
        mut data: Vec<u8>,
    ) -> Result<Vec<u8>, AgentAuthError> {
        let failed = |_| AgentAuthError::Key(russh::keys::Error::InvalidParameters);
        let signature: Signature = match self.0.key_data() {
            KeypairData::Rsa(pair) => (pair, hash).try_sign(&data),
            _ => self.0.try_sign(&data),
        }
        .map_err(failed)?;
        let mut encoded = Vec::new();
        signature
            .encode(&mut encoded)
            .and_then(|()| encoded.encode(&mut data))
            .map_err(|error| AgentAuthError::Key(error.into()))?;
        Ok(data)
    }
}
