//! Login: from an endpoint to a session at its prompt.

use std::sync::{Arc, LazyLock};

use secrecy::{ExposeSecret, SecretString};

use super::dialogue::{Exchange, Request, SETTLED_SOON};
use super::word::Word;
use super::{ExecOptions, Health, Session};
use crate::connect;
use crate::endpoint::{Answer, Answered, Endpoint};
use crate::error::Error;
use crate::gate::Gate;
use crate::patience::{Elapsed, Patience};
use crate::platform::{
    Credential, Ending, LoginAnswer, LoginQuestion, Pattern, Platform, Question, Shell, shell,
};
use crate::reader::{self, Expect, Reader, Step};
use crate::session_log::without_secrets;
use crate::transport::Connection;

/// Questions that any device may ask before its first prompt; the platform's own take precedence.
static COMMON_QUESTIONS: LazyLock<Vec<LoginQuestion>> = LazyLock::new(|| {
    let change = "the device requires a new password: log in by hand and set one";
    [
        (
            r#"(?i)press ["'<\[]?(any key|return|enter|cr)\b"#,
            LoginAnswer::Answer(String::new()),
        ),
        (
            r"(?i)(\b(new|old|current)\b[^:]* password|password (has )?expired|change (your|the) password)[^:]*[:?] ?$",
            LoginAnswer::Fail(change.into()),
        ),
        (
            USERNAME.as_str(),
            LoginAnswer::Credential(Credential::Username),
        ),
        (
            r"(?i)^((enter|user|login|\S+'s|\(\S+\)) )?(\S+'s )?password( for \S+)? ?: ?$",
            LoginAnswer::Credential(Credential::Password),
        ),
        (
            r"(?i)(accept|agree)\b.*[\[(]y(es)?/no?[\])]\s*[:?]? ?$",
            LoginAnswer::Answer("yes".into()),
        ),
    ]
    .map(|(ask, answer)| LoginQuestion {
        ask: Pattern::new(ask).expect("tests match every question"),
        answer,
    })
    .into()
});

/// Maximum number of Enters before the first prompt: one for a device that shows nothing before it,
/// and one to see the prompt repeated.
const ENTERS: usize = 2;

static USERNAME: LazyLock<Pattern> = LazyLock::new(|| {
    Pattern::new(r"(?i)^((user ?)?name|login|user) ?: ?$").expect("tests match every question")
});

impl Session {
    /// Connects, logs in, answers the device's questions before its prompt, learns the prompt,
    /// switches paging off, and enters privileged mode if the platform has one, the login ended at
    /// the user's prompt, and the endpoint has an enable secret.
    ///
    /// # Errors
    /// Any error except [`Error::Refused`] and [`Error::Unsupported`].
    pub async fn connect(endpoint: &Endpoint) -> Result<Self, Error> {
        Self::connect_after(endpoint, &Gate::open()).await
    }

    /// Like [`Session::connect`], but sends no secret before the gate is open.
    pub(crate) async fn connect_after(endpoint: &Endpoint, gate: &Gate) -> Result<Self, Error> {
        let connection = connect::connect(endpoint, gate).await?;
        let limit = endpoint.timeouts.login;
        let platform = Arc::clone(&endpoint.platform);
        let reader = Reader::new(&platform, endpoint.output_limit, Expect::Prompt).before_typing();
        let mut exchange = Exchange::new(reader, "");
        let outcome = log_in(connection, endpoint, gate, &mut exchange).await;
        let error = match outcome {
            Ok(Ok(session)) => return Ok(session),
            Ok(Err(error)) => error,
            Err(_) => Error::Timeout {
                doing: String::new(),
                after: limit,
                partial: String::new(),
            },
        };
        let shown = || without_secrets(endpoint, &exchange.reader.answer(None).output);
        Err(error.while_doing(|| doing(endpoint), shown))
    }
}

/// Describes the login, for errors.
fn doing(endpoint: &Endpoint) -> String {
    format!("logging in to {}:{}", endpoint.host, endpoint.port)
}

