//! Parses `TextFSM` templates: values, states and their rules.

use std::collections::HashMap;

use super::pattern::Pattern;

/// Maximum length of a value's or state's name, in characters.
const MAX_NAME: usize = 48;
const LINE_OPERATORS: [&str; 3] = ["Continue", "Next", "Error"];
const RECORD_OPERATORS: [&str; 4] = ["Clear", "Clearall", "Record", "NoRecord"];

/// A parsed template.
pub(super) struct Template {
    pub(super) values: Vec<ValueDefinition>,
    pub(super) states: Vec<Vec<Rule>>,
    pub(super) start: usize,
    /// The template has a state `EOF`, which suppresses the record at the end of the output.
    pub(super) has_eof: bool,
}

pub(super) struct ValueDefinition {
    pub(super) name: String,
    /// In their declared order, in which they take effect.
    pub(super) options: Vec<ValueOption>,
    /// The pattern of a list's elements, if it contains groups.
    pub(super) nested: Option<Pattern>,
    /// The pattern as a named group.
    group: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ValueOption {
    Filldown,
    Fillup,
    Key,
    List,
    Required,
}

impl ValueDefinition {
    pub(super) fn has(&self, option: ValueOption) -> bool {
        self.options.contains(&option)
    }
}

pub(super) struct Rule {
    pub(super) pattern: Pattern,
    /// The named groups that are values: the value's index and the group's number.
    pub(super) assigns: Vec<(usize, usize)>,
    pub(super) line: usize,
    pub(super) record: RecordOperator,
    pub(super) then: Then,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum RecordOperator {
    None,
    Record,
    Clear,
    ClearAll,
}

pub(super) enum Then {
    /// Tries the next rule on the same line.
    Continue,
    /// Reads the next line, in the same state or another one.
    Next(Option<Target>),
    Error(Option<String>),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Target {
    State(usize),
    Eof,
    End,
}

/// A rule before its target state is resolved.
struct WrittenRule {
    rule: Rule,
    next: Option<String>,
}

impl Template {
    /// Returns the values' names, in lower case.
    pub(super) fn names(&self) -> Vec<String> {
        self.values
            .iter()
            .map(|value| value.name.to_lowercase())
            .collect()
    }

    /// Returns the names of the values that form a record's key.
    pub(super) fn keys(&self) -> Vec<String> {
        let keys = self
            .values
            .iter()
            .filter(|value| value.has(ValueOption::Key));
        keys.map(|value| value.name.to_lowercase()).collect()
    }

