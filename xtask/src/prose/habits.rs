//! The habits that are counted, and how frequent each may be.

use std::sync::LazyLock;

use regex_lite::Regex;

use super::text::Passage;

/// A habit of writing that keeps readers from the meaning.
#[derive(Clone, Copy)]
pub(super) struct Habit {
    pub(super) name: &'static str,
    /// What to write instead.
    pub(super) instead: &'static str,
    /// `^` is the beginning of a comment or of a paragraph.
    pattern: &'static str,
    /// Text around a match that makes it ordinary English.
    except: Option<&'static str>,
    /// How many of 1,000 lines may have it.
    pub(super) per_thousand: f64,
    #[cfg_attr(not(test), expect(dead_code, reason = "each habit is tested with it"))]
    pub(super) example: &'static str,
}

pub(super) const HABITS: [Habit; 11] = [
    Habit {
        name: "text that begins with \"What\"",
        instead: "begin with a noun (types, fields) or a verb (functions)",
        pattern: r"^(What|Whatever)\b",
        except: None,
        per_thousand: 1.8,
        example: "What a job stores.",
    },
    Habit {
        name: "\"who\", \"whoever\", \"nobody\", \"somebody\"",
        instead: "name the client, the operator, the job, the caller",
        pattern: r"(?i)\b(who|whoever|whom|nobody|somebody|anybody|everybody)\b",
        except: None,
        per_thousand: 1.5,
        example: "Tells who waits.",
    },
    Habit {
        name: "\"stands in\", \"stands as\", \"stands there\"",
        instead: "write \"is\" or \"is stored\"",
        pattern: r"(?i)\b(stands?|standing|stood) (in|as|there|at|on|with|before|beside|behind|below|above|after|between|under|open|alone|still)\b",
        except: None,
        per_thousand: 0.0,
        example: "The reason stands in the log.",
    },
    Habit {
        name: "\"look\" for check, poll, scan",
        instead: "write \"check\", \"poll\" or \"scan\"",
        pattern: r"(?i)\b(look|looks|looked|looking) (at|again|for|after|through|on|whether|every|around|into|there)\b",
        except: None,
        per_thousand: 3.0,
        example: "It looks at the queue.",
    },
    Habit {
        name: "\"goes on\", \"let go\", \"gone\"",
        instead: "write \"continues\", \"released\", \"deleted\" or \"closed\"",
        pattern: r"(?i)\b(go on|goes on|going on|went on|let go|lets go|letting go|gone)\b",
        except: None,
        per_thousand: 0.6,
        example: "The job goes on.",
    },
    Habit {
        name: "\"held back\", \"given up\", \"cut off\", \"put aside\", \"taken in\"",
        instead: "write \"paused\", \"abandoned\", \"truncated\", \"renamed\" or \"accepted\"",
        pattern: r"(?i)\b((held|hold|holds|holding) back|(given|give|gives|gave|giving) up|(cut|cuts|cutting) off|(put|puts|putting) aside|(taken|take|takes|took|taking) in)\b",
        except: None,
        per_thousand: 0.6,
        example: "Jobs that a pause holds back.",
    },
    Habit {
        name: "text that begins with \"Of\"",
        instead: "name the thing first",
        pattern: r"^Of\b",
        except: None,
        per_thousand: 0.0,
        example: "Of one device.",
    },
    Habit {
        name: "\"so many\", \"as many as\", \"so much\"",
        instead: "write \"at most N\" or the number",
        pattern: r"(?i)\b(so many|as many as|so much|as much as|so long|as often as)\b",
        except: None,
        per_thousand: 0.0,
        example: "As many as there may be.",
    },
    Habit {
        name: "\"anew\", \"once more\", \"one another\"",
        instead: "write \"again\" or \"each other\"",
        pattern: r"(?i)\b(anew|once more|one another)\b",
        except: None,
        per_thousand: 0.0,
        example: "It is read anew.",
    },
    Habit {
        name: "\"told\", \"tells of\"",
        instead: "write \"notified\", \"reported\" or \"configured\"",
        pattern: r"(?i)\b(told|tell of|tells of|telling of)\b",
        except: None,
        per_thousand: 0.0,
        example: "The worker is told.",
    },
    Habit {
        name: "\"is no X\" for \"is not a valid X\"",
        instead: "write \"is not a valid X\"",
        pattern: r"(?i)\b(is|are|was|were|be) no \w+",
        except: Some(
            r"(?i)\bthere (is|are|was|were|be|may be|can be|will be) no |\bno (longer|more|one|matter|less|fewer)\b",
        ),
        per_thousand: 4.2,
        example: "The text is no number.",
    },
];

/// Each habit's pattern and exception, in the order of [`HABITS`].
static COMPILED: LazyLock<Vec<(&str, Regex, Option<Regex>)>> = LazyLock::new(|| {
    let compiled = HABITS.iter().map(|habit| {
        let except = habit.except.map(compile);
        (habit.pattern, compile(habit.pattern), except)
    });
    compiled.collect()
});

fn compile(pattern: &str) -> Regex {
    Regex::new(pattern).unwrap_or_else(|error| panic!("{pattern}: {error}"))
}

impl Habit {
    /// Returns how many lines of `lines` may have this habit.
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        clippy::cast_precision_loss,
        reason = "numbers of lines are small"
    )]
    pub(super) fn allowed(&self, lines: usize) -> usize {
        (lines as f64 * self.per_thousand / 1000.0) as usize
    }

    /// Returns the text of a passage that has this habit.
    pub(super) fn find(&self, passage: &Passage) -> Option<String> {
        if self.pattern.starts_with('^') && !passage.begins {
            return None;
        }
        let mut compiled = COMPILED.iter();
        let (_, pattern, except) = compiled.find(|(pattern, ..)| *pattern == self.pattern)?;
        let text = match except {
            Some(except) => &*except.replace_all(&passage.text, ""),
            None => &passage.text,
        };
        pattern.is_match(text).then(|| passage.text.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bound_is_rounded_down() {
        let habit = Habit {
            per_thousand: 1.5,
            ..HABITS[0]
        };
        let allowed = [0, 600, 700, 2_000].map(|lines| habit.allowed(lines));
        assert_eq!(allowed, [0, 0, 1, 3]);
    }
}
