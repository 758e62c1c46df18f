//! Configuration mode, as a value that has to be left.

use super::dialogue::Manner;
use super::{Reply, Session, check_command};
use crate::error::Error;

/// A session in configuration mode. Call [`Configuration::leave`]; if it is dropped instead (by
/// a `?`, say), the session leaves the mode before its next command, or when it is closed.
#[derive(Debug)]
pub struct Configuration<'a> {
    session: &'a mut Session,
}

impl Session {
    /// Enters configuration mode.
    ///
    /// # Errors
    /// [`Error::Unsupported`] on a platform without such a mode, [`Error::Refused`] when the
    /// device lets this user not in, and as [`Session::exec`].
    pub async fn configuration(&mut self) -> Result<Configuration<'_>, Error> {
        let Some(mode) = self.platform.configuration.clone() else {
            return Err(self.unsupported("configuration mode"));
        };
        if let Some(enter) = mode.enter
            && !self.in_configuration
        {
            // From here on `close` has to leave it, also if this future is dropped.
            self.in_configuration = true;
            let reply = self
                .run(&enter.send, Manner::TypeAhead, self.timeouts.command)
                .await?;
            if !self.platform.is_configuration(&self.prompt) {
                self.in_configuration = false;
                return Err(Error::Refused {
                    command: enter.send,
                    message: refusal_of(reply),
                });
            }
        }
        Ok(Configuration { session: self })
    }

    pub(super) async fn leave_configuration(&mut self) -> Result<(), Error> {
        let Some(mode) = self.platform.configuration.clone() else {
            return Ok(());
        };
        let reply = self
            .run(&mode.leave.send, Manner::TypeAhead, self.timeouts.command)
            .await?;
        if self.platform.is_configuration(&self.prompt) {
            return Err(Error::Refused {
                command: mode.leave.send,
                message: refusal_of(reply),
            });
        }
        self.in_configuration = false;
        Ok(())
    }
}

fn refusal_of(reply: Reply) -> String {
    reply.failure.unwrap_or(reply.output)
}

impl Configuration<'_> {
    /// Sends one line. A refused line is no error: see [`Reply::failure`]; the mode stays.
    ///
    /// # Errors
    /// As [`Session::exec`].
    pub async fn line(&mut self, line: &str) -> Result<Reply, Error> {
        check_command(line)?;
        let limit = self.session.timeouts.command;
        let reply = self
            .session
            .run(line, Manner::ConfigurationLine, limit)
            .await?;
        // `exit` and `end` lead out of it, too.
        self.session.in_configuration =
            self.session.platform.is_configuration(&self.session.prompt);
        Ok(reply)
    }

    /// The prompt that the device showed last.
    #[must_use]
    pub fn prompt(&self) -> &str {
        self.session.prompt()
    }

    /// Leaves configuration mode, from any of its sub-modes.
    ///
    /// # Errors
    /// As [`Session::exec`], and [`Error::Refused`] if the device stays in the mode.
    pub async fn leave(self) -> Result<(), Error> {
        if self.session.in_configuration {
            self.session.leave_configuration().await?;
        }
        Ok(())
    }
}
