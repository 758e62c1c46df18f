//! Raw mode, size and type of the local terminal.

use std::io::{self, IsTerminal as _};

use rustix::termios::{OptionalActions, Termios, tcgetattr, tcgetwinsize, tcsetattr};

/// Maximum width and height that the server accepts.
const MAX_CELLS: u16 = 1_000;

/// Raw mode of the terminal. Dropping it restores the previous mode, also after a panic.
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

/// Returns columns and rows, or 80 by 24 without a terminal.
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

/// Returns the terminal type for the device.
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
