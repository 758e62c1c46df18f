//! Sessions against real devices (OpenSSH, FRR) and, for what a real device does not do
//! on demand, against the lab.

#![allow(clippy::unwrap_used, reason = "all of it is tests, the helpers too")]

mod configuration;
mod console;
mod failures;
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
mod session_log;
mod support;
mod zebra;
