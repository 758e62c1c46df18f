//! `/api/connections/{id}/terminal`: an interactive terminal on a device, over a WebSocket.
//!
//! Binary messages carry the raw bytes of both directions. Text messages are JSON control messages:
//! [`TerminalCommand`] from the client, [`TerminalEvent`] from the server. The terminal's traffic is
//! neither logged nor stored.

use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::extract::ws::rejection::WebSocketUpgradeRejection;
use axum::extract::ws::{Message, WebSocket, WebSocketUpgrade};
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::Response;
use netssh_core::{ConnectionPermit, Console};
use serde::Deserialize;
use tokio::time::timeout;
use utoipa::IntoParams;

use super::Problem;
use super::access::{Caller, lapsed};
use super::extract::QueryParams;
use crate::app::{App, MAX_TERMINALS};
use crate::model::{Connection, ErrorCode, JobError, Permission};
use crate::stream_limit::StreamPermit;
use crate::wire::{CloseReason, TerminalCommand, TerminalEvent};

/// Maximum size of a message from the client. Larger pastes have to be split.
const MAX_MESSAGE_BYTES: usize = 64 * 1024;
/// Maximum width and height of a terminal.
const MAX_CELLS: u16 = 1_000;
/// A client that accepts no output for this long counts as disconnected.
const SENDING: Duration = Duration::from_secs(30);
/// Timeout of the last message and the closing handshake.
const PARTING: Duration = Duration::from_secs(1);

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct TerminalParams {
    /// The type of the terminal, as in `TERM`.
    #[serde(default = "xterm")]
    #[param(default = "xterm")]
    term: String,
    /// The width of the terminal in characters, 1 to 1000.
    #[serde(default = "eighty")]
    #[param(default = 80)]
    columns: u16,
    /// The height of the terminal in characters, 1 to 1000.
    #[serde(default = "twenty_four")]
    #[param(default = 24)]
    rows: u16,
}

/// Opens a terminal on the device, as a WebSocket. Binary messages are bytes in both directions.
/// Text messages are JSON: `{"resize":{"columns":132,"rows":43}}` from the client; from the server
/// `{"opened":{}}` after the login, `{"error":{"code":…,"message":…}}` or
/// `{"closed":{"reason":"device"}}` (or `idle`, `shutdown`, `revoked`) as the last one.
#[utoipa::path(
    get, path = "/connections/{id}/terminal", tag = "connections",
    params(("id" = String, Path, description = "Id or name"), TerminalParams),
    responses(
        (status = 101, description = "Switching to the WebSocket protocol; the terminal opens"),
        (status = 403, description = "Requests from pages of other sites are not allowed", body = Problem, content_type = "application/problem+json"),
        (status = 404, body = Problem, content_type = "application/problem+json"),
        (status = 422, body = Problem, content_type = "application/problem+json"),
        (status = 426, description = "Not a WebSocket request", body = Problem, content_type = "application/problem+json"),
        (status = 429, description = "Too many open terminals", body = Problem, content_type = "application/problem+json"),
    )
)]
pub(super) async fn open(
    State(app): State<Arc<App>>,
    caller: Caller,
    Path(id): Path<String>,
    QueryParams(params): QueryParams<TerminalParams>,
    upgrade: Result<WebSocketUpgrade, WebSocketUpgradeRejection>,
) -> Result<Response, Problem> {
    params.check()?;
    let connection = app.connections.find(&id).await?;
    let upgrade = upgrade.map_err(|rejection| {
        Problem::new(
            StatusCode::UPGRADE_REQUIRED,
            "not-a-websocket",
            format!("expected a WebSocket request: {}", rejection.body_text()),
        )
    })?;
    let permit = app.terminals.try_acquire().ok_or_else(|| {
        Problem::new(
            StatusCode::TOO_MANY_REQUESTS,
            "too-many-terminals",
            format!("too many open terminals: at most {MAX_TERMINALS} are allowed; close one"),
        )
    })?;
    Ok(upgrade
        .max_frame_size(MAX_MESSAGE_BYTES)
        .max_message_size(MAX_MESSAGE_BYTES)
        .on_upgrade(move |socket| serve(app, caller, connection, params, socket, permit)))
}

impl TerminalParams {
    fn check(&self) -> Result<(), Problem> {
        let is_term = (1..=64).contains(&self.term.len())
            && self
                .term
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || b"-+._".contains(&byte));
        if !is_term {
            let message = "expected 1 to 64 letters, digits and - + . _";
            return Err(Problem::invalid_field("/term", message));
        }
        for (pointer, cells) in [("/columns", self.columns), ("/rows", self.rows)] {
            if !is_size(cells) {
                let message = format!("expected 1 to {MAX_CELLS}, got {cells}");
                return Err(Problem::invalid_field(pointer, message));
            }
        }
        Ok(())
    }
}

