//! Renders terminal output as the text that a reader would see.
//!
//! Pure, linear in its input, never panics. It simulates a terminal one line high: it executes
//! carriage returns, backspaces, cursor moves and erasing within the line, and drops all other
//! control sequences. Bytes that are not UTF-8 become U+FFFD.

/// Returns the text that `bytes` would leave on a screen, with lines separated by `\n`.
#[must_use]
pub fn clean(bytes: &[u8]) -> String {
    #[cfg(test)]
    CLEANED.set(CLEANED.get() + bytes.len());
    let text = String::from_utf8_lossy(bytes);
    if !text.contains(is_noise) {
        return text.into_owned();
    }
    let mut cleaned = String::with_capacity(text.len());
    let mut cells = Vec::new();
    for (index, line) in text.split('\n').enumerate() {
        if index > 0 {
            cleaned.push('\n');
        }
        // In nearly every line the only control character is the \r before its \n.
        let line = line.trim_end_matches('\r');
        if line.contains(is_noise) {
            render(line, &mut cells);
            cleaned.extend(cells.iter());
        } else {
            cleaned.push_str(line);
        }
    }
    cleaned
}

/// Maximum number of characters erased to the left; more than any terminal is wide. A line may be
/// as long as a whole output, and erasing all of it repeatedly would take quadratic time.
const WIDEST: usize = 1024;

fn is_noise(c: char) -> bool {
    c.is_control() && c != '\n' && c != '\t'
}

/// Renders one line (without `\n`) into `cells`.
fn render(line: &str, cells: &mut Vec<char>) {
    cells.clear();
    let mut column: usize = 0;
    let mut chars = line.chars();
    while let Some(c) = chars.next() {
        match c {
            '\r' => column = 0,
            '\x08' => column = column.saturating_sub(1),
            '\x1b' => column = escape(&mut chars, cells, column),
            '\u{9b}' => column = control_sequence(&mut chars, cells, column),
            c if is_noise(c) => {}
            c => {
                match cells.get_mut(column) {
                    Some(cell) => *cell = c,
                    None => cells.push(c),
                }
                column += 1;
            }
        }
    }
}

/// Executes an escape sequence, after its ESC. Returns the new column.
fn escape(chars: &mut std::str::Chars<'_>, cells: &mut Vec<char>, column: usize) -> usize {
    match chars.next() {
        Some('[') => return control_sequence(chars, cells, column),
        // Operating system command (window titles): ends with BEL or ESC \.
        Some(']' | 'P' | '_' | '^' | 'X') => {
            while let Some(c) = chars.next() {
                if c == '\x07' {
                    break;
                }
                if c == '\x1b' {
                    chars.next();
                    break;
                }
            }
        }
        // Character set selection has one more character.
        Some('(' | ')' | '#' | '%' | ' ') => {
            chars.next();
        }
        _ => {}
    }
    column
}

/// Executes `ESC [ parameters final`. Returns the new column, which never exceeds the line's
/// length.
fn control_sequence(
    chars: &mut std::str::Chars<'_>,
    cells: &mut Vec<char>,
    column: usize,
) -> usize {
    let mut parameter: usize = 0;
    let mut given = false;
    for c in chars.by_ref() {
        match c {
            '0'..='9' => {
                given = true;
                parameter = parameter
                    .saturating_mul(10)
                    .saturating_add(c as usize - '0' as usize);
            }
            '\x40'..='\x7e' => {
                let count = if given { parameter } else { 1 };
                return match c {
                    'C' => column.saturating_add(count).min(cells.len()),
                    'D' => column.saturating_sub(count),
                    'G' | 'H' | 'f' => count.saturating_sub(1).min(cells.len()),
                    'K' | 'J' => {
                        match parameter {
                            0 => cells.truncate(column),
                            1 => cells[column.saturating_sub(WIDEST)..column].fill(' '),
                            _ => cells.clear(),
                        }
                        column.min(cells.len())
                    }
                    _ => column,
                };
            }
            // The last parameter counts: the column of `row;column`.
            ';' => (parameter, given) = (0, false),
            '\x20'..='\x3f' => {}
            _ => break,
        }
    }
    column
}

