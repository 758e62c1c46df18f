//! A component of version 0.1.0 of the contract, built from the contract of that time alone (`wit/`
//! in this directory): future hosts have to run it, regardless of changes in the SDK.

#[allow(clippy::all, rust_2018_idioms, reason = "generated from the contract")]
mod bindings {
    wit_bindgen::generate!({ path: "wit", world: "job-plugin" });
}

use bindings::exports::job_scheduler::plugin::plugin::Guest;
use bindings::job_scheduler::plugin::{job, log, progress, queue, ssh, storage, text, types};

struct Component;

impl Guest for Component {
    fn describe() -> String {
        r#"{
            "summary": "Version 0.1 of the contract",
            "targets": "each",
            "needs": { "ssh": { "exec": ["echo *"] }, "storage": true, "queue": { "submit": ["noop"] } },
            "params": { "type": "object" }
        }"#
        .to_owned()
    }

    fn run(params: String) -> Result<String, types::Error> {
        log::info(
            &format!("attempt {} of {}", job::attempt(), job::plugin()),
            None,
        )?;
        let device = ssh::open(job::target().as_deref())?;
        let options = ssh::ExecOptions::new();
        options.timeout(30.0)?;
        let reply = device.exec("echo hello", Some(&options))?;
        let denied = device.exec("reboot", None);
        device.close()?;
        storage::set("reply", &format!("{:?}", reply.output))?;
        let options = queue::SubmitOptions::new();
        options.description("from version 0.1");
        let child = queue::submit("noop", "{}", Some(&options))?;
        let ended = queue::wait(&child, Some(60.0))?;
        progress::progress(1, Some(1), Some("done"))?;
        let diff = text::diff("a\n", "b\n")?;
        Ok(format!(
            r#"{{"params":{params},"output":{:?},"denied":{:?},"child":{:?},"diff":{},"targets":{}}}"#,
            reply.output,
            denied.map_err(|error| error.code).err().unwrap_or_default(),
            ended.status,
            diff.len(),
            job::targets().len(),
        ))
    }
}

bindings::export!(Component with_types_in bindings);
