//! A client-side parser of Server-Sent Events.

use bytes::Bytes;
use futures::stream::BoxStream;
use futures::{Stream, StreamExt as _};

/// Maximum size of an event, and of each of its lines: a result's output may be 8 MiB, escaped.
const MAX_EVENT_BYTES: usize = 128 * 1024 * 1024;

/// A Server-Sent Event.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct ServerEvent {
    pub(super) id: Option<String>,
    pub(super) name: String,
    pub(super) data: String,
}

/// Parses a byte stream into events. Ends with the connection, or at an event that is too large.
pub(super) struct Events {
    bytes: BoxStream<'static, Option<Bytes>>,
    line: Vec<u8>,
    event: ServerEvent,
    /// Received bytes that have not been parsed yet.
    rest: Bytes,
    max_bytes: usize,
}

impl Events {
    /// Creates a parser. A `None` in the stream marks a broken connection.
    pub(super) fn new(bytes: impl Stream<Item = Option<Bytes>> + Send + 'static) -> Self {
        Self {
            bytes: bytes.boxed(),
            line: Vec::new(),
            event: ServerEvent::default(),
            rest: Bytes::new(),
            max_bytes: MAX_EVENT_BYTES,
        }
    }

    /// Returns the next event. Cancel-safe.
    pub(super) async fn next(&mut self) -> Option<ServerEvent> {
        loop {
            while let Some(end) = self.rest.iter().position(|byte| *byte == b'\n') {
                let end = self.rest.split_to(end + 1);
                self.line.extend_from_slice(&end[..end.len() - 1]);
                let line = std::mem::take(&mut self.line);
                if let Some(event) =
                    self.take(String::from_utf8_lossy(&line).trim_end_matches('\r'))
                {
                    return Some(event);
                }
            }
            self.line.extend_from_slice(&std::mem::take(&mut self.rest));
            if self.line.len().max(self.event.data.len()) > self.max_bytes {
                return None;
            }
            self.rest = self.bytes.next().await??;
        }
    }

    /// Processes a line: an empty one ends an event, one that begins with a colon is a comment.
    fn take(&mut self, line: &str) -> Option<ServerEvent> {
        if line.is_empty() {
            let event = std::mem::take(&mut self.event);
            return (!event.name.is_empty()).then_some(event);
        }
        let (field, value) = line.split_once(':').unwrap_or((line, ""));
        let value = value.strip_prefix(' ').unwrap_or(value);
        match field {
            "id" => self.event.id = Some(value.to_owned()),
            "event" => value.clone_into(&mut self.event.name),
            "data" => {
                if !self.event.data.is_empty() {
                    self.event.data.push('\n');
                }
                self.event.data.push_str(value);
            }
            _ => {}
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn an_event_that_is_too_large_ends_the_stream() {
        let small = "event: log\ndata: x\n\n".to_owned();
        let long = format!("event: log\ndata: {}", "x".repeat(200));
        let lines = format!("event: log\n{}", "data: x\n".repeat(200));
        for large in [long, lines] {
            let sent = [small.clone(), large, "\n\n".to_owned(), small.clone()];
            let pieces = sent.map(|piece| Some(Bytes::from(piece)));
            let mut events = Events::new(futures::stream::iter(pieces));
            events.max_bytes = 100;
            assert!(events.next().await.is_some());
            assert_eq!(events.next().await, None);
        }
    }

    #[tokio::test]
    async fn events_are_read_wherever_they_are_cut() {
        let text = ": hello\n\nevent: log\nid: 1.2\ndata: {\"a\":\ndata: \"ü\"}\n\nevent: status\r\ndata:x\r\n\r\nevent: cut";
        for size in [1, 2, 7, 1_000] {
            let pieces: Vec<_> = text
                .as_bytes()
                .chunks(size)
                .map(|piece| Some(Bytes::copy_from_slice(piece)))
                .collect();
            let mut events = Events::new(futures::stream::iter(pieces));
            let first = events.next().await.unwrap();
            assert_eq!(first.id.as_deref(), Some("1.2"));
            assert_eq!(first.name, "log");
            assert_eq!(first.data, "{\"a\":\n\"ü\"}");
            let second = events.next().await.unwrap();
            assert_eq!(
                (second.name.as_str(), second.data.as_str()),
                ("status", "x")
            );
            assert_eq!(events.next().await, None);
        }
    }
}
