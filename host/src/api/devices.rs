//! `/api/devices`

use std::collections::HashMap;
use std::sync::Arc;

use axum::Json;
use axum::extract::State;

use super::Problem;
use super::types::{DeviceAnswer, DeviceList, LeftAloneAnswer};
use crate::app::App;
use crate::worker::Resource;

/// Lists the devices that jobs hold or wait for, and those that are left alone.
#[utoipa::path(get, path = "/devices", tag = "connections", responses((status = 200, body = DeviceList)))]
pub(super) async fn list(State(app): State<Arc<App>>) -> Result<Json<DeviceList>, Problem> {
    let connections = app.storage.connections().await?.into_iter();
    let names: HashMap<_, _> = connections.map(|each| (each.id, each.name)).collect();
    let in_use = app.turns.in_use().into_iter();
    let mut devices: Vec<_> = in_use
        .filter_map(|each| match each.resource {
            Resource::Plugin(_) => None,
            Resource::Device(id) => Some(DeviceAnswer {
                connection: names.get(&id).cloned(),
                held_by: each.holders,
                waiting: each.waiting,
            }),
        })
        .collect();
    devices.sort_by(|one, other| one.connection.cmp(&other.connection));
    let open = app.open_breakers().into_iter();
    let left_alone = open.map(|breaker| LeftAloneAnswer {
        address: breaker.address,
        reason: breaker.reason,
        retry_after_seconds: breaker.retry_after.as_secs(),
    });
    Ok(Json(DeviceList {
        devices,
        left_alone: left_alone.collect(),
    }))
}
