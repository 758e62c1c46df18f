//! Validation of connections when they are entered.

use netssh_core::{HostKey, HostKeyPolicy};
use secrecy::ExposeSecret;
use uuid::Uuid;

use super::answers::check_answers;
use super::{ConnectionError, ConnectionInput, Connections, NO_AGENT, SecretChange};
use crate::credentials::{check_certificate, check_private_key};
use crate::model::{
    Connection, FieldError, RouteError, SavedConnections, SealedField, SecretField, Way, check_host,
};
use crate::storage::StorageError;

/// The connection that an update replaces, and the route for which its secrets were sealed.
#[derive(Clone, Copy)]
pub(super) struct Replaced<'a> {
    pub(super) connection: &'a Connection,
    /// `None` if there is no route, because the database was changed by hand.
    pub(super) way: Option<&'a Way>,
}

/// The reason why stored secrets may not be kept: they would reach another host than the one they were
/// given for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Moved {
    /// Another address, user or route.
    Address,
    /// The same address, user and route, but another host key or none.
    HostKey,
}

impl Moved {
    pub(super) fn place(self) -> &'static str {
        match self {
            Self::Address => "address, user or route (host, port, username, jump)",
            Self::HostKey => "host key",
        }
    }
}

impl Connections {
    /// Validates an input completely. `new` is the resulting connection without its secrets, `old` the
    /// connection that it replaces.
    pub(super) async fn check(
        &self,
        input: &ConnectionInput,
        new: &Connection,
        old: Option<Replaced<'_>>,
        saved: &SavedConnections,
    ) -> Result<Way, ConnectionError> {
        let mut errors = check_fields(input);
        if self.platforms.named(&input.device_type).is_none() {
            let message = self.unknown_platform(&input.device_type);
            errors.push(FieldError::field("device_type", message));
        }
        if input.agent && self.devices.ssh_agent.is_none() {
            errors.push(FieldError::field("agent", NO_AGENT));
        }
        let way = check_way(new, old.map(|old| old.connection), saved);
        let moved = match (&way, old) {
            (Ok(new_way), Some(old)) => self.moved(old.way, new_way).await?,
            // The error about the route is added below.
            _ => None,
        };
        let replaced = old.map(|old| old.connection);
        if let (Some(old), Some(moved)) = (replaced, moved) {
            errors.extend(check_kept_secrets(input, old, moved));
        }
        errors.extend(check_answers(input, replaced, moved));
        let way = match way {
            Ok(way) if errors.is_empty() => way,
            way => {
                errors.extend(way.err());
                return Err(ConnectionError::Invalid(errors));
            }
        };
        // Opening a key is expensive, so it is tried only for otherwise valid inputs.
        match self.check_keys(input, old).await {
            None => Ok(way),
            Some(error) => Err(ConnectionError::Invalid(vec![error])),
        }
    }

    /// Returns how the host that secrets would reach differs between two routes.
    ///
    /// Pinning the key that is already known, or removing such a pin, is no difference.
    async fn moved(&self, old: Option<&Way>, new: &Way) -> Result<Option<Moved>, StorageError> {
        let Some(old) = old else {
            return Ok(Some(Moved::Address));
        };
        if old == new {
            return Ok(None);
        }
        if old.with_pin(None) != new.with_pin(None) {
            return Ok(Some(Moved::Address));
        }
        let ((None, Some(pin)) | (Some(pin), None)) = (old.pin(), new.pin()) else {
            return Ok(Some(Moved::HostKey));
        };
        let known = self.storage.host_keys(&new.host_key_place()).await?;
        let is_known = !known.is_empty() && known.iter().all(|known| known.fingerprint == pin);
        let same = is_known && self.host_key_policy != HostKeyPolicy::Insecure;
        Ok((!same).then_some(Moved::HostKey))
    }

    /// Checks that the private key opens and that the certificate matches it.
    async fn check_keys(
        &self,
        input: &ConnectionInput,
        old: Option<Replaced<'_>>,
    ) -> Option<FieldError> {
        let said = |field| input.secrets.iter().any(|(said, _)| *said == field);
        let certificate_changed = old
            .is_none_or(|old| old.connection.certificate != input.certificate)
            && input.certificate.is_some();
        if !said(SecretField::PrivateKey) && !said(SecretField::Passphrase) && !certificate_changed
        {
            return None;
        }
        // The value that will be stored. A secret that does not open cannot be checked.
        let after = |field| match input.secrets.iter().find(|(said, _)| *said == field) {
            Some((_, SecretChange::Set(secret))) => Some(secret.clone()),
            Some((_, SecretChange::Clear)) => None,
            None => old.and_then(|old| {
                let sealed = old.connection.secrets.get(field)?;
                let field = SealedField::Secret(field);
                let opened =
                    self.master_key
                        .open_secret(old.connection.id, field, old.way?, sealed);
                opened.ok()
            }),
        };
        let key = after(SecretField::PrivateKey);
        let passphrase = after(SecretField::Passphrase);
        let certificate = input.certificate.clone();
        if certificate.is_some() && key.is_none() && !input.agent {
            let message = "not allowed without its private key or an agent";
            return Some(FieldError::field("certificate", message));
        }
        let checking = tokio::task::spawn_blocking(move || {
            let passphrase = passphrase.as_ref().map(ExposeSecret::expose_secret);
            let key = key
                .map(|key| check_private_key(key.expose_secret(), passphrase))
                .transpose()?;
            certificate.map_or(Ok(()), |text| check_certificate(&text, key.as_ref()))
        });
        match checking.await {
            Ok(checked) => checked.err(),
            Err(_) => Some(FieldError::field("private_key", "failed to read it")),
        }
    }
}

