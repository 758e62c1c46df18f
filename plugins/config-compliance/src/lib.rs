//! Checks a device's running configuration against rules and reports on each rule.
//!
//! A rule requires lines, forbids lines, or both within blocks. A block is a line with the lines
//! indented below it.

mod blocks;
mod rules;

use plugin_sdk::prelude::*;

use crate::rules::{Checked, Rule};

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Params {
    /// Rules that the configuration has to comply with
    #[schemars(length(min = 1, max = 1000))]
    rules: Vec<Rule>,
    /// Fail the job when the configuration violates a rule; otherwise only report it
    #[serde(default)]
    fail: bool,
}

#[derive(Serialize)]
struct Report {
    target: Option<String>,
    platform: String,
    compliant: bool,
    broken: usize,
    rules: Vec<Checked>,
}

fn describe() -> Description {
    Description::new("Hold the running configuration against rules")
        .targets(Targets::Each)
        .exec(COMMANDS.iter().map(|(_, command)| *command))
        .on_interrupt(OnInterrupt::Retry)
}

fn run(job: &Job, params: Params) -> Result<Report> {
    // Rejects invalid patterns before any device is contacted.
    let rules = params
        .rules
        .into_iter()
        .map(Rule::compile)
        .collect::<Result<Vec<_>>>()?;
    let device = ssh::open()?;
    let platform = device.platform();
    let reply = device.exec(command_of(&platform)?)?;
    device.close()?;
    if let Some(failure) = reply.failure {
        return Err(Error::new("refused", failure));
    }
    if reply.truncated {
        let message = "the configuration is too long to be kept whole, so it cannot be checked";
        return Err(Error::new("limit", message));
    }
    let rules: Vec<Checked> = rules.iter().map(|rule| rule.check(&reply.output)).collect();
    let broken: Vec<&Checked> = rules.iter().filter(|rule| !rule.passed).collect();
    for rule in &broken {
        for violation in &rule.violations {
            log::warn(format!("{}: {violation}", rule.name));
        }
    }
    log::info(format!(
        "{} of {} rules hold",
        rules.len() - broken.len(),
        rules.len()
    ));
    if params.fail && !broken.is_empty() {
        let names: Vec<&str> = broken.iter().map(|rule| rule.name.as_str()).collect();
        let message = format!("broken: {}", names.join(", "));
        return Err(Error::new("not_compliant", message));
    }
    Ok(Report {
        target: job.target.clone(),
        platform,
        compliant: broken.is_empty(),
        broken: broken.len(),
        rules,
    })
}

/// The command that shows the running configuration, by platform.
const COMMANDS: [(&str, &str); 20] = [
    ("arista_eos", "show running-config"),
    ("aruba_aoscx", "show running-config"),
    ("cisco_asa", "show running-config"),
    ("cisco_ios", "show running-config"),
    ("cisco_nxos", "show running-config"),
    ("cisco_xe", "show running-config"),
    ("cisco_xr", "show running-config"),
    ("dell_os10", "show running-configuration"),
    ("extreme_exos", "show configuration"),
    ("fortinet", "show full-configuration"),
    ("frr", "show running-config"),
    ("hp_comware", "display current-configuration"),
    ("hp_procurve", "show running-config"),
    ("huawei_vrp", "display current-configuration"),
    ("juniper_junos", "show configuration | display set"),
    ("mikrotik_routeros", "/export"),
    ("nokia_sros", "admin display-config"),
    ("paloalto_panos", "show config running"),
    ("ubiquiti_edgerouter", "show configuration commands"),
    ("vyos", "show configuration commands"),
];

fn command_of(platform: &str) -> Result<&'static str> {
    let known = COMMANDS.iter().find(|(name, _)| *name == platform);
    let (_, command) = known.ok_or_else(|| {
        Error::new(
            "unsupported",
            format!("platform {platform} has no running configuration that this plugin knows"),
        )
    })?;
    Ok(command)
}

plugin_sdk::plugin!(describe, run);