async fn log_in(
    connection: Connection,
    endpoint: &Endpoint,
    gate: &Gate,
    exchange: &mut Exchange<'_, '_>,
) -> Result<Result<Session, Error>, Elapsed> {
    let mut patience = Patience::new(endpoint.timeouts.login);
    let opening = open_session(connection, endpoint, gate, exchange);
    let mut session = match patience.wait(opening).await? {
        Ok(session) => session,
        Err(error) => return Ok(Err(error)),
    };
    // The commands after the set-up time out before the login does, so that the error names the
    // command.
    let timeouts = &mut session.timeouts;
    timeouts.command = timeouts.command.min(patience.left().mul_f64(0.95));
    let prepared = patience.wait(session.prepare(endpoint)).await?;
    if let Err(error) = prepared {
        return Ok(Err(error.during(&doing(endpoint))));
    }
    session.timeouts = endpoint.timeouts;
    session.home.clone_from(&session.prompt);
    session.pristine = true;
    Ok(Ok(session))
}

/// Logs in, starts the shell, and sets it up to the first prompt.
async fn open_session(
    connection: Connection,
    endpoint: &Endpoint,
    gate: &Gate,
    exchange: &mut Exchange<'_, '_>,
) -> Result<Session, Error> {
    let platform = &endpoint.platform;
    let word = Word::random()?;
    let shell = connect::open_shell(connection, endpoint, gate).await?;
    let mut session = Session {
        shell,
        platform: Arc::clone(platform),
        timeouts: endpoint.timeouts,
        output_limit: endpoint.output_limit,
        home: String::new(),
        prompt: String::new(),
        health: Health::Busy,
        in_configuration: false,
        uncommitted: false,
        pristine: true,
        typed_unentered: false,
        echo: platform.terminal.echo,
        type_ahead: true,
        word,
        commands: 0,
        answered: Vec::new(),
    };
    let questions = LoginQuestions::new(endpoint);
    session.set_up(exchange, &questions).await?;
    session.health = Health::Ready;
    Ok(session)
}

/// Returns the first input, and the end that shows that the device has read all of it.
fn first_lines(platform: &Platform, word: &Word, number: u64) -> (String, Expect) {
    let mut lines: Vec<String> = platform
        .login
        .commands
        .iter()
        .map(|command| command.replace("{word}", word.as_str()))
        .collect();
    let expect = match &platform.ending {
        Ending::ShellPrompt => Expect::ShellPrompt(word.as_str().to_owned()),
        Ending::Comment { prefix } => {
            let comment = word.comment(prefix, number);
            lines.push(comment.clone());
            Expect::FirstComment {
                comment,
                lines: lines.len(),
            }
        }
    };
    let newline = &platform.terminal.newline;
    let typed = lines
        .iter()
        .map(|line| format!("{line}{newline}"))
        .collect();
    (typed, expect)
}

