//! The allowed values of a configuration key, and their parsing.

use config::{Value, ValueKind};

/// The allowed values of a key.
#[derive(Debug)]
pub enum Allowed {
    Flag,
    Whole {
        from: i64,
        to: i64,
    },
    OneOf(&'static [&'static str]),
    Text {
        described: &'static str,
        check: Check,
    },
    /// A list of texts: an array in the file, comma-separated in the environment.
    List {
        described: &'static str,
        check: Check,
    },
    /// [`Self::Flag`] or [`Self::List`].
    FlagOrList {
        described: &'static str,
        check: Check,
    },
}

/// Checks a text, and returns the reason if it is invalid.
pub type Check = fn(&str) -> Result<(), String>;

/// A rejected value. The reason is set if "allowed: …" does not explain the rejection fully.
#[derive(Debug, Default, PartialEq)]
pub(in crate::config) struct Rejected {
    pub(in crate::config) reason: Option<String>,
}

impl Allowed {
    pub fn describe(&self) -> String {
        match self {
            Self::Flag => "true or false".to_owned(),
            Self::Whole { from, to } => format!("a whole number from {from} to {to}"),
            Self::OneOf(choices) => match choices.split_last() {
                Some((last, others)) if !others.is_empty() => {
                    format!("{} or {last}", others.join(", "))
                }
                _ => choices.join(", "),
            },
            Self::Text { described, .. } => (*described).to_owned(),
            Self::List { described, .. } => (*described).to_owned(),
            Self::FlagOrList { described, .. } => format!("true, false or {described}"),
        }
    }

    /// Parses a value from a variable or a flag, where everything is text.
    pub(in crate::config) fn parse(&self, text: &str) -> Result<Value, Rejected> {
        let kind = match self {
            Self::Flag => ValueKind::Boolean(text.parse().map_err(|_| Rejected::default())?),
            Self::Whole { .. } => ValueKind::I64(text.parse().map_err(|_| Rejected::default())?),
            Self::OneOf(_) | Self::Text { .. } => text.into(),
            Self::FlagOrList { .. } if matches!(text, "true" | "false") => {
                ValueKind::Boolean(text == "true")
            }
            Self::FlagOrList { .. } if is_one_word(text) => {
                return Err(Rejected {
                    reason: Some(
                "a single word is not allowed here; set a list of one word in the configuration file"
                    .to_owned(),
            ),
                });
            }
            Self::List { .. } | Self::FlagOrList { .. } => {
                text.split(',').map(str::trim).collect::<Vec<_>>().into()
            }
        };
        let value = Value::new(None, kind);
        self.check(&value)?;
        Ok(value)
    }

    /// Checks a typed value from the file. The `config` crate would convert types ("yes" to true, 80.6
    /// to 81), but a file with the wrong type should be rejected.
    pub(in crate::config) fn check(&self, value: &Value) -> Result<(), Rejected> {
        let accepted = match (self, &value.kind) {
            (Self::Flag | Self::FlagOrList { .. }, ValueKind::Boolean(_)) => true,
            (Self::Whole { from, to }, ValueKind::I64(number)) => (from..=to).contains(&number),
            (Self::OneOf(choices), ValueKind::String(text)) => choices.contains(&text.as_str()),
            (Self::Text { check, .. }, ValueKind::String(text)) => return run(*check, text),
            (
                Self::List { check, .. } | Self::FlagOrList { check, .. },
                ValueKind::Array(items),
            ) => {
                for item in items {
                    let ValueKind::String(text) = &item.kind else {
                        return Err(Rejected::default());
                    };
                    run(*check, text)?;
                }
                true
            }
            (Self::Flag | Self::Whole { .. }, ValueKind::String(_)) => {
                return Err(Rejected {
                    reason: Some("remove the quotes".to_owned()),
                });
            }
            _ => false,
        };
        if accepted {
            Ok(())
        } else {
            Err(Rejected::default())
        }
    }
}

fn run(check: Check, text: &str) -> Result<(), Rejected> {
    check(text).map_err(|reason| Rejected {
        reason: Some(reason),
    })
}

/// Returns whether a text is neither a list nor a pattern with several words.
fn is_one_word(text: &str) -> bool {
    !text.contains([',', '*']) && text.split_whitespace().count() == 1
}
