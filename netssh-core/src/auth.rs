//! Logging in: the key if there is one, then the password, which is sent at most once.

use std::sync::Arc;

use russh::client::{AuthResult, Handle, KeyboardInteractiveAuthResponse};
use russh::keys::{HashAlg, PrivateKeyWithHashAlg, decode_secret_key};
use russh::{MethodKind, MethodSet};
use secrecy::ExposeSecret;

use crate::endpoint::Endpoint;
use crate::error::Error;
use crate::transport::Client;

/// A server may ask several rounds of questions; the password answers one of them.
const ROUNDS: usize = 8;

pub(crate) async fn authenticate(
    handle: &mut Handle<Client>,
    endpoint: &Endpoint,
) -> Result<(), Error> {
    let credentials = &endpoint.credentials;
    if credentials.private_key.is_none() && credentials.password.is_none() {
        return Err(Error::invalid(format!(
            "no password and no private key for user {}",
            endpoint.username
        )));
    }
    let mut refused = Vec::new();
    let mut offered: Option<MethodSet> = None;
    if credentials.private_key.is_some() {
        match with_key(handle, endpoint).await? {
            Outcome::Success => return Ok(()),
            Outcome::Refused(methods) => {
                refused.push("key");
                offered = Some(methods);
            }
        }
    }
    if let Some(password) = &credentials.password {
        let password = password.expose_secret();
        // Asking which methods there are would cost a round trip. A server without the method
        // `password` refuses it without looking at the password.
        if offered
            .as_ref()
            .is_none_or(|methods| methods.contains(&MethodKind::Password))
        {
            match handle
                .authenticate_password(&endpoint.username, password)
                .await
                .map_err(|error| broken(endpoint, &error))?
            {
                AuthResult::Success => return Ok(()),
                AuthResult::Failure {
                    remaining_methods, ..
                } => offered = Some(remaining_methods),
            }
        }
        let methods = offered.get_or_insert_with(MethodSet::empty);
        if methods.contains(&MethodKind::KeyboardInteractive)
            && !methods.contains(&MethodKind::Password)
        {
            match keyboard_interactive(handle, endpoint, password).await? {
                Outcome::Success => return Ok(()),
                Outcome::Refused(methods) => offered = Some(methods),
            }
        }
        refused.push("password");
    }
    Err(refusal(endpoint, &refused, offered.as_ref()))
}

enum Outcome {
    Success,
    Refused(MethodSet),
}

async fn with_key(handle: &mut Handle<Client>, endpoint: &Endpoint) -> Result<Outcome, Error> {
    let credentials = &endpoint.credentials;
    let has_passphrase = credentials.passphrase.is_some();
    let (text, passphrase) = (
        credentials.private_key.clone(),
        credentials.passphrase.clone(),
    );
    // Off the async threads: a key's own text says how much work its passphrase is to be.
    let decoding = tokio::task::spawn_blocking(move || {
        let text = text.as_ref().map_or("", |key| key.expose_secret());
        decode_secret_key(text, passphrase.as_ref().map(ExposeSecret::expose_secret))
    });
    let decoded = decoding
        .await
        .map_err(|_| Error::authentication("the private key cannot be read"))?;
    let key = decoded.map_err(|error| {
        let hint = match (&error, has_passphrase) {
            (russh::keys::Error::KeyIsEncrypted, false) => " (it needs a passphrase)",
            (_, true) => " (is the passphrase right?)",
            (_, false) => "",
        };
        Error::authentication(format!("the private key cannot be read: {error}{hint}"))
    })?;
    let hash = if key.algorithm().is_rsa() {
        // Where the server does not say, SHA-256 is what all have that have left SHA-1.
        handle
            .best_supported_rsa_hash()
            .await
            .map_err(|error| broken(endpoint, &error))?
            .flatten()
            .or(Some(HashAlg::Sha256))
    } else {
        None
    };
    let key = PrivateKeyWithHashAlg::new(Arc::new(key), hash);
    match handle
        .authenticate_publickey(&endpoint.username, key)
        .await
        .map_err(|error| broken(endpoint, &error))?
    {
        AuthResult::Success => Ok(Outcome::Success),
        AuthResult::Failure {
            remaining_methods, ..
        } => Ok(Outcome::Refused(remaining_methods)),
    }
}

async fn keyboard_interactive(
    handle: &mut Handle<Client>,
    endpoint: &Endpoint,
    password: &str,
) -> Result<Outcome, Error> {
    let mut response = handle
        .authenticate_keyboard_interactive_start(&endpoint.username, None)
        .await
        .map_err(|error| broken(endpoint, &error))?;
    let mut answered = false;
    for _ in 0..ROUNDS {
        let prompts = match response {
            KeyboardInteractiveAuthResponse::Success => return Ok(Outcome::Success),
            KeyboardInteractiveAuthResponse::Failure {
                remaining_methods, ..
            } => return Ok(Outcome::Refused(remaining_methods)),
            KeyboardInteractiveAuthResponse::InfoRequest { prompts, .. } => prompts,
        };
        let secret_questions = prompts.iter().filter(|prompt| !prompt.echo).count();
        if secret_questions > 0 && answered {
            break; // Asked again: the password was wrong.
        }
        if secret_questions > 1 || prompts.iter().any(|prompt| prompt.echo) {
            return Err(Error::authentication(format!(
                "the device asks user {} more than a password: {}",
                endpoint.username,
                prompts
                    .iter()
                    .map(|prompt| prompt.prompt.trim())
                    .collect::<Vec<_>>()
                    .join(" / ")
            )));
        }
        answered |= secret_questions > 0;
        let answers = prompts.iter().map(|_| password.to_owned()).collect();
        response = handle
            .authenticate_keyboard_interactive_respond(answers)
            .await
            .map_err(|error| broken(endpoint, &error))?;
    }
    Ok(Outcome::Refused(MethodSet::empty()))
}

fn refusal(endpoint: &Endpoint, refused: &[&str], offered: Option<&MethodSet>) -> Error {
    let accepts = offered
        .filter(|methods| !methods.is_empty())
        .map(|methods| {
            let names: Vec<&str> = methods.iter().map(Into::into).collect();
            format!("; it accepts {}", names.join(", "))
        })
        .unwrap_or_default();
    Error::authentication(format!(
        "{}:{} refused user {} with this {}{accepts}",
        endpoint.host,
        endpoint.port,
        endpoint.username,
        refused.join(" and this ")
    ))
}

fn broken(endpoint: &Endpoint, error: &russh::Error) -> Error {
    Error::Disconnected {
        doing: format!("logging in to {}:{}", endpoint.host, endpoint.port),
        reason: format!(": {error}"),
        partial: String::new(),
    }
}
