//! FRR , by way of `vtysh`.
//!
//! Sources: FRR's user guide, chapters "VTY Shell" and "Basic Commands"; `lib/command.c` and
//! `vtysh/vtysh_main.c` of FRR 8.4 (comments `!` and `#`, error texts); measured on FRR 8.4.4.

use crate::platform::{
    ConfigurationMode, Enable, Ending, Pager, Pattern, Platform, Prompts, Setup, Terminal,
    TypeAhead,
};

pub(crate) fn platform() -> Platform {
    Platform {
        name: "frr".into(),
        // cmd_make_strvec() skips a line that starts with `!` or `#`, in every node.
        ending: Ending::Comment { prefix: "!".into() },
        prompts: Prompts {
            any: Pattern::built_in(r"^[\w.\-@/:~+]{1,100}(\([^()]{1,60}\))?[>#] ?$"),
            user: Some(Pattern::built_in(r"> ?$")),
            configuration: Some(Pattern::built_in(r"\([^()]{1,60}\)# ?$")),
        },
        terminal: Terminal {
            echo: true,
            // readline's quoted-insert; vtysh binds `?` to its help.
            quote_question_mark: Some("\x16".into()),
        },
        setup: Setup {
            // Enabled, as vtysh starts, or not: both know it. 0 switches VTYSH_PAGER off as well.
            commands: vec!["terminal length 0".into()],
            // vtysh reads what was typed before it was ready: its terminal is not flushed.
            early: true,
        },
        type_ahead: TypeAhead {
            safe: Some(Pattern::built_in(r"(?i)^\s*(do\s+)?(sh|sho|show)\s")),
            except: None,
        },
        pagers: vec![
            Pager {
                mark: Pattern::built_in(r"^ ?--\s?[Mm]ore\s?--( ?\(\d+%\))? ?$"),
                answer: " ".into(),
            },
            Pager {
                mark: Pattern::built_in(r"^\(END\) ?$"),
                answer: "q".into(),
            },
        ],
        enable: Some(Enable {
            command: "enable".into(),
            question: Pattern::built_in(r"(?i)^password: ?$"),
        }),
        configuration: Some(ConfigurationMode {
            enter: "configure terminal".into(),
            leave: "end".into(),
        }),
        save: Some("write memory".into()),
        exit: "exit".into(),
        // vtysh starts every complaint with `% `, and nothing else.
        refusals: vec![
            Pattern::built_in(r"^% ?\S"),
            Pattern::built_in(r"^(Command not allowed|Configuration failed)"),
        ],
    }
}
