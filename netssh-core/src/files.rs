//! File transfers to and from a device, over a separate channel next to the CLI.
//!
//! [`Session::upload`] and [`Session::download`] are the entry points. SFTP (`files/sftp.rs`) is
//! tried first, then SCP (`files/scp.rs`). The CLI stays at its prompt during the transfer, and a
//! dropped future closes only the file's channel.

mod scp;
mod sftp;

use std::time::{Duration, Instant};

use russh::Channel;
use russh::client::Msg;
use sha2::{Digest, Sha256};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use crate::error::Error;
use crate::patience::timeout;
use crate::session::Session;

/// The protocol of a transfer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Protocol {
    /// The `sftp` subsystem, version 3.
    Sftp,
    /// The `scp` command of the device.
    Scp,
}

impl Protocol {
    /// Returns `sftp` or `scp`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Sftp => "sftp",
            Self::Scp => "scp",
        }
    }
}

/// A completed transfer.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Transfer {
    /// Number of transferred bytes.
    pub bytes: u64,
    /// SHA-256 of these bytes, as 64 lower-case hexadecimal digits.
    pub sha256: String,
    /// The time from the request to the last reply.
    pub elapsed: Duration,
    /// The protocol that was used.
    pub protocol: Protocol,
}

/// Options of [`Session::upload`] and [`Session::download`]; the default suits most files.
pub struct TransferOptions<'a> {
    /// Called with the number of bytes transferred so far and the size of the file, as far as
    /// known.
    pub progress: Option<&'a mut (dyn FnMut(u64, u64) + Send + Sync)>,
    /// Maximum size of a file to download, in bytes: 4 GiB by default.
    pub limit: u64,
    /// Maximum time for which the device, or the caller's source or sink, may be idle: 60 s by
    /// default.
    pub idle_timeout: Duration,
    /// The only protocol to use. By default SFTP, or SCP on a device without SFTP.
    pub protocol: Option<Protocol>,
    /// The permissions of a file that an upload creates: `0o600` by default.
    pub mode: u32,
}

impl Default for TransferOptions<'_> {
    fn default() -> Self {
        Self {
            progress: None,
            limit: 4 << 30,
            idle_timeout: Duration::from_secs(60),
            protocol: None,
            mode: 0o600,
        }
    }
}

impl std::fmt::Debug for TransferOptions<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TransferOptions")
            .field("limit", &self.limit)
            .field("idle_timeout", &self.idle_timeout)
            .field("protocol", &self.protocol)
            .field("mode", &format_args!("{:o}", self.mode))
            .finish_non_exhaustive()
    }
}

type Source<'a> = &'a mut (dyn AsyncRead + Send + Unpin);
type Sink<'a> = &'a mut (dyn AsyncWrite + Send + Unpin);

enum Direction<'a> {
    Up { source: Source<'a>, mode: u32 },
    Down { sink: Sink<'a>, limit: u64 },
}

/// The reason why a transfer failed.
#[derive(Debug)]
enum Failure {
    /// The device does not support this protocol; another one may work.
    Unavailable(String),
    /// The device's error message.
    Refused(String),
    /// A problem with the caller's source, sink or limit.
    Caller(String),
    Idle,
    /// The connection is closed.
    Gone,
}

impl Session {
    /// Writes the first `size` bytes of `source` to the file `remote`, which is created or
    /// replaced. With SFTP, the file's size is verified afterwards, and a failed upload removes the
    /// incomplete file. Dropping the future leaves an incomplete file on the device.
    ///
    /// # Errors
    /// [`Error::Refused`] with the device's message (no such directory, permission denied, no
    /// space, a directory), [`Error::Unsupported`] without SFTP and SCP, [`Error::Invalid`] for a
    /// path with control characters or a source that ends early, [`Error::Timeout`],
    /// [`Error::Disconnected`].
    pub async fn upload(
        &mut self,
        source: &mut (dyn AsyncRead + Send + Unpin),
        size: u64,
        remote: &str,
        options: TransferOptions<'_>,
    ) -> Result<Transfer, Error> {
        let mode = options.mode;
        let up = Direction::Up { source, mode };
        self.transfer(up, size, remote, options).await
    }

    /// Writes the content of the file `remote` to `sink` and flushes it.
    ///
    /// # Errors
    /// As [`Session::upload`], and [`Error::Invalid`] for a file larger than
    /// [`TransferOptions::limit`].
    pub async fn download(
        &mut self,
        remote: &str,
        sink: &mut (dyn AsyncWrite + Send + Unpin),
        options: TransferOptions<'_>,
    ) -> Result<Transfer, Error> {
        let limit = options.limit;
        let down = Direction::Down { sink, limit };
        self.transfer(down, 0, remote, options).await
    }

    async fn transfer(
        &mut self,
        mut direction: Direction<'_>,
        size: u64,
        remote: &str,
        options: TransferOptions<'_>,
    ) -> Result<Transfer, Error> {
        check_path(remote)?;
        let started = Instant::now();
        let mut meter = Meter {
            done: 0,
            size,
            hash: Sha256::new(),
            idle: options.idle_timeout,
            progress: options.progress,
        };
        let doing = match &direction {
            Direction::Up { .. } => format!("upload to {remote}"),
            Direction::Down { .. } => format!("download of {remote}"),
        };
        let both = [Protocol::Sftp, Protocol::Scp];
        let one = options.protocol.map(|protocol| [protocol]);
        let protocols = one.as_ref().map_or(&both[..], |one| &one[..]);
        let mut lacks = Vec::new();
        for &protocol in protocols {
            let channel = self.open_channel(options.idle_timeout).await?;
            let work = run(protocol, channel, &mut direction, remote, &mut meter);
            match self.beside(work).await {
                Ok(()) => {
                    return Ok(Transfer {
                        bytes: meter.done,
                        sha256: hexadecimal(&meter.hash.finalize()),
                        elapsed: started.elapsed(),
                        protocol,
                    });
                }
                Err(Failure::Unavailable(reason)) => lacks.push(reason),
                Err(failure) => return Err(failure.into_error(doing, &meter)),
            }
        }
        Err(Error::Unsupported {
            platform: self.platform().name.clone(),
            what: format!("working file transfer protocol: {}", lacks.join("; ")),
        })
    }
}

async fn run(
    protocol: Protocol,
    channel: Channel<Msg>,
    direction: &mut Direction<'_>,
    remote: &str,
    meter: &mut Meter<'_>,
) -> Result<(), Failure> {
    match (protocol, direction) {
        (Protocol::Sftp, Direction::Up { source, mode }) => {
            sftp::upload(channel, *source, remote, *mode, meter).await
        }
        (Protocol::Sftp, Direction::Down { sink, limit }) => {
            sftp::download(channel, *sink, remote, *limit, meter).await
        }
        (Protocol::Scp, Direction::Up { source, mode }) => {
            scp::upload(channel, *source, remote, *mode, meter).await
        }
        (Protocol::Scp, Direction::Down { sink, limit }) => {
            scp::download(channel, *sink, remote, *limit, meter).await
        }
    }
}

/// The size, hash, progress and idle timeout of a transfer.
struct Meter<'a> {
    done: u64,
    size: u64,
    hash: Sha256,
    idle: Duration,
    progress: Option<&'a mut (dyn FnMut(u64, u64) + Send + Sync)>,
}

