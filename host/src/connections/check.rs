//! What can be wrong with a connection, found out when it is entered.

use std::collections::HashMap;

use netssh_core::HostKey;
use secrecy::ExposeSecret;
use uuid::Uuid;

use super::answers::check_answers;
use super::{ConnectionError, ConnectionInput, Connections, FieldError, NO_AGENT, SecretChange};
use crate::credentials::{check_certificate, check_private_key};
use crate::model::{Connection, SecretField, check_host, route};

impl Connections {
    /// All that can be wrong with an input; `old` is what it replaces.
    pub(super) async fn check(
        &self,
        input: &ConnectionInput,
        old: Option<&Connection>,
    ) -> Result<(), ConnectionError> {
        let mut errors = check_fields(input);
        if self.platforms.named(&input.device_type).is_none() {
            let message = self.unknown_platform(&input.device_type);
            errors.push(FieldError::new("device_type", message));
        }
        if input.agent && self.devices.ssh_agent.is_none() {
            errors.push(FieldError::new("agent", NO_AGENT));
        }
        if let Some(old) = old {
            errors.extend(check_kept_secrets(input, old));
        }
        let same_address = old.is_none_or(|old| leads_to_the_same(input, old));
        errors.extend(check_answers(input, old, same_address));
        errors.extend(self.check_way(input, old).await?);
        // What opening a key costs is for inputs that are sound otherwise.
        if errors.is_empty() {
            errors.extend(self.check_keys(input, old).await);
        }
        if errors.is_empty() {
            Ok(())
        } else {
            Err(ConnectionError::Invalid(errors))
        }
    }

    /// Whether the device can be reached, and who jumps through it still can, too.
    async fn check_way(
        &self,
        input: &ConnectionInput,
        old: Option<&Connection>,
    ) -> Result<Option<FieldError>, ConnectionError> {
        let others_matter = old.is_some_and(|old| old.jump != input.jump);
        if input.jump.is_empty() && !others_matter {
            return Ok(None);
        }
        let mut jumps: HashMap<String, Vec<String>> = HashMap::new();
        for stored in self.storage.connections().await? {
            if old.is_some_and(|old| old.id == stored.id) {
                continue;
            }
            let mut jump = stored.jump;
            if let Some(old) = old {
                let renamed = jump.iter_mut().filter(|name| **name == old.name);
                renamed.for_each(|name| name.clone_from(&input.name));
            }
            jumps.insert(stored.name, jump);
        }
        if old.is_some() {
            jumps.insert(input.name.clone(), input.jump.clone());
        }
        let way = |name: &str, jump: &[String]| route(name, jump, |hop| jumps.get(hop).cloned());
        if let Err(error) = way(&input.name, &input.jump) {
            return Ok(Some(FieldError::new("jump", error.to_string())));
        }
        for (name, jump) in jumps.iter().filter(|_| others_matter) {
            if jump.contains(&input.name)
                && let Err(error) = way(name, jump)
            {
                let message = format!("`{name}` would not be reached any more: {error}");
                return Ok(Some(FieldError::new("jump", message)));
            }
        }
        Ok(None)
    }

    /// Whether the private key opens, and the certificate goes with it.
    async fn check_keys(
        &self,
        input: &ConnectionInput,
        old: Option<&Connection>,
    ) -> Option<FieldError> {
        let said = |field| input.secrets.iter().any(|(said, _)| *said == field);
        let certificate_changed = old.is_none_or(|old| old.certificate != input.certificate)
            && input.certificate.is_some();
        if !said(SecretField::PrivateKey) && !said(SecretField::Passphrase) && !certificate_changed
        {
            return None;
        }
        // What will be stored. One that does not open any more cannot be checked.
        let after = |field| match input.secrets.iter().find(|(said, _)| *said == field) {
            Some((_, SecretChange::Set(secret))) => Some(secret.clone()),
            Some((_, SecretChange::Clear)) => None,
            None => old.and_then(|old| self.open(old, field).ok().flatten()),
        };
        let key = after(SecretField::PrivateKey);
        let passphrase = after(SecretField::Passphrase);
        let certificate = input.certificate.clone();
        if certificate.is_some() && key.is_none() && !input.agent {
            let message = "needs the private key that it is of, or the agent that has it";
            return Some(FieldError::new("certificate", message));
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
            Err(_) => Some(FieldError::new("private_key", "cannot be read")),
        }
    }
}

/// A stored secret goes to the address it was entered for, and to no other that somebody else
/// may have put in its place.
fn check_kept_secrets(input: &ConnectionInput, old: &Connection) -> Vec<FieldError> {
    if leads_to_the_same(input, old) {
        return Vec::new();
    }
    SecretField::ALL
        .into_iter()
        .filter(|field| old.secrets.get(*field).is_some())
        .filter(|field| input.secrets.iter().all(|(said, _)| said != field))
        .map(|field| {
            FieldError::new(
                field.as_str(),
                "is stored for another address (host, port, username, jump): give it again, or \
                 null to clear it",
            )
        })
        .collect()
}

fn leads_to_the_same(input: &ConnectionInput, old: &Connection) -> bool {
    input.host.eq_ignore_ascii_case(&old.host)
        && input.port == old.port
        && input.username == old.username
        && input.jump == old.jump
}

fn check_fields(input: &ConnectionInput) -> Vec<FieldError> {
    let mut errors = Vec::new();
    let mut expect = |holds: bool, field, message: &str| {
        if !holds {
            errors.push(FieldError::new(field, message));
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
        "is 1 to 128 characters without spaces and without / : , ? # %",
    );
    expect(
        Uuid::parse_str(&input.name).is_err(),
        "name",
        "must not look like an id",
    );
    expect(
        !matches!(input.name.as_str(), "." | ".."),
        "name",
        "must not be `.` or `..`, which have a meaning of their own in URLs",
    );
    let host = check_host(&input.host);
    expect(
        host.is_ok(),
        "host",
        host.as_ref().err().map_or("", String::as_str),
    );
    expect(input.port != 0, "port", "is 1 to 65535");
    expect(
        is_word(&input.username, 256),
        "username",
        "is 1 to 256 characters without spaces",
    );
    expect(
        (1..=86_400).contains(&input.timeout_seconds),
        "timeout_seconds",
        "is 1 to 86400 seconds",
    );
    expect(
        (1..=64).contains(&input.max_sessions),
        "max_sessions",
        "is 1 to 64 jobs that may have sessions to the device at once",
    );
    expect(
        input.tags.len() <= 64 && input.tags.iter().all(|tag| is_name(tag)),
        "tags",
        "are at most 64, each 1 to 128 characters without spaces and without / : , ? # %",
    );
    expect(
        input.host_key.as_deref().is_none_or(is_pin),
        "host_key",
        "is a fingerprint (SHA256: and 43 characters of base64) or a public key as OpenSSH writes \
         it (ssh-ed25519 AAAA…)",
    );
    let length = |text: &String| (1..=65_536).contains(&text.len());
    expect(
        input.certificate.as_ref().is_none_or(length),
        "certificate",
        "is 1 to 65536 bytes",
    );
    for (field, change) in &input.secrets {
        if let SecretChange::Set(secret) = change {
            let length = secret.expose_secret().len();
            expect(
                (1..=65_536).contains(&length),
                field.as_str(),
                "is 1 to 65536 bytes; null takes it away",
            );
        }
    }
    errors
}

/// Returns whether a text is a fingerprint or a public key.
fn is_pin(text: &str) -> bool {
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
