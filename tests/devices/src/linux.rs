//! A Linux host: a shell behind sshd.

use crate::sshd::{Options, Sshd};

/// A Linux host.
#[derive(Debug)]
pub struct Linux {
    /// How to log in.
    pub ssh: Sshd,
}

/// What kind of host.
#[derive(Debug, Clone)]
pub struct LinuxOptions {
    /// The login shell: `/bin/bash` by default.
    pub shell: String,
    /// No `password` method, only keyboard-interactive through PAM.
    pub keyboard_interactive: bool,
    /// More lines of `sshd_config`.
    pub sshd_config: String,
}

impl Default for LinuxOptions {
    fn default() -> Self {
        Self {
            shell: "/bin/bash".into(),
            keyboard_interactive: false,
            sshd_config: String::new(),
        }
    }
}

impl Linux {
    /// A host with bash.
    #[must_use]
    pub fn start() -> Self {
        Self::start_with(&LinuxOptions::default())
    }

    /// A host of another kind.
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
            }),
        }
    }
}
