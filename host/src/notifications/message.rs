//! Composes the messages about an ended job: a subject line, a text for people, and JSON for programs.
//!
//! Parameters, results and command output are left out because they may be confidential, except for
//! excerpts quoted in the job's error. All fields are bounded in length.

use std::fmt::Write as _;

use chrono::{DateTime, SecondsFormat, Utc};
use netssh_core::visible::is_hidden;
use reqwest::Url;
use serde_json::{Value, json};
use uuid::Uuid;

use super::rules::failed_targets;
use crate::model::{
    BatchCounts, Job, JobError, JobStatus, ListedJob, Notification, NotificationContent,
    NotificationEvent, now,
};
use crate::storage::FailedChild;
use crate::wire::JobResponse;

/// Maximum number of characters of the error of a job, of a device in a batch, and of a delivery.
const MAX_ERROR: usize = 2_000;
const MAX_DEVICE_ERROR: usize = 300;
pub(super) const MAX_REASON: usize = 300;
const MAX_SUBJECT: usize = 200;
const MAX_DESCRIPTION: usize = 1_000;
/// Slack itself truncates texts at 40,000 characters; this fits a screen.
const MAX_SLACK: usize = 3_500;
/// Maximum number of devices named in one line.
const FEW: usize = 3;
/// Maximum number of targets in the JSON; `target_count` has their total.
const MAX_TARGETS: usize = 100;

/// Data about an ended job.
pub(super) struct Facts {
    pub(super) job: Job,
    /// Name of the schedule that submitted the job.
    pub(super) schedule: Option<String>,
    /// Child jobs by state, for a batch.
    pub(super) counts: Option<BatchCounts>,
    /// Failed devices of a batch, at most [`super::MAX_DEVICES`].
    pub(super) failed: Vec<FailedChild>,
    /// Usual duration, for a slow job.
    pub(super) usual_ms: Option<i64>,
    pub(super) link: Option<Url>,
}

/// Composes the message for a channel; `events` are sorted.
pub(super) fn of(
    facts: &Facts,
    channel: &str,
    events: &[NotificationEvent],
) -> Option<Notification> {
    let event = *events.first()?;
    let (id, now) = (Uuid::now_v7(), now());
    let subject = line(&subject(facts, event), MAX_SUBJECT);
    let content = NotificationContent {
        text: text(facts, &subject, events),
        body: body(facts, id, &subject, events, now).to_string(),
        subject,
    };
    Some(Notification::new(
        id,
        channel,
        event,
        facts.job.id,
        content,
        now,
    ))
}

/// Composes a test message.
pub(super) fn test(channel: &str, board: Option<&Url>) -> Notification {
    let (id, now, event) = (Uuid::now_v7(), now(), NotificationEvent::Test);
    let subject = format!("Test of channel {channel}");
    let mut text = format!("{subject}\n\nThis is a test message: the channel works.\n");
    if let Some(board) = board {
        let _ = write!(text, "\n{board}\n");
    }
    let body = json!({
        "id": id, "event": event, "events": [event], "created_at": time(now), "summary": subject,
        "url": board.map(Url::as_str),
    });
    let content = NotificationContent {
        text,
        body: body.to_string(),
        subject,
    };
    Notification::new(id, channel, event, Uuid::nil(), content, now)
}

/// Returns the URL of a job's page on the dashboard.
pub(super) fn link(board: &Url, job: Uuid) -> Url {
    let mut link = board.clone();
    if let Ok(mut path) = link.path_segments_mut() {
        path.pop_if_empty().push("jobs").push(&job.to_string());
    }
    link
}

/// Returns the duration of the last attempt, in milliseconds.
pub(super) fn duration_of(job: &Job) -> Option<i64> {
    let took = job.completed_at? - job.started_at?;
    Some(took.num_milliseconds())
}

/// Returns the text as one line of bounded length, without hidden characters.
pub(super) fn line(text: &str, most: usize) -> String {
    let visible = |c: char| {
        if is_hidden(c) { ' ' } else { c }
    };
    let words: String = text.chars().map(visible).collect();
    let words: Vec<&str> = words.split_whitespace().collect();
    cut(&words.join(" "), most)
}

