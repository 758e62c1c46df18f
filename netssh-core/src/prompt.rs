//! The prompt of a session, learnt from the device itself.
//!
//! A platform's patterns cannot list every host name, user and mode. A prompt is therefore defined
//! as a line that the device shows and repeats; the patterns only recognise common prompts without
//! a pause and distinguish modes.

use std::sync::LazyLock;

use regex::Regex;

/// A prompt that the device has shown and repeated.
#[derive(Debug, Clone, Default)]
pub(crate) struct Learnt {
    text: String,
    /// The prompt without its varying parts; empty before a prompt was learnt.
    essence: String,
    /// The beginning of the device's name, shared by the prompts of its other modes.
    name: String,
    /// The prompt's last character.
    terminator: Option<char>,
}

/// Number of characters of the name that prompts of other modes share: IOS shortens host names in
/// configuration mode, `FortiOS` everywhere.
const NAME: usize = 12;
/// Maximum number of characters before the name in a prompt, which are only marks: `[~`, `HRP_M<`,
/// `*A:`.
const MARKS: usize = 12;
/// Maximum length of a prompt.
const MAX_LENGTH: usize = 200;

impl Learnt {
    pub(crate) fn from(prompt: &str) -> Self {
        let prompt = prompt.trim();
        Self {
            text: prompt.to_owned(),
            essence: essence(prompt),
            name: name(prompt),
            terminator: prompt.chars().next_back(),
        }
    }

    pub(crate) const fn is_empty(&self) -> bool {
        self.essence.is_empty()
    }

    /// Returns the prompt as the device showed it.
    pub(crate) fn text(&self) -> Option<&str> {
        (!self.is_empty()).then_some(self.text.as_str())
    }

    /// Returns whether a line is this prompt, ignoring the command count and the mark of changes.
    pub(crate) fn is(&self, line: &str) -> bool {
        /// Maximum length of counts and marks.
        const DIFFERENCE: usize = 12;
        let line = line.trim();
        if self.is_empty() || line.len().abs_diff(self.text.len()) > DIFFERENCE {
            return false;
        }
        line == self.text || essence(line) == self.essence
    }

    /// Returns whether a line may be the prompt of another mode of the same device: it begins with
    /// the device's name and ends like a prompt.
    pub(crate) fn is_related(&self, line: &str) -> bool {
        let line = line.trim();
        if self.name.is_empty() || line.len() > MAX_LENGTH || !self.ends_like_a_prompt(line) {
            return false;
        }
        let at = line.find(&self.name);
        at.is_some_and(|at| line[..at].chars().count() <= MARKS && !line[..at].contains(' '))
            || at == Some(2) && line.starts_with(['*', '!'])
    }

    /// Returns the output before this prompt in a line that ends with it, which happens if the
    /// output has no final newline.
    pub(crate) fn output_before<'l>(&self, line: &'l str) -> Option<&'l str> {
        if self.is_empty() {
            return None;
        }
        line.trim_end().strip_suffix(self.text.as_str())
    }

    /// Returns whether a line ends like this prompt, and not like a progress bar (`####`).
    pub(crate) fn ends_like_this(&self, line: &str) -> bool {
        let mut end = line.trim_end().chars().rev();
        let last = end.next();
        last.is_some()
            && last != end.next()
            && (last == self.terminator || matches!(last, Some('>' | '#')))
    }

    /// Returns whether a line ends like this prompt or like common prompts.
    fn ends_like_a_prompt(&self, line: &str) -> bool {
        let last = line.trim_end().chars().next_back();
        last.is_some_and(|c| TERMINATORS.contains(&c) || Some(c) == self.terminator)
    }
}

const TERMINATORS: [char; 5] = ['>', '#', '$', '%', ']'];

/// Returns whether two lines are the same prompt. Some prompts count commands (`sw.1 #`, `[12]>`),
/// some mark unsaved changes (`* sw #`).
pub(crate) fn same_prompt(one: &str, other: &str) -> bool {
    essence(one) == essence(other)
}

/// Returns whether a line is an incomplete prompt. Counts and clocks may differ.
pub(crate) fn is_part_of(line: &str, prompt: &str) -> bool {
    static NUMBER: LazyLock<Regex> =
        LazyLock::new(|| Regex::new(r"\d+").expect("tests compile the pattern"));
    let numberless = |text: &str| NUMBER.replace_all(text, "0").into_owned();
    let (line, prompt) = (numberless(line.trim()), numberless(prompt.trim()));
    prompt.len() > line.len() && prompt.starts_with(&line)
}

fn essence(prompt: &str) -> String {
    static COUNT: LazyLock<Regex> = LazyLock::new(|| {
        Regex::new(r"([.:\s\[(])\d+([\])]?\s?[>#$%\]]?)$").expect("tests compile the pattern")
    });
    let prompt = prompt.trim().trim_start_matches(['*', '!', ' ']);
    COUNT.replace(prompt, "${1}0${2}").into_owned()
}

