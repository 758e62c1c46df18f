//! The way to a device and the host keys trusted on it. The secrets of a connection are bound to both.

use std::collections::HashMap;

use data_encoding::{BASE64, BASE64_NOPAD};
use sha2::{Digest as _, Sha256};
use uuid::Uuid;

use super::{Connection, RouteError, route};

/// The scope of known host keys: an address and the route to it. Two devices behind different jump
/// hosts may have the same address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostKeyPlace {
    pub host: String,
    pub port: u16,
    /// Addresses of the jump hosts in order, as a JSON list.
    pub route: String,
}

/// The hosts on the way to a device, with the device last.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Way(Vec<Hop>);

/// One host on a way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hop {
    /// Host name in lower case, as names are case-insensitive.
    pub host: String,
    pub port: u16,
    pub username: String,
    /// Fingerprint of the only accepted host key.
    pub pin: Option<String>,
}

impl Way {
    /// Builds the way to a connection through `jumps`, in order from here to the device.
    #[must_use]
    pub fn new(connection: &Connection, jumps: &[&Connection]) -> Self {
        let hops = jumps.iter().copied().chain([connection]).map(Hop::of);
        Self(hops.collect())
    }

    /// Returns the scope of the device's own host keys.
    #[must_use]
    pub fn host_key_place(&self) -> HostKeyPlace {
        self.host_key_place_of(self.0.len() - 1)
    }

    /// Returns the scope of the host keys of each host on the way, with its pin.
    pub fn host_key_places(&self) -> impl Iterator<Item = (HostKeyPlace, Option<&str>)> {
        let hops = self.0.iter().enumerate();
        hops.map(|(at, hop)| (self.host_key_place_of(at), hop.pin.as_deref()))
    }

    fn host_key_place_of(&self, hop: usize) -> HostKeyPlace {
        let Hop { host, port, .. } = &self.0[hop];
        HostKeyPlace {
            host: host.clone(),
            port: *port,
            route: self.route_to(hop),
        }
    }

    /// Returns the pin of the device.
    #[must_use]
    pub fn pin(&self) -> Option<&str> {
        self.0.last().and_then(|hop| hop.pin.as_deref())
    }

    /// Returns the same way with another pin of the device.
    #[must_use]
    pub fn with_pin(&self, pin: Option<String>) -> Self {
        let mut way = self.clone();
        if let Some(hop) = way.0.last_mut() {
            hop.pin = pin;
        }
        way
    }

    /// Encodes the way unambiguously: each text is preceded by its length.
    #[must_use]
    pub fn bytes(&self) -> Vec<u8> {
        let mut bytes = length(self.0.len()).to_vec();
        for hop in &self.0 {
            add_text(&mut bytes, &hop.host);
            bytes.extend(hop.port.to_be_bytes());
            add_text(&mut bytes, &hop.username);
            bytes.push(u8::from(hop.pin.is_some()));
            add_text(&mut bytes, hop.pin.as_deref().unwrap_or_default());
        }
        bytes
    }

    fn route_to(&self, hop: usize) -> String {
        let address = |hop: &Hop| format!("{}:{}", hop.host, hop.port);
        let addresses: Vec<_> = self.0[..hop].iter().map(address).collect();
        serde_json::json!(addresses).to_string()
    }
}

impl Hop {
    fn of(connection: &Connection) -> Self {
        Self {
            host: connection.host.to_ascii_lowercase(),
            port: connection.port,
            username: connection.username.clone(),
            pin: connection.host_key.as_deref().map(fingerprint_of),
        }
    }
}

/// Returns the fingerprint of a pin, which is a public key or already a fingerprint.
#[must_use]
pub fn fingerprint_of(pin: &str) -> String {
    let pin = pin.trim();
    if pin.starts_with("SHA256:") {
        return pin.trim_end_matches('=').to_owned();
    }
    let key = pin.split_whitespace().nth(1).unwrap_or_default();
    match BASE64.decode(key.as_bytes()) {
        Ok(key) if !key.is_empty() => {
            format!("SHA256:{}", BASE64_NOPAD.encode(&Sha256::digest(key)))
        }
        // An invalid pin is unchanged: it matches no key.
        _ => pin.to_owned(),
    }
}

pub(crate) fn add_text(bytes: &mut Vec<u8>, text: &str) {
    bytes.extend(length(text.len()));
    bytes.extend(text.as_bytes());
}

fn length(length: usize) -> [u8; 8] {
    (length as u64).to_be_bytes()
}

