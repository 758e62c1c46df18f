//! Runs a template over an output, line by line, with the semantics of Python's `textfsm`.

use fancy_regex::Captures;

use super::pattern::Backtracked;
use super::template::{RecordOperator, Rule, Target, Template, Then, ValueDefinition, ValueOption};
use super::{Field, Item};

/// Maximum length of a line, because the duration of a match grows with it.
const MAX_LINE_BYTES: usize = 16 << 10;
/// Maximum memory of the records: several times that of the longest reasonable output.
const MAX_RECORDS_BYTES: usize = 256 << 20;
/// Number of rules tried on a line between two checks of the time limit and of the caller's stop.
const RULES_PER_CHECK: usize = 16;
/// Maximum length of a rejected line quoted in the error, in characters.
const QUOTED: usize = 120;

/// The reason why an output could not be parsed.
pub(super) enum Failure {
    /// The template rejects the output, with its message.
    Refused(String),
    TooSlow {
        line: usize,
    },
    LineTooLong {
        line: usize,
        bytes: usize,
    },
    /// The records take more memory than allowed.
    TooManyRecords {
        line: usize,
    },
    Stopped,
}

/// The result of a check between rules.
pub(super) enum Pace {
    Proceed,
    TooSlow,
    Stop,
}

/// Parses an output into a row per record, with values in the template's order.
///
/// # Errors
/// [`Failure`].
pub(super) fn run(
    template: &Template,
    output: &str,
    pace: &mut dyn FnMut(usize) -> Pace,
) -> Result<Vec<Vec<Field>>, Failure> {
    let mut machine = Machine {
        template,
        state: template.start,
        cells: template.values.iter().map(|_| Cell::default()).collect(),
        rows: Vec::new(),
        bytes: 0,
    };
    let mut ended = None;
    for (index, line) in split_lines(output).enumerate() {
        let number = index + 1;
        if line.len() > MAX_LINE_BYTES {
            return Err(Failure::LineTooLong {
                line: number,
                bytes: line.len(),
            });
        }
        ended = machine.line(number, line, pace)?;
        if machine.bytes > MAX_RECORDS_BYTES {
            return Err(Failure::TooManyRecords { line: number });
        }
        if ended.is_some() {
            break;
        }
    }
    if ended != Some(Target::End) && !template.has_eof {
        machine.record();
    }
    Ok(machine.rows)
}

/// Splits a text like Python's `str.splitlines`.
fn split_lines(text: &str) -> impl Iterator<Item = &str> {
    const ENDS: [char; 10] = [
        '\n', '\r', '\u{0b}', '\u{0c}', '\u{1c}', '\u{1d}', '\u{1e}', '\u{85}', '\u{2028}',
        '\u{2029}',
    ];
    let mut rest = text;
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let Some(end) = rest.find(ENDS) else {
            return Some(std::mem::take(&mut rest));
        };
        let (line, after) = rest.split_at(end);
        let after = after.strip_prefix("\r\n").or_else(|| {
            let mut characters = after.chars();
            characters.next();
            Some(characters.as_str())
        });
        rest = after.unwrap_or_default();
        Some(line)
    })
}

struct Machine<'t> {
    template: &'t Template,
    state: usize,
    cells: Vec<Cell>,
    rows: Vec<Vec<Field>>,
    /// The memory of the rows, in bytes.
    bytes: usize,
}

/// The state of a value in the current record.
#[derive(Default)]
struct Cell {
    value: Value,
    /// The text that a `Filldown` value is reset to.
    kept: Option<String>,
    /// The elements of a `List` value.
    list: Vec<Item>,
}

#[derive(Default)]
enum Value {
    #[default]
    None,
    Text(String),
    List(Vec<Item>),
}

impl Value {
    fn of(text: Option<&str>) -> Self {
        text.map_or(Self::None, |text| Self::Text(text.to_owned()))
    }

    /// Returns whether the value is Python's `None`, an empty text or an empty list.
    fn is_falsy(&self) -> bool {
        match self {
            Self::None => true,
            Self::Text(text) => text.is_empty(),
            Self::List(items) => items.is_empty(),
        }
    }

    /// Returns whether the value is missing; an empty text is not.
    fn is_absent(&self) -> bool {
        match self {
            Self::None => true,
            Self::Text(_) => false,
            Self::List(items) => items.is_empty(),
        }
    }
}

/// Returns the memory that a field takes, in bytes.
fn memory_of(field: &Field) -> usize {
    let own = match field {
        Field::Text(text) => text.len(),
        Field::List(items) => items.iter().map(memory_of_item).sum(),
    };
    size_of::<Field>() + own
}

fn memory_of_item(item: &Item) -> usize {
    let own = match item {
        Item::Text(text) => text.len(),
        Item::Groups(groups) => groups
            .iter()
            .map(|(name, text)| {
                2 * size_of::<String>() + name.len() + text.as_ref().map_or(0, String::len)
            })
            .sum(),
        Item::Absent => 0,
    };
    size_of::<Item>() + own
}

