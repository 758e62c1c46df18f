//! Translates Python's regular expressions to the syntax of `fancy-regex`.
//!
//! Templates are written for Python. Both syntaxes share most rules; this module rewrites the rest:
//! character classes, literal braces and escapes. A pattern without look-around, back-references
//! and atomic groups runs in linear time.

use std::collections::HashSet;
use std::iter::Peekable;
use std::str::Chars;

use fancy_regex::{Captures, Regex, RegexBuilder};

/// Maximum number of backtracking steps per match. The patterns of real templates need some
/// hundreds.
const MAX_BACKTRACKS: usize = 250_000;
/// Maximum size of a compiled pattern, in bytes.
const MAX_COMPILED_BYTES: usize = 4 << 20;

/// A pattern that is matched at the beginning of a line, like Python's `re.match`.
pub(super) struct Pattern {
    regex: Regex,
    /// The names and numbers of named groups, in order.
    names: Vec<(String, usize)>,
}

/// A match exceeded [`MAX_BACKTRACKS`].
pub(super) struct Backtracked;

impl Pattern {
    /// Compiles a Python pattern.
    ///
    /// # Errors
    /// The reason why the pattern is invalid in Python, or that it is too large.
    pub(super) fn new(python: &str) -> Result<Self, String> {
        let translated = format!("^(?:{})", translate(python)?);
        let regex = RegexBuilder::new(&translated)
            .backtrack_limit(MAX_BACKTRACKS)
            .delegate_size_limit(MAX_COMPILED_BYTES)
            .max_prog_size(MAX_COMPILED_BYTES)
            .build()
            .map_err(|error| error.to_string())?;
        let names = regex.capture_names().enumerate();
        let names = names
            .filter_map(|(number, name)| Some((name?.to_owned(), number)))
            .collect();
        Ok(Self { regex, names })
    }

    pub(super) fn matches<'t>(
        &self,
        line: &'t str,
    ) -> Result<Option<Captures<'t, str>>, Backtracked> {
        self.regex.captures(line).map_err(|_| Backtracked)
    }

    pub(super) fn names(&self) -> &[(String, usize)] {
        &self.names
    }

    /// Returns the number of groups, without the whole match.
    pub(super) fn groups(&self) -> usize {
        self.regex.captures_len() - 1
    }
}

/// Translates a Python pattern for `fancy-regex`.
fn translate(python: &str) -> Result<String, String> {
    let mut rust = String::with_capacity(python.len() + 16);
    let mut rest = python.chars().peekable();
    let mut names = HashSet::new();
    // The start of each open look-around group; `None` for other groups.
    let mut open: Vec<Option<usize>> = Vec::new();
    while let Some(next) = rest.next() {
        match next {
            '\\' => escape(&mut rest, &mut rust)?,
            '[' => class(&mut rest, &mut rust)?,
            '{' => braces(&mut rest, &mut rust),
            '}' => rust.push_str("\\}"),
            '(' if comment(&rest) => skip_comment(&mut rest)?,
            '(' => {
                open.push(look_around(&rest).then_some(rust.len()));
                rust.push('(');
                if let Some(name) = group_name(&rest)
                    && !names.insert(name.clone())
                {
                    return Err(format!("duplicate group name `{name}`"));
                }
            }
            ')' => {
                rust.push(')');
                if let Some(Some(begin)) = open.pop() {
                    repeat_look_around(&mut rest, &mut rust, begin);
                }
            }
            other => rust.push(other),
        }
    }
    Ok(rust)
}

/// Translates an escape outside a character class.
fn escape(rest: &mut Peekable<Chars<'_>>, rust: &mut String) -> Result<(), String> {
    let next = *rest.peek().ok_or("bad escape at the end of the pattern")?;
    match next {
        // In `fancy-regex`, `\Z` would also match before a final newline.
        'Z' => rust.push_str("\\z"),
        'A' | 'b' | 'B' | 'd' | 'D' | 's' | 'S' | 'w' | 'W' => {
            rust.push('\\');
            rust.push(next);
        }
        // A group around the back-reference separates it from a following digit.
        '1'..='9' => {
            let mut number = String::new();
            while let Some(digit) = rest.next_if(char::is_ascii_digit) {
                number.push(digit);
                if number.len() == 2 {
                    break;
                }
            }
            rust.push_str("(?:\\");
            rust.push_str(&number);
            rust.push(')');
            return Ok(());
        }
        _ => {
            let character = escaped_character(rest)?;
            push_literal(character, rust);
            return Ok(());
        }
    }
    rest.next();
    Ok(())
}

