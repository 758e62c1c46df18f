//! Wire types of devices: which jobs hold them or wait for them.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use uuid::Uuid;

#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct DeviceList {
    /// Devices that jobs hold or wait for.
    pub devices: Vec<DeviceResponse>,
    /// For the next page of the devices: `?cursor=`; null on the last.
    #[serde(default)]
    pub next_cursor: Option<String>,
    /// The first addresses with an open circuit breaker; on the first page only.
    pub open_circuits: Vec<OpenCircuit>,
    /// Whether there are more addresses with an open circuit breaker than listed; see
    /// `GET /api/devices/open-circuits`.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub open_circuits_more: bool,
}

#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct OpenCircuitList {
    /// Addresses with an open circuit breaker, in the order of their text.
    pub open_circuits: Vec<OpenCircuit>,
    /// For the next page: `?cursor=`; null on the last.
    #[serde(default)]
    pub next_cursor: Option<String>,
}

/// An address with an open circuit breaker.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct OpenCircuit {
    #[schema(example = "192.0.2.1:22")]
    pub address: String,
    /// The last failure.
    pub reason: String,
    /// Seconds until one connection is tried; 0 if it may be tried now.
    pub retry_after_seconds: u64,
}

/// A device with the jobs that hold it and wait for it.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct DeviceResponse {
    /// The connection's name; null for an inline or deleted connection.
    pub connection: Option<String>,
    /// Jobs that hold the device.
    pub held_by: Vec<Uuid>,
    /// The first 100 jobs that wait for the device, in order.
    pub waiting: Vec<Uuid>,
    /// Number of jobs that wait for the device.
    #[serde(default)]
    pub waiting_count: u64,
}
