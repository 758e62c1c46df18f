//! What is known at the end: what the clients were told, what the server says, what the devices
//! were sent, whom it has notified of what.

use std::collections::{BTreeMap, BTreeSet};

use chrono::{DateTime, Utc};
use futures::StreamExt;
use serde_json::Value;

use crate::harness::Client;

/// Jobs that are asked about at once.
const AT_ONCE: usize = 8;

#[derive(Debug, Clone, Default)]
pub(super) struct Evidence {
    pub(super) told: Told,
    /// By id: every job that the server knows.
    pub(super) jobs: BTreeMap<String, Job>,
    pub(super) devices: Vec<Device>,
    /// What the receiver has taken of each job.
    pub(super) messages: BTreeMap<String, BTreeSet<Message>>,
}

/// Of two with the same id one is a repetition.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Message {
    pub(super) id: String,
    pub(super) event: String,
}

/// What the clients were told.
#[derive(Debug, Clone, Default)]
pub(super) struct Told {
    /// Ids that came with a 202.
    pub(super) accepted: BTreeSet<String>,
    /// The ids that one idempotency key was answered with.
    pub(super) keys: BTreeMap<String, Vec<String>>,
    pub(super) cancelled: BTreeMap<String, Cancelled>,
    /// A client asked for it, whatever it was told.
    pub(super) deleted: BTreeSet<String>,
    /// Jobs that were seen to have ended, and how.
    pub(super) ended: BTreeMap<String, String>,
    /// What was wrong when it was seen.
    pub(super) wrong: Vec<String>,
    pub(super) counts: BTreeMap<&'static str, usize>,
}

/// A cancellation that the server has taken.
#[derive(Debug, Clone)]
pub(super) struct Cancelled {
    pub(super) told_at: DateTime<Utc>,
    /// It waited, and is cancelled; otherwise it ran, and was told to stop.
    pub(super) at_once: bool,
}

#[derive(Debug, Clone, Default)]
pub(super) struct Job {
    pub(super) plugin: String,
    pub(super) status: String,
    pub(super) target: String,
    pub(super) attempt: u64,
    pub(super) batch: bool,
    pub(super) steps: u64,
    /// What its submission said, which no other one did. Child jobs have their parent's.
    pub(super) description: String,
    pub(super) is_child: bool,
    pub(super) attempts: Vec<Attempt>,
    pub(super) results: Vec<Done>,
    /// Commands that stand as running.
    pub(super) running: usize,
}

#[derive(Debug, Clone, Default)]
pub(super) struct Attempt {
    pub(super) number: u64,
    pub(super) status: String,
    pub(super) started_at: DateTime<Utc>,
    pub(super) ended_at: Option<DateTime<Utc>>,
}

/// One command, as a result.
#[derive(Debug, Clone, Default)]
pub(super) struct Done {
    pub(super) attempt: u64,
    pub(super) target: String,
    pub(super) command: String,
    pub(super) error: Option<String>,
}

#[derive(Debug, Clone, Default)]
pub(super) struct Device {
    pub(super) name: String,
    /// The command lines that it was sent.
    pub(super) seen: Vec<String>,
    /// Those that only read are among them.
    pub(super) reads: bool,
}

impl Told {
    pub(super) fn count(&mut self, what: &'static str) {
        *self.counts.entry(what).or_default() += 1;
    }
}

pub(super) fn is_final(status: &str) -> bool {
    ["completed", "failed", "cancelled"].contains(&status)
}

/// Every job of the server, with its attempts and results.
pub(super) async fn jobs(client: &Client) -> BTreeMap<String, Job> {
    let mut ids = Vec::new();
    let mut cursor = String::new();
    loop {
        let page = client.get(&format!("/api/jobs?limit=500{cursor}")).await;
        assert_eq!(page.status, 200, "{}", page.text);
        let listed = page.body["jobs"].as_array().unwrap();
        ids.extend(listed.iter().map(|job| text(&job["id"])));
        match page.body["next_cursor"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => break,
        }
    }
    let jobs = futures::stream::iter(ids).map(|id| async move {
        let job = job(client, &id).await;
        (id, job)
    });
    jobs.buffer_unordered(AT_ONCE).collect().await
}

async fn job(client: &Client, id: &str) -> Job {
    let get = async |what: &str| client.get(&format!("/api/jobs/{id}{what}")).await.body;
    let (job, results) = (get("").await, get("/results").await);
    Job {
        plugin: text(&job["plugin"]),
        status: text(&job["status"]),
        target: text(&job["targets"][0]),
        attempt: job["attempt"].as_u64().unwrap_or_default(),
        batch: job["batch"].is_object(),
        steps: job["params"]["steps"].as_u64().unwrap_or_default(),
        description: text(&job["description"]),
        is_child: job["parent_id"].is_string(),
        attempts: attempts(&get("/attempts").await),
        results: list(&results["results"]).map(Done::of).collect(),
        running: list(&results["running"]).count(),
    }
}

pub(super) fn attempts(answer: &Value) -> Vec<Attempt> {
    list(&answer["attempts"]).map(Attempt::of).collect()
}

impl Attempt {
    fn of(attempt: &Value) -> Self {
        Self {
            number: attempt["attempt"].as_u64().unwrap_or_default(),
            status: text(&attempt["status"]),
            started_at: time(&attempt["started_at"]).unwrap_or_default(),
            ended_at: time(&attempt["ended_at"]),
        }
    }
}

impl Done {
    fn of(result: &Value) -> Self {
        Self {
            attempt: result["attempt"].as_u64().unwrap_or_default(),
            target: text(&result["target"]),
            command: text(&result["command"]),
            error: result["error"].as_str().map(str::to_owned),
        }
    }
}

fn list(list: &Value) -> impl Iterator<Item = &Value> {
    list.as_array().into_iter().flatten()
}

fn time(time: &Value) -> Option<DateTime<Utc>> {
    time.as_str()?.parse().ok()
}

pub(super) fn text(text: &Value) -> String {
    text.as_str().unwrap_or_default().to_owned()
}
