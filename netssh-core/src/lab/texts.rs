//! What a simulated device prints for its `show` commands.

use std::fmt::Write;
use std::time::Duration;

use super::configuration::RunningConfiguration;

pub(super) fn show_version(hostname: &str, uptime: Duration) -> String {
    let minutes = uptime.as_secs() / 60;
    format!(
        "Cisco IOS Software, LAB Software (LAB-UNIVERSALK9-M), Version 15.9(3)M7, SIMULATED\n\
         This is a simulated device of netssh-core's lab; no Cisco software runs here.\n\
         \n\
         ROM: Bootstrap program is the lab\n\
         \n\
         {hostname} uptime is {} weeks, {} days, {} hours, {} minutes\n\
         System returned to ROM by reload\n\
         System image file is \"flash0:lab-universalk9-mz.SPA.159-3.M7\"\n\
         Last reload reason: Unknown reason\n\
         \n\
         Cisco ISR4331/K9 (LAB) processor (revision 1.0) with 984313K/62464K bytes of memory.\n\
         Processor board ID {}\n\
         3 Gigabit Ethernet interfaces\n\
         DRAM configuration is 72 bits wide with parity disabled.\n\
         256K bytes of non-volatile configuration memory.\n\
         250880K bytes of ATA System CompactFlash 0 (Read/Write)\n\
         \n\
         Configuration register is 0x2102\n",
        minutes / 10_080,
        minutes / 1_440 % 7,
        minutes / 60 % 24,
        minutes % 60,
        serial(hostname)
    )
}

pub(super) fn show_inventory(hostname: &str) -> String {
    format!(
        "NAME: \"Chassis\", DESCR: \"Cisco ISR4331 Chassis\"\n\
         PID: ISR4331/K9        , VID: V04  , SN: {serial}\n\
         \n\
         NAME: \"Power Supply Module 0\", DESCR: \"250W AC Power Supply\"\n\
         PID: PWR-4330-AC       , VID: V02  , SN: PST{serial}\n\
         \n\
         NAME: \"module 0\", DESCR: \"Cisco ISR4331 Built-In NIM controller\"\n\
         PID: ISR4331/K9        , VID:      , SN:\n",
        serial = serial(hostname)
    )
}

pub(super) fn show_ip_interface_brief(configuration: &RunningConfiguration) -> String {
    let mut text = String::from(
        "Interface                  IP-Address      OK? Method Status                Protocol\n",
    );
    for interface in configuration.interfaces() {
        let lines = configuration.section(&format!("interface {interface}"));
        let address = lines
            .iter()
            .find_map(|line| line.strip_prefix("ip address "))
            .and_then(|address| address.split(' ').next())
            .unwrap_or("unassigned");
        let down = lines.iter().any(|line| line == "shutdown");
        let (status, protocol) = if down {
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

/// The same for the same name.
fn serial(hostname: &str) -> String {
    let mut hash: u32 = 0x811c_9dc5;
    for byte in hostname.bytes() {
        hash = (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193);
    }
    format!("LAB{hash:08X}")
}
