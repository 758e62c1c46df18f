//! The exchange of one command and its reply: sending, prompts, pagers, questions and sentinels.

use std::sync::Arc;
use std::time::{Duration, Instant};

use secrecy::ExposeSecret;

use super::{ExecOptions, Health, Reply, Session};
use crate::endpoint::Answer;
use crate::error::Error;
use crate::patience::{Elapsed, timeout};
use crate::platform::{Ending, Platform};
use crate::prompt::{Learnt, same_prompt};
use crate::reader::{Expect, Question, Quiet, Reader, Step};
use crate::transport::Received;

/// Maximum number of bytes typed ahead. The device may receive a longer command in two pieces and
/// read the second one after it has run the first; the comment would then be echoed in the middle
/// of the output.
pub(super) const TYPE_AHEAD_LIMIT: usize = 2000;

/// How a command is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Manner {
    /// Together with the sentinel that marks its end.
    TypeAhead,
    /// Alone: it may ask a question.
    Careful,
    /// Alone, and usually without any output.
    ConfigurationLine,
    /// Alone: the device reads text after it, and a sentinel would become part of that text.
    BeginsText,
}

/// A command and the options of its exchange.
pub(super) struct Request<'c, 'w> {
    pub(super) command: &'c str,
    pub(super) manner: Manner,
    pub(super) answers: &'c [Answer],
    /// The silence required at a question before it is answered.
    pub(super) settle: Duration,
    pub(super) options: ExecOptions<'w>,
}

impl<'c> Request<'c, '_> {
    pub(super) fn new(command: &'c str) -> Self {
        Self {
            command,
            manner: Manner::Careful,
            answers: &[],
            settle: SETTLED,
            options: ExecOptions::default(),
        }
    }
}

#[derive(Debug, Clone, Copy, Default)]
pub(super) struct CommandEnd {
    exit_code: Option<i32>,
    incomplete: bool,
}

impl CommandEnd {
    fn failure(self, platform: &Platform) -> Option<String> {
        if self.incomplete {
            return Some(format!(
                "incomplete command: {} expects more input (an open quote or block)",
                platform.name
            ));
        }
        self.exit_code
            .filter(|&code| code != 0)
            .map(|code| format!("exit code {code}"))
    }
}

/// The state of one exchange: the reader of received bytes, the answers, and the watcher.
pub(super) struct Exchange<'c, 'w> {
    pub(super) reader: Reader<'c>,
    command: &'c str,
    answers: &'c [Answer],
    settle: Duration,
    silence: Option<Duration>,
    watch: Option<&'w mut (dyn FnMut(&str) + Send)>,
    /// Received bytes have not been processed yet.
    unseen: bool,
    /// How long the device has been silent, counting only the time in which this process ran, and
    /// the number of [`QUIET`] steps handled.
    silent: Duration,
    quiet: usize,
    resyncs: usize,
}

/// A device that is silent for this long waits for input. Pauses within a line are shorter.
pub(super) const SETTLED: Duration = Duration::from_millis(500);
/// The same for questions of the platform's own commands: their patterns match the whole line.
pub(super) const SETTLED_SOON: Duration = Duration::from_millis(100);
/// The durations of silence after which the reader decides about the next step.
const QUIET: [(Duration, Quiet); 3] = [
    (SETTLED_SOON, Quiet::Brief),
    (SETTLED, Quiet::Settled),
    (Duration::from_secs(2), Quiet::Long),
];
/// Maximum number of resynchronizations per exchange.
const RESYNCS: usize = 3;

impl<'c> Exchange<'c, '_> {
    pub(super) fn new(reader: Reader<'c>, command: &'c str) -> Self {
        Self {
            reader,
            command,
            answers: &[],
            settle: SETTLED,
            silence: None,
            watch: None,
            unseen: false,
            silent: Duration::ZERO,
            quiet: 0,
            resyncs: 0,
        }
    }

    /// Adds received bytes.
    pub(super) fn push(&mut self, bytes: &[u8]) {
        self.reader.push(bytes);
        self.unseen = !bytes.is_empty();
        self.silent = Duration::ZERO;
        self.quiet = 0;
    }

    /// Processes the received bytes again because the expectation has changed.
    pub(super) const fn look_again(&mut self) {
        self.unseen = true;
    }

    pub(super) fn received(&mut self, received: Received) -> Result<(), Error> {
        match received {
            Received::Bytes(bytes) => {
                self.push(&bytes);
                Ok(())
            }
            Received::Closed(reason) => Err(Error::Disconnected {
                doing: String::new(),
                reason,
                partial: String::new(),
            }),
        }
    }

    fn show_new_lines(&mut self) {
        if let Some(watch) = &mut self.watch
            && let Some(lines) = self.reader.new_lines(self.command)
        {
            watch(&lines);
        }
    }
}

