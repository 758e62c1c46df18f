//! Tests sessions against real devices (OpenSSH, FRR, zebra) and, for behaviour that a real device
//! does not show on demand, against the lab.
//!
//! Coverage by file:
//!
//! | behaviour | files |
//! |---|---|
//! | prompts in output and banners, host names that change | `lab`, `frr`, `configuration`, `platforms` |
//! | echo: redrawn, wrapped, absent; terminal noise; other encodings | `frr`, `linux`, `platforms` |
//! | paging that stays on, or swallows input that was typed ahead | `frr`, `lab`, `platforms`, `pipelining` |
//! | `enable`, configuration, commit, rollback, save | `zebra`, `lab`, `configuration`, `platforms` |
//! | commands and logins that ask; password changes | `interaction`, `login`, `zebra`, `platforms` |
//! | refused commands | `frr`, `zebra`, `platforms` |
//! | timeouts, silence, hang-ups, dead peers | `failures`, `keepalive`, `pipelining` |
//! | passwords, keys, certificates, agents, several factors | `login` |
//! | keyboard-interactive questions | `questions`, `login` |
//! | old algorithms; host keys; jump hosts | `legacy`; `host_keys`; `jump` |
//! | files; structured output; session logs; consoles | `files`; `parse`; `session_log`; `console` |
//! | device behaviour from public bug reports | `reports` |
//! | detection, facts, whole sessions of every platform | `platforms`, `fakenos` |
//! | large output, many sessions, sessions used again | `linux`, `frr`, `lab`, `pool` |

#![allow(clippy::unwrap_used, reason = "all of it is tests, the helpers too")]

mod configuration;
mod console;
mod failures;
mod fakenos;
mod files;
mod frr;
mod host_keys;
mod interaction;
mod jump;
mod keepalive;
mod lab;
mod legacy;
mod linux;
mod login;
mod parse;
mod pipelining;
mod platforms;
mod pool;
mod questions;
mod reports;
mod scripted;
mod session_log;
mod support;
mod zebra;
