//! Authentication on one host: keys first, then the password, which is sent at most once.
//!
//! A host may require several factors (OpenSSH's `AuthenticationMethods`), so authentication runs
//! in rounds. Each round tries the available credentials in order until the host accepts one; a
//! partial success starts the next round.
//!
//! `questions` decides which keyboard-interactive question gets the password.

mod key;
mod questions;

use std::sync::Arc;
use std::time::Duration;

use russh::client::{AuthResult, Handle, KeyboardInteractiveAuthResponse, Prompt};
use russh::keys::agent::AgentIdentity;
use russh::keys::agent::client::AgentClient;
use russh::keys::{Certificate, HashAlg, PrivateKey, PrivateKeyWithHashAlg};
use russh::{MethodKind, MethodSet};
use secrecy::{ExposeSecret, SecretString};

use self::questions::{Kind, Question, Texts};
use crate::algorithms::{Algorithms, HINT};
use crate::cause::{io_error_in, server_error};
use crate::certificate::is_out_of_date;
use crate::client::{Client, ConnectError};
use crate::error::Error;
use crate::gate::Gate;
use crate::hop::Hop;
use crate::patience::timeout;
use crate::visible::printable;

/// Maximum number of factors.
const FACTORS: usize = 4;
/// Maximum number of rounds of questions; the password answers one of them.
const ROUNDS: usize = 8;
/// Maximum number of rounds without a question.
const SILENT_ROUNDS: usize = 32;
/// Maximum number of keys tried. Servers count refused keys: OpenSSH disconnects after the sixth
/// refusal, passwords included.
const KEYS: usize = 5;
/// How long to wait for the server's list of signature algorithms, which is sent right after the
/// key exchange.
const EXTENSION_INFO: Duration = Duration::from_millis(100);
/// Timeout of agent requests that need no confirmation by its user.
const AGENT: Duration = Duration::from_secs(5);

