//! Secrets at rest: XChaCha20-Poly1305 under a master key that never enters the database.
//!
//! A sealed value is `version (1 byte) ‖ key id (8 bytes) ‖ nonce (24 bytes) ‖ ciphertext and tag`. The
//! associated data binds it to its row, its field and the whole way to the device, including the host
//! keys trusted on it ([`Way`]). A value copied to another row, or in a row with a changed address,
//! does not open: no host receives a secret that was entered for another one.
//!
//! Values of version 1, which lack the key id and the way, are sealed again at the first start
//! ([`crate::connections`]) and cannot be opened otherwise. `rotation` replaces the key.
//!
//! Digests of requests, which may contain secrets, are HMACs under a key derived from the master key.

mod rotation;
mod version1;

use std::fmt;
use std::io::{Read, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::Path;

use anyhow::{Context, bail, ensure};
use chacha20poly1305::aead::{Aead, Generate, Key, KeyInit, Payload};
use chacha20poly1305::{XChaCha20Poly1305, XNonce};
use hmac::{Hmac, Mac as _};
use secrecy::zeroize::{Zeroize as _, Zeroizing};
use secrecy::{ExposeSecret, SecretString};
use sha2::Sha256;
use uuid::Uuid;

pub(crate) use self::rotation::old_file;
pub use self::rotation::{Rotated, rotate};
pub(crate) use self::version1::is_version1;
use crate::model::{SealedField, Way, add_text};
use crate::storage::{MASTER_KEY_CHECK, MetaStore};

const VERSION: u8 = 2;
const NONCE_LENGTH: usize = 24;
const KEY_LENGTH: usize = 32;
const KEY_ID_LENGTH: usize = 8;

/// Why a sealed value cannot be opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UnsealError {
    #[error("it was sealed with another master key: expected key {own}, got key {found}")]
    OtherKey { own: KeyId, found: KeyId },
    #[error("it was sealed by another version of the scheduler")]
    OtherVersion,
    /// Authenticated encryption does not distinguish these causes.
    #[error(
        "it is bound to another address, user, route or host key than the connection in the database \
         has, or it is damaged"
    )]
    OtherPlace,
}

/// The id of a master key, which reveals nothing about the key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeyId([u8; KEY_ID_LENGTH]);

impl KeyId {
    /// Returns the id of the key that sealed a value; `None` for a version without an id.
    #[must_use]
    pub fn of(sealed: &[u8]) -> Option<Self> {
        let (&version, rest) = sealed.split_first()?;
        let id = rest.first_chunk::<KEY_ID_LENGTH>()?;
        (version == VERSION).then_some(Self(*id))
    }
}

impl fmt::Display for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// The master key, which seals the secrets of connections.
pub struct MasterKey {
    cipher: XChaCha20Poly1305,
    id: KeyId,
    digests: DigestKey,
    login_digests: DigestKey,
}

impl fmt::Debug for MasterKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("MasterKey")
    }
}

/// A key for digests of texts that may contain secrets: without the key, a digest cannot confirm a
/// guess.
#[derive(Clone)]
pub struct DigestKey(Hmac<Sha256>);

impl DigestKey {
    fn derive(master: &[u8], purpose: &str) -> Self {
        let derived = Self::keyed(master).chain_update(purpose).finalize();
        Self(Self::keyed(&derived.into_bytes()))
    }

    fn keyed(key: &[u8]) -> Hmac<Sha256> {
        Hmac::new_from_slice(key).expect("HMAC takes keys of any length")
    }

    fn mac(&self, bytes: &[u8]) -> [u8; 32] {
        let mac = self.0.clone().chain_update(bytes).finalize();
        mac.into_bytes().into()
    }

    /// Returns the digest of a text in hexadecimal.
    #[must_use]
    pub fn digest(&self, bytes: &[u8]) -> String {
        let digest = self.mac(bytes);
        digest.iter().map(|byte| format!("{byte:02x}")).collect()
    }
}

