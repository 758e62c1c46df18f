//! Platforms: one [`Platform`] value per kind of device.
//!
//! Vendors differ in prompts and commands, so a platform is data, not a type of its own. The
//! built-in platforms are TOML files in `platforms/`; an operator's own are files of the same
//! format, loaded by [`Platforms::load`] (in `platform/set.rs`). This file defines their fields.

mod encoding;
mod messages;
mod pattern;
mod phrase;
mod reads;
mod set;
pub(crate) mod shell;

use std::collections::BTreeMap;

use serde::Deserialize;

pub(crate) use self::encoding::Decoder;
pub use self::encoding::Encoding;
pub use self::pattern::Pattern;
pub(crate) use self::reads::Reads;
pub use self::set::{PlatformError, Platforms};

/// The CLI dialogue of one kind of device.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct Platform {
    /// The platform's name, as in netmiko: `cisco_ios`.
    pub name: String,
    /// Aliases of the name.
    #[serde(default)]
    pub aliases: Vec<String>,
    /// How to distinguish the platform's command line from a Unix shell.
    #[serde(default)]
    pub shell: Shell,
    /// How the end of a command's output is recognised.
    pub ending: Ending,
    /// Prompts, matched with the last received line.
    pub prompts: Prompts,
    /// The terminal to request.
    #[serde(default)]
    pub terminal: Terminal,
    /// The dialogue between the first byte and the first prompt.
    #[serde(default)]
    pub login: Login,
    /// Commands that only read.
    #[serde(default)]
    pub(crate) reads: Reads,
    /// Commands that only read, as patterns. Kept for older platform files.
    #[serde(default)]
    pub type_ahead: TypeAhead,
    /// Pagers that may appear although paging was switched off.
    #[serde(default)]
    pub pagers: Vec<Pager>,
    /// A line that the device prints before every output, to be removed (a time stamp).
    pub header: Option<Pattern>,
    /// How to enter privileged mode from the user's prompt.
    pub enable: Option<Enable>,
    /// How to enter, use and leave configuration mode.
    pub configuration: Option<ConfigurationMode>,
    /// Copies the running configuration to the start-up configuration.
    pub save: Option<Command>,
    /// Ends the session.
    pub exit: String,
    /// Lines by which the device refuses a command. Each is matched with a single line and should
    /// be anchored to its start, because such text is common in the middle of good output.
    #[serde(default)]
    pub refusals: Vec<Pattern>,
    /// Lines that `refusals` match although the device has accepted the command: warnings and notes
    /// on side effects.
    #[serde(default)]
    pub remarks: Vec<Pattern>,
    /// Evidence by which a device of this platform is detected.
    #[serde(default)]
    pub detect: Vec<Evidence>,
    /// The sources of facts about a device.
    #[serde(default)]
    pub facts: Vec<FactSource>,
}

/// How to distinguish a platform's command line from a Unix shell in which a login may end instead.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Shell {
    /// By the prompt and by the refusal of commands.
    #[default]
    Distinct,
    /// By the refusal of commands only: the prompt resembles a shell's.
    Resembled,
    /// Not at all: the command line may be a Unix shell.
    Possible,
}

/// How the end of a command's output is recognised. A prompt alone is not enough: output may
/// contain the prompt's text on its own line, and a packet may end right there.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
#[non_exhaustive]
pub enum Ending {
    /// A CLI comment with a random word is sent after the command. The output ends when the device
    /// has echoed the comment at the prompt after the output and shows a prompt again. The prompt
    /// is learnt each time, so it may change from command to command. The device's reply to the
    /// comment (an unknown command, for example) is dropped.
    Comment {
        /// The beginning of a comment: `!`.
        prefix: String,
    },
    /// The shell's prompt is replaced by one with a random word and the exit code: `@@word:0@@`, or
    /// `@@word:more@@` while the shell waits for the rest of a command.
    ShellPrompt,
}