impl Session {
    /// Answers questions until the device shows its prompt, sends the set-up commands, and reads up
    /// to the prompt after them. Before the first prompt it types only answers to known questions,
    /// and Enter if the device is silent at a line that is not a question: some devices show their
    /// prompt only after Enter, and a prompt that no pattern matches is recognised by its
    /// repetition.
    async fn set_up(
        &mut self,
        exchange: &mut Exchange<'_, '_>,
        questions: &LoginQuestions<'_>,
    ) -> Result<(), Error> {
        let platform = Arc::clone(&self.platform);
        exchange.reader.ask(questions.patterns());
        let mut sent = false;
        let mut enters = 0;
        let mut in_shell = false;
        let mut own = String::new();
        loop {
            match self.next_step(exchange).await? {
                Step::Prompt if !sent => {
                    sent = true;
                    own = exchange.reader.last_line().trim().to_owned();
                    self.send_first_lines(exchange).await?;
                }
                Step::Unsure if !sent && enters < ENTERS => {
                    enters += 1;
                    let line = exchange.reader.last_line().trim().to_owned();
                    exchange.reader.clear();
                    if !line.is_empty() {
                        // If the device repeats the line, it is the prompt.
                        exchange.reader.learn(&line);
                    }
                    let newline = platform.terminal.newline.clone();
                    self.shell.send(&newline).await?;
                }
                Step::Question(index) => {
                    if self.says_more(exchange).await? {
                        continue;
                    }
                    let asked = exchange.reader.last_words();
                    exchange.reader.question_answered(index);
                    questions.answer(self, index, &asked).await?;
                    // The question may have consumed some of the set-up commands.
                    sent = false;
                    exchange.reader.expect(Expect::Prompt);
                }
                Step::AskedAgain(index) => {
                    let asked = exchange.reader.last_line();
                    return Err(questions.asked_again(index, asked.trim()));
                }
                Step::Pager(answer) => {
                    exchange.reader.pager_answered();
                    self.shell.send(&answer).await?;
                    self.type_ahead = false;
                    // A paged banner: the pager may have read some of the set-up commands.
                    sent = false;
                    exchange.reader.expect(Expect::Prompt);
                }
                Step::Swallowed => {
                    self.type_ahead = false;
                    sent = false;
                    exchange.reader.expect(Expect::Prompt);
                    exchange.look_again();
                }
                Step::Resync => self.resync(exchange).await?,
                Step::NoEcho => {
                    if self.says_more(exchange).await? {
                        continue;
                    }
                    tracing::debug!("the device does not echo");
                    self.echo = false;
                    self.prompt = exchange.reader.last_line().trim().to_owned();
                    return Ok(());
                }
                Step::End { prompt, .. } => {
                    let answer = exchange.reader.answer(None);
                    let words = shell::refusal(&answer.output);
                    if let Some(words) = words.filter(|_| !platform.may_be_shell()) {
                        match platform.login.cli.as_ref().filter(|_| !in_shell) {
                            Some(cli) => {
                                in_shell = true;
                                sent = false;
                                self.send_cli(cli, exchange).await?;
                                continue;
                            }
                            None => return Err(no_cli(&platform, &prompt, words)),
                        }
                    }
                    // `prompt` is empty for a shell, because the session has replaced its prompt;
                    // `own` is the user's prompt, shown before.
                    self.prompt = if prompt.is_empty() { own } else { prompt };
                    // A refused set-up command is harmless, but paging may still be on.
                    let refused = |line: &str| platform.refusal(line).is_some();
                    if answer.output.lines().any(refused) {
                        self.type_ahead = false;
                    }
                    return Ok(());
                }
                _ => {}
            }
        }
    }

    /// Verifies that the prompt belongs to the device's own command line, enters privileged mode,
    /// and sends the commands for it.
    async fn prepare(&mut self, endpoint: &Endpoint) -> Result<(), Error> {
        self.ask_a_shell().await?;
        if let Some(secret) = &endpoint.enable_secret {
            self.enable(endpoint, secret).await?;
        }
        for command in &endpoint.platform.login.privileged_commands {
            let reply = self.exec_with(command, ExecOptions::default()).await?;
            self.type_ahead &= reply.is_success();
        }
        Ok(())
    }

    async fn send_first_lines(&mut self, exchange: &mut Exchange<'_, '_>) -> Result<(), Error> {
        // Each attempt uses a new comment, because the reply to an earlier one may still arrive.
        self.commands += 1;
        let (typed, expect) = first_lines(&self.platform, &self.word, self.commands);
        let prompt = exchange.reader.last_line();
        exchange.reader.learn(prompt.trim());
        // Only later prompts count, because the banner may contain anything.
        exchange.reader.clear();
        exchange.reader.typed();
        exchange.reader.expect(expect);
        self.shell.send(&typed).await
    }

    /// Starts the device's own command line from its shell.
    async fn send_cli(
        &mut self,
        command: &str,
        exchange: &mut Exchange<'_, '_>,
    ) -> Result<(), Error> {
        tracing::debug!(command, "logged in to a shell; starting the command line");
        let typed = self.typed(command);
        exchange.reader.clear();
        exchange.reader.learn("");
        exchange.reader.expect(Expect::Prompt);
        self.shell.send(&typed).await
    }

