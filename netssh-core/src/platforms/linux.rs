//! A Linux host with a POSIX shell: bash, dash, ash, ksh.
//!
//! Sources: POSIX.1-2024 "Shell Command Language", 2.5.3 (`PS1`, `PS2` are expanded, `$?`);
//! bash(1) (`HISTFILE`, `PROMPT_COMMAND`, `set +H`, `set +o emacs`); measured on bash 5.2 and
//! dash 0.5.12. A login shell of another family (fish, csh) is not supported.

use crate::platform::{Ending, Pattern, Platform, Prompts, Setup, Terminal, TypeAhead};

pub(crate) fn platform() -> Platform {
    Platform {
        name: "linux".into(),
        // The prompt is ours, random, and the shell itself fills in the exit code, so neither
        // output nor a missing newline before the prompt can be mistaken.
        ending: Ending::ShellPrompt,
        prompts: Prompts {
            any: Pattern::built_in(r"[$#%>] ?$"),
            user: None,
            configuration: None,
        },
        // Without echo, output processing and line editing what arrives is what the command
        // wrote, byte for byte, and a command may be longer than the 4,095 bytes that a
        // terminal takes in canonical mode.
        terminal: Terminal {
            echo: false,
            quote_question_mark: None,
        },
        setup: Setup {
            commands: vec![
                // One line, so that nothing of it is read by a program it starts; it starts none.
                // `set +o emacs`: readline would take the bytes of UTF-8 for key bindings in the
                // C locale. `set +H`: a `!` in a command is no reference to the history. The
                // prompts come last: the first prompt is the sign that all is set.
                r#"unset HISTFILE PROMPT_COMMAND MAILCHECK; if [ -n "${BASH_VERSION-}" ]; then set +H +o emacs +o vi; fi; export PAGER=cat GIT_PAGER=cat MANPAGER=cat SYSTEMD_PAGER=; PS2='@@{word}:more@@'; PS1='@@{word}:$?@@'"#
                    .into(),
            ],
            early: true,
        },
        type_ahead: TypeAhead {
            safe: None,
            except: None,
        },
        pagers: Vec::new(),
        enable: None,
        configuration: None,
        save: None,
        exit: "exit".into(),
        refusals: Vec::new(),
    }
}