/// All saved connections, by name.
#[derive(Clone, Debug, Default)]
pub struct SavedConnections(HashMap<String, Connection>);

impl SavedConnections {
    #[must_use]
    pub fn new(connections: Vec<Connection>) -> Self {
        let saved = connections
            .into_iter()
            .filter(|connection| connection.owner_job_id.is_none());
        Self(
            saved
                .map(|connection| (connection.name.clone(), connection))
                .collect(),
        )
    }

    /// Returns the connections after a change of one of them, which may be renamed.
    #[must_use]
    pub fn with(&self, changed: &Connection) -> Self {
        let mut saved = self.0.clone();
        let old = saved.values().find(|saved| saved.id == changed.id);
        if let Some(old) = old.map(|old| old.name.clone()) {
            saved.remove(&old);
            for other in saved.values_mut() {
                rename_jumps(other, &old, &changed.name);
            }
        }
        saved.insert(changed.name.clone(), changed.clone());
        Self(saved)
    }

    /// Returns the name of a connection.
    #[must_use]
    pub fn name_of(&self, id: Uuid) -> Option<&str> {
        let found = self.0.values().find(|saved| saved.id == id);
        found.map(|saved| saved.name.as_str())
    }

    /// Returns all connections, sorted by name.
    #[must_use]
    pub fn all(&self) -> Vec<&Connection> {
        let mut all: Vec<_> = self.0.values().collect();
        all.sort_by(|one, other| one.name.cmp(&other.name));
        all
    }

    /// Returns the jump hosts of a connection, in order.
    ///
    /// # Errors
    /// If the route is invalid.
    pub fn jumps(&self, connection: &Connection) -> Result<Vec<&Connection>, RouteError> {
        let jump_of = |name: &str| self.0.get(name).map(|saved| saved.jump.clone());
        let names = route(&connection.name, &connection.jump, jump_of)?;
        Ok(names.iter().filter_map(|name| self.0.get(name)).collect())
    }

    /// Returns the way to a connection.
    ///
    /// # Errors
    /// If the route is invalid.
    pub fn way(&self, connection: &Connection) -> Result<Way, RouteError> {
        Ok(Way::new(connection, &self.jumps(connection)?))
    }
}

/// Replaces the name of a jump host in a connection.
pub(crate) fn rename_jumps(connection: &mut Connection, old: &str, new: &str) {
    let renamed = connection.jump.iter_mut().filter(|name| *name == old);
    renamed.for_each(|name| new.clone_into(name));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::test_connection as connection;

    #[test]
    fn a_way_is_made_of_addresses_and_pins_and_not_of_names() {
        let stored = |bastion: &Connection| {
            SavedConnections::new(vec![
                connection("core", "10.0.0.1", &[&bastion.name]),
                bastion.clone(),
            ])
        };
        let bastion = connection("bastion", "Bastion.example", &[]);
        let core = connection("core", "10.0.0.1", &["bastion"]);
        let way = stored(&bastion).way(&core).unwrap();
        assert_eq!(way.host_key_place().route, r#"["bastion.example:22"]"#);

        let renamed = Connection {
            name: "b2".to_owned(),
            host: "BASTION.example".to_owned(),
            ..bastion.clone()
        };
        let after = stored(&bastion).with(&renamed);
        let core_after = after.all()[1];
        assert_eq!(core_after.jump, ["b2"]);
        assert_eq!(after.way(core_after).unwrap(), way);

        let changes: [fn(&mut Connection); 4] = [
            |bastion| bastion.host = "evil.example".to_owned(),
            |bastion| bastion.port = 2222,
            |bastion| bastion.username = "other".to_owned(),
            |bastion| bastion.host_key = Some("SHA256:abc".to_owned()),
        ];
        let mut seen = vec![way.bytes()];
        for change in changes {
            let mut bastion = bastion.clone();
            change(&mut bastion);
            let changed = stored(&bastion).way(&core).unwrap();
            assert_ne!(changed, way);
            assert!(!seen.contains(&changed.bytes()));
            seen.push(changed.bytes());
        }
    }

    #[test]
    fn a_key_and_its_fingerprint_are_the_same_pin() {
        let key =
            "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJdD7y3aLq454yWBdwLWbieU1ebz9/cu7/QEXn9OIeZJ";
        let fingerprint = fingerprint_of(&format!("{key} a comment"));
        let known = netssh_core::HostKey::parse(key).unwrap().fingerprint;
        assert_eq!(fingerprint, known);
        assert_eq!(fingerprint_of(&format!("{fingerprint}=")), fingerprint);
    }
}
