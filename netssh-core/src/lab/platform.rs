//! What a simulated device says, read from TOML: the files `lab/*.toml`, one a platform.
//!
//! A file may say `extends = "cisco_ios"` and hold only what differs, see [`extend`].
//!
//! Texts may hold placeholders, see [`super::text`]; newlines are `\n` and leave as
//! [`Terminal::newline`] says. What is typed is compared with patterns, see [`super::words`].

use std::collections::BTreeMap;
use std::sync::{Arc, LazyLock};

use serde::{Deserialize, Deserializer};
use toml::{Table, Value};

use super::words::Words;

macro_rules! files {
    ($($name:literal),* $(,)?) => {
        &[$(($name, include_str!(concat!("../../lab/", $name, ".toml")))),*]
    };
}

/// The files by name.
const BUILT_IN: &[(&str, &str)] = files![
    "arista_eos",
    "aruba_aoscx",
    "cisco_asa",
    "cisco_ios",
    "cisco_nxos",
    "cisco_xe",
    "cisco_xr",
    "dell_os10",
    "extreme_exos",
    "fortinet",
    "frr",
    "generic",
    "hp_comware",
    "hp_procurve",
    "huawei_vrp",
    "juniper_junos",
    "mikrotik_routeros",
    "nokia_sros",
    "paloalto_panos",
    "ubiquiti_edgerouter",
    "vyos",
];

/// Login questions any platform may be given, by name.
const QUESTIONS: &str = include_str!("../../lab/questions.toml");

/// The platforms there is a file for; the files are tested.
pub(super) static DEFINITIONS: LazyLock<Vec<Arc<Definition>>> = LazyLock::new(|| {
    let parsed = BUILT_IN.iter().map(|(name, text)| {
        Arc::new(Definition::parse(name, text).expect("a built-in platform of the lab"))
    });
    parsed.collect()
});

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Definition {
    #[serde(skip)]
    pub(super) name: String,
    #[serde(default)]
    pub(super) example: Option<Example>,
    #[serde(default)]
    pub(super) terminal: Terminal,
    #[serde(default)]
    pub(super) pager: Option<Pager>,
    pub(super) login: Login,
    #[serde(default)]
    pub(super) hostname: Hostname,
    pub(super) refusals: Refusals,
    pub(super) modes: BTreeMap<String, Mode>,
    #[serde(default)]
    pub(super) questions: BTreeMap<String, Question>,
    /// The first that fits is what happens.
    #[serde(default)]
    pub(super) commands: Vec<Command>,
    #[serde(default)]
    pub(super) configuration: Configuration,
}

/// A session that shows what a platform is like: a tour for people, a test case for tests.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Example {
    /// Prints less than a page.
    pub show: String,
    /// Prints more than a page.
    pub paged: String,
    /// Is refused …
    pub refused: String,
    /// … with this line.
    pub refusal: String,
    /// Configuration lines that are accepted.
    pub lines: Vec<String>,
    /// One that is refused …
    pub refused_line: String,
    /// … with this line.
    pub line_refusal: String,
    /// What stands in the running configuration then.
    pub configured: String,
}

/// How it talks back to whoever types.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Terminal {
    /// What a newline of a text is on the wire.
    pub(super) newline: String,
    /// What a typed character is answered with: `{char}`, and for devices that draw the line
    /// anew `{prompt}`, `{line}`, `{at}` (its column, from 1),
    /// `{column}` (of the cursor behind it) and `{pad}` (spaces up to the terminal's edge).
    pub(super) echo: String,
    /// What Enter is answered with; the same placeholders.
    pub(super) enter: String,
    /// What a deleted character is answered with.
    pub(super) erase: String,
    /// What Ctrl-C is answered with.
    pub(super) interrupt: String,
    /// What a line that reaches the terminal's edge does.
    pub(super) wrap: Wrap,
    /// Columns, whatever the client asked for.
    pub(super) width: Option<usize>,
    /// Lines that start like this are taken silently.
    pub(super) comments: Vec<String>,
    /// A `?` prints this and the line again; Ctrl-V before it makes it text.
    pub(super) help: Option<String>,
    /// `sh ver` stands for `show version`.
    pub(super) abbreviations: bool,
}

impl Default for Terminal {
    fn default() -> Self {
        Self {
            newline: "\r\n".into(),
            echo: "{char}".into(),
            enter: "\n".into(),
            erase: "\x08 \x08".into(),
            interrupt: "^C\n".into(),
            wrap: Wrap::Never,
            width: None,
            comments: Vec::new(),
            help: None,
            abbreviations: false,
        }
    }
}