/// Returns the number of bytes at the start of `bytes` that only erase a pager's mark: carriage
/// returns, backspaces, moves to the left, erase sequences, and the spaces between them. Spaces
/// after the last of these belong to the line.
pub(crate) fn erase_length(bytes: &[u8]) -> usize {
    let mut length = 0;
    let mut at = 0;
    loop {
        let step = match &bytes[at..] {
            // The end of an empty line, which is not part of the erasure.
            [b'\r', b'\n', ..] => return length,
            [b'\r' | b'\x08', ..] => 1,
            [b'\x1b', b'[', rest @ ..] => {
                let digits = rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
                match rest.get(digits) {
                    Some(b'D' | b'K' | b'm') => 2 + digits + 1,
                    _ => return length,
                }
            }
            [b' ', ..] if length > 0 => {
                at += 1;
                continue;
            }
            _ => return length,
        };
        at += step;
        length = at;
    }
}

/// Like [`erase_length`], for a mark that was recognised before all of it had arrived: includes the
/// rest of the mark if the erasure follows it.
pub(crate) fn erase_length_after_mark(bytes: &[u8]) -> usize {
    /// Maximum length of the rest: the width of the terminals that marks are made for.
    const MAX_LENGTH: usize = 80;
    let of_mark = |byte: &&u8| matches!(byte, b' '..=b'~');
    let left = bytes.iter().take(MAX_LENGTH).take_while(of_mark).count();
    match erase_length(&bytes[left..]) {
        0 => 0,
        erased => left + erased,
    }
}

#[cfg(test)]
thread_local! {
    /// Number of bytes passed to [`clean`].
    pub(crate) static CLEANED: std::cell::Cell<usize> = const { std::cell::Cell::new(0) };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn carriage_returns_and_backspaces() {
        assert_eq!(clean(b"one\r\ntwo\r\r\nthree\n"), "one\ntwo\nthree\n");
        assert_eq!(clean(b"10%\r20%\r100%\n"), "100%\n");
        assert_eq!(clean(b"abd\x08c\x00\x07"), "abc");
    }

    #[test]
    fn colours_titles_and_erasing() {
        assert_eq!(clean(b"\x1b[1;31mred\x1b[0m \x1b]0;title\x07x"), "red x");
        assert_eq!(clean(b"garbage\r\x1b[Kclean"), "clean");
        assert_eq!(clean(b"\x1b(Bok\x1b[?2004l"), "ok");
    }

    #[test]
    fn erasing_to_the_left_is_bounded() {
        assert_eq!(clean(b"abc\x1b[1Kd"), "   d");
        assert_eq!(clean(b"abc\x1b[2D\x1b[1K"), " bc");
        let long = format!("{}\x1b[1K", "x".repeat(WIDEST + 2));
        assert_eq!(clean(long.as_bytes()), format!("xx{}", " ".repeat(WIDEST)));
        // Erasing the whole line each time would take minutes.
        let hostile = format!("{}{}", "x".repeat(1 << 20), "\x1b[1K".repeat(1 << 18));
        assert_eq!(clean(hostile.as_bytes()).len(), 1 << 20);
    }

    #[test]
    fn bytes_that_are_no_utf8() {
        assert_eq!(clean(b"caf\xe9\r\n"), "caf\u{fffd}\n");
    }

    #[test]
    fn erasures_of_pagers() {
        assert_eq!(erase_length(b"\x08\x08  \x08\x08text"), 6);
        assert_eq!(erase_length(b"\r    \rtext"), 6);
        assert_eq!(erase_length(b"\r\x1b[Ktext"), 4);
        assert_eq!(erase_length(b"\x1b[8D        \x1b[8Dtext"), 16);
        assert_eq!(erase_length(b"\x08\x08  \x08\x08  indented"), 6);
        assert_eq!(erase_length_after_mark(b"-- \r    \r text"), 9);
        assert_eq!(erase_length_after_mark(b"text\r\n"), 0);
        for left in [
            " --, next page: Space, next line: Enter, quit: Control-C",
            " ( Press 'Q' to break ) ----",
            "/100 50%",
        ] {
            let bytes = format!("{left}\r\x1b[Ktext");
            assert_eq!(erase_length_after_mark(bytes.as_bytes()), left.len() + 4);
        }
        assert_eq!(erase_length(b"text"), 0);
        assert_eq!(erase_length(b"\r\ntext"), 0);
        assert_eq!(erase_length(b" indented"), 0);
    }
}
