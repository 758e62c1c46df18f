//! Answers to login questions: checks, stores and opens them.
//!
//! A question identifies its answer. A secret answer is sealed together with its question and the route
//! to the device, so that changing one of them, by an update or in the database, does not send the
//! answer elsewhere.

use netssh_core::{Answer, Pattern};
use secrecy::{ExposeSecret, SecretString};
use uuid::Uuid;

use super::check::Moved;
use super::{ConnectionInput, Connections, SecretChange};
use crate::model::{
    AnswerCredential, AnswerValue, Connection, ErrorCode, FieldError, JobError, SealedField,
    SecretField, StoredAnswer, Way,
};

const MAX_ANSWERS: usize = 16;
const MAX_QUESTION_BYTES: usize = 512;
const MAX_COMPILED_QUESTION_BYTES: usize = 64 * 1024;
const MAX_ANSWER_BYTES: usize = 1024;

/// An answer in a request: exactly one of `answer`, `credential` and `set`.
#[derive(Clone, Debug)]
pub struct AnswerInput {
    /// A regular expression.
    pub question: String,
    pub answer: Option<SecretString>,
    pub credential: Option<AnswerCredential>,
    /// Whether to keep the stored answer to this question.
    pub set: bool,
    pub secret: Option<bool>,
    pub key: bool,
}

impl Connections {
    /// Returns the answers to store. Expects checked input.
    pub(super) fn stored_answers(
        &self,
        row: Uuid,
        way: &Way,
        input: Option<Vec<AnswerInput>>,
        old: Vec<StoredAnswer>,
    ) -> Vec<StoredAnswer> {
        let Some(input) = input else { return old };
        let stored = |answer: AnswerInput| {
            let value = match (answer.answer, answer.credential) {
                (Some(text), _) if answer.secret == Some(false) => {
                    AnswerValue::Shown(text.expose_secret().to_owned())
                }
                (Some(text), _) => {
                    let field = SealedField::Answer {
                        question: &answer.question,
                        key: answer.key,
                    };
                    AnswerValue::Sealed(self.master_key.seal_secret(row, field, way, &text))
                }
                (None, Some(credential)) => AnswerValue::Credential(credential),
                (None, None) => sealed_for(&old, &answer.question)?.value.clone(),
            };
            Some(StoredAnswer {
                question: answer.question,
                key: answer.key,
                value,
            })
        };
        input.into_iter().filter_map(stored).collect()
    }

    /// Opens the answers of a connection for a login.
    pub(super) fn login_answers(
        &self,
        connection: &Connection,
        way: &Way,
    ) -> Result<Vec<Answer>, JobError> {
        let answers = connection.answers.iter();
        answers
            .map(|answer| self.login_answer(connection, way, answer))
            .collect()
    }

    fn login_answer(
        &self,
        connection: &Connection,
        way: &Way,
        stored: &StoredAnswer,
    ) -> Result<Answer, JobError> {
        let StoredAnswer {
            question,
            key,
            value,
        } = stored;
        let invalid = |reason: String| {
            JobError::new(
                ErrorCode::INVALID,
                format!("connection `{}`: {reason}", connection.name),
            )
        };
        let pattern = Pattern::within(question, MAX_COMPILED_QUESTION_BYTES)
            .map_err(|reason| invalid(format!("invalid question {question:?}: {reason}")))?;
        let answer = match value {
            AnswerValue::Shown(text) => Answer::new(pattern, text.as_str()).shown(),
            AnswerValue::Sealed(sealed) => {
                let opened = self.open_field(connection, stored.field(), way, sealed)?;
                Answer::new(pattern, opened)
            }
            AnswerValue::Credential(credential) => match credential.secret_field() {
                None => Answer::new(pattern, connection.username.as_str()).shown(),
                Some(field) => {
                    let text = self.open(connection, field, way)?.ok_or_else(|| {
                        let field = field.as_str();
                        invalid(format!("no {field} stored to answer {question:?}"))
                    })?;
                    Answer::new(pattern, text)
                }
            },
        };
        Ok(if *key { answer.one_key() } else { answer })
    }
}

/// Returns all errors in the answers of an input that replaces `old`.
pub(super) fn check_answers(
    input: &ConnectionInput,
    old: Option<&Connection>,
    moved: Option<Moved>,
) -> Vec<FieldError> {
    let old_answers = old.map_or(&[][..], |old| &old.answers);
    let Some(answers) = &input.answers else {
        return check_kept(input, old, old_answers, moved);
    };
    let mut errors = Vec::new();
    if answers.len() > MAX_ANSWERS {
        let message = format!(
            "expected at most {MAX_ANSWERS} answers, got {}",
            answers.len()
        );
        errors.push(FieldError::field("answers", message));
        return errors;
    }
    for (at, answer) in answers.iter().enumerate() {
        let mut wrong = |field: &str, message: String| {
            errors.push(FieldError::field(&format!("answers/{at}/{field}"), message));
        };
        if let Err(message) = check_question(&answer.question) {
            wrong("question", message);
        }
        let same = |other: &AnswerInput| other.question == answer.question;
        if answers.iter().take(at).any(same) {
            wrong("question", "duplicate question".to_owned());
        }
        match (&answer.answer, answer.credential, answer.set) {
            (Some(text), None, false) => {
                if let Err(message) = check_text(text.expose_secret(), answer.key) {
                    wrong("answer", message);
                }
            }
            (None, Some(credential), false) => {
                if let Err((field, message)) = check_credential(answer, credential, input, old) {
                    wrong(field, message);
                }
            }
            (None, None, true) => {
                if let Err((field, message)) = check_set(answer, old_answers, moved) {
                    wrong(field, message);
                }
            }
            _ => wrong(
                "answer",
                "expected one of `answer`, `credential` and `set: true` (which keeps the stored \
                 answer)"
                    .to_owned(),
            ),
        }
    }
    errors
}

