//! Logging in: keys first, then the password, which is sent at most once.
//!
//! A server may want several of them, one after the other (`AuthenticationMethods` of OpenSSH), in
//! an order of its own; and it may not say what it wants before something was tried. So each
//! credential is tried when the server offers its method, or has not said yet what it offers, and
//! counts as refused only when the server looked at it.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use russh::client::{AuthResult, Handle, KeyboardInteractiveAuthResponse};
use russh::keys::agent::AgentIdentity;
use russh::keys::agent::client::AgentClient;
use russh::keys::{
    Certificate, HashAlg, PrivateKey, PrivateKeyWithHashAlg, PublicKey, decode_secret_key,
};
use russh::{MethodKind, MethodSet};
use secrecy::{ExposeSecret, SecretString};
use tokio::net::UnixStream;
use tokio::sync::Semaphore;
use tokio::time::timeout;

use crate::algorithms::{Algorithms, HINT};
use crate::endpoint::{Answer, Credentials};
use crate::error::Error;
use crate::host_keys::check_nesting;
use crate::jump::Hop;
use crate::transport::{Client, printable};

/// A server may ask several rounds of questions; the password answers one of them.
const ROUNDS: usize = 8;
/// OpenSSH's servers hang up after six tries, the password among them.
const KEYS: usize = 5;
/// What a server can do with RSA it says right after the key exchange, or not at all.
const EXTENSIONS: Duration = Duration::from_millis(200);
/// An agent asks its owner at most.
const AGENT: Duration = Duration::from_secs(10);
/// The work that deriving a key from its passphrase may take. `ssh-keygen` asks for 16 to 24
/// rounds; a hundred times that is minutes.
const KDF_ROUNDS: u32 = 1024;
/// Keys are decoded by so many threads at most: a key of another format may ask for any work.
static DECODING: Semaphore = Semaphore::const_new(2);

type AgentConnection = AgentClient<UnixStream>;

/// One way to prove who the user is.
enum Factor {
    Key(Arc<PrivateKey>),
    Certificate(Arc<PrivateKey>, Box<Certificate>),
    Agent(Box<AgentIdentity>),
    Password,
    Questions,
}

impl Factor {
    const fn method(&self) -> MethodKind {
        match self {
            Self::Key(_) | Self::Certificate(..) | Self::Agent(_) => MethodKind::PublicKey,
            Self::Password => MethodKind::Password,
            Self::Questions => MethodKind::KeyboardInteractive,
        }
    }

    const fn name(&self) -> &'static str {
        match self {
            Self::Key(_) => "key",
            Self::Certificate(..) => "certificate",
            Self::Agent(_) => "key of the agent",
            Self::Password | Self::Questions => "password",
        }
    }
}

/// What the server said to one of them.
enum Outcome {
    Success,
    /// It counts, and the server wants one of these as well.
    Partial(MethodSet),
    /// It does not count, or the server does not want it; it offers these.
    Refused(MethodSet),
}

impl From<AuthResult> for Outcome {
    fn from(result: AuthResult) -> Self {
        match result {
            AuthResult::Success => Self::Success,
            AuthResult::Failure {
                remaining_methods,
                partial_success: true,
            } => Self::Partial(remaining_methods),
            AuthResult::Failure {
                remaining_methods, ..
            } => Self::Refused(remaining_methods),
        }
    }
}

