//! Structured output: `TextFSM` templates, chosen by platform and command as the index of
//! [ntc-templates](https://github.com/networktocode/ntc-templates) says.
//!
//! The templates are the operator's: a directory as that project has it
//! (`ntc_templates/templates`), with more of their own if they like.

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};

use serde::Serialize;
use textfsm_rust::{CliTable, ListItem, TextTable, Value};

/// Longer outputs are not parsed: a template's patterns may backtrack.
const OUTPUT_BYTES: usize = 4 << 20;

/// Names of platforms that the templates have under another one.
const OTHER_NAMES: &[(&str, &str)] = &[
    ("cisco_xe", "cisco_ios"),
    ("nokia_sros", "alcatel_sros"),
    ("vyos", "vyatta_vyos"),
    ("dell_os10", "dell_force10"),
];

/// A directory of `TextFSM` templates and its index.
pub struct Templates {
    directory: PathBuf,
    table: CliTable,
}

impl std::fmt::Debug for Templates {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Templates")
            .field("directory", &self.directory)
            .finish_non_exhaustive()
    }
}

/// One record of a parsed output: a value for each name that the template declares, in lower
/// case.
pub type Record = BTreeMap<String, Field>;

/// A value of a [`Record`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub enum Field {
    /// Text; empty where the output did not say.
    Text(String),
    /// Of a value declared as a list.
    List(Vec<Item>),
}

/// One element of a [`Field::List`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub enum Item {
    /// Text.
    Text(String),
    /// From a pattern with named groups.
    Groups(BTreeMap<String, String>),
}

/// Why an output was not parsed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ParseError {
    /// The directory holds no templates, or its index cannot be read.
    #[error("{path}: {message}")]
    Directory {
        /// The file or directory.
        path: String,
        /// What is wrong with it.
        message: String,
    },
    /// There is no template for this command.
    #[error("there is no template for `{command}` on {platform}")]
    NoTemplate {
        /// The platform's name.
        platform: String,
        /// The command.
        command: String,
    },
    /// The output is not what the template is made for, or the template is wrong.
    #[error("the output of `{command}` does not fit its template: {message}")]
    Mismatch {
        /// The command.
        command: String,
        /// What the template has to say.
        message: String,
    },
    /// The output is too long.
    #[error(
        "the output of `{command}` has {bytes} bytes, more than the {OUTPUT_BYTES} that are parsed"
    )]
    TooLong {
        /// The command.
        command: String,
        /// Its output's length.
        bytes: usize,
    },
}

impl Templates {
    /// Reads the index. The templates are read when they are needed.
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
                "holds no file `index`; it is to be the directory `ntc_templates/templates` of the \
                 Python package ntc-templates, or one like it"
                    .into(),
            ));
        }
        let table =
            CliTable::new(&index, directory).map_err(|error| wrong(&index, error.to_string()))?;
        Ok(Self {
            directory: directory.to_owned(),
            table,
        })
    }

    /// What a command's output says. Blocks while it works: at most some seconds for a long output.
    ///
    /// # Errors
    /// [`ParseError::NoTemplate`], [`ParseError::Mismatch`], [`ParseError::TooLong`].
    pub fn parse(
        &self,
        platform: &str,
        command: &str,
        output: &str,
    ) -> Result<Vec<Record>, ParseError> {
        if output.len() > OUTPUT_BYTES {
            return Err(ParseError::TooLong {
                command: command.to_owned(),
                bytes: output.len(),
            });
        }
        let attributes = |platform: &str| {
            HashMap::from([
                ("Command".to_owned(), command.trim().to_owned()),
                ("Platform".to_owned(), platform.to_owned()),
            ])
        };
        let other = OTHER_NAMES.iter().find(|(ours, _)| *ours == platform);
        let names = [Some(platform), other.map(|(_, theirs)| *theirs)];
        let entry = names
            .into_iter()
            .flatten()
            .find_map(|name| self.table.index().find_match(&attributes(name)))
            .ok_or_else(|| ParseError::NoTemplate {
                platform: platform.to_owned(),
                command: command.to_owned(),
            })?;
        // As the Python package does: a template may rely on the newline of the last line.
        let output = format!("{}\n", output.trim_end_matches('\n'));
        let table = self
            .table
            .parse_with_templates(&output, entry.templates())
            .map_err(|error| ParseError::Mismatch {
                command: command.to_owned(),
                message: error.to_string(),
            })?;
        Ok(records(&table))
    }
}

fn records(table: &TextTable) -> Vec<Record> {
    let names: Vec<String> = table
        .header()
        .iter()
        .map(|name| name.to_lowercase())
        .collect();
    let record = |row: &Vec<Value>| names.iter().cloned().zip(row.iter().map(field)).collect();
    table.values().map(record).collect()
}

fn field(value: &Value) -> Field {
    match value {
        Value::Empty => Field::Text(String::new()),
        Value::Single(text) => Field::Text(text.clone()),
        Value::List(items) => Field::List(items.iter().map(item).collect()),
    }
}

fn item(item: &ListItem) -> Item {
    match item {
        ListItem::String(text) => Item::Text(text.clone()),
        ListItem::Dict(groups) => Item::Groups(
            groups
                .iter()
                .map(|(name, text)| (name.to_lowercase(), text.clone()))
                .collect(),
        ),
    }
}