impl MasterKey {
    /// Reads the key file and checks that it is the key that this database was sealed with. Creates a
    /// key with mode 0600 if there is none and nothing was sealed in the database yet. Completes a key
    /// rotation that was interrupted after the database had the new key.
    ///
    /// # Errors
    /// If the file cannot be read or created, is not a key, or is readable by others; if it is missing
    /// although the database has sealed values; or if it is another key, which would make all stored
    /// credentials unusable and seal new ones with a second key.
    pub async fn of(storage: &dyn MetaStore, path: &Path) -> anyhow::Result<Self> {
        let shown = path.display();
        let Some(sealed) = storage.meta(MASTER_KEY_CHECK).await? else {
            let key = Self::load_or_create(path)?;
            storage
                .set_meta(MASTER_KEY_CHECK, &key.seal_check())
                .await?;
            return Ok(key);
        };
        if !path.exists() {
            bail!(
                "master key file {shown} not found; put the master key of this database there, or set \
                 its path in security.master_key_file"
            );
        }
        let key = Self::load_or_create(path)?;
        if key.opens_check(&sealed) {
            return Ok(key);
        }
        if let Some(key) = rotation::complete(path, &sealed)? {
            return Ok(key);
        }
        bail!(
            "{shown} is not the master key of this database{}; put the matching file there, or set its \
             path in security.master_key_file",
            key.ids_in_words(&sealed)
        )
    }

    /// Returns whether the key in a file sealed a database's check value; `None` if the file has no
    /// readable key.
    #[must_use]
    pub fn fits(path: &Path, check: &[u8]) -> Option<bool> {
        Some(Self::read(path)?.opens_check(check))
    }

    /// Returns the key in a file; `None` if it has no readable key.
    #[must_use]
    pub fn read(path: &Path) -> Option<Self> {
        Self::load(std::fs::File::open(path).ok()?).ok()
    }

