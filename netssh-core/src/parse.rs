//! Structured output by `TextFSM` templates, selected by platform and command with the index of
//! [ntc-templates](https://github.com/networktocode/ntc-templates).
//!
//! The operator provides a directory in that project's format (`ntc_templates/templates`),
//! optionally with additional templates. Templates are interpreted as in Python's `textfsm`:
//! `parse/template.rs` parses one, `parse/machine.rs` runs it, `parse/pattern.rs` translates its
//! patterns.

mod index;
mod machine;
mod pattern;
mod template;

use std::collections::{BTreeMap, VecDeque};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use serde::ser::{SerializeMap, SerializeSeq};
use serde::{Serialize, Serializer};

use self::index::Index;
use self::machine::{Failure, Pace};
use self::template::Template;

/// Maximum length of an output.
const MAX_OUTPUT_BYTES: usize = 8 << 20;
const MAX_COMMAND_CHARS: usize = 1_024;
/// Maximum length of a template file.
const MAX_TEMPLATE_BYTES: u64 = 1 << 20;
/// Time limits of one call and of one line.
const PARSE_TIMEOUT: Duration = Duration::from_secs(20);
const LINE_TIMEOUT: Duration = Duration::from_secs(1);
/// Number of compiled templates in the cache.
const CACHED_TEMPLATES: usize = 16;

/// Platforms for which the templates use another name.
const OTHER_NAMES: &[(&str, &str)] = &[
    ("cisco_xe", "cisco_ios"),
    ("nokia_sros", "alcatel_sros"),
    ("vyos", "vyatta_vyos"),
    ("dell_os10", "dell_force10"),
];

/// A directory of `TextFSM` templates and its index.
pub struct Templates {
    directory: PathBuf,
    index: Index,
    compiled: Mutex<VecDeque<Compiled>>,
}

/// A compiled template and the state of its file when it was read.
struct Compiled {
    name: String,
    stamp: (Option<SystemTime>, u64),
    template: Arc<Template>,
}

impl std::fmt::Debug for Templates {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Templates")
            .field("directory", &self.directory)
            .finish_non_exhaustive()
    }
}

/// The records of a parsed output: the template's value names in lower case, and a row of values
/// per record. Serializes as a list of maps.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Records {
    names: Vec<String>,
    rows: Vec<Vec<Field>>,
}

/// A value of a record.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub enum Field {
    /// Text; empty if the output has no value.
    Text(String),
    /// A value declared as a list.
    List(Vec<Item>),
}

/// One element of a [`Field::List`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub enum Item {
    /// Text.
    Text(String),
    /// The groups of a pattern with named groups; `None` for a group without a match.
    Groups(BTreeMap<String, Option<String>>),
    /// The line matched without this value. Keeps the list's indexes aligned with those of lists
    /// filled by the same lines.
    Absent,
}

impl Field {
    fn is_empty(&self) -> bool {
        match self {
            Self::Text(text) => text.is_empty(),
            Self::List(items) => items.is_empty(),
        }
    }
}

impl Records {
    /// Returns the names of the values, in the template's order.
    #[must_use]
    pub fn names(&self) -> &[String] {
        &self.names
    }

    /// Returns a row for each record, with a value for each name.
    #[must_use]
    pub fn rows(&self) -> &[Vec<Field>] {
        &self.rows
    }

    /// Returns one value.
    #[must_use]
    pub fn get(&self, row: usize, name: &str) -> Option<&Field> {
        let column = self.names.iter().position(|known| known == name)?;
        self.rows.get(row)?.get(column)
    }

    /// Adds the columns of another template's records to the rows with the same keys, or without
    /// keys to the rows with the same index.
    fn extend(&mut self, other: &Self, keys: &[String]) -> Result<(), String> {
        let column = |names: &[String], name: &String| {
            let found = names.iter().position(|known| known == name);
            found.ok_or_else(|| {
                format!("value `{name}` is a key, but one of the templates lacks it")
            })
        };
        let keys = keys
            .iter()
            .map(|key| Ok((column(&self.names, key)?, column(&other.names, key)?)))
            .collect::<Result<Vec<_>, String>>()?;
        let added =
            (0..other.names.len()).filter(|index| !self.names.contains(&other.names[*index]));
        let added: Vec<usize> = added.collect();
        for (place, row) in self.rows.iter_mut().enumerate() {
            let found = if keys.is_empty() {
                other.rows.get(place)
            } else {
                let same = |theirs: &&Vec<Field>| {
                    keys.iter()
                        .all(|(ours, their)| row[*ours] == theirs[*their])
                };
                other.rows.iter().find(same)
            };
            let values = added.iter().map(|column| match found {
                Some(theirs) => theirs[*column].clone(),
                None => Field::Text(String::new()),
            });
            let values: Vec<_> = values.collect();
            row.extend(values);
        }
        self.names
            .extend(added.into_iter().map(|column| other.names[column].clone()));
        Ok(())
    }
}

