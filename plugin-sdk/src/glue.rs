//! The code between the contract's exports and a plugin's two functions, called by the macro
//! `plugin!`.

use std::io::Write as _;

use schemars::JsonSchema;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::bindings::exports::job_scheduler::plugin::plugin;
use crate::{Description, Error, Job, Result};

pub use crate::bindings::job_scheduler::plugin::types::Error as Failure;
pub use plugin::Guest;

pub fn describe<P: JsonSchema, R>(
    describe: fn() -> Description,
    _run: fn(&Job, P) -> Result<R>,
) -> String {
    let schema = schemars::schema_for!(P).to_value();
    let description = describe().with_params(schema);
    serde_json::to_string(&description).expect("a description is made of texts and lists")
}

pub fn run<P: DeserializeOwned, R: Serialize>(
    run: fn(&Job, P) -> Result<R>,
    params: &str,
) -> Result<String, Failure> {
    let result = serde_json::from_str(params)
        .map_err(|error| {
            Error::new(
                "invalid",
                format!("the parameters do not fit their type: {error}"),
            )
        })
        .and_then(|params| run(&Job::current(), params))
        .and_then(|result| Ok(serde_json::to_string(&result)?));
    // Flushes an unfinished line, which would be lost with the component.
    let _ = std::io::stdout().flush();
    result.map_err(|error| Failure {
        code: error.code,
        message: error.message,
        retryable: error.retryable,
    })
}
