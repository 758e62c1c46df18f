//! The definition of a simulated device's command line, read from the TOML files `platforms/*.toml`, one
//! per platform.
//!
//! A file may contain `extends = "cisco_ios"` and only the differences; see [`extend`].
//!
//! Texts may contain placeholders, see [`super::text`]. Their newlines are `\n`, which the device
//! sends as [`Terminal::newline`]. Typed lines are matched against patterns, see [`super::words`].

use std::collections::BTreeMap;
use std::sync::{Arc, LazyLock};

use serde::{Deserialize, Deserializer};
use toml::{Table, Value};

use super::words::Words;

macro_rules! files {
    ($($name:literal),* $(,)?) => {
        &[$(($name, include_str!(concat!("../platforms/", $name, ".toml")))),*]
    };
}

/// The platform files by name.
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

/// Login questions that can be configured on any platform, by name.
const QUESTIONS: &str = include_str!("../platforms/questions.toml");

/// The parsed platform files; tests parse all of them.
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
    /// Commands; the first match applies.
    #[serde(default)]
    pub(super) commands: Vec<Command>,
    #[serde(default)]
    pub(super) configuration: Configuration,
}

/// A session that demonstrates the platform: a tour for readers, a test case for tests.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Example {
    /// A command with less than a page of output.
    pub show: String,
    /// A command with more than a page of output.
    pub paged: String,
    /// A command that the device refuses.
    pub refused: String,
    /// The message of that refusal.
    pub refusal: String,
    /// Configuration lines that the device accepts.
    pub lines: Vec<String>,
    /// A configuration line that the device refuses.
    pub refused_line: String,
    /// The message of that refusal.
    pub line_refusal: String,
    /// A text in the running configuration after `lines`.
    pub configured: String,
}

/// How the terminal echoes and redraws input.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Terminal {
    /// The line ending on the wire for `\n` in texts.
    pub(super) newline: String,
    /// The echo of a typed character: `{char}`. Devices that redraw the line also use `{prompt}`,
    /// `{line}`, `{at}` (its column, from 1), `{column}` (of the cursor after it) and `{pad}`
    /// (spaces up to the terminal's edge).
    pub(super) echo: String,
    /// The echo of Enter, with the same placeholders.
    pub(super) enter: String,
    /// The echo of a deletion.
    pub(super) erase: String,
    /// The echo of Ctrl-C.
    pub(super) interrupt: String,
    /// Behaviour of a line that reaches the terminal's edge.
    pub(super) wrap: Wrap,
    /// A fixed number of columns, which overrides the client's.
    pub(super) width: Option<usize>,
    /// Prefixes of comments, which the device accepts without output.
    pub(super) comments: Vec<String>,
    /// Printed on `?`, followed by the line; a `?` after Ctrl-V is literal.
    pub(super) help: Option<String>,
    /// Whether commands may be abbreviated: `sh ver` for `show version`.
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

/// Behaviour of a line that reaches the terminal's edge.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Wrap {
    /// Continues without any output.
    Never,
    /// Backspaces to the prompt, then prints `$` and the end of the line, as Cisco IOS does.
    Scroll,
    /// Prints a newline and continues in the next row.
    Newline,
    /// Prints a space and a carriage return, as readline does.
    Readline,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Pager {
    /// The mark between pages. `{percent}` is the share of the output shown so far, `{first}` and
    /// `{last}` are the lines on the screen.
    pub(super) mark: String,
    /// The mark at the end of the output, shown until a key in `quit` is typed.
    #[serde(default)]
    pub(super) end_mark: Option<String>,
    /// The output that erases the mark.
    #[serde(default)]
    pub(super) erase: String,
    /// Lines per page.
    pub(super) rows: usize,
    /// Whether the size of the client's terminal overrides `rows`.
    #[serde(default)]
    pub(super) rows_of_client: bool,
    /// Keys for the next page; `line` and `quit` are those for the next line and for the end.
    #[serde(default = "space")]
    pub(super) next: String,
    #[serde(default = "enter")]
    pub(super) line: String,
    #[serde(default = "quit")]
    pub(super) quit: String,
    /// Effect of any other key.
    #[serde(default)]
    pub(super) other: OtherKey,
    /// Printed when the user quits the pager.
    #[serde(default)]
    pub(super) stopped: String,
    /// Printed if the device does not allow paging to be switched off.
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
    /// Questions before the first prompt, in this order.
    #[serde(default)]
    pub(super) questions: Vec<String>,
    /// Printed after the questions.
    #[serde(default)]
    pub(super) message: String,
    /// The character that separates the user name from options: `admin+cet`.
    #[serde(default)]
    pub(super) options_after: Option<char>,
    /// The mode after a login.
    pub(super) mode: String,
    /// The mode after a login if the device is configured to start privileged.
    #[serde(default)]
    pub(super) privileged: Option<String>,
}

/// How prompts show the host name.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Hostname {
    /// The configuration line that sets the host name, including its sections.
    pub(super) line: Option<Words>,
    /// Maximum length of `{short}` in characters.
    pub(super) length: Option<usize>,
    /// Appended to `{short}` if it was shortened.
    pub(super) mark: String,
    /// `{dirty}` while changes are pending: uncommitted ones, or unsaved ones on platforms without
    /// a commit.
    pub(super) dirty: String,
    /// `{dirty}` without pending changes.
    pub(super) clean: String,
}

