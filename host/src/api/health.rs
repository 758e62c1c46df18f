//! `/health` and `/api/health`: the health of storage, queue, workers and plugins.

use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use serde_json::{Value, json};

use super::access::Caller;
use crate::app::App;
use crate::model::Permission;
use crate::storage::StorageError;
use crate::wire::{
    ChannelHealth, Health, HealthStatus, NotificationHealth, PluginHealth, QueueHealth,
    StorageHealth, WorkerHealth,
};

/// How long a component may take to respond before it counts as down.
const TIMEOUT: Duration = Duration::from_secs(2);

/// Effects of a full disk.
const FULL: &str = "the database's disk is full: nothing can be stored and no job starts; the server \
                    recovers when space is freed";

/// Returns the state of the server. Without the permission `health.read`, only `status`.
#[utoipa::path(
    get, path = "/health", tag = "health",
    responses(
        (status = 200, description = "Healthy: storage and queue work", body = Health),
        (status = 503, description = "Unhealthy: storage or queue does not work", body = Health),
    )
)]
pub(super) async fn health(
    State(app): State<Arc<App>>,
    caller: Caller,
) -> (StatusCode, Json<Value>) {
    let (storage, queue) = tokio::join!(
        tokio::time::timeout(TIMEOUT, app.storage.ping()),
        tokio::time::timeout(TIMEOUT, app.dispatch.queue_length()),
    );
    let full = matches!(storage, Ok(Err(StorageError::Full)));
    let low = app.space.check().err();
    let problem = match app.storage.condition().fault() {
        Some(fault) => Some(fault.to_string()),
        None if full => Some(FULL.to_owned()),
        None => low.map(|low| format!("{low}; new jobs are rejected until space is freed")),
    };
    let storage = matches!(storage, Ok(Ok(()))) && low.is_none();
    let size = app.storage.size().await.unwrap_or_default();
    let length = queue.ok().and_then(Result::ok);
    let entries = app.registry.entries();
    let broken = entries.iter().filter(|entry| entry.error.is_some()).count();
    let compiling = entries.iter().filter(|entry| entry.is_compiling()).count();
    let problems = app.registry.problems();
    let all = storage && length.is_some();
    let health = Health {
        status: status_of(all),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        uptime_seconds: app.started.elapsed().as_secs(),
        storage: StorageHealth {
            status: status_of(storage),
            bytes: size.bytes,
            free_bytes: size.free,
            disk_full: full,
            disk_low: full || low.is_some(),
            problem,
        },
        queue: QueueHealth {
            status: status_of(length.is_some()),
            length,
        },
        workers: WorkerHealth {
            status: HealthStatus::Healthy,
            name: app.worker.name().to_owned(),
            running: app.dispatch.running(),
            concurrency: app.config.worker.concurrency,
        },
        plugins: PluginHealth {
            status: status_of(broken == 0 && problems.is_empty()),
            ready: entries.len() - broken - compiling,
            compiling,
            broken,
            problems,
        },
        notifications: notifications(&app),
    };
    let status = if all {
        StatusCode::OK
    } else {
        StatusCode::SERVICE_UNAVAILABLE
    };
    if !caller.may(Permission::HealthRead) {
        return (status, Json(json!({ "status": health.status })));
    }
    (status, Json(json!(health)))
}

/// Returns the state of the notification channels. A failing channel does not stop jobs, so it does not
/// affect the server's overall health.
fn notifications(app: &App) -> NotificationHealth {
    let channels = app.notifications.status().into_iter();
    let channels: Vec<_> = channels
        .map(|channel| ChannelHealth {
            status: status_of(channel.last_error.is_none()),
            name: channel.name,
            kind: channel.kind.to_owned(),
            last_error: channel.last_error,
        })
        .collect();
    NotificationHealth {
        status: status_of(channels.iter().all(|channel| channel.last_error.is_none())),
        channels,
    }
}

fn status_of(works: bool) -> HealthStatus {
    if works {
        HealthStatus::Healthy
    } else {
        HealthStatus::Unhealthy
    }
}