    /// Runs the platform's first fact command if the prompt resembles that of a shell or a boot
    /// loader: only the device's own command line knows this command, even if the device is named
    /// `loader`.
    async fn ask_a_shell(&mut self) -> Result<(), Error> {
        static UNKNOWN: LazyLock<Pattern> = LazyLock::new(|| {
            Pattern::new(
                r"(?i)\b(unknown|unrecognized|invalid|bad|illegal) command\b|\bnot found\b",
            )
            .expect("tests compile the pattern")
        });
        let platform = Arc::clone(&self.platform);
        let unlike = !platform.prompts.any.matches(&self.prompt);
        let like_a_shell = shell::looks_like_shell_prompt(&self.prompt)
            || shell::looks_like_boot_loader(&self.prompt);
        let suspicious = unlike || (like_a_shell && platform.shell == Shell::Distinct);
        if platform.may_be_shell() || !suspicious {
            return Ok(());
        }
        let Some(known) = platform.facts.first() else {
            return Ok(());
        };
        let reply = self.exec(&known.command).await?;
        // A command line that knows the command prints a long output. One that does not know it
        // refuses it in the platform's own words.
        let output = reply.output.trim();
        let unknown = like_a_shell
            && output.lines().count() <= 3
            && platform.refusal(output).is_none()
            && UNKNOWN.matches(output);
        let words = shell::refusal(output).or(unknown.then_some(output));
        words.map_or(Ok(()), |words| Err(no_cli(&platform, &self.prompt, words)))
    }

    /// Enters privileged mode from the user's prompt. The secret is sent once.
    async fn enable(&mut self, endpoint: &Endpoint, secret: &SecretString) -> Result<(), Error> {
        let platform = Arc::clone(&self.platform);
        let Some(enable) = &platform.enable else {
            return Ok(());
        };
        if !platform.is_user(&self.prompt) {
            return Ok(());
        }
        // The secret is matched first, so that no other answer is given to its question.
        let mut answers = vec![Answer::new(enable.question.clone(), secret.clone())];
        answers.extend(endpoint.credentials.answers.iter().cloned());
        // Some devices ask for a user name first.
        let user = endpoint.username.as_str();
        answers.push(Answer::new(USERNAME.clone(), user).shown());
        let request = Request {
            answers: &answers,
            settle: SETTLED_SOON,
            ..Request::new(&enable.command)
        };
        let reply = self.run(request).await;
        match reply {
            Err(Error::Refused { .. }) => Err(wrong_secret("the device repeated the question")),
            Err(error) => Err(error),
            Ok(reply) if platform.is_user(&self.prompt) => Err(wrong_secret(reply.output.trim())),
            Ok(_) => Ok(()),
        }
    }

    /// Types an answer; logs never contain a secret one.
    pub(super) async fn answer(&mut self, answer: &Answer, question: &str) -> Result<(), Error> {
        /// Maximum number of answers recorded per command; a device that asks more often repeats
        /// itself.
        const KEPT: usize = 256;
        let mut text = answer.answer.expose_secret();
        let one_key = self.platform.terminal.one_key.as_ref();
        let mut key = answer.key;
        // Only the first character of a word is sent; Enter alone is a key itself.
        if !key && !text.is_empty() && one_key.is_some_and(|asks| asks.matches(question)) {
            key = true;
            text = text
                .split_at(text.chars().next().map_or(0, char::len_utf8))
                .0;
        }
        let end = match key {
            true => String::new(),
            false => self.platform.terminal.newline.clone(),
        };
        if self.answered.len() < KEPT {
            self.answered.push(Answered {
                question: question.trim().to_owned(),
                answer: (!answer.secret).then(|| text.to_owned()),
            });
        }
        if answer.secret {
            self.shell.send_secret(text, &end).await
        } else {
            self.shell.send(&format!("{text}{end}")).await
        }
    }
}

/// The questions before the first prompt, and their answers.
struct LoginQuestions<'a> {
    endpoint: &'a Endpoint,
}

impl<'a> LoginQuestions<'a> {
    const fn new(endpoint: &'a Endpoint) -> Self {
        Self { endpoint }
    }

    /// Returns the operator's questions, the platform's, and those of all devices, in this order.
    fn patterns(&self) -> Vec<reader::Question> {
        let own = self.endpoint.credentials.answers.iter().map(Into::into);
        let known = self.known().map(|question| reader::Question {
            ask: question.ask.clone(),
            again: matches!(
                question.answer,
                LoginAnswer::Key(_) | LoginAnswer::Answer(_)
            ),
            finished: match &question.answer {
                LoginAnswer::Key(_) => true,
                LoginAnswer::Answer(line) => line.is_empty(),
                _ => false,
            },
            answered: false,
        });
        own.chain(known).collect()
    }