/// Parses the character that an escape denotes.
fn escaped_character(rest: &mut Peekable<Chars<'_>>) -> Result<char, String> {
    let next = rest.next().ok_or("bad escape at the end of the pattern")?;
    Ok(match next {
        'a' => '\u{07}',
        'f' => '\u{0c}',
        'n' => '\n',
        'r' => '\r',
        't' => '\t',
        'v' => '\u{0b}',
        'x' => by_number(rest, 2)?,
        'u' => by_number(rest, 4)?,
        'U' => by_number(rest, 8)?,
        '0' => {
            let mut number = 0;
            for _ in 0..2 {
                let Some(digit) = rest.next_if(|next| next.is_digit(8)) else {
                    break;
                };
                number = number * 8 + digit.to_digit(8).unwrap_or_default();
            }
            char::from_u32(number).ok_or("bad escape \\0")?
        }
        letter if letter.is_ascii_alphanumeric() => return Err(format!("bad escape \\{letter}")),
        other => other,
    })
}

fn by_number(rest: &mut Peekable<Chars<'_>>, digits: usize) -> Result<char, String> {
    let mut number = 0;
    for _ in 0..digits {
        let digit = rest.next().and_then(|digit| digit.to_digit(16));
        number = number * 16 + digit.ok_or("incomplete escape")?;
    }
    char::from_u32(number).ok_or_else(|| "bad escape: not a character".to_owned())
}

fn push_literal(character: char, rust: &mut String) {
    rust.push_str(&fancy_regex::escape(character.encode_utf8(&mut [0; 4])));
}

/// Translates a quantifier or a literal brace.
fn braces(rest: &mut Peekable<Chars<'_>>, rust: &mut String) {
    let ahead: String = rest.clone().take_while(|next| *next != '}').collect();
    let closed = rest.clone().nth(ahead.chars().count()) == Some('}');
    let (least, most) = ahead.split_once(',').unwrap_or((&ahead, &ahead));
    let number = |text: &str| text.chars().all(|digit| digit.is_ascii_digit());
    if !closed || ahead.is_empty() || !number(least) || !number(most) {
        rust.push_str("\\{");
        return;
    }
    let least = if least.is_empty() { "0" } else { least };
    if ahead.contains(',') {
        rust.push_str(&format!("{{{least},{most}}}"));
    } else {
        rust.push_str(&format!("{{{least}}}"));
    }
    for _ in 0..=ahead.chars().count() {
        rest.next();
    }
}

/// A member of a character class.
enum Member {
    One(char),
    /// A class such as `\d`.
    Class(char),
}

fn class(rest: &mut Peekable<Chars<'_>>, rust: &mut String) -> Result<(), String> {
    const OPEN: &str = "unterminated character set";
    rust.push('[');
    if rest.next_if_eq(&'^').is_some() {
        rust.push('^');
    }
    let mut first = true;
    loop {
        // A bracket at the start of a class is literal.
        if rest.peek() == Some(&']') && !first {
            rest.next();
            rust.push(']');
            return Ok(());
        }
        first = false;
        let member = class_member(rest)?.ok_or(OPEN)?;
        let mut ahead = rest.clone();
        let range = ahead.next() == Some('-') && ahead.peek().is_some_and(|next| *next != ']');
        match (member, range) {
            (Member::Class(letter), _) => {
                rust.push('\\');
                rust.push(letter);
            }
            (Member::One(character), false) => push_in_class(character, rust),
            (Member::One(from), true) => {
                rest.next();
                let Some(Member::One(to)) = class_member(rest)? else {
                    return Err("bad character range".to_owned());
                };
                if to < from {
                    return Err(format!("bad character range {from}-{to}"));
                }
                push_in_class(from, rust);
                rust.push('-');
                push_in_class(to, rust);
            }
        }
    }
}

fn class_member(rest: &mut Peekable<Chars<'_>>) -> Result<Option<Member>, String> {
    if rest.next_if_eq(&'\\').is_none() {
        return Ok(rest.next().map(Member::One));
    }
    let classes = ['d', 'D', 's', 'S', 'w', 'W'];
    if let Some(letter) = rest.next_if(|next| classes.contains(next)) {
        return Ok(Some(Member::Class(letter)));
    }
    if rest.next_if_eq(&'b').is_some() {
        return Ok(Some(Member::One('\u{08}')));
    }
    escaped_character(rest).map(|character| Some(Member::One(character)))
}

/// Escapes all punctuation: `[`, `&&`, `--` and `~~` are special inside a class.
fn push_in_class(character: char, rust: &mut String) {
    if character.is_ascii_punctuation() {
        rust.push('\\');
    }
    rust.push(character);
}

