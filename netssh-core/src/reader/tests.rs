//! Replies do not depend on the packet boundaries.

use super::*;
use crate::platform::Pattern;
use crate::terminal::CLEANED;

const MARK: &str = "!a1b2c3";

fn ios() -> &'static Platform {
    static IOS: std::sync::LazyLock<std::sync::Arc<Platform>> =
        std::sync::LazyLock::new(|| Platform::named("cisco_ios").unwrap());
    &IOS
}

/// Feeds `bytes` in pieces until the end is found; answers pagers as a session would.
fn read<'p>(
    platform: &'p Platform,
    expect: Expect,
    pieces: &[&[u8]],
    limit: usize,
) -> (Step, Reader<'p>) {
    let mut reader = Reader::new(platform, limit, expect);
    let mut last = Step::Read;
    for piece in pieces {
        reader.push(piece);
        last = reader.step();
        match &last {
            Step::Pager(_) => reader.pager_answered(),
            Step::End { .. } => break,
            _ => {}
        }
    }
    (last, reader)
}

fn cut(bytes: &[u8], size: usize) -> Vec<&[u8]> {
    bytes.chunks(size.max(1)).collect()
}

fn end(prompt: &str) -> Step {
    Step::End {
        prompt: prompt.into(),
        exit_code: None,
    }
}

#[test]
fn a_prompt_in_the_output_is_output() {
    let stream = format!("show x\r\nr1#\r\nr1#\r\n r1# \r\nr1#{MARK}\r\nr1#");
    for size in 1..=stream.len() {
        let expect = Expect::Comment(MARK.into());
        let (step, reader) = read(ios(), expect, &cut(stream.as_bytes(), size), 1 << 20);
        assert_eq!(step, end("r1#"), "{size}");
        assert_eq!(reader.answer(Some("show x")).output, "r1#\nr1#\n r1# ");
    }
}

#[test]
fn output_without_a_newline_before_the_prompt() {
    let stream = format!("show x\r\nno newliner1#{MARK}\r\nr1#");
    let expect = Expect::Comment(MARK.into());
    let (step, reader) = read(ios(), expect, &[stream.as_bytes()], 1 << 20);
    assert_eq!(step, end("r1#"));
    assert_eq!(reader.answer(Some("show x")).output, "no newline");
}

#[test]
fn a_redrawn_echo_is_removed() {
    let stream =
        format!("show aaa\r<aaaaaaaaaaaabbb\x08\x08bbbbbbbbbbbbb\r\nout\r\nr1#{MARK}\r\nr1#");
    let expect = Expect::Comment(MARK.into());
    let (_, reader) = read(ios(), expect, &[stream.as_bytes()], 1 << 20);
    assert_eq!(
        reader
            .answer(Some("show aaaaaaaaaaaaaaabbbbbbbbbbbbbb"))
            .output,
        "out"
    );
}

#[test]
fn a_device_that_does_not_echo_loses_no_line() {
    let stream = format!("first line\r\nsecond\r\nr1#{MARK}\r\nr1#");
    let expect = Expect::Comment(MARK.into());
    let (_, reader) = read(ios(), expect, &[stream.as_bytes()], 1 << 20);
    assert_eq!(reader.answer(Some("show x")).output, "first line\nsecond");
}

#[test]
fn pager_marks_and_their_erasure_are_removed() {
    let page = "one\r\ntwo\r\n --More-- ";
    let rest = format!(
        "\x08\x08\x08\x08\x08\x08\x08\x08\x08        \x08\x08\x08\x08\x08\x08\x08\x08x\r\nr1#{MARK}\r\nr1#"
    );
    let expect = Expect::Comment(MARK.into());
    let (step, reader) = read(ios(), expect, &[page.as_bytes(), rest.as_bytes()], 1 << 20);
    assert_eq!(step, end("r1#"));
    assert_eq!(reader.answer(None).output, "one\ntwo\nx");
}

