//! What a WASM plugin of Job Scheduler is written with.
//!
//! A plugin is two functions: `describe` says what it is and needs, `run` does one job. This is a
//! whole one:
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
//! The schema of the parameters is made from their type and its comments; the host checks what is
//! submitted against it. Every call of the host is answered with a [`Result`], for `?`; so is any
//! other error. What is written to stdout and stderr goes into the job's log, and a panic fails the
//! job with its message and the place.
//!
//! Build it with `cargo build --release --target wasm32-wasip2`, as a `cdylib`, and drop the file
//! into the server's `plugins.components_dir`: its name, without `.wasm`, is the plugin's.
//!
//! This crate is for Rust. In any other language, a plugin is made with that language's component
//! tools and the contract in `wit/`.

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

/// Of a plugin that takes no parameters.
#[derive(Clone, Debug, serde::Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct NoParams {}

/// Everything that most plugins use.
pub mod prelude {
    pub use schemars::JsonSchema;
    pub use serde::{Deserialize, Serialize};
    pub use serde_json::{Value, json};

    pub use crate::{
        Description, Error, Job, NoParams, OnInterrupt, Result, Targets, log, progress, queue,
        sleep, ssh, storage, text,
    };
}

/// Makes a plugin of two functions: `fn() -> Description` and `fn(&Job, Params) -> Result<R>`, where
/// `Params` can be read (`Deserialize` and `JsonSchema`) and `R` can be written (`Serialize`).
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
