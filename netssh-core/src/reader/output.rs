//! The output of a reply: without the command's echo, sentinels, pager marks and the platform's
//! header.

use super::{BEFORE_ECHO, Reader};
use crate::terminal::clean;

/// A finished reply.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Answer {
    pub(crate) output: String,
    pub(crate) truncated: bool,
}

impl Reader<'_> {
    /// Returns the reply received so far, or the whole reply once its end is found, without the
    /// echo of `command`.
    pub(crate) fn answer(&self, command: Option<&str>) -> Answer {
        let (mut end, rest) = match &self.end {
            Some(end) => (end.offset, end.rest.as_str()),
            None => (self.buffer.len(), ""),
        };
        let mut truncated = self.buffer.truncated;
        if end > self.buffer.limit {
            truncated = true;
            end = self.buffer.limit;
        }
        let mut skipped = 0;
        if let Some(command) = command
            && self.echo
        {
            skipped = self.echo_length(&self.buffer[..end], command);
        }
        let mut output = self.buffer.text(skipped, end);
        if !truncated {
            output.push_str(rest);
        }
        if output.ends_with('\n') {
            output.pop();
        }
        if (skipped == 0 || !self.echo) && self.word.is_some() && command.is_some() {
            // Without an echo, the rest of the prompt and the newline of Enter remain.
            while let Some(newline) = output.find('\n')
                && output[..newline].trim().is_empty()
            {
                output.drain(..=newline);
            }
        }
        self.without_sentinels(&mut output);
        self.trim(&mut output);
        Answer { output, truncated }
    }

    /// Returns the length of the echo of `command`, including everything that the device printed
    /// before it read the command.
    ///
    /// Some devices redraw the line on Enter, some with every typed character; a log line may
    /// precede the echo or split it.
    pub(super) fn echo_length(&self, bytes: &[u8], command: &str) -> usize {
        let command = command.trim();
        let mut length = 0;
        let mut others = 0;
        // The rest of an echo that a log line has split.
        let mut left: Option<&str> = None;
        let mut at = 0;
        while at < bytes.len() && others < BEFORE_ECHO {
            let newline = bytes[at..].iter().position(|&byte| byte == b'\n');
            let end = newline.map_or(bytes.len(), |newline| at + newline + 1);
            let line = clean(&bytes[at..end]);
            let line = line.trim_end();
            let typed = self.after_prompt(line);
            let is_echo = typed == Some(command)
                || (length == at && line == command)
                || (at == 0 && ends_with_echo(line, command))
                || (length == 0 && (line == command || Some(line.trim_start()) == left));
            if is_echo {
                length = end;
                left = None;
            } else if let Some(typed) = typed.filter(|typed| is_beginning(command, typed)) {
                // The device redraws the line while it is typed, or a log line follows.
                if length > 0 {
                    length = end;
                } else {
                    left = Some(command[typed.len()..].trim_start());
                }
            } else if !line.is_empty() {
                if length > 0 {
                    break;
                }
                others += 1;
                let typed = typed.unwrap_or(line);
                let same = common_length(typed, command);
                if others == 1 && same == command.len() {
                    length = end;
                } else if others == 1 && same > 0 && left.is_none() {
                    left = Some(command[same..].trim_start());
                }
            }
            at = end;
        }
        length
    }

    /// Removes the echoes of sentinels typed ahead of the output, and the prompts shown for them.
    fn without_sentinels(&self, output: &mut String) {
        let Some(word) = self.word.as_deref().filter(|word| output.contains(word)) else {
            return;
        };
        let lines = output.lines().filter(|line| !line.contains(word));
        let mut lines: Vec<&str> = lines.collect();
        while lines
            .last()
            .is_some_and(|line| line.is_empty() || self.learnt.is(line))
        {
            lines.pop();
        }
        *output = lines.join("\n");
    }

    /// Removes the lines that the platform prints around every output.
    fn trim(&self, output: &mut String) {
        if let Some(above) = &self.platform.prompts.above {
            while let Some(at) = last_line_start(output) {
                let line = output[at..].trim();
                if line.is_empty() || !above.matches(line) {
                    break;
                }
                output.truncate(at.saturating_sub(1));
                // The empty line before it is removed, too.
                if output.ends_with('\n') {
                    output.pop();
                }
            }
        }
        if let Some(header) = &self.platform.header {
            let blank = output.len() - output.trim_start_matches('\n').len();
            let line = output[blank..].lines().next().unwrap_or_default();
            if header.matches(line) {
                let length = (blank + line.len() + 1).min(output.len());
                output.drain(..length);
            }
        }
    }
}

/// Returns whether a line is the echo of a command. The device redraws or scrolls a command that is
/// longer than the terminal is wide, so only its end is compared.
fn ends_with_echo(line: &str, command: &str) -> bool {
    const COMPARED: usize = 12;
    let mut from = command.len().saturating_sub(COMPARED);
    while !command.is_char_boundary(from) {
        from += 1;
    }
    line.ends_with(&command[from..])
}

fn is_beginning(command: &str, typed: &str) -> bool {
    !typed.is_empty() && command.starts_with(typed)
}

/// Returns the length of the common prefix of two texts, in bytes.
fn common_length(one: &str, other: &str) -> usize {
    let pairs = one.char_indices().zip(other.chars());
    let different = pairs.clone().find(|((_, a), b)| a != b);
    match different {
        Some(((at, _), _)) => at,
        None => one.len().min(other.len()),
    }
}

/// Returns the start of the last line of a text.
fn last_line_start(text: &str) -> Option<usize> {
    if text.is_empty() {
        return None;
    }
    Some(text.rfind('\n').map_or(0, |at| at + 1))
}
