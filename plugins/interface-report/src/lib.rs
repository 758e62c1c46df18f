//! Reports the interfaces of devices of several platforms in one table: name, address, up or down.
//!
//! The operator's `TextFSM` templates parse the devices' output. `FRRouting` has no template, so
//! this plugin parses its columns itself.

use std::collections::BTreeMap;

use plugin_sdk::prelude::*;

#[derive(Clone, Copy, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Params {
    /// Leave out interfaces that are down
    #[serde(default)]
    only_up: bool,
}

#[derive(Debug, PartialEq, Eq, Serialize)]
struct Interface {
    target: String,
    interface: String,
    address: Option<String>,
    /// The state that the device reports.
    status: String,
    up: bool,
}

#[derive(Serialize)]
struct Report {
    interfaces: Vec<Interface>,
    up: usize,
    down: usize,
    /// Devices that failed, with the error.
    failed: BTreeMap<String, String>,
}

type Record = BTreeMap<String, Value>;

/// The command that shows the interfaces, by platform.
const COMMANDS: [(&str, &str); 7] = [
    ("arista_eos", "show ip interface brief"),
    ("cisco_asa", "show interface ip brief"),
    ("cisco_ios", "show ip interface brief"),
    ("cisco_nxos", "show ip interface brief"),
    ("cisco_xe", "show ip interface brief"),
    ("cisco_xr", "show ip interface brief"),
    ("frr", "show interface brief"),
];

fn describe() -> Description {
    Description::new("Report the interfaces of devices of several platforms")
        .targets(Targets::All)
        .exec(COMMANDS.iter().map(|(_, command)| *command))
        .on_interrupt(OnInterrupt::Retry)
}

fn run(job: &Job, params: Params) -> Result<Report> {
    let mut interfaces = Vec::new();
    let mut failed = BTreeMap::new();
    let total = job.targets.len() as u64;
    for (done, target) in (1..).zip(&job.targets) {
        match interfaces_of(target) {
            Ok(found) => interfaces.extend(found),
            Err(error) => {
                log::warn(format!("{target}: {error}"));
                failed.insert(target.clone(), error.message);
            }
        }
        progress(done, total, Some(target))?;
    }
    if failed.len() == job.targets.len() {
        let (target, why) = failed.into_iter().next().unwrap_or_default();
        return Err(Error::new(
            "failed",
            format!("no device answered; {target}: {why}"),
        ));
    }
    let up = interfaces.iter().filter(|one| one.up).count();
    let down = interfaces.len() - up;
    interfaces.retain(|one| one.up || !params.only_up);
    Ok(Report {
        interfaces,
        up,
        down,
        failed,
    })
}

fn interfaces_of(target: &str) -> Result<Vec<Interface>> {
    let device = ssh::open_target(target)?;
    let platform = device.platform();
    let known = COMMANDS.iter().find(|(name, _)| *name == platform);
    let Some((_, command)) = known else {
        let message = format!("platform {platform} is none that this plugin can ask");
        return Err(Error::new("unsupported", message));
    };
    let reply = device.exec(command)?;
    if let Some(failure) = reply.failure {
        return Err(Error::new("refused", failure));
    }
    let records = match platform.as_str() {
        "frr" => frr_records(&reply.output),
        // The templates are those of IOS, which prints the same.
        "cisco_xe" => text::parse("cisco_ios", command, &reply.output)?,
        _ => device.parse(&reply)?,
    };
    device.close()?;
    Ok(records
        .iter()
        .map(|record| interface(target, record))
        .collect())
}

fn interface(target: &str, record: &Record) -> Interface {
    let text = |name: &str| record.get(name).and_then(Value::as_str).unwrap_or_default();
    // NX-OS prints `protocol-up/link-up/admin-up`, which the template splits into three columns.
    let status = match text("link") {
        "" => text("status"),
        link => link,
    };
    let address = text("ip_address");
    let is_none = ["", "unassigned", "forward-enabled"].contains(&address);
    let lower = status.to_lowercase();
    Interface {
        target: target.to_owned(),
        interface: text("interface").to_owned(),
        address: (!is_none).then(|| address.to_owned()),
        up: ["up", "connected", "link-up"].contains(&lower.as_str()),
        status: status.to_owned(),
    }
}

/// Parses the table of interfaces of `FRRouting`:
///
/// ```text
/// Interface       Status  VRF             Addresses
/// ---------       ------  ---             ---------
/// lo              up      default         10.0.0.1/32
/// ```
fn frr_records(output: &str) -> Vec<Record> {
    let rows = output.lines().skip_while(|line| !line.starts_with("----"));
    rows.skip(1)
        .filter_map(|line| {
            let mut columns = line.split_whitespace();
            let (interface, status) = (columns.next()?, columns.next()?);
            // The VRF precedes the addresses; a row of additional addresses has neither name nor
            // VRF.
            let address = columns.nth(1).unwrap_or_default();
            (!line.starts_with(' ')).then(|| {
                [
                    ("interface", interface),
                    ("status", status),
                    ("ip_address", address),
                ]
                .map(|(name, value)| (name.to_owned(), Value::from(value)))
                .into()
            })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_columns_of_frr_are_read() {
        let output = "Interface       Status  VRF             Addresses\n\
            ---------       ------  ---             ---------\n\
            eth0            down    default\n\
            lo              up      default         10.0.0.1/32\n                                        + 2001:db8::1/128\n";
        let found: Vec<_> = frr_records(output)
            .iter()
            .map(|record| interface("r1", record))
            .collect();
        assert_eq!(found.len(), 2);
        assert_eq!((found[0].up, &found[0].address), (false, &None));
        assert_eq!(found[1].interface, "lo");
        assert_eq!(found[1].address.as_deref(), Some("10.0.0.1/32"));
    }
}

plugin_sdk::plugin!(describe, run);
