//! The harness: starts the host, and everything that tests use with it.

mod browser;
mod client;
mod host;
mod mail_server;
mod process;
mod pty;
mod receiver;
mod terminal;

use std::time::Duration;

use ::host::model::{NewJob, OnInterrupt, now};
use uuid::Uuid;

pub(crate) use browser::{Browser, ENTER, ESCAPE, TAB};
pub(crate) use client::{Answer, Client};
pub(crate) use host::{TestHost, component, playbook, run, scripts_dir};
pub(crate) use mail_server::{Certificate, MailServer, free_port};
pub(crate) use process::{Server, clean, scheduler};
pub(crate) use pty::Pty;
pub(crate) use receiver::{Received, Receiver};
pub(crate) use terminal::Terminal;

/// The limit of every wait; only an event that never happens takes this long.
pub(crate) const DEADLINE: Duration = Duration::from_secs(60);

/// Returns a job of the plugin `p` for the storage.
pub(crate) fn new_job(id: Uuid) -> NewJob {
    NewJob {
        id,
        plugin: "p".to_owned(),
        params: serde_json::json!({}),
        targets: Vec::new(),
        priority: 0,
        description: None,
        parent_id: None,
        depth: 0,
        created_at: now(),
        scheduled_for: None,
        timeout_seconds: None,
        max_retries: 3,
        on_interrupt: OnInterrupt::Fail,
        idempotency: None,
        batch: None,
        held: false,
        rerun_of: None,
        schedule: None,
        submitted_by: None,
        bounds: Vec::new(),
    }
}

/// Returns the fields of a connection to a simulated device.
pub(crate) fn lab_connection(
    name: &str,
    lab: &netssh_lab::Lab,
    device_type: &str,
) -> serde_json::Value {
    let device = lab.device();
    serde_json::json!({
        "name": name,
        "host": "127.0.0.1",
        "port": lab.addr().port(),
        "username": device.username,
        "password": device.password,
        "device_type": device_type,
    })
}

/// Returns the fields of a connection to a device with a password login.
pub(crate) fn password_connection(
    name: &str,
    ssh: &test_devices::Sshd,
    device_type: &str,
) -> serde_json::Value {
    serde_json::json!({
        "name": name,
        "host": ssh.host,
        "port": ssh.port,
        "username": ssh.username,
        "password": ssh.password,
        "device_type": device_type,
    })
}