/// Messages for unknown commands. `{caret}` is the space up to the wrong word.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Refusals {
    pub(super) unknown: String,
    /// Message for an incomplete command; `unknown` without it.
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
    /// Whether lines that match no command are configuration.
    #[serde(default)]
    pub(super) configuration: bool,
    /// Printed before the output of a command.
    #[serde(default)]
    pub(super) before_output: String,
    /// The message for unknown commands in this mode.
    #[serde(default)]
    pub(super) unknown: Option<String>,
    /// Keys (`"\u001a"`) that switch to another mode without Enter.
    #[serde(default)]
    pub(super) keys: BTreeMap<char, String>,
    /// A prefix that runs a command of another mode: `do show version`.
    #[serde(default)]
    pub(super) run: Option<Run>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Run {
    pub(super) prefix: String,
    pub(super) mode: String,
}

/// The effect of a command or an answer.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Action {
    /// Printed, in pages if it is long.
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
    /// Sets the rows to the last word typed; 0 switches paging off.
    PageLength,
    /// Sets the columns to the last word typed.
    Width,
    /// Copies the running configuration to the start-up configuration.
    Save,
    Commit,
    /// Commits provisionally: unless another commit follows, the device reverts the change after
    /// the given number of minutes (the last word typed, or 10).
    CommitConfirmed,
    Discard,
    /// Sets the candidate to the configuration before the last commit.
    Rollback,
    /// Leaves a section.
    Up,
    /// Leaves all sections.
    Top,
    /// Also applies the line as configuration.
    Apply,
    /// Reads lines until one contains the first character of the last word typed.
    ReadText,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(from = "CommandTable")]
pub(super) struct Command {
    /// Patterns of the command.
    pub(super) typed: Vec<Words>,
    /// Modes of the command; if empty, all modes except configuration modes.
    pub(super) modes: Vec<String>,
    pub(super) when: Option<When>,
    pub(super) action: Action,
}

/// A [`Command`] as written in a file. A flattened [`Action`] would accept misspelt keys.
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

/// A condition of a command.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum When {
    /// Changes are pending: uncommitted, or unsaved on platforms without a commit.
    Changed,
    Unchanged,
    /// The candidate contains a line that a commit refuses.
    Refused,
    /// The session is in a section; `Top` is the opposite.
    Section,
    Top,
    /// The device has an enable secret; `NoSecret` is the opposite.
    Secret,
    NoSecret,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Question {
    pub(super) print: String,
    /// Whether answers are neither echoed nor recorded.
    #[serde(default)]
    pub(super) hidden: bool,
    /// Whether a single key answers.
    #[serde(default)]
    pub(super) key: bool,
    /// Attempts before `otherwise` applies.
    #[serde(default = "one")]
    pub(super) tries: usize,
    /// Printed after a wrong answer, except the last one.
    #[serde(default)]
    pub(super) again: String,
    #[serde(default)]
    pub(super) answers: Vec<Answer>,
    /// Applies after the last wrong answer.
    #[serde(default)]
    pub(super) otherwise: Action,
}

fn one() -> usize {
    1
}

/// An answer to a question. `typed` may be `{username}`, `{password}` and `{secret}`, `""` for
/// Enter alone, and `*` for anything else.
#[derive(Debug, Clone, Deserialize)]
#[serde(from = "AnswerTable")]
pub(super) struct Answer {
    pub(super) typed: Vec<String>,
    pub(super) action: Action,
}

/// An [`Answer`] as written in a file.
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
    /// Whether changes wait for a commit, and in which candidate.
    pub(super) candidate: Candidate,
    /// The initial configuration; indentation defines the sections.
    pub(super) initial: String,
    /// `{text}`, which contains `{lines}`.
    pub(super) text: Option<String>,
    /// `{running}`, which contains `{text}` and `{bytes}`, its size.
    pub(super) shown: Option<String>,
    /// Indentation of a line in a section.
    pub(super) indent: Option<String>,
    /// Prefix of lines that add: `set `. The configuration keeps it.
    pub(super) add: String,
    /// Prefix of lines that remove: `no `.
    pub(super) remove: String,
    /// Section lines.
    pub(super) sections: Vec<Section>,
    /// Lines of the top level; inside a section, they leave it first.
    pub(super) top: Vec<Words>,
    /// Lines that are valid anywhere.
    pub(super) lines: Vec<Words>,
    /// Lines of which only one can exist: a new one replaces the line with the same words up to the
    /// pattern's last fixed word.
    pub(super) single: Vec<Words>,
    /// Removals that remain in the configuration as lines: `no ip address`.
    pub(super) kept_removals: Vec<Words>,
    /// Lines that the device accepts but refuses to commit.
    pub(super) commit_refuses: Vec<Words>,
    /// The format of an added line in `{changes}`: `{line}` includes its sections.
    pub(super) added: Option<String>,
    pub(super) removed: Option<String>,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Candidate {
    /// None: lines take effect at once.
    #[default]
    None,
    /// All sessions share one, which outlives them.
    Shared,
    /// Every session has its own.
    Session,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Section {
    pub(super) line: Words,
    /// `{section}` in prompts; `{rest}` is the text that `*` and `...` matched.
    #[serde(default)]
    pub(super) label: String,
    /// Whether the section, opened inside another one, becomes part of it.
    #[serde(default)]
    pub(super) nested: bool,
    /// Printed after its lines.
    #[serde(default)]
    pub(super) end: String,
    /// Whether the section is only a prefix of the lines typed in it (`edit interfaces`), after the
    /// word that adds.
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

/// Applies a platform on top of the one that it extends: its commands come first, tables are merged
/// key by key, anything else is replaced.
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
    // The base's example session does not apply here.
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
    /// Parses a platform, and checks that every mode and question in it exists.
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