    fn known(&self) -> impl Iterator<Item = &LoginQuestion> {
        let platform = &self.endpoint.platform;
        platform
            .login
            .questions
            .iter()
            .chain(COMMON_QUESTIONS.iter())
    }

    async fn answer(&self, session: &mut Session, index: usize, asked: &str) -> Result<(), Error> {
        /// Maximum number of questions; a device that asks more often repeats itself.
        const QUESTIONS: usize = 32;
        session.commands += 1;
        if session.commands > QUESTIONS as u64 {
            return Err(Error::protocol(format!(
                "the device keeps repeating the question {asked:?} at login"
            )));
        }
        let endpoint = self.endpoint;
        let newline = &endpoint.platform.terminal.newline;
        let own = &endpoint.credentials.answers;
        let question = match own.get(index) {
            Some(answer) => return session.answer(answer, asked).await,
            None => self.known().nth(index - own.len()),
        };
        match question.map(|question| &question.answer) {
            Some(LoginAnswer::Answer(line)) => {
                session.shell.send(&format!("{line}{newline}")).await
            }
            Some(LoginAnswer::Key(key)) => session.shell.send(key).await,
            Some(LoginAnswer::Credential(Credential::Username)) => {
                let line = format!("{}{newline}", endpoint.username);
                session.shell.send(&line).await
            }
            Some(LoginAnswer::Credential(Credential::Password)) => {
                let Some(password) = &endpoint.credentials.password else {
                    return Err(Error::no_credentials(format!(
                        "the device asks {asked:?} at login, but no password is configured"
                    )));
                };
                session
                    .shell
                    .send_secret(password.expose_secret(), newline)
                    .await
            }
            Some(LoginAnswer::Fail(message)) => Err(Error::authentication(format!(
                "{message} (the device asked {asked:?})"
            ))),
            None => Ok(()),
        }
    }

    fn asked_again(&self, index: usize, asked: &str) -> Error {
        let own = self.endpoint.credentials.answers.len();
        let what = match index.checked_sub(own).and_then(|at| self.known().nth(at)) {
            Some(LoginQuestion {
                answer: LoginAnswer::Credential(Credential::Username),
                ..
            }) => "user name or password",
            Some(_) => "password",
            None => "answer",
        };
        Error::authentication(format!(
            "the device refused the {what} given at login: it repeated the question {asked:?}"
        ))
    }
}

impl From<&Question> for Answer {
    fn from(question: &Question) -> Self {
        Self::new(question.ask.clone(), question.answer.as_str()).shown()
    }
}

fn no_cli(platform: &Platform, prompt: &str, words: &str) -> Error {
    Error::protocol(format!(
        "the login ended in a shell or a boot loader: expected the command line of {}, got the prompt \
         {prompt:?} and the output {words:?}; change the user's login shell, or set the device type to \
         `linux`",
        platform.name
    ))
}

fn wrong_secret(answer: &str) -> Error {
    Error::authentication(format!("the device refused the enable secret: {answer}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_devices_ask_before_their_prompt() {
        let asked = |text: &str| {
            let found = COMMON_QUESTIONS.iter().find(|q| q.ask.matches(text));
            found.map(|question| question.answer.clone())
        };
        let password = Some(LoginAnswer::Credential(Credential::Password));
        let username = Some(LoginAnswer::Credential(Credential::Username));
        assert_eq!(asked("Password: "), password);
        assert_eq!(asked("Enter password:"), password);
        assert_eq!(asked("Username:"), username);
        assert_eq!(asked("login: "), username);
        let press = Some(LoginAnswer::Answer(String::new()));
        assert_eq!(asked("Press any key to continue"), press);
        assert_eq!(asked("-- Press RETURN to get started. --"), press);
        let accept = Some(LoginAnswer::Answer("yes".into()));
        assert_eq!(asked("Do you accept the terms? [yes/no]: "), accept);
        for change in [
            "Enter new password: ",
            "New password:",
            "Enter old password:",
        ] {
            assert!(
                matches!(asked(change), Some(LoginAnswer::Fail(_))),
                "{change}"
            );
        }
        for harmless in [
            "r1#",
            "Last login: Mon",
            "the password policy is strict",
            "name r1",
        ] {
            assert_eq!(asked(harmless), None, "{harmless}");
        }
    }
}