/// What a line that reaches the terminal's edge does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Wrap {
    /// Goes on.
    Never,
    /// Backspaces to the prompt, `$`, and the end of what was typed, as Cisco IOS does.
    Scroll,
    /// A newline, and the next row.
    Newline,
    /// A space and a carriage return, as readline does.
    Readline,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Pager {
    /// `{percent}` of the output was shown, `{first}` to `{last}` are the lines on the screen.
    pub(super) mark: String,
    /// Shown at the end of the output, until `quit` is typed.
    #[serde(default)]
    pub(super) end_mark: Option<String>,
    /// What removes the mark.
    #[serde(default)]
    pub(super) erase: String,
    /// Lines on a page.
    pub(super) rows: usize,
    /// The client's terminal has the say instead.
    #[serde(default)]
    pub(super) rows_of_client: bool,
    /// Keys for a page, a line, and to stop.
    #[serde(default = "space")]
    pub(super) next: String,
    #[serde(default = "enter")]
    pub(super) line: String,
    #[serde(default = "quit")]
    pub(super) quit: String,
    /// What any other key does.
    #[serde(default)]
    pub(super) other: OtherKey,
    /// Printed when it is stopped.
    #[serde(default)]
    pub(super) stopped: String,
    /// Printed where switching it off is not allowed.
    #[serde(default = "unauthorised")]
    pub(super) unauthorised: String,
}

fn space() -> String {
    " ".into()
}

fn enter() -> String {
    "\r\n".into()
}

fn quit() -> String {
    "qQ\x03".into()
}

fn unauthorised() -> String {
    "Command authorization failed.\n\n".into()
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum OtherKey {
    #[default]
    Ignored,
    Quits,
    GoesOn,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Login {
    /// Printed before the first prompt and before any question.
    #[serde(default)]
    pub(super) banner: String,
    /// Asked first, in this order.
    #[serde(default)]
    pub(super) questions: Vec<String>,
    /// Printed after the questions.
    #[serde(default)]
    pub(super) message: String,
    /// What follows this in a user name are options: `admin+cet`.
    #[serde(default)]
    pub(super) options_after: Option<char>,
    /// Where the login lands.
    pub(super) mode: String,
    /// Where it lands when the device is to land privileged.
    #[serde(default)]
    pub(super) privileged: Option<String>,
}

/// How the hostname is shown.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Hostname {
    /// The configuration line that sets it, from the outermost section on.
    pub(super) line: Option<Words>,
    /// `{short}` has at most this many characters …
    pub(super) length: Option<usize>,
    /// … and this behind them if that cut it.
    pub(super) mark: String,
    /// `{dirty}` with changes that were not committed, or not saved where there is no commit.
    pub(super) dirty: String,
    /// `{dirty}` without.
    pub(super) clean: String,
}

/// What is said to a line that is no command. `{caret}` is the space up to the word at fault.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Refusals {
    pub(super) unknown: String,
    /// For the beginning of a command; without it, as unknown.
    #[serde(default)]
    pub(super) incomplete: Option<String>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Mode {
    pub(super) prompt: String,
    /// The prompt inside a section.
    #[serde(default)]
    pub(super) section_prompt: Option<String>,
    /// Lines that are no commands are configuration.
    #[serde(default)]
    pub(super) configuration: bool,
    /// Printed before the output of a command.
    #[serde(default)]
    pub(super) before_output: String,
    /// What an unknown command is told here.
    #[serde(default)]
    pub(super) unknown: Option<String>,
    /// Keys (`"\u001a"`) that lead to another mode at once.
    #[serde(default)]
    pub(super) keys: BTreeMap<char, String>,
    /// A command that starts like this is taken as one of another mode: `do show version`.
    #[serde(default)]
    pub(super) run: Option<Run>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Run {
    pub(super) prefix: String,
    pub(super) mode: String,
}

/// What happens.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Action {
    /// Printed, page by page if it is long.
    pub(super) print: String,
    pub(super) goto: Option<String>,
    pub(super) ask: Option<String>,
    #[serde(rename = "do")]
    pub(super) steps: Vec<Do>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Do {
    /// Ends the session.
    Close,
    PageOff,
    PageOn,
    /// The last word typed is the number of rows; 0 switches it off.
    PageLength,
    /// The last word typed is the number of columns.
    Width,
    /// The running configuration is the start-up configuration.
    Save,
    Commit,
    /// Until a commit follows, and for as many minutes as the last word typed says, or 10.
    CommitConfirmed,
    Discard,
    /// The candidate is what was running before the last commit.
    Rollback,
    /// Leaves a section.
    Up,
    /// Leaves all sections.
    Top,
    /// The line is configuration as well.
    Apply,
    /// Takes lines until one holds the character that starts the last word typed.
    ReadText,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(from = "CommandTable")]
pub(super) struct Command {
    /// Patterns.
    pub(super) typed: Vec<Words>,
    /// Modes; none for all that are not for configuration.
    pub(super) modes: Vec<String>,
    pub(super) when: Option<When>,
    pub(super) action: Action,
}

/// A [`Command`] as it is written. A flattened [`Action`] would let misspelt keys pass.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct CommandTable {
    #[serde(deserialize_with = "one_or_more")]
    typed: Vec<Words>,
    #[serde(default, rename = "in")]
    modes: Vec<String>,
    when: Option<When>,
    #[serde(default)]
    print: String,
    goto: Option<String>,
    ask: Option<String>,
    #[serde(default, rename = "do")]
    steps: Vec<Do>,
}

impl From<CommandTable> for Command {
    fn from(table: CommandTable) -> Self {
        Self {
            typed: table.typed,
            modes: table.modes,
            when: table.when,
            action: Action {
                print: table.print,
                goto: table.goto,
                ask: table.ask,
                steps: table.steps,
            },
        }
    }
}

/// When a command means this.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum When {
    /// There are changes that were not committed, or not saved where there is no commit.
    Changed,
    Unchanged,
    /// The candidate holds a line that a commit refuses.
    Refused,
    /// Inside a section, or in none.
    Section,
    Top,
    /// The device has a secret, or none.
    Secret,
    NoSecret,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Question {
    pub(super) print: String,
    /// Answers are not echoed, and not recorded.
    #[serde(default)]
    pub(super) hidden: bool,
    /// A single key answers.
    #[serde(default)]
    pub(super) key: bool,
    /// Wrong answers before `otherwise`.
    #[serde(default = "one")]
    pub(super) tries: usize,
    /// Printed after a wrong answer that is not the last.
    #[serde(default)]
    pub(super) again: String,
    #[serde(default)]
    pub(super) answers: Vec<Answer>,
    /// After a wrong answer.
    #[serde(default)]
    pub(super) otherwise: Action,
}

fn one() -> usize {
    1
}

/// `typed` may be `{username}`, `{password}` and `{secret}`, `""` for Enter alone, and `*` for
/// anything else.
#[derive(Debug, Clone, Deserialize)]
#[serde(from = "AnswerTable")]
pub(super) struct Answer {
    pub(super) typed: Vec<String>,
    pub(super) action: Action,
}

/// An [`Answer`] as it is written.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct AnswerTable {
    #[serde(deserialize_with = "one_or_more")]
    typed: Vec<String>,
    #[serde(default)]
    print: String,
    goto: Option<String>,
    ask: Option<String>,
    #[serde(default, rename = "do")]
    steps: Vec<Do>,
}

