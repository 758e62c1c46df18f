//! Answers to questions that a device asks during a command.

use netssh_core::{Answer, Answered, Pattern, SecretString};

use super::{Device, ExchangeStart, JobContext, Result, StoredOutput};
use crate::capabilities::limits;
use crate::model::{CommandKind, ErrorCode, JobError};

/// A question that a device asks, and the line or key that answers it.
#[derive(Clone, Debug)]
pub struct Question {
    /// A regular expression for the last line, where the device waits for input.
    pub expect: String,
    pub answer: SecretString,
    /// Whether the answer is one key, sent without a line ending.
    pub key: bool,
    /// Whether the answer is hidden everywhere; `None` decides by the words of the question.
    pub secret: Option<bool>,
}

/// Replaces a secret answer.
const MASK: &str = "***";

/// Words of questions that ask for a secret.
const SECRETS: &[&str] = &[
    "password",
    "passphrase",
    "passcode",
    "passwd",
    "secret",
    "token",
    "community",
    "credential",
    "pin:",
    "pin code",
    "private key",
    "pre-shared",
    "otp",
];

fn asks_for_secret(question: &str) -> bool {
    let question = question.to_lowercase();
    SECRETS.iter().any(|word| question.contains(word))
}

impl Question {
    /// Returns whether the answer is hidden everywhere.
    pub(in crate::capabilities) fn is_secret(&self) -> bool {
        self.secret.unwrap_or_else(|| asks_for_secret(&self.expect))
    }

    fn answer(&self) -> Result<Answer> {
        if self.expect.len() > limits::QUESTION_BYTES {
            return Err(JobError::new(
                ErrorCode::LIMIT,
                format!(
                    "invalid pattern of a question: expected at most {} bytes",
                    limits::QUESTION_BYTES
                ),
            ));
        }
        let question = Pattern::within(&self.expect, limits::QUESTION_COMPILED_BYTES);
        let question = question.map_err(|error| {
            JobError::new(
                ErrorCode::INVALID,
                format!("invalid pattern `{}`: {error}", self.expect),
            )
        })?;
        let mut answer = Answer::new(question, self.answer.clone());
        if !self.is_secret() {
            answer = answer.shown();
        }
        if self.key {
            answer = answer.one_key();
        }
        Ok(answer)
    }

    /// Returns the answer for messages and write intents.
    fn shown(&self) -> String {
        use secrecy::ExposeSecret as _;
        if self.is_secret() {
            MASK.to_owned()
        } else {
            format!("`{}`", self.answer.expose_secret())
        }
    }
}

/// Shorter secrets are not masked: they occur in many words.
const MIN_SECRET_BYTES: usize = 4;

/// Masks secret answers in a device's output: some devices echo their input.
pub(super) fn without_secrets(text: String, questions: &[Question]) -> String {
    use secrecy::ExposeSecret as _;
    let secrets = questions.iter().filter(|question| question.is_secret());
    let secrets = secrets.map(|question| question.answer.expose_secret());
    let mut secrets: Vec<_> = secrets
        .filter(|secret| secret.len() >= MIN_SECRET_BYTES)
        .collect();
    // A longer secret may begin with a shorter one.
    secrets.sort_unstable_by_key(|secret| std::cmp::Reverse(secret.len()));
    secrets
        .into_iter()
        .fold(text, |text, secret| text.replace(secret, MASK))
}

/// Returns the text of a write intent, with all answers: a crash may follow any of them.
pub(super) fn with_answers(command: &str, questions: &[Question]) -> String {
    if questions.is_empty() {
        return command.to_owned();
    }
    let answers: Vec<_> = questions.iter().map(Question::shown).collect();
    format!("{command} (possible answers: {})", answers.join(", "))
}

impl JobContext {
    /// Checks answers and converts them for the session.
    ///
    /// # Errors
    /// Code `denied` for an answer that is not allowed, `limit` for too many, `invalid` for an
    /// invalid pattern.
    pub(super) async fn answers(
        &self,
        device: &Device,
        questions: &[Question],
    ) -> Result<Vec<Answer>> {
        if questions.len() > limits::QUESTIONS {
            return Err(JobError::new(
                ErrorCode::LIMIT,
                format!(
                    "too many questions: at most {} per command are allowed",
                    limits::QUESTIONS
                ),
            ));
        }
        let answers = questions.iter().map(Question::answer);
        let answers = answers.collect::<Result<_>>()?;
        self.may_answer(questions, &device.kind).await?;
        Ok(answers)
    }

    /// Stores each given answer as a result of its own.
    pub(super) async fn record_answers(
        &self,
        device: &Device,
        answered: Vec<Answered>,
    ) -> Result<()> {
        for Answered { question, answer } in answered {
            let answer = answer.filter(|_| !asks_for_secret(&question));
            let kept = StoredOutput {
                output: answer.unwrap_or_else(|| MASK.to_owned()),
                ..StoredOutput::default()
            };
            self.store(
                device,
                CommandKind::Answer,
                &question,
                ExchangeStart::now(),
                kept,
            )
            .await?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn question(expect: &str) -> Question {
        Question {
            expect: expect.to_owned(),
            answer: "x".into(),
            key: false,
            secret: None,
        }
    }

    #[test]
    fn questions_for_secrets_are_recognised() {
        for expect in ["Token: $", "(?i)password", "Enter passphrase", "PIN:"] {
            assert!(question(expect).is_secret(), "{expect}");
        }
        for expect in [".", "\\[confirm\\]", "Destination filename"] {
            assert!(!question(expect).is_secret(), "{expect}");
        }
        let said = Question {
            secret: Some(false),
            ..question("Password")
        };
        assert!(!said.is_secret());
        assert_eq!(
            with_answers("copy a b", &[question("Password"), question("y/n")]),
            "copy a b (possible answers: ***, `x`)"
        );
        let secret = Question {
            answer: "hunter2".into(),
            ..question("Password")
        };
        let printed = "Password: hunter2\nok".to_owned();
        assert_eq!(without_secrets(printed, &[secret]), "Password: ***\nok");
    }

    #[test]
    fn patterns_are_bounded() {
        let long = "x".repeat(limits::QUESTION_BYTES + 1);
        assert_eq!(question(&long).answer().unwrap_err().code.0, "limit");
        for large in ["(\\w{50}){50}", "\\pL{400}"] {
            let error = question(large).answer().unwrap_err();
            assert_eq!(error.code.0, "invalid", "{large}");
        }
        for usual in [
            "(?i)destination filename .*\\[[^\\]]*\\]\\? ?$",
            "(?i)overwrite the previous .*\\[confirm\\]",
            "\\w+ \\d+: $",
            "Are you sure\\? \\[Y/N\\]:?\\s*$",
        ] {
            assert!(question(usual).answer().is_ok(), "{usual}");
        }
    }
}