pub(crate) async fn authenticate(handle: &mut Handle<Client>, hop: &Hop<'_>) -> Result<(), Error> {
    let mut login = Login {
        handle,
        hop,
        agent: None,
        rsa: None,
        password_sent: false,
    };
    let mut factors = login.factors().await?;
    let mut offered: Option<MethodSet> = None;
    if factors
        .iter()
        .all(|factor| matches!(factor, Factor::Questions))
    {
        // Nothing else would make the server say what it offers.
        match login.without_anything().await? {
            Outcome::Success => return Ok(()),
            Outcome::Partial(methods) | Outcome::Refused(methods) => offered = Some(methods),
        }
    }
    let mut refused: Vec<&'static str> = Vec::new();
    // Each turn uses a factor up, or finds none to try.
    while let Some(at) = next(&factors, offered.as_ref(), login.password_sent) {
        let Some(factor) = factors.remove(at) else {
            break;
        };
        match login.try_factor(&factor).await? {
            Outcome::Success => return Ok(()),
            Outcome::Partial(methods) => offered = Some(methods),
            Outcome::Refused(methods) => {
                if methods.contains(&factor.method()) || methods.is_empty() {
                    login.password_sent |= matches!(factor, Factor::Password);
                    if !refused.contains(&factor.name()) {
                        refused.push(factor.name());
                    }
                } else {
                    // The server did not look at it. It may want it later, after another one.
                    factors.push_back(factor);
                }
                offered = Some(methods);
            }
        }
    }
    Err(login.refusal(&refused, offered.as_ref()))
}

/// The next one to try. The password goes to one of its two methods only.
fn next(
    factors: &VecDeque<Factor>,
    offered: Option<&MethodSet>,
    password_sent: bool,
) -> Option<usize> {
    factors.iter().position(|factor| {
        let wanted = match offered {
            None => !matches!(factor, Factor::Questions),
            Some(methods) => methods.contains(&factor.method()),
        };
        let again = password_sent && matches!(factor, Factor::Password);
        wanted && !again
    })
}

struct Login<'a, 'h> {
    handle: &'a mut Handle<Client>,
    hop: &'a Hop<'h>,
    agent: Option<AgentConnection>,
    /// How to sign with RSA keys, once it is known.
    rsa: Option<Option<HashAlg>>,
    /// The server has seen the password.
    password_sent: bool,
}

impl Login<'_, '_> {
    /// Everything there is, in the order in which to try it.
    async fn factors(&mut self) -> Result<VecDeque<Factor>, Error> {
        let credentials = self.hop.credentials;
        let mut factors = VecDeque::new();
        if let Some(text) = &credentials.private_key {
            let key = Arc::new(decode(text, credentials.passphrase.as_ref()).await?);
            if let Some(line) = &credentials.certificate {
                let certificate = read_certificate(line, &key)?;
                factors.push_back(Factor::Certificate(Arc::clone(&key), Box::new(certificate)));
            }
            factors.push_back(Factor::Key(key));
        } else if credentials.certificate.is_some() {
            return Err(Error::invalid(format!(
                "{}: the certificate has no private key to go with it",
                self.hop
            )));
        }
        if credentials.agent.is_some() {
            let identities = self.agent_identities().await?;
            let room = KEYS.saturating_sub(factors.len());
            factors.extend(
                identities
                    .into_iter()
                    .take(room)
                    .map(|identity| Factor::Agent(Box::new(identity))),
            );
        }
        if credentials.password.is_some() {
            factors.push_back(Factor::Password);
        }
        if credentials.password.is_some() || !credentials.answers.is_empty() {
            factors.push_back(Factor::Questions);
        }
        if factors.is_empty() {
            return Err(if credentials.agent.is_some() {
                Error::authentication(format!("{}: the agent holds no keys", self.hop))
            } else {
                Error::invalid(format!(
                    "{}: no password and no private key for user {}",
                    self.hop, self.hop.username
                ))
            });
        }
        Ok(factors)
    }

    async fn agent_identities(&mut self) -> Result<Vec<AgentIdentity>, Error> {
        let Credentials {
            agent: Some(socket),
            ..
        } = self.hop.credentials
        else {
            return Ok(Vec::new());
        };
        let failed = |why: String| {
            Error::authentication(format!(
                "{}: the agent at {} {why}",
                self.hop,
                socket.display()
            ))
        };
        let asking = async {
            let mut agent = AgentConnection::connect_uds(socket).await?;
            let identities = agent.request_identities().await?;
            Ok::<_, russh::keys::Error>((agent, identities))
        };
        let (agent, identities) = timeout(AGENT, asking)
            .await
            .map_err(|_| failed(format!("does not answer within {AGENT:?}")))?
            .map_err(|error| failed(format!("cannot be used: {error}")))?;
        self.agent = Some(agent);
        Ok(identities)
    }