impl Serialize for Records {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        struct Row<'r>(&'r [String], &'r [Field]);
        impl Serialize for Row<'_> {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                let mut map = serializer.serialize_map(Some(self.0.len()))?;
                for (name, value) in self.0.iter().zip(self.1) {
                    map.serialize_entry(name, value)?;
                }
                map.end()
            }
        }
        let mut rows = serializer.serialize_seq(Some(self.rows.len()))?;
        for row in &self.rows {
            rows.serialize_element(&Row(&self.names, row))?;
        }
        rows.end()
    }
}

/// The reason why an output was not parsed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ParseError {
    /// The directory contains no templates, or its index cannot be read.
    #[error("{path}: {message}")]
    Directory {
        /// The file or directory.
        path: String,
        /// The reason.
        message: String,
    },
    /// There is no template for this command.
    #[error("template for `{command}` on {platform} not found")]
    NoTemplate {
        /// The platform's name.
        platform: String,
        /// The command.
        command: String,
    },
    /// The template is invalid.
    #[error("invalid template {template}: {message}")]
    Template {
        /// The template's file.
        template: String,
        /// The reason.
        message: String,
    },
    /// The output does not fit the template.
    #[error("the output of `{command}` does not match its template: {message}")]
    Mismatch {
        /// The command.
        command: String,
        /// The template's message.
        message: String,
    },
    /// The output is too long.
    #[error(
        "the output of `{command}` is too large: {bytes} bytes, at most {MAX_OUTPUT_BYTES} are allowed"
    )]
    TooLong {
        /// The command.
        command: String,
        /// Its output's length.
        bytes: usize,
    },
    /// A line of the output is too long.
    #[error("line {line} of the output of `{command}` is too long: {bytes} bytes")]
    LineTooLong {
        /// The command.
        command: String,
        /// The line's number.
        line: usize,
        /// The line's length.
        bytes: usize,
    },
    /// The records take too much memory.
    #[error(
        "the records of `{command}` exceed the memory limit: the template produces too many of them by \
         line {line}"
    )]
    TooManyRecords {
        /// The command.
        command: String,
        /// The number of the line at which the limit was reached.
        line: usize,
    },
    /// Matching took too long.
    #[error(
        "parsing the output of `{command}` timed out in line {line}: the template's patterns backtrack too much"
    )]
    TooSlow {
        /// The command.
        command: String,
        /// The line's number.
        line: usize,
    },
    /// The caller stopped the parser.
    #[error("parsing the output of `{command}` was cancelled")]
    Stopped {
        /// The command.
        command: String,
    },
}

impl Templates {
    /// Loads the index of a directory. Templates are read on first use.
    ///
    /// # Errors
    /// [`ParseError::Directory`].
    pub fn load(directory: &Path) -> Result<Self, ParseError> {
        let index = directory.join("index");
        let wrong = |path: &Path, message: String| ParseError::Directory {
            path: path.display().to_string(),
            message,
        };
        if !index.is_file() {
            return Err(wrong(
                directory,
                "file `index` not found; expected the directory `ntc_templates/templates` of the \
                 Python package ntc-templates, or one with the same layout"
                    .into(),
            ));
        }
        let text =
            std::fs::read_to_string(&index).map_err(|error| wrong(&index, error.to_string()))?;
        let parsed = Index::parse(&text).map_err(|message| wrong(&index, message))?;
        Ok(Self {
            directory: directory.to_owned(),
            index: parsed,
            compiled: Mutex::default(),
        })
    }