/// Returns the beginning of the device's name, without leading marks and without the mode.
fn name(prompt: &str) -> String {
    let name = prompt.trim_start_matches(['*', '!', ' ', '[', '<', '(', '{', '~']);
    let name = name.trim_end_matches(|c: char| " )}".contains(c) || TERMINATORS.contains(&c));
    // `HRP_M<fw>`: a state precedes the name.
    let name = name.rsplit('<').next().unwrap_or(name);
    let mut end = name.len();
    // The name ends before a shell's directory, a mode in parentheses, a count or a clock, or the
    // path of a context.
    for mark in [":~", ":/", "(", "[", " /"] {
        end = end.min(name.find(mark).filter(|&at| at > 0).unwrap_or(end));
    }
    name[..end].chars().take(NAME).collect()
}

/// Returns whether a line is a question, at which only its answer may be typed.
pub(crate) fn is_question(line: &str) -> bool {
    // `[y/n]`, `(yes/no)`, `[Y(yes)/N(no)/C(cancel)]`, `[confirm]`, `[1-3]`
    static FORM: LazyLock<Regex> = LazyLock::new(|| {
        Regex::new(concat!(
            r"(?i)[?:]\s*$|\[y\(yes\)",
            r"|[\[(]\s*(y|n|yes|no|confirm|cancel|\d+\s*-\s*\d+)\b[^\])]*[\])]\s*$",
        ))
        .expect("tests compile the pattern")
    });
    // Menus and instructions in words.
    static WORDS: LazyLock<Regex> = LazyLock::new(|| {
        Regex::new(concat!(
            r"(?i)\b(select|choose|choice|option|selection|enter|press|type|continue|accept|agree|",
            r"password|passcode|passphrase|login|username|confirm)\b",
        ))
        .expect("tests compile the pattern")
    });
    let line = line.trim();
    // A single word is a name, even if it is one of these words.
    FORM.is_match(line) || (line.contains(' ') && WORDS.is_match(line))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prompts_of_any_characters_are_recognised() {
        for prompt in [
            "core&edge#",
            "sw-7#dist#",
            "Street.76(3.11)#",
            "sw1(s1)#",
            "sw1(maint-mode)#",
            r"DOMAIN\user@fw>",
            "[admin@My Router] >",
            "Zürich#",
            "fw>",
        ] {
            let learnt = Learnt::from(prompt);
            assert!(learnt.is(prompt), "{prompt}");
            assert!(!learnt.is("other#"), "{prompt}");
        }
        assert!(!Learnt::default().is(""));
        assert!(!Learnt::default().is_related("r1#"));
    }

    #[test]
    fn prompts_are_equal_up_to_counts_and_marks() {
        assert!(same_prompt("sw.1 #", "* sw.2 #"));
        assert!(same_prompt("Slot-1 stack_a.9 #", "Slot-1 stack_a.10 #"));
        assert!(same_prompt("router[12]>", "router[13]>"));
        assert!(same_prompt("leaf1[14:33:1]#", "leaf1[14:33:2]#"));
        assert!(!same_prompt("r1#", "r2#"));
        assert!(!same_prompt("RP/0/RSP0/CPU0:r1#", "RP/0/RSP1/CPU0:r1#"));
    }

    #[test]
    fn prompts_of_other_modes_share_the_name() {
        for (home, other) in [
            ("r1>", "r1#"),
            ("r1#", "r1(config-if)#"),
            ("core&edge#", "core&edge(config)#"),
            ("sw1(s1)#", "sw1(s1)(config)#"),
            ("<HUAWEI>", "[~HUAWEI-GE1/0/1]"),
            ("HRP_M<fw>", "HRP_M[fw]"),
            ("user@fw>", "user@fw#"),
            ("vyos@vyos:~$", "vyos@vyos#"),
            ("A:router#", "*A:router>config#"),
            ("[admin@MikroTik] >", "[admin@MikroTik] /ip address>"),
            ("averyverylonghostname#", "averyverylonghostn(config)#"),
            ("Slot-1 stack_a.1 #", "* Slot-1 stack_a.7 #"),
            ("RP/0/RSP0/CPU0:r1#", "RP/0/RSP0/CPU0:r1(config)#"),
        ] {
            let learnt = Learnt::from(home);
            assert!(
                learnt.is_related(other) || learnt.is(other),
                "{home} {other}"
            );
            for text in ["Building configuration", "Proceed with reload?", "#", ""] {
                assert!(!learnt.is_related(text), "{home} {text}");
            }
        }
    }

    #[test]
    fn questions_are_not_taken_for_prompts() {
        for question in [
            "Current password:",
            "Accept the terms? [y/n]",
            "Do you want to see the software license? [Y/n]:",
            "save now? [Y/N] :",
            "Continue? [confirm]",
            "Select a role [1-3]:",
            "Enter your choice >",
            "Please select an option #",
            "[Y(yes)/N(no)/C(cancel)]:",
            "Press any key to continue",
            "Selection: ",
            "Passcode: ",
        ] {
            assert!(is_question(question), "{question}");
        }
        for prompt in [
            "core&edge#",
            "Street.76(3.11)#",
            "sw1(s1)(config)#",
            "enter#",
            "[admin@MikroTik] >",
            "Slot-1 x.1 #",
            "login>",
            "user@host:~$",
            "RP/0/RSP0/CPU0:r1#",
        ] {
            assert!(!is_question(prompt), "{prompt}");
        }
    }
}