#[test]
fn the_shells_prompt_wherever_it_stands() {
    let linux = Platform::named("linux").unwrap();
    let stream = b"PS1='@@w:$?@@'\n@@w:x@@ @@w:1\nabc@@w:130@@";
    for size in 1..=stream.len() {
        let expect = Expect::ShellPrompt("w".into());
        let (step, reader) = read(&linux, expect, &cut(stream, size), 1 << 20);
        let exit_code = Some(130);
        assert_eq!(
            step,
            Step::End {
                prompt: String::new(),
                exit_code
            },
            "{size}"
        );
        let output = reader.answer(None).output;
        assert_eq!(output, "PS1='@@w:$?@@'\n@@w:x@@ @@w:1\nabc");
    }
}

fn asking(bytes: &[u8], ask: &str) -> (Step, Reader<'static>) {
    let questions = vec![Question {
        ask: Pattern::new(ask).unwrap(),
        again: false,
        finished: false,
        answered: false,
    }];
    let mut reader = Reader::new(ios(), 1 << 20, Expect::Prompt).with_questions(questions);
    reader.push(bytes);
    (reader.step(), reader)
}

#[test]
fn a_question_is_seen_after_the_echo_only() {
    let (step, _) = asking(b"enable\r\nPassword: ", "^Password: ?$");
    assert_eq!(step, Step::Question(0));
    let (step, _) = asking(b"Password:", "^Password: ?$");
    assert_eq!(step, Step::Read);
}

#[test]
fn an_answered_question_is_seen_again_only_when_it_is_asked_again() {
    let (step, mut reader) = asking(b"reload\r\nProceed? [confirm]", r"\[confirm\]");
    assert_eq!(step, Step::Question(0));
    reader.question_answered(0);
    reader.push(b"y");
    assert_eq!(reader.step(), Step::Read);
    reader.push(b"\r\nProceed? [confirm]");
    assert_eq!(reader.step(), Step::AskedAgain(0));
}

#[test]
fn what_a_device_says_to_the_comment_is_no_output() {
    let vyos =
        format!("show x\r\nout\r\n\r\nr1#{MARK}\r\n         ^\r\n% Invalid input\r\n\r\nr1#");
    for size in 1..=vyos.len() {
        let expect = Expect::Comment(MARK.into());
        let (step, reader) = read(ios(), expect, &cut(vyos.as_bytes(), size), 1 << 20);
        assert_eq!(step, end("r1#"), "{size}");
        assert_eq!(reader.answer(Some("show x")).output, "out\n");
    }
}

#[test]
fn answers_that_arrive_together_are_told_apart() {
    let stream = format!("show a\r\nr1#\r\none\r\nr1#{MARK}1\r\nr1#show b\r\ntwor1#{MARK}2\r\nr1#");
    for size in 1..=stream.len() {
        let mut pieces = cut(stream.as_bytes(), size).into_iter();
        let mut reader = Reader::new(ios(), 1 << 20, Expect::CommentAmong(format!("{MARK}1")));
        while reader.step() == Step::Read {
            reader.push(pieces.next().unwrap());
        }
        assert_eq!(reader.answer(Some("show a")).output, "r1#\none", "{size}");
        let rest = reader.take_next();
        let mut reader = Reader::new(ios(), 1 << 20, Expect::Comment(format!("{MARK}2")));
        reader.push(&rest);
        while reader.step() == Step::Read {
            reader.push(pieces.next().unwrap());
        }
        assert_eq!(reader.answer(Some("show b")).output, "two", "{size}");
    }
}

#[test]
fn a_pager_that_read_the_comment_and_went_is_noticed() {
    let page = "show x\r\none\r\n --More-- \r         \rtwo\r\nr1#";
    for (ahead, expected) in [(true, Step::Swallowed), (false, Step::Read)] {
        let mut reader = Reader::new(ios(), 1 << 20, Expect::Comment(MARK.into()));
        reader.expect_ahead(ahead);
        reader.push(page.as_bytes());
        assert_eq!(reader.step(), expected);
    }
    // Text like a pager's mark that is never erased is output.
    let mut reader = Reader::new(ios(), 1 << 20, Expect::Comment(MARK.into()));
    reader.expect_ahead(true);
    reader.push(b"show x\r\n--More--\r\ndescription --More--\r\nr1#");
    assert_eq!(reader.step(), Step::Read);
}

