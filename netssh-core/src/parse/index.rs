//! The index of a directory of templates: which ones parse a command's output.

use fancy_regex::Regex;

use super::pattern::Pattern;

/// The rows of an index, first match first.
pub(super) struct Index {
    rows: Vec<Row>,
}

struct Row {
    templates: Vec<String>,
    /// Absent where the column is empty, which any platform or command matches.
    platform: Option<Pattern>,
    command: Option<Pattern>,
}

impl Index {
    /// # Errors
    /// Which line is wrong, and why.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let mut lines = text.lines().enumerate();
        let header = lines.by_ref().find_map(|(_, line)| {
            let line = line.split('#').next().unwrap_or_default().trim();
            (!line.is_empty()).then_some(line)
        });
        let header = columns(header.unwrap_or_default());
        let column = |name: &str| header.iter().position(|column| *column == name);
        let template = column("Template").ok_or("there is no column `Template`")?;
        let (platform, command) = (column("Platform"), column("Command"));
        let completion = Regex::new(r"\[\[(.+?)\]\]").map_err(|error| error.to_string())?;
        let mut rows = Vec::new();
        for (index, line) in lines {
            let fields = columns(line);
            // A line with another number of columns is no row: the format has no other remarks.
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

    /// The templates for a command, or none.
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

/// `ow` in `sh[[ow]]`: the rest of a word that may be cut short anywhere, `(o(w)?)?`.
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
