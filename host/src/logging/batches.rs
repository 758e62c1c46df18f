//! Log lines in batches.

use std::io::{self, Write};
use std::thread;
use std::time::Duration;

/// Pause after each batch.
const PAUSE: Duration = Duration::from_millis(5);

/// A writer whose thread pauses after it has written all pending lines. Under load, waking that thread
/// for each line would cost more than writing the line.
pub(super) struct Batches<W>(pub(super) W);

impl<W: Write> Write for Batches<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        let flushed = self.0.flush();
        thread::sleep(PAUSE);
        flushed
    }
}