/// Returns the route to a connection. Checks that it exists, and that connections that jump through this
/// one still have one.
fn check_way(
    new: &Connection,
    old: Option<&Connection>,
    saved: &SavedConnections,
) -> Result<Way, FieldError> {
    let wrong = |error: RouteError| FieldError::field("jump", error.to_string());
    let Some(old) = old else {
        return saved.way(new).map_err(wrong);
    };
    let after = saved.with(new);
    let way = after.way(new).map_err(wrong)?;
    if old.jump == new.jump {
        return Ok(way);
    }
    let others = after.all().into_iter();
    for other in others.filter(|other| other.jump.contains(&new.name)) {
        if let Err(error) = after.way(other) {
            let message = format!(
                "not allowed: `{}` would become unreachable: {error}",
                other.name
            );
            return Err(FieldError::field("jump", message));
        }
    }
    Ok(way)
}

/// Rejects kept secrets that would reach another host than the one they were entered for.
fn check_kept_secrets(input: &ConnectionInput, old: &Connection, moved: Moved) -> Vec<FieldError> {
    let kept = SecretField::ALL.into_iter().filter(|field| {
        old.secrets.get(*field).is_some() && input.secrets.iter().all(|(said, _)| said != field)
    });
    let how = match moved {
        Moved::Address => "give it again, or null to clear it".to_owned(),
        Moved::HostKey => format!(
            "give it again, or null to clear it; to keep it, trust the new host key: POST \
             /api/connections/{}/host-keys",
            old.name
        ),
    };
    kept.map(|field| {
        let place = moved.place();
        FieldError::field(
            field.as_str(),
            format!("is stored for another {place}: {how}"),
        )
    })
    .collect()
}

fn check_fields(input: &ConnectionInput) -> Vec<FieldError> {
    let mut errors = Vec::new();
    let mut expect = |holds: bool, field, message: &str| {
        if !holds {
            errors.push(FieldError::field(field, message));
        }
    };
    let is_word = |text: &str, most: usize| {
        !text.is_empty()
            && text.chars().count() <= most
            && !text.contains(|c: char| c.is_control() || c.is_whitespace())
    };
    let is_name = |text: &str| is_word(text, 128) && !text.contains(['/', ':', ',', '?', '#', '%']);
    expect(
        is_name(&input.name),
        "name",
        "expected 1 to 128 characters without spaces and / : , ? # %",
    );
    expect(
        Uuid::parse_str(&input.name).is_err(),
        "name",
        "a name that is a UUID is not allowed: it could be confused with an id",
    );
    expect(
        !matches!(input.name.as_str(), "." | ".."),
        "name",
        "`.` and `..` are not allowed: they have a special meaning in URLs",
    );
    let host = check_host(&input.host);
    expect(
        host.is_ok(),
        "host",
        host.as_ref().err().map_or("", String::as_str),
    );
    expect(input.port != 0, "port", "expected 1 to 65535");
    expect(
        is_word(&input.username, 256),
        "username",
        "expected 1 to 256 characters without spaces",
    );
    expect(
        (1..=86_400).contains(&input.timeout_seconds),
        "timeout_seconds",
        "expected 1 to 86400 seconds",
    );
    expect(
        (1..=64).contains(&input.max_sessions),
        "max_sessions",
        "expected 1 to 64 jobs",
    );
    expect(
        input.tags.len() <= 64 && input.tags.iter().all(|tag| is_name(tag)),
        "tags",
        "expected at most 64 tags, each of 1 to 128 characters without spaces and / : , ? # %",
    );
    expect(
        input.host_key.as_deref().is_none_or(is_pin),
        "host_key",
        A_PIN,
    );
    let length = |text: &String| (1..=65_536).contains(&text.len());
    expect(
        input.certificate.as_ref().is_none_or(length),
        "certificate",
        "expected 1 to 65536 bytes",
    );
    for (field, change) in &input.secrets {
        if let SecretChange::Set(secret) = change {
            let length = secret.expose_secret().len();
            expect(
                (1..=65_536).contains(&length),
                field.as_str(),
                "expected 1 to 65536 bytes; null removes it",
            );
        }
    }
    errors
}

/// The message for an invalid pin.
pub(super) const A_PIN: &str = "expected a fingerprint (SHA256: and 43 characters of base64) or a \
                                public key in OpenSSH format (ssh-ed25519 AAAA…)";

/// Returns whether a text is a fingerprint or a public key.
pub(super) fn is_pin(text: &str) -> bool {
    const SHA256_BASE64: usize = 43;
    let text = text.trim();
    match text.strip_prefix("SHA256:") {
        Some(digest) => {
            let digest = digest.trim_end_matches('=');
            digest.len() == SHA256_BASE64
                && digest
                    .bytes()
                    .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/'))
        }
        None => HostKey::parse(text).is_ok(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pins_are_fingerprints_or_public_keys() {
        let key =
            "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJdD7y3aLq454yWBdwLWbieU1ebz9/cu7/QEXn9OIeZJ";
        for pin in [
            "SHA256:47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU",
            "SHA256:47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=",
            key,
            &format!("{key} a comment"),
        ] {
            assert!(is_pin(pin), "{pin}");
        }
        for pin in [
            "",
            "SHA256:",
            "SHA256:abc",
            "SHA256:47DEQpj8HBSa-_TImW-5JCeuQeRkm5NMpJWZG3hSuFU",
            "MD5:d4:1d:8c:d9:8f:00:b2:04:e9:80:09:98:ec:f8:42:7e",
            "ssh-ed25519 AAAA",
            "two words",
        ] {
            assert!(!is_pin(pin), "{pin}");
        }
    }
}
