//! Child jobs. Requires the declaration `submit`.

use std::time::Duration;

use serde::Serialize;
use serde_json::Value;

use crate::bindings::job_scheduler::plugin::queue;
use crate::error::of_host;
use crate::{Error, Result};

/// Options of a child job.
#[derive(Clone, Debug, Default)]
pub struct Submit<'a> {
    /// Names of targets; a subset of this job's.
    pub targets: &'a [&'a str],
    pub description: Option<&'a str>,
}

/// The result of a child job.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Outcome {
    pub id: String,
    /// `completed`, `failed` or `cancelled`.
    pub status: String,
    pub result: Option<Value>,
    pub error: Option<Error>,
}

/// Submits a child job and returns its id.
///
/// # Errors
/// Code `denied` for a plugin that is not declared, or a target that this job does not have; `invalid`
/// for parameters that the plugin does not accept.
pub fn submit(plugin: &str, params: impl Serialize, how: &Submit<'_>) -> Result<String> {
    let options = queue::SubmitOptions::new();
    let targets: Vec<String> = how.targets.iter().map(|name| (*name).to_owned()).collect();
    options.targets(&targets);
    if let Some(description) = how.description {
        options.description(description);
    }
    let params = serde_json::to_string(&params)?;
    queue::submit(plugin, &params, Some(&options)).map_err(of_host)
}

/// Waits until a child job has ended. Meanwhile this job does not occupy a worker slot.
///
/// # Errors
/// Code `timeout` if the child job has not ended after `at_most`.
pub fn wait(id: &str, at_most: Option<Duration>) -> Result<Outcome> {
    let outcome = queue::wait(id, at_most.map(|time| time.as_secs_f64())).map_err(of_host)?;
    let result = outcome.result.map(|text| serde_json::from_str(&text));
    Ok(Outcome {
        id: outcome.id,
        status: outcome.status,
        result: result.transpose()?,
        error: outcome.error.map(of_host),
    })
}
