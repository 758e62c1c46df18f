//! The stream of a connection: disconnects clients that do not read, and lets clients read a response
//! that was sent before their request was complete.
//!
//! Both are done below HTTP, so that they apply to responses, event streams and terminals.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep, sleep};

use super::connection::Connection;
use super::slots::Slot;

/// How long a client may be silent while its connection is being closed.
const MAX_LINGER_SILENCE: Duration = Duration::from_secs(5);
/// Maximum number of bytes discarded while a connection is being closed.
const MAX_LINGER_BYTES: u64 = 128 << 20;
const LINGER_CHUNK: usize = 16 * 1024;

/// A TCP or Unix stream.
pub(super) trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<S: AsyncRead + AsyncWrite + Send + Unpin> Stream for S {}

pub(super) type BoxedStream = Box<dyn Stream>;

pub(super) fn boxed(stream: impl Stream + 'static) -> BoxedStream {
    Box::new(stream)
}

/// The stream of a connection. It owns the connection's slot until it is closed, even after a WebSocket
/// upgrade has taken it over from HTTP.
pub(super) struct ConnectionIo {
    stream: BoxedStream,
    connection: Arc<Connection>,
    write_timeout: Duration,
    /// Write timeout, running while the client does not read.
    stalled: Option<Pin<Box<Sleep>>>,
    closing: Option<Closing>,
    _slot: Slot,
}

/// State after the write side was closed, while the read side is drained.
struct Closing {
    silence: Pin<Box<Sleep>>,
    bytes_left: u64,
}

impl ConnectionIo {
    pub(super) fn new(stream: BoxedStream, slot: Slot, write_timeout: Duration) -> Self {
        Self {
            stream,
            connection: Arc::clone(slot.connection()),
            write_timeout,
            stalled: None,
            closing: None,
            _slot: slot,
        }
    }

    /// Returns the result of a write, or an error if writes have made no progress for too long.
    fn in_time<T>(
        &mut self,
        written: Poll<io::Result<T>>,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<T>> {
        if written.is_ready() {
            if self.stalled.take().is_some() {
                self.connection.set_stalled(false);
            }
            return written;
        }
        let timeout = self.write_timeout;
        let stalled = self.stalled.get_or_insert_with(|| {
            self.connection.set_stalled(true);
            Box::pin(sleep(timeout))
        });
        ready!(stalled.as_mut().poll(cx));
        tracing::debug!(
            seconds = timeout.as_secs(),
            "write timeout: the client does not read"
        );
        Poll::Ready(Err(io::Error::new(
            io::ErrorKind::TimedOut,
            "the client does not read",
        )))
    }

    /// Reads and discards until the client closes, within limits. Closing a socket with unread bytes
    /// resets the connection, and the client would lose unread data: the response that explains why its
    /// request was not read.
    fn poll_linger(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.closing.is_none() {
            ready!(Pin::new(&mut self.stream).poll_shutdown(cx))?;
            self.connection.linger();
        }
        let closing = self.closing.get_or_insert_with(|| Closing {
            silence: Box::pin(sleep(MAX_LINGER_SILENCE)),
            bytes_left: MAX_LINGER_BYTES,
        });
        let mut chunk = [0; LINGER_CHUNK];
        loop {
            let mut chunk = ReadBuf::new(&mut chunk);
            match Pin::new(&mut self.stream).poll_read(cx, &mut chunk) {
                Poll::Pending => return closing.silence.as_mut().poll(cx).map(Ok),
                Poll::Ready(Err(_)) => return Poll::Ready(Ok(())),
                Poll::Ready(Ok(())) => {}
            }
            let read = chunk.filled().len() as u64;
            closing.bytes_left = closing.bytes_left.saturating_sub(read);
            if read == 0 || closing.bytes_left == 0 {
                return Poll::Ready(Ok(()));
            }
            let silence = closing.silence.as_mut();
            silence.reset(Instant::now() + MAX_LINGER_SILENCE);
        }
    }
}

impl AsyncRead for ConnectionIo {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        ready!(Pin::new(&mut self.stream).poll_read(cx, buffer))?;
        if buffer.filled().len() > before {
            self.connection.received();
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for ConnectionIo {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(cx, bytes);
        self.in_time(written, cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write_vectored(cx, bytes);
        self.in_time(written, cx)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = Pin::new(&mut self.stream).poll_flush(cx);
        self.in_time(flushed, cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.connection.has_unread_body() {
            return self.poll_linger(cx);
        }
        let closed = Pin::new(&mut self.stream).poll_shutdown(cx);
        self.in_time(closed, cx)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream, duplex};
    use tokio::time::timeout;

    use super::super::Limits;
    use super::super::listener::Peer;
    use super::super::slots::{Admission, Slots};
    use super::*;

    const DEADLINE: Duration = Duration::from_secs(60);

    /// Returns a connection with a stream that buffers 64 bytes, and its client.
    fn connection(write_timeout: Duration) -> (ConnectionIo, DuplexStream) {
        let slots = Arc::new(Slots::new(Limits {
            header: DEADLINE,
            idle: DEADLINE,
            write: write_timeout,
            connections: 1,
            connections_per_address: 1,
        }));
        let Admission::Admitted(slot) = slots.admit(&Peer::Unix) else {
            panic!("there is no slot");
        };
        let (server, client) = duplex(64);
        (
            ConnectionIo::new(boxed(server), slot, write_timeout),
            client,
        )
    }

    #[tokio::test]
    async fn a_client_that_does_not_read_is_cut() {
        let (mut io, _client) = connection(Duration::from_millis(50));
        let writing = timeout(DEADLINE, io.write_all(&[0; 1000])).await;
        let error = writing.unwrap().unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
    }

    #[tokio::test]
    async fn a_client_that_reads_slowly_is_served() {
        let (mut io, mut client) = connection(Duration::from_secs(2));
        let reading = async {
            let mut piece = [0; 25];
            for _ in 0..40 {
                // In total, this takes longer than the timeout.
                tokio::time::sleep(Duration::from_millis(60)).await;
                client.read_exact(&mut piece).await.unwrap();
            }
        };
        let (written, ()) = tokio::join!(io.write_all(&[0; 1000]), reading);
        written.unwrap();
    }

    #[tokio::test]
    async fn a_request_that_was_not_read_is_read_before_the_connection_closes() {
        let (mut io, mut client) = connection(DEADLINE);
        io.connection.leave_body_unread();
        let talking = async {
            client.write_all(&[0; 10_000]).await.unwrap();
            client.shutdown().await.unwrap();
            let mut answer = String::new();
            client.read_to_string(&mut answer).await.unwrap();
            answer
        };
        let answering = async {
            io.write_all(b"413").await.unwrap();
            io.shutdown().await.unwrap();
        };
        let ended = timeout(DEADLINE, async { tokio::join!(talking, answering) }).await;
        assert_eq!(ended.unwrap().0, "413");
    }
}