/// Prompts, matched with the last received line.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Prompts {
    /// Any prompt, as a whole line: `^…$`.
    pub any: Pattern,
    /// The prompt of an unprivileged user, at which `enable` is run.
    pub user: Option<Pattern>,
    /// The prompt in configuration mode and its sub-modes.
    pub configuration: Option<Pattern>,
    /// Prompts that match `configuration` but belong to another mode (`sw1(maint-mode)#`).
    pub not_configuration: Option<Pattern>,
    /// A line above the prompt that belongs to it, not to the output (`[edit]`).
    pub above: Option<Pattern>,
}

/// The terminal to request, and how to type.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Terminal {
    /// The device echoes what is typed.
    pub echo: bool,
    /// The device's encoding, if it is not UTF-8.
    pub encoding: Option<Encoding>,
    /// The end of a typed line.
    pub newline: String,
    /// The device may drop the eighth bit of each typed byte, which turns a character beyond ASCII
    /// into a different one or into a control character.
    pub seven_bits: bool,
    /// Typed before a `?`, which would request help otherwise: Ctrl-V on many CLIs.
    pub quote_question_mark: Option<String>,
    /// Questions that a single key answers (`[confirm]`). A newline after it would be taken for the
    /// next command or for the answer to the next question.
    pub one_key: Option<Pattern>,
}

impl Default for Terminal {
    fn default() -> Self {
        Self {
            echo: true,
            encoding: None,
            seven_bits: false,
            newline: "\n".into(),
            quote_question_mark: None,
            one_key: None,
        }
    }
}

/// The dialogue between the first byte and the first prompt.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Login {
    /// Appended to the user name: some devices read terminal options from it.
    pub username_suffix: String,
    /// Questions before the first prompt, in addition to those known for all platforms.
    pub questions: Vec<LoginQuestion>,
    /// Keyboard-interactive questions that ask for the user's password, in addition to the forms
    /// known for all platforms.
    pub password_questions: Vec<Pattern>,
    /// Commands sent first, such as switching paging off; a refusal is harmless. `{word}` is
    /// replaced by the session's random word.
    pub commands: Vec<String>,
    /// Commands that need the privileged prompt: sent after `enable`.
    pub privileged_commands: Vec<String>,
    /// The command that starts the device's command line from a Unix shell in which a login may
    /// end.
    pub cli: Option<String>,
}

/// A question before the first prompt. In a file: `ask`, and one of `answer`, `key`, `credential`
/// and `fail`.
#[derive(Debug, Clone, Deserialize)]
#[serde(try_from = "WrittenLoginQuestion")]
pub struct LoginQuestion {
    /// Matched with the last received line.
    pub ask: Pattern,
    /// The reaction to the question.
    pub answer: LoginAnswer,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WrittenLoginQuestion {
    ask: Pattern,
    answer: Option<String>,
    key: Option<String>,
    credential: Option<Credential>,
    fail: Option<String>,
}

impl TryFrom<WrittenLoginQuestion> for LoginQuestion {
    type Error = &'static str;

    fn try_from(written: WrittenLoginQuestion) -> Result<Self, Self::Error> {
        let mut answers = [
            written.answer.map(LoginAnswer::Answer),
            written.key.map(LoginAnswer::Key),
            written.credential.map(LoginAnswer::Credential),
            written.fail.map(LoginAnswer::Fail),
        ]
        .into_iter()
        .flatten();
        match (answers.next(), answers.next()) {
            (Some(answer), None) => Ok(Self {
                ask: written.ask,
                answer,
            }),
            _ => Err(
                "invalid login question: expected exactly one of answer, key, credential and fail",
            ),
        }
    }
}

/// A reaction to a question before the first prompt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LoginAnswer {
    /// Types this line.
    Answer(String),
    /// Types these characters, without a newline.
    Key(String),
    /// Types one of the login's credentials, once.
    Credential(Credential),
    /// Fails the login with a hint, because a person has to act.
    Fail(String),
}

/// One of the login's credentials.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Credential {
    /// [`crate::Endpoint::username`].
    Username,
    /// The password of [`crate::Credentials`].
    Password,
}