    /// Parses a template.
    ///
    /// # Errors
    /// The invalid line and the reason.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let text = text.trim_start_matches('\u{feff}');
        let text = text.replace("\r\n", "\n").replace('\r', "\n");
        let mut lines = text
            .lines()
            .map(str::trim_end)
            .enumerate()
            .map(|(index, line)| (index + 1, line));
        let values = parse_values(&mut lines)?;
        let groups: HashMap<&str, &str> = values
            .iter()
            .map(|value| (value.name.as_str(), value.group.as_str()))
            .collect();
        let mut names: Vec<String> = Vec::new();
        let mut written: Vec<Vec<WrittenRule>> = Vec::new();
        while let Some((number, name)) = lines.find(|(_, line)| !line.is_empty() && !comment(line))
        {
            if !is_state_name(name) {
                return Err(format!("invalid state name `{name}` in line {number}"));
            }
            if names.iter().any(|known| known == name) {
                return Err(format!("duplicate state `{name}` in line {number}"));
            }
            names.push(name.to_owned());
            let mut rules = Vec::new();
            for (number, line) in lines.by_ref().take_while(|(_, line)| !line.is_empty()) {
                if comment(line) {
                    continue;
                }
                if ![" ^", "  ^", "\t^"]
                    .iter()
                    .any(|start| line.starts_with(start))
                {
                    return Err(format!("invalid rule in line {number}: expected ` ^…`"));
                }
                let rule = parse_rule(line.trim(), number, &values, &groups)
                    .map_err(|message| format!("line {number}: {message}"))?;
                rules.push(rule);
            }
            written.push(rules);
        }
        link(values, &names, written)
    }
}

/// Checks the states and resolves the targets of rules.
fn link(
    values: Vec<ValueDefinition>,
    names: &[String],
    written: Vec<Vec<WrittenRule>>,
) -> Result<Template, String> {
    let index_of = |name: &str| names.iter().position(|known| known == name);
    let start = index_of("Start").ok_or("state `Start` not found")?;
    for name in ["End", "EOF"] {
        if index_of(name).is_some_and(|index| !written[index].is_empty()) {
            return Err(format!("state `{name}` has rules; it must be empty"));
        }
    }
    let resolve = |written: WrittenRule| {
        let mut rule = written.rule;
        if let Then::Next(target) = &mut rule.then {
            *target = match written.next.as_deref() {
                None => None,
                Some("End") => Some(Target::End),
                Some("EOF") => Some(Target::Eof),
                Some(name) => {
                    Some(Target::State(index_of(name).ok_or_else(|| {
                        format!("line {}: state `{name}` not found", rule.line)
                    })?))
                }
            };
        }
        Ok(rule)
    };
    let states = written
        .into_iter()
        .map(|rules| rules.into_iter().map(resolve).collect())
        .collect::<Result<_, String>>()?;
    Ok(Template {
        values,
        states,
        start,
        has_eof: index_of("EOF").is_some(),
    })
}

fn comment(line: &str) -> bool {
    line.trim_start().starts_with('#')
}

fn is_word(text: &str) -> bool {
    !text.is_empty()
        && text
            .chars()
            .all(|next| next.is_alphanumeric() || next == '_')
}

fn is_state_name(name: &str) -> bool {
    is_word(name)
        && name.chars().count() <= MAX_NAME
        && !LINE_OPERATORS.contains(&name)
        && !RECORD_OPERATORS.contains(&name)
}

/// Parses the values at the beginning and the blank line after them.
fn parse_values<'t>(
    lines: &mut impl Iterator<Item = (usize, &'t str)>,
) -> Result<Vec<ValueDefinition>, String> {
    let mut values: Vec<ValueDefinition> = Vec::new();
    for (number, line) in lines {
        if line.is_empty() {
            break;
        }
        if comment(line) {
            continue;
        }
        if !line.starts_with("Value ") {
            return Err(format!(
                "invalid value in line {number}: expected `Value …` or a blank line"
            ));
        }
        let value = parse_value(line).map_err(|message| format!("line {number}: {message}"))?;
        if values.iter().any(|known| known.name == value.name) {
            return Err(format!("duplicate value `{}` in line {number}", value.name));
        }
        values.push(value);
    }
    Ok(values)
}

fn parse_value(line: &str) -> Result<ValueDefinition, String> {
    let mut words = line.splitn(3, ' ').skip(1);
    let (Some(first), Some(rest)) = (words.next(), words.next()) else {
        return Err("expected `Value [options] NAME (pattern)`".to_owned());
    };
    let (options, name, pattern) = if rest.starts_with('(') {
        (Vec::new(), first, rest)
    } else {
        let (name, pattern) = rest.split_once(' ').unwrap_or((rest, ""));
        (parse_options(first)?, name, pattern)
    };
    if !is_word(name) || name.chars().count() > MAX_NAME {
        return Err(format!("invalid value name `{name}`"));
    }
    let inner = pattern
        .strip_prefix('(')
        .filter(|_| pattern.ends_with(')') && !pattern.ends_with("\\)"))
        .ok_or_else(|| format!("invalid pattern `{pattern}`: expected parentheses around it"))?;
    let compiled = Pattern::new(pattern)?;
    let nested = options.contains(&ValueOption::List) && compiled.groups() > 1;
    Ok(ValueDefinition {
        name: name.to_owned(),
        options,
        nested: nested.then_some(compiled),
        group: format!("(?P<{name}>{inner}"),
    })
}

fn parse_options(written: &str) -> Result<Vec<ValueOption>, String> {
    let mut options = Vec::new();
    for word in written.split(',') {
        let option = match word {
            "Filldown" => ValueOption::Filldown,
            "Fillup" => ValueOption::Fillup,
            "Key" => ValueOption::Key,
            "List" => ValueOption::List,
            "Required" => ValueOption::Required,
            _ => return Err(format!("unknown option `{word}`")),
        };
        if options.contains(&option) {
            return Err(format!("duplicate option `{word}`"));
        }
        options.push(option);
    }
    Ok(options)
}

fn parse_rule(
    rule: &str,
    line: usize,
    values: &[ValueDefinition],
    groups: &HashMap<&str, &str>,
) -> Result<WrittenRule, String> {
    let (written, action) = split_action(rule);
    let pattern = if values.is_empty() {
        written.to_owned()
    } else {
        substitute(written, groups)?
    };
    let pattern = Pattern::new(&pattern)?;
    let assigned = pattern.names().iter().filter_map(|(name, group)| {
        let value = values.iter().position(|value| value.name == *name)?;
        Some((value, *group))
    });
    let assigns = assigned.collect();
    let action = parse_action(action)
        .ok_or_else(|| format!("invalid action `{}`", action.unwrap_or_default().trim()))?;
    let then = match action.line_operator {
        "Continue" if action.next.is_some() => {
            return Err("a new state is not allowed after `Continue`".to_owned());
        }
        "Continue" => Then::Continue,
        "Error" => Then::Error(action.next.map(|text| text.trim_matches('"').to_owned())),
        _ if action.next.is_some_and(|next| !is_word(next)) => {
            return Err("a text is allowed after `Error` only".to_owned());
        }
        _ => Then::Next(None),
    };
    let record = match action.record_operator {
        "Record" => RecordOperator::Record,
        "Clear" => RecordOperator::Clear,
        "Clearall" => RecordOperator::ClearAll,
        _ => RecordOperator::None,
    };
    let next = match then {
        Then::Next(_) => action.next.map(str::to_owned),
        _ => None,
    };
    Ok(WrittenRule {
        rule: Rule {
            pattern,
            assigns,
            line,
            record,
            then,
        },
        next,
    })
}

/// Splits a rule at its last arrow.
fn split_action(rule: &str) -> (&str, Option<&str>) {
    let arrows = rule.match_indices("->").filter_map(|(index, arrow)| {
        let before = rule[..index].chars().next_back()?;
        before
            .is_whitespace()
            .then(|| (index - before.len_utf8(), index + arrow.len()))
    });
    match arrows.last() {
        Some((end, action)) => (&rule[..end], Some(&rule[action..])),
        None => (rule, None),
    }
}

#[derive(Default)]
struct Action<'t> {
    line_operator: &'t str,
    record_operator: &'t str,
    next: Option<&'t str>,
}

/// Parses `Line.Record State`, with each part optional.
fn parse_action(action: Option<&str>) -> Option<Action<'_>> {
    let Some(action) = action else {
        return Some(Action::default());
    };
    let words = action.trim();
    if words.is_empty() {
        return Some(Action::default());
    }
    if !action.starts_with(char::is_whitespace) {
        return None;
    }
    let (operator, rest) = match words.split_once(char::is_whitespace) {
        Some((operator, rest)) => (operator, Some(rest.trim_start())),
        None => (words, None),
    };
    let (line, record) = match operator.split_once('.') {
        Some((line, record)) => (line, Some(record)),
        None => (operator, None),
    };
    let is_next = |text: &str| {
        is_word(text) || (text.len() > 1 && text.starts_with('"') && text.ends_with('"'))
    };
    let rest_fits = rest.is_none_or(is_next);
    if rest_fits
        && LINE_OPERATORS.contains(&line)
        && record.is_none_or(|record| RECORD_OPERATORS.contains(&record))
    {
        return Some(Action {
            line_operator: line,
            record_operator: record.unwrap_or_default(),
            next: rest,
        });
    }
    if rest_fits && RECORD_OPERATORS.contains(&operator) {
        return Some(Action {
            line_operator: "",
            record_operator: operator,
            next: rest,
        });
    }
    is_next(words).then_some(Action {
        next: Some(words),
        ..Action::default()
    })
}

