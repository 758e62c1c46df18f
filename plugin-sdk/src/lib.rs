//! The SDK for WASM plugins of Job Scheduler.
//!
//! A plugin consists of two functions: `describe` declares the plugin and its capabilities, `run`
//! runs one job. A complete plugin:
//!
//! ```
//! use plugin_sdk::prelude::*;
//!
//! #[derive(Deserialize, JsonSchema)]
//! #[serde(deny_unknown_fields)]
//! struct Params {
//!     /// The command to run.
//!     command: String,
//! }
//!
//! fn describe() -> Description {
//!     Description::new("Run a show command").targets(Targets::Each).exec(["show *"])
//! }
//!
//! fn run(_job: &Job, params: Params) -> Result<String> {
//!     Ok(ssh::open()?.exec(&params.command)?.output)
//! }
//!
//! plugin_sdk::plugin!(describe, run);
//! # fn main() {}
//! ```
//!
//! The type of the parameters and its comments become their JSON schema, and the host validates
//! submitted parameters against it. Every call of the host returns a [`Result`], which `?`
//! propagates like any other error. Output to stdout and stderr is written to the job's log. A
//! panic fails the job with the panic's message and location.
//!
//! Build it with `cargo build --release --target wasm32-wasip2`, as a `cdylib`, and copy the file
//! to the server's `plugins.components_dir`. The file name without `.wasm` is the name of the
//! plugin.
//!
//! This crate is for Rust. For other languages, use their component tools and the contract in
//! `wit/`.

#[allow(
    clippy::all,
    unused_qualifications,
    unreachable_pub,
    rust_2018_idioms,
    reason = "generated from the contract in wit/"
)]
#[doc(hidden)]
pub mod bindings {
    wit_bindgen::generate!({
        path: "wit",
        world: "job-plugin",
        pub_export_macro: true,
        export_macro_name: "__export_job_plugin",
        default_bindings_module: "plugin_sdk::bindings",
    });
}

mod description;
mod error;
#[doc(hidden)]
pub mod glue;
pub mod job;
pub mod log;
pub mod queue;
pub mod ssh;
pub mod storage;
pub mod text;

pub use description::{Description, OnInterrupt, Targets};
pub use error::{Error, Result};
pub use job::{Job, progress, sleep};

/// The parameters of a plugin that takes none.
#[derive(Clone, Debug, serde::Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct NoParams {}

/// The types and modules that most plugins use.
pub mod prelude {
    pub use schemars::JsonSchema;
    pub use serde::{Deserialize, Serialize};
    pub use serde_json::{Value, json};

    pub use crate::{
        Description, Error, Job, NoParams, OnInterrupt, Result, Targets, log, progress, queue,
        sleep, ssh, storage, text,
    };
}

/// Exports a plugin made of two functions: `fn() -> Description` and `fn(&Job, Params) ->
/// Result<R>`. `Params` implements `Deserialize` and `JsonSchema`; `R` implements `Serialize`.
#[macro_export]
macro_rules! plugin {
    ($describe:path, $run:path) => {
        const _: () = {
            struct Component;

            impl $crate::glue::Guest for Component {
                fn describe() -> ::std::string::String {
                    $crate::glue::describe($describe, $run)
                }

                fn run(
                    params: ::std::string::String,
                ) -> ::std::result::Result<::std::string::String, $crate::glue::Failure> {
                    $crate::glue::run($run, &params)
                }
            }

    $crate::bindings::__export_job_plugin!(Component with_types_in $crate::bindings);
        };
    };
}