/// Authenticates once the gate is open. The caller has to limit the time.
pub(crate) async fn authenticate(
    handle: &mut Handle<Client>,
    hop: &Hop<'_>,
    gate: &Gate,
) -> Result<(), Error> {
    let credentials = hop.credentials;
    if credentials.private_key.is_none()
        && credentials.password.is_none()
        && credentials.agent.is_none()
        && credentials.answers.is_empty()
    {
        return Err(Error::invalid(format!(
            "no credentials for user {} on {hop}: expected a password, a private key or an agent",
            hop.username
        )));
    }
    gate.wait().await?;
    let mut login = Login {
        handle,
        hop,
        methods: None,
        key: None,
        rsa_hashes: None,
        keys_left: KEYS,
        password: Password::Unused,
        sent: false,
        answered: vec![false; credentials.answers.len()],
        asked: Vec::new(),
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
    /// The methods that the host accepts, once they are known.
    methods: Option<MethodSet>,
    key: Option<Arc<PrivateKey>>,
    rsa_hashes: Option<Vec<Option<HashAlg>>>,
    keys_left: usize,
    password: Password,
    /// A secret was sent, so the host may count a failed login whatever it reports.
    sent: bool,
    /// The configured answers that were given, by index.
    answered: Vec<bool>,
    /// The answered questions.
    asked: Vec<String>,
    /// The refused credentials, for the error.
    refused: Vec<&'static str>,
    /// Further hints for the error.
    notes: Vec<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Password {
    Unused,
    Sent,
    Accepted,
}

/// The kinds of secrets that were sent in a dialogue.
#[derive(Debug, Clone, Copy, Default)]
struct Given {
    password: bool,
    answers: bool,
}

enum Outcome {
    Success,
    /// One factor was accepted, and the host requires another.
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
            match self.keyboard_interactive().await? {
                Outcome::Refused => {}
                other => return Ok(other),
            }
            // A host may refuse this method before it asks for the password, and offer the other
            // one.
            if self.methods.is_some() && self.accepts(MethodKind::Password) {
                return self.password().await;
            }
        }
        Ok(Outcome::Refused)
    }

    /// Returns whether the host accepts a method, as far as known. Asking for the methods would
    /// cost a round trip, so the first attempt finds them out.
    fn accepts(&self, method: MethodKind) -> bool {
        let methods = self.methods.as_ref();
        methods.is_none_or(|methods| methods.contains(&method))
    }

    /// Tries the certificate for the key, then the key itself.
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
            if !is_out_of_date(&certificate) {
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

    /// Returns whether another key may be tried: the host accepts keys and the limit is not
    /// reached.
    fn take_key_try(&mut self) -> bool {
        if !self.accepts(MethodKind::PublicKey) {
            return false;
        }
        if self.keys_left == 0 {
            self.note(format!("at most {KEYS} keys are tried"));
            return false;
        }
        self.keys_left -= 1;
        true
    }

    /// Returns the hashes to sign with, according to the host's list if it sends one.
    async fn rsa_hashes(&mut self) -> Result<Vec<Option<HashAlg>>, Error> {
        if let Some(hashes) = &self.rsa_hashes {
            return Ok(hashes.clone());
        }
        // Without this timeout, the library waits a second for hosts that never send the list.
        let said = match timeout(EXTENSION_INFO, self.handle.best_supported_rsa_hash()).await {
            Ok(said) => said.map_err(|error| self.broken(&error))?,
            Err(_) => None,
        };
        let legacy = self.hop.algorithms == Algorithms::Legacy;
        let old = || format!("if the device accepts RSA keys with SHA-1 only, {HINT}");
        let hashes = match (said, legacy) {
            (Some(Some(hash)), false) => vec![Some(hash)],
            // Some hosts list more than they accept.
            (Some(Some(hash)), true) => vec![Some(hash), None],
            (Some(None), true) => vec![None],
            (Some(None), false) => {
                self.note(old());
                Vec::new()
            }
            // Every host that no longer uses SHA-1 supports SHA-256.
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
                let doing = format!("failed to query the ssh-agent at {path}");
                let of_server = io_error_in(&error);
                if let Some(error) = of_server.and_then(|io| server_error(io, &doing, true)) {
                    return Err(error);
                }
                self.note(format!("{doing}: {error}"));
                return Ok(Outcome::Refused);
            }
            Err(_) => {
                self.note(format!("the ssh-agent at {path} timed out"));
                return Ok(Outcome::Refused);
            }
        };
        if identities.is_empty() {
            self.note(format!("the ssh-agent at {path} has no keys"));
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
                    Err(error) => self.note(format!("the ssh-agent failed to sign: {error}")),
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
        self.sent = true;
        let result = self
            .handle
            .authenticate_password(&self.hop.username, password.expose_secret())
            .await
            .map_err(|error| self.broken(&error))?;
        let outcome = self.outcome(result, "password").await?;
        match outcome {
            Outcome::Refused if !told && !self.accepts(MethodKind::Password) => {
                // A host without this method refuses it without checking the password.
                self.password = Password::Unused;
                self.refused.pop();
            }
            Outcome::Refused => {}
            Outcome::Success | Outcome::Partial => self.password = Password::Accepted,
        }
        Ok(outcome)
    }

    /// Answers the host's questions, round by round.
    async fn keyboard_interactive(&mut self) -> Result<Outcome, Error> {
        let mut response = self
            .handle
            .authenticate_keyboard_interactive_start(&self.hop.username, None)
            .await
            .map_err(|error| self.broken(&error))?;
        let (mut rounds, mut silent_rounds) = (0, 0);
        let mut given = Given::default();
        while rounds < ROUNDS && silent_rounds < SILENT_ROUNDS {
            let (name, instructions, prompts) = match response {
                KeyboardInteractiveAuthResponse::Success => return Ok(Outcome::Success),
                KeyboardInteractiveAuthResponse::Failure {
                    remaining_methods,
                    partial_success,
                } => {
                    let result = AuthResult::Failure {
                        remaining_methods,
                        partial_success,
                    };
                    return self.interactive_outcome(result, given).await;
                }
                KeyboardInteractiveAuthResponse::InfoRequest {
                    name,
                    instructions,
                    prompts,
                } => (name, instructions, prompts),
            };
            match prompts.is_empty() {
                true => silent_rounds += 1,
                false => rounds += 1,
            }
            let texts = Texts {
                name: &name,
                instructions: &instructions,
            };
            // All replies are prepared before the first is sent.
            let replies = self.replies(texts, &prompts, &mut given)?;
            self.sent |= !replies.is_empty();
            response = self
                .handle
                .authenticate_keyboard_interactive_respond(replies)
                .await
                .map_err(|error| self.broken(&error))?;
        }
        Err(Error::authentication(format!(
            "{} keeps asking user {} questions",
            self.hop, self.hop.username
        )))
    }

    /// Converts the result of a dialogue to an outcome.
    async fn interactive_outcome(
        &mut self,
        result: AuthResult,
        given: Given,
    ) -> Result<Outcome, Error> {
        let what = match given {
            Given { password: true, .. } => "password",
            Given { answers: true, .. } => "answers",
            // No secret was sent that could be wrong.
            _ => "keyboard-interactive login",
        };
        let outcome = self.outcome(result, what).await?;
        match outcome {
            Outcome::Partial if given.password => self.password = Password::Accepted,
            Outcome::Refused if !given.password && !given.answers => {
                self.refused.retain(|refused| *refused != what);
            }
            _ => {}
        }
        Ok(outcome)
    }

    /// Returns the answers to the questions of one round.
    fn replies(
        &mut self,
        texts: Texts<'_>,
        prompts: &[Prompt],
        given: &mut Given,
    ) -> Result<Vec<String>, Error> {
        let mut replies = Vec::with_capacity(prompts.len());
        for prompt in prompts {
            let question = Question::new(texts, &prompt.prompt, prompt.echo);
            let reply = self.reply(&question, given)?;
            replies.push(reply.expose_secret().to_owned());
            self.asked.push(question.line().trim().to_owned());
        }
        Ok(replies)
    }

    /// Returns the password if the question asks for it, otherwise a configured answer.
    fn reply(&mut self, question: &Question<'_>, given: &mut Given) -> Result<SecretString, Error> {
        let credentials = self.hop.credentials;
        let kind = self.kind(question);
        let asked_before = self
            .asked
            .iter()
            .any(|asked| asked == question.line().trim());
        if kind == Kind::Password
            && !asked_before
            && self.password == Password::Unused
            && let Some(password) = &credentials.password
        {
            self.password = Password::Sent;
            given.password = true;
            return Ok(password.clone());
        }
        let answers = credentials.answers.iter().zip(&mut self.answered);
        for (answer, answered) in answers {
            if *answered || !question.matches(&answer.question) {
                continue;
            }
            *answered = true;
            let text = answer.answer.expose_secret();
            let is_password = credentials
                .password
                .as_ref()
                .is_some_and(|password| password.expose_secret() == text);
            if is_password {
                self.password = Password::Sent;
                given.password = true;
            } else {
                given.answers = true;
            }
            return Ok(answer.answer.clone());
        }
        Err(self.unanswered(question, kind, asked_before))
    }

    fn kind(&self, question: &Question<'_>) -> Kind {
        let (suffix, own) = match self.hop.login {
            Some(login) => (
                login.username_suffix.as_str(),
                &login.password_questions[..],
            ),
            None => ("", &[][..]),
        };
        let user = self.hop.username.as_str();
        let names = [user, user.strip_suffix(suffix).unwrap_or(user)];
        question.kind(&names, own)
    }

    /// Returns the error for an unanswered question, with the reason and a hint.
    fn unanswered(&self, question: &Question<'_>, kind: Kind, asked_before: bool) -> Error {
        let (hop, user) = (self.hop, &self.hop.username);
        let asked = format!("{:?}", printable(question.line()));
        let answers = &hop.credentials.answers;
        let was_answered = answers
            .iter()
            .zip(&self.answered)
            .any(|(answer, answered)| *answered && question.matches(&answer.question));
        if asked_before && was_answered {
            return Error::authentication(format!(
                "{hop} refused user {user} with the answer configured for {asked}: it repeated the \
                 question"
            ));
        }
        if kind == Kind::Password && self.password != Password::Unused {
            return Error::authentication(format!(
                "{hop} refused user {user} with this password: it asks {asked} after the password \
                 was given; if that is another question, add an entry to `answers` that matches it"
            ));
        }
        let context = printable(&question.context());
        let context = match context.is_empty() {
            true => String::new(),
            false => format!(", under {context:?}"),
        };
        let add = "add an entry to `answers` with a matching question";
        let message = match kind {
            Kind::PasswordChange => format!(
                "{hop} requires a new password for user {user}: log in by hand and set one (it asks \
                 {asked}{context})"
            ),
            Kind::Password => format!(
                "{hop} asks user {user} for a password ({asked}{context}), but none is configured"
            ),
            Kind::ShownPassword => format!(
                "{hop} asks user {user} a question without a configured answer: {asked}{context}; the \
                 password was not sent, because the device would display it; if the device expects the \
                 password, {add}"
            ),
            Kind::AnotherFactor => format!(
                "{hop} asks user {user} a question without a configured answer: {asked}{context}; the \
                 password was not sent, because the text asks for something else; {add}"
            ),
            Kind::Other => format!(
                "{hop} asks user {user} a question without a configured answer: {asked}{context}; \
                 {add}"
            ),
        };
        self.failed(message)
    }

    /// Converts the result of an attempt, and records the refused credential and the remaining
    /// methods.
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

    /// Detects a closed connection, which the library reports as a refusal with no methods left.
    async fn check_connection(&mut self, what: &str) -> Result<(), Error> {
        let (hop, user) = (self.hop, &self.hop.username);
        let ended = timeout(Duration::from_secs(1), &mut *self.handle).await;
        let words = match ended {
            // The host reported that no method is left to try.
            Err(_) | Ok(Err(ConnectError::Ssh(russh::Error::NoAuthMethod))) => return Ok(()),
            Ok(Err(ConnectError::Disconnected(words))) => words,
            Ok(_) => String::new(),
        };
        let words = printable(&words);
        if words.to_lowercase().contains("auth") {
            return Err(Error::authentication(format!(
                "{hop} refused user {user} with this {what} and disconnected: {words}"
            )));
        }
        let reason = if words.is_empty() {
            format!(" while checking the {what}")
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
        self.failed(message)
    }

    /// Returns the error of a login that the host refused, or that had no credentials to try.
    fn failed(&self, message: String) -> Error {
        match self.sent || !self.refused.is_empty() {
            true => Error::authentication(message),
            false => Error::no_credentials(message),
        }
    }

    fn broken(&self, error: &(dyn std::error::Error + 'static)) -> Error {
        let doing = || format!("logging in to {}", self.hop);
        let of_server = io_error_in(error);
        if let Some(error) = of_server.and_then(|io| server_error(io, doing(), true)) {
            return error;
        }
        Error::Disconnected {
            doing: doing(),
            reason: format!(": {error}"),
            partial: String::new(),
        }
    }
}

type Agent = AgentClient<tokio::net::UnixStream>;

async fn open_agent(
    hop: &Hop<'_>,
    handle: &Handle<Client>,
) -> Result<(Agent, Vec<AgentIdentity>), russh::keys::Error> {
    let path = hop.credentials.agent.as_deref().unwrap_or("".as_ref());
    let mut agent = AgentClient::connect_uds(path).await?;
    if let Some(binding) = handle.agent_session_binding() {
        // Needed for keys that are restricted to certain hosts; other agents reject the request.
        let _ = agent.bind_session(binding, false).await;
    }
    let identities = agent.request_identities().await?;
    Ok((agent, identities))
}
