//! Tests against devices of `FakeNOS`: forty platforms with prompts and outputs that another project
//! defines.
//!
//! Every prompt is the host name and `>`, regardless of the vendor. The devices echo input at 10 ms
//! per character, even in the middle of an output.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt as _;
use netssh_core::{Endpoint, Platform, SecretString, Session};
use test_devices::{FakeDevice, FakeNos};

use crate::support::within;

/// The name of a platform in `FakeNOS`, its name here, and two commands to run.
type Row = (&'static str, &'static str, [&'static str; 2]);

/// All platforms of `FakeNOS`; `generic` for those without a platform here. Its `linux` has neither
/// variables nor exit codes, so it is `generic` too.
#[rustfmt::skip]
const TABLE: &[Row] = &[
    ("alcatel_aos", "generic", ["show vlan", "show vlan"]),
    ("alcatel_sros", "nokia_sros", ["show router pim interface", "show service sdp"]),
    ("allied_telesis_awplus", "generic", ["show arp", "show system"]),
    ("arista_eos", "arista_eos", ["show module", "show pim ipv4 interface"]),
    ("aruba_os", "generic", ["show arp", "show ap database"]),
    ("avaya_ers", "generic", ["show sys-info", "show logging config"]),
    ("avaya_vsp", "generic", ["show software", "show software"]),
    ("broadcom_icos", "generic", ["show isdp neighbors", "show version"]),
    ("brocade_fastiron", "generic", ["show arp", "show lag brief"]),
    ("brocade_netiron", "generic", ["show interfaces brief", "show span"]),
    ("checkpoint_gaia", "generic", ["show version all", "show asset all"]),
    ("ciena_saos", "generic", ["vlan show", "chassis show temperature"]),
    ("cisco_asa", "cisco_asa", ["show module", "show failover"]),
    ("cisco_ftd", "generic", ["show arp", "show vpn-sessiondb anyconnect"]),
    ("cisco_ios", "cisco_ios", ["show ip mroute", "show module"]),
    ("cisco_nxos", "cisco_nxos", ["show vrf interface", "show module"]),
    ("cisco_s300", "generic", ["show vlan", "show system"]),
    ("cisco_xr", "cisco_xr", ["show interfaces summary", "show pim ipv4 interface"]),
    ("dell_force10", "generic", ["show arp", "show vlan brief"]),
    ("dell_powerconnect", "generic", ["show bridge address table", "show interfaces status"]),
    ("dlink_ds", "generic", ["show arpentry", "show arpentry"]),
    ("eltex", "generic", ["show vlan", "show ip interface"]),
    ("ericsson_ipos", "generic", ["show isis adjacency", "show version"]),
    ("extreme_exos", "extreme_exos", ["show ipconfig", "show sharing"]),
    ("fortinet", "fortinet", ["get system status", "get router info bgp summary"]),
    ("hp_comware", "hp_comware", ["display device manuinfo", "display interface brief"]),
    ("hp_procurve", "hp_procurve", ["show ip", "show vlans"]),
    ("huawei_smartax", "huawei_vrp", ["display version", "display sysman service state"]),
    ("huawei_vrp", "huawei_vrp", ["display arp brief", "display version"]),
    ("ipinfusion_ocnos", "generic", ["show lldp table", "show lldp table"]),
    ("juniper_junos", "juniper_junos", ["show vlans", "show arp no-resolve"]),
    ("juniper_screenos", "generic", ["get route", "get route"]),
    ("linux", "generic", ["ip address show", "arp -a"]),
    ("mikrotik_routeros", "mikrotik_routeros", ["system clock print", "interface ethernet print"]),
    ("paloalto_panos", "paloalto_panos", ["show running nat-policy", "show mac all"]),
    ("ruckus_fastiron", "generic", ["show arp", "show version"]),
    ("ubiquiti_edgerouter", "ubiquiti_edgerouter", ["show interfaces", "show arp"]),
    ("ubiquiti_edgeswitch", "generic", ["show arp", "show version"]),
    ("vyatta_vyos", "vyos", ["show interfaces", "show arp"]),
    ("yamaha", "generic", ["show environment", "show ip route"]),
    ("zyxel_os", "generic", ["sys atsh", "cfg snmp get"]),
];

/// Returns the directory in which `cargo xtask setup` installs it.
fn package() -> PathBuf {
    PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("fakenos")
}

/// Returns an output as a terminal shows it: without trailing blanks.
fn shown(text: &str) -> String {
    let lines: Vec<&str> = text.lines().map(str::trim_end).collect();
    lines
        .join("\n")
        .trim_end()
        .trim_start_matches('\n')
        .to_owned()
}

/// Returns an output without the header line that the platform's devices print.
fn without_header(platform: &Platform, output: &str) -> String {
    let first = output.lines().find(|line| !line.trim().is_empty());
    match (first, &platform.header) {
        (Some(line), Some(header)) if header.matches(line) => output.replacen(line, "", 1),
        _ => output.to_owned(),
    }
}

async fn session(device: &FakeDevice, row: &Row) -> Result<(), String> {
    let (name, platform, commands) = row;
    let platform = Platform::named(platform).expect("a built-in platform");
    // Some platforms append terminal options to the user's name, which FakeNOS does not accept.
    let platform = Arc::new({
        let mut platform = Platform::clone(&platform);
        platform.login.username_suffix = String::new();
        platform
    });
    let mut endpoint = Endpoint::new("127.0.0.1", &device.username, platform);
    endpoint.port = device.port;
    endpoint.credentials.password = Some(SecretString::from(device.password.as_str()));
    endpoint.timeouts.login = Duration::from_secs(30);
    endpoint.timeouts.command = Duration::from_secs(20);
    let mut session = Session::connect(&endpoint)
        .await
        .map_err(|error| format!("{name}: {error}"))?;
    let mut outcome = Ok(());
    if session.prompt() != device.prompt {
        outcome = Err(format!("{name}: the prompt is {:?}", session.prompt()));
    }
    for command in commands {
        let expected = device.outputs.get(*command);
        let expected = expected.ok_or(format!("{name}: FakeNOS has no {command:?}"))?;
        let expected = without_header(&endpoint.platform, expected);
        match session.exec(command).await {
            Ok(reply) if shown(&reply.output) != shown(&expected) => {
                outcome = Err(format!(
                    "{name}, {command}: expected {expected:?}, got {:?}",
                    reply.output
                ));
            }
            Ok(reply) if !reply.is_success() => {
                outcome = Err(format!("{name}, {command}: {:?}", reply.failure));
            }
            Ok(_) => {}
            Err(error) => {
                let partial = error.partial().unwrap_or_default();
                return Err(format!("{name}: {error}; it said {partial:?}"));
            }
        }
    }
    session.close().await;
    outcome
}

#[tokio::test(flavor = "multi_thread")]
async fn every_platform_of_fakenos_runs_commands() {
    let fakenos = tokio::task::block_in_place(|| FakeNos::start(&package()));
    let devices: BTreeMap<&str, &FakeDevice> = fakenos
        .devices
        .iter()
        .map(|device| (device.platform.as_str(), device))
        .collect();
    let rows: BTreeMap<&str, &Row> = TABLE.iter().map(|row| (row.0, row)).collect();
    let names: Vec<_> = devices.keys().collect();
    assert_eq!(names, rows.keys().collect::<Vec<_>>(), "the table's names");
    let sessions = devices.iter().map(|(name, device)| {
        let row = rows[name];
        session(device, row)
    });
    // Concurrently: each connection mostly waits for FakeNOS.
    let outcomes = futures::stream::iter(sessions)
        .buffer_unordered(devices.len())
        .collect::<Vec<_>>();
    let outcomes = within(Duration::from_secs(60), outcomes).await;
    let failures: Vec<String> = outcomes.into_iter().filter_map(Result::err).collect();
    assert!(
        failures.is_empty(),
        "{} of {} platforms failed:\n{}",
        failures.len(),
        devices.len(),
        failures.join("\n")
    );
    tokio::task::block_in_place(|| drop(fakenos));
}
