//! Terminal noise: turns the bytes of a terminal into the text a reader would see.
//!
//! Pure, linear in its input, never panics. Works line by line on a terminal of one line:
//! carriage return, backspace, cursor moves and erasing within the line are played, everything
//! else that is no text is dropped. Bytes that are not UTF-8 become U+FFFD.

/// The text that `bytes` would leave on a screen, lines separated by `\n`.
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
        // Nearly every line's only noise is the \r before its \n.
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

/// Erasing to the left goes so far at most: more than any terminal is wide. A line here may be as long
/// as an output, and erasing all of it over and over would take for ever.
const WIDEST: usize = 1024;

fn is_noise(c: char) -> bool {
    c.is_control() && c != '\n' && c != '\t'
}

/// Plays one line (no `\n` in it) into `cells`.
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

/// One escape sequence, after its ESC. Returns the new column.
fn escape(chars: &mut std::str::Chars<'_>, cells: &mut Vec<char>, column: usize) -> usize {
    match chars.next() {
        Some('[') => return control_sequence(chars, cells, column),
        // Operating system command (window titles): up to BEL or ESC \.
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
        // Character set selection takes one more character.
        Some('(' | ')' | '#' | '%' | ' ') => {
            chars.next();
        }
        _ => {}
    }
    column
}

/// `ESC [ parameters final`. Returns the new column, which never exceeds the line's length.
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
            // Of several parameters the last one counts: the column of `row;column`.
            ';' => (parameter, given) = (0, false),
            '\x20'..='\x3f' => {}
            _ => break,
        }
    }
    column
}

/// How many bytes at the start of `bytes` only wipe out a pager's mark: carriage returns,
/// backspaces, moves to the left, erasing, and the blanks between them. Blanks after the last of
/// these are a line's own.
pub(crate) fn erase_length(bytes: &[u8]) -> usize {
    let mut length = 0;
    let mut at = 0;
    loop {
        let step = match &bytes[at..] {
            // The end of an empty line, which is not the pager's.
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

/// The same where a pager's mark was recognised before the whole of it had arrived: what is left
/// of it goes, too, if it is wiped out.
pub(crate) fn erase_length_after_mark(bytes: &[u8]) -> usize {
    /// As wide as the terminals that marks were made for.
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
    /// How many bytes were given to [`clean`].
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
        // Minutes, if all of it were erased each time.
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
