//! Target expressions, which select connections: `tag:access and not name:sw-lab-*`.
//!
//! ```text
//! any   := all ("or" all)*
//! all   := one ("and" one)*
//! one   := "not" one | "(" any ")" | tag:TAG | name:PATTERN | platform:PATTERN | NAME
//! ```

use super::Connection;
use super::pattern::matches_pattern;

/// Maximum length of an expression, in bytes.
const MAX_BYTES: usize = 1_000;
/// Maximum nesting of parentheses and `not`.
const MAX_DEPTH: usize = 32;

/// A predicate on connections.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TargetExpression {
    /// Exact name or id of a connection, which must exist.
    Name(String),
    Tag(String),
    /// Pattern of names; `*` matches any text.
    NamePattern(String),
    /// Pattern of `device_type`; `*` matches any text.
    Platform(String),
    Not(Box<Self>),
    All(Vec<Self>),
    Any(Vec<Self>),
}

impl TargetExpression {
    /// Parses an expression.
    ///
    /// # Errors
    /// A message that says what is wrong and what is expected.
    pub fn parse(text: &str) -> Result<Self, String> {
        if text.len() > MAX_BYTES {
            return Err(format!("expected at most {MAX_BYTES} bytes"));
        }
        let mut words = Words {
            words: words_of(text),
            next: 0,
        };
        if words.words.is_empty() {
            return Err(format!("expected a target; {EXAMPLES}"));
        }
        let expression = words.any(0)?;
        match words.peek() {
            None => Ok(expression),
            Some(word) => Err(format!(
                "expected `and`, `or` or the end, got `{word}`; {EXAMPLES}"
            )),
        }
    }

    /// Returns the name if the expression is a single name.
    #[must_use]
    pub fn as_name(&self) -> Option<&str> {
        match self {
            Self::Name(name) => Some(name),
            _ => None,
        }
    }

    #[must_use]
    pub fn matches(&self, connection: &Connection) -> bool {
        match self {
            Self::Name(name) => {
                connection.name == *name || connection.id.to_string().eq_ignore_ascii_case(name)
            }
            Self::Tag(tag) => connection.tags.contains(tag),
            Self::NamePattern(pattern) => matches_pattern(pattern, &connection.name),
            Self::Platform(pattern) => matches_pattern(pattern, &connection.device_type),
            Self::Not(inner) => !inner.matches(connection),
            Self::All(parts) => parts.iter().all(|part| part.matches(connection)),
            Self::Any(parts) => parts.iter().any(|part| part.matches(connection)),
        }
    }

    /// Returns the exact names in the expression; each must exist.
    #[must_use]
    pub fn names(&self) -> Vec<&str> {
        match self {
            Self::Name(name) => vec![name],
            Self::Not(inner) => inner.names(),
            Self::All(parts) | Self::Any(parts) => parts.iter().flat_map(Self::names).collect(),
            Self::Tag(_) | Self::NamePattern(_) | Self::Platform(_) => Vec::new(),
        }
    }
}

const EXAMPLES: &str = "a target is a name such as `core-1`, or `tag:core`, `name:sw-*`, \
                        `platform:cisco_*`, combined with `and`, `or`, `not` and parentheses";

/// Splits a text at white space and parentheses; parentheses are words themselves.
fn words_of(text: &str) -> Vec<String> {
    let spaced = text.replace('(', " ( ").replace(')', " ) ");
    spaced.split_whitespace().map(ToOwned::to_owned).collect()
}

struct Words {
    words: Vec<String>,
    next: usize,
}

impl Words {
    fn peek(&self) -> Option<&str> {
        self.words.get(self.next).map(String::as_str)
    }

    fn take_if(&mut self, wanted: &str) -> bool {
        let there = self.peek().is_some_and(|word| word == wanted);
        self.next += usize::from(there);
        there
    }

    fn any(&mut self, depth: usize) -> Result<TargetExpression, String> {
        let mut parts = vec![self.all(depth)?];
        while self.take_if("or") {
            parts.push(self.all(depth)?);
        }
        Ok(one_or(parts, TargetExpression::Any))
    }

    fn all(&mut self, depth: usize) -> Result<TargetExpression, String> {
        let mut parts = vec![self.one(depth)?];
        while self.take_if("and") {
            parts.push(self.one(depth)?);
        }
        Ok(one_or(parts, TargetExpression::All))
    }

    fn one(&mut self, depth: usize) -> Result<TargetExpression, String> {
        if depth >= MAX_DEPTH {
            return Err(format!(
                "expected at most {MAX_DEPTH} levels of parentheses and `not`"
            ));
        }
        if self.take_if("not") {
            return Ok(TargetExpression::Not(Box::new(self.one(depth + 1)?)));
        }
        if self.take_if("(") {
            let inner = self.any(depth + 1)?;
            if !self.take_if(")") {
                return Err("expected `)`".to_owned());
            }
            return Ok(inner);
        }
        let Some(word) = self.peek().map(ToOwned::to_owned) else {
            return Err(format!("expected a target at the end; {EXAMPLES}"));
        };
        self.next += 1;
        atom(&word)
    }
}

