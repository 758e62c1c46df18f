//! SFTP version 3 (draft-ietf-secsh-filexfer-02), with several requests in flight.

use std::time::Duration;

use futures::stream::{FuturesOrdered, StreamExt as _};
use russh::client::Msg;
use russh::{Channel, ChannelMsg};
use russh_sftp::client::RawSftpSession;
use russh_sftp::client::error::Error as SftpError;
use russh_sftp::protocol::{FileAttributes, OpenFlags, Status, StatusCode};

use super::{Failure, Meter, Sink, Source};
use crate::patience::timeout;

/// Bytes per request; every server supports this many.
const PIECE: usize = 32 * 1024;
/// Maximum number of requests in flight: 2 MiB, enough for 100 Mbit/s at a latency of 150 ms.
const REQUESTS: usize = 64;
/// A day, so that the library's timeout never fires.
const LIBRARY_TIMEOUT_SECONDS: u64 = 86_400;

pub(super) async fn upload(
    channel: Channel<Msg>,
    source: Source<'_>,
    remote: &str,
    mode: u32,
    meter: &mut Meter<'_>,
) -> Result<(), Failure> {
    let sftp = start(channel, meter).await?;
    let flags = OpenFlags::WRITE | OpenFlags::CREATE | OpenFlags::TRUNCATE;
    let attributes = FileAttributes {
        permissions: Some(mode),
        ..FileAttributes::empty()
    };
    let idle = meter.idle;
    let opened = within(idle, sftp.open(remote, flags, attributes));
    let handle = opened.await?.handle;
    let sent = send(&sftp, &handle, source, meter).await;
    let closed = within(idle, sftp.close(handle)).await;
    let whole = match sent {
        Ok(()) => match closed {
            Ok(_) => check_size(&sftp, remote, meter).await,
            Err(error) => Err(error.into()),
        },
        Err(failure) => Err(failure),
    };
    if whole.is_err() {
        // An incomplete file is worse than none. The first failure is reported even if this one
        // fails.
        let _ = within(idle, sftp.remove(remote)).await;
    }
    whole
}

async fn send(
    sftp: &RawSftpSession,
    handle: &str,
    source: Source<'_>,
    meter: &mut Meter<'_>,
) -> Result<(), Failure> {
    let (size, idle) = (meter.size, meter.idle);
    let mut read = 0;
    let mut writes = FuturesOrdered::new();
    while read < size || !writes.is_empty() {
        // Both at once, so that a slow source does not delay replies and a slow device does not
        // delay the source.
        tokio::select! {
            Some((length, written)) = writes.next(), if !writes.is_empty() => {
                let _: Status = written?;
                meter.count(length);
            }
            bytes = meter.read(source, size - read, PIECE), if read < size && writes.len() < REQUESTS => {
                let bytes = bytes?;
                let (offset, length) = (read, bytes.len());
                read += length as u64;
                let write = within(idle, sftp.write(handle, offset, bytes));
                writes.push_back(async move { (length, write.await) });
            }
        }
    }
    Ok(())
}

