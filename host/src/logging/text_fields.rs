//! Text log format: messages and fields, each event on one line.
//!
//! Logged text is in part chosen by devices, plugins and clients. This module renders all of it, and
//! escapes characters that could forge a line or control a terminal; see [`netssh_core::visible`].

use std::fmt::{self, Write as _};

use netssh_core::visible::OneLine;
use tracing::field::{Field, Visit};
use tracing_subscriber::field::RecordFields;
use tracing_subscriber::fmt::format::{FormatFields, Writer};

/// Formats fields as `message name=value`. There are two types because the fields of a span are cached
/// by the formatter's type: a file would otherwise get the colours of the terminal.
pub(super) struct TextFields<const COLOURS: bool>;

impl<'writer, const COLOURS: bool> FormatFields<'writer> for TextFields<COLOURS> {
    fn format_fields<R: RecordFields>(&self, writer: Writer<'writer>, fields: R) -> fmt::Result {
        let mut visitor = TextVisitor {
            colours: COLOURS && writer.has_ansi_escapes(),
            writer,
            is_first: true,
            result: Ok(()),
        };
        fields.record(&mut visitor);
        visitor.result
    }
}

struct TextVisitor<'writer> {
    writer: Writer<'writer>,
    colours: bool,
    is_first: bool,
    result: fmt::Result,
}

impl TextVisitor<'_> {
    fn add(&mut self, field: &Field, value: fmt::Arguments<'_>) {
        let name = field.name();
        // Source location of records from the `log` crate.
        if self.result.is_ok() && !name.starts_with("log.") {
            self.result = self.write(name.strip_prefix("r#").unwrap_or(name), value);
        }
    }

    fn write(&mut self, name: &str, value: fmt::Arguments<'_>) -> fmt::Result {
        if !std::mem::take(&mut self.is_first) {
            self.writer.write_char(' ')?;
        }
        if name != "message" && self.colours {
            write!(self.writer, "\u{1b}[3m{name}\u{1b}[0m\u{1b}[2m=\u{1b}[0m")?;
        } else if name != "message" {
            write!(self.writer, "{name}=")?;
        }
        OneLine(&mut self.writer).write_fmt(value)
    }
}

impl Visit for TextVisitor<'_> {
    fn record_str(&mut self, field: &Field, value: &str) {
        if field.name() == "message" {
            self.add(field, format_args!("{value}"));
        } else {
            self.add(field, format_args!("{value:?}"));
        }
    }

    fn record_error(&mut self, field: &Field, value: &(dyn std::error::Error + 'static)) {
        let text = super::with_causes(value);
        self.add(field, format_args!("{text}"));
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.add(field, format_args!("{value:?}"));
    }
}