    fn load_or_create(path: &Path) -> anyhow::Result<Self> {
        let shown = path.display();
        match std::fs::File::open(path) {
            Ok(file) => {
                Self::load(file).with_context(|| format!("invalid master key file {shown}"))
            }
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                let key = Self::create(path)
                    .with_context(|| format!("failed to create the master key file {shown}"))?;
                tracing::info!(file = %shown, "created a master key; keep a copy: without it, stored \
                     credentials cannot be decrypted");
                Ok(key)
            }
            Err(error) => {
                Err(error).with_context(|| format!("failed to read the master key file {shown}"))
            }
        }
    }

    fn load(file: std::fs::File) -> anyhow::Result<Self> {
        let mode = file.metadata()?.permissions().mode() & 0o777;
        ensure!(
            mode & 0o077 == 0,
            "other users can read it (mode {mode:o}); make it private with chmod 600"
        );
        // Allocated at the final size: a string that grows leaves copies of the key in memory.
        let mut text = Zeroizing::new(String::with_capacity(KEY_FILE_LENGTH));
        file.take(KEY_FILE_LENGTH as u64)
            .read_to_string(&mut text)
            .context("expected text")?;
        let bytes = from_hex(text.trim())
            .with_context(|| format!("expected {} hexadecimal digits", KEY_LENGTH * 2))?;
        Ok(Self::from_bytes(&bytes))
    }

    fn create(path: &Path) -> anyhow::Result<Self> {
        let mut generated = Key::<XChaCha20Poly1305>::generate();
        let bytes: Zeroizing<[u8; KEY_LENGTH]> = Zeroizing::new(generated.into());
        generated.zeroize();
        let mut text = Zeroizing::new(String::with_capacity(KEY_FILE_LENGTH));
        for byte in bytes.iter() {
            text.extend([byte >> 4, byte & 0xf].map(hex_digit));
        }
        text.push('\n');
        // Written to a temporary file and linked into place: a crash leaves a complete key or none, and
        // only one of two processes that start at once creates it.
        // The name is random: a process id may be that of a process that crashed here before.
        let aside = path.with_extension(format!("{}.tmp", Uuid::now_v7().simple()));
        let mut file = std::fs::OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&aside)?;
        let written = file
            .write_all(text.as_bytes())
            .and_then(|()| file.sync_all());
        let linked = written.and_then(|()| std::fs::hard_link(&aside, path));
        // Whatever failed, no key is left in a second file.
        std::fs::remove_file(&aside)?;
        linked?;
        rotation::sync_directory(path)?;
        Ok(Self::from_bytes(&bytes))
    }

    fn from_bytes(bytes: &[u8; KEY_LENGTH]) -> Self {
        let id = DigestKey::derive(bytes, "id of the master key").mac(b"");
        let mut start = [0; KEY_ID_LENGTH];
        start.copy_from_slice(&id[..KEY_ID_LENGTH]);
        Self {
            cipher: XChaCha20Poly1305::new(bytes.into()),
            id: KeyId(start),
            digests: DigestKey::derive(bytes, "digests of requests"),
            login_digests: DigestKey::derive(bytes, "digests of credentials"),
        }
    }

    /// Returns the key's id, which sealed values contain.
    #[must_use]
    pub fn id(&self) -> KeyId {
        self.id
    }

    /// Returns the key for digests of requests.
    #[must_use]
    pub fn digest_key(&self) -> DigestKey {
        self.digests.clone()
    }

    /// Returns the key for digests of credentials that devices have rejected.
    #[must_use]
    pub fn login_digest_key(&self) -> DigestKey {
        self.login_digests.clone()
    }

    /// Seals a secret of a connection for the way to its device.
    #[must_use]
    pub fn seal_secret(
        &self,
        row: Uuid,
        field: SealedField<'_>,
        way: &Way,
        secret: &SecretString,
    ) -> Vec<u8> {
        self.seal(secret.expose_secret(), &place(row, field, way))
    }

    /// Opens a secret that was sealed for a connection.
    ///
    /// # Errors
    /// If the value was not sealed for this row, field and way with this key.
    pub fn open_secret(
        &self,
        row: Uuid,
        field: SealedField<'_>,
        way: &Way,
        sealed: &[u8],
    ) -> Result<SecretString, UnsealError> {
        self.open(sealed, &place(row, field, way))
            .map(SecretString::from)
    }

    /// Seals a check value, by which a database recognizes this key.
    #[must_use]
    pub fn seal_check(&self) -> Vec<u8> {
        self.seal(MASTER_KEY_CHECK, MASTER_KEY_CHECK.as_bytes())
    }

    /// Returns whether this key sealed a database's check value, in any version.
    fn opens_check(&self, sealed: &[u8]) -> bool {
        self.open(sealed, MASTER_KEY_CHECK.as_bytes()).is_ok()
            || self.open_version1(sealed, MASTER_KEY_CHECK).is_ok()
    }

    /// Returns ` (it is key X, the database has key Y)` if the check value has a key id.
    fn ids_in_words(&self, check: &[u8]) -> String {
        KeyId::of(check).map_or_else(String::new, |found| {
            format!(" (it is key {}, the database needs key {found})", self.id)
        })
    }

    fn seal(&self, text: &str, place: &[u8]) -> Vec<u8> {
        let nonce = XNonce::generate();
        let payload = Payload {
            msg: text.as_bytes(),
            aad: &self.authenticated(place),
        };
        let ciphertext = self
            .cipher
            .encrypt(&nonce, payload)
            .expect("a secret is far shorter than the 256 GiB limit of this cipher");
        [&[VERSION][..], &self.id.0, &nonce[..], &ciphertext[..]].concat()
    }

    fn open(&self, sealed: &[u8], place: &[u8]) -> Result<String, UnsealError> {
        let Some(found) = KeyId::of(sealed) else {
            return Err(match sealed.first() {
                Some(&VERSION) | None => UnsealError::OtherPlace,
                Some(_) => UnsealError::OtherVersion,
            });
        };
        if found != self.id {
            return Err(UnsealError::OtherKey {
                own: self.id,
                found,
            });
        }
        self.decrypt(&sealed[1 + KEY_ID_LENGTH..], &self.authenticated(place))
    }

    fn decrypt(
        &self,
        nonce_and_ciphertext: &[u8],
        authenticated: &[u8],
    ) -> Result<String, UnsealError> {
        let (nonce, ciphertext) = nonce_and_ciphertext
            .split_at_checked(NONCE_LENGTH)
            .ok_or(UnsealError::OtherPlace)?;
        let nonce = XNonce::try_from(nonce).map_err(|_| UnsealError::OtherPlace)?;
        let payload = Payload {
            msg: ciphertext,
            aad: authenticated,
        };
        let text = self.cipher.decrypt(&nonce, payload);
        let text = text.map_err(|_| UnsealError::OtherPlace)?;
        String::from_utf8(text).map_err(|_| UnsealError::OtherPlace)
    }

    fn authenticated(&self, place: &[u8]) -> Vec<u8> {
        [&[VERSION][..], &self.id.0, place].concat()
    }
}