async fn check_size(sftp: &RawSftpSession, remote: &str, meter: &Meter<'_>) -> Result<(), Failure> {
    let sent = meter.done;
    match within(meter.idle, sftp.stat(remote)).await {
        Ok(found) => match found.attrs.size {
            Some(size) if size != sent => Err(Failure::Refused(format!(
                "size mismatch: {sent} bytes were sent, the device stored {size}"
            ))),
            _ => Ok(()),
        },
        // Some servers do not allow reading the attributes of a written file.
        Err(SftpError::Status(_)) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

pub(super) async fn download(
    channel: Channel<Msg>,
    sink: Sink<'_>,
    remote: &str,
    limit: u64,
    meter: &mut Meter<'_>,
) -> Result<(), Failure> {
    let sftp = start(channel, meter).await?;
    let idle = meter.idle;
    let attributes = within(idle, sftp.stat(remote)).await?.attrs;
    if attributes.is_dir() {
        return Err(Failure::Refused("is a directory".into()));
    }
    meter.announce(attributes.size.unwrap_or_default(), limit)?;
    let opened = sftp.open(remote, OpenFlags::READ, FileAttributes::empty());
    let handle = within(idle, opened).await?.handle;
    let received = receive(&sftp, &handle, sink, limit, meter).await;
    let _ = within(idle, sftp.close(handle)).await;
    received
}

/// Reads up to the end reported by the server, because the file may grow during the transfer.
async fn receive(
    sftp: &RawSftpSession,
    handle: &str,
    sink: Sink<'_>,
    limit: u64,
    meter: &mut Meter<'_>,
) -> Result<(), Failure> {
    let idle = meter.idle;
    let mut asked = 0;
    let mut reads = FuturesOrdered::new();
    let piece = |offset: u64, length: usize| async move {
        let length = u32::try_from(length).unwrap_or(u32::MAX);
        match within(idle, sftp.read(handle, offset, length)).await {
            Ok(data) => Ok(data.data),
            Err(SftpError::Status(status)) if status.status_code == StatusCode::Eof => {
                Ok(Vec::new())
            }
            Err(error) => Err(Failure::from(error)),
        }
    };
    loop {
        // One request beyond the announced end checks that the file ends there.
        while reads.len() < REQUESTS && (asked <= meter.size || reads.is_empty()) {
            let offset = asked;
            asked += PIECE as u64;
            reads.push_back(async move { (offset, piece(offset, PIECE).await) });
        }
        let Some((offset, bytes)) = reads.next().await else {
            break;
        };
        let mut bytes = bytes?;
        if bytes.is_empty() {
            break;
        }
        // A server may return less than requested.
        while bytes.len() < PIECE {
            let more = piece(offset + bytes.len() as u64, PIECE - bytes.len()).await?;
            if more.is_empty() {
                break;
            }
            bytes.extend_from_slice(&more);
        }
        meter.announce(meter.size.max(meter.done + bytes.len() as u64), limit)?;
        meter.write(sink, &bytes).await?;
        if bytes.len() < PIECE {
            break;
        }
    }
    meter.flush(sink).await
}

async fn start(mut channel: Channel<Msg>, meter: &Meter<'_>) -> Result<RawSftpSession, Failure> {
    let lacking = || Failure::Unavailable("SFTP is not available on the device".into());
    let asking = async {
        let asked = channel.request_subsystem(true, "sftp").await;
        asked.map_err(|_| Failure::Gone)?;
        loop {
            match channel.wait().await {
                Some(ChannelMsg::Success) => return Ok(()),
                Some(ChannelMsg::Failure) => return Err(lacking()),
                Some(ChannelMsg::Close | ChannelMsg::Eof) | None => return Err(lacking()),
                Some(_) => {}
            }
        }
    };
    timeout(meter.idle, asking)
        .await
        .map_err(|_| Failure::Idle)??;
    let sftp = RawSftpSession::new(channel.into_stream());
    // `within` limits each request, with a timer that excludes time in which this process did not
    // run.
    sftp.set_timeout(LIBRARY_TIMEOUT_SECONDS);
    // A server may accept the subsystem and then fail to start it.
    within(meter.idle, sftp.init())
        .await
        .map_err(|_| lacking())?;
    Ok(sftp)
}

/// Limits the duration of one request.
async fn within<T>(
    idle: Duration,
    asking: impl Future<Output = Result<T, SftpError>>,
) -> Result<T, SftpError> {
    let answered = timeout(idle, asking).await;
    answered.unwrap_or(Err(SftpError::Timeout))
}

/// Returns whether the SFTP client failed because its channel was closed. It reports this with
/// different errors, depending on what it was waiting for.
fn is_gone(reason: &str) -> bool {
    ["session closed", "sender dropped", "SendError", "RecvError"]
        .iter()
        .any(|words| reason.contains(words))
}

impl From<SftpError> for Failure {
    fn from(error: SftpError) -> Self {
        match error {
            SftpError::Status(status) => {
                let code = status.status_code.to_string();
                let words = status.error_message.trim();
                Self::Refused(if words.is_empty() || words.eq_ignore_ascii_case(&code) {
                    code
                } else {
                    format!("{code}: {words}")
                })
            }
            SftpError::Timeout => Self::Idle,
            SftpError::IO(_) => Self::Gone,
            SftpError::UnexpectedBehavior(reason) if is_gone(&reason) => Self::Gone,
            other => Self::Refused(other.to_string()),
        }
    }
}
