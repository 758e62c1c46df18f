//! Keys that identify interchangeable sessions.

use std::fmt;

use secrecy::{ExposeSecret, SecretString};
use sha2::{Digest, Sha256};

use crate::endpoint::{Answer, Credentials, Endpoint};
use crate::host_keys::HostKeyPolicy;

/// A digest of everything that distinguishes a session: destination, jump hosts, user, secrets and
/// checks. A session is never reused with credentials other than those that opened it.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct Key([u8; 32]);

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Key")
    }
}

impl Key {
    pub(super) fn of(endpoint: &Endpoint) -> Self {
        let mut hash = Fields(Sha256::new());
        hash.text(&Address::of(endpoint).to_string());
        hash.text(&endpoint.username);
        hash.credentials(&endpoint.credentials);
        hash.secret(endpoint.enable_secret.as_ref());
        hash.text(&endpoint.platform.name);
        hash.text(&format!("{:?}", endpoint.algorithms));
        hash.checks(endpoint.host_key_policy, endpoint.pinned_host_key.as_ref());
        for jump in &endpoint.jumps {
            hash.text(&jump.host);
            hash.text(&jump.port.to_string());
            hash.text(&jump.username);
            hash.credentials(&jump.credentials);
            hash.text(&format!("{:?}", jump.algorithms));
            hash.checks(jump.host_key_policy, jump.pinned_host_key.as_ref());
        }
        let log = endpoint.session_log.as_ref();
        hash.optional(log.map(|log| log.name()));
        // These belong to the session, which keeps the values it was opened with.
        hash.text(&format!(
            "{:?} {}",
            endpoint.timeouts, endpoint.output_limit
        ));
        Self(hash.0.finalize().into())
    }
}

/// Returns a digest of everything that a device may refuse at a login: destination, user and
/// secrets. Other settings are not included, so that changing them does not allow another attempt
/// with a wrong password.
pub(super) fn credentials_of(endpoint: &Endpoint) -> [u8; 32] {
    let mut hash = Fields(Sha256::new());
    hash.text(&Address::of(endpoint).to_string());
    hash.text(&endpoint.username);
    hash.credentials(&endpoint.credentials);
    hash.secret(endpoint.enable_secret.as_ref());
    for jump in &endpoint.jumps {
        hash.text(&jump.username);
        hash.credentials(&jump.credentials);
    }
    hash.0.finalize().into()
}

/// A hash of fields, each with its length, so that different fields never hash alike.
struct Fields(Sha256);

impl Fields {
    fn text(&mut self, text: &str) {
        self.0.update(text.len().to_le_bytes());
        self.0.update(text);
    }

    fn optional(&mut self, text: Option<&str>) {
        self.0.update([u8::from(text.is_some())]);
        self.text(text.unwrap_or_default());
    }

    fn secret(&mut self, secret: Option<&SecretString>) {
        self.optional(secret.map(ExposeSecret::expose_secret));
    }

    fn credentials(&mut self, credentials: &Credentials) {
        self.secret(credentials.password.as_ref());
        self.secret(credentials.private_key.as_ref());
        self.secret(credentials.passphrase.as_ref());
        self.optional(credentials.certificate.as_deref());
        let agent = credentials
            .agent
            .as_ref()
            .map(|path| path.to_string_lossy());
        self.optional(agent.as_deref());
        self.text(&credentials.answers.len().to_string());
        for answer in &credentials.answers {
            // Destructured, so that a new field is not forgotten here.
            let Answer {
                question,
                answer,
                key,
                secret,
            } = answer;
            self.text(question.as_str());
            self.text(answer.expose_secret());
            self.text(&format!("{key} {secret}"));
        }
    }

    fn checks(&mut self, policy: HostKeyPolicy, pinned: Option<&String>) {
        self.text(&format!("{policy:?}"));
        self.optional(pinned.map(String::as_str));
    }
}

/// The address of a device: host, port and jump hosts.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Address(String);

impl Address {
    pub(super) fn of(endpoint: &Endpoint) -> Self {
        let mut address = format!("{}:{}", endpoint.host.to_lowercase(), endpoint.port);
        for jump in endpoint.jumps.iter().rev() {
            address.push_str(&format!(
                " by way of {}:{}",
                jump.host.to_lowercase(),
                jump.port
            ));
        }
        Self(address)
    }
}

impl From<String> for Address {
    fn from(address: String) -> Self {
        Self(address)
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::platform::{Pattern, Platform};

    #[test]
    fn sessions_with_other_answers_are_not_interchangeable() {
        let with = |answers: Vec<Answer>| {
            let platform = Platform::named("cisco_ios").unwrap();
            let mut endpoint = Endpoint::new("192.0.2.1", "admin", platform);
            endpoint.credentials.answers = answers;
            Key::of(&endpoint)
        };
        let answer =
            |question: &str, text: &str| Answer::new(Pattern::new(question).unwrap(), text);
        let plain = || answer("Role", "1");
        let different = [
            vec![],
            vec![plain()],
            vec![answer("Rol", "e1")],
            vec![answer("Role", "2")],
            vec![plain().one_key()],
            vec![plain().shown()],
            vec![plain().one_key().shown()],
            vec![plain(), plain()],
            vec![plain(), answer("Realm", "a")],
            vec![answer("Realm", "a"), plain()],
        ];
        for (at, one) in different.iter().enumerate() {
            assert_eq!(with(one.clone()), with(one.clone()));
            for other in &different[..at] {
                assert_ne!(with(one.clone()), with(other.clone()), "{one:?} {other:?}");
            }
        }
    }
}