    async fn try_factor(&mut self, factor: &Factor) -> Result<Outcome, Error> {
        let user = self.hop.username.clone();
        match factor {
            Factor::Key(key) => self.with_key(key).await,
            Factor::Certificate(key, certificate) => {
                let result = self
                    .handle
                    .authenticate_openssh_cert(user, Arc::clone(key), (**certificate).clone())
                    .await;
                Ok(result.map_err(|error| self.broken(&error))?.into())
            }
            Factor::Agent(identity) => self.with_agent(identity).await,
            Factor::Password => self.with_password().await,
            Factor::Questions => self.with_questions().await,
        }
    }

    async fn without_anything(&mut self) -> Result<Outcome, Error> {
        let user = self.hop.username.clone();
        let result = self.handle.authenticate_none(user).await;
        Ok(result.map_err(|error| self.broken(&error))?.into())
    }

    async fn with_password(&mut self) -> Result<Outcome, Error> {
        let Some(password) = &self.hop.credentials.password else {
            return Ok(Outcome::Refused(MethodSet::empty()));
        };
        let user = self.hop.username.clone();
        let result = self
            .handle
            .authenticate_password(user, password.expose_secret())
            .await;
        let outcome = result.map_err(|error| self.broken(&error))?.into();
        self.password_sent |= matches!(outcome, Outcome::Partial(_));
        Ok(outcome)
    }

    async fn with_key(&mut self, key: &Arc<PrivateKey>) -> Result<Outcome, Error> {
        let user = self.hop.username.clone();
        let hash = if key.algorithm().is_rsa() {
            self.rsa_hash().await?
        } else {
            None
        };
        let signed = PrivateKeyWithHashAlg::new(Arc::clone(key), hash);
        let result = self
            .handle
            .authenticate_publickey(user.clone(), signed)
            .await;
        let outcome: Outcome = result.map_err(|error| self.broken(&error))?.into();
        let old = key.algorithm().is_rsa()
            && hash.is_some()
            && self.hop.algorithms == Algorithms::Legacy
            && matches!(outcome, Outcome::Refused(_));
        if !old {
            return Ok(outcome);
        }
        // An old device knows nothing but SHA-1, and does not say so.
        let signed = PrivateKeyWithHashAlg::new(Arc::clone(key), None);
        let result = self.handle.authenticate_publickey(user, signed).await;
        Ok(result.map_err(|error| self.broken(&error))?.into())
    }

    async fn with_agent(&mut self, identity: &AgentIdentity) -> Result<Outcome, Error> {
        let user = self.hop.username.clone();
        let is_rsa = identity.public_key().algorithm().is_rsa();
        let hash = if is_rsa { self.rsa_hash().await? } else { None };
        let Some(agent) = &mut self.agent else {
            return Ok(Outcome::Refused(MethodSet::empty()));
        };
        let handle = &mut *self.handle;
        let signing = async {
            match identity {
                AgentIdentity::PublicKey { key, .. } => {
                    handle
                        .authenticate_publickey_with(user, key.clone(), hash, agent)
                        .await
                }
                AgentIdentity::Certificate { certificate, .. } => {
                    handle
                        .authenticate_certificate_with(user, certificate.clone(), hash, agent)
                        .await
                }
            }
        };
        match timeout(AGENT, signing).await {
            Ok(Ok(result)) => Ok(result.into()),
            Ok(Err(error)) => Err(Error::authentication(format!(
                "{}: the agent does not sign: {error}",
                self.hop
            ))),
            Err(_) => Err(Error::authentication(format!(
                "{}: the agent does not sign within {AGENT:?}",
                self.hop
            ))),
        }
    }

