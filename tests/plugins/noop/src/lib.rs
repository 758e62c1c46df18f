//! A component that does nothing, to measure the cost of the runtime.

#[allow(clippy::all, rust_2018_idioms, reason = "generated from the contract")]
mod bindings {
    wit_bindgen::generate!({ path: "../../../plugin-sdk/wit", world: "job-plugin" });
}

use bindings::exports::job_scheduler::plugin::plugin::Guest;
use bindings::job_scheduler::plugin::types::Error;

struct Component;

impl Guest for Component {
    fn describe() -> String {
        r#"{ "summary": "Nothing", "targets": "none", "params": { "type": "object" } }"#.to_owned()
    }

    fn run(params: String) -> Result<String, Error> {
        Ok(params)
    }
}

bindings::export!(Component with_types_in bindings);