/// Returns the innermost cause of an error ("Connection refused") as one line; the outer causes only
/// name parts of a library.
pub(super) fn innermost(error: &(dyn std::error::Error + 'static)) -> String {
    let mut cause = error;
    loop {
        if let Some(error) = tls_error(cause) {
            return line(&tls_reason(error), MAX_REASON);
        }
        match cause.source() {
            Some(source) => cause = source,
            None => return line(&cause.to_string(), MAX_REASON),
        }
    }
}

/// Returns the TLS error that an error is or wraps in an I/O error.
fn tls_error<'e>(error: &'e (dyn std::error::Error + 'static)) -> Option<&'e rustls::Error> {
    if let Some(error) = error.downcast_ref() {
        return Some(error);
    }
    let wrapped = error.downcast_ref::<std::io::Error>()?.get_ref()?;
    tls_error(wrapped)
}

/// Returns the reason for a failed TLS handshake, in words for the operator.
fn tls_reason(error: &rustls::Error) -> String {
    use rustls::{CertificateError, Error};

    match error {
        Error::InvalidCertificate(invalid) => match invalid {
            CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
                "the server's TLS certificate has expired".to_owned()
            }
            CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
                "the server's TLS certificate is not valid yet; check the clock of this machine"
                    .to_owned()
            }
            CertificateError::Revoked => "the server's TLS certificate was revoked".to_owned(),
            CertificateError::UnknownIssuer => {
                "the issuer of the server's TLS certificate is not trusted; add it to the system's \
                 certificates"
                    .to_owned()
            }
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
                "the server's TLS certificate is for another host name".to_owned()
            }
            CertificateError::Other(other) => {
                format!("invalid TLS certificate of the server: {other}")
            }
            other => format!(
                "invalid TLS certificate of the server: {}",
                words_of(&format!("{other:?}"))
            ),
        },
        Error::AlertReceived(alert) => format!(
            "the server ended the TLS handshake: {}",
            words_of(&format!("{alert:?}"))
        ),
        Error::InvalidMessage(_) => {
            "the server does not speak TLS on this port; check the scheme and the port".to_owned()
        }
        Error::PeerIncompatible(_) => "no common TLS version or cipher with the server".to_owned(),
        other => other.to_string(),
    }
}

/// Converts `HandshakeFailure` to `handshake failure`.
fn words_of(name: &str) -> String {
    let name = name.split(['(', ' ', '{']).next().unwrap_or(name);
    let name = name.strip_suffix("Context").unwrap_or(name);
    let mut words = String::new();
    for c in name.chars() {
        if c.is_uppercase() && !words.is_empty() {
            words.push(' ');
        }
        words.extend(c.to_lowercase());
    }
    words
}

/// Returns the text for Slack, with its three special characters escaped.
pub(super) fn for_slack(content: &NotificationContent) -> String {
    let text = cut(&content.text, MAX_SLACK);
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
}

fn subject(facts: &Facts, event: NotificationEvent) -> String {
    let (job, plugin) = (&facts.job, facts.job.plugin.as_str());
    let on = match names_of(job) {
        names if names.is_empty() => String::new(),
        names => format!(" on {names}"),
    };
    match event {
        NotificationEvent::Failed => failure(facts, &on),
        NotificationEvent::Cancelled => format!("{plugin} was cancelled{on}"),
        NotificationEvent::Recovered => format!("{plugin} has recovered{on}"),
        NotificationEvent::Slow => {
            let took = duration_of(job).map(duration).unwrap_or_default();
            let usual = facts.usual_ms.map(duration).unwrap_or_default();
            format!("{plugin} was slow{on}: {took}, usually {usual}")
        }
        NotificationEvent::Completed | NotificationEvent::Test => {
            format!("{plugin} has completed{on}")
        }
    }
}