impl Meter<'_> {
    /// Reads the next bytes of the source, at most `most`. Cancel safe.
    async fn read(
        &mut self,
        source: Source<'_>,
        left: u64,
        most: usize,
    ) -> Result<Vec<u8>, Failure> {
        let wanted = usize::try_from(left).map_or(most, |left| left.min(most));
        let mut bytes = vec![0; wanted];
        let length = match timeout(self.idle, source.read(&mut bytes)).await {
            Ok(Ok(0)) => {
                let message = format!("the source ended {left} bytes early");
                return Err(Failure::Caller(message));
            }
            Ok(Ok(length)) => length,
            Ok(Err(error)) => {
                return Err(Failure::Caller(format!(
                    "failed to read the source: {error}"
                )));
            }
            Err(_) => return Err(Failure::Idle),
        };
        bytes.truncate(length);
        self.hash.update(&bytes);
        Ok(bytes)
    }

    async fn write(&mut self, sink: Sink<'_>, bytes: &[u8]) -> Result<(), Failure> {
        self.hash.update(bytes);
        self.complete(sink.write_all(bytes)).await?;
        self.count(bytes.len());
        Ok(())
    }

    async fn flush(&self, sink: Sink<'_>) -> Result<(), Failure> {
        self.complete(sink.flush()).await
    }

    async fn complete(
        &self,
        writing: impl Future<Output = std::io::Result<()>>,
    ) -> Result<(), Failure> {
        match timeout(self.idle, writing).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) => Err(Failure::Caller(format!(
                "failed to write to the sink: {error}"
            ))),
            Err(_) => Err(Failure::Idle),
        }
    }

    fn count(&mut self, bytes: usize) {
        self.done += bytes as u64;
        let size = self.size.max(self.done);
        if let Some(progress) = &mut self.progress {
            progress(self.done, size);
        }
    }

    /// Sets the size of a file to download. Fails if it exceeds the limit.
    fn announce(&mut self, size: u64, limit: u64) -> Result<(), Failure> {
        self.size = size;
        if size > limit {
            return Err(Failure::Caller(format!(
                "the file is too large: {size} bytes, at most {limit} are allowed"
            )));
        }
        Ok(())
    }
}

impl Failure {
    fn into_error(self, doing: String, meter: &Meter<'_>) -> Error {
        let so_far = format!("{doing} after {} bytes", meter.done);
        match self {
            Self::Refused(message) => Error::Refused {
                command: doing,
                message,
            },
            Self::Caller(message) | Self::Unavailable(message) => {
                Error::invalid(format!("{doing}: {message}"))
            }
            Self::Idle => Error::Timeout {
                doing: so_far,
                after: meter.idle,
                partial: String::new(),
            },
            Self::Gone => Error::Disconnected {
                doing: so_far,
                reason: String::new(),
                partial: String::new(),
            },
        }
    }
}

fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Rejects an empty path and control characters: a newline would end the SCP command.
fn check_path(path: &str) -> Result<(), Error> {
    if path.is_empty() {
        return Err(Error::invalid(
            "invalid remote path: expected a path, got an empty one",
        ));
    }
    match path.chars().position(char::is_control) {
        None => Ok(()),
        Some(at) => Err(Error::invalid(format!(
            "invalid remote path: control character at position {}",
            at + 1
        ))),
    }
}
