//! Wire types of devices: which jobs hold them or wait for them.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use uuid::Uuid;

#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct DeviceList {
    /// Devices that jobs hold or wait for.
    pub devices: Vec<DeviceAnswer>,
    /// For the next page of the devices: `?cursor=`; null on the last.
    #[serde(default)]
    pub next_cursor: Option<String>,
    /// Addresses that are left alone because they let nobody in; on the first page.
    pub left_alone: Vec<LeftAloneAnswer>,
    /// There are more such addresses than are listed.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub left_alone_more: bool,
}

/// An address that is not tried for now.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct LeftAloneAnswer {
    #[schema(example = "192.0.2.1:22")]
    pub address: String,
    /// The last failure.
    pub reason: String,
    /// Until one try is let through; 0 when it may come.
    pub retry_after_seconds: u64,
}

/// Who has a device, and who waits for it.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct DeviceAnswer {
    /// The connection's name; null where it is a job's own, or deleted.
    pub connection: Option<String>,
    /// Jobs that run on it.
    pub held_by: Vec<Uuid>,
    /// Jobs that wait for it, in the order of their turns; the first 100.
    pub waiting: Vec<Uuid>,
    /// How many jobs wait for it.
    #[serde(default)]
    pub waiting_count: u64,
}
