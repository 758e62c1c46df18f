//! Cisco IOS.
//!
//! Sources: "Cisco IOS Configuration Fundamentals Configuration Guide", chapter "Using the
//! Command-Line Interface" (prompts, modes, `terminal length 0`, `--More--`, Ctrl-V, error
//! messages); "Cisco IOS Configuration Fundamentals Command Reference" (`enable`,
//! `configure terminal`, `write memory`); netmiko's and scrapli's issue lists for what devices
//! print beyond that.

use crate::platform::{
    ConfigurationMode, Enable, Ending, Pager, Pattern, Platform, Prompts, Setup, Terminal,
    TypeAhead,
};

pub(crate) fn platform() -> Platform {
    Platform {
        name: "cisco_ios".into(),
        // `!` starts a comment in every mode.
        ending: Ending::Comment { prefix: "!".into() },
        prompts: Prompts {
            any: Pattern::built_in(r"^[\w.\-@/:~+]{1,100}(\([^()]{1,60}\))?[>#] ?$"),
            user: Some(Pattern::built_in(r"> ?$")),
            configuration: Some(Pattern::built_in(r"\([^()]{1,60}\)# ?$")),
        },
        terminal: Terminal {
            echo: true,
            quote_question_mark: Some("\x16".into()),
        },
        setup: Setup {
            // Width too: a wide terminal keeps the device from scrolling long lines sideways.
            // "Command authorization failed" for these is common and harmless.
            commands: vec!["terminal length 0".into(), "terminal width 511".into()],
            early: false,
        },
        type_ahead: TypeAhead {
            safe: Some(Pattern::built_in(r"(?i)^\s*(do\s+)?(sh|sho|show)\s")),
            except: Some(Pattern::built_in(r"(?i)\|\s*(redirect|append|tee)\b")),
        },
        pagers: vec![Pager {
            mark: Pattern::built_in(r"^ ?-{2,}\s?[Mm]ore\s?-{2,} ?$"),
            answer: " ".into(),
        }],
        enable: Some(Enable {
            command: "enable".into(),
            question: Pattern::built_in(r"(?i)^.{0,60}(password|secret): ?$"),
        }),
        configuration: Some(ConfigurationMode {
            enter: "configure terminal".into(),
            leave: "end".into(),
        }),
        save: Some("write memory".into()),
        exit: "exit".into(),
        refusals: vec![
            Pattern::built_in(
                r"^% ?(Invalid|Incomplete|Ambiguous|Unknown|Unrecognized|Bad|Error|Access|Authorization|Not|Cannot|Failed|Permission)",
            ),
            Pattern::built_in(r"^%(Error|Invalid)"),
            Pattern::built_in(r"^Command authorization failed"),
            Pattern::built_in(r"^(Command rejected|ERROR): "),
        ],
    }
}
