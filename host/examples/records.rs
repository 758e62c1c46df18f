//! Measures the cost of many records compared with parsing: `cargo xtask bench records`.
//!
//! A `TextFSM` template turns an output into 50,000 records of 10 fields. A playbook parses,
//! filters and builds them one by one, stores them, takes them as parameters and returns them as
//! the result. The ratio compares each with parsing alone.

#![expect(clippy::unwrap_used, reason = "a benchmark ends at the first error")]

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use host::app::{self, App};
use host::capabilities::{JobContext, LiveOutput, Parser, Services, Slot, Stop};
use host::config::Config;
use host::model::{Job, Needs, PluginFiles};
use host::runtime::Sandbox;
use host::runtime::rhai::RhaiRuntime;
use host::storage::Claim;
use netssh_core::Templates;
use serde_json::{Value, json};
use tokio::sync::Semaphore;

const RECORDS: usize = 50_000;
const RUNS: usize = 5;
/// The defaults of `plugins.cpu_seconds` and `plugins.memory_mb`.
const SANDBOX: Sandbox = Sandbox {
    cpu: Duration::from_secs(30),
    memory_bytes: 128 << 20,
};

const TEMPLATE: &str = r"Value Required INTERFACE (\S+)
Value ADDRESS (\S+)
Value MAC (\S+)
Value VLAN (\d+)
Value STATUS (\S+)
Value PROTOCOL (\S+)
Value SPEED (\d+)
Value DUPLEX (\S+)
Value TYPE (\S+)
Value AGE (\d+)

Start
  ^${INTERFACE}\s+${ADDRESS}\s+${MAC}\s+${VLAN}\s+${STATUS}\s+${PROTOCOL}\s+${SPEED}\s+${DUPLEX}\s+${TYPE}\s+${AGE}$$ -> Record
";

/// The work of a playbook, and its input: the output or the records.
const CASES: [(&str, &str, Given); 6] = [
    (
        "parse",
        "parse(\"p\", \"show\", params.output).len()",
        Given::Output,
    ),
    (
        "parse, filter and map",
        "parse(\"p\", \"show\", params.output).filter(|r| r.status == \"up\").map(|r| r.interface).len()",
        Given::Output,
    ),
    (
        "parse, build one by one, return",
        "let all = []; for r in parse(\"p\", \"show\", params.output) { all.push(r); } all",
        Given::Output,
    ),
    ("take as parameters", "params.records.len()", Given::Records),
    (
        "take as parameters, store, read, count",
        "storage::set(\"all\", params.records); storage::get(\"all\").len()",
        Given::Records,
    ),
    (
        "take as parameters, write as JSON and read it",
        "parse_json(to_json(params.records)).len()",
        Given::Records,
    ),
];

#[derive(Clone, Copy)]
enum Given {
    Output,
    Records,
}

fn main() {
    let runtime = app::runtime(&Config::default().worker).unwrap();
    runtime.block_on(measure());
    runtime.shutdown_background();
}

async fn measure() {
    let directory = tempfile::tempdir().unwrap();
    let templates = directory.path().join("templates");
    std::fs::create_dir(&templates).unwrap();
    let index = "Template, Platform, Command\nshow.textfsm, p, show\n";
    std::fs::write(templates.join("index"), index).unwrap();
    std::fs::write(templates.join("show.textfsm"), TEMPLATE).unwrap();

    let output = output();
    println!(
        "{RECORDS} records of 10 fields, {} kB as text",
        output.len() >> 10
    );
    println!("{:<50} {:>10} {:>7}", "", "median", "ratio");
    let bare = Templates::load(&templates).unwrap();
    let mut times = Vec::new();
    for _ in 0..RUNS {
        let begun = Instant::now();
        let records = bare.parse("p", "show", &output, &|| false).unwrap();
        times.push(begun.elapsed());
        assert_eq!(records.rows().len(), RECORDS);
    }
    let parse = median(&mut times);
    row("parse alone", parse, parse);

    let records = bare.parse("p", "show", &output, &|| false).unwrap();
    let records = serde_json::to_value(records).unwrap();
    let given = |given: Given| match given {
        Given::Output => json!({ "output": output }),
        Given::Records => json!({ "records": records }),
    };
    let host = Host::start(directory.path(), &templates).await;
    for (name, body, what) in CASES {
        let took = host.run(body, &given(what)).await;
        row(name, took, parse);
    }
    host.app.storage.close().await;
}

