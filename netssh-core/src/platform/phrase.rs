//! Phrases: commands in the notation of platform files, such as `sh[ow] * ...`.

use serde::Deserialize;

/// A pattern for all the words of a command. It consists of
///
/// * words: the letters in brackets may be omitted from the end, so `sh[ow]` matches `sh`, `sho`
///   and `show`; a trailing `*` matches any rest (`from=*`), and `a|b` matches either word;
/// * `*`: any single word;
/// * `...`: any number of words, including none;
/// * `a|b...`: any number of words, each of them `a` or `b`.
#[derive(Debug, Clone, Deserialize)]
#[serde(try_from = "String")]
pub(crate) struct Phrase(Vec<Element>);

/// A single word of a [`Phrase`].
#[derive(Debug, Clone, Deserialize)]
#[serde(try_from = "String")]
pub(crate) struct Word(Vec<Form>);

#[derive(Debug, Clone)]
enum Element {
    One(Word),
    Several(Word),
}

#[derive(Debug, Clone)]
struct Form {
    required: String,
    /// Letters that may be omitted from the end.
    optional: String,
    tail: String,
    /// Whether any text may follow.
    open: bool,
}

impl Phrase {
    /// Returns whether the phrase matches all the words.
    pub(super) fn matches(&self, words: &[&str], case_sensitive: bool) -> bool {
        // `covered[n]`: the elements so far match the first `n` words.
        let mut covered = vec![false; words.len() + 1];
        covered[0] = true;
        for element in &self.0 {
            match element {
                Element::One(word) => {
                    for at in (0..words.len()).rev() {
                        covered[at + 1] = covered[at] && word.matches(words[at], case_sensitive);
                    }
                    covered[0] = false;
                }
                Element::Several(word) => {
                    for at in 0..words.len() {
                        covered[at + 1] |= covered[at] && word.matches(words[at], case_sensitive);
                    }
                }
            }
        }
        covered[words.len()]
    }
}

impl Word {
    /// Returns whether `text` is the word or an allowed abbreviation.
    pub(super) fn matches(&self, text: &str, case_sensitive: bool) -> bool {
        self.0.iter().any(|form| form.matches(text, case_sensitive))
    }
}

impl Form {
    fn matches(&self, text: &str, case_sensitive: bool) -> bool {
        let Some(after) = strip(text.as_bytes(), &self.required, case_sensitive) else {
            return false;
        };
        (0..=self.optional.len()).any(|typed| {
            strip(after, &self.optional[..typed], case_sensitive)
                .and_then(|after| strip(after, &self.tail, case_sensitive))
                .is_some_and(|rest| self.open || rest.is_empty())
        })
    }

    fn parse(text: &str) -> Result<Self, String> {
        let invalid = || {
            format!(
                "invalid word `{text}`: expected a word with its optional letters in brackets, such as `sh[ow]`"
            )
        };
        let (word, open) = match text.strip_suffix('*') {
            Some(word) => (word, true),
            None => (text, false),
        };
        let (required, optional, tail) = match word.split_once('[') {
            None => (word, "", ""),
            Some((required, rest)) => {
                let (optional, tail) = rest.split_once(']').ok_or_else(invalid)?;
                (required, optional, tail)
            }
        };
        let strange = |c: char| !c.is_ascii_graphic() || "[]*\"'".contains(c);
        let parts = [required, optional, tail];
        if parts.iter().any(|part| part.contains(strange)) || (required.is_empty() && !open) {
            return Err(invalid());
        }
        Ok(Self {
            required: required.into(),
            optional: optional.into(),
            tail: tail.into(),
            open,
        })
    }
}

/// Returns the text after the prefix `start`.
fn strip<'t>(text: &'t [u8], start: &str, case_sensitive: bool) -> Option<&'t [u8]> {
    let (found, rest) = text.split_at_checked(start.len())?;
    let same = if case_sensitive {
        found == start.as_bytes()
    } else {
        found.eq_ignore_ascii_case(start.as_bytes())
    };
    same.then_some(rest)
}

impl TryFrom<String> for Word {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let forms = text.split('|').map(Form::parse);
        forms.collect::<Result<_, _>>().map(Self)
    }
}

impl TryFrom<String> for Phrase {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let element = |text: &str| match text.strip_suffix("...") {
            Some("") => Word::try_from("*".to_owned()).map(Element::Several),
            Some(word) => Word::try_from(word.to_owned()).map(Element::Several),
            None => Word::try_from(text.to_owned()).map(Element::One),
        };
        let elements: Vec<_> = text
            .split_ascii_whitespace()
            .map(element)
            .collect::<Result<_, _>>()?;
        if elements.is_empty() {
            return Err("invalid phrase: expected words, got none".into());
        }
        Ok(Self(elements))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn phrase(text: &str) -> Phrase {
        Phrase::try_from(text.to_owned()).unwrap()
    }

    fn matches(text: &str, words: &str) -> bool {
        let words: Vec<_> = words.split_ascii_whitespace().collect();
        phrase(text).matches(&words, false)
    }

    #[test]
    fn an_abbreviation_keeps_the_letters_outside_of_the_brackets() {
        for word in ["sh", "sho", "SHOW"] {
            assert!(matches("sh[ow]", word), "{word}");
        }
        for word in ["s", "show ip", "shows", "shutdown", "shw", ""] {
            assert!(!matches("sh[ow]", word), "{word}");
        }
        assert!(!phrase("sh[ow]").matches(&["SHOW"], true));
    }

    #[test]
    fn elements_cover_one_word_or_several() {
        assert!(matches("show * ...", "show version"));
        assert!(matches("show * ...", "show ip route"));
        assert!(!matches("show * ...", "show"));
        assert!(matches("... to[-file] ...", "show logging to bootflash:"));
        assert!(matches(
            "print brief|from=*...",
            "print from=1 brief from=2"
        ));
        assert!(!matches("print brief|from=*...", "print from=1 file=x"));
        assert!(matches("... f[ile]=* ...", "print where fi=x"));
        assert!(!matches("... f[ile]=* ...", "print where flags=x"));
        assert!(matches("a|b c", "b c") && !matches("a|b c", "a b c"));
    }

    #[test]
    fn invalid_phrases_are_rejected_with_a_reason() {
        for text in [
            "", "sh[ow", "[show]", "sh]ow", "a||b", "\"a\"", "f*x", "zähl",
        ] {
            let error = Phrase::try_from(text.to_owned()).unwrap_err();
            assert!(error.starts_with("invalid "), "{text}: {error}");
        }
    }
}
