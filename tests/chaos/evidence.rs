//! The evidence at the end: responses to the clients, the server's state, commands received by the
//! devices, notifications.

use std::collections::{BTreeMap, BTreeSet};

use chrono::{DateTime, Utc};
use futures::StreamExt;
use serde_json::Value;

use crate::harness::Client;

/// Maximum number of concurrent requests for jobs.
const AT_ONCE: usize = 8;

#[derive(Debug, Clone, Default)]
pub(super) struct Evidence {
    pub(super) told: Told,
    /// All jobs of the server, by id.
    pub(super) jobs: BTreeMap<String, Job>,
    pub(super) devices: Vec<Device>,
    /// The messages that the receiver accepted, by job.
    pub(super) messages: BTreeMap<String, BTreeSet<Message>>,
}

/// A notification. A repetition has the same id.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Message {
    pub(super) id: String,
    pub(super) event: String,
}

/// The responses to the clients.
#[derive(Debug, Clone, Default)]
pub(super) struct Told {
    /// Ids in responses with 202.
    pub(super) accepted: BTreeSet<String>,
    /// The ids in the responses to each idempotency key.
    pub(super) keys: BTreeMap<String, Vec<String>>,
    pub(super) cancelled: BTreeMap<String, Cancelled>,
    /// Jobs that a client tried to delete, regardless of the response.
    pub(super) deleted: BTreeSet<String>,
    /// Jobs that were seen to have ended, with their final status.
    pub(super) ended: BTreeMap<String, String>,
    /// Errors found during the campaign.
    pub(super) wrong: Vec<String>,
    pub(super) counts: BTreeMap<&'static str, usize>,
}

/// A cancellation that the server accepted.
#[derive(Debug, Clone)]
pub(super) struct Cancelled {
    pub(super) told_at: DateTime<Utc>,
    /// Whether the job was waiting and is cancelled; otherwise it was running and received a stop
    /// signal.
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
    /// The description in its submission, which is unique. Child jobs have their parent's.
    pub(super) description: String,
    pub(super) is_child: bool,
    pub(super) attempts: Vec<Attempt>,
    pub(super) results: Vec<Done>,
    /// The number of commands that are still listed as running.
    pub(super) running: usize,
}

#[derive(Debug, Clone, Default)]
pub(super) struct Attempt {
    pub(super) number: u64,
    pub(super) status: String,
    pub(super) started_at: DateTime<Utc>,
    pub(super) ended_at: Option<DateTime<Utc>>,
}

/// One command among the results.
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
    /// The command lines that it received.
    pub(super) seen: Vec<String>,
    /// Whether `seen` includes read-only commands.
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

/// Returns every job of the server, with its attempts and results.
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