/// Commands that only read, as patterns. Kept for older platform files.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TypeAhead {
    /// Commands that change nothing and ask nothing (`show …`), matched at their start. Replaces
    /// `reads.commands`; the filters and exceptions of `reads` still apply.
    #[serde(deserialize_with = "anchored")]
    pub safe: Option<Pattern>,
    /// Exceptions, matched anywhere in the line.
    pub except: Option<Pattern>,
}

/// Deserializes a pattern that matches only at the start of a text.
fn anchored<'de, D: serde::Deserializer<'de>>(from: D) -> Result<Option<Pattern>, D::Error> {
    let pattern = Pattern::deserialize(from)?;
    let anchored = Pattern::new(&format!("^(?:{})", pattern.as_str()));
    anchored.map(Some).map_err(serde::de::Error::custom)
}

/// A pager and the key that continues it.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Pager {
    /// The pager's mark, matched with the last received line.
    pub mark: Pattern,
    /// The key that continues the output, sent unchanged.
    pub answer: String,
}

/// How to enter privileged mode from the user's prompt.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Enable {
    /// The command.
    pub command: String,
    /// The question for the secret, matched with the last received line.
    pub question: Pattern,
}

/// How to enter, use and leave configuration mode.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ConfigurationMode {
    /// The command that enters configuration mode; `None` if lines are typed at the ordinary
    /// prompt.
    pub enter: Option<Command>,
    /// The command that leaves the mode. It is repeated while the prompt is one of configuration
    /// mode, so it may leave one level at a time.
    pub leave: Command,
    /// The form in which an ordinary command works in configuration mode: `do {command}`.
    pub run: Option<String>,
    /// Copies the running configuration to the start-up configuration, if that is a command of
    /// configuration mode.
    pub save: Option<Command>,
    /// The commands of the candidate configuration, if the platform has one.
    pub candidate: Option<Candidate>,
    /// Prompts that show pending changes, which have not taken effect (`[*HUAWEI]`).
    pub pending: Option<Pattern>,
    /// Commands that read text, and the end of the text if it cannot be typed as a line.
    #[serde(default)]
    pub blocks: Vec<Block>,
}

/// A command that reads lines of text (`load merge terminal`).
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Block {
    /// The command's pattern.
    pub start: Pattern,
    /// The keys that end the text, sent unchanged (`\u0004`); empty if the text's last line ends
    /// it.
    #[serde(default)]
    pub end: String,
}

/// The commands of a platform with a candidate configuration. All are typed in configuration mode.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Candidate {
    /// The prompts at which there is a candidate; `None` means every prompt.
    pub when: Option<Pattern>,
    /// Makes the candidate the running configuration.
    pub commit: Command,
    /// `commit` leaves one level of the mode; it is repeated until configuration mode is left.
    #[serde(default)]
    pub commit_leaves: bool,
    /// Commits with a recorded `{comment}`.
    pub commit_comment: Option<Command>,
    /// Commits, and reverts after `{minutes}` unless confirmed.
    pub commit_confirmed: Option<Command>,
    /// Confirms such a commit; `None` if a plain commit confirms it.
    pub confirm: Option<Command>,
    /// Shows the changes.
    pub compare: Option<Command>,
    /// Discards the candidate.
    pub discard: Command,
    /// Makes the configuration of `{number}` commits ago the candidate or, with `rollback_commits`,
    /// the running configuration.
    pub rollback: Option<Command>,
    /// `rollback` takes effect without a commit.
    #[serde(default)]
    pub rollback_commits: bool,
    /// Explains a failed commit.
    pub explain: Option<String>,
}

/// A command that may ask questions. In a file, a plain text is a command without questions.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(from = "WrittenCommand")]
pub struct Command {
    /// The text to type.
    pub send: String,
    /// The questions that it may ask, each at most once.
    pub questions: Vec<Question>,
}