fn failure(facts: &Facts, on: &str) -> String {
    let plugin = &facts.job.plugin;
    let Some(counts) = facts.counts else {
        let code = facts.job.error.as_ref().map(|error| error.code.0.as_str());
        return format!("{plugin} failed{on}: {}", code.unwrap_or("error"));
    };
    if counts.failed == 0 {
        return format!("{plugin} failed: {}", counts.summary());
    }
    let named: Vec<_> = facts
        .failed
        .iter()
        .take(FEW)
        .map(|child| child.target.as_str())
        .collect();
    let more = if counts.failed > named.len() as u64 {
        ", …"
    } else {
        ""
    };
    format!(
        "{plugin} failed on {} of {} devices: {}{more}",
        counts.failed,
        counts.total,
        named.join(", ")
    )
}

/// Returns a few names, or the number of devices.
fn names_of(job: &Job) -> String {
    let names: Vec<_> = failed_targets(job)
        .into_iter()
        .map(|target| target.name.as_str())
        .collect();
    if names.len() <= FEW {
        names.join(", ")
    } else {
        format!("{} devices", names.len())
    }
}

fn text(facts: &Facts, subject: &str, events: &[NotificationEvent]) -> String {
    let job = &facts.job;
    let mut text = format!("{subject}\n\n");
    let mut say = |name: &str, value: String| {
        if !value.is_empty() {
            let _ = writeln!(text, "{name}: {value}");
        }
    };
    // Events that the first line does not mention.
    let others: Vec<_> = events.iter().skip(1).map(|event| event.as_str()).collect();
    say("also", others.join(", "));
    if let Some(error) = &job.error {
        say("error", line(&error.to_string(), MAX_ERROR));
    }
    if let Some(description) = &job.description {
        say("description", line(description, MAX_DESCRIPTION));
    }
    say("job", job.id.to_string());
    say("schedule", facts.schedule.clone().unwrap_or_default());
    if job.attempt > 1 {
        say("attempts", job.attempt.to_string());
    }
    say("started", job.started_at.map(time).unwrap_or_default());
    say("ended", job.completed_at.map(time).unwrap_or_default());
    say("took", duration_of(job).map(duration).unwrap_or_default());
    say("usually", facts.usual_ms.map(duration).unwrap_or_default());
    if let (Some(counts), JobStatus::Completed) = (facts.counts, job.status) {
        say("devices", counts.total.to_string());
    }
    if let Some(counts) = facts.counts.filter(|counts| counts.failed > 0) {
        let _ = write!(text, "\nfailed devices:\n");
        for child in &facts.failed {
            let error = device_error(child.error.as_ref());
            let _ = writeln!(text, "- {}: {error}", line(&child.target, MAX_REASON));
        }
        let more = counts.failed.saturating_sub(facts.failed.len() as u64);
        if more > 0 {
            let _ = writeln!(text, "- and {more} more");
        }
    }
    if let Some(link) = &facts.link {
        let _ = write!(text, "\n{link}\n");
    }
    text
}

fn device_error(error: Option<&JobError>) -> String {
    error.map_or_else(
        || "failed".to_owned(),
        |error| line(&error.to_string(), MAX_DEVICE_ERROR),
    )
}

fn body(
    facts: &Facts,
    id: Uuid,
    subject: &str,
    events: &[NotificationEvent],
    now: DateTime<Utc>,
) -> Value {
    let error =
        facts.job.error.as_ref().map(
            |error| json!({ "code": error.code.0, "message": cut(&error.message, MAX_ERROR) }),
        );
    let failed_devices = facts.counts.map(|counts| {
        let device = |child: &FailedChild| {
            let error = child.error.as_ref();
            json!({
                "name": child.target,
                "job_id": child.job_id,
                "error_code": error.map(|error| &error.code.0),
                "error_message": error.map(|error| cut(&error.message, MAX_DEVICE_ERROR)),
            })
        };
        let devices: Vec<_> = facts.failed.iter().map(device).collect();
        json!({ "count": counts.failed, "devices": devices })
    });
    json!({
        "id": id,
        "event": events.first(),
        "events": events,
        "created_at": time(now),
        "summary": subject,
        "job": job(facts),
        "target_count": facts.job.targets.len(),
        "schedule": facts.schedule,
        "error": error,
        "failed_devices": failed_devices,
        "duration_ms": duration_of(&facts.job),
        "usual_duration_ms": facts.usual_ms,
        "url": facts.link.as_ref().map(Url::as_str),
    })
}

