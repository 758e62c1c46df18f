//! Tidies pasted configuration lines where that is harmless, and rejects lines that a device reads
//! differently from a person.

use netssh_core::Platform;

use super::Result;
use crate::capabilities::limits;
use crate::capabilities::policy::{check_text, invisible, leaves};
use crate::model::{ErrorCode, JobError};

const BYTE_ORDER_MARK: char = '\u{feff}';

/// One element of a configuration: a line, or a line with the text that the device reads after it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Element {
    /// Its position among the given elements, from 1.
    pub(super) number: usize,
    pub(super) lines: Vec<String>,
}

impl Element {
    pub(super) fn text(&self) -> String {
        self.lines.join("\n")
    }

    /// Returns the first line, for messages.
    pub(super) fn title(&self) -> &str {
        self.lines.first().map_or("", String::as_str)
    }
}

/// Elements that can be sent, and the changes made to them.
#[derive(Debug)]
pub(super) struct Tidied {
    pub(super) elements: Vec<Element>,
    pub(super) changes: Changes,
}

/// Counts of changes that make no difference to a device.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Changes {
    byte_order_marks: usize,
    line_ends: usize,
    tabs: usize,
    trailing_blanks: usize,
    blank_lines: usize,
}

impl Changes {
    /// Returns the changes as a message; `None` if there are none.
    pub(super) fn describe(&self) -> Option<String> {
        let counts = [
            (self.byte_order_marks, "byte order marks removed"),
            (self.line_ends, "carriage returns removed"),
            (self.tabs, "tabs replaced by spaces"),
            (self.trailing_blanks, "lines with trailing blanks trimmed"),
            (self.blank_lines, "blank lines removed"),
        ];
        let some = counts.iter().filter(|(count, _)| *count > 0);
        let some: Vec<String> = some
            .map(|(count, what)| format!("{count} {what}"))
            .collect();
        (!some.is_empty()).then(|| format!("normalised the configuration: {}", some.join(", ")))
    }
}

/// Tidies the elements of a configuration and checks that each can be sent.
///
/// # Errors
/// Code `invalid`, with the position, for control characters, invisible characters and lines that
/// are too long; also if every line is blank.
pub(super) fn tidy(given: &[String]) -> Result<Tidied> {
    let mut changes = Changes::default();
    let mut elements = Vec::with_capacity(given.len());
    for (number, text) in (1..).zip(given) {
        let text = match text.strip_prefix(BYTE_ORDER_MARK) {
            Some(rest) => {
                changes.byte_order_marks += 1;
                rest
            }
            None => text,
        };
        let mut lines: Vec<String> = text
            .split('\n')
            .map(|line| tidy_line(line, &mut changes))
            .collect();
        let blank = |line: &String| line.is_empty();
        let before = lines.iter().take_while(|line| blank(line)).count();
        lines.drain(..before);
        let after = lines.iter().rev().take_while(|line| blank(line)).count();
        lines.truncate(lines.len() - after);
        // The line break after the last line does not begin a blank line.
        let ends = usize::from(!lines.is_empty() && text.ends_with('\n'));
        changes.blank_lines += before + after - ends;
        if lines.is_empty() {
            continue;
        }
        for (within, line) in (1..).zip(&lines) {
            let place = match lines.len() {
                1 => format!("line {number}"),
                _ => format!("line {number}, line {within} of its text"),
            };
            check_characters(&place, line)?;
        }
        elements.push(Element { number, lines });
    }
    if elements.is_empty() && !given.is_empty() {
        return Err(JobError::new(
            ErrorCode::INVALID,
            "invalid configuration: expected at least one line, got only blank ones",
        ));
    }
    Ok(Tidied { elements, changes })
}

fn tidy_line(line: &str, changes: &mut Changes) -> String {
    let without_ends = line.trim_end_matches('\r');
    changes.line_ends += line.len() - without_ends.len();
    let trimmed = without_ends.trim_end_matches([' ', '\t']);
    changes.trailing_blanks += usize::from(trimmed.len() < without_ends.len());
    changes.tabs += trimmed.matches('\t').count();
    trimmed.replace('\t', " ")
}

