//! The random word of a session, by which the end of an output is recognised.

use crate::error::Error;

/// Letters without a meaning to common pagers (`more`, `less`), in case one reads the word as keys:
/// a digit would be a number of lines to scroll, a `v` would start an editor.
const LETTERS: [u8; 8] = *b"acijlowx";
/// 16 letters of three bits each: 48 random bits, which no output contains by chance.
const LENGTH: usize = 16;

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Word(String);

impl Word {
    pub(super) fn random() -> Result<Self, Error> {
        let mut bytes = [0; LENGTH];
        getrandom::fill(&mut bytes).map_err(|error| Error::Server {
            message: format!("failed to get random numbers: {error}"),
            reached: false,
        })?;
        Ok(Self(bytes.map(|byte| letter(byte.into())).iter().collect()))
    }

    pub(super) fn as_str(&self) -> &str {
        &self.0
    }

    /// Returns a CLI comment that contains the word, different for each number, so that a device's
    /// command history does not contain it either.
    pub(super) fn comment(&self, prefix: &str, number: u64) -> String {
        let mut comment = format!("{prefix}{}", self.0);
        let mut left = number;
        loop {
            comment.push(letter(left));
            left /= LETTERS.len() as u64;
            if left == 0 {
                return comment;
            }
        }
    }
}

const fn letter(number: u64) -> char {
    LETTERS[(number % LETTERS.len() as u64) as usize] as char
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn no_comment_is_another_ones_end() {
        let word = Word::random().unwrap();
        let comments: Vec<String> = (0..1000).map(|number| word.comment("!", number)).collect();
        let distinct: HashSet<&String> = comments.iter().collect();
        assert_eq!(distinct.len(), comments.len());
        assert!(comments.iter().all(|one| one.starts_with('!')));
        assert!(comments.iter().all(|one| !one[1..].contains('!')));
    }

    #[test]
    fn every_session_has_a_word_of_its_own() {
        assert_ne!(Word::random().unwrap(), Word::random().unwrap());
    }
}
