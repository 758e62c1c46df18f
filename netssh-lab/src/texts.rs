//! Generated output for a simulated device's `show` commands.

use std::fmt::Write;
use std::time::Duration;

use super::configuration::Tree;

pub(super) fn uptime(uptime: Duration) -> String {
    let minutes = uptime.as_secs() / 60;
    format!(
        "{} weeks, {} days, {} hours, {} minutes",
        minutes / 10_080,
        minutes / 1_440 % 7,
        minutes / 60 % 24,
        minutes % 60,
    )
}

pub(super) fn ip_interface_brief(running: &Tree) -> String {
    let mut text = String::from(
        "Interface                  IP-Address      OK? Method Status                Protocol\n",
    );
    for (interface, lines) in running.interfaces() {
        let address = lines
            .iter()
            .find_map(|line| line.strip_prefix("ip address "))
            .and_then(|address| address.split(' ').next())
            .unwrap_or("unassigned");
        let (status, protocol) = if lines.contains(&"shutdown") {
            ("administratively down", "down")
        } else {
            ("up", "up")
        };
        let _ = writeln!(
            text,
            "{interface:<26} {address:<15} YES NVRAM  {status:<21} {protocol}"
        );
    }
    text
}

/// Returns a serial number, always the same one for a name.
pub(super) fn serial(hostname: &str) -> String {
    let mut hash: u32 = 0x811c_9dc5;
    for byte in hostname.bytes() {
        hash = (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193);
    }
    format!("LAB{hash:08X}")
}
