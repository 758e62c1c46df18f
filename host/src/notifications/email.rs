//! Sends messages by email.

use std::time::Duration;

use anyhow::Context as _;
use lettre::message::header::{ContentType, HeaderName, HeaderValue};
use lettre::message::{Mailbox, Message};
use lettre::transport::smtp;
use lettre::transport::smtp::authentication::Credentials;
use lettre::transport::smtp::client::{Tls, TlsParameters};
use lettre::{AsyncSmtpTransport, AsyncTransport as _, Tokio1Executor};
use secrecy::ExposeSecret as _;

use super::channel::SendError;
use super::{message, secret_file};
use crate::config::{NotificationsConfig, SmtpTls};
use crate::model::Notification;

/// Timeout per address of the server's name.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// Not `Debug`: the transport holds the password.
pub(super) struct Email {
    from: Mailbox,
    to: Vec<Mailbox>,
    transport: AsyncSmtpTransport<Tokio1Executor>,
}

impl Email {
    pub(super) fn build(
        key: &str,
        to: &[String],
        config: &NotificationsConfig,
    ) -> anyhow::Result<Self> {
        let mailbox = |key: &str, text: &str| {
            text.parse::<Mailbox>()
                .with_context(|| format!("invalid {key}: expected a mail address, got {text:?}"))
        };
        let from = config
            .from
            .as_deref()
            .context("notifications.from is not set")?;
        let to = to.iter().map(|to| mailbox(&format!("{key}.to"), to));
        Ok(Self {
            from: mailbox("notifications.from", from)?,
            to: to.collect::<anyhow::Result<_>>()?,
            transport: transport(config)?,
        })
    }

    pub(super) async fn send(&self, notification: &Notification) -> Result<(), SendError> {
        let mail = self
            .mail(notification)
            .map_err(|error| SendError::refused(format!("failed to compose the mail: {error}")))?;
        let sent = self.transport.send(mail).await;
        sent.map(drop).map_err(|error| judge(&error))
    }

    fn mail(&self, notification: &Notification) -> Result<Message, lettre::error::Error> {
        let domain = self.from.email.domain();
        let mut mail = Message::builder()
            .from(self.from.clone())
            .subject(message::line(&notification.content.subject, 200))
            // The same id in each attempt, so that duplicates can be recognized.
            .message_id(Some(format!("<{}@{domain}>", notification.id)))
            .header(ContentType::TEXT_PLAIN);
        for to in &self.to {
            mail = mail.to(to.clone());
        }
        let headers = [
            // RFC 3834: suppresses out-of-office replies.
            ("Auto-Submitted", "auto-generated".to_owned()),
            ("X-Scheduler-Event", notification.event.to_string()),
            ("X-Scheduler-Delivery", notification.id.to_string()),
        ];
        for (name, value) in headers {
            let name = HeaderName::new_from_ascii_str(name);
            mail = mail.raw_header(HeaderValue::new(name, value));
        }
        mail.body(notification.content.text.clone())
    }
}

fn transport(config: &NotificationsConfig) -> anyhow::Result<AsyncSmtpTransport<Tokio1Executor>> {
    let host = config.smtp_host.as_deref();
    let host = host.context("notifications.smtp_host is not set")?;
    // Fails if a provider is installed already, which is fine.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let encrypted = || {
        TlsParameters::new(host.to_owned())
            .context("failed to load the system's certificates (notifications.smtp_tls)")
    };
    let tls = match config.smtp_tls {
        SmtpTls::Starttls => Tls::Required(encrypted()?),
        SmtpTls::Tls => Tls::Wrapper(encrypted()?),
        SmtpTls::None => Tls::None,
    };
    let mut builder = AsyncSmtpTransport::<Tokio1Executor>::builder_dangerous(host)
        .port(config.smtp_port())
        .tls(tls)
        .timeout(Some(CONNECT_TIMEOUT));
    if let (Some(username), Some(file)) = (&config.smtp_username, &config.smtp_password_file) {
        let password = secret_file::read("notifications.smtp_password_file", file)?;
        let password = password.expose_secret().to_owned();
        builder = builder.credentials(Credentials::new(username.clone(), password));
    }
    Ok(builder.build())
}

fn judge(error: &smtp::Error) -> SendError {
    let Some(code) = error.status() else {
        return SendError::unusable(message::innermost(error));
    };
    let text = message::line(&error.to_string(), message::MAX_REASON);
    // Missing or rejected credentials concern the whole channel, and an operator may fix them.
    if matches!(u16::from(code), 421 | 454 | 530 | 534 | 535 | 538) {
        return SendError::unusable(text);
    }
    SendError {
        again: error.is_transient(),
        ..SendError::refused(text)
    }
}

#[cfg(test)]
mod tests {
    use chrono::DateTime;
    use uuid::Uuid;

    use super::*;
    use crate::model::{NotificationContent, NotificationEvent};

    #[test]
    fn what_a_job_says_makes_no_header() {
        let config = NotificationsConfig {
            from: Some("Jobs <jobs@example.com>".to_owned()),
            smtp_host: Some("127.0.0.1".to_owned()),
            smtp_tls: SmtpTls::None,
            ..NotificationsConfig::default()
        };
        let to = ["ops@example.com".to_owned()];
        let email = Email::build("key", &to, &config).unwrap();
        let content = NotificationContent {
            subject: "x failed\r\nBcc: thief@example.com\r\n\r\nbody".to_owned(),
            text: "one\r\n.\r\ntwo".to_owned(),
            body: String::new(),
        };
        let id = Uuid::nil();
        let notification = Notification::new(
            id,
            "mail",
            NotificationEvent::Failed,
            id,
            content,
            DateTime::UNIX_EPOCH,
        );
        let mail = email.mail(&notification).unwrap().formatted();
        let mail = String::from_utf8(mail).unwrap();
        let (headers, _) = mail.split_once("\r\n\r\n").unwrap();
        assert!(
            headers.contains("Subject: x failed Bcc: thief@example.com body\r\n"),
            "{headers}"
        );
        assert!(!headers.contains("\nBcc:"), "{headers}");
        assert!(headers.contains("Message-ID: <00000000-"), "{headers}");
    }
}