/// Returns a device's output with one line per record.
fn output() -> String {
    let mut output = String::new();
    for index in 0..RECORDS {
        let status = if index % 3 == 0 { "down" } else { "up" };
        let _ = writeln!(
            output,
            "Ethernet{index:<8} 192.0.{}.{} 0000.5e00.{index:04x} {} {status} {status} 1000 full ARPA {}",
            index / 250 % 250,
            index % 250,
            index % 4_095,
            index % 240
        );
    }
    output
}

struct Host {
    app: Arc<App>,
    services: Services,
    job: Job,
}

impl Host {
    async fn start(directory: &Path, templates: &Path) -> Self {
        let mut config = Config::default();
        config.database.url = format!("sqlite:{}", directory.join("scheduler.db").display());
        config.security.master_key_file = directory.join("scheduler.key");
        config.plugins.scripts_dir = directory.join("scripts");
        config.plugins.components_dir = directory.join("plugins");
        std::fs::create_dir(&config.plugins.scripts_dir).unwrap();
        let script = playbook("params");
        std::fs::write(config.plugins.scripts_dir.join("noop.rhai"), script).unwrap();
        let app = App::build(config).await.unwrap();
        app.registry.scan().await;
        let services = Services {
            storage: Arc::clone(&app.storage),
            policy: Arc::clone(&app.policy),
            connections: Arc::clone(&app.connections),
            sessions: netssh_core::Pool::new(netssh_core::PoolOptions::default()),
            live: LiveOutput::default(),
            files: None,
            templates: Some(Arc::new(Parser::new(Templates::load(templates).unwrap()))),
            children: Arc::clone(&app.jobs) as _,
            waiting: Arc::new(Semaphore::new(1)),
        };
        // A stored job that never runs.
        let submission = host::jobs::Submission {
            plugin: "noop".to_owned(),
            ..Default::default()
        };
        let (id, _) = app.jobs.submit(submission).await.unwrap();
        let job = app.storage.job(id).await.unwrap().unwrap();
        Self { app, services, job }
    }

    /// Returns the median time of a playbook's run.
    async fn run(&self, body: &str, params: &Value) -> Duration {
        let files = PluginFiles {
            name: "records.rhai".to_owned(),
            main: playbook(body).into(),
            modules: BTreeMap::new(),
        };
        let loaded = RhaiRuntime::new(SANDBOX).load(&files);
        let program = loaded.unwrap_or_else(|error| panic!("{error}")).program;
        let mut times = Vec::new();
        for _ in 0..RUNS {
            let job = Job {
                params: params.clone(),
                ..self.job.clone()
            };
            let claim = Claim {
                job_id: job.id,
                attempt: 1,
                worker_id: "bench".to_owned(),
            };
            let needs = Needs {
                storage: true,
                ..Needs::default()
            };
            let (services, stop) = (self.services.clone(), Arc::new(Stop::default()));
            let slot = Arc::new(NoSlot);
            let context = JobContext::new(services, &job, claim, &needs, stop, slot);
            let (context, program) = (Arc::new(context), Arc::clone(&program));
            let running = Arc::clone(&context);
            let run = tokio::spawn(async move {
                let begun = Instant::now();
                program.run(running).await.unwrap();
                begun.elapsed()
            });
            times.push(run.await.unwrap());
            context.end().await;
        }
        median(&mut times)
    }
}

fn playbook(body: &str) -> String {
    format!(
        "fn describe() {{ #{{ summary: \"Records\", targets: \"none\", needs: #{{ storage: true }}, params: #{{ type: \"object\" }} }} }}\n\
         fn run(job, params) {{ {body} }}\n"
    )
}

struct NoSlot;

#[async_trait::async_trait]
impl Slot for NoSlot {
    fn release(&self) {}
    async fn take_again(&self) {}
}

fn median(times: &mut [Duration]) -> Duration {
    times.sort_unstable();
    times[times.len() / 2]
}

fn row(name: &str, time: Duration, parse: Duration) {
    let (milliseconds, ratio) = (
        time.as_secs_f64() * 1e3,
        time.as_secs_f64() / parse.as_secs_f64(),
    );
    println!("{name:<50} {milliseconds:>7.0} ms {ratio:>7.1}");
}
