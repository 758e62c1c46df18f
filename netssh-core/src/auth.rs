//! Logging in to one host: keys first, then the password, which is sent at most once.
//!
//! A host may want several factors (OpenSSH's `AuthenticationMethods`). So there are rounds: each
//! tries what there is, in order, until something is accepted; a partial success begins another.

mod key;

use std::sync::Arc;
use std::time::Duration;

use russh::client::{AuthResult, Handle, KeyboardInteractiveAuthResponse, Prompt};
use russh::keys::agent::AgentIdentity;
use russh::keys::agent::client::AgentClient;
use russh::keys::{Certificate, HashAlg, PrivateKey, PrivateKeyWithHashAlg};
use russh::{MethodKind, MethodSet};
use secrecy::ExposeSecret;
use tokio::time::timeout;

pub(crate) use self::key::validity;
use crate::algorithms::{Algorithms, HINT};
use crate::error::Error;
use crate::jump::Hop;
use crate::transport::{Client, Failure, printable};

/// The factors that a host may want.
const FACTORS: usize = 4;
/// A server may ask several rounds of questions; the password answers one of them.
const ROUNDS: usize = 8;
/// Servers count refused keys: OpenSSH hangs up after the sixth refusal, passwords included.
const KEYS: usize = 5;
/// A server that says which signatures it takes does so right after the key exchange.
const EXTENSION_INFO: Duration = Duration::from_millis(100);
/// For what an agent does without asking its user.
const AGENT: Duration = Duration::from_secs(5);

/// Logs in. To be limited by the caller.
pub(crate) async fn authenticate(handle: &mut Handle<Client>, hop: &Hop<'_>) -> Result<(), Error> {
    let credentials = hop.credentials;
    if credentials.private_key.is_none()
        && credentials.password.is_none()
        && credentials.agent.is_none()
        && credentials.answers.is_empty()
    {
        return Err(Error::invalid(format!(
            "no password, no private key and no agent for user {} on {hop}",
            hop.username
        )));
    }
    let mut login = Login {
        handle,
        hop,
        methods: None,
        key: None,
        rsa_hashes: None,
        keys_left: KEYS,
        password: Password::Unused,
        answered: vec![false; credentials.answers.len()],
        refused: Vec::new(),
        notes: Vec::new(),
    };
    for _ in 0..FACTORS {
        match login.round().await? {
            Outcome::Success => return Ok(()),
            Outcome::Partial => {}
            Outcome::Refused => break,
        }
    }
    Err(login.refusal())
}

struct Login<'a> {
    handle: &'a mut Handle<Client>,
    hop: &'a Hop<'a>,
    /// What the host accepts, once it has said so.
    methods: Option<MethodSet>,
    key: Option<Arc<PrivateKey>>,
    rsa_hashes: Option<Vec<Option<HashAlg>>>,
    keys_left: usize,
    password: Password,
    /// Which of the configured answers were given.
    answered: Vec<bool>,
    /// What was refused, for the error.
    refused: Vec<&'static str>,
    /// What else the operator should know.
    notes: Vec<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Password {
    Unused,
    Sent,
    Accepted,
}

enum Outcome {
    Success,
    /// One factor is accepted, the host wants another.
    Partial,
    Refused,
}

