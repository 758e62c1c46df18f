//! Invariants that hold for any input bytes, as functions that panic on a violation.
//!
//! They have two callers: the fuzz targets in `fuzz/`, which search for inputs by coverage, and the
//! tests below, which try random inputs and the seeds of the fuzz targets.

mod device;

use std::sync::LazyLock;

use self::device::{Device, Outcome};
use crate::platform::{Pattern, Platform, Platforms};
use crate::reader::{Expect, Question, Reader, Step};
use crate::session_log::masked;
use crate::terminal::{clean, erase_length, erase_length_after_mark};

/// Checks the rendering of terminal output: the text has no control characters left, each line is
/// independent of the others, and the erasure of a pager's mark is within the input.
pub fn terminal(bytes: &[u8]) {
    let text = clean(bytes);
    let noise = |c: char| c.is_control() && c != '\n' && c != '\t';
    assert!(!text.contains(noise), "{text:?}");
    let lines: Vec<String> = bytes.split(|&byte| byte == b'\n').map(clean).collect();
    assert_eq!(text, lines.join("\n"));
    assert_eq!(clean(text.as_bytes()), text);
    assert!(erase_length(bytes) <= bytes.len());
    assert!(erase_length_after_mark(bytes) <= bytes.len());
}

/// Checks the masking of a session log: no secret remains and no other text is lost, wherever the
/// bytes are split.
pub fn mask(bytes: &[u8]) {
    let mut input = Input(bytes);
    let secrets: Vec<String> = (0..input.number(3))
        .map(|_| input.letters(4 + usize::from(input.clone().number(8))))
        .collect();
    let cuts = input.cuts();
    // A small alphabet, so that much of the text resembles a secret.
    let text: String = input.0.iter().map(|byte| letter(*byte)).collect();
    let whole = masked(&secrets, &[text.as_bytes()]);
    assert_eq!(masked(&secrets, &cut(text.as_bytes(), &cuts)), whole);
    for secret in &secrets {
        assert!(!whole.contains(secret.as_str()), "{secret} in {whole}");
    }
    if secrets.iter().all(|secret| !text.contains(secret.as_str())) {
        let known = whole.strip_suffix("***").unwrap_or(&whole);
        assert!(text.starts_with(known), "{text} became {whole}");
    }
}

/// Checks an operator's platform file: it can be parsed, or the error has a message.
pub fn platform(bytes: &[u8]) {
    if let Err(message) = Platforms::parse(&String::from_utf8_lossy(bytes)) {
        assert!(!message.is_empty());
    }
}

/// Checks the reader with a simulated device: the packet boundaries do not change the reply, and
/// the session is synchronized with the device afterwards. On arbitrary bytes, the reader does not
/// panic and does not exceed its limit.
pub fn reader(bytes: &[u8]) {
    let mut input = Input(bytes);
    let device = Device::new(&mut input);
    let (one, other) = (input.cuts(), input.cuts());
    let limit = if input.number(4) == 0 { SHORT } else { 1 << 20 };
    let names = Platform::names();
    let name = names[usize::from(input.byte()) % names.len()];
    let platform = Platform::named(name).expect("a built-in platform");
    anything(&platform, limit, &cut(input.0, &one));
    let Some(pages) = device.pages(input.0) else {
        return;
    };
    let mut outcomes =
        [&one, &other, &vec![usize::MAX]].map(|cuts| device.read(&pages, cuts, limit));
    let is_cut = |outcome: &Outcome| outcome.answers.iter().any(|answer| answer.truncated);
    let are_cut = limit == SHORT || outcomes.iter().any(is_cut);
    for outcome in &mut outcomes {
        // At the limit, the watched lines depend on when they were polled.
        if are_cut {
            outcome.watched.clear();
        }
        // The limit counts received bytes, including the rest of pager marks.
        if are_cut && pages.len() > 1 {
            outcome.answers.clear();
        }
    }
    // Output answered as a pager's mark is removed, and a command is sent again if its sentinel was
    // swallowed.
    let [first, others @ ..] = outcomes;
    for other in others {
        let as_they_are = |outcome: &Outcome| !outcome.mistaken && !outcome.swallowed;
        if as_they_are(&first) && as_they_are(&other) {
            assert_eq!(first, other);
        }
    }
}