/// Substitutes the values' patterns for `${NAME}` and `$NAME`; `$$` is a dollar sign.
fn substitute(written: &str, groups: &HashMap<&str, &str>) -> Result<String, String> {
    let mut text = String::with_capacity(written.len() * 2);
    let mut rest = written;
    while let Some(dollar) = rest.find('$') {
        text.push_str(&rest[..dollar]);
        rest = &rest[dollar + 1..];
        if let Some(after) = rest.strip_prefix('$') {
            text.push('$');
            rest = after;
            continue;
        }
        let braced = rest.strip_prefix('{');
        let name = braced.unwrap_or(rest);
        let end = name
            .find(|next: char| !next.is_ascii_alphanumeric() && next != '_')
            .unwrap_or(name.len());
        let (name, after) = name.split_at(end);
        let after = if braced.is_some() {
            after.strip_prefix('}')
        } else {
            Some(after)
        };
        let valid = !name.is_empty() && !name.starts_with(|next: char| next.is_ascii_digit());
        let (Some(after), true) = (after, valid) else {
            return Err("invalid `$`: expected `${NAME}` or `$$`".to_owned());
        };
        let group = groups
            .get(name)
            .ok_or_else(|| format!("value `{name}` not found"))?;
        text.push_str(group);
        rest = after;
    }
    text.push_str(rest);
    Ok(text)
}
