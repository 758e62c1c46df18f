//! Secrets at rest: XChaCha20-Poly1305 under a master key that never enters the database.
//!
//! A sealed value is `version (1 byte) ‖ nonce (24 bytes) ‖ ciphertext and tag`. The row and field
//! it belongs to are authenticated with it, so that a value copied to another row, by hand or by a
//! bug, does not open there.
//!
//! Digests of requests, which may contain secrets, are HMACs under a key derived from the master key.

use std::io::{Read, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::Path;

use anyhow::{Context, bail, ensure};
use chacha20poly1305::aead::{Aead, Generate, Key, KeyInit, Payload};
use chacha20poly1305::{XChaCha20Poly1305, XNonce};
use hmac::{Hmac, Mac as _};
use secrecy::{ExposeSecret, SecretString};
use sha2::Sha256;
use uuid::Uuid;

use crate::model::SecretField;
use crate::storage::Storage;

const VERSION: u8 = 1;
const NONCE_LENGTH: usize = 24;
const KEY_LENGTH: usize = 32;
/// Under this key of `meta` stands a value sealed at first start, to recognise a wrong key by.
pub(crate) const CHECK: &str = "master_key_check";

/// A sealed value that does not open: another key, another row, or bytes that were changed.
#[derive(Debug, thiserror::Error)]
#[error("a stored secret does not open with this master key")]
pub struct DoesNotOpen;

pub struct MasterKey {
    cipher: XChaCha20Poly1305,
    digests: DigestKey,
    login_digests: DigestKey,
}

impl std::fmt::Debug for MasterKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("MasterKey")
    }
}

/// A key for digests of texts that may hold secrets: without the key, a digest does not tell whether a
/// guess is right.
#[derive(Clone)]
pub struct DigestKey(Hmac<Sha256>);

impl DigestKey {
    fn derive(master: &[u8], purpose: &str) -> Self {
        let derived = Self::mac(master).chain_update(purpose).finalize();
        Self(Self::mac(&derived.into_bytes()))
    }

    fn mac(key: &[u8]) -> Hmac<Sha256> {
        Hmac::new_from_slice(key).expect("HMAC takes keys of any length")
    }

    /// Returns the digest of a text in hexadecimal.
    #[must_use]
    pub fn digest(&self, bytes: &[u8]) -> String {
        let digest = self.0.clone().chain_update(bytes).finalize();
        let digest = digest.into_bytes();
        digest.iter().map(|byte| format!("{byte:02x}")).collect()
    }
}

impl MasterKey {
    /// Reads the key file, and makes sure that it is the one this database was sealed with. For a
    /// database that nothing was sealed in yet, makes one with mode 0600 if there is none.
    ///
    /// # Errors
    /// When the file cannot be read or made, is not a key, can be read by others, or is not there
    /// although there are secrets it would open; or when it is another key: starting would make
    /// every stored credential useless, and new ones would be sealed with a second key.
    pub async fn of(storage: &dyn Storage, path: &Path) -> anyhow::Result<Self> {
        let shown = path.display();
        let sealed = storage.meta(CHECK).await?;
        if sealed.is_some() && !path.exists() {
            bail!(
                "the master key file {shown} is not there; put the one this database was sealed \
                 with in its place, or name it in security.master_key_file"
            );
        }
        let key = Self::load_or_create(path)?;
        match sealed {
            Some(sealed) if key.open(&sealed, CHECK).is_err() => bail!(
                "{shown} is not the master key this database was sealed with; put the right file \
                 there, or name it in security.master_key_file"
            ),
            Some(_) => {}
            None => storage.set_meta(CHECK, &key.seal(CHECK, CHECK)).await?,
        }
        Ok(key)
    }

    /// Whether the key in a file is the one that sealed a database's check; `None` when there is no
    /// key that can be read.
    #[must_use]
    pub fn fits(path: &Path, check: &[u8]) -> Option<bool> {
        let key = Self::load(std::fs::File::open(path).ok()?).ok()?;
        Some(key.open(check, CHECK).is_ok())
    }

    fn load_or_create(path: &Path) -> anyhow::Result<Self> {
        let shown = path.display();
        match std::fs::File::open(path) {
            Ok(file) => Self::load(file).with_context(|| format!("the master key file {shown}")),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Self::create(path)
                .with_context(|| format!("cannot make the master key file {shown}")),
            Err(error) => {
                Err(error).with_context(|| format!("cannot read the master key file {shown}"))
            }
        }
    }

