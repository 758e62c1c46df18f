//! A regular expression of a platform.

use regex::Regex;
use serde::Deserialize;

/// A regular expression in the syntax of the crate [`regex`]. Matching takes linear time for every
/// pattern.
#[derive(Debug, Clone, Deserialize)]
#[serde(try_from = "String")]
pub struct Pattern(Regex);

/// Maximum size of a compiled pattern; a larger one is likely a mistake.
const COMPILED_BYTES: usize = 1 << 20;

impl Pattern {
    /// Compiles a pattern.
    ///
    /// # Errors
    /// The reason why the pattern is invalid, with the position.
    pub fn new(pattern: &str) -> Result<Self, String> {
        Self::within(pattern, COMPILED_BYTES)
    }

    /// Compiles a pattern with a limit on its compiled size.
    ///
    /// # Errors
    /// As [`Self::new`], and if the compiled pattern exceeds `bytes`.
    pub fn within(pattern: &str, bytes: usize) -> Result<Self, String> {
        regex::RegexBuilder::new(pattern)
            .size_limit(bytes)
            .build()
            .map(Self)
            .map_err(|error| error.to_string())
    }

    /// Returns a pattern that matches this text literally.
    #[must_use]
    pub fn literal(text: &str) -> Self {
        Self(Regex::new(&regex::escape(text)).expect("an escaped text is a pattern"))
    }

    /// Returns the pattern's source.
    #[must_use]
    pub fn as_str(&self) -> &str {
        self.0.as_str()
    }

    /// Returns whether the pattern matches anywhere in `text`.
    #[must_use]
    pub fn matches(&self, text: &str) -> bool {
        self.0.is_match(text)
    }

    /// Returns the text of the first group that matched, or of the whole match without groups.
    #[must_use]
    pub fn find<'t>(&self, text: &'t str) -> Option<&'t str> {
        let found = self.0.captures(text)?;
        let group = found.iter().skip(1).flatten().next();
        group.or_else(|| found.get(0)).map(|found| found.as_str())
    }
}

impl PartialEq for Pattern {
    fn eq(&self, other: &Self) -> bool {
        self.0.as_str() == other.0.as_str()
    }
}

impl Eq for Pattern {}

impl TryFrom<String> for Pattern {
    type Error = String;

    fn try_from(pattern: String) -> Result<Self, String> {
        Self::new(&pattern)
    }
}
