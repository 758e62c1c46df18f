//! Checks texts that are typed at a device, and matches them with patterns.
//!
//! A pattern is matched with the characters and with the bytes sent: in some encodings the second
//! byte of a character is `|` or `\`.

use netssh_core::Platform;

use crate::capabilities::{Result, limits};
use crate::model::{ErrorCode, JobError, matches_pattern};

/// Characters that on some platform chain commands, redirect output or substitute another command's
/// output. A pattern covers them only if it spells them out or is `*`.
pub(super) const CHAINING: [char; 15] = [
    ';', '|', '&', '<', '>', '`', '$', '(', ')', '[', ']', '{', '}', '\\', '!',
];

/// Returns whether a pattern covers the whole command, in the bytes that the platform is sent.
pub(super) fn allows(pattern: &str, command: &str, platform: Option<&Platform>) -> bool {
    if pattern == "*" {
        return true;
    }
    // The command may not contain a chaining character more often than the pattern does, so that `*`
    // covers none.
    let (typed, spelled) = (sent(command, platform), sent(pattern, platform));
    let count = |bytes: &[u8], c: char| bytes.iter().filter(|byte| **byte == c as u8).count();
    let smuggled = CHAINING
        .iter()
        .any(|c| count(&typed, *c) > count(&spelled, *c));
    if smuggled {
        return false;
    }
    matches_pattern(pattern.trim(), &in_one_spacing(command))
}

/// Returns the bytes that the device receives for a text. The session rejects texts that the
/// encoding cannot express.
fn sent(text: &str, platform: Option<&Platform>) -> Vec<u8> {
    let encoding = platform.and_then(|platform| platform.terminal.encoding);
    let encoded = encoding.and_then(|encoding| encoding.encode(text));
    encoded.unwrap_or_else(|| text.as_bytes().to_vec())
}

/// Returns a text as a device with a single-byte encoding reads it.
pub(super) fn by_bytes(text: &str, platform: &Platform) -> String {
    if platform.terminal.encoding.is_none() {
        return text.to_owned();
    }
    let bytes = sent(text, Some(platform));
    bytes.into_iter().map(char::from).collect()
}

/// Returns a text as read by a device that drops the eighth bit of each byte; `None` if the platform
/// does not, or if the text is the same.
///
/// # Errors
/// Code `invalid` for a character that becomes a control character: `č` ends a line.
pub(super) fn in_seven_bits(what: &str, text: &str, platform: &Platform) -> Result<Option<String>> {
    if !platform.terminal.seven_bits || text.is_ascii() {
        return Ok(None);
    }
    let read = |bytes: Vec<u8>| -> String {
        let bytes = bytes.into_iter().map(|byte| char::from(byte & 0x7f));
        bytes.collect()
    };
    let becomes_control = |c: &char| {
        let own = read(sent(c.encode_utf8(&mut [0; 4]), Some(platform)));
        !c.is_control() && own.contains(char::is_control)
    };
    match text.chars().find(becomes_control) {
        None => Ok(Some(read(sent(text, Some(platform))))),
        Some(c) => Err(JobError::new(
            ErrorCode::INVALID,
            format!(
                "{what} contains `{c}`, which {} may read as a control character, because it may drop \
                 the eighth bit of each byte",
                platform.name
            ),
        )),
    }
}

/// Returns the first chaining character that only the encoded bytes contain.
pub(super) fn hidden_chaining(text: &str, platform: &Platform) -> Option<char> {
    let typed = by_bytes(text, platform);
    CHAINING
        .into_iter()
        .find(|c| typed.contains(*c) && !text.contains(*c))
}

