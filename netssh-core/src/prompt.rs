//! The prompt of a session, learnt from the device itself.
//!
//! A platform's patterns cannot list every host name, user and mode. So a prompt is what the device
//! shows and repeats; the patterns tell its modes apart, and let the usual ones be recognised
//! without a pause.

use std::sync::LazyLock;

use regex::Regex;

/// A prompt that the device has shown and repeated.
#[derive(Debug, Clone, Default)]
pub(crate) struct Learnt {
    text: String,
    /// Its essence; empty before anything was learnt.
    essence: String,
    /// The beginning of the device's name, which its other prompts share.
    name: String,
    /// Its last character.
    terminator: Option<char>,
}

/// Prompts of other modes begin with this much of the name: IOS shortens host names in
/// configuration mode, `FortiOS` everywhere.
const NAME: usize = 12;
/// Before the name, a prompt has marks only: `[~`, `HRP_M<`, `*A:`.
const MARKS: usize = 12;
/// A longer line is not a prompt.
const LONGEST: usize = 200;

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

    /// As it was shown.
    pub(crate) fn text(&self) -> Option<&str> {
        (!self.is_empty()).then_some(self.text.as_str())
    }

    /// Whether a line is this prompt, perhaps with another count of commands or another mark.
    pub(crate) fn is(&self, line: &str) -> bool {
        /// A count and a mark are no longer.
        const DIFFERENCE: usize = 12;
        let line = line.trim();
        if self.is_empty() || line.len().abs_diff(self.text.len()) > DIFFERENCE {
            return false;
        }
        line == self.text || essence(line) == self.essence
    }

    /// Whether a line may be a prompt of the same device in another mode: it begins with the
    /// device's name, and ends as prompts do.
    pub(crate) fn is_related(&self, line: &str) -> bool {
        let line = line.trim();
        if self.name.is_empty() || line.len() > LONGEST || !self.ends_like_a_prompt(line) {
            return false;
        }
        let at = line.find(&self.name);
        at.is_some_and(|at| line[..at].chars().count() <= MARKS && !line[..at].contains(' '))
            || at == Some(2) && line.starts_with(['*', '!'])
    }

    /// The output before this prompt in a line that ends with it: where the output has no newline
    /// at its end.
    pub(crate) fn output_before<'l>(&self, line: &'l str) -> Option<&'l str> {
        if self.is_empty() {
            return None;
        }
        line.trim_end().strip_suffix(self.text.as_str())
    }

    /// Whether a line ends as this prompt does, and not as a progress bar (`####`).
    pub(crate) fn ends_like_this(&self, line: &str) -> bool {
        let mut end = line.trim_end().chars().rev();
        let last = end.next();
        last.is_some()
            && last != end.next()
            && (last == self.terminator || matches!(last, Some('>' | '#')))
    }

    /// Whether a line ends as this prompt does, or as prompts usually do.
    fn ends_like_a_prompt(&self, line: &str) -> bool {
        let last = line.trim_end().chars().next_back();
        last.is_some_and(|c| TERMINATORS.contains(&c) || Some(c) == self.terminator)
    }
}

const TERMINATORS: [char; 5] = ['>', '#', '$', '%', ']'];

/// Whether two lines are the same prompt. Some prompts count the commands (`sw.1 #`, `[12]>`), and
/// some mark unsaved changes (`* sw #`).
pub(crate) fn same_prompt(one: &str, other: &str) -> bool {
    essence(one) == essence(other)
}

/// Whether a line is the beginning of a prompt, and not all of it. Counts and clocks may differ.
pub(crate) fn is_part_of(line: &str, prompt: &str) -> bool {
    static NUMBER: LazyLock<Regex> =
        LazyLock::new(|| Regex::new(r"\d+").expect("a test compiles it"));
    let numberless = |text: &str| NUMBER.replace_all(text, "0").into_owned();
    let (line, prompt) = (numberless(line.trim()), numberless(prompt.trim()));
    prompt.len() > line.len() && prompt.starts_with(&line)
}

fn essence(prompt: &str) -> String {
    static COUNT: LazyLock<Regex> = LazyLock::new(|| {
        Regex::new(r"([.:\s\[(])\d+([\])]?\s?[>#$%\]]?)$").expect("a test compiles it")
    });
    let prompt = prompt.trim().trim_start_matches(['*', '!', ' ']);
    COUNT.replace(prompt, "${1}0${2}").into_owned()
}

/// The beginning of a device's name: without marks before it, and what its modes add.
fn name(prompt: &str) -> String {
    let name = prompt.trim_start_matches(['*', '!', ' ', '[', '<', '(', '{', '~']);
    let name = name.trim_end_matches(|c: char| " )}".contains(c) || TERMINATORS.contains(&c));
    // `HRP_M<fw>`: a state, then the name.
    let name = name.rsplit('<').next().unwrap_or(name);
    let mut end = name.len();
    // The directory of a shell, the mode in parentheses, a count or a clock, the path of a context.
    for mark in [":~", ":/", "(", "[", " /"] {
        end = end.min(name.find(mark).filter(|&at| at > 0).unwrap_or(end));
    }
    name[..end].chars().take(NAME).collect()
}

/// Whether a line asks for something rather than for a command: nothing is typed there but the
/// answer to it.
pub(crate) fn is_question(line: &str) -> bool {
    // `[y/n]`, `(yes/no)`, `[Y(yes)/N(no)/C(cancel)]`, `[confirm]`, `[1-3]`
    static FORM: LazyLock<Regex> = LazyLock::new(|| {
        Regex::new(concat!(
            r"(?i)[?:]\s*$|\[y\(yes\)",
            r"|[\[(]\s*(y|n|yes|no|confirm|cancel|\d+\s*-\s*\d+)\b[^\])]*[\])]\s*$",
        ))
        .expect("a test compiles it")
    });
    // A menu or an instruction in words.
    static WORDS: LazyLock<Regex> = LazyLock::new(|| {
        Regex::new(concat!(
            r"(?i)\b(select|choose|choice|option|selection|enter|press|type|continue|accept|agree|",
            r"password|passcode|passphrase|login|username|confirm)\b",
        ))
        .expect("a test compiles it")
    });
    let line = line.trim();
    // One word is a name, whatever it says.
    FORM.is_match(line) || (line.contains(' ') && WORDS.is_match(line))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prompt_is_recognised_whatever_its_characters() {
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
    fn a_count_and_a_mark_change_nothing_and_a_host_name_does() {
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
    fn questions_are_no_prompts() {
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
