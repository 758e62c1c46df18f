//! How a device is reached and logged in to, apart from address and secrets, for `add` and `edit`.

use std::path::PathBuf;

use clap::Args;
use serde::Serialize;

use crate::cli::{Failure, secrets};
use crate::model::Algorithms;

#[derive(Debug, Args)]
pub(super) struct AccessArgs {
    /// A connection to use as a jump host; repeat for several, in order from the server to the device
    #[arg(long = "jump", value_name = "NAME")]
    jump: Vec<String>,

    /// `legacy` also offers algorithms for old devices: SHA-1, CBC, 1024-bit groups
    #[arg(long, value_parser = parse_algorithms, value_name = "default|legacy")]
    algorithms: Option<Algorithms>,

    /// An OpenSSH user certificate for the private key or a key of the agent
    #[arg(long, value_name = "FILE")]
    certificate_file: Option<PathBuf>,

    /// Log in with the server's ssh-agent; `--agent=false` disables it
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    agent: Option<bool>,

    /// Maximum number of jobs with sessions to the device at the same time
    #[arg(long, value_name = "NUMBER")]
    max_sessions: Option<u32>,
}

/// Fields of a connection in the API's form.
#[derive(Serialize)]
pub(super) struct AccessFields {
    #[serde(skip_serializing_if = "Vec::is_empty")]
    jump: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    algorithms: Option<Algorithms>,
    #[serde(skip_serializing_if = "Option::is_none")]
    certificate: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    agent: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    max_sessions: Option<u32>,
}

impl AccessArgs {
    pub(super) fn read(&self) -> Result<AccessFields, Failure> {
        let certificate = self.certificate_file.as_deref();
        let certificate = certificate.map(secrets::read).transpose()?;
        Ok(AccessFields {
            jump: self.jump.clone(),
            algorithms: self.algorithms,
            certificate: certificate.map(|text| text.trim().to_owned()),
            agent: self.agent,
            max_sessions: self.max_sessions,
        })
    }
}

impl AccessFields {
    /// Returns whether these fields alone allow a login.
    pub(super) fn can_log_in(&self) -> bool {
        self.agent == Some(true)
    }
}

fn parse_algorithms(text: &str) -> Result<Algorithms, String> {
    Algorithms::parse(text).ok_or_else(|| "expected default or legacy".to_owned())
}