fn atom(word: &str) -> Result<TargetExpression, String> {
    if ["and", "or", ")"].contains(&word) {
        return Err(format!("expected a target, got `{word}`; {EXAMPLES}"));
    }
    let Some((kind, value)) = word.split_once(':') else {
        if word.contains('*') {
            return Err(format!(
                "`{word}` is not a connection's name; write `name:{word}` for a pattern of names"
            ));
        }
        return Ok(TargetExpression::Name(word.to_owned()));
    };
    if value.is_empty() {
        return Err(format!("expected a value after `{kind}:`"));
    }
    match kind {
        "tag" => Ok(TargetExpression::Tag(value.to_owned())),
        "name" => Ok(TargetExpression::NamePattern(value.to_owned())),
        "platform" => Ok(TargetExpression::Platform(value.to_owned())),
        _ => Err(format!(
            "unknown selector `{kind}:`; known: `tag:`, `name:` and `platform:`"
        )),
    }
}

fn one_or(
    mut parts: Vec<TargetExpression>,
    several: impl FnOnce(Vec<TargetExpression>) -> TargetExpression,
) -> TargetExpression {
    match (parts.len(), parts.pop()) {
        (1, Some(only)) => only,
        (_, last) => {
            parts.extend(last);
            several(parts)
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use uuid::Uuid;

    use super::*;
    use crate::model::{Algorithms, SealedSecrets, now};

    fn connection(name: &str, platform: &str, tags: &[&str]) -> Connection {
        Connection {
            id: Uuid::now_v7(),
            name: name.to_owned(),
            host: "192.0.2.1".to_owned(),
            port: 22,
            username: "u".to_owned(),
            device_type: platform.to_owned(),
            timeout_seconds: 30,
            tags: tags.iter().map(|tag| (*tag).to_owned()).collect(),
            host_key: None,
            jump: Vec::new(),
            algorithms: Algorithms::Default,
            certificate: None,
            agent: false,
            max_sessions: 1,
            secrets: SealedSecrets::default(),
            answers: Vec::new(),
            owner_job_id: None,
            created_at: now(),
            updated_at: now(),
        }
    }

    fn found(expression: &str) -> Vec<String> {
        let all = [
            connection("core-1", "cisco_ios", &["core"]),
            connection("sw-1", "arista_eos", &["access"]),
            connection("sw-2", "cisco_xe", &["access", "lab"]),
            connection("and", "linux", &[]),
        ];
        let expression = TargetExpression::parse(expression).unwrap();
        let found = all.iter().filter(|each| expression.matches(each));
        found.map(|each| each.name.clone()).collect()
    }

    #[test]
    fn finds_what_it_says() {
        assert_eq!(found("core-1"), ["core-1"]);
        assert_eq!(found("tag:access"), ["sw-1", "sw-2"]);
        assert_eq!(found("tag:access and not tag:lab"), ["sw-1"]);
        assert_eq!(found("name:sw-*"), ["sw-1", "sw-2"]);
        assert_eq!(found("platform:cisco_*"), ["core-1", "sw-2"]);
        // `and` binds tighter than `or`.
        assert_eq!(
            found("tag:core or tag:access and tag:lab"),
            ["core-1", "sw-2"]
        );
        assert_eq!(found("(tag:core or tag:access) and tag:lab"), ["sw-2"]);
        assert_eq!(found("not (tag:core or tag:access)"), ["and"]);
        assert_eq!(found("name:and"), ["and"], "a name that is a word here");
        assert_eq!(found("tag:absent"), [""; 0]);
    }

    #[test]
    fn says_what_is_wrong() {
        for (text, told) in [
            ("", "expected a target"),
            ("tag:", "expected a value after `tag:`"),
            ("role:core", "unknown selector `role:`"),
            ("sw-*", "`name:sw-*`"),
            ("tag:a tag:b", "got `tag:b`"),
            ("tag:a and", "expected a target at the end"),
            ("and tag:a", "expected a target, got `and`"),
            ("(tag:a", "expected `)`"),
            ("tag:a)", "got `)`"),
            (&"(".repeat(100), "at most 32 levels"),
            (&"not ".repeat(100), "at most 32 levels"),
            (&"x".repeat(2_000), "at most 1000 bytes"),
        ] {
            let error = TargetExpression::parse(text).unwrap_err();
            assert!(error.contains(told), "{text}: {error}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_read_or_refused(text in "[a-z:*() ]{0,60}|(not |\\(|tag:a |and |or |\\) ?){0,40}") {
            let _ = TargetExpression::parse(&text);
        }
    }
}
