//! SCP, the protocol of `scp -t` and `scp -f`: one file, one record, one acknowledgement byte.
//!
//! Source: scp.c of OpenSSH; "How the SCP protocol works", J. Pechanec.

use bytes::Bytes;
use russh::client::Msg;
use russh::{Channel, ChannelMsg};

use super::{Failure, Meter, Sink, Source};
use crate::patience::timeout;
use crate::visible::is_hidden;

const PIECE: usize = 32 * 1024;
/// Maximum length of a record or an error message, which is one line.
const LINE: usize = 4096;

pub(super) async fn upload(
    channel: Channel<Msg>,
    source: Source<'_>,
    remote: &str,
    mode: u32,
    meter: &mut Meter<'_>,
) -> Result<(), Failure> {
    let mut scp = Scp::start(channel, 't', remote, meter).await?;
    scp.acknowledged(meter).await?;
    // The name matters only in a directory; the file's path is in the command.
    let name = remote.rsplit(['/', ':']).next().unwrap_or(remote);
    let size = meter.size;
    scp.send(format!("C{mode:04o} {size} {name}\n").into_bytes(), meter)
        .await?;
    scp.acknowledged(meter).await?;
    let mut read = 0;
    while read < size {
        let bytes = meter.read(source, size - read, PIECE).await?;
        let length = bytes.len();
        read += length as u64;
        scp.send(bytes, meter).await?;
        meter.count(length);
    }
    scp.send(vec![0], meter).await?;
    scp.acknowledged(meter).await
}

pub(super) async fn download(
    channel: Channel<Msg>,
    sink: Sink<'_>,
    remote: &str,
    limit: u64,
    meter: &mut Meter<'_>,
) -> Result<(), Failure> {
    let mut scp = Scp::start(channel, 'f', remote, meter).await?;
    scp.send(vec![0], meter).await?;
    let size = loop {
        let record = scp.record(meter).await?;
        match record.as_bytes().first() {
            // A record of times, which is ignored.
            Some(b'T') => scp.send(vec![0], meter).await?,
            Some(b'C') => {
                let size = record.split(' ').nth(1).and_then(|size| size.parse().ok());
                break size.ok_or_else(|| {
                    Failure::Refused(format!("unexpected SCP record {record:?}"))
                })?;
            }
            Some(b'D') => return Err(Failure::Refused("is a directory".into())),
            _ => {
                return Err(Failure::Refused(format!(
                    "unexpected SCP record {record:?}"
                )));
            }
        }
    };
    meter.announce(size, limit)?;
    scp.send(vec![0], meter).await?;
    let mut left = size;
    while left > 0 {
        let bytes = scp.bytes(left, meter).await?;
        left -= bytes.len() as u64;
        meter.write(sink, &bytes).await?;
    }
    scp.acknowledged(meter).await?;
    scp.send(vec![0], meter).await?;
    meter.flush(sink).await
}

struct Scp {
    channel: Channel<Msg>,
    arrived: Vec<u8>,
    complaint: Vec<u8>,
}

impl Scp {
    async fn start(
        channel: Channel<Msg>,
        direction: char,
        remote: &str,
        meter: &Meter<'_>,
    ) -> Result<Self, Failure> {
        let command = format!("scp -{direction} {}", quoted(remote));
        let asking = channel.exec(true, command);
        match timeout(meter.idle, asking).await {
            Ok(Ok(())) => Ok(Self {
                channel,
                arrived: Vec::new(),
                complaint: Vec::new(),
            }),
            Ok(Err(_)) => Err(Failure::Gone),
            Err(_) => Err(Failure::Idle),
        }
    }