/// Feeds arbitrary bytes to the reader.
fn anything(platform: &Platform, limit: usize, pieces: &[&[u8]]) {
    let comment = || "!acijlowxacijlowx".to_owned();
    for expect in [
        Expect::Prompt,
        Expect::PromptTwice,
        Expect::Comment(comment()),
        Expect::CommentAmong(comment()),
        Expect::FirstComment {
            comment: comment(),
            lines: 2,
        },
        Expect::ShellPrompt(comment()),
    ] {
        let questions = vec![Question {
            ask: ASKS.clone(),
            again: true,
            finished: false,
            answered: false,
        }];
        let mut reader = Reader::new(platform, limit, expect).with_questions(questions);
        reader.expect_ahead(true);
        for piece in pieces {
            reader.push(piece);
            match reader.step() {
                Step::Pager(_) => reader.pager_answered(),
                Step::Question(index) => reader.question_answered(index),
                Step::End { .. } => break,
                _ => {}
            }
            let _ = reader.new_lines(COMMAND);
        }
        // An invalid byte becomes a character of three bytes.
        assert!(reader.answer(Some(COMMAND)).output.len() <= 3 * limit + LAST_LINE);
        let _ = (reader.holds_only_echo(COMMAND), reader.take_next());
    }
}

const COMMAND: &str = "show x";
/// A limit that many outputs exceed.
const SHORT: usize = 64;
static ASKS: LazyLock<Pattern> = LazyLock::new(|| Pattern::new(r"\? ?$").expect("a pattern"));
/// Output on the prompt's own line is added to the limit.
const LAST_LINE: usize = 1 << 16;

/// The input of a case. Its first bytes are parameters; without bytes left, they are zero.
#[derive(Clone)]
struct Input<'a>(&'a [u8]);

impl Input<'_> {
    fn byte(&mut self) -> u8 {
        let Some((first, rest)) = self.0.split_first() else {
            return 0;
        };
        self.0 = rest;
        *first
    }

    fn number(&mut self, below: u8) -> u8 {
        self.byte() % below
    }

    fn letters(&mut self, length: usize) -> String {
        (0..length).map(|_| letter(self.byte())).collect()
    }

    /// Returns the lengths of pieces, to be used in a cycle.
    fn cuts(&mut self) -> Vec<usize> {
        (0..=self.number(6))
            .map(|_| 1 + usize::from(self.byte()))
            .collect()
    }
}

fn letter(byte: u8) -> char {
    char::from(b'a' + byte % 3)
}

fn cut<'b>(mut bytes: &'b [u8], lengths: &[usize]) -> Vec<&'b [u8]> {
    let mut pieces = Vec::new();
    for &length in lengths.iter().cycle() {
        if bytes.is_empty() {
            break;
        }
        let (piece, rest) = bytes.split_at(length.min(bytes.len()));
        pieces.push(piece);
        bytes = rest;
    }
    pieces
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Replays the seeds of the fuzz targets, which include all findings.
    #[test]
    fn the_seeds_hold() {
        hold("terminal", terminal);
        hold("mask", mask);
        hold("platform", platform);
        hold("reader", reader);
    }

    fn hold(target: &str, holds: fn(&[u8])) {
        let directory = concat!(env!("CARGO_MANIFEST_DIR"), "/fuzz/seeds");
        let mut count = 0;
        for seed in std::fs::read_dir(format!("{directory}/{target}")).unwrap() {
            holds(&std::fs::read(seed.unwrap().path()).unwrap());
            count += 1;
        }
        assert!(count > 0, "{target}");
    }

    #[test]
    fn the_device_plays_every_platform() {
        for name in Platform::names() {
            let platform = Platform::named(name).unwrap();
            assert!(platform.prompts.any.matches(Device::prompt_of(&platform)));
            let paged = !platform.pagers.is_empty();
            assert_eq!(paged, !Device::marks_of(&platform).is_empty(), "{name}");
        }
    }

    proptest! {
        #[test]
        fn random_bytes_hold(bytes in prop::collection::vec(any::<u8>(), 0..600)) {
            terminal(&bytes);
            mask(&bytes);
            platform(&bytes);
            reader(&bytes);
        }

        #[test]
        fn answers_hold(
            head in prop::collection::vec(any::<u8>(), 16),
            body in "[\\x00-\\x07ab#>!\\r\\x08\\-\\[é ]{0,200}",
        ) {
            reader(&[head.as_slice(), body.as_bytes()].concat());
        }
    }
}