/// Returns the job as the API does, without fields that may be long or confidential.
fn job(facts: &Facts) -> Value {
    let mut answer = JobResponse::from(ListedJob::from(facts.job.clone()));
    answer.targets.truncate(MAX_TARGETS);
    let shortened = |text: Option<String>, most| text.map(|text| cut(&text, most));
    answer.error_message = shortened(answer.error_message, MAX_ERROR);
    answer.description = shortened(answer.description, MAX_DESCRIPTION);
    if let (Some(batch), Some(counts)) = (&mut answer.batch, facts.counts) {
        batch.counts = counts;
    }
    let mut job = json!(answer);
    if let Some(fields) = job.as_object_mut() {
        let left_out = [
            "params",
            "params_bytes",
            "progress",
            "result",
            "result_bytes",
            "target_count",
        ];
        for name in left_out {
            fields.shift_remove(name);
        }
    }
    job
}

fn cut(text: &str, most: usize) -> String {
    match text.char_indices().nth(most) {
        None => text.to_owned(),
        Some((end, _)) => format!("{}…", &text[..end]),
    }
}

fn time(time: DateTime<Utc>) -> String {
    time.to_rfc3339_opts(SecondsFormat::Secs, true)
}

fn duration(milliseconds: i64) -> String {
    let seconds = milliseconds / 1_000;
    match milliseconds {
        ..=999 => format!("{milliseconds} ms"),
        1_000..=59_999 => format!("{seconds}.{} s", milliseconds % 1_000 / 100),
        60_000..=3_599_999 => format!("{} min {} s", seconds / 60, seconds % 60),
        _ => format!("{} h {} min", seconds / 3_600, seconds % 3_600 / 60),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_one_line_and_bounded() {
        assert_eq!(line("a\r\nBcc: x\t\u{202e} b", 100), "a Bcc: x b");
        assert_eq!(line(&"ü ".repeat(200), 5), "ü ü ü…");
    }

    #[test]
    fn tls_errors_are_words() {
        use rustls::{AlertDescription, CertificateError, Error};

        let cases = [
            (
                Error::InvalidCertificate(CertificateError::Expired),
                "has expired",
            ),
            (
                Error::InvalidCertificate(CertificateError::UnknownIssuer),
                "is not trusted",
            ),
            (
                Error::InvalidCertificate(CertificateError::NotValidForName),
                "another host name",
            ),
            (
                Error::InvalidCertificate(CertificateError::BadEncoding),
                "certificate of the server: bad encoding",
            ),
            (
                Error::AlertReceived(AlertDescription::HandshakeFailure),
                "ended the TLS handshake: handshake failure",
            ),
            (
                Error::InvalidMessage(rustls::InvalidMessage::InvalidContentType),
                "does not speak TLS",
            ),
        ];
        for (error, expected) in cases {
            // Wrapped as in the errors of an HTTP client.
            let inner = std::io::Error::other(error);
            let outer = std::io::Error::new(std::io::ErrorKind::InvalidData, inner);
            let reason = innermost(&outer);
            assert!(reason.contains(expected), "{reason}");
        }
    }

    #[test]
    fn slack_gets_no_markup_of_ours() {
        let content = NotificationContent {
            subject: String::new(),
            text: "<!channel> a & b".to_owned(),
            body: String::new(),
        };
        assert_eq!(for_slack(&content), "&lt;!channel&gt; a &amp; b");
    }

    #[test]
    fn the_link_is_below_the_dashboard() {
        for board in [
            "https://noc.example.com/board",
            "https://noc.example.com/board/",
        ] {
            let link = link(&Url::parse(board).unwrap(), Uuid::nil());
            assert_eq!(
                link.as_str(),
                "https://noc.example.com/board/jobs/00000000-0000-0000-0000-000000000000"
            );
        }
    }
}