    /// Where the server does not say, SHA-256 is what all have that have left SHA-1.
    async fn rsa_hash(&mut self) -> Result<Option<HashAlg>, Error> {
        if let Some(known) = self.rsa {
            return Ok(known);
        }
        let best = match timeout(EXTENSIONS, self.handle.best_supported_rsa_hash()).await {
            Ok(best) => best.map_err(|error| self.broken(&error))?,
            Err(_) => None,
        };
        let hash = match best {
            Some(None) if self.hop.algorithms == Algorithms::Default => {
                return Err(Error::protocol(format!(
                    "{}: the server takes signatures of RSA keys with SHA-1 only; those are old \
                     and weak: {HINT}",
                    self.hop
                )));
            }
            Some(hash) => hash,
            None => Some(HashAlg::Sha256),
        };
        self.rsa = Some(hash);
        Ok(hash)
    }

    async fn with_questions(&mut self) -> Result<Outcome, Error> {
        let user = self.hop.username.clone();
        let started = self
            .handle
            .authenticate_keyboard_interactive_start(user, None)
            .await;
        let mut response = started.map_err(|error| self.broken(&error))?;
        let mut answers: Vec<&Answer> = self.hop.credentials.answers.iter().collect();
        for _ in 0..ROUNDS {
            let prompts = match response {
                KeyboardInteractiveAuthResponse::Success => return Ok(Outcome::Success),
                KeyboardInteractiveAuthResponse::Failure {
                    remaining_methods,
                    partial_success,
                } => {
                    return Ok(if partial_success {
                        Outcome::Partial(remaining_methods)
                    } else {
                        Outcome::Refused(remaining_methods)
                    });
                }
                KeyboardInteractiveAuthResponse::InfoRequest { prompts, .. } => prompts,
            };
            let mut replies = Vec::with_capacity(prompts.len());
            for prompt in &prompts {
                let own = answers
                    .iter()
                    .position(|answer| answer.question.matches(&prompt.prompt));
                let reply = match (own, &self.hop.credentials.password) {
                    (Some(at), _) => answers.remove(at).answer.expose_secret(),
                    (None, Some(password)) if !prompt.echo && !self.password_sent => {
                        self.password_sent = true;
                        password.expose_secret()
                    }
                    _ if self.password_sent && is_for_password(&prompt.prompt) => {
                        // Asked again: the password was wrong.
                        return Ok(Outcome::Refused(MethodSet::empty()));
                    }
                    _ => return Err(self.unanswered(&prompt.prompt)),
                };
                replies.push(reply.to_owned());
            }
            response = self
                .handle
                .authenticate_keyboard_interactive_respond(replies)
                .await
                .map_err(|error| self.broken(&error))?;
        }
        Ok(Outcome::Refused(MethodSet::empty()))
    }

    fn unanswered(&self, question: &str) -> Error {
        Error::authentication(format!(
            "{} asks user {} {:?}, and there is no answer to that",
            self.hop,
            self.hop.username,
            printable(question)
        ))
    }

    fn refusal(&self, refused: &[&str], offered: Option<&MethodSet>) -> Error {
        let accepts = offered
            .filter(|methods| !methods.is_empty())
            .map(|methods| {
                let names: Vec<&str> = methods.iter().map(Into::into).collect();
                format!("; it accepts {}", names.join(", "))
            })
            .unwrap_or_default();
        let (hop, user) = (self.hop, &self.hop.username);
        let expired = self.expired();
        Error::authentication(if refused.is_empty() {
            format!("{hop} wants something else of user {user} than there is{accepts}{expired}")
        } else {
            format!(
                "{hop} refused user {user} with this {}{accepts}{expired}",
                refused.join(" and this ")
            )
        })
    }

    /// The likeliest reason why a certificate was refused.
    fn expired(&self) -> String {
        let line = self.hop.credentials.certificate.as_deref();
        let certificate = line.and_then(|line| Certificate::from_openssh(line.trim()).ok());
        let now = std::time::SystemTime::now()
            .duration_since(std::time::UNIX_EPOCH)
            .unwrap_or_default()
            .as_secs();
        match certificate {
            Some(certificate)
                if now < certificate.valid_after() || now >= certificate.valid_before() =>
            {
                format!(
                    "; the certificate is out of date (valid {})",
                    validity(&certificate)
                )
            }
            _ => String::new(),
        }
    }

