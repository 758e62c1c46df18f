//! Masks secrets in a stream of bytes, including secrets that arrive in several pieces.
//!
//! Bytes that may be the beginning of a secret are retained until that is decided. If the other
//! side sends bytes meanwhile, the order of the log takes precedence: a beginning of fewer than
//! [`SHORTEST`] bytes is written unmasked and a longer one as a mask, and the rest of the secret is
//! masked when it arrives.

use secrecy::zeroize::Zeroize;

use super::MASKED;

/// Minimum length of a masked secret, in bytes.
const MIN_LENGTH: usize = 4;
/// Maximum length of a masked secret, and so of the retained bytes.
const MAX_LENGTH: usize = 4096;
/// Maximum number of secrets per session; the oldest is replaced.
const MAX_SECRETS: usize = 64;

/// The secrets to mask, zeroized on drop.
#[derive(Default)]
pub(super) struct Secrets(Vec<Vec<u8>>);

impl Secrets {
    pub(super) fn add(&mut self, secret: &str) {
        let bytes = secret.as_bytes();
        if !(MIN_LENGTH..=MAX_LENGTH).contains(&bytes.len())
            || self.0.iter().any(|known| known == bytes)
        {
            return;
        }
        if self.0.len() == MAX_SECRETS {
            self.0.remove(0).zeroize();
        }
        self.0.push(bytes.to_vec());
    }

    /// Returns the length of the longest secret at the start of `bytes`.
    fn at(&self, bytes: &[u8]) -> Option<usize> {
        self.0
            .iter()
            .filter(|secret| bytes.starts_with(secret))
            .map(Vec::len)
            .max()
    }

    /// Returns whether `bytes` may be the beginning of a longer secret.
    fn may_begin(&self, bytes: &[u8]) -> bool {
        self.0
            .iter()
            .any(|secret| secret.len() > bytes.len() && secret.starts_with(bytes))
    }
}

impl Drop for Secrets {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}

/// The masking state of one direction.
#[derive(Default)]
pub(super) struct Mask {
    /// Retained bytes, which may be the beginning of a secret.
    held: Vec<u8>,
    /// Number of bytes of `held` that were already written, masked or not.
    written: usize,
    masked: bool,
    /// The beginning of a character that has not arrived completely.
    character: Vec<u8>,
}

impl Drop for Mask {
    fn drop(&mut self) {
        self.held.zeroize();
    }
}

impl Mask {
    /// Returns the text that can be written now.
    pub(super) fn push(&mut self, secrets: &Secrets, bytes: &[u8]) -> String {
        self.held.extend_from_slice(bytes);
        self.take(secrets, false)
    }

    /// Returns the retained bytes because the other side sends, masked if they are long enough to
    /// reveal something.
    pub(super) fn pause(&mut self) -> String {
        if self.held.len() >= MIN_LENGTH {
            if self.masked {
                return String::new();
            }
            self.masked = true;
            self.written = self.held.len();
            return MASKED.to_owned();
        }
        let bytes = self.held[self.written..].to_vec();
        self.written = self.held.len();
        self.text(&bytes)
    }

    /// Returns the rest at the end of the stream.
    pub(super) fn finish(&mut self, secrets: &Secrets) -> String {
        let text = self.take(secrets, true) + &self.pause();
        self.forget();
        text + &String::from_utf8_lossy(&std::mem::take(&mut self.character))
    }

    fn forget(&mut self) {
        self.held.zeroize();
        self.written = 0;
        self.masked = false;
    }

    fn take(&mut self, secrets: &Secrets, last: bool) -> String {
        let mut held = std::mem::take(&mut self.held);
        let mut text = String::new();
        let mut plain = Vec::new();
        let mut at = 0;
        while at < held.len() {
            let rest = &held[at..];
            let whole = secrets.at(rest);
            if secrets.may_begin(rest) && !(last && whole.is_some()) {
                break;
            }
            if let Some(length) = whole {
                text += &self.text(&std::mem::take(&mut plain));
                if !std::mem::take(&mut self.masked) {
                    text += MASKED;
                }
                at += length;
                self.written = self.written.saturating_sub(length);
            } else {
                if self.written == 0 {
                    plain.push(held[at]);
                }
                at += 1;
                self.written = self.written.saturating_sub(1);
            }
            if self.written == 0 {
                self.masked = false;
            }
        }
        text += &self.text(&plain);
        self.held = held[at..].to_vec();
        held.zeroize();
        text
    }

    /// Converts bytes to text; retains an incomplete character at the end.
    fn text(&mut self, bytes: &[u8]) -> String {
        if bytes.is_empty() {
            return String::new();
        }
        let mut bytes = [std::mem::take(&mut self.character).as_slice(), bytes].concat();
        let cut = incomplete(&bytes);
        self.character = bytes.split_off(bytes.len() - cut);
        String::from_utf8_lossy(&bytes).into_owned()
    }
}