#[test]
fn without_an_echo_the_prompt_comes_twice() {
    let stream = "out\r\nr1#\r\nr1#\r\nr1#";
    let mut reader = Reader::new(ios(), 1 << 20, Expect::PromptTwice).with_echo(false);
    reader.push(b"out\r\nr1#");
    assert_eq!(reader.step(), Step::Read);
    reader.push(b"\r\nr1#");
    assert_eq!(reader.step(), end("r1#"));
    assert_eq!(reader.answer(Some("show x")).output, "out");
    let mut first = Expect::FirstComment {
        comment: MARK.into(),
        lines: 3,
    };
    let mut reader = Reader::new(ios(), 1 << 20, first.clone());
    reader.push(stream.as_bytes());
    assert_eq!(reader.step(), Step::NoEcho);
    first = Expect::FirstComment {
        comment: MARK.into(),
        lines: 4,
    };
    reader.expect(first);
    assert_eq!(reader.step(), Step::Read);
}

#[test]
fn a_torn_echo_of_the_first_sentinel_is_an_echo() {
    const MARK_OF_A_SESSION: &str = "!acijlowxwolijcaxc";
    let log = "%SYS-5-CONFIG_I: Configured from console";
    for cut in 0..MARK_OF_A_SESSION.len() {
        let (first, second) = MARK_OF_A_SESSION.split_at(cut);
        let mut reader = Reader::new(
            ios(),
            1 << 20,
            Expect::FirstComment {
                comment: MARK_OF_A_SESSION.into(),
                lines: 2,
            },
        );
        reader.learn("r1#");
        reader.push(
            format!("r1#terminal length 0\r\nr1#{first}\r\n{log}\r\n{second}\r\nr1#").as_bytes(),
        );
        assert_ne!(reader.step(), Step::NoEcho, "{first:?}");
        assert_ne!(reader.quiet(Quiet::Long), Step::NoEcho, "{first:?}");
    }
}

#[test]
fn a_watcher_sees_every_line_once_and_no_echo_or_comment() {
    // The device waits at its pager.
    let page = "show x\r\none\r\ntwo\r\n --More-- ";
    let rest = format!("\r         \rthree\r\nr1#{MARK}\r\nr1#");
    for size in 1..=rest.len() {
        let mut reader = Reader::new(ios(), 1 << 20, Expect::Comment(MARK.into()));
        let mut seen = String::new();
        for piece in cut(page.as_bytes(), size)
            .into_iter()
            .chain(cut(rest.as_bytes(), size))
        {
            reader.push(piece);
            if let Step::Pager(_) = reader.step() {
                reader.pager_answered();
            }
            seen.extend(reader.new_lines("show x"));
        }
        assert_eq!(seen, "one\ntwo\nthree\n", "{size}");
    }
}

#[test]
fn eight_megabytes_in_small_packets_take_linear_time() {
    let line = b"interface GigabitEthernet0/0 is up, line protocol is up\r\n";
    let platform = ios();
    let mut reader = Reader::new(platform, 1 << 20, Expect::Comment(MARK.into()));
    for _ in 0..(8 << 20) / line.len() {
        reader.push(line);
        assert_eq!(reader.step(), Step::Read);
    }
    reader.push(format!("r1#{MARK}\r\nr1#").as_bytes());
    assert_eq!(reader.step(), end("r1#"));
    let answer = reader.answer(None);
    assert!(answer.truncated);
    assert!(answer.output.len() <= 1 << 20);
    assert!(reader.buffer.len() <= (1 << 20) + 2 * SLACK);
}