    async fn send(&self, bytes: Vec<u8>, meter: &Meter<'_>) -> Result<(), Failure> {
        let sending = self.channel.data_bytes(Bytes::from(bytes));
        match timeout(meter.idle, sending).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_)) => Err(Failure::Gone),
            Err(_) => Err(Failure::Idle),
        }
    }

    /// Waits for more bytes.
    async fn receive(&mut self, meter: &Meter<'_>) -> Result<(), Failure> {
        let lacking = || Failure::Unavailable("SCP is not available on the device".into());
        loop {
            let message = timeout(meter.idle, self.channel.wait()).await;
            match message.map_err(|_| Failure::Idle)? {
                Some(ChannelMsg::Data { data }) => {
                    self.arrived.extend_from_slice(&data);
                    return Ok(());
                }
                Some(ChannelMsg::ExtendedData { data, .. }) => {
                    let room = LINE.saturating_sub(self.complaint.len());
                    self.complaint
                        .extend_from_slice(&data[..data.len().min(room)]);
                }
                Some(ChannelMsg::Failure) => return Err(lacking()),
                // 127: the shell does not know the command.
                Some(ChannelMsg::ExitStatus { exit_status: 127 }) => return Err(lacking()),
                Some(ChannelMsg::Close) | None if self.complaint.is_empty() => {
                    return Err(lacking());
                }
                Some(ChannelMsg::Close) | None => {
                    let complaint = String::from_utf8_lossy(&self.complaint);
                    return Err(Failure::Refused(words(&complaint)));
                }
                Some(_) => {}
            }
        }
    }

    async fn byte(&mut self, meter: &Meter<'_>) -> Result<u8, Failure> {
        while self.arrived.is_empty() {
            self.receive(meter).await?;
        }
        Ok(self.arrived.remove(0))
    }

    /// Reads an acknowledgement: a zero byte, or an error message.
    async fn acknowledged(&mut self, meter: &Meter<'_>) -> Result<(), Failure> {
        match self.byte(meter).await? {
            0 => Ok(()),
            1 | 2 => {
                let line = self.line(meter).await?;
                Err(Failure::Refused(words(&line)))
            }
            first => {
                // Not the protocol: a CLI that takes `scp` for one of its own commands.
                self.arrived.insert(0, first);
                let line = self.line(meter).await.unwrap_or_default();
                Err(Failure::Unavailable(format!(
                    "SCP is not available on the device (it answered {:?})",
                    words(&line)
                )))
            }
        }
    }

    async fn record(&mut self, meter: &Meter<'_>) -> Result<String, Failure> {
        match self.byte(meter).await? {
            1 | 2 => {
                let line = self.line(meter).await?;
                Err(Failure::Refused(words(&line)))
            }
            first => {
                self.arrived.insert(0, first);
                self.line(meter).await
            }
        }
    }

    async fn line(&mut self, meter: &Meter<'_>) -> Result<String, Failure> {
        loop {
            if let Some(end) = self.arrived.iter().position(|&byte| byte == b'\n') {
                let rest = self.arrived.split_off(end + 1);
                let line = std::mem::replace(&mut self.arrived, rest);
                return Ok(String::from_utf8_lossy(&line[..end]).into_owned());
            }
            if self.arrived.len() > LINE {
                return Err(Failure::Refused("SCP line too long".into()));
            }
            self.receive(meter).await?;
        }
    }

    /// Returns the next bytes of the file, at most `left`.
    async fn bytes(&mut self, left: u64, meter: &Meter<'_>) -> Result<Vec<u8>, Failure> {
        if self.arrived.is_empty() {
            self.receive(meter).await?;
        }
        let length =
            usize::try_from(left).map_or(self.arrived.len(), |left| left.min(self.arrived.len()));
        let rest = self.arrived.split_off(length);
        Ok(std::mem::replace(&mut self.arrived, rest))
    }
}

/// Quotes a path for a shell only if needed, because the CLIs of routers do not support quotes.
fn quoted(path: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "_./:@%+=,-".contains(c);
    if path.chars().all(plain) && !path.starts_with('-') {
        return path.to_owned();
    }
    let path = if path.starts_with('-') {
        format!("./{path}")
    } else {
        path.to_owned()
    };
    format!("'{}'", path.replace('\'', r"'\''"))
}

fn words(complaint: &str) -> String {
    let text = complaint.trim().trim_start_matches("scp: ");
    text.chars().filter(|c| !is_hidden(*c)).take(300).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_quoted_only_where_a_shell_needs_it() {
        assert_eq!(quoted("flash:/ios.bin"), "flash:/ios.bin");
        assert_eq!(quoted("/tmp/a b"), "'/tmp/a b'");
        assert_eq!(quoted("it's"), r"'it'\''s'");
        assert_eq!(quoted("-rf"), "'./-rf'");
        assert_eq!(quoted("$(reboot)"), "'$(reboot)'");
    }
}