fn check_characters(place: &str, line: &str) -> Result<()> {
    if let Some((position, c)) = invisible(line) {
        return Err(JobError::new(
            ErrorCode::INVALID,
            format!(
                "{place}, position {position}: invisible character U+{:04X} is not allowed",
                c as u32
            ),
        ));
    }
    let control = line.chars().position(char::is_control);
    if let Some((position, c)) = control.zip(line.chars().find(|c| c.is_control())) {
        return Err(JobError::new(
            ErrorCode::INVALID,
            format!(
                "{place}, position {}: control character U+{:04X} is not allowed",
                position + 1,
                c as u32
            ),
        ));
    }
    check_text(place, line)
}

/// Rejects a line before the last one that leaves configuration mode: the device would run the
/// lines after it as ordinary commands.
///
/// # Errors
/// Code `invalid`, with the line.
pub(super) fn check_order(elements: &[Element], platform: &Platform) -> Result<()> {
    let all: Vec<(usize, &String)> = elements
        .iter()
        .flat_map(|element| element.lines.iter().map(|line| (element.number, line)))
        .collect();
    let Some((_, before_last)) = all.split_last() else {
        return Ok(());
    };
    let leaving = before_last.iter().find(|(_, line)| leaves(line, platform));
    match leaving {
        None => Ok(()),
        Some((number, line)) => Err(JobError::new(
            ErrorCode::INVALID,
            format!(
                "line {number}, `{}`, leaves configuration mode, which only the last line may do",
                line.trim()
            ),
        )),
    }
}

/// Splits a whole configuration into elements: lines, and lines with the text that belongs to them
/// (a banner up to its delimiter, a certificate, a macro, a quoted value).
///
/// # Errors
/// Code `invalid` if such a text does not end.
pub fn split_config(platform: &str, text: &str) -> Result<Vec<String>> {
    // Resolves an alias to the platform's own name.
    let known = Platform::named(platform);
    let platform = known.as_ref().map_or(platform, |known| known.name.as_str());
    // Junos prints its configuration as blocks, which it loads as one text.
    let is_nested = |line: &str| visible(line).ends_with('{');
    if platform == "juniper_junos" && text.split('\n').any(is_nested) {
        return Ok(vec![format!("load merge terminal\n{text}")]);
    }
    if text.len() > limits::DIFF_BYTES {
        return Err(JobError::new(
            ErrorCode::LIMIT,
            format!(
                "split_config: expected a text of at most {} bytes, got {}",
                limits::DIFF_BYTES,
                text.len()
            ),
        ));
    }
    let mut lines = (1..).zip(text.split('\n'));
    let mut elements = Vec::new();
    while let Some((number, line)) = lines.next() {
        let Some(end) = End::of(platform, visible(line)) else {
            elements.push(line.to_owned());
            continue;
        };
        let mut element = line.to_owned();
        let mut quotes = Quotes::default();
        quotes.read(line);
        let mut ended = false;
        for (_, more) in lines.by_ref() {
            if matches!(end, End::Continued) {
                // The next line continues this one.
                let joined = element.trim_end_matches('\r').trim_end_matches('\\').len();
                element.truncate(joined);
                element.push_str(more.trim_start());
                ended = !visible(more).ends_with('\\');
            } else {
                element.push('\n');
                element.push_str(more);
                quotes.read("\n");
                quotes.read(more);
                ended = end.is_in(visible(more), &quotes);
            }
            if ended {
                break;
            }
        }
        if !ended {
            return Err(JobError::new(
                ErrorCode::INVALID,
                format!(
                    "line {number}, `{}`: unterminated text: expected {}",
                    visible(line).trim(),
                    end.describe()
                ),
            ));
        }
        elements.push(element);
    }
    Ok(elements)
}

/// Rejects a text that does not end with its element: the device would run the lines behind its
/// end as commands, or take the next element for text.
///
/// # Errors
/// Code `invalid`, with the line.
pub(super) fn check_texts(elements: &[Element], platform: &Platform) -> Result<()> {
    elements
        .iter()
        .try_for_each(|element| check_text_end(element, &platform.name))
}

