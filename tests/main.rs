//! The product's tests: the real host and real devices, in one binary.
//!
//! A test arranges through the [`harness`], acts once, and checks the result, over the public API
//! if that shows it.

#![expect(
    clippy::unwrap_used,
    reason = "in a test, what is not there is a failure"
)]

mod api;
mod auth;
mod batches;
mod blame;
mod board;
mod book;
mod cancel;
mod chaos;
mod cli;
mod compare;
mod compiling;
mod components;
mod connections;
mod contracts;
mod database;
mod devices;
mod disk;
mod events;
mod floors;
mod harness;
mod hostile;
mod imports;
mod large;
mod lines;
mod lists;
mod logging;
mod notifications;
mod panics;
mod parity;
mod pauses;
mod perimeter;
mod plugins;
mod policy;
mod process;
mod queue;
mod reload;
mod retention;
mod sandbox;
mod schedules;
mod scripts;
mod secrets;
mod sessions;
mod storage;
mod terminal;
mod tls;
mod values;
