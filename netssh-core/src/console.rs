//! An interactive terminal on a device, without interpretation of its bytes.

use crate::connect;
use crate::endpoint::{Endpoint, Timeouts};
use crate::error::Error;
use crate::gate::Gate;
use crate::patience::timeout;
use crate::transport::{Received, Shell};

/// An interactive terminal on a device: bytes in both directions, uninterpreted. Dropping it
/// without [`Console::close`] drops the connection.
///
/// Received bytes are buffered until they are read. The connection stalls if a console is not read
/// for long.
#[derive(Debug)]
pub struct Console {
    shell: Shell,
    timeouts: Timeouts,
}

/// Maximum duration of [`Console::close`].
const CLOSING: std::time::Duration = std::time::Duration::from_secs(1);

impl Console {
    /// Connects, logs in, and starts a shell on a terminal of type `term` (`xterm-256color`) with
    /// this size in characters.
    ///
    /// # Errors
    /// As [`crate::Session::connect`].
    pub async fn open(
        endpoint: &Endpoint,
        term: &str,
        columns: u16,
        rows: u16,
    ) -> Result<Self, Error> {
        let gate = Gate::open();
        let connection = connect::connect(endpoint, &gate).await?;
        let limit = endpoint.timeouts.login;
        let terminal = (term, columns.into(), rows.into());
        let opening = connect::open_terminal(connection, endpoint, &gate, terminal, &[]);
        let shell = timeout(limit, opening).await.map_err(|_| Error::Timeout {
            doing: format!("logging in to {}:{}", endpoint.host, endpoint.port),
            after: limit,
            partial: String::new(),
        })??;
        Ok(Self {
            shell,
            timeouts: endpoint.timeouts,
        })
    }

    /// Waits for bytes, without a limit. Returns `None` when the device has closed the terminal.
    /// Cancel safe.
    ///
    /// # Errors
    /// [`Error::Protocol`] if the device gives the user no terminal, [`Error::Disconnected`] if the
    /// connection broke.
    pub async fn read(&mut self) -> Result<Option<Vec<u8>>, Error> {
        if self.shell.is_finished() {
            return Ok(None);
        }
        match self.shell.receive().await? {
            Received::Bytes(bytes) => Ok(Some(bytes)),
            Received::Closed(reason) if reason.is_empty() => Ok(None),
            Received::Closed(reason) => Err(Error::Disconnected {
                doing: "reading from the terminal".into(),
                reason,
                partial: String::new(),
            }),
        }
    }

    /// Sends bytes unchanged.
    ///
    /// # Errors
    /// [`Error::Disconnected`], and [`Error::Timeout`] if the device does not accept them within
    /// the endpoint's command timeout.
    pub async fn write(&mut self, bytes: &[u8]) -> Result<(), Error> {
        let limit = self.timeouts.command;
        timeout(limit, self.shell.send_bytes(bytes))
            .await
            .map_err(|_| Error::Timeout {
                doing: "writing to the terminal".into(),
                after: limit,
                partial: String::new(),
            })?
    }

    /// Reports a new terminal size, in characters, to the device.
    ///
    /// # Errors
    /// [`Error::Disconnected`].
    pub async fn resize(&mut self, columns: u16, rows: u16) -> Result<(), Error> {
        self.shell.resize(columns.into(), rows.into()).await
    }

    /// Closes the connection. Takes one second at most.
    pub async fn close(self) {
        let _ = timeout(CLOSING, self.shell.disconnect()).await;
    }
}