fn check_text_end(element: &Element, platform: &str) -> Result<()> {
    let (first, rest) = match element.lines.split_first() {
        Some((first, rest)) => (visible(first), rest),
        None => return Ok(()),
    };
    let Some(end) = End::of(platform, first) else {
        return Ok(());
    };
    let invalid = |message: String| {
        let number = element.number;
        Err(JobError::new(
            ErrorCode::INVALID,
            format!("line {number}, `{}`: {message}", first.trim()),
        ))
    };
    let mut quotes = Quotes::default();
    quotes.read(first);
    let mut ended = None;
    for (place, line) in (2..).zip(rest) {
        if ended.is_some() {
            break;
        }
        quotes.read("\n");
        quotes.read(line);
        let is_end = match &end {
            End::Continued => !visible(line).ends_with('\\'),
            // Typed as two characters, `^C` is read as the delimiter `^`.
            End::Delimiter(delimiter) if delimiter == "^C" => line.contains('^'),
            _ => end.is_in(visible(line), &quotes),
        };
        ended = is_end.then_some(place);
        let of_digits = |c: char| c.is_ascii_hexdigit() || c.is_whitespace();
        if !is_end && is_certificate(first) && !line.chars().all(of_digits) {
            return invalid(format!(
                "line {place} of the certificate: expected hexadecimal digits or `quit`"
            ));
        }
    }
    match ended {
        Some(last) if last == element.lines.len() => Ok(()),
        Some(last) => invalid(format!(
            "the text ends in line {last} of {}; pass the lines after it as separate elements",
            element.lines.len()
        )),
        None => invalid(format!(
            "unterminated text: expected {} in the same element",
            end.describe()
        )),
    }
}

/// Returns the lines of an element that a device may run as commands, because it is unclear whether the
/// first line begins a text, or where that text ends.
pub(super) fn uncertain_lines<'e>(element: &'e Element, platform: &Platform) -> &'e [String] {
    let Some((first, rest)) = element.lines.split_first() else {
        return &[];
    };
    let mode = platform.configuration.as_ref();
    let mut blocks = mode.iter().flat_map(|mode| &mode.blocks);
    // The session ends this text by sending keys, so no line contains the end.
    let ends_by_keys = blocks.any(|block| !block.end.is_empty() && block.start.matches(first));
    match ends_by_keys || End::of(&platform.name, visible(first)).is_some() {
        true => &[],
        false => rest,
    }
}

fn is_certificate(first: &str) -> bool {
    let (word, _) = split_word(first);
    word.eq_ignore_ascii_case("certificate")
}

/// Returns a line without its line ending and without a byte order mark.
fn visible(line: &str) -> &str {
    line.trim_start_matches(BYTE_ORDER_MARK)
        .trim_end_matches(['\r', ' ', '\t'])
}

/// The end of a text that spans lines.
#[derive(Debug, PartialEq, Eq)]
enum End {
    /// A line that contains this delimiter.
    Delimiter(String),
    /// A line that is this word.
    Line(&'static str),
    /// The quotation mark that closes the open one.
    Quote,
    /// The first line without a continuation mark.
    Continued,
}

/// Platforms that accept quoted values over several lines.
const QUOTING: &[&str] = &[
    "fortinet",
    "juniper_junos",
    "nokia_sros",
    "paloalto_panos",
    "ubiquiti_edgerouter",
    "vyos",
];

impl End {
    /// Returns the end of the text that a line begins; `None` if the line begins none.
    fn of(platform: &str, line: &str) -> Option<Self> {
        if platform == "mikrotik_routeros" {
            return line.ends_with('\\').then_some(Self::Continued);
        }
        if QUOTING.contains(&platform) {
            return has_open_quote(line).then_some(Self::Quote);
        }
        let line = line.trim_start();
        let (first, rest) = split_word(line);
        let first = first.to_lowercase();
        let is_short_for =
            |whole: &str, least: usize| first.len() >= least && whole.starts_with(first.as_str());
        if is_short_for("banner", 3) {
            return Self::of_banner(platform, rest);
        }
        match first.as_str() {
            "header" => Self::of_header(rest),
            "certificate" => {
                let number = rest.split_whitespace().last()?;
                let is_number = number.chars().all(|c| c.is_ascii_hexdigit());
                is_number.then_some(Self::Line("quit"))
            }
            "macro" => rest
                .to_lowercase()
                .starts_with("name ")
                .then_some(Self::Line("@")),
            _ => None,
        }
    }

    /// Handles `banner motd ^C…`, and `banner motd` without a text, which ends with `EOF`.
    fn of_banner(platform: &str, rest: &str) -> Option<Self> {
        let (_, text) = split_word(rest);
        match platform {
            // Their banners have one line each.
            "cisco_asa" | "frr" => None,
            "arista_eos" => (!rest.is_empty() && text.is_empty()).then_some(Self::Line("EOF")),
            _ => Self::delimited(text),
        }
    }