    /// Returns the records in a command's output. Blocks for up to 20 s and polls `stop` between
    /// lines.
    ///
    /// # Errors
    /// Any [`ParseError`] except [`ParseError::Directory`].
    pub fn parse(
        &self,
        platform: &str,
        command: &str,
        output: &str,
        stop: &dyn Fn() -> bool,
    ) -> Result<Records, ParseError> {
        let command = command.trim();
        if output.len() > MAX_OUTPUT_BYTES {
            return Err(ParseError::TooLong {
                command: command.to_owned(),
                bytes: output.len(),
            });
        }
        // No command with a template is longer, and the index is searched with patterns.
        let longest = command.char_indices().nth(MAX_COMMAND_CHARS);
        if let Some((end, _)) = longest {
            return Err(ParseError::NoTemplate {
                platform: platform.to_owned(),
                command: format!("{}…", &command[..end]),
            });
        }
        let other = OTHER_NAMES.iter().find(|(ours, _)| *ours == platform);
        let names = [Some(platform), other.map(|(_, theirs)| *theirs)];
        let templates = names
            .into_iter()
            .flatten()
            .find_map(|name| self.index.find(name, command))
            .ok_or_else(|| ParseError::NoTemplate {
                platform: platform.to_owned(),
                command: command.to_owned(),
            })?;
        let mut pace = Clock::start(stop);
        let mut records: Option<Records> = None;
        let mut keys = Vec::new();
        for name in templates {
            let template = self.template(name)?;
            if keys.is_empty() {
                keys = template.keys();
            }
            let rows = machine::run(&template, output, &mut |line| pace.check(line))
                .map_err(|failure| failed(failure, command))?;
            let parsed = Records {
                names: template.names(),
                rows,
            };
            match &mut records {
                None => records = Some(parsed),
                Some(first) => {
                    first
                        .extend(&parsed, &keys)
                        .map_err(|message| ParseError::Template {
                            template: name.clone(),
                            message,
                        })?;
                }
            }
        }
        Ok(records.unwrap_or_default())
    }

    /// Returns a template from the cache, or reads it if its file has changed.
    fn template(&self, name: &str) -> Result<Arc<Template>, ParseError> {
        let wrong = |message: String| ParseError::Template {
            template: name.to_owned(),
            message,
        };
        let path = self.directory.join(name);
        let facts = std::fs::metadata(&path).map_err(|error| wrong(error.to_string()))?;
        if facts.len() > MAX_TEMPLATE_BYTES {
            return Err(wrong(format!(
                "too large: at most {MAX_TEMPLATE_BYTES} bytes are allowed"
            )));
        }
        let stamp = (facts.modified().ok(), facts.len());
        let lock = || self.compiled.lock().unwrap_or_else(PoisonError::into_inner);
        let known = lock()
            .iter()
            .find(|known| known.name == name && known.stamp == stamp)
            .map(|known| Arc::clone(&known.template));
        if let Some(template) = known {
            return Ok(template);
        }
        let text = std::fs::read_to_string(&path).map_err(|error| wrong(error.to_string()))?;
        let template = Arc::new(Template::parse(&text).map_err(wrong)?);
        let mut compiled = lock();
        compiled.retain(|known| known.name != name);
        compiled.push_front(Compiled {
            name: name.to_owned(),
            stamp,
            template: Arc::clone(&template),
        });
        compiled.truncate(CACHED_TEMPLATES);
        Ok(template)
    }
}

/// Enforces the time limits of a call and of each line.
struct Clock<'s> {
    stop: &'s dyn Fn() -> bool,
    begun: Instant,
    line: usize,
    line_begun: Instant,
}

impl<'s> Clock<'s> {
    fn start(stop: &'s dyn Fn() -> bool) -> Self {
        let now = Instant::now();
        Self {
            stop,
            begun: now,
            line: 0,
            line_begun: now,
        }
    }

    fn check(&mut self, line: usize) -> Pace {
        let now = Instant::now();
        if line != self.line {
            (self.line, self.line_begun) = (line, now);
        }
        if (self.stop)() {
            Pace::Stop
        } else if now - self.line_begun > LINE_TIMEOUT || now - self.begun > PARSE_TIMEOUT {
            Pace::TooSlow
        } else {
            Pace::Proceed
        }
    }
}

fn failed(failure: Failure, command: &str) -> ParseError {
    let command = command.to_owned();
    match failure {
        Failure::Refused(message) => ParseError::Mismatch { command, message },
        Failure::TooSlow { line } => ParseError::TooSlow { command, line },
        Failure::TooManyRecords { line } => ParseError::TooManyRecords { command, line },
        Failure::LineTooLong { line, bytes } => ParseError::LineTooLong {
            command,
            line,
            bytes,
        },
        Failure::Stopped => ParseError::Stopped { command },
    }
}