/// Counted, not timed: a step examines the new bytes and the end, not everything that has arrived.
#[test]
fn no_output_makes_the_work_grow_with_its_square() {
    const BYTES: usize = 256 * 1024;
    let drawn_over = format!("r1#{}\r", "x".repeat(500));
    let long_lines = format!("{}\r\n", "x".repeat(15_000)).repeat(BYTES / 15_000);
    let long_comment = format!("{}{MARK}\r\n", "x".repeat(BYTES));
    for (what, head, packet) in [
        ("one line", "", "x".repeat(512)),
        ("one line that looks like a prompt", "", "r1#".repeat(170)),
        ("prompts", "", "r1#\r\n".repeat(100)),
        ("empty lines", "", "\r\n".repeat(256)),
        ("one line drawn over and over", "", drawn_over),
        (
            "pagers come and gone",
            "",
            " --More-- \r          \r".repeat(24),
        ),
        (
            "a prompt drawn anew below long lines",
            &long_lines,
            "\rr1#".repeat(256),
        ),
        (
            "a prompt drawn anew below a comment that is not at a prompt",
            &long_comment,
            "\rr1#".repeat(256),
        ),
    ] {
        let comment = || MARK.to_owned();
        for expect in [
            Expect::Prompt,
            Expect::PromptTwice,
            Expect::Comment(comment()),
            Expect::CommentAmong(comment()),
            Expect::FirstComment {
                comment: comment(),
                lines: usize::MAX,
            },
            Expect::ShellPrompt("w".into()),
        ] {
            let mut reader = Reader::new(ios(), 8 << 20, expect);
            reader.expect_ahead(true);
            reader.push(head.as_bytes());
            CLEANED.set(0);
            for _ in 0..BYTES / packet.len() {
                reader.push(packet.as_bytes());
                let step = reader.step();
                assert_ne!(step, Step::NoEcho, "{what}");
                let _ = reader.new_lines("show x");
            }
            let times = CLEANED.get() / BYTES;
            assert!(times < 64, "{what}: every byte was looked at {times} times");
        }
    }
}

#[test]
fn only_the_echo_of_its_own_line_answers_a_silent_line() {
    let holds = |stream: &str| {
        let (step, reader) = read(ios(), Expect::Prompt, &[stream.as_bytes()], 1 << 20);
        assert_eq!(step, Step::Prompt, "{stream:?}");
        reader.holds_only_echo("description uplink")
    };
    assert!(holds("description uplink\r\nr1(config-if)#"));
    // Output left behind by the previous line, or unsolicited output.
    assert!(!holds("\r\nr1(config)#"));
    assert!(!holds("% Warning: late\r\nr1(config-if)#"));
    assert!(!holds(
        "description uplink\r\n% Invalid input\r\nr1(config-if)#"
    ));
}

#[test]
fn a_complaint_that_repeats_the_comment_is_no_output() {
    let stream = format!("show x\r\ntext\r\nr1#{MARK}\r\nInvalid input: {MARK}\r\nr1#");
    for size in 1..=stream.len() {
        let expect = Expect::Comment(MARK.into());
        let (step, reader) = read(ios(), expect, &cut(stream.as_bytes(), size), 1 << 20);
        assert_eq!(step, end("r1#"), "{size}");
        assert_eq!(reader.answer(Some("show x")).output, "text", "{size}");
    }
}

#[test]
fn a_device_that_moves_the_cursor_for_every_character() {
    let typed = |from: usize, text: &str| -> String {
        let key = |(at, c)| format!("\x1b[24;{at}H{c}\x1b[24;{at}H\x1b[?25h");
        (from..).zip(text.chars()).map(key).collect()
    };
    let prompt = "\x1b[24;1H\x1b[2K\x1b[24;1Hr1# \x1b[24;1H\x1b[24;5H";
    let stream = format!(
        "{}\x1b[24;0H\x1bEtext\r\n{prompt}{}\x1b[24;0H\x1bE{prompt}",
        typed(5, "show x"),
        typed(5, MARK)
    );
    for size in 1..=stream.len() {
        let expect = Expect::Comment(MARK.into());
        let (step, reader) = read(ios(), expect, &cut(stream.as_bytes(), size), 1 << 20);
        assert_eq!(step, end("r1#"), "{size}");
        assert_eq!(reader.answer(Some("show x")).output, "text", "{size}");
    }
}
