//! Patterns of the targets that a plugin may reach: `lab-*`, `tag:lab`, `host:10.9.0.0/16`.

use super::{Connection, HostPattern, matches_pattern};

/// Characters that neither a connection's name nor a tag contains.
const FORBIDDEN_IN_NAMES: [char; 6] = ['/', ':', ',', '?', '#', '%'];

const EXPECTED: &str = "expected a connection's name with * for any text, tag:TAG, or host:HOST \
                        with an address or a network";

/// A pattern of an operator's `targets` or of a plugin's `needs.targets`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TargetPattern {
    /// `*` matches any text.
    Name(String),
    Tag(String),
    Host(HostPattern),
}

impl TargetPattern {
    /// Parses a pattern.
    ///
    /// # Errors
    /// A message that says what is expected, also for a pattern that covers no connection.
    pub fn parse(text: &str) -> Result<Self, String> {
        if let Some(host) = text.strip_prefix("host:") {
            return HostPattern::parse(host).map(Self::Host);
        }
        if let Some(tag) = text.strip_prefix("tag:") {
            return match is_name(tag) && !tag.contains('*') {
                true => Ok(Self::Tag(tag.to_owned())),
                false => Err(format!(
                    "invalid tag in `{text}`: expected one tag without *, as in tag:core"
                )),
            };
        }
        if is_name(text) {
            return Ok(Self::Name(text.to_owned()));
        }
        let hint = match HostPattern::parse(text) {
            Ok(_) => format!("; did you mean host:{text}?"),
            Err(_) => String::new(),
        };
        Err(format!("invalid target `{text}`: {EXPECTED}{hint}"))
    }

    /// Returns whether the pattern covers a connection that a job names `target`.
    #[must_use]
    pub fn matches(&self, target: &str, connection: &Connection) -> bool {
        match self {
            Self::Name(pattern) => matches_pattern(pattern, target),
            Self::Tag(tag) => connection.tags.contains(tag),
            Self::Host(pattern) => pattern.covers(&connection.host),
        }
    }
}

fn is_name(text: &str) -> bool {
    let forbidden =
        |c: char| c.is_control() || c.is_whitespace() || FORBIDDEN_IN_NAMES.contains(&c);
    !text.is_empty() && !text.contains(forbidden)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_are_names_tags_and_hosts() {
        for text in [
            "*",
            "core1",
            "lab-*",
            "r.1_x",
            "zürich-*",
            "tag:core",
            "host:*",
            "host:10.9.0.0/16",
            "host:2001:db8::/32",
            "host:*.lab.example.net",
        ] {
            assert!(TargetPattern::parse(text).is_ok(), "{text}");
        }
    }

    #[test]
    fn patterns_that_cover_no_target_are_rejected() {
        for (text, said) in [
            ("", "expected a connection's name"),
            ("tag:", "expected one tag"),
            ("tag:lab-*", "expected one tag"),
            ("tag: lab", "expected one tag"),
            ("tags:lab", "expected a connection's name"),
            ("Tag:lab", "expected a connection's name"),
            ("name:lab-*", "expected a connection's name"),
            ("lab 1", "expected a connection's name"),
            ("tag:core and not name:lab-*", "expected one tag"),
            ("10.9.0.0/16", "did you mean host:10.9.0.0/16?"),
            ("2001:db8::1", "did you mean host:2001:db8::1?"),
            ("host:", "expected an IP address"),
            ("host: 10.9.0.0/99", "prefix length from 0 to 32"),
        ] {
            let message = TargetPattern::parse(text).unwrap_err();
            assert!(message.contains(said), "{text}: {message}");
        }
    }
}