impl Login<'_> {
    async fn round(&mut self) -> Result<Outcome, Error> {
        if self.hop.credentials.private_key.is_some() && self.accepts(MethodKind::PublicKey) {
            match self.private_key().await? {
                Outcome::Refused => {}
                other => return Ok(other),
            }
        }
        if self.hop.credentials.agent.is_some() && self.accepts(MethodKind::PublicKey) {
            match self.agent().await? {
                Outcome::Refused => {}
                other => return Ok(other),
            }
        }
        if self.hop.credentials.password.is_some() && self.accepts(MethodKind::Password) {
            match self.password().await? {
                Outcome::Refused => {}
                other => return Ok(other),
            }
        }
        let has_answers = self.hop.credentials.password.is_some() || self.answered.contains(&false);
        if has_answers
            && self.password != Password::Sent
            && self.accepts(MethodKind::KeyboardInteractive)
        {
            return self.keyboard_interactive().await;
        }
        Ok(Outcome::Refused)
    }

    /// Asking which methods there are would cost a round trip, so the first try finds out.
    fn accepts(&self, method: MethodKind) -> bool {
        let methods = self.methods.as_ref();
        methods.is_none_or(|methods| methods.contains(&method))
    }

    /// The certificate for the key, then the key by itself.
    async fn private_key(&mut self) -> Result<Outcome, Error> {
        let key = match &self.key {
            Some(key) => Arc::clone(key),
            None => {
                let key = Arc::new(key::read(self.hop).await?);
                self.key = Some(Arc::clone(&key));
                key
            }
        };
        let hashes = match key.algorithm().is_rsa() {
            true => self.rsa_hashes().await?,
            false => vec![None],
        };
        if let Some(certificate) = key::certificate(self.hop, &key)? {
            if let Some(problem) = key::problem(&certificate, &self.hop.username) {
                self.note(problem);
            }
            if !key::is_out_of_date(&certificate) {
                for hash in &hashes {
                    match self.certificate(&key, &certificate, *hash).await? {
                        Outcome::Refused => {}
                        other => return Ok(other),
                    }
                }
            }
        }
        for hash in hashes {
            if !self.take_key_try() {
                break;
            }
            let key = PrivateKeyWithHashAlg::new(Arc::clone(&key), hash);
            let result = self
                .handle
                .authenticate_publickey(&self.hop.username, key)
                .await
                .map_err(|error| self.broken(&error))?;
            match self.outcome(result, "key").await? {
                Outcome::Refused => {}
                other => return Ok(other),
            }
        }
        Ok(Outcome::Refused)
    }

    async fn certificate(
        &mut self,
        key: &PrivateKey,
        certificate: &Certificate,
        hash: Option<HashAlg>,
    ) -> Result<Outcome, Error> {
        if !self.take_key_try() {
            return Ok(Outcome::Refused);
        }
        let result = self
            .handle
            .authenticate_certificate_with(
                &self.hop.username,
                certificate.clone(),
                hash,
                &mut key::OwnKey(key),
            )
            .await
            .map_err(|error| self.broken(&error))?;
        self.outcome(result, "certificate").await
    }

    /// Whether another key may be tried, and the host still takes keys.
    fn take_key_try(&mut self) -> bool {
        if !self.accepts(MethodKind::PublicKey) {
            return false;
        }
        if self.keys_left == 0 {
            self.note(format!("no more than {KEYS} keys are tried"));
            return false;
        }
        self.keys_left -= 1;
        true
    }

    /// The hashes to sign with, of which the host says what it takes, if it does.
    async fn rsa_hashes(&mut self) -> Result<Vec<Option<HashAlg>>, Error> {
        if let Some(hashes) = &self.rsa_hashes {
            return Ok(hashes.clone());
        }
        // By itself this waits a second for hosts that never say.
        let said = match timeout(EXTENSION_INFO, self.handle.best_supported_rsa_hash()).await {
            Ok(said) => said.map_err(|error| self.broken(&error))?,
            Err(_) => None,
        };
        let legacy = self.hop.algorithms == Algorithms::Legacy;
        let old = || format!("if the device takes RSA keys with SHA-1 only, {HINT}");
        let hashes = match (said, legacy) {
            (Some(Some(hash)), false) => vec![Some(hash)],
            // Some say what they know, and take less.
            (Some(Some(hash)), true) => vec![Some(hash), None],
            (Some(None), true) => vec![None],
            (Some(None), false) => {
                self.note(old());
                Vec::new()
            }
            // What all have that have left SHA-1.
            (None, true) => vec![Some(HashAlg::Sha256), None],
            (None, false) => {
                self.note(old());
                vec![Some(HashAlg::Sha256)]
            }
        };
        self.rsa_hashes = Some(hashes.clone());
        Ok(hashes)
    }

    async fn agent(&mut self) -> Result<Outcome, Error> {
        let Some(path) = &self.hop.credentials.agent else {
            return Ok(Outcome::Refused);
        };
        let path = path.display();
        let opened = timeout(AGENT, open_agent(self.hop, self.handle)).await;
        let (mut agent, identities) = match opened {
            Ok(Ok(opened)) => opened,
            Ok(Err(error)) => {
                self.note(format!("the agent at {path} cannot be asked: {error}"));
                return Ok(Outcome::Refused);
            }
            Err(_) => {
                self.note(format!("the agent at {path} does not answer"));
                return Ok(Outcome::Refused);
            }
        };
        if identities.is_empty() {
            self.note(format!("the agent at {path} holds no keys"));
        }
        for identity in identities {
            let is_rsa = match &identity {
                AgentIdentity::PublicKey { key, .. } => key.algorithm().is_rsa(),
                AgentIdentity::Certificate { certificate, .. } => certificate.algorithm().is_rsa(),
            };
            let hashes = match is_rsa {
                true => self.rsa_hashes().await?,
                false => vec![None],
            };
            for hash in hashes {
                if !self.take_key_try() {
                    return Ok(Outcome::Refused);
                }
                let user = &self.hop.username;
                let result = match &identity {
                    AgentIdentity::PublicKey { key, .. } => {
                        let key = key.clone();
                        self.handle
                            .authenticate_publickey_with(user, key, hash, &mut agent)
                            .await
                    }
                    AgentIdentity::Certificate { certificate, .. } => {
                        let certificate = certificate.clone();
                        self.handle
                            .authenticate_certificate_with(user, certificate, hash, &mut agent)
                            .await
                    }
                };
                match result {
                    Ok(result) => match self.outcome(result, "agent's keys").await? {
                        Outcome::Refused => {}
                        other => return Ok(other),
                    },
                    Err(error) => self.note(format!("the agent did not sign: {error}")),
                }
            }
        }
        Ok(Outcome::Refused)
    }

    async fn password(&mut self) -> Result<Outcome, Error> {
        let Some(password) = &self.hop.credentials.password else {
            return Ok(Outcome::Refused);
        };
        if self.password != Password::Unused {
            return Ok(Outcome::Refused);
        }
        let told = self.methods.is_some();
        self.password = Password::Sent;
        let result = self
            .handle
            .authenticate_password(&self.hop.username, password.expose_secret())
            .await
            .map_err(|error| self.broken(&error))?;
        let outcome = self.outcome(result, "password").await?;
        match outcome {
            Outcome::Refused if !told && !self.accepts(MethodKind::Password) => {
                // A host without the method refuses it without looking at the password.
                self.password = Password::Unused;
                self.refused.pop();
            }
            Outcome::Refused => {}
            Outcome::Success | Outcome::Partial => self.password = Password::Accepted,
        }
        Ok(outcome)
    }

    async fn keyboard_interactive(&mut self) -> Result<Outcome, Error> {
        let mut response = self
            .handle
            .authenticate_keyboard_interactive_start(&self.hop.username, None)
            .await
            .map_err(|error| self.broken(&error))?;
        for _ in 0..ROUNDS {
            let prompts = match response {
                KeyboardInteractiveAuthResponse::Success => return Ok(Outcome::Success),
                KeyboardInteractiveAuthResponse::Failure {
                    remaining_methods,
                    partial_success,
                } => {
                    let result = AuthResult::Failure {
                        remaining_methods,
                        partial_success,
                    };
                    let what = match self.password {
                        Password::Sent => "password",
                        Password::Unused | Password::Accepted => "answers",
                    };
                    let outcome = self.outcome(result, what).await?;
                    if matches!(outcome, Outcome::Partial) && self.password == Password::Sent {
                        self.password = Password::Accepted;
                    }
                    return Ok(outcome);
                }
                KeyboardInteractiveAuthResponse::InfoRequest { prompts, .. } => prompts,
            };
            let mut replies = Vec::with_capacity(prompts.len());
            for prompt in &prompts {
                match self.answer(prompt) {
                    Some(answer) => replies.push(answer),
                    None => return Err(self.unanswered(&prompt.prompt)),
                }
            }
            response = self
                .handle
                .authenticate_keyboard_interactive_respond(replies)
                .await
                .map_err(|error| self.broken(&error))?;
        }
        Err(Error::authentication(format!(
            "{} asks user {} question after question",
            self.hop, self.hop.username
        )))
    }

    /// The configured answer to the question, or the password if that may be what is asked for.
    fn answer(&mut self, prompt: &Prompt) -> Option<String> {
        let answers = self.hop.credentials.answers.iter();
        for (answer, answered) in answers.zip(&mut self.answered) {
            if !*answered && answer.question.matches(&prompt.prompt) {
                *answered = true;
                return Some(answer.answer.expose_secret().to_owned());
            }
        }
        let password = self.hop.credentials.password.as_ref()?;
        if prompt.echo || self.password != Password::Unused || asks_for_more(&prompt.prompt) {
            return None;
        }
        self.password = Password::Sent;
        Some(password.expose_secret().to_owned())
    }

    fn unanswered(&mut self, question: &str) -> Error {
        let (hop, user) = (self.hop, &self.hop.username);
        let asked = printable(question);
        let again = hop
            .credentials
            .answers
            .iter()
            .any(|answer| answer.question.matches(question));
        let for_password = self.password != Password::Unused && !asks_for_more(question);
        Error::authentication(if again {
            format!("{hop} refused user {user} with the answer configured for {asked:?}")
        } else if for_password && hop.credentials.answers.is_empty() {
            // Asked again, so it was wrong; or for something that looks like a password.
            format!(
                "{hop} refused user {user} with this password: it asks {asked:?} once more; if \
                 that is another question, add an answer for it to the credentials"
            )
        } else {
            format!(
                "{hop} asks user {user} a question that has no answer: {asked:?}; add an answer \
                 for it to the credentials"
            )
        })
    }

    /// What the host made of an attempt.
    async fn outcome(&mut self, result: AuthResult, what: &'static str) -> Result<Outcome, Error> {
        let AuthResult::Failure {
            remaining_methods,
            partial_success,
        } = result
        else {
            return Ok(Outcome::Success);
        };
        if remaining_methods.is_empty() && !partial_success {
            self.check_connection(what).await?;
        }
        self.methods = Some(remaining_methods);
        if partial_success {
            return Ok(Outcome::Partial);
        }
        if !self.refused.contains(&what) {
            self.refused.push(what);
        }
        Ok(Outcome::Refused)
    }

    /// The library reports a connection that ended as a refusal with no methods left.
    async fn check_connection(&mut self, what: &str) -> Result<(), Error> {
        let (hop, user) = (self.hop, &self.hop.username);
        let ended = timeout(Duration::from_secs(1), &mut *self.handle).await;
        let words = match ended {
            // It said that there is nothing left to try.
            Err(_) | Ok(Err(Failure::Ssh(russh::Error::NoAuthMethod))) => return Ok(()),
            Ok(Err(Failure::Farewell(words))) => words,
            Ok(_) => String::new(),
        };
        let words = printable(&words);
        if words.to_lowercase().contains("auth") {
            return Err(Error::authentication(format!(
                "{hop} refused user {user} with this {what} and hung up: {words}"
            )));
        }
        let reason = if words.is_empty() {
            format!(" while it was to check the {what}")
        } else {
            format!(": {words}")
        };
        Err(Error::Disconnected {
            doing: format!("logging in to {hop}"),
            reason,
            partial: String::new(),
        })
    }

    fn note(&mut self, note: String) {
        if !self.notes.contains(&note) {
            self.notes.push(note);
        }
    }

    fn refusal(&self) -> Error {
        let (hop, user) = (self.hop, &self.hop.username);
        let mut message = if self.refused.is_empty() {
            format!("{hop} accepts none of the credentials given for user {user}")
        } else {
            let refused = self.refused.join(" and this ");
            format!("{hop} refused user {user} with this {refused}")
        };
        if let Some(methods) = self.methods.as_ref().filter(|methods| !methods.is_empty()) {
            let names: Vec<&str> = methods.iter().map(Into::into).collect();
            message += &format!("; it accepts {}", names.join(", "));
        }
        for note in &self.notes {
            message += "; ";
            message += note;
        }
        Error::authentication(message)
    }

    fn broken(&self, error: &dyn std::fmt::Display) -> Error {
        Error::Disconnected {
            doing: format!("logging in to {}", self.hop),
            reason: format!(": {error}"),
            partial: String::new(),
        }
    }
}

/// Whether a question is for something else than the password the user has: a second factor, or
/// a new password.
fn asks_for_more(question: &str) -> bool {
    const WORDS: [&str; 10] = [
        "code",
        "token",
        "otp",
        "one-time",
        "one time",
        "challenge",
        "verification",
        "new ",
        "retype",
        "current ",
    ];
    let question = question.to_lowercase();
    WORDS.iter().any(|word| question.contains(word))
}

type Agent = AgentClient<tokio::net::UnixStream>;

async fn open_agent(
    hop: &Hop<'_>,
    handle: &Handle<Client>,
) -> Result<(Agent, Vec<AgentIdentity>), russh::keys::Error> {
    let path = hop.credentials.agent.as_deref().unwrap_or("".as_ref());
    let mut agent = AgentClient::connect_uds(path).await?;
    if let Some(binding) = handle.agent_session_binding() {
        // For keys that are restricted to some hosts; agents that know none refuse it.
        let _ = agent.bind_session(binding, false).await;
    }
    let identities = agent.request_identities().await?;
    Ok((agent, identities))
}
