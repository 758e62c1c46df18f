//! The host: the library behind the `scheduler` binary, with modules in reading order.
//!
//! See ARCHITECTURE.md at the root of the repository.

/// The global allocator. Its per-thread allocation counters limit the memory of playbooks.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

pub mod cli;
pub mod config;
pub mod logging;

pub mod app;

mod backoff;
mod fields;
mod json;
pub mod model;
mod nearest;
mod numbers;
pub mod storage;
mod text;

pub mod auth;
pub mod dispatch;
pub mod jobs;
pub mod notifications;
pub mod pauses;
pub mod retention;
pub mod schedules;
pub mod worker;

pub mod capabilities;
pub mod connections;
pub mod credentials;
mod descriptors;
pub mod disk;
pub mod registry;
pub mod response_budget;
pub mod runtime;
pub mod sealing;
pub mod session_logs;
pub mod stream_limit;

pub mod wire;

pub mod api;
pub mod board;
pub mod server;
