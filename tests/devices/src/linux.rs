//! A Linux host: a shell behind sshd.

use std::sync::Arc;

use crate::authority::Authority;
use crate::sshd::{Options, Sshd};

/// A Linux host.
#[derive(Debug)]
pub struct Linux {
    /// The SSH server of the host, with credentials.
    pub ssh: Sshd,
}

/// Options of a host.
#[derive(Debug, Clone)]
pub struct LinuxOptions {
    /// The login shell: `/bin/bash` by default.
    pub shell: String,
    /// Whether to offer only keyboard-interactive through PAM, without the method `password`.
    pub keyboard_interactive: bool,
    /// Additional lines of `sshd_config`.
    pub sshd_config: String,
    /// `ssh-keygen`'s options for each host key, `["-t", "rsa", "-b", "1024"]`; by default, one
    /// ed25519 key.
    pub host_keys: Vec<Vec<&'static str>>,
    /// The authority that certifies the first host key, with options of `ssh-keygen`: see
    /// [`Authority::sign`].
    pub host_certificate: Option<(Arc<Authority>, Vec<&'static str>)>,
}

impl Default for LinuxOptions {
    fn default() -> Self {
        Self {
            shell: "/bin/bash".into(),
            keyboard_interactive: false,
            sshd_config: String::new(),
            host_keys: vec![vec!["-t", "ed25519"]],
            host_certificate: None,
        }
    }
}

impl Linux {
    /// Starts a host with bash.
    #[must_use]
    pub fn start() -> Self {
        Self::start_with(&LinuxOptions::default())
    }

    /// Starts a host with options.
    #[must_use]
    pub fn start_with(options: &LinuxOptions) -> Self {
        let mut config = options.sshd_config.clone();
        if options.keyboard_interactive {
            config.push_str(
                "\nUsePAM yes\nPasswordAuthentication no\nKbdInteractiveAuthentication yes\n",
            );
        }
        Self {
            ssh: Sshd::start(&Options {
                shell: &options.shell,
                group: None,
                config,
                host_keys: &options.host_keys,
                host_certificate: options.host_certificate.clone(),
            }),
        }
    }
}
