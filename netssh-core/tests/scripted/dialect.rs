//! Default texts of the vendors' devices, for everything that a case does not define.
//!
//! Sources: the vendors' command references, and the recordings in the issues that the cases name.

/// The defaults of one vendor's devices.
#[derive(Debug, Clone)]
pub(super) struct Dialect {
    /// The reply to an unknown command.
    pub(super) unknown: &'static str,
    /// Lines that begin with this character are comments, without a reply.
    pub(super) comment: Option<char>,
    /// Prefixes of terminal commands, which have no output.
    pub(super) quiet: &'static [&'static str],
    /// Lines that end the session.
    pub(super) exits: &'static [&'static str],
}

const IOS: Dialect = Dialect {
    unknown: "                       ^\n% Invalid input detected at '^' marker.\n\n",
    comment: Some('!'),
    quiet: &[
        "terminal length",
        "terminal width",
        "terminal pager",
        "no page",
    ],
    exits: &["exit", "logout", "quit"],
};

impl Dialect {
    pub(super) fn of(platform: &str) -> Self {
        match platform {
            "juniper_junos" => Self {
                unknown: "               ^\nunknown command.\n",
                comment: Some('#'),
                quiet: &["set cli "],
                exits: &["exit", "quit"],
            },
            "huawei_vrp" => Self {
                unknown: "        ^\nError: Unrecognized command found at '^' position.\n",
                comment: Some('#'),
                quiet: &["screen-length", "screen-width"],
                exits: &["quit"],
            },
            "hp_comware" => Self {
                unknown: "        ^\n % Unrecognized command found at '^' position.\n",
                comment: Some('#'),
                quiet: &["screen-length"],
                exits: &["quit"],
            },
            "mikrotik_routeros" => Self {
                unknown: "bad command name (line 1 column 1)\n",
                comment: Some('#'),
                quiet: &[],
                exits: &["/quit", "quit"],
            },
            "fortinet" => Self {
                unknown: "Unknown action 0\n\n",
                comment: Some('#'),
                quiet: &[],
                exits: &["exit", "quit"],
            },
            "paloalto_panos" => Self {
                unknown: "\nUnknown command: \n",
                comment: None,
                quiet: &["set cli "],
                exits: &["exit", "quit"],
            },
            "nokia_sros" => Self {
                unknown: "              ^\nError: Bad command.\n",
                comment: Some('#'),
                quiet: &["environment "],
                exits: &["logout"],
            },
            "extreme_exos" => Self {
                unknown: "                         ^\n%% Invalid input detected at '^' marker.\n",
                comment: Some('#'),
                quiet: &["disable clipaging"],
                exits: &["exit", "quit", "logout"],
            },
            "vyos" | "ubiquiti_edgerouter" => Self {
                unknown: "\n  Invalid command\n\n",
                comment: Some('#'),
                quiet: &["set terminal ", "terminal "],
                exits: &["exit"],
            },
            "hp_procurve" | "aruba_aoscx" => Self {
                unknown: "Invalid input: \n",
                comment: Some('!'),
                ..IOS
            },
            "cisco_asa" => Self {
                unknown: "             ^\nERROR: % Invalid input detected at '^' marker.\n",
                ..IOS
            },
            "frr" => Self {
                unknown: "% Unknown command: \n",
                ..IOS
            },
            "linux" => Self {
                unknown: "-bash: command not found\n",
                comment: Some('#'),
                quiet: &[],
                exits: &["exit", "logout"],
            },
            _ => IOS,
        }
    }
}
