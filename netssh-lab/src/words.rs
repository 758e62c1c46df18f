//! Patterns for typed lines.

use serde::Deserialize;

/// A pattern of words: `*` matches any one word, `...` at the end one or more.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(from = "String")]
pub(super) struct Words(Vec<Word>);

#[derive(Debug, Clone, PartialEq, Eq)]
enum Word {
    Exactly(String),
    Any,
    Rest,
}

impl From<String> for Words {
    fn from(pattern: String) -> Self {
        Self(
            pattern
                .split_whitespace()
                .map(|word| match word {
                    "*" => Word::Any,
                    "..." => Word::Rest,
                    word => Word::Exactly(word.to_owned()),
                })
                .collect(),
        )
    }
}

impl Words {
    /// Returns the texts that `*` and `...` matched, if the whole line matches.
    pub(super) fn matches(&self, line: &str, abbreviations: bool) -> Option<Vec<String>> {
        let mut words = line.split_whitespace();
        let mut stood_for = Vec::new();
        for word in &self.0 {
            let typed = words.next()?;
            match word {
                Word::Exactly(full) => {
                    if !same(typed, full, abbreviations) {
                        return None;
                    }
                }
                Word::Any => stood_for.push(typed.to_owned()),
                Word::Rest => {
                    let rest: Vec<&str> = std::iter::once(typed).chain(words.by_ref()).collect();
                    stood_for.push(rest.join(" "));
                }
            }
        }
        words.next().is_none().then_some(stood_for)
    }

    pub(super) fn fits(&self, line: &str) -> bool {
        self.matches(line, false).is_some()
    }

    /// Returns the number of leading words of the line that match.
    pub(super) fn fitting(&self, line: &str, abbreviations: bool) -> usize {
        let fits = |(word, typed): &(&Word, &str)| match word {
            Word::Exactly(full) => same(typed, full, abbreviations),
            Word::Any | Word::Rest => true,
        };
        self.0
            .iter()
            .zip(line.split_whitespace())
            .take_while(fits)
            .count()
    }

    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    /// Returns the number of words up to the last one that is neither `*` nor `...`.
    pub(super) fn key_length(&self) -> usize {
        self.0
            .iter()
            .rposition(|word| matches!(word, Word::Exactly(_)))
            .map_or(0, |last| last + 1)
    }
}

/// Returns whether a typed word matches; an empty word abbreviates nothing.
fn same(typed: &str, full: &str, abbreviations: bool) -> bool {
    if abbreviations {
        let start = full.get(..typed.len());
        start.is_some_and(|start| start.eq_ignore_ascii_case(typed))
    } else {
        typed == full
    }
}

/// Returns the first words of a line.
pub(super) fn first(line: &str, count: usize) -> Vec<&str> {
    line.split_whitespace().take(count).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(pattern: &str) -> Words {
        Words::from(pattern.to_owned())
    }

    #[test]
    fn words_stand_for_themselves_one_word_or_the_rest() {
        let interface = words("interface ...");
        assert_eq!(
            interface.matches("interface Gi 0/1", false),
            Some(vec!["Gi 0/1".to_owned()])
        );
        assert!(!interface.fits("interface"));
        assert!(words("ip address * *").fits("ip address 1.2.3.4 255.0.0.0"));
        assert!(!words("ip address * *").fits("ip address dhcp"));
        assert!(!words("show").fits("show version"));
    }

    #[test]
    fn abbreviations_are_the_beginnings_of_words() {
        assert!(words("show version").matches("SH ver", true).is_some());
        assert!(
            words("show version")
                .matches("show versions", true)
                .is_none()
        );
        assert!(words("show version").matches("sh ver", false).is_none());
    }

    #[test]
    fn the_words_that_fit_show_where_a_line_goes_wrong() {
        assert_eq!(words("show version").fitting("show nonsense", true), 1);
        assert_eq!(words("show version").fitting("show", true), 1);
        assert_eq!(words("ip address ...").key_length(), 2);
        assert_eq!(words("set interfaces * description ...").key_length(), 4);
    }
}