/// Maximum length of a key file: the hexadecimal digits plus white space.
const KEY_FILE_LENGTH: usize = KEY_LENGTH * 2 + 64;

/// Encodes the binding of a value. Each text is preceded by its length, so that no question can imitate
/// another binding.
fn place(row: Uuid, field: SealedField<'_>, way: &Way) -> Vec<u8> {
    let (table, kind) = ("ssh_connections", field.kind());
    let name = match field {
        SealedField::Secret(field) => field.as_str(),
        SealedField::Answer { question, .. } => question,
    };
    let mut place = Vec::new();
    add_text(&mut place, table);
    place.extend(row.as_bytes());
    add_text(&mut place, kind);
    add_text(&mut place, name);
    place.extend(way.bytes());
    place
}

fn hex_digit(value: u8) -> char {
    char::from_digit(value.into(), 16).unwrap_or('0')
}

fn from_hex(text: &str) -> Option<Zeroizing<[u8; KEY_LENGTH]>> {
    if text.len() != KEY_LENGTH * 2 || !text.is_ascii() {
        return None;
    }
    let mut bytes = Zeroizing::new([0; KEY_LENGTH]);
    for (byte, digits) in bytes.iter_mut().zip(text.as_bytes().chunks(2)) {
        let digits = std::str::from_utf8(digits).ok()?;
        *byte = u8::from_str_radix(digits, 16).ok()?;
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Connection, SavedConnections, SecretField, test_connection};

    const PASSWORD: SealedField<'static> = SealedField::Secret(SecretField::Password);

    fn key() -> (tempfile::TempDir, MasterKey) {
        let directory = tempfile::tempdir().unwrap();
        let key = MasterKey::load_or_create(&directory.path().join("scheduler.key")).unwrap();
        (directory, key)
    }

    /// Returns the way to a device through two jump hosts, after a change of one of the three.
    fn way(change: impl Fn(&mut Connection)) -> Way {
        let mut saved = vec![
            test_connection("core", "10.0.0.1", &["inner"]),
            test_connection("inner", "192.0.2.2", &["outer"]),
            test_connection("outer", "192.0.2.1", &[]),
        ];
        saved.iter_mut().for_each(change);
        let core = saved[0].clone();
        SavedConnections::new(saved).way(&core).unwrap()
    }

    #[test]
    fn a_secret_opens_only_in_its_own_place() {
        let (_directory, key) = key();
        let (row, way) = (Uuid::now_v7(), way(|_| {}));
        let sealed = key.seal_secret(row, PASSWORD, &way, &"hunter2".into());

        let opened = key.open_secret(row, PASSWORD, &way, &sealed).unwrap();
        assert_eq!(opened.expose_secret(), "hunter2");
        let enable = SealedField::Secret(SecretField::Secret);
        let refused = Some(UnsealError::OtherPlace);
        assert_eq!(key.open_secret(row, enable, &way, &sealed).err(), refused);
        let other = Uuid::now_v7();
        assert_eq!(
            key.open_secret(other, PASSWORD, &way, &sealed).err(),
            refused
        );
        assert!(!sealed.windows(7).any(|window| window == b"hunter2"));
    }

    #[test]
    fn a_secret_opens_only_for_its_own_way_and_host_keys() {
        let (_directory, key) = key();
        let (row, own) = (Uuid::now_v7(), way(|_| {}));
        let sealed = key.seal_secret(row, PASSWORD, &own, &"hunter2".into());
        let changes: [fn(&mut Connection); 6] = [
            |host| host.host = "evil.example".to_owned(),
            |host| host.port += 1,
            |host| host.username = "other".to_owned(),
            |host| host.host_key = Some("SHA256:abc".to_owned()),
            |host| host.host_key = Some(String::new()),
            |host| host.jump.clear(),
        ];
        for name in ["core", "inner", "outer"] {
            for (at, change) in changes.iter().enumerate() {
                let changed = way(|host| {
                    if host.name == name {
                        change(host);
                    }
                });
                if changed == own {
                    assert!(name == "outer" && at == 5, "{name} {at}");
                    continue;
                }
                let refused = key.open_secret(row, PASSWORD, &changed, &sealed).err();
                assert_eq!(refused, Some(UnsealError::OtherPlace), "{name} {at}");
            }
        }
        // Changes that do not affect the way have no effect.
        let same = way(|host| {
            host.host = host.host.to_ascii_uppercase();
            host.device_type = "cisco_ios".to_owned();
            host.tags.push("core".to_owned());
        });
        assert!(key.open_secret(row, PASSWORD, &same, &sealed).is_ok());
    }

    #[test]
    fn an_answer_opens_only_for_its_own_question() {
        let (_directory, key) = key();
        let (row, way) = (Uuid::now_v7(), way(|_| {}));
        let answer = |question, key| SealedField::Answer { question, key };
        let sealed = key.seal_secret(row, answer("Role:", false), &way, &"hunter2".into());

        let opened = key.open_secret(row, answer("Role:", false), &way, &sealed);
        assert_eq!(opened.unwrap().expose_secret(), "hunter2");
        for (row, field) in [
            (row, answer("Role:", true)),
            (row, answer("Role", false)),
            (row, answer("", false)),
            (row, PASSWORD),
            (Uuid::now_v7(), answer("Role:", false)),
        ] {
            let opened = key.open_secret(row, field, &way, &sealed);
            assert!(opened.is_err(), "{field:?}");
        }
    }

    #[test]
    fn changed_or_cut_bytes_do_not_open() {
        let (_directory, key) = key();
        let (row, way) = (Uuid::now_v7(), way(|_| {}));
        let sealed = key.seal_secret(row, PASSWORD, &way, &"hunter2".into());
        for length in 0..sealed.len() {
            let opened = key.open_secret(row, PASSWORD, &way, &sealed[..length]);
            assert!(opened.is_err());
            let mut changed = sealed.clone();
            changed[length] ^= 1;
            assert!(key.open_secret(row, PASSWORD, &way, &changed).is_err());
        }
    }

    #[test]
    fn a_value_of_another_key_names_both_keys() {
        let (_directory, one) = key();
        let (_directory, other) = key();
        let (row, way) = (Uuid::now_v7(), way(|_| {}));
        let sealed = one.seal_secret(row, PASSWORD, &way, &"hunter2".into());
        let error = other.open_secret(row, PASSWORD, &way, &sealed).unwrap_err();
        let expected = UnsealError::OtherKey {
            own: other.id(),
            found: one.id(),
        };
        assert_eq!(error, expected);
        let message = error.to_string();
        for id in [one.id(), other.id()] {
            assert!(message.contains(&id.to_string()), "{message}");
        }
    }

    #[test]
    fn values_of_version_1_open_only_to_be_sealed_again() {
        let (_directory, key) = key();
        let (row, way) = (Uuid::now_v7(), way(|_| {}));
        let nonce = XNonce::generate();
        let place = format!("ssh_connections/{row}/password");
        let payload = Payload {
            msg: b"hunter2",
            aad: place.as_bytes(),
        };
        let sealed = key.cipher.encrypt(&nonce, payload).unwrap();
        let sealed = [&[1][..], &nonce[..], &sealed[..]].concat();

        let refused = key.open_secret(row, PASSWORD, &way, &sealed).err();
        assert_eq!(refused, Some(UnsealError::OtherVersion));
        let opened = key.open_secret_version1(row, PASSWORD, &sealed).unwrap();
        assert_eq!(opened.expose_secret(), "hunter2");
        let enable = SealedField::Secret(SecretField::Secret);
        assert!(key.open_secret_version1(row, enable, &sealed).is_err());
    }

    #[test]
    fn the_file_is_private_and_read_again() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("scheduler.key");
        let first = MasterKey::load_or_create(&path).unwrap();
        let mode = std::fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);

        let (row, way) = (Uuid::now_v7(), way(|_| {}));
        let sealed = first.seal_secret(row, PASSWORD, &way, &"x".into());
        let again = MasterKey::load_or_create(&path).unwrap();
        assert_eq!(again.id(), first.id());
        assert!(again.open_secret(row, PASSWORD, &way, &sealed).is_ok());

        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).unwrap();
        let error = format!("{:#}", MasterKey::load_or_create(&path).unwrap_err());
        assert!(error.contains("chmod 600"), "{error}");
    }
}
