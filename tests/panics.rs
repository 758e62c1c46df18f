//! Tests that a panic of the host in an attempt fails that job and releases its resources, in both
//! runtimes.
//!
//! The panic is a real one inside a host function: a subscriber of the host's log panics at the
//! event of a new session to a device named `panics`.

use std::sync::Once;

use netssh_lab::{Lab, LabDevice};
use serde_json::json;
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::subscriber::Interest;
use tracing::{Event, Metadata, Subscriber};

use crate::harness::{TestHost, component, lab_connection, run};

const PARITY: &str = include_str!("plugins/parity/parity.rhai");
const DEVICE: &str = "panics";

struct Panics;

impl Subscriber for Panics {
    fn register_callsite(&self, metadata: &'static Metadata<'static>) -> Interest {
        match self.enabled(metadata) {
            true => Interest::always(),
            false => Interest::never(),
        }
    }

    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.is_event() && metadata.target() == "host::capabilities::ssh"
    }

    fn event(&self, event: &Event<'_>) {
        let mut fields = Fields::default();
        event.record(&mut fields);
        assert!(
            !(fields.opens && fields.to_device),
            "a session was opened to the device that panics"
        );
    }

    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}
    fn record_follows_from(&self, _: &Id, _: &Id) {}
    fn enter(&self, _: &Id) {}
    fn exit(&self, _: &Id) {}
}

#[derive(Default)]
struct Fields {
    opens: bool,
    to_device: bool,
}

impl Visit for Fields {
    fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
        let text = format!("{value:?}");
        match field.name() {
            "message" => self.opens = text == "session opened",
            "target" => self.to_device = text == DEVICE,
            _ => {}
        }
    }
}

#[test]
fn a_panic_in_a_host_function_fails_the_job_and_releases_what_it_held() {
    static SUBSCRIBED: Once = Once::new();
    SUBSCRIBED.call_once(|| tracing::subscriber::set_global_default(Panics).unwrap());
    run(async {
        let configure = |config: &mut host::config::Config| {
            config.worker.concurrency = 1;
            config.policy.for_all.max_running = 1;
        };
        let bytes = std::fs::read(component("parity-guest")).unwrap();
        let wasm = TestHost::with_components(&[("parity", bytes)], configure).await;
        let rhai = TestHost::with_scripts_and(&[("parity", PARITY)], configure).await;
        for (host, runtime) in [(rhai, "rhai"), (wasm, "wasm")] {
            let lab = Lab::start(LabDevice::cisco_ios("r1")).await.unwrap();
            let mut connection = lab_connection(DEVICE, &lab, "cisco_ios");
            connection["max_sessions"] = json!(1);
            host.connect(connection).await;
            let submit = |calls| json!({ "plugin": "parity", "targets": [DEVICE], "params": { "calls": calls } });
            for _ in 0..3 {
                let job = host.run_job(submit(json!([{ "make": "open" }]))).await;
                assert_eq!(job["status"], "failed", "{runtime}: {job}");
                assert_eq!(job["error_code"], "internal", "{runtime}: {job}");
                // The device, the plugin's slot and the worker's slot are free for the next job.
                let job = host
                    .run_job(submit(
                        json!([{ "make": "progress", "done": 1, "total": 1 }]),
                    ))
                    .await;
                assert_eq!(job["status"], "completed", "{runtime}: {job}");
            }
            lab.wait_for_open_sessions(0).await;
            let health = host.client.get("/health").await;
            assert_eq!(health.status, 200, "{}", health.body);
        }
    });
}
