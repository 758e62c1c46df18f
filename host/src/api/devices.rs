//! `/api/devices`: jobs that hold or wait for a device. `/api/devices/open-circuits`: addresses with an
//! open circuit breaker.

use std::collections::HashMap;
use std::sync::Arc;

use axum::Json;
use axum::extract::State;

use super::Problem;
use super::extract::QueryParams;
use super::page::{PageQuery, fitting};
use crate::app::App;
use crate::dispatch::Resource;
use crate::wire::{DeviceList, DeviceResponse, OpenCircuit, OpenCircuitList};

/// Maximum number of waiting jobs listed per device.
const MAX_WAITING: usize = 100;
/// Maximum length of the reason listed for an open circuit breaker, in characters.
const MAX_REASON: usize = 1_000;

/// Lists the devices that jobs hold or wait for and, on the first page, the first addresses with an
/// open circuit breaker.
#[utoipa::path(
    get, path = "/devices", tag = "connections", params(PageQuery),
    responses(
        (status = 200, body = DeviceList),
        (status = 422, body = Problem, content_type = "application/problem+json"),
    )
)]
pub(super) async fn list(
    State(app): State<Arc<App>>,
    QueryParams(query): QueryParams<PageQuery>,
) -> Result<Json<DeviceList>, Problem> {
    let page = query.page()?;
    let connections = app.storage.connections().await?.into_iter();
    let names: HashMap<_, _> = connections.map(|each| (each.id, each.name)).collect();
    let in_use = app.dispatch.usage().into_iter();
    let mut devices: Vec<_> = in_use
        .filter_map(|each| match each.resource {
            Resource::Plugin(_) => None,
            Resource::Device(id) => {
                let connection = names.get(&id).cloned();
                let key = format!("{}/{id}", connection.as_deref().unwrap_or_default());
                let waiting_count = each.waiting.len() as u64;
                let mut waiting = each.waiting;
                waiting.truncate(MAX_WAITING);
                let device = DeviceResponse {
                    connection,
                    held_by: each.holders,
                    waiting,
                    waiting_count,
                };
                Some((key, device))
            }
        })
        .collect();
    devices.sort_by(|(one, _), (other, _)| one.cmp(other));
    let after = query.cursor.as_deref();
    devices.retain(|(key, _)| after.is_none_or(|after| **key > *after));
    let (devices, more) = fitting(devices, page.limit);
    let next_cursor = devices.last().filter(|_| more).map(|(key, _)| key.clone());
    let (open_circuits, open_circuits_more) = match after {
        Some(_) => (Vec::new(), false),
        None => open_circuits(&app, "", page.limit),
    };
    Ok(Json(DeviceList {
        devices: devices.into_iter().map(|(_, device)| device).collect(),
        next_cursor,
        open_circuits,
        open_circuits_more,
    }))
}

/// Lists the addresses with an open circuit breaker: no connection to them is tried for now.
#[utoipa::path(
    get, path = "/devices/open-circuits", tag = "connections", params(PageQuery),
    responses(
        (status = 200, body = OpenCircuitList),
        (status = 422, body = Problem, content_type = "application/problem+json"),
    )
)]
pub(super) async fn list_open_circuits(
    State(app): State<Arc<App>>,
    QueryParams(query): QueryParams<PageQuery>,
) -> Result<Json<OpenCircuitList>, Problem> {
    let page = query.page()?;
    let after = query.cursor.as_deref().unwrap_or_default();
    let (open_circuits, more) = open_circuits(&app, after, page.limit);
    let last = open_circuits.last().filter(|_| more);
    let next_cursor = last.map(|last| last.address.clone());
    Ok(Json(OpenCircuitList {
        open_circuits,
        next_cursor,
    }))
}

/// Returns the open circuit breakers behind an address that fit into a page, and whether there are more.
fn open_circuits(app: &App, after: &str, limit: u32) -> (Vec<OpenCircuit>, bool) {
    let mut open = app.open_breakers();
    open.retain(|breaker| *breaker.address > *after);
    open.sort_by(|one, other| one.address.cmp(&other.address));
    let open = open.into_iter().map(|breaker| OpenCircuit {
        address: breaker.address,
        reason: breaker.reason.chars().take(MAX_REASON).collect(),
        retry_after_seconds: breaker.retry_after.as_secs(),
    });
    fitting(open, limit)
}
