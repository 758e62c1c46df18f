//! Pipelining: where the platform allows it, several commands are sent together and their replies
//! are read in order, so that a path with high latency costs one round trip in total instead of one
//! per command.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Instant;

use super::dialogue::{Exchange, TYPE_AHEAD_LIMIT};
use super::{ExecOptions, Health, Reply, Session};
use crate::error::Error;
use crate::patience::timeout;
use crate::platform::Ending;
use crate::reader::Expect;

/// The replies of pipelined commands. Dropping it before [`Pipeline::next`] has returned `None`
/// makes the session unusable if a reply is outstanding.
#[derive(Debug)]
pub struct Pipeline<'a> {
    session: &'a mut Session,
    waiting: VecDeque<String>,
    /// Commands sent to the device, each with the comment that marks the end of its output.
    sent: VecDeque<(String, String)>,
    /// Received bytes of the next reply.
    arrived: Vec<u8>,
}

impl Session {
    /// Prepares to run commands in this order; [`Pipeline::next`] returns the replies. A refused
    /// command does not stop those after it.
    ///
    /// # Errors
    /// [`Error::Invalid`] for a command that cannot be sent; nothing is sent then.
    pub fn pipeline(&mut self, commands: Vec<String>) -> Result<Pipeline<'_>, Error> {
        for command in &commands {
            self.check_command(command)?;
        }
        Ok(Pipeline {
            session: self,
            waiting: commands.into(),
            sent: VecDeque::new(),
            arrived: Vec::new(),
        })
    }

    /// Runs several commands and waits for all replies, each up to the command timeout.
    ///
    /// # Errors
    /// Returns the first error and drops the replies before it. Use [`Session::pipeline`] to keep
    /// them.
    pub async fn exec_all(&mut self, commands: Vec<String>) -> Result<Vec<Reply>, Error> {
        let mut replies = Vec::with_capacity(commands.len());
        let mut pipeline = self.pipeline(commands)?;
        while let Some(reply) = pipeline.next().await {
            replies.push(reply?);
        }
        Ok(replies)
    }
}

impl Pipeline<'_> {
    /// Returns the next reply; `None` after the last one and after an error.
    pub async fn next(&mut self) -> Option<Result<Reply, Error>> {
        if self.sent.is_empty()
            && let Err(error) = self.send().await
        {
            return Some(self.failed(error));
        }
        let result = match self.sent.pop_front() {
            Some((command, comment)) => self.read(&command, comment).await,
            None => {
                let command = self.waiting.pop_front()?;
                self.session.exec(&command).await
            }
        };
        match result {
            Ok(reply) => Some(Ok(reply)),
            Err(error) => Some(self.failed(error)),
        }
    }

    fn failed(&mut self, error: Error) -> Result<Reply, Error> {
        self.waiting.clear();
        self.sent.clear();
        Err(error)
    }

    /// Sends as many of the waiting commands as fit into one write; none if the first one must be
    /// sent alone.
    async fn send(&mut self) -> Result<(), Error> {
        let platform = Arc::clone(&self.session.platform);
        let Ending::Comment { prefix } = &platform.ending else {
            return Ok(());
        };
        let session = &mut *self.session;
        if !session.type_ahead || !session.echo || session.in_configuration {
            return Ok(());
        }
        let mut typed = String::new();
        while let Some(command) = self.waiting.front() {
            if !platform.may_type_ahead(command) {
                break;
            }
            let comment = session.next_comment(prefix);
            let both = session.typed(command) + &session.typed(&comment);
            if typed.len() + both.len() > TYPE_AHEAD_LIMIT {
                break;
            }
            typed.push_str(&both);
            self.sent
                .extend(self.waiting.pop_front().map(|command| (command, comment)));
        }
        if self.sent.len() < 2 {
            // A single command gains nothing: `Session::exec` sends it.
            while let Some((command, _)) = self.sent.pop_back() {
                self.waiting.push_front(command);
            }
            return Ok(());
        }
        session.begin()?;
        session.shell.send(&typed).await
    }

    async fn read(&mut self, command: &str, comment: String) -> Result<Reply, Error> {
        let session = &mut *self.session;
        let platform = Arc::clone(&session.platform);
        let last = self.sent.is_empty();
        let expect = if last {
            Expect::Comment(comment)
        } else {
            Expect::CommentAmong(comment)
        };
        let mut exchange = Exchange::new(session.reader(&platform, expect), command);
        exchange.reader.expect_ahead(true);
        // These bytes arrived together with the previous reply.
        exchange.push(&std::mem::take(&mut self.arrived));
        let started = Instant::now();
        let limit = session.timeouts.command;
        let outcome = timeout(limit, session.read_typed_ahead(&mut exchange)).await;
        let outcome = match outcome {
            Ok(Ok(Some(end))) => Ok(Ok(end)),
            Ok(Ok(None)) => {
                // A pager has consumed typed-ahead input. These commands only read, so they are run
                // again one by one.
                session.type_ahead = false;
                session.health = Health::Ready;
                for (command, _) in self.sent.drain(..).rev() {
                    self.waiting.push_front(command);
                }
                return session.exec_with(command, ExecOptions::default()).await;
            }
            Ok(Err(error)) => Ok(Err(error)),
            Err(elapsed) => Err(elapsed),
        };
        self.arrived = exchange.reader.take_next();
        let reply = session.end(&exchange.reader, command, &[], started, limit, outcome);
        if reply.is_ok() && !last {
            session.health = Health::Busy;
        }
        reply
    }
}