    /// Handles `header motd %…` and `header login information "…`.
    fn of_header(rest: &str) -> Option<Self> {
        let (_, text) = split_word(rest);
        let (word, after) = split_word(text);
        let text = if word.eq_ignore_ascii_case("information") {
            after
        } else {
            text
        };
        // A header without a delimiter is one line.
        let delimits = text.starts_with(|c: char| c.is_ascii_punctuation());
        delimits.then(|| Self::delimited(text)).flatten()
    }

    /// Takes the first character as the delimiter, or a caret and a `C`, the printed form of
    /// Ctrl-C.
    fn delimited(text: &str) -> Option<Self> {
        let length = if text.starts_with("^C") {
            2
        } else {
            text.chars().next()?.len_utf8()
        };
        let (delimiter, rest) = text.split_at(length);
        let end = Self::Delimiter(delimiter.to_owned());
        (!rest.contains(delimiter)).then_some(end)
    }

    fn is_in(&self, line: &str, quotes: &Quotes) -> bool {
        match self {
            Self::Delimiter(delimiter) => line.contains(delimiter),
            Self::Line(word) => line.trim() == *word,
            Self::Quote => !quotes.is_open(),
            Self::Continued => true,
        }
    }

    fn describe(&self) -> String {
        match self {
            Self::Delimiter(delimiter) => format!("`{delimiter}`"),
            Self::Line(word) => format!("a line `{word}`"),
            Self::Quote => "a closing quotation mark".to_owned(),
            Self::Continued => "another line".to_owned(),
        }
    }
}

fn split_word(text: &str) -> (&str, &str) {
    let text = text.trim_start();
    match text.split_once(char::is_whitespace) {
        Some((word, rest)) => (word, rest.trim_start()),
        None => (text, ""),
    }
}

/// Returns whether a quotation mark is not closed. Comments do not count.
fn has_open_quote(line: &str) -> bool {
    let mut quotes = Quotes::default();
    quotes.read(line);
    !line.trim_start().starts_with('#') && quotes.is_open()
}

/// The state of a text's quotation marks, read piece by piece.
#[derive(Default)]
struct Quotes {
    open: bool,
    escaped: bool,
}

impl Quotes {
    fn read(&mut self, text: &str) {
        for c in text.chars() {
            match c {
                _ if self.escaped => self.escaped = false,
                '\\' => self.escaped = true,
                '"' => self.open = !self.open,
                _ => {}
            }
        }
    }