/// Returns the name of the group that begins here.
fn group_name(rest: &Peekable<Chars<'_>>) -> Option<String> {
    let mut ahead = rest.clone();
    let named = ['?', 'P', '<']
        .iter()
        .all(|next| ahead.next() == Some(*next));
    named.then(|| ahead.take_while(|next| *next != '>').collect())
}

fn look_around(rest: &Peekable<Chars<'_>>) -> bool {
    let ahead: String = rest.clone().take(3).collect();
    ["?=", "?!", "?<=", "?<!"]
        .iter()
        .any(|start| ahead.starts_with(start))
}

/// Removes a quantifier after a look-around. Python allows repeating it, although it consumes
/// nothing: once is enough, and with a minimum of zero it is optional.
fn repeat_look_around(rest: &mut Peekable<Chars<'_>>, rust: &mut String, begin: usize) {
    let needed = match rest.peek() {
        Some('+') => true,
        Some('*' | '?') => false,
        Some('{') => {
            let mut ahead = rest.clone();
            ahead.next();
            let mut quantifier = String::new();
            braces(&mut ahead, &mut quantifier);
            let Some(least) = quantifier.strip_prefix('{') else {
                return;
            };
            *rest = ahead;
            let needed = !least.starts_with("0,") && least != "0}";
            return apply_quantifier(needed, rest, rust, begin);
        }
        _ => return,
    };
    rest.next();
    apply_quantifier(needed, rest, rust, begin);
}

fn apply_quantifier(needed: bool, rest: &mut Peekable<Chars<'_>>, rust: &mut String, begin: usize) {
    // A lazy or possessive quantifier.
    rest.next_if(|next| ['?', '+'].contains(next));
    if !needed {
        rust.insert_str(begin, "(?:");
        rust.push_str("|)");
    }
}

fn comment(rest: &Peekable<Chars<'_>>) -> bool {
    let mut ahead = rest.clone();
    ahead.next() == Some('?') && ahead.next() == Some('#')
}

fn skip_comment(rest: &mut Peekable<Chars<'_>>) -> Result<(), String> {
    rest.find(|next| *next == ')')
        .map(drop)
        .ok_or_else(|| "missing ), unterminated comment".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn matched(python: &str, text: &str) -> Option<String> {
        let pattern = Pattern::new(python).unwrap_or_else(|error| panic!("{python}: {error}"));
        let captures = pattern.matches(text).ok().flatten()?;
        captures.get(0).map(|all| all.as_str().to_owned())
    }

    #[test]
    fn patterns_match_like_python() {
        let cases = [
            (r"[]a]+", "]a]b", Some("]a]")),
            (r"[^]a]+", "xy]", Some("xy")),
            (r"[[\]]+", "[]]x", Some("[]]")),
            (r"[a&&b]+", "a&b", Some("a&b")),
            (r"[+--]+", "+,-.", Some("+,-")),
            (r"[\w\-.]+", "a-b.c d", Some("a-b.c")),
            (r"[a-]+", "a-b", Some("a-")),
            (r"[\d-]+", "1-2x", Some("1-2")),
            (r"a{2}", "aaa", Some("aa")),
            (r"a{,2}", "aaa", Some("aa")),
            (r"a{1,}", "aaa", Some("aaa")),
            (r"a{", "a{", Some("a{")),
            (r"a{x}", "a{x}", Some("a{x}")),
            (r"{}", "{}", Some("{}")),
            (r"\<a\>", "<a>", Some("<a>")),
            (r"\_\/\-\ \#\@", "_/- #@", Some("_/- #@")),
            (r"(a)\1", "aa", Some("aa")),
            (r"(a)(?#a remark)b", "ab", Some("ab")),
            (r"\x41\u0042\t", "AB\t", Some("AB\t")),
            (r"(?i)ab", "AB", Some("AB")),
            (r"a(?=b)", "ab", Some("a")),
            (r"(?<!x)a\Z", "a", Some("a")),
            (r"ab(?<=b)+c", "abc", Some("abc")),
            (r"ab(?=d)*c", "abc", Some("abc")),
            (r"ab(?=c){2,3}?c", "abc", Some("abc")),
            (r"ab(?=d){1}c", "abc", None),
            (r"a|b", "xb", None),
            (r"(?P<name>a)(?P=name)", "aa", Some("aa")),
        ];
        for (python, text, expected) in cases {
            assert_eq!(matched(python, text).as_deref(), expected, "{python}");
        }
    }

    #[test]
    fn patterns_invalid_in_python_are_rejected() {
        for python in [
            r"\q",
            "[a",
            "(a",
            "a)",
            r"[z-a]",
            r"\x4",
            "(?P<a>x)(?P<a>y)",
            "a\\",
        ] {
            assert!(Pattern::new(python).is_err(), "{python}");
        }
    }
}
