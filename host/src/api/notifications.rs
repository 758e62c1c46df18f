//! `/api/notifications`: sent and waiting notifications, and a test message.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use serde::Deserialize;
use utoipa::IntoParams;
use uuid::Uuid;

use super::Problem;
use super::extract::{JsonBody, QueryParams};
use super::page;
use crate::app::App;
use crate::model::NotificationState;
use crate::notifications::NoSuchChannel;
use crate::notifications::TestOutcome;
use crate::wire::{NotificationList, NotificationResponse, NotificationTest, TestNotification};

const DEFAULT_PAGE: u32 = 50;

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct NotificationQuery {
    /// Only notifications in this state.
    state: Option<NotificationState>,
    /// Maximum number of entries, 1 to 500; 50 if absent. A page ends earlier when it reaches 1 MiB.
    limit: Option<u32>,
    /// `next_cursor` of the previous page.
    cursor: Option<Uuid>,
}

/// Lists notifications, newest first.
#[utoipa::path(
    get, path = "/notifications", tag = "notifications", params(NotificationQuery),
    responses(
        (status = 200, body = NotificationList),
        (status = 422, body = Problem, content_type = "application/problem+json"),
    )
)]
pub(super) async fn list(
    State(app): State<Arc<App>>,
    QueryParams(query): QueryParams<NotificationQuery>,
) -> Result<Json<NotificationList>, Problem> {
    let limit = page::checked(query.limit, DEFAULT_PAGE)?;
    let mut found = app
        .storage
        .notifications(query.state, query.cursor, limit + 1)
        .await?;
    for notification in &mut found {
        notification.next_at = app.notifications.next_attempt(notification);
    }
    let answers = found.into_iter().map(NotificationResponse::from);
    let (notifications, more) = page::fitting(answers, limit);
    let last = notifications.last().filter(|_| more);
    Ok(Json(NotificationList {
        next_cursor: last.map(|last| last.id.to_string()),
        notifications,
    }))
}

/// Sends a test message to a channel and returns the outcome.
#[utoipa::path(
    post, path = "/notifications/test", tag = "notifications", request_body = TestNotification,
    responses(
        (status = 200, description = "`ok` tells whether the message was sent", body = NotificationTest),
        (status = 404, description = "Channel not found", body = Problem, content_type = "application/problem+json"),
    )
)]
pub(super) async fn test(
    State(app): State<Arc<App>>,
    body: JsonBody<TestNotification>,
) -> Result<Json<NotificationTest>, Problem> {
    let tried = app.notifications.test(&body.value.channel).await?;
    Ok(Json(tried.into()))
}

impl From<NoSuchChannel> for Problem {
    fn from(error: NoSuchChannel) -> Self {
        Self::not_found(error.to_string())
    }
}

impl From<TestOutcome> for NotificationTest {
    fn from(tried: TestOutcome) -> Self {
        Self {
            ok: tried.error.is_none(),
            duration_ms: u64::try_from(tried.duration.as_millis()).unwrap_or(u64::MAX),
            error: tried.error,
        }
    }
}