/// A question of a command.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Question {
    /// Matched with the last received line.
    pub ask: Pattern,
    /// The answering line.
    pub answer: String,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum WrittenCommand {
    Plain(String),
    WithQuestions(CommandTable),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct CommandTable {
    send: String,
    #[serde(default)]
    questions: Vec<Question>,
}

impl From<WrittenCommand> for Command {
    fn from(written: WrittenCommand) -> Self {
        match written {
            WrittenCommand::Plain(send) => Self {
                send,
                questions: Vec::new(),
            },
            WrittenCommand::WithQuestions(CommandTable { send, questions }) => {
                Self { send, questions }
            }
        }
    }
}

impl Command {
    /// Returns the command with every `{name}` replaced by a value.
    pub(crate) fn with(&self, name: &str, value: &str) -> Self {
        Self {
            send: self.send.replace(&format!("{{{name}}}"), value),
            questions: self.questions.clone(),
        }
    }
}

/// Evidence for a platform. One piece is enough.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Evidence {
    /// A command; without one, the SSH server's identification is matched.
    pub command: Option<String>,
    /// The pattern of the output.
    pub pattern: Pattern,
    /// The certainty, 1 to 100; the platform with the highest one wins. 50 by default; more for a
    /// text that only this platform prints, less for one that other platforms share.
    #[serde(default = "half_certain")]
    pub certainty: u8,
}

const fn half_certain() -> u8 {
    50
}

/// A command and the facts in its output.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FactSource {
    /// The command.
    pub command: String,
    /// The name of each fact (`hostname`, `vendor`, `model`, `version`, `serial`, `uptime`) and the
    /// pattern that captures its value in the first group.
    pub find: BTreeMap<String, Pattern>,
}

impl FactSource {
    /// Returns the facts in the command's output.
    pub fn find_in<'t>(&'t self, output: &'t str) -> impl Iterator<Item = (&'t str, &'t str)> {
        self.find
            .iter()
            .filter_map(|(name, pattern)| Some((name.as_str(), pattern.find(output)?.trim())))
    }
}

impl Platform {
    /// Returns a built-in platform.
    #[must_use]
    pub fn named(name: &str) -> Option<std::sync::Arc<Self>> {
        Platforms::built_in().named(name)
    }

    /// Returns the names of the built-in platforms.
    #[must_use]
    pub fn names() -> Vec<&'static str> {
        set::built_in_names().collect()
    }

    /// Returns the line in which the device refused a command, if there is one.
    ///
    /// Only the beginning and the end of the output are searched: a CLI complains there, and a
    /// running configuration with such a line in a banner is not a refusal.
    pub(crate) fn refusal<'a>(&self, output: &'a str) -> Option<&'a str> {
        messages::refusal(self, output)
    }

    /// Returns whether a command is known to only read: it changes neither the device nor the
    /// effect of the session's next command, and asks nothing.
    #[must_use]
    pub fn only_reads(&self, command: &str) -> bool {
        let older = &self.type_ahead;
        let excepted = older.except.as_ref();
        if excepted.is_some_and(|pattern| pattern.matches(command)) {
            return false;
        }
        let question_mark = self.terminal.quote_question_mark.is_some();
        (self.reads).covers(command, question_mark, older.safe.as_ref())
    }

    /// Returns whether a command may be sent together with its sentinel. It must not ask a
    /// question, because the sentinel would be the answer, and must be safe to send again.
    pub(crate) fn may_type_ahead(&self, command: &str) -> bool {
        self.only_reads(command)
    }

    /// Returns whether the command line may be a Unix shell, so that a shell's prompts and messages
    /// are expected.
    pub(crate) fn may_be_shell(&self) -> bool {
        matches!(self.ending, Ending::ShellPrompt) || self.shell == Shell::Possible
    }

    pub(crate) fn is_user(&self, prompt: &str) -> bool {
        let user = self.prompts.user.as_ref();
        user.is_some_and(|pattern| pattern.matches(prompt))
    }

    pub(crate) fn is_configuration(&self, prompt: &str) -> bool {
        let found = |pattern: &Option<Pattern>| {
            pattern
                .as_ref()
                .is_some_and(|pattern| pattern.matches(prompt))
        };
        found(&self.prompts.configuration) && !found(&self.prompts.not_configuration)
    }
}