    fn load(mut file: std::fs::File) -> anyhow::Result<Self> {
        let mode = file.metadata()?.permissions().mode() & 0o777;
        ensure!(
            mode & 0o077 == 0,
            "can be read by others (mode {mode:o}); make it private: chmod 600"
        );
        let mut text = String::new();
        file.read_to_string(&mut text)
            .context("is not text, so it is not a key this program made")?;
        let bytes = from_hex(text.trim())
            .with_context(|| format!("has to hold {} hexadecimal digits", KEY_LENGTH * 2))?;
        Ok(Self::from_bytes(bytes))
    }

    fn create(path: &Path) -> anyhow::Result<Self> {
        let key = Key::<XChaCha20Poly1305>::generate();
        let text: String = key.iter().map(|byte| format!("{byte:02x}")).collect();
        // Written aside and linked into place: a crash leaves a whole key or none, and of two
        // processes that start at once only one makes it.
        let aside = path.with_extension(format!("{}.tmp", std::process::id()));
        let mut file = std::fs::OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&aside)?;
        file.write_all(format!("{text}\n").as_bytes())?;
        file.sync_all()?;
        let linked = std::fs::hard_link(&aside, path);
        std::fs::remove_file(&aside)?;
        linked?;
        tracing::info!(file = %path.display(), "made a master key; keep a copy: without it, stored credentials cannot be read");
        Ok(Self::from_bytes(key.into()))
    }

    fn from_bytes(bytes: [u8; KEY_LENGTH]) -> Self {
        Self {
            cipher: XChaCha20Poly1305::new(&bytes.into()),
            digests: DigestKey::derive(&bytes, "digests of requests"),
            login_digests: DigestKey::derive(&bytes, "digests of credentials"),
        }
    }

    /// Returns the key for digests of requests.
    #[must_use]
    pub fn digest_key(&self) -> DigestKey {
        self.digests.clone()
    }

    /// Returns the key for digests of credentials that devices have refused.
    #[must_use]
    pub fn login_digest_key(&self) -> DigestKey {
        self.login_digests.clone()
    }

    /// Seals a secret of a connection.
    #[must_use]
    pub fn seal_secret(&self, row: Uuid, field: SecretField, secret: &SecretString) -> Vec<u8> {
        self.seal(secret.expose_secret(), &place(row, field))
    }

    /// # Errors
    /// When the value was not sealed for this row and field with this key.
    pub fn open_secret(
        &self,
        row: Uuid,
        field: SecretField,
        sealed: &[u8],
    ) -> Result<SecretString, DoesNotOpen> {
        self.open(sealed, &place(row, field))
            .map(SecretString::from)
    }

    /// Seals the answer to a question, bound to the question and its `key`.
    #[must_use]
    pub fn seal_answer(
        &self,
        row: Uuid,
        (question, key): (&str, bool),
        answer: &SecretString,
    ) -> Vec<u8> {
        self.seal(answer.expose_secret(), &answer_place(row, question, key))
    }

    /// # Errors
    /// When the value was not sealed for this row and question with this key.
    pub fn open_answer(
        &self,
        row: Uuid,
        (question, key): (&str, bool),
        sealed: &[u8],
    ) -> Result<SecretString, DoesNotOpen> {
        self.open(sealed, &answer_place(row, question, key))
            .map(SecretString::from)
    }

    fn seal(&self, text: &str, place: &str) -> Vec<u8> {
        let nonce = XNonce::generate();
        let payload = Payload {
            msg: text.as_bytes(),
            aad: place.as_bytes(),
        };
        let ciphertext = self
            .cipher
            .encrypt(&nonce, payload)
            .expect("a secret is far shorter than the 256 GiB this cipher takes");
        [&[VERSION][..], &nonce[..], &ciphertext[..]].concat()
    }

    fn open(&self, sealed: &[u8], place: &str) -> Result<String, DoesNotOpen> {
        let (&version, rest) = sealed.split_first().ok_or(DoesNotOpen)?;
        if version != VERSION || rest.len() < NONCE_LENGTH {
            return Err(DoesNotOpen);
        }
        let (nonce, ciphertext) = rest.split_at(NONCE_LENGTH);
        let nonce = XNonce::try_from(nonce).map_err(|_| DoesNotOpen)?;
        let payload = Payload {
            msg: ciphertext,
            aad: place.as_bytes(),
        };
        let text = self
            .cipher
            .decrypt(&nonce, payload)
            .map_err(|_| DoesNotOpen)?;
        String::from_utf8(text).map_err(|_| DoesNotOpen)
    }
}