    const fn is_open(&self) -> bool {
        self.open
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(texts: &[&str]) -> Vec<String> {
        texts.iter().map(|text| (*text).to_owned()).collect()
    }

    #[test]
    fn pasted_lines_are_normalised_and_counted() {
        let given = texts(&[
            "\u{feff}hostname r1\r",
            "interface Gi0/1\r\n",
            "\tip address 192.0.2.1\t255.255.255.0  ",
            "",
            "  \t",
            "banner motd ^\r\nHello\r\n\r\nthere\r\n^\r\n",
        ]);
        let tidied = tidy(&given).unwrap();
        let elements: Vec<_> = tidied.elements.iter().map(Element::text).collect();
        assert_eq!(
            elements,
            [
                "hostname r1",
                "interface Gi0/1",
                " ip address 192.0.2.1 255.255.255.0",
                "banner motd ^\nHello\n\nthere\n^",
            ]
        );
        let numbers: Vec<_> = tidied
            .elements
            .iter()
            .map(|element| element.number)
            .collect();
        assert_eq!(numbers, [1, 2, 3, 6]);
        assert_eq!(
            tidied.changes,
            Changes {
                byte_order_marks: 1,
                line_ends: 7,
                tabs: 2,
                trailing_blanks: 2,
                blank_lines: 2,
            }
        );
        let message = tidied.changes.describe().unwrap();
        assert!(message.contains("7 carriage returns"), "{message}");
        assert_eq!(
            tidy(&texts(&["hostname r1"])).unwrap().changes.describe(),
            None
        );
    }

    #[test]
    fn invisible_and_control_characters_are_rejected_with_their_position() {
        for (line, place, code) in [
            ("host\u{200b}name x", "line 2, position 5", "U+200B"),
            ("\u{202e}x", "line 2, position 1", "U+202E"),
            ("hostname\u{a0}x", "line 2, position 9", "U+00A0"),
            ("hostname x\u{1a}", "line 2, position 11", "U+001A"),
            ("hostname \u{3}", "line 2, position 10", "U+0003"),
            ("hostname\rreload", "line 2, position 9", "U+000D"),
            (
                "banner motd ^\nx\u{feff}\n^",
                "line 2, line 2 of its text, position 2",
                "U+FEFF",
            ),
        ] {
            let error = tidy(&texts(&["interface x", line])).unwrap_err();
            assert_eq!(error.code.0, "invalid", "{line:?}");
            assert!(error.message.contains(place), "{line:?}: {error}");
            assert!(error.message.contains(code), "{line:?}: {error}");
        }
        assert!(tidy(&texts(&["", "\r\n"])).is_err());
        assert!(tidy(&[]).unwrap().elements.is_empty());
    }

    #[test]
    fn only_the_last_line_may_leave_configuration_mode() {
        let check = |lines: &[&str]| {
            let tidied = tidy(&texts(lines)).unwrap();
            check_order(&tidied.elements, &Platform::named("cisco_ios").unwrap())
        };
        assert!(check(&["hostname x", "end"]).is_ok());
        assert!(check(&["interface x", "exit", "end"]).is_ok());
        let error = check(&["end", "delete /force flash:ios.bin"]).unwrap_err();
        assert!(error.message.contains("line 1, `end`"), "{error}");
        assert!(check(&["hostname x\nend\nreload"]).is_err());
    }

    #[test]
    fn a_whole_configuration_is_split_into_lines_and_texts() {
        for (platform, text, elements) in [
            (
                "cisco_ios",
                "hostname r1\nbanner motd ^C\nHello\n do not enter\n^C\ninterface x\n",
                vec![
                    "hostname r1",
                    "banner motd ^C\nHello\n do not enter\n^C",
                    "interface x",
                    "",
                ],
            ),
            (
                "cisco_ios",
                "banner login #one line#\nhostname r1",
                vec!["banner login #one line#", "hostname r1"],
            ),
            (
                "cisco_xe",
                "banner exec @first\nlast@\nend",
                vec!["banner exec @first\nlast@", "end"],
            ),
            (
                "cisco_xe",
                "crypto pki certificate chain x\n certificate ca 01\n  30820122\n  A003\n  \tquit\nend",
                vec![
                    "crypto pki certificate chain x",
                    " certificate ca 01\n  30820122\n  A003\n  \tquit",
                    "end",
                ],
            ),
            (
                "cisco_ios",
                "macro name m\nshutdown\n@\nhostname x",
                vec!["macro name m\nshutdown\n@", "hostname x"],
            ),
            (
                "arista_eos",
                "banner motd\r\nHello\r\nEOF\r\nhostname x",
                vec!["banner motd\r\nHello\r\nEOF\r", "hostname x"],
            ),
            (
                "cisco_asa",
                "banner motd Hello\nbanner motd there",
                vec!["banner motd Hello", "banner motd there"],
            ),
            (
                "huawei_vrp",
                "header login information \"Hello\nthere\"\nsysname x",
                vec!["header login information \"Hello\nthere\"", "sysname x"],
            ),
            (
                "fortinet",
                "config x\nset buffer \"<html>\n\\\"x\\\"\n</html>\"\nend",
                vec![
                    "config x",
                    "set buffer \"<html>\n\\\"x\\\"\n</html>\"",
                    "end",
                ],
            ),
            (
                "mikrotik_routeros",
                "/ip address\nadd address=192.0.2.1/24 \\\n    interface=ether1\n",
                vec![
                    "/ip address",
                    "add address=192.0.2.1/24 interface=ether1",
                    "",
                ],
            ),
            (
                "juniper_junos",
                "system {\n    host-name x;\n}\n",
                vec!["load merge terminal\nsystem {\n    host-name x;\n}\n"],
            ),
            (
                "juniper_junos",
                "set system host-name x\nset y",
                vec!["set system host-name x", "set y"],
            ),
        ] {
            let split = split_config(platform, text).unwrap();
            assert_eq!(split, elements, "{platform}: {text}");
        }
        for (platform, text) in [
            ("cisco_ios", "banner motd ^C\nHello\nhostname r1"),
            ("arista_eos", "banner motd\nHello"),
            ("cisco_xe", "certificate ca 01\n 3082"),
            ("fortinet", "set comment \"open"),
        ] {
            let error = split_config(platform, text).unwrap_err();
            assert!(error.message.contains("unterminated text"), "{error}");
        }
    }
}
