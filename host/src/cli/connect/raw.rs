//! The local terminal.

use std::io::{self, IsTerminal as _};

use rustix::termios::{OptionalActions, Termios, tcgetattr, tcgetwinsize, tcsetattr};

/// No terminal of the server's is wider or taller.
const MAX_CELLS: u16 = 1_000;

/// Every key goes through as it is typed, until this is dropped; also by a panic.
pub(super) struct RawMode {
    before: Termios,
}

impl RawMode {
    pub(super) fn enter() -> io::Result<Self> {
        let before = tcgetattr(io::stdin())?;
        let mut raw = before.clone();
        raw.make_raw();
        tcsetattr(io::stdin(), OptionalActions::Now, &raw)?;
        Ok(Self { before })
    }
}

impl Drop for RawMode {
    fn drop(&mut self) {
        let _ = tcsetattr(io::stdin(), OptionalActions::Now, &self.before);
    }
}

/// Columns and rows; 80 by 24 where there is no terminal.
pub(super) fn size() -> (u16, u16) {
    let size = tcgetwinsize(io::stdout()).or_else(|_| tcgetwinsize(io::stdin()));
    let within = |cells: u16, otherwise| match cells {
        0 => otherwise,
        cells => cells.min(MAX_CELLS),
    };
    size.map_or((80, 24), |size| {
        (within(size.ws_col, 80), within(size.ws_row, 24))
    })
}

/// The terminal's type, as the device is to know it.
pub(super) fn kind() -> String {
    let is_word = |term: &String| {
        (1..=64).contains(&term.len())
            && term
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || b"-+._".contains(&byte))
    };
    if !io::stdout().is_terminal() {
        return "dumb".to_owned();
    }
    let term = std::env::var("TERM").ok().filter(is_word);
    term.unwrap_or_else(|| "xterm".to_owned())
}
