//! The running configuration of a simulated device: lines, and sections of lines.

use super::LabDevice;

#[derive(Debug)]
pub(super) struct RunningConfiguration {
    pub(super) hostname: String,
    /// In order; a section has lines below it.
    entries: Vec<Entry>,
}

#[derive(Debug)]
struct Entry {
    line: String,
    below: Vec<String>,
}

/// Lines that open a section, and the name of its mode.
pub(super) const SECTIONS: [(&str, &str); 8] = [
    ("interface ", "config-if"),
    ("router ", "config-router"),
    ("line ", "config-line"),
    ("vlan ", "config-vlan"),
    ("vrf definition ", "config-vrf"),
    ("route-map ", "config-route-map"),
    ("ip access-list ", "config-nacl"),
    ("class-map ", "config-cmap"),
];

/// What a line in configuration mode may start with.
const KNOWN: &[&str] = &[
    "aaa",
    "access-list",
    "archive",
    "banner",
    "boot",
    "bridge-domain",
    "cdp",
    "clock",
    "crypto",
    "enable",
    "errdisable",
    "exec-timeout",
    "hostname",
    "ip",
    "ipv6",
    "lldp",
    "logging",
    "login",
    "mac",
    "monitor",
    "mpls",
    "ntp",
    "password",
    "policy-map",
    "privilege",
    "redundancy",
    "service",
    "snmp-server",
    "spanning-tree",
    "tacacs",
    "transport",
    "username",
    "vtp",
    // Below a section.
    "address-family",
    "bandwidth",
    "delay",
    "description",
    "duplex",
    "encapsulation",
    "match",
    "mtu",
    "name",
    "neighbor",
    "network",
    "permit",
    "deny",
    "rd",
    "redistribute",
    "route-target",
    "router-id",
    "set",
    "shutdown",
    "speed",
    "standby",
    "switchport",
];

impl RunningConfiguration {
    pub(super) fn new(device: &LabDevice) -> Self {
        let mut configuration = Self {
            hostname: device.hostname.clone(),
            entries: Vec::new(),
        };
        for line in [
            "service timestamps log datetime msec",
            "no ip domain-lookup",
            "ip cef",
        ] {
            configuration.push(line);
        }
        for (interface, lines) in [
            ("Loopback0", &["ip address 10.255.0.1 255.255.255.255"][..]),
            (
                "GigabitEthernet0/0",
                &["description uplink", "ip address 192.0.2.10 255.255.255.0"],
            ),
            ("GigabitEthernet0/1", &["no ip address", "shutdown"]),
            ("GigabitEthernet0/2", &["no ip address", "shutdown"]),
        ] {
            let section = format!("interface {interface}");
            for line in lines {
                configuration.apply(Some(&section), line);
            }
        }
        configuration.push("ip route 0.0.0.0 0.0.0.0 192.0.2.1");
        configuration.apply(Some("line vty 0 4"), "transport input ssh");
        configuration
    }

    fn push(&mut self, line: &str) {
        self.entries.push(Entry {
            line: line.into(),
            below: Vec::new(),
        });
    }

    /// The lines of one section.
    pub(super) fn section(&self, line: &str) -> &[String] {
        self.entries
            .iter()
            .find(|entry| entry.line == line)
            .map_or(&[], |entry| &entry.below)
    }

    pub(super) fn interfaces(&self) -> impl Iterator<Item = &str> {
        self.entries
            .iter()
            .filter_map(|entry| entry.line.strip_prefix("interface "))
    }

    /// Whether such a line exists at all.
    pub(super) fn knows(line: &str) -> bool {
        let line = line.strip_prefix("no ").unwrap_or(line);
        let word = line.split(' ').next().unwrap_or_default();
        KNOWN.contains(&word) || Self::section_mode(line).is_some()
    }

    pub(super) fn section_mode(line: &str) -> Option<&'static str> {
        SECTIONS
            .iter()
            .find(|(start, _)| line.starts_with(start))
            .map(|(_, mode)| *mode)
    }

    pub(super) fn open_section(&mut self, line: &str) {
        if !self.entries.iter().any(|entry| entry.line == line) {
            self.push(line);
        }
    }

    /// Applies a line, globally or in a section, which it creates.
    pub(super) fn apply(&mut self, section: Option<&str>, line: &str) {
        // From a sub-mode too, as in IOS.
        if let Some(name) = line.strip_prefix("hostname ") {
            self.hostname = name.trim().into();
            return;
        }
        match section {
            None => {
                let entries = &mut self.entries;
                if let Some(undone) = line.strip_prefix("no ")
                    && let Some(at) = entries
                        .iter()
                        .position(|entry| entry.line.starts_with(undone))
                {
                    entries.remove(at);
                } else if !entries.iter().any(|entry| entry.line == line) {
                    self.push(line);
                }
            }
            Some(section) => {
                self.open_section(section);
                if let Some(entry) = self.entries.iter_mut().find(|e| e.line == section) {
                    replace(&mut entry.below, line);
                }
            }
        }
    }

    pub(super) fn text(&self) -> String {
        let mut text = format!("!\nversion 15.9\n!\nhostname {}\n!\n", self.hostname);
        for entry in &self.entries {
            text.push_str(&entry.line);
            text.push('\n');
            for line in &entry.below {
                text.push(' ');
                text.push_str(line);
                text.push('\n');
            }
            if !entry.below.is_empty() {
                text.push_str("!\n");
            }
        }
        text.push_str("!\nend\n");
        let bytes = text.len();
        format!("Building configuration...\n\nCurrent configuration : {bytes} bytes\n{text}")
    }
}

/// A second `description` or `ip address` replaces the first; `no x` removes `x`.
fn replace(lines: &mut Vec<String>, line: &str) {
    if lines.iter().any(|existing| existing == line) {
        return;
    }
    let subject = line.strip_prefix("no ").unwrap_or(line);
    let words = |text: &str, count: usize| -> Vec<String> {
        text.split(' ').take(count).map(str::to_owned).collect()
    };
    let single = ["description", "shutdown", "mtu", "speed", "duplex", "name"];
    let count = if single.iter().any(|word| subject.starts_with(word)) {
        1
    } else {
        2
    };
    if count == 1 || subject.starts_with("ip address") {
        let key = words(subject, count);
        lines.retain(|existing| {
            words(existing.strip_prefix("no ").unwrap_or(existing), count) != key
        });
    } else if line.starts_with("no ") {
        lines.retain(|existing| !existing.starts_with(subject));
        return;
    }
    if line != "no shutdown" && line != "no description" {
        lines.push(line.into());
    }
}
