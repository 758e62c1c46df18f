//! JSON log format: one object per line, with the fields of the event and its spans at the top level.
//!
//! The JSON format of `tracing-subscriber` has the fields of the innermost span under `span` and all
//! spans under `spans`, so that the position of `job_id` depends on the depth of the span. Here it is
//! always `.job_id`.

use std::fmt;

use chrono::{SecondsFormat, Utc};
use serde_json::{Map, Value};
use tracing::field::{Field, Visit};
use tracing::{Event, Subscriber};
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields, FormattedFields};
use tracing_subscriber::registry::{LookupSpan, Scope};

use crate::json::escape_hidden;

pub(super) struct JsonLines;

/// Fields that every line has, in this order. Other fields with these names are renamed.
const OWN: [&str; 4] = ["timestamp", "level", "module", "message"];

impl<S, N> FormatEvent<S, N> for JsonLines
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'writer> FormatFields<'writer> + 'static,
{
    fn format_event(
        &self,
        context: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let mut fields = Fields::default();
        for span in context.event_scope().into_iter().flat_map(Scope::from_root) {
            let extensions = span.extensions();
            if let Some(formatted) = extensions.get::<FormattedFields<N>>()
                && let Ok(Value::Object(of_span)) = serde_json::from_str(formatted)
            {
                for (name, value) in of_span {
                    fields.add(&name, value);
                }
            }
        }
        event.record(&mut fields);

        let mut line = Map::new();
        let timestamp = Utc::now().to_rfc3339_opts(SecondsFormat::Micros, true);
        line.insert("timestamp".into(), timestamp.into());
        line.insert("level".into(), event.metadata().level().as_str().into());
        line.insert("module".into(), event.metadata().target().into());
        line.insert("message".into(), fields.message.into());
        line.extend(fields.others);
        let line = serde_json::to_string(&line).map_err(|_| fmt::Error)?;
        // serde only escapes what JSON requires; terminals interpret more characters.
        writeln!(writer, "{}", escape_hidden(&line))
    }
}

#[derive(Default)]
struct Fields {
    message: String,
    others: Map<String, Value>,
}

impl Fields {
    fn add(&mut self, name: &str, value: Value) {
        let name = if OWN.contains(&name) {
            format!("field_{name}")
        } else {
            name.to_owned()
        };
        self.others.insert(name, value);
    }

    fn record(&mut self, field: &Field, value: Value) {
        match (field.name(), value) {
            ("message", Value::String(text)) => self.message = text,
            ("message", other) => self.message = other.to_string(),
            // Source location of records from the `log` crate.
            (name, _) if name.starts_with("log.") => {}
            (name, value) => self.add(name.strip_prefix("r#").unwrap_or(name), value),
        }
    }
}

impl Visit for Fields {
    fn record_f64(&mut self, field: &Field, value: f64) {
        self.record(field, value.into());
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.record(field, value.into());
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.record(field, value.into());
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.record(field, value.into());
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.record(field, value.into());
    }

    fn record_error(&mut self, field: &Field, value: &(dyn std::error::Error + 'static)) {
        self.record(field, super::with_causes(value).into());
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.record(field, format!("{value:?}").into());
    }
}

#[cfg(test)]
mod tests {
    use tracing_subscriber::fmt::format::JsonFields;
    use tracing_subscriber::layer::SubscriberExt as _;

    use super::super::tests::Captured;
    use super::*;

    fn lines_of(act: impl FnOnce()) -> Vec<Value> {
        let captured = Captured::default();
        let writer = captured.clone();
        let layer = tracing_subscriber::fmt::layer()
            .event_format(JsonLines)
            .fmt_fields(JsonFields::new())
            .with_writer(move || writer.clone());
        tracing::subscriber::with_default(tracing_subscriber::registry().with(layer), act);
        captured
            .text()
            .lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect()
    }

    #[test]
    fn a_jobs_id_stands_at_the_top_however_deep_the_line() {
        let lines = lines_of(|| {
            let job =
                tracing::info_span!("job", job_id = %"019881c0", attempt = tracing::field::Empty);
            let _job = job.enter();
            job.record("attempt", 2);
            let _session = tracing::info_span!("session", target = "core1").entered();
            tracing::warn!(duration_ms = 41, ok = false, "slow: {}", "show \"run\"\n");
        });
        let line = &lines[0];
        assert_eq!(line["job_id"], "019881c0");
        assert_eq!(line["attempt"], 2);
        assert_eq!(line["target"], "core1");
        assert_eq!(line["duration_ms"], 41);
        assert_eq!(line["ok"], false);
        assert_eq!(line["level"], "WARN");
        assert_eq!(line["message"], "slow: show \"run\"\n");
        let keys: Vec<&String> = line.as_object().unwrap().keys().take(4).collect();
        assert_eq!(keys, OWN);
    }

    #[test]
    fn names_that_collide_lose_nothing() {
        let lines = lines_of(|| {
            let _outer = tracing::info_span!("outer", level = 15, name = "outer").entered();
            let _inner = tracing::info_span!("inner", name = "inner").entered();
            tracing::info!("plain");
        });
        assert_eq!(lines[0]["level"], "INFO");
        assert_eq!(lines[0]["field_level"], 15);
        assert_eq!(lines[0]["name"], "inner");
    }

    #[test]
    fn hidden_characters_are_escaped_and_the_value_stays() {
        let text = "a\n\u{1b}[2J\u{9b}\u{202e}\u{2028}\u{e0041}\u{7f}";
        let lines = lines_of(|| {
            let _span = tracing::info_span!("job", plugin = text).entered();
            tracing::info!(name = text, "{text}");
        });
        assert_eq!(lines[0]["message"], text);
        assert_eq!(lines[0]["plugin"], text);
        assert_eq!(lines[0]["name"], text);
        let line = serde_json::to_string(&lines[0]).unwrap();
        assert!(!escape_hidden(&line).contains(netssh_core::visible::is_hidden));
    }
}
