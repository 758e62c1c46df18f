//! Sessions against real devices (OpenSSH, FRR) and, for what a real device does not do
//! on demand, against the lab.

#![allow(clippy::unwrap_used, reason = "all of it is tests, the helpers too")]

mod configuration;
mod failures;
mod frr;
mod host_keys;
mod interaction;
mod lab;
mod linux;
mod login;
mod parse;
mod pipelining;
mod platforms;
mod pool;
mod support;