/// Checks the stored answers that an update keeps because it does not list any.
fn check_kept(
    input: &ConnectionInput,
    old: Option<&Connection>,
    answers: &[StoredAnswer],
    moved: Option<Moved>,
) -> Vec<FieldError> {
    let is_sealed = |answer: &&StoredAnswer| matches!(answer.value, AnswerValue::Sealed(_));
    if let Some(moved) = moved
        && let Some(sealed) = answers.iter().find(is_sealed)
    {
        let (question, place) = (&sealed.question, moved.place());
        let message = format!(
            "the answer to {question:?} is stored for another {place}: give the answers again, or \
             null to clear them"
        );
        return vec![FieldError::field("answers", message)];
    }
    let missing = answers.iter().find_map(|answer| match answer.value {
        AnswerValue::Credential(credential) if !will_have(credential, input, old) => {
            Some((answer, credential))
        }
        _ => None,
    });
    let message = missing.map(|(answer, credential)| {
        format!(
            "the answer to {:?} is the {}, which this update removes",
            answer.question,
            credential.as_str()
        )
    });
    message
        .map(|message| FieldError::field("answers", message))
        .into_iter()
        .collect()
}

fn check_question(question: &str) -> Result<(), String> {
    if question.is_empty() || question.len() > MAX_QUESTION_BYTES {
        return Err(format!(
            "expected a regular expression of 1 to {MAX_QUESTION_BYTES} bytes, got {}",
            question.len()
        ));
    }
    if question.contains(char::is_control) {
        return Err("expected one line without control characters".to_owned());
    }
    let pattern = Pattern::within(question, MAX_COMPILED_QUESTION_BYTES).map_err(|reason| {
        // The lines before the last one draw the position under the pattern.
        let reason = reason.lines().next_back().unwrap_or_default();
        let reason = reason.trim_start_matches("error: ");
        format!("expected a regular expression: {reason}")
    })?;
    if pattern.matches("") {
        return Err(
            "expected a part of the question, got a pattern that matches any line and prompt"
                .to_owned(),
        );
    }
    Ok(())
}

fn check_text(text: &str, key: bool) -> Result<(), String> {
    if text.len() > MAX_ANSWER_BYTES {
        return Err(format!(
            "expected at most {MAX_ANSWER_BYTES} bytes, got {}",
            text.len()
        ));
    }
    if text.contains(char::is_control) {
        return Err("expected one line without control characters".to_owned());
    }
    if key && text.chars().count() != 1 {
        return Err("expected one character, because `key` is true".to_owned());
    }
    Ok(())
}

type Wrong = (&'static str, String);

fn check_credential(
    answer: &AnswerInput,
    credential: AnswerCredential,
    input: &ConnectionInput,
    old: Option<&Connection>,
) -> Result<(), Wrong> {
    let name = credential.as_str();
    if answer.key {
        return Err((
            "key",
            format!("expected false: the {name} is a line, not one key"),
        ));
    }
    if answer.secret == Some(false) && credential.secret_field().is_some() {
        return Err(("secret", format!("expected true: the {name} is secret")));
    }
    if !will_have(credential, input, old) {
        return Err(("credential", format!("the connection has no {name}")));
    }
    Ok(())
}

fn check_set(
    answer: &AnswerInput,
    old: &[StoredAnswer],
    moved: Option<Moved>,
) -> Result<(), Wrong> {
    let Some(stored) = sealed_for(old, &answer.question) else {
        return Err((
            "set",
            "no secret answer stored for this question: give `answer`".to_owned(),
        ));
    };
    if answer.secret == Some(false) {
        return Err((
            "secret",
            "expected true: a stored secret answer cannot be shown; give `answer` again".to_owned(),
        ));
    }
    if answer.key != stored.key {
        return Err((
            "key",
            "differs from the stored answer: give `answer` again to change it".to_owned(),
        ));
    }
    if let Some(moved) = moved {
        let place = moved.place();
        return Err((
            "set",
            format!("the answer is stored for another {place}: give `answer` again"),
        ));
    }
    Ok(())
}

/// Returns whether the connection has the credential once the input is stored.
fn will_have(
    credential: AnswerCredential,
    input: &ConnectionInput,
    old: Option<&Connection>,
) -> bool {
    let Some(field) = credential.secret_field() else {
        return true;
    };
    let change = input.secrets.iter().rev().find(|(said, _)| *said == field);
    match change {
        Some((_, SecretChange::Set(_))) => true,
        Some((_, SecretChange::Clear)) => false,
        None => old.is_some_and(|old: &Connection| has(old, field)),
    }
}

fn has(connection: &Connection, field: SecretField) -> bool {
    connection.secrets.get(field).is_some()
}

/// Returns the secret answer stored for a question.
fn sealed_for<'a>(answers: &'a [StoredAnswer], question: &str) -> Option<&'a StoredAnswer> {
    let found = answers.iter().find(|answer| answer.question == question);
    found.filter(|answer| matches!(answer.value, AnswerValue::Sealed(_)))
}
