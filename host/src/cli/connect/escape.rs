//! The escape `~.` at the start of a line, as in ssh.

/// Detects the escape in the input.
pub(super) struct Escape {
    line_start: bool,
    /// Whether a `~` at the start of a line waits for the next key.
    tilde: bool,
}

impl Default for Escape {
    fn default() -> Self {
        Self {
            line_start: true,
            tilde: false,
        }
    }
}

impl Escape {
    /// Returns the bytes to send to the device, and whether the escape was typed.
    pub(super) fn pass(&mut self, typed: &[u8]) -> (Vec<u8>, bool) {
        let mut passed = Vec::with_capacity(typed.len() + 1);
        for &byte in typed {
            if self.tilde {
                self.tilde = false;
                match byte {
                    b'.' => return (passed, true),
                    b'~' => {
                        passed.push(b'~');
                        self.line_start = false;
                        continue;
                    }
                    _ => passed.push(b'~'),
                }
            } else if self.line_start && byte == b'~' {
                self.tilde = true;
                continue;
            }
            passed.push(byte);
            self.line_start = matches!(byte, b'\r' | b'\n');
        }
        (passed, false)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Types key by key. Returns the bytes for the device and whether the session ended.
    fn typed(text: &str) -> (String, bool) {
        let mut escape = Escape::default();
        let mut passed = Vec::new();
        for byte in text.bytes() {
            let (more, ended) = escape.pass(&[byte]);
            passed.extend(more);
            if ended {
                return (String::from_utf8(passed).unwrap(), true);
            }
        }
        (String::from_utf8(passed).unwrap(), false)
    }

    #[test]
    fn a_tilde_and_a_dot_end_it_at_the_start_of_a_line_alone() {
        assert_eq!(typed("~."), (String::new(), true));
        assert_eq!(typed("ls\r~.rest"), ("ls\r".to_owned(), true));
        assert_eq!(typed("cd ~.\r"), ("cd ~.\r".to_owned(), false));
        assert_eq!(typed("\r~x~."), ("\r~x~.".to_owned(), false));
        assert_eq!(typed("~\r~."), ("~\r".to_owned(), true));
    }

    #[test]
    fn two_tildes_are_one() {
        assert_eq!(typed("~~."), ("~.".to_owned(), false));
        assert_eq!(Escape::default().pass(b"~~\r~.x"), (b"~\r".to_vec(), true));
    }
}
