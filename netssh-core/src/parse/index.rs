//! The index of a template directory: selects the templates for a command.

use fancy_regex::Regex;

use super::pattern::Pattern;

/// The rows of an index; the first match counts.
pub(super) struct Index {
    rows: Vec<Row>,
}

struct Row {
    templates: Vec<String>,
    /// `None` matches every platform or command.
    platform: Option<Pattern>,
    command: Option<Pattern>,
}

impl Index {
    /// Parses an index.
    ///
    /// # Errors
    /// The invalid line and the reason.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let mut lines = text.lines().enumerate();
        let header = lines.by_ref().find_map(|(_, line)| {
            let line = line.split('#').next().unwrap_or_default().trim();
            (!line.is_empty()).then_some(line)
        });
        let header = columns(header.unwrap_or_default());
        let column = |name: &str| header.iter().position(|column| *column == name);
        let template = column("Template").ok_or("column `Template` not found")?;
        let (platform, command) = (column("Platform"), column("Command"));
        let completion = Regex::new(r"\[\[(.+?)\]\]").map_err(|error| error.to_string())?;
        let mut rows = Vec::new();
        for (index, line) in lines {
            let fields = columns(line);
            // Lines with another number of columns are remarks.
            if line.starts_with('#') || fields.len() != header.len() {
                continue;
            }
            let pattern = |column: Option<usize>| {
                let written = column.map(|column| fields[column]);
                let written = written.filter(|written| !written.is_empty());
                let compiled = written.map(|written| {
                    let written = completion.replace_all(
                        written,
                        |found: &fancy_regex::Captures<'_, str>| {
                            complete(found.get(1).map_or("", |word| word.as_str()))
                        },
                    );
                    Pattern::new(&written)
                });
                compiled
                    .transpose()
                    .map_err(|message| format!("line {}: {message}", index + 1))
            };
            rows.push(Row {
                templates: fields[template].split(':').map(str::to_owned).collect(),
                platform: pattern(platform)?,
                command: pattern(command)?,
            });
        }
        Ok(Self { rows })
    }

    /// Returns the templates for a command.
    pub(super) fn find(&self, platform: &str, command: &str) -> Option<&[String]> {
        let fits = |pattern: &Option<Pattern>, text: &str| match pattern {
            None => true,
            Some(pattern) => matches!(pattern.matches(text), Ok(Some(_))),
        };
        let row = self
            .rows
            .iter()
            .find(|row| fits(&row.platform, platform) && fits(&row.command, command))?;
        Some(&row.templates)
    }
}

fn columns(line: &str) -> Vec<&str> {
    line.split(',').map(str::trim).collect()
}

/// Returns the pattern for `ow` in `sh[[ow]]`, the optional rest of a word: `(o(w)?)?`.
fn complete(word: &str) -> String {
    let mut pattern = String::new();
    for letter in word.chars() {
        pattern.push('(');
        pattern.push(letter);
    }
    pattern + &")?".repeat(word.chars().count())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_is_found_by_any_of_its_abbreviations() {
        let index = Index::parse(
            "# a remark\nTemplate, Hostname, Platform, Command\n\n\
             a.textfsm:b.textfsm, .*, cisco_ios, sh[[ow]] ver[[sion]]\nc.textfsm, .*, other,\n",
        )
        .unwrap();
        for command in ["sh ver", "show version", "sho vers"] {
            let found = index.find("cisco_ios", command).unwrap();
            assert_eq!(found, ["a.textfsm", "b.textfsm"]);
        }
        assert!(index.find("cisco_ios", "show clock").is_none());
        assert_eq!(index.find("other", "anything").unwrap(), ["c.textfsm"]);
    }
}