impl From<AnswerTable> for Answer {
    fn from(table: AnswerTable) -> Self {
        Self {
            typed: table.typed,
            action: Action {
                print: table.print,
                goto: table.goto,
                ask: table.ask,
                steps: table.steps,
            },
        }
    }
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Configuration {
    /// Changes wait for a commit.
    pub(super) candidate: Candidate,
    /// At start; sections by indentation.
    pub(super) initial: String,
    /// `{text}`, around `{lines}`.
    pub(super) text: Option<String>,
    /// `{running}`, around `{text}`, with `{bytes}` of it.
    pub(super) shown: Option<String>,
    /// What a line inside a section is indented with.
    pub(super) indent: Option<String>,
    /// What starts a line that adds: `set `. Kept in the configuration.
    pub(super) add: String,
    /// What starts a line that removes: `no `.
    pub(super) remove: String,
    /// Sections.
    pub(super) sections: Vec<Section>,
    /// Lines taken at the top only; inside a section they leave it first.
    pub(super) top: Vec<Words>,
    /// Lines taken anywhere.
    pub(super) lines: Vec<Words>,
    /// Of lines like these there is one, and the next replaces it: what the pattern's words
    /// before its first `*` or `...` are the same in.
    pub(super) single: Vec<Words>,
    /// Removals that stay as lines of their own: `no ip address`.
    pub(super) kept_removals: Vec<Words>,
    /// Lines that are taken, and refused by a commit.
    pub(super) commit_refuses: Vec<Words>,
    /// `{changes}`, a line each: around `{line}`, which has its sections before it.
    pub(super) added: Option<String>,
    pub(super) removed: Option<String>,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Candidate {
    /// Lines are at once in force.
    #[default]
    None,
    /// All sessions share it; it outlives them.
    Shared,
    /// Every session has its own.
    Session,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Section {
    pub(super) line: Words,
    /// `{section}` in prompts; `{rest}` is what `*` and `...` stood for.
    #[serde(default)]
    pub(super) label: String,
    /// Opened inside another section, it is part of that.
    #[serde(default)]
    pub(super) nested: bool,
    /// Printed below its lines.
    #[serde(default)]
    pub(super) end: String,
    /// It only goes before the lines typed in it (`edit interfaces`), after the word that adds.
    #[serde(default)]
    pub(super) prefix: bool,
}

fn one_or_more<'de, D, T>(from: D) -> Result<Vec<T>, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de>,
{
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum OneOrMore<T> {
        One(T),
        More(Vec<T>),
    }
    Ok(match OneOrMore::deserialize(from)? {
        OneOrMore::One(one) => vec![one],
        OneOrMore::More(more) => more,
    })
}

/// Puts a platform on top of the one it extends: its commands go first, tables are merged key by
/// key, anything else is replaced.
fn extend(table: &mut Table) -> Result<(), toml::de::Error> {
    let Some(Value::String(name)) = table.remove("extends") else {
        return Ok(());
    };
    let base = BUILT_IN.iter().find(|(known, _)| *known == name);
    let (_, text) = base.ok_or_else(|| {
        serde::de::Error::custom(format!("extends: lab platform {name:?} not found"))
    })?;
    let mut base: Table = toml::from_str(text)?;
    extend(&mut base)?;
    // Its example session is not this one's.
    base.remove("example");
    merge(table, base);
    Ok(())
}

fn merge(table: &mut Table, base: Table) {
    for (key, below) in base {
        match (table.get_mut(&key), below) {
            (None, below) => drop(table.insert(key, below)),
            (Some(Value::Table(table)), Value::Table(below)) => merge(table, below),
            (Some(Value::Array(commands)), Value::Array(below)) if key == "commands" => {
                commands.extend(below);
            }
            _ => {}
        }
    }
}

impl Definition {
    /// Reads a platform, and makes sure that every mode and question it names exists.
    pub(super) fn parse(name: &str, text: &str) -> Result<Self, String> {
        let read = || -> Result<Self, toml::de::Error> {
            let mut table: Table = toml::from_str(text)?;
            extend(&mut table)?;
            table.try_into()
        };
        let mut platform = read().map_err(|error| format!("{name}: {error}"))?;
        let common: BTreeMap<String, Question> =
            toml::from_str(QUESTIONS).map_err(|error| format!("questions: {error}"))?;
        name.clone_into(&mut platform.name);
        for (question, text) in common {
            platform.questions.entry(question).or_insert(text);
        }
        platform
            .check()
            .map_err(|error| format!("{name}: {error}"))?;
        Ok(platform)
    }

    fn check(&self) -> Result<(), String> {
        for mode in self.modes_named() {
            if !self.modes.contains_key(mode) {
                return Err(format!("[modes.{mode}] not found"));
            }
        }
        let asked = self.actions().filter_map(|action| action.ask.as_ref());
        for question in asked.chain(&self.login.questions) {
            if !self.questions.contains_key(question) {
                return Err(format!("[questions.{question}] not found"));
            }
        }
        match &self.pager {
            Some(pager) if pager.rows < 2 => Err("invalid page: expected at least two rows".into()),
            _ => Ok(()),
        }
    }

    fn modes_named(&self) -> impl Iterator<Item = &String> {
        let modes = self.modes.values();
        std::iter::once(&self.login.mode)
            .chain(&self.login.privileged)
            .chain(self.actions().filter_map(|action| action.goto.as_ref()))
            .chain(self.commands.iter().flat_map(|command| &command.modes))
            .chain(modes.flat_map(|mode| {
                let run = mode.run.as_ref().map(|run| &run.mode);
                mode.keys.values().chain(run)
            }))
    }

    fn actions(&self) -> impl Iterator<Item = &Action> {
        let answered = self.questions.values().flat_map(|question| {
            let answers = question.answers.iter().map(|answer| &answer.action);
            answers.chain([&question.otherwise])
        });
        let commands = self.commands.iter().map(|command| &command.action);
        commands.chain(answered)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_file_is_a_platform_with_an_example() {
        for (name, text) in BUILT_IN {
            let platform = Definition::parse(name, text).unwrap();
            assert!(platform.example.is_some(), "{name}");
        }
    }

    #[test]
    fn what_is_wrong_with_a_file_is_said() {
        let file = |text: &str| Definition::parse("own", text).unwrap_err();
        let extended = "extends = \"cisco_ios\"\n";
        assert!(file("extends = \"nonesuch\"").contains("nonesuch"));
        let misspelt = format!("{extended}[[commands]]\ntyped = \"x\"\nprnt = \"y\"");
        assert!(file(&misspelt).contains("prnt"), "{}", file(&misspelt));
        let nowhere = format!("{extended}[[commands]]\ntyped = \"x\"\ngoto = \"nowhere\"");
        assert!(file(&nowhere).contains("[modes.nowhere]"));
        let unasked = format!("{extended}[[commands]]\ntyped = \"x\"\nask = \"nothing\"");
        assert!(file(&unasked).contains("[questions.nothing]"));
    }
}