impl Session {
    /// Sends one command and reads its reply. The session becomes unusable if this fails.
    pub(super) async fn run(&mut self, request: Request<'_, '_>) -> Result<Reply, Error> {
        self.begin()?;
        let platform = Arc::clone(&self.platform);
        let Request {
            command,
            manner,
            answers,
            settle,
            options,
        } = request;
        let limit = options.timeout.unwrap_or(self.timeouts.command);
        let questions = answers.iter().map(Question::from).collect();
        let reader = self
            .reader(&platform, Expect::Prompt)
            .with_questions(questions);
        let mut exchange = Exchange {
            answers,
            settle,
            silence: options.silence,
            watch: options.watch,
            ..Exchange::new(reader, command)
        };
        let started = Instant::now();
        // The exchange outlives the future, so received bytes survive a timeout.
        let outcome = timeout(limit, self.dialogue(manner, &mut exchange)).await;
        self.end(&exchange.reader, command, answers, started, limit, outcome)
    }

    /// Marks the session as busy. Fails if the session is unusable.
    pub(super) fn begin(&mut self) -> Result<(), Error> {
        if self.health != Health::Ready {
            return Err(Error::invalid(
                "the session is no longer usable: an earlier command was interrupted or timed out",
            ));
        }
        let unasked = self.shell.drain();
        if unasked > 0 {
            tracing::debug!(bytes = unasked, "dropped unsolicited output");
        }
        self.health = Health::Busy;
        Ok(())
    }