    fn broken(&self, error: &russh::Error) -> Error {
        Error::Disconnected {
            doing: format!("logging in to {}", self.hop),
            reason: format!(": {error}"),
            partial: String::new(),
        }
    }
}

fn is_for_password(question: &str) -> bool {
    question.to_lowercase().contains("password")
}

/// From when to when, in seconds since 1970.
pub(crate) fn validity(certificate: &Certificate) -> String {
    let before = match certificate.valid_before() {
        u64::MAX => "for ever".to_owned(),
        before => format!("to {before}"),
    };
    format!(
        "from {} {before}, in seconds since 1970",
        certificate.valid_after()
    )
}

fn read_certificate(line: &str, key: &PrivateKey) -> Result<Certificate, Error> {
    check_nesting(line).map_err(Error::invalid)?;
    let certificate = Certificate::from_openssh(line.trim())
        .map_err(|error| Error::invalid(format!("the certificate cannot be read: {error}")))?;
    let of_key = PublicKey::new(certificate.public_key().clone(), "");
    if of_key.key_data() != key.public_key().key_data() {
        return Err(Error::invalid(
            "the certificate is for another key than the private key",
        ));
    }
    Ok(certificate)
}

/// Reads a private key, off the async threads: its passphrase costs work.
async fn decode(
    text: &SecretString,
    passphrase: Option<&SecretString>,
) -> Result<PrivateKey, Error> {
    check_rounds(text.expose_secret())?;
    let has_passphrase = passphrase.is_some();
    let (text, passphrase) = (text.clone(), passphrase.cloned());
    let unreadable = || Error::authentication("the private key cannot be read");
    let permit = DECODING.acquire().await.map_err(|_| unreadable())?;
    let decoding = tokio::task::spawn_blocking(move || {
        let _permit = permit;
        let passphrase = passphrase.as_ref().map(ExposeSecret::expose_secret);
        decode_secret_key(text.expose_secret(), passphrase)
    });
    decoding.await.map_err(|_| unreadable())?.map_err(|error| {
        let hint = match (&error, has_passphrase) {
            (russh::keys::Error::KeyIsEncrypted, false) => " (it needs a passphrase)",
            (_, true) => " (is the passphrase right?)",
            (_, false) => "",
        };
        Error::authentication(format!("the private key cannot be read: {error}{hint}"))
    })
}

/// A key in OpenSSH's format says itself how much work its passphrase costs.
fn check_rounds(key: &str) -> Result<(), Error> {
    match kdf_rounds(key) {
        Some(rounds) if rounds > KDF_ROUNDS => Err(Error::invalid(format!(
            "the private key asks for {rounds} rounds of work on its passphrase, more than the \
             {KDF_ROUNDS} allowed; write it anew with ssh-keygen -p -a 64"
        ))),
        _ => Ok(()),
    }
}

/// PROTOCOL.key of OpenSSH: magic, cipher, kdf, options of the kdf (salt, rounds).
fn kdf_rounds(key: &str) -> Option<u32> {
    let body: String = key
        .lines()
        .map(str::trim)
        .filter(|line| !line.starts_with("-----"))
        .collect();
    // The header is in the first bytes, whatever the length of the key.
    let header = body.get(..body.len().min(400) / 4 * 4)?;
    let bytes = data_encoding::BASE64.decode(header.as_bytes()).ok()?;
    let mut rest = bytes.strip_prefix(b"openssh-key-v1\0")?;
    let _cipher = string(&mut rest)?;
    let _kdf = string(&mut rest)?;
    let mut options = string(&mut rest)?;
    let _salt = string(&mut options)?;
    let rounds: [u8; 4] = options.get(..4)?.try_into().ok()?;
    Some(u32::from_be_bytes(rounds))
}

fn string<'b>(bytes: &mut &'b [u8]) -> Option<&'b [u8]> {
    let length: [u8; 4] = bytes.get(..4)?.try_into().ok()?;
    let length = usize::try_from(u32::from_be_bytes(length)).ok()?;
    let text = bytes.get(4..4usize.checked_add(length)?)?;
    *bytes = &bytes[4 + length..];
    Some(text)
}