pub(super) fn in_one_spacing(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// Returns whether a denied pattern matches a command, ignoring case and expanding abbreviated
/// words.
pub(super) fn denies(pattern: &str, command: &str) -> bool {
    let pattern = in_one_spacing(&pattern.to_lowercase());
    let command = in_one_spacing(&command.to_lowercase());
    if command.is_empty() {
        return false;
    }
    let command = command.strip_prefix('/').unwrap_or(&command);
    let pattern = pattern.strip_prefix('/').unwrap_or(&pattern);
    if matches_pattern(pattern, command) {
        return true;
    }
    let pattern: Vec<&str> = pattern.split(' ').collect();
    let command: Vec<&str> = command.split(' ').collect();
    abbreviates(&pattern, &command)
}

/// Devices refuse shorter words as ambiguous.
const ABBREVIATION: usize = 2;

fn abbreviates(pattern: &[&str], command: &[&str]) -> bool {
    match (pattern, command) {
        ([], rest) => rest.is_empty(),
        // `*` as a word matches any number of words.
        (["*"], _) => true,
        (["*", rest @ ..], command) => {
            (0..=command.len()).any(|skipped| abbreviates(rest, &command[skipped..]))
        }
        (_, []) => false,
        ([last], [word, more @ ..]) if last.ends_with('*') => {
            let whole = std::iter::once(*word).chain(more.iter().copied());
            let whole = whole.collect::<Vec<_>>().join(" ");
            matches_pattern(last, &whole) || abbreviates_word(word, last)
        }
        ([first, rest @ ..], [word, more @ ..]) => {
            (matches_pattern(first, word) || abbreviates_word(word, first))
                && abbreviates(rest, more)
        }
    }
}

/// Returns whether a word abbreviates the literal part of a pattern's word.
fn abbreviates_word(word: &str, pattern: &str) -> bool {
    let literal = pattern.split('*').next().unwrap_or_default();
    word.len() >= ABBREVIATION && literal.starts_with(word)
}

/// Rejects invisible characters: blanks other than the space, zero-width characters, and characters
/// that change the direction of the text. `what` is the noun of the message.
///
/// # Errors
/// Code `invalid`, with the character and its position.
pub(in crate::capabilities) fn check_visible(what: &str, text: &str) -> Result<()> {
    match invisible(text) {
        Some((position, c)) => Err(JobError::new(
            ErrorCode::INVALID,
            format!(
                "{what} contains the invisible character U+{:04X} at position {position}",
                c as u32
            ),
        )),
        None => Ok(()),
    }
}

/// Returns the first invisible character and its position, counted from 1.
pub(in crate::capabilities) fn invisible(text: &str) -> Option<(usize, char)> {
    let hidden = |c: char| {
        let formats = matches!(c, '\u{ad}' | '\u{34f}' | '\u{61c}' | '\u{115f}' | '\u{1160}'
            | '\u{17b4}' | '\u{17b5}' | '\u{180b}'..='\u{180f}' | '\u{200b}'..='\u{200f}'
            | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{2800}' | '\u{3164}'
            | '\u{fe00}'..='\u{fe0f}' | '\u{feff}' | '\u{ffa0}' | '\u{fff9}'..='\u{fffb}'
            | '\u{e0000}'..='\u{e0fff}');
        formats || (c.is_whitespace() && c != ' ')
    };
    let found = text.chars().enumerate().find(|(_, c)| hidden(*c));
    found.map(|(index, c)| (index + 1, c))
}

/// Rejects texts that are not a single line of limited length without control characters. `what` is
/// the noun of the message: `a command`.
///
/// # Errors
/// Code `invalid`, with the reason.
pub(in crate::capabilities) fn check_line(what: &str, text: &str) -> Result<()> {
    let wrong = if text.trim().is_empty() {
        Some("is empty".to_owned())
    } else {
        wrong_in_text(text)
    };
    match wrong {
        Some(wrong) => Err(JobError::new(ErrorCode::INVALID, format!("{what} {wrong}"))),
        None => Ok(()),
    }
}

/// Checks a text like [`check_line`], but allows an empty one.
///
/// # Errors
/// Like [`check_line`].
pub(in crate::capabilities) fn check_text(what: &str, text: &str) -> Result<()> {
    match wrong_in_text(text) {
        Some(wrong) => Err(JobError::new(ErrorCode::INVALID, format!("{what} {wrong}"))),
        None => Ok(()),
    }
}

fn wrong_in_text(text: &str) -> Option<String> {
    if text.len() > limits::COMMAND_BYTES {
        return Some(format!(
            "is too long: at most {} bytes are allowed",
            limits::COMMAND_BYTES
        ));
    }
    text.chars().find(|c| c.is_control()).map(|c| {
        format!(
            "contains the control character U+{:04X}; expected one line",
            c as u32
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_cannot_carry_a_second_one() {
        assert!(allows("show *", "show   version", None));
        for disguise in [
            "show version; reload",
            "show run | redirect flash:x",
            "show version && reboot",
            "show $(reboot)",
            "show `reboot`",
            "show run > flash:x",
            "show [/system reboot]",
            "show {reload}",
            "show !reload",
            "show version \\",
        ] {
            assert!(!allows("show *", disguise, None), "{disguise}");
        }
        assert!(allows("show * | include *", "show run | include bgp", None));
        assert!(!allows(
            "show * | include *",
            "show version | redirect tftp://x | include a",
            None
        ));
        assert!(allows("*", "a; b", None));
    }

    #[test]
    fn denied_patterns_match_abbreviations_in_any_case() {
        for (pattern, command) in [
            ("reload*", "reload"),
            ("reload*", "RELOAD in 5"),
            ("reload*", "rel in 5"),
            ("reload *", "rel in 5"),
            ("write erase", "wr er"),
            ("write erase", "Write   Erase"),
            ("delete*", "del /force flash:ios.bin"),
            ("request system *", "req sys reboot"),
            ("/system reboot", "/system reboot"),
            ("system reboot", "/sys reb"),
            ("* bgp *", "clear ip bgp 10.0.0.1"),
            ("clear * bgp *", "cle ip bgp all"),
        ] {
            assert!(denies(pattern, command), "{pattern} / {command}");
        }
        for (pattern, command) in [
            ("reload*", "show reload"),
            ("write erase", "write memory"),
            ("write erase", "write"),
            ("delete*", "description x"),
            ("format*", "show format"),
            ("reload*", ""),
        ] {
            assert!(!denies(pattern, command), "{pattern} / {command}");
        }
    }

    #[test]
    fn invisible_characters_are_rejected() {
        for (bad, position) in [
            ("show\u{a0}version", 5),
            ("show version\u{2028}reload", 13),
            ("show ver\u{200b}sion", 9),
            ("show \u{202e}daoler", 6),
            ("show\u{3000}run", 5),
            ("show\u{3164}run", 5),
            ("\u{feff}show run", 1),
        ] {
            let error = check_visible("a command", bad).unwrap_err();
            assert_eq!(error.code.0, "invalid", "{bad:?}");
            let at = format!("at position {position}");
            assert!(error.message.contains(&at), "{bad:?}: {error}");
        }
        let zurich = "show interface Gi0/1 description Zürich 中文";
        assert!(check_visible("a command", zurich).is_ok());
    }

    #[test]
    fn a_command_with_several_lines_is_rejected() {
        for bad in [
            "",
            "  ",
            "show version\nreload",
            "show\r",
            "show \u{3}",
            "show\u{0}",
        ] {
            assert!(check_line("a command", bad).is_err(), "{bad:?}");
        }
        assert!(check_text("an answer", "").is_ok());
    }

    #[test]
    fn patterns_are_matched_with_the_encoded_bytes() {
        let platform = |label: &str| {
            let text = format!(
                "name = \"own\"\nextends = \"cisco_ios\"\n[terminal]\nencoding = \"{label}\"\n"
            );
            netssh_core::Platforms::parse(&text).unwrap()
        };
        // The second byte is `|`, `\`, `` ` `` or `[`.
        for (label, character) in [
            ("gbk", "鼃"),
            ("big5", "功"),
            ("shift_jis", "ソ"),
            ("shift_jis", "ポ"),
            ("shift_jis", "ー"),
        ] {
            let platform = platform(label);
            let platform = Some(&platform);
            let command = format!("show {character}");
            let bytes = sent(&command, platform);
            let chained = CHAINING.iter().any(|c| bytes.contains(&(*c as u8)));
            assert!(chained, "{label} {character}: {bytes:02x?}");
            assert!(!allows("show *", &command, platform), "{label} {character}");
            assert!(allows("show *", &command, None), "{label} {character}");
            assert!(allows(&command, &command, platform), "{label} {character}");
            assert!(allows("*", &command, platform), "{label} {character}");
        }
        let plain = platform("gbk");
        assert!(allows("show *", "show 接口", Some(&plain)));
    }
}