    pub(super) fn reader<'p>(&self, platform: &'p Platform, expect: Expect) -> Reader<'p> {
        let reader = Reader::new(platform, self.output_limit, expect)
            .with_echo(self.echo)
            .with_prompt(&Learnt::from(&self.prompt));
        match &platform.ending {
            Ending::Comment { .. } => reader.with_word(self.word.as_str()),
            // In a shell, output may contain the prompt's word (`set` prints it), so such lines are
            // kept.
            Ending::ShellPrompt => reader,
        }
    }

    /// Converts the outcome of an exchange to a reply, and marks the session as ready or broken.
    pub(super) fn end(
        &mut self,
        reader: &Reader<'_>,
        command: &str,
        answers: &[Answer],
        started: Instant,
        limit: Duration,
        outcome: Result<Result<CommandEnd, Error>, Elapsed>,
    ) -> Result<Reply, Error> {
        let error = match outcome {
            Ok(Ok(end)) => {
                self.health = Health::Ready;
                let answer = reader.answer(Some(command));
                let failure = end
                    .failure(&self.platform)
                    .or_else(|| self.refusal(&answer.output));
                return Ok(Reply {
                    command: command.to_owned(),
                    output: answer.output,
                    failure,
                    exit_code: end.exit_code,
                    elapsed: started.elapsed(),
                    truncated: answer.truncated,
                });
            }
            Ok(Err(error)) => error,
            Err(_) => Error::Timeout {
                doing: String::new(),
                after: limit,
                partial: String::new(),
            },
        };
        self.health = Health::Broken;
        Err(error.while_doing(
            || format!("{command:?}"),
            || masked(reader.answer(Some(command)).output, answers),
        ))
    }

    /// Returns the line by which the device refused a command. An answered question is not a
    /// refusal, even if it begins like one (`% Do you accept this certificate?`).
    fn refusal(&self, output: &str) -> Option<String> {
        let platform = &self.platform;
        let asked = |line: &str| {
            let mut asked = self.answered.iter().map(|asked| asked.question.as_str());
            asked.any(|question| !question.is_empty() && line.trim_start().starts_with(question))
        };
        let words = platform.refusal(output)?;
        if !asked(words) {
            return Some(words.to_owned());
        }
        let rest: Vec<&str> = output.lines().filter(|line| !asked(line)).collect();
        platform.refusal(&rest.join("\n")).map(str::to_owned)
    }

    async fn dialogue(
        &mut self,
        manner: Manner,
        exchange: &mut Exchange<'_, '_>,
    ) -> Result<CommandEnd, Error> {
        let platform = Arc::clone(&self.platform);
        let typed = self.typed(exchange.command);
        match &platform.ending {
            Ending::ShellPrompt => self.shell_dialogue(&typed, exchange).await,
            Ending::Comment { prefix } => {
                let ahead = manner == Manner::TypeAhead
                    && self.type_ahead
                    && self.echo
                    && exchange.answers.is_empty()
                    && typed.len() <= TYPE_AHEAD_LIMIT;
                if ahead {
                    let comment = self.next_comment(prefix);
                    exchange.reader.expect(Expect::Comment(comment.clone()));
                    exchange.reader.expect_ahead(true);
                    self.shell
                        .send(&format!("{typed}{}", self.typed(&comment)))
                        .await?;
                    if let Some(end) = self.read_typed_ahead(exchange).await? {
                        return Ok(end);
                    }
                    // A pager read the sentinel, so the output is incomplete. After
                    // resynchronizing, the command is sent again: it only reads.
                    self.type_ahead = false;
                    exchange.reader.clear();
                }
                self.shell.send(&typed).await?;
                if manner == Manner::BeginsText {
                    return self.read_up_to_prompt(exchange).await;
                }
                let silent = manner == Manner::ConfigurationLine;
                self.read_carefully(prefix, silent, exchange).await
            }
        }
    }

    /// Sends a command that begins a block of text, then the text, and reads up to the next prompt.
    /// Also returns the number of lines that were not sent.
    pub(super) async fn run_block(
        &mut self,
        first: &str,
        text: &[String],
        end: &str,
        answers: &[Answer],
    ) -> Result<(Reply, usize), Error> {
        self.begin()?;
        let platform = Arc::clone(&self.platform);
        let questions = answers.iter().map(Question::from).collect();
        let reader = self.reader(&platform, Expect::Text);
        let reader = reader.with_questions(questions);
        let mut exchange = Exchange {
            answers,
            ..Exchange::new(reader, first)
        };
        let started = Instant::now();
        let lines = u32::try_from(text.len()).unwrap_or(u32::MAX);
        let limit = self.timeouts.command + SETTLED.saturating_mul(lines);
        let dialogue = self.block_dialogue(text, end, &mut exchange);
        let outcome = timeout(limit, dialogue).await;
        let mut unsent = 0;
        let outcome = outcome.map(|ended| {
            ended.map(|(command_end, left)| {
                unsent = left;
                command_end
            })
        });
        let reader = &exchange.reader;
        let mut reply = self.end(reader, first, answers, started, limit, outcome)?;
        // The device echoes the text, so the echo is removed from the output.
        let mut echoes = text.iter().map(|line| line.trim()).peekable();
        let kept = reply.output.lines().filter(|line| {
            // Some devices prompt for text with `>`.
            let line = line.trim().trim_start_matches('>').trim();
            let echo = echoes.peek() == Some(&line);
            if echo {
                echoes.next();
            }
            !echo
        });
        reply.output = kept.collect::<Vec<_>>().join("\n");
        Ok((reply, unsent))
    }

    /// Sends a block line by line. Also returns the number of lines that were not sent because the
    /// device stopped reading text.
    async fn block_dialogue(
        &mut self,
        text: &[String],
        end: &str,
        exchange: &mut Exchange<'_, '_>,
    ) -> Result<(CommandEnd, usize), Error> {
        /// Lines per write.
        const LINES: usize = 16;
        let platform = Arc::clone(&self.platform);
        let Ending::Comment { prefix } = &platform.ending else {
            return Err(self.unsupported("configuration with blocks of text"));
        };
        let first = self.typed(exchange.command);
        self.shell.send(&first).await?;
        let mut at_prompt = self.takes_text(exchange, None).await?;
        let mut sent = 0;
        // A line may contain the mark that ends the text; the next line would then run as a
        // command.
        if end.is_empty() && !at_prompt {
            for line in text {
                self.type_text(line, exchange).await?;
            }
            sent = text.len();
        }
        while !at_prompt && sent < text.len() {
            let lines = &text[sent..text.len().min(sent + LINES)];
            let typed: String = lines.iter().map(|line| self.typed(line)).collect();
            let wanted = exchange.reader.newlines() + lines.len();
            sent += lines.len();
            if sent == text.len() {
                // The end mark and the prompt follow the last line.
                self.shell.send(&(typed + end)).await?;
                break;
            }
            self.shell.send(&typed).await?;
            at_prompt = self.takes_text(exchange, Some(wanted)).await?;
        }
        let left = text.len() - sent;
        if at_prompt {
            exchange.look_again();
            // A mode with a prompt for each line of a text may read a sentinel as text.
            let prompt = exchange.reader.last_line();
            if sent == 0 && !same_prompt(&self.prompt, prompt.trim()) {
                let command_end = self.read_up_to_prompt(exchange).await?;
                return Ok((command_end, left));
            }
        }
        let command_end = self.read_carefully(prefix, false, exchange).await?;
        Ok((command_end, left))
    }

    /// Types a line of a text, waits for its echo, and sends Enter unless the line was typed at a
    /// prompt.
    async fn type_text(
        &mut self,
        line: &str,
        exchange: &mut Exchange<'_, '_>,
    ) -> Result<(), Error> {
        /// Maximum time to wait for the echo; some devices do not echo text.
        const ECHO: Duration = Duration::from_secs(2);
        let newline = self.platform.terminal.newline.clone();
        let typed = self.typed(line);
        let text = typed.strip_suffix(newline.as_str()).unwrap_or(&typed);
        self.shell.send(text).await?;
        exchange.settle = ECHO;
        while !exchange.reader.echoes(line) && self.says_more(exchange).await? {}
        // A prompt may arrive late, and the device may redraw the line after it.
        exchange.settle = SETTLED_SOON;
        while self.says_more(exchange).await? {}
        if exchange.reader.typed_at_prompt(line) {
            // `close` would append its `exit` to this line.
            self.typed_unentered = true;
            return Err(Error::Refused {
                command: exchange.command.to_owned(),
                message: format!(
                    "the device stopped reading the text before {line:?}, which was not entered; the \
                     session is closed"
                ),
            });
        }
        self.shell.send(&newline).await
    }

    /// Waits until the device has echoed `lines` lines of a block or is silent. Returns whether it
    /// shows its prompt instead: further text would run as commands.
    async fn takes_text(
        &mut self,
        exchange: &mut Exchange<'_, '_>,
        lines: Option<usize>,
    ) -> Result<bool, Error> {
        exchange.reader.expect(Expect::Text);
        loop {
            match self.next_step_or_lines(exchange, lines).await? {
                Some(Step::Prompt) => return Ok(true),
                Some(Step::Text) | None => return Ok(false),
                Some(_) => {}
            }
        }
    }

    /// Like [`Session::next_step`], but returns `None` when `lines` lines have arrived.
    async fn next_step_or_lines(
        &mut self,
        exchange: &mut Exchange<'_, '_>,
        lines: Option<usize>,
    ) -> Result<Option<Step>, Error> {
        let Some(lines) = lines else {
            return self.next_step(exchange).await.map(Some);
        };
        while exchange.reader.newlines() < lines {
            if let Some(Quiet::Settled) = self.receive(exchange).await? {
                break;
            }
        }
        exchange.unseen = false;
        Ok(match exchange.reader.step() {
            Step::Prompt => Some(Step::Prompt),
            _ => None,
        })
    }

    async fn shell_dialogue(
        &mut self,
        typed: &str,
        exchange: &mut Exchange<'_, '_>,
    ) -> Result<CommandEnd, Error> {
        let expect = Expect::ShellPrompt(self.word.as_str().to_owned());
        exchange.reader.expect(expect);
        self.shell.send(typed).await?;
        let mut incomplete = false;
        loop {
            match self.next_step(exchange).await? {
                Step::End { exit_code, .. } => {
                    return Ok(CommandEnd {
                        exit_code,
                        incomplete,
                    });
                }
                // The shell waits for the end of a quote or block, which never comes.
                Step::Incomplete => {
                    incomplete = true;
                    exchange.reader.clear();
                    self.shell.send("\x03").await?;
                }
                _ => {}
            }
        }
    }

    /// Reads a reply after a typed-ahead sentinel. Returns `None` if a pager consumed the sentinel;
    /// the session is then resynchronized and the output is unusable.
    pub(super) async fn read_typed_ahead(
        &mut self,
        exchange: &mut Exchange<'_, '_>,
    ) -> Result<Option<CommandEnd>, Error> {
        loop {
            match self.next_step(exchange).await? {
                Step::End { prompt, .. } => {
                    self.prompt = prompt;
                    return Ok(Some(CommandEnd::default()));
                }
                Step::Pager(answer) => {
                    exchange.reader.pager_answered();
                    self.shell.send(&answer).await?;
                    self.get_in_step(exchange).await?;
                    return Ok(None);
                }
                Step::Swallowed => {
                    exchange.look_again();
                    self.get_in_step(exchange).await?;
                    return Ok(None);
                }
                Step::Resync => self.resync(exchange).await?,
                _ => {}
            }
        }
    }

    /// Resynchronizes after a pager has consumed typed-ahead input: reads up to the next prompt
    /// without the watcher.
    async fn get_in_step(&mut self, exchange: &mut Exchange<'_, '_>) -> Result<(), Error> {
        let platform = Arc::clone(&self.platform);
        let Ending::Comment { prefix } = &platform.ending else {
            return Ok(());
        };
        exchange.reader.expect_ahead(false);
        let watch = exchange.watch.take();
        let in_step = self.read_carefully(prefix, false, exchange).await;
        exchange.watch = watch;
        in_step.map(|_| ())
    }

    /// Reads up to a likely prompt and verifies it with a sentinel, which costs another round trip.
    /// A configuration line (`silent`) that is only echoed needs no verification. The echo is
    /// required: without it, a late prompt after a message of the device would be taken for the
    /// reply, and every later reply would belong to the previous line.
    pub(super) async fn read_carefully(
        &mut self,
        prefix: &str,
        silent: bool,
        exchange: &mut Exchange<'_, '_>,
    ) -> Result<CommandEnd, Error> {
        exchange.reader.expect(Expect::Prompt);
        loop {
            match self.next_step(exchange).await? {
                Step::Prompt => {
                    let reader = &mut exchange.reader;
                    if silent
                        && reader.holds_only_echo(exchange.command)
                        && self.platform.is_configuration(&reader.last_line())
                    {
                        self.prompt = reader.last_line().trim().to_owned();
                        reader.end_at_last_line();
                        return Ok(CommandEnd::default());
                    }
                    self.ask_for_end(prefix, &mut exchange.reader).await?;
                }
                Step::End { prompt, .. } => {
                    self.prompt = prompt;
                    return Ok(CommandEnd::default());
                }
                Step::Pager(answer) => {
                    exchange.reader.pager_answered();
                    self.shell.send(&answer).await?;
                }
                Step::Resync => self.resync(exchange).await?,
                _ => {}
            }
        }
    }

    /// Reads up to a prompt after which the device is silent.
    async fn read_up_to_prompt(
        &mut self,
        exchange: &mut Exchange<'_, '_>,
    ) -> Result<CommandEnd, Error> {
        exchange.reader.expect(Expect::Prompt);
        loop {
            match self.next_step(exchange).await? {
                Step::Prompt if self.says_more(exchange).await? => {}
                Step::Prompt => {
                    self.prompt = exchange.reader.last_line().trim().to_owned();
                    exchange.reader.end_at_last_line();
                    return Ok(CommandEnd::default());
                }
                Step::Pager(answer) => {
                    exchange.reader.pager_answered();
                    self.shell.send(&answer).await?;
                }
                _ => {}
            }
        }
    }

    /// Sends another sentinel if the last one was not followed by a prompt because a log line split
    /// the sentinel or covers the prompt. Does nothing after [`RESYNCS`] attempts.
    pub(super) async fn resync(&mut self, exchange: &mut Exchange<'_, '_>) -> Result<(), Error> {
        let platform = Arc::clone(&self.platform);
        let Ending::Comment { prefix } = &platform.ending else {
            return Ok(());
        };
        exchange.resyncs += 1;
        if exchange.resyncs > RESYNCS {
            return Ok(());
        }
        tracing::debug!("sentinel lost; resending");
        self.ask_for_end(prefix, &mut exchange.reader).await
    }

    /// Sends a sentinel, which makes the device show its prompt again and so distinguishes the
    /// prompt from output.
    pub(super) async fn ask_for_end(
        &mut self,
        prefix: &str,
        reader: &mut Reader<'_>,
    ) -> Result<(), Error> {
        if self.echo {
            let comment = self.next_comment(prefix);
            let typed = self.typed(&comment);
            reader.expect(Expect::Comment(comment));
            self.shell.send(&typed).await
        } else {
            reader.expect(Expect::PromptTwice);
            let newline = self.platform.terminal.newline.clone();
            self.shell.send(&newline).await
        }
    }

    /// Asks the device for its current prompt; earlier output is dropped.
    pub(super) async fn ask_for_prompt(&mut self) -> Result<(), Error> {
        self.begin()?;
        let platform = Arc::clone(&self.platform);
        let reader = self.reader(&platform, Expect::Prompt);
        let mut exchange = Exchange::new(reader, "");
        // The device has already shown this prompt and will not repeat it.
        exchange.reader.push(self.prompt.as_bytes());
        match &platform.ending {
            Ending::ShellPrompt => {
                self.shell_dialogue(&platform.terminal.newline, &mut exchange)
                    .await?;
            }
            Ending::Comment { prefix } => {
                if !self.echo {
                    let newline = platform.terminal.newline.clone();
                    self.shell.send(&newline).await?;
                }
                self.ask_for_end(prefix, &mut exchange.reader).await?;
                self.prompt = loop {
                    match self.next_step(&mut exchange).await? {
                        Step::End { prompt, .. } => break prompt,
                        Step::Resync => self.resync(&mut exchange).await?,
                        _ => {}
                    }
                };
            }
        }
        self.health = Health::Ready;
        Ok(())
    }

    /// Reads until a step requires an action; answers questions itself.
    pub(super) async fn next_step(
        &mut self,
        exchange: &mut Exchange<'_, '_>,
    ) -> Result<Step, Error> {
        loop {
            let step = if std::mem::take(&mut exchange.unseen) {
                exchange.reader.step()
            } else {
                match self.receive(exchange).await? {
                    Some(quiet) => exchange.reader.quiet(quiet),
                    None => exchange.reader.step(),
                }
            };
            exchange.unseen = false;
            exchange.show_new_lines();
            match step {
                Step::Read => {}
                Step::Question(index) if index < exchange.answers.len() => {
                    if self.says_more(exchange).await? {
                        continue;
                    }
                    let question = exchange.reader.last_line();
                    exchange.reader.question_answered(index);
                    self.answer(&exchange.answers[index], &question).await?;
                }
                Step::AskedAgain(index) if index < exchange.answers.len() => {
                    return Err(Error::Refused {
                        command: exchange.command.to_owned(),
                        message: format!(
                            "the device repeated the question {:?} after the answer",
                            exchange.reader.last_line().trim()
                        ),
                    });
                }
                step => return Ok(step),
            }
        }
    }

    /// Waits for bytes, or for the next silence in [`QUIET`].
    async fn receive(&mut self, exchange: &mut Exchange<'_, '_>) -> Result<Option<Quiet>, Error> {
        let quiet = QUIET.get(exchange.quiet);
        let waits = [quiet.map(|(time, _)| *time), exchange.silence];
        let Some(wait) = waits.into_iter().flatten().min() else {
            let received = self.shell.receive().await?;
            exchange.received(received)?;
            return Ok(None);
        };
        let left = wait.saturating_sub(exchange.silent);
        if let Ok(received) = timeout(left, self.shell.receive()).await {
            exchange.received(received?)?;
            return Ok(None);
        }
        exchange.silent += left;
        if let Some(limit) = exchange.silence.filter(|limit| *limit <= wait) {
            return Err(Error::Timeout {
                doing: String::new(),
                after: limit,
                partial: String::new(),
            });
        }
        exchange.quiet += 1;
        Ok(quiet.map(|(_, quiet)| *quiet))
    }

    /// Returns whether more output arrives after a likely question or prompt. Incomplete output may
    /// resemble either, and an answer typed there would run as a command.
    pub(super) async fn says_more(
        &mut self,
        exchange: &mut Exchange<'_, '_>,
    ) -> Result<bool, Error> {
        match timeout(exchange.settle, self.shell.receive()).await {
            Ok(received) => {
                exchange.received(received?)?;
                Ok(true)
            }
            Err(_) => {
                exchange.silent += exchange.settle;
                Ok(false)
            }
        }
    }

    pub(super) fn next_comment(&mut self, prefix: &str) -> String {
        self.commands += 1;
        self.word.comment(prefix, self.commands)
    }

    /// Returns the bytes to type for a command.
    pub(super) fn typed(&self, command: &str) -> String {
        let terminal = &self.platform.terminal;
        match &terminal.quote_question_mark {
            Some(quote) => command.replace('?', &format!("{quote}?")) + &terminal.newline,
            None => format!("{command}{}", terminal.newline),
        }
    }
}

/// Masks secret answers in a text for an error, which is logged: a device may echo them.
fn masked(mut text: String, answers: &[Answer]) -> String {
    for answer in answers.iter().filter(|answer| answer.secret) {
        let secret = answer.answer.expose_secret();
        if !secret.is_empty() && text.contains(secret) {
            text = text.replace(secret, "***");
        }
    }
    text
}

impl From<&Answer> for Question {
    fn from(answer: &Answer) -> Self {
        Self {
            ask: answer.question.clone(),
            again: false,
            finished: !answer.secret,
            answered: false,
        }
    }
}