impl Machine<'_> {
    /// Applies the state's rules to a line. Returns a target if a rule ends the parsing.
    fn line(
        &mut self,
        number: usize,
        line: &str,
        pace: &mut dyn FnMut(usize) -> Pace,
    ) -> Result<Option<Target>, Failure> {
        let template = self.template;
        for (tried, rule) in template.states[self.state].iter().enumerate() {
            if tried % RULES_PER_CHECK == 0 {
                match pace(number) {
                    Pace::Proceed => {}
                    Pace::TooSlow => return Err(Failure::TooSlow { line: number }),
                    Pace::Stop => return Err(Failure::Stopped),
                }
            }
            let matched = rule.pattern.matches(line);
            let Some(captures) =
                matched.map_err(|Backtracked| Failure::TooSlow { line: number })?
            else {
                continue;
            };
            self.assign(rule, &captures);
            match rule.record {
                RecordOperator::None => {}
                RecordOperator::Record => self.record(),
                RecordOperator::Clear => self.clear(),
                RecordOperator::ClearAll => self.cells.iter_mut().for_each(Cell::clear_all),
            }
            match &rule.then {
                Then::Continue => {}
                Then::Error(text) => return Err(refusal(rule, text.as_deref(), number, line)),
                Then::Next(None) => return Ok(None),
                Then::Next(Some(Target::State(state))) => {
                    self.state = *state;
                    return Ok(None);
                }
                Then::Next(end) => return Ok(*end),
            }
        }
        Ok(None)
    }

    fn assign(&mut self, rule: &Rule, captures: &Captures<'_, str>) {
        for (value, group) in &rule.assigns {
            let text = captures.get(*group).map(|text| text.as_str());
            let definition = &self.template.values[*value];
            self.cells[*value].value = Value::of(text);
            for option in &definition.options {
                match option {
                    ValueOption::Filldown => self.cells[*value].kept = text.map(str::to_owned),
                    ValueOption::List => self.cells[*value].list.push(element(definition, text)),
                    ValueOption::Fillup => self.fill_up(*value, text),
                    ValueOption::Key | ValueOption::Required => {}
                }
            }
        }
    }

    /// Fills empty fields of a column upwards, up to the last record with a value.
    fn fill_up(&mut self, value: usize, text: Option<&str>) {
        let Some(text) = text.filter(|text| !text.is_empty()) else {
            return;
        };
        let empty = self.rows.iter_mut().rev().map(|row| &mut row[value]);
        for field in empty.take_while(|field| field.is_empty()) {
            self.bytes += text.len();
            *field = Field::Text(text.to_owned());
        }
    }

    /// Adds the current record unless it is empty or lacks a required value.
    fn record(&mut self) {
        if self.cells.is_empty() {
            return;
        }
        for (definition, cell) in self.template.values.iter().zip(&mut self.cells) {
            for option in &definition.options {
                match option {
                    ValueOption::Required if cell.value.is_falsy() => {
                        self.clear();
                        return;
                    }
                    ValueOption::List => cell.value = Value::List(cell.list.clone()),
                    _ => {}
                }
            }
        }
        if self.cells.iter().all(|cell| cell.value.is_absent()) {
            return;
        }
        let row = self
            .cells
            .iter_mut()
            .map(|cell| match std::mem::take(&mut cell.value) {
                Value::None => Field::Text(String::new()),
                Value::Text(text) => Field::Text(text),
                Value::List(items) => Field::List(items),
            });
        let row: Vec<Field> = row.collect();
        self.bytes += row.iter().map(memory_of).sum::<usize>();
        self.rows.push(row);
        self.clear();
    }

    /// Begins a new record; `Filldown` values keep their text.
    fn clear(&mut self) {
        for (definition, cell) in self.template.values.iter().zip(&mut self.cells) {
            cell.value = Value::None;
            if definition.has(ValueOption::Filldown) {
                cell.value = Value::of(cell.kept.as_deref());
            } else {
                cell.list.clear();
            }
        }
    }
}

impl Cell {
    fn clear_all(&mut self) {
        *self = Self::default();
    }
}

/// Returns the list element of a match; [`Item::Absent`] if its group did not match.
fn element(definition: &ValueDefinition, text: Option<&str>) -> Item {
    let Some(text) = text else {
        return Item::Absent;
    };
    let nested = definition.nested.as_ref().and_then(|pattern| {
        let captures = pattern.matches(text).ok().flatten()?;
        let groups = pattern.names().iter().map(|(name, group)| {
            let text = captures.get(*group).map(|text| text.as_str().to_owned());
            (name.clone(), text)
        });
        Some(groups.collect())
    });
    match nested {
        Some(groups) if !std::collections::BTreeMap::is_empty(&groups) => Item::Groups(groups),
        _ => Item::Text(text.to_owned()),
    }
}

fn refusal(rule: &Rule, text: Option<&str>, number: usize, line: &str) -> Failure {
    let mut quoted: String = line.chars().take(QUOTED).collect();
    if quoted.len() < line.len() {
        quoted.push('…');
    }
    let rule = rule.line;
    Failure::Refused(match text {
        Some(text) => format!("{text} (rule in line {rule}, output line {number}: `{quoted}`)"),
        None => format!("the rule in line {rule} rejects output line {number}: `{quoted}`"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_split_like_python_splits_them() {
        let lines: Vec<_> = split_lines("a\r\nb\rc\u{0b}d\u{85}e\u{2028}\nf\n").collect();
        assert_eq!(lines, ["a", "b", "c", "d", "e", "", "f"]);
        assert_eq!(split_lines("").count(), 0);
    }
}