/// Returns the number of bytes at the end that are an incomplete character.
fn incomplete(bytes: &[u8]) -> usize {
    for back in 1..=bytes.len().min(3) {
        let byte = bytes[bytes.len() - back];
        let length = match byte {
            0x80..=0xBF => continue,
            0xC2..=0xDF => 2,
            0xE0..=0xEF => 3,
            0xF0..=0xF4 => 4,
            _ => return 0,
        };
        return if back < length { back } else { 0 };
    }
    0
}

/// Returns the masked text of bytes that arrive in these pieces.
#[cfg(any(test, fuzzing))]
pub(crate) fn masked(texts: &[String], pieces: &[&[u8]]) -> String {
    let mut secrets = Secrets::default();
    texts.iter().for_each(|text| secrets.add(text));
    let mut mask = Mask::default();
    let shown: String = pieces
        .iter()
        .map(|piece| mask.push(&secrets, piece))
        .collect();
    shown + &mask.finish(&secrets)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn mask(texts: &[&str], chunks: &[&str]) -> String {
        let texts: Vec<String> = texts.iter().copied().map(str::to_owned).collect();
        let pieces: Vec<&[u8]> = chunks.iter().map(|chunk| chunk.as_bytes()).collect();
        masked(&texts, &pieces)
    }

    fn secrets(texts: &[&str]) -> Secrets {
        let mut secrets = Secrets::default();
        texts.iter().for_each(|text| secrets.add(text));
        secrets
    }

    #[test]
    fn a_secret_in_one_piece_and_in_many() {
        for chunks in [
            &["my hunter22 is"][..],
            &["my hun", "ter22 is"],
            &["my h", "u", "n", "t", "e", "r", "2", "2", " is"],
        ] {
            assert_eq!(mask(&["hunter22"], chunks), "my *** is");
        }
    }

    #[test]
    fn what_only_begins_like_a_secret_is_written() {
        assert_eq!(mask(&["hunter22"], &["hun", "gry hunt"]), "hungry ***");
        assert_eq!(mask(&["hunter22"], &["huhuhunter22hun"]), "huhu***hun");
    }

    #[test]
    fn of_two_secrets_the_longer_one() {
        assert_eq!(
            mask(&["pass", "password"], &["pass", "word pass"]),
            "*** ***"
        );
    }

    #[test]
    fn short_secrets_are_left_alone() {
        assert_eq!(mask(&["abc"], &["abc"]), "abc");
    }

    #[test]
    fn a_pause_keeps_the_order_and_tells_three_bytes_at_most() {
        let secrets = secrets(&["hunter22"]);
        let mut mask = Mask::default();
        assert_eq!(mask.push(&secrets, b"> hu"), "> ");
        assert_eq!(mask.pause(), "hu");
        assert_eq!(mask.push(&secrets, b"nter22 ok"), "*** ok");
        assert_eq!(mask.push(&secrets, b"hunte"), "");
        assert_eq!(mask.pause(), "***");
        assert_eq!(mask.pause(), "");
        assert_eq!(mask.push(&secrets, b"r22 ok"), " ok");
        assert_eq!(mask.push(&secrets, b"hunte"), "");
        assert_eq!(mask.pause(), "***");
        assert_eq!(mask.push(&secrets, b"d hunter22"), "d ***");
    }

    #[test]
    fn characters_in_pieces_stay_whole() {
        let secrets = secrets(&[]);
        let mut mask = Mask::default();
        let bytes = "né€😀".as_bytes();
        let mut text = String::new();
        for byte in bytes {
            text += &mask.push(&secrets, &[*byte]);
        }
        assert_eq!(text, "né€😀");
    }

    proptest! {
        #[test]
        fn no_secret_passes_however_it_is_cut(
            parts in prop::collection::vec("[ab]{0,3}|abab|abaab", 0..8),
            cuts in prop::collection::vec(1usize..4, 0..20),
            pauses in any::<u32>(),
        ) {
            let (one, other) = ("abab", "abaab");
            let secrets = secrets(&[one, other]);
            let whole = parts.concat();
            let mut mask = Mask::default();
            let (mut text, mut rest) = (String::new(), whole.as_str());
            for cut in cuts {
                let (chunk, after) = rest.split_at(cut.min(rest.len()));
                text += &mask.push(&secrets, chunk.as_bytes());
                rest = after;
            }
            text += &mask.push(&secrets, rest.as_bytes());
            text += &mask.finish(&secrets);
            prop_assert!(!text.contains(one) && !text.contains(other), "{whole} {text}");
            if !whole.contains(one) && !whole.contains(other) {
                // Bytes retained at the very end may be masked.
                prop_assert!(whole == text || text.ends_with("***"));
            }
            // With pauses, nothing is lost from the text that follows.
            let mut mask = Mask::default();
            let mut text = String::new();
            for (at, byte) in whole.bytes().enumerate() {
                text += &mask.push(&secrets, &[byte]);
                if pauses >> (at % 32) & 1 == 1 {
                    text += &mask.pause();
                }
            }
            text += &mask.finish(&secrets);
            text += "|";
            prop_assert!(!text.contains(one) && !text.contains(other), "{whole} {text}");
        }
    }
}