fn place(row: Uuid, field: SecretField) -> String {
    format!("ssh_connections/{row}/{}", field.as_str())
}

/// The question comes last: no question can imitate another binding.
fn answer_place(row: Uuid, question: &str, key: bool) -> String {
    let form = if key { "key" } else { "line" };
    format!("ssh_connections/{row}/answers/{form}/{question}")
}

fn from_hex(text: &str) -> Option<[u8; KEY_LENGTH]> {
    if text.len() != KEY_LENGTH * 2 || !text.is_ascii() {
        return None;
    }
    let mut bytes = [0; KEY_LENGTH];
    for (byte, digits) in bytes.iter_mut().zip(text.as_bytes().chunks(2)) {
        let digits = std::str::from_utf8(digits).ok()?;
        *byte = u8::from_str_radix(digits, 16).ok()?;
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key() -> (tempfile::TempDir, MasterKey) {
        let directory = tempfile::tempdir().unwrap();
        let key = MasterKey::load_or_create(&directory.path().join("scheduler.key")).unwrap();
        (directory, key)
    }

    #[test]
    fn a_secret_opens_only_in_its_own_place() {
        let (_directory, key) = key();
        let row = Uuid::now_v7();
        let sealed = key.seal_secret(row, SecretField::Password, &"hunter2".into());

        let opened = key
            .open_secret(row, SecretField::Password, &sealed)
            .unwrap();
        assert_eq!(opened.expose_secret(), "hunter2");
        assert!(key.open_secret(row, SecretField::Secret, &sealed).is_err());
        assert!(
            key.open_secret(Uuid::now_v7(), SecretField::Password, &sealed)
                .is_err()
        );
        assert!(!sealed.windows(7).any(|window| window == b"hunter2"));
    }

    #[test]
    fn an_answer_opens_only_for_its_own_question() {
        let (_directory, key) = key();
        let row = Uuid::now_v7();
        let sealed = key.seal_answer(row, ("Role:", false), &"hunter2".into());

        let opened = key.open_answer(row, ("Role:", false), &sealed).unwrap();
        assert_eq!(opened.expose_secret(), "hunter2");
        for (row, question, one_key) in [
            (row, "Role:", true),
            (row, "Role", false),
            (row, "", false),
            (Uuid::now_v7(), "Role:", false),
        ] {
            let opened = key.open_answer(row, (question, one_key), &sealed);
            assert!(opened.is_err(), "{question:?} {one_key}");
        }
        assert!(
            key.open_secret(row, SecretField::Password, &sealed)
                .is_err()
        );
    }

    #[test]
    fn changed_or_cut_bytes_do_not_open() {
        let (_directory, key) = key();
        let row = Uuid::now_v7();
        let sealed = key.seal_secret(row, SecretField::Password, &"hunter2".into());
        for length in 0..sealed.len() {
            assert!(
                key.open_secret(row, SecretField::Password, &sealed[..length])
                    .is_err()
            );
            let mut changed = sealed.clone();
            changed[length] ^= 1;
            assert!(
                key.open_secret(row, SecretField::Password, &changed)
                    .is_err()
            );
        }
    }

    #[test]
    fn the_file_is_private_and_read_again() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("scheduler.key");
        let first = MasterKey::load_or_create(&path).unwrap();
        let mode = std::fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);

        let row = Uuid::now_v7();
        let sealed = first.seal_secret(row, SecretField::Password, &"x".into());
        let again = MasterKey::load_or_create(&path).unwrap();
        assert!(
            again
                .open_secret(row, SecretField::Password, &sealed)
                .is_ok()
        );

        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).unwrap();
        let error = format!("{:#}", MasterKey::load_or_create(&path).unwrap_err());
        assert!(error.contains("chmod 600"), "{error}");
    }
}
