//! From an endpoint to a session at its prompt.

use std::sync::Arc;

use secrecy::{ExposeSecret, SecretString};
use tokio::time::timeout;

use super::{Health, Session};
use crate::endpoint::Endpoint;
use crate::error::Error;
use crate::platform::{Ending, Platform};
use crate::reader::{Expect, Reader, Step};
use crate::transport;

impl Session {
    /// Connects, logs in, learns the prompt, switches paging off, and enables if the platform
    /// has that, the login landed on the user's prompt, and there is a secret.
    ///
    /// # Errors
    /// Everything but [`Error::Refused`] and [`Error::Unsupported`].
    pub async fn connect(endpoint: &Endpoint) -> Result<Self, Error> {
        let handle = transport::connect(endpoint).await?;
        let limit = endpoint.timeouts.login;
        let platform = Arc::clone(&endpoint.platform);
        let mut reader = Reader::new(&platform, endpoint.output_limit, Expect::Prompt);
        let doing = format!("logging in to {}:{}", endpoint.host, endpoint.port);
        match timeout(limit, log_in(handle, endpoint, &mut reader)).await {
            Ok(Err(Error::Disconnected { reason, .. })) => Err(Error::Disconnected {
                doing,
                reason,
                partial: reader.answer(None).output,
            }),
            Ok(outcome) => outcome,
            Err(_) => Err(Error::Timeout {
                doing,
                after: limit,
                partial: reader.answer(None).output,
            }),
        }
    }
}

async fn log_in(
    handle: transport::Connection,
    endpoint: &Endpoint,
    reader: &mut Reader<'_>,
) -> Result<Session, Error> {
    let platform = &endpoint.platform;
    let word = random_word()?;
    let mut setup: String = platform
        .setup
        .commands
        .iter()
        .map(|command| command.replace("{word}", &word) + "\n")
        .collect();
    let expect = match &platform.ending {
        Ending::ShellPrompt => Expect::ShellPrompt(word.clone()),
        Ending::Comment { prefix } => {
            let comment = format!("{prefix}{word}0");
            setup.push_str(&comment);
            setup.push('\n');
            Expect::Comment(comment)
        }
    };
    let early = platform.setup.early;
    let first = if early { setup.as_str() } else { "" };
    let shell = transport::open_shell(handle, endpoint, first).await?;
    let mut session = Session {
        shell,
        platform: Arc::clone(platform),
        timeouts: endpoint.timeouts,
        output_limit: endpoint.output_limit,
        prompt: String::new(),
        health: Health::Busy,
        in_configuration: false,
        type_ahead: true,
        word,
        commands: 0,
    };
    if early {
        reader.expect(expect);
    }
    session.set_up(reader, &setup, early).await?;
    if let Some(secret) = &endpoint.enable_secret {
        session.enable(secret).await?;
    }
    session.health = Health::Ready;
    Ok(session)
}

impl Session {
    /// Reads up to the prompt after the set-up commands. If they were not sent yet, they are as
    /// soon as something looks like a prompt: should that be a banner, they are just early.
    async fn set_up(
        &mut self,
        reader: &mut Reader<'_>,
        setup: &str,
        mut sent: bool,
    ) -> Result<(), Error> {
        loop {
            match self.next_step(reader).await? {
                Step::Prompt if !sent => {
                    sent = true;
                    let comment = setup.lines().last().unwrap_or_default().to_owned();
                    reader.expect(Expect::Comment(comment));
                    self.shell.send(setup).await?;
                }
                Step::Pager(answer) => {
                    reader.pager_answered();
                    self.shell.send(&answer).await?;
                    self.type_ahead = false;
                }
                Step::End { prompt, .. } => {
                    let answer = reader.answer(None);
                    self.prompt = if prompt.is_empty() {
                        // Ours says nothing; what stood before it was the user's own.
                        let own = answer.output.lines().last().unwrap_or_default();
                        own.trim().to_owned()
                    } else {
                        prompt
                    };
                    // A refused set-up command is harmless, but then there may be a pager.
                    let refused = |line: &str| self.platform.refusal(line).is_some();
                    if answer.output.lines().any(refused) {
                        self.type_ahead = false;
                    }
                    return Ok(());
                }
                _ => {}
            }
        }
    }

    /// From the user's prompt to the privileged one. The secret is sent once.
    async fn enable(&mut self, secret: &SecretString) -> Result<(), Error> {
        let platform = Arc::clone(&self.platform);
        let (Some(enable), Ending::Comment { prefix }) = (&platform.enable, &platform.ending)
        else {
            return Ok(());
        };
        if !platform.is_user(&self.prompt) {
            return Ok(());
        }
        let mut reader = Reader::new(&platform, self.output_limit, Expect::PromptOrSecret);
        self.shell.send(&format!("{}\n", enable.command)).await?;
        let mut asked = false;
        loop {
            match self.next_step(&mut reader).await? {
                Step::Secret if asked => return Err(wrong_secret("it asks again")),
                Step::Secret => {
                    asked = true;
                    // The question is answered; the same question again is a refusal.
                    reader.clear();
                    reader.push(b"\n");
                    self.shell.send_secret(secret.expose_secret(), "\n").await?;
                }
                Step::Prompt => {
                    self.read_rest(prefix, &mut reader).await?;
                    if platform.is_user(&self.prompt) {
                        let answer = reader.answer(Some(&enable.command)).output;
                        return Err(wrong_secret(answer.trim()));
                    }
                    return Ok(());
                }
                Step::Pager(answer) => self.shell.send(&answer).await?,
                _ => {}
            }
        }
    }

    /// Makes sure that the prompt just seen is one, and learns it.
    async fn read_rest(&mut self, prefix: &str, reader: &mut Reader<'_>) -> Result<(), Error> {
        let comment = self.next_comment(prefix);
        self.shell.send(&format!("{comment}\n")).await?;
        reader.expect(Expect::Comment(comment));
        loop {
            if let Step::End { prompt, .. } = self.next_step(reader).await? {
                self.prompt = prompt;
                return Ok(());
            }
        }
    }
}

fn wrong_secret(answer: &str) -> Error {
    Error::authentication(format!("the device refused the enable secret: {answer}"))
}

/// 48 random bits: no output holds them by chance.
fn random_word() -> Result<String, Error> {
    let mut bytes = [0; 6];
    getrandom::fill(&mut bytes)
        .map_err(|error| Error::protocol(format!("no random numbers: {error}")))?;
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}

impl Platform {
    pub(super) fn is_user(&self, prompt: &str) -> bool {
        let user = self.prompts.user.as_ref();
        user.is_some_and(|pattern| pattern.matches(prompt))
    }

    pub(super) fn is_configuration(&self, prompt: &str) -> bool {
        let configuration = self.prompts.configuration.as_ref();
        configuration.is_some_and(|pattern| pattern.matches(prompt))
    }
}