async fn serve(
    app: Arc<App>,
    caller: Caller,
    connection: Connection,
    params: TerminalParams,
    mut socket: WebSocket,
    permit: StreamPermit,
) {
    let begun = Instant::now();
    let user = caller.name();
    tracing::info!(connection = %connection.name, user, "terminal opened");
    let lapsed = lapsed(Arc::clone(&app), caller.0, Permission::TerminalsOpen);
    let ended = tokio::select! {
        ended = talk(&app, &connection, &params, &mut socket) => ended,
        () = permit.closing() => Ended::Closed(CloseReason::Shutdown),
        () = lapsed => Ended::Closed(CloseReason::Revoked),
    };
    let (reason, event) = match ended {
        Ended::Left => ("client disconnected".to_owned(), None),
        Ended::Closed(reason) => (
            reason.as_str().to_owned(),
            Some(TerminalEvent::Closed { reason }),
        ),
        Ended::Failed(JobError { code, message, .. }) => (
            code.0.clone(),
            Some(TerminalEvent::Error {
                code: code.0,
                message,
            }),
        ),
    };
    let part = async {
        if let Some(event) = event {
            tell(&mut socket, &event).await;
        }
        let _ = socket.send(Message::Close(None)).await;
    };
    let _ = timeout(PARTING, part).await;
    let duration_ms = u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX);
    tracing::info!(connection = %connection.name, user, reason, duration_ms, "terminal closed");
}

enum Ended {
    /// The client has disconnected.
    Left,
    Closed(CloseReason),
    Failed(JobError),
}

/// Logs in and relays bytes until either side ends the terminal. Input before the login is complete
/// waits.
async fn talk(
    app: &App,
    connection: &Connection,
    params: &TerminalParams,
    socket: &mut WebSocket,
) -> Ended {
    let (mut console, _connection) = match log_in(app, connection, params).await {
        Ok(opened) => opened,
        Err(error) => return Ended::Failed(error),
    };
    tell(socket, &TerminalEvent::Opened {}).await;
    let idle = Duration::from_secs(app.config.devices.terminal_idle_seconds);
    let ended = loop {
        let step = tokio::select! {
            shown = console.read() => Step::Shown(shown),
            message = socket.recv() => Step::Said(message),
            () = tokio::time::sleep(idle) => break Ended::Closed(CloseReason::Idle),
        };
        let done = match step {
            Step::Shown(Ok(Some(bytes))) => show(socket, bytes).await,
            Step::Shown(Ok(None)) => Err(Ended::Closed(CloseReason::Device)),
            Step::Shown(Err(error)) => Err(failed(&error)),
            Step::Said(message) => obey(&mut console, message).await,
        };
        if let Err(ended) = done {
            break ended;
        }
    };
    console.close().await;
    ended
}

enum Step {
    Shown(Result<Option<Vec<u8>>, netssh_core::Error>),
    Said(Option<Result<Message, axum::Error>>),
}

async fn log_in(
    app: &App,
    connection: &Connection,
    params: &TerminalParams,
) -> Result<(Console, ConnectionPermit), JobError> {
    let endpoint = app.connections.endpoint_of(connection).await?;
    let opening = Console::open(&endpoint, &params.term, params.columns, params.rows);
    app.interactive_login(&endpoint, opening)
        .await
        .map_err(|error| app.connections.explain(connection, &error))
}

async fn show(socket: &mut WebSocket, bytes: Vec<u8>) -> Result<(), Ended> {
    match timeout(SENDING, socket.send(Message::Binary(bytes.into()))).await {
        Ok(Ok(())) => Ok(()),
        Ok(Err(_)) | Err(_) => Err(Ended::Left),
    }
}

async fn obey(
    console: &mut Console,
    message: Option<Result<Message, axum::Error>>,
) -> Result<(), Ended> {
    let done = match message {
        Some(Ok(Message::Binary(bytes))) => console.write(&bytes).await,
        Some(Ok(Message::Text(text))) => match serde_json::from_str(&text) {
            Ok(TerminalCommand::Resize { columns, rows }) if is_size(columns) && is_size(rows) => {
                console.resize(columns, rows).await
            }
            Ok(TerminalCommand::Resize { .. }) => {
                return Err(invalid(format!(
                    "invalid resize: expected 1 to {MAX_CELLS} columns and rows"
                )));
            }
            Err(error) => {
                return Err(invalid(format!("invalid text message: {error}")));
            }
        },
        Some(Ok(Message::Ping(_) | Message::Pong(_))) => Ok(()),
        Some(Err(error)) => {
            return Err(invalid(format!(
                "failed to read the message: {error}; at most {MAX_MESSAGE_BYTES} bytes are allowed"
            )));
        }
        Some(Ok(Message::Close(_))) | None => return Err(Ended::Left),
    };
    done.map_err(|error| failed(&error))
}

async fn tell(socket: &mut WebSocket, event: &TerminalEvent) {
    // The next read notices a disconnected client.
    if let Ok(text) = serde_json::to_string(event) {
        let _ = timeout(SENDING, socket.send(Message::Text(text.into()))).await;
    }
}

fn failed(error: &netssh_core::Error) -> Ended {
    Ended::Failed(JobError::new(error.code(), error.to_string()))
}

fn invalid(message: String) -> Ended {
    Ended::Failed(JobError::new(ErrorCode::INVALID, message))
}

fn is_size(cells: u16) -> bool {
    (1..=MAX_CELLS).contains(&cells)
}

fn xterm() -> String {
    "xterm".to_owned()
}

fn eighty() -> u16 {
    80
}

fn twenty_four() -> u16 {
    24
}
