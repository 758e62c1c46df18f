//! Starts the host and gives tests hands to use it with.

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

/// The longest that anything is waited for. Nothing takes as long, unless it never comes.
pub(crate) const DEADLINE: Duration = Duration::from_secs(60);

/// A job of the plugin `p`, as it is submitted.
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
        bounds: Vec::new(),
    }
}

/// A connection's fields for a simulated device.
pub(crate) fn lab_connection(
    name: &str,
    lab: &netssh_core::lab::Lab,
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

/// A connection's fields for a device that logs in by password.
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
