//! Stdout and stderr of a guest, as lines in the job's log.

use std::collections::VecDeque;
use std::sync::Arc;

use bytes::Bytes;
use parking_lot::Mutex;
use tokio::io::AsyncWrite;
use wasmtime_wasi::cli::{IsTerminal, StdoutStream};
use wasmtime_wasi::p2::{OutputStream, Pollable, StreamResult};

use crate::capabilities::{JobContext, limits};
use crate::model::LogLevel;

/// Output that may wait for the log, in bytes; a guest that prints more is blocked.
const PENDING_BYTES: usize = 64 * 1024;
/// The end of stderr that is kept for a crash message, in bytes.
const TAIL_BYTES: usize = 4 * 1024;

#[derive(Clone)]
pub(super) struct Output {
    job: Option<Arc<JobContext>>,
    state: Arc<Mutex<State>>,
}

#[derive(Default)]
struct State {
    lines: VecDeque<(Level, String)>,
    bytes: usize,
    /// Incomplete lines of each stream.
    stdout: Vec<u8>,
    stderr: Vec<u8>,
    tail: VecDeque<u8>,
}

#[derive(Clone, Copy)]
pub(super) enum Level {
    Stdout,
    Stderr,
}

impl Level {
    fn log(self) -> LogLevel {
        match self {
            Self::Stdout => LogLevel::Info,
            Self::Stderr => LogLevel::Warn,
        }
    }
}

impl Output {
    pub(super) fn new(job: Option<Arc<JobContext>>) -> Self {
        Self {
            job,
            state: Arc::default(),
        }
    }

    pub(super) fn stream(&self, level: Level) -> Stream {
        Stream {
            output: self.clone(),
            level,
        }
    }

    /// Writes the waiting lines to the log.
    pub(super) async fn write_lines(&self) {
        let lines = {
            let mut state = self.state.lock();
            state.bytes = 0;
            std::mem::take(&mut state.lines)
        };
        if let Some(job) = &self.job {
            for (level, line) in lines {
                job.note(level.log(), line).await;
            }
        }
    }

    /// Writes all output, including incomplete lines.
    pub(super) async fn finish(&self) {
        for level in [Level::Stdout, Level::Stderr] {
            self.state.lock().end_line(level);
        }
        self.write_lines().await;
    }

    /// Returns the end of stderr.
    pub(super) fn last_words(&self) -> String {
        let mut state = self.state.lock();
        String::from_utf8_lossy(state.tail.make_contiguous()).into_owned()
    }

    fn push(&self, level: Level, bytes: &[u8]) {
        let mut state = self.state.lock();
        if let Level::Stderr = level {
            state.tail.extend(bytes);
            let over = state.tail.len().saturating_sub(TAIL_BYTES);
            state.tail.drain(..over);
        }
        for piece in bytes.split_inclusive(|byte| *byte == b'\n') {
            let partial = state.partial(level);
            // The log would truncate the rest of the line anyway.
            let room = limits::LOG_MESSAGE_BYTES.saturating_sub(partial.len()) + 1;
            partial.extend(piece.iter().filter(|byte| **byte != b'\n').take(room));
            if piece.ends_with(b"\n") {
                state.end_line(level);
            }
        }
    }

    fn room(&self) -> usize {
        PENDING_BYTES.saturating_sub(self.state.lock().bytes)
    }
}

impl State {
    fn partial(&mut self, level: Level) -> &mut Vec<u8> {
        match level {
            Level::Stdout => &mut self.stdout,
            Level::Stderr => &mut self.stderr,
        }
    }

    fn end_line(&mut self, level: Level) {
        let line = std::mem::take(self.partial(level));
        if line.is_empty() {
            return;
        }
        let line = String::from_utf8_lossy(&line).into_owned();
        // Every line has an overhead, even a short one.
        self.bytes += line.len() + 32;
        self.lines.push_back((level, line));
    }
}

/// One of the guest's two output streams.
pub(super) struct Stream {
    output: Output,
    level: Level,
}

impl IsTerminal for Stream {
    fn is_terminal(&self) -> bool {
        false
    }
}

impl StdoutStream for Stream {
    fn async_stream(&self) -> Box<dyn AsyncWrite + Send + Sync> {
        // Only used by the third preview of WASI, which is not linked.
        Box::new(tokio::io::sink())
    }

    fn p2_stream(&self) -> Box<dyn OutputStream> {
        Box::new(self.output.stream(self.level))
    }
}

impl OutputStream for Stream {
    fn write(&mut self, bytes: Bytes) -> StreamResult<()> {
        self.output.push(self.level, &bytes);
        Ok(())
    }

    fn flush(&mut self) -> StreamResult<()> {
        Ok(())
    }

    fn check_write(&mut self) -> StreamResult<usize> {
        Ok(self.output.room())
    }
}

#[wasmtime_wasi::async_trait]
impl Pollable for Stream {
    async fn ready(&mut self) {
        self.output.write_lines().await;
    }
}
