//! The clients: they submit, repeat requests without an answer, cancel, delete, and read.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use chrono::Utc;
use reqwest::Method;
use serde_json::{Value, json};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::evidence::{Cancelled, Told, attempts, is_final, text};
use super::promises::{READ, WRITE};
use super::random::Random;
use crate::harness::Client;

/// Timeout of a client's request.
const PATIENCE: Duration = Duration::from_secs(4);
/// Limit of waiting and running jobs, above which the clients pause.
const MOST_WAITING: u64 = 40;

/// The state that all clients share.
#[derive(Clone)]
pub(super) struct Load {
    /// The server, `None` while it is down.
    server: watch::Receiver<Option<Client>>,
    targets: Arc<Vec<String>>,
    told: Arc<Mutex<Told>>,
    /// Submissions with a key, by key.
    sent: Arc<Mutex<BTreeMap<String, String>>>,
    /// Cancelled at the end of the load.
    pub(super) over: CancellationToken,
}

/// The outcome of a request.
enum Answer {
    Of(u16, Value),
    /// No answer, or an answer that the server is unavailable: the effect is unknown.
    None,
}

impl Load {
    pub(super) fn new(server: watch::Receiver<Option<Client>>, targets: Vec<String>) -> Self {
        Self {
            server,
            targets: Arc::new(targets),
            told: Arc::default(),
            sent: Arc::default(),
            over: CancellationToken::new(),
        }
    }

    pub(super) fn told(&self) -> MutexGuard<'_, Told> {
        self.told.lock().unwrap()
    }

    /// Runs one client until the end of the load.
    pub(super) async fn run(self, mut random: Random) {
        while !self.over.is_cancelled() {
            match random.below(100) {
                0..55 => self.submit(&mut random).await,
                55..65 => self.repeat(&mut random).await,
                65..75 => self.cancel(&mut random).await,
                75..80 => self.delete(&mut random).await,
                _ => self.look(&mut random).await,
            }
            tokio::time::sleep(random.millis(10, 80)).await;
        }
    }

    async fn submit(&self, random: &mut Random) {
        self.wait_for_room().await;
        let plugin = if random.percent(60) { WRITE } else { READ };
        let batch = random.percent(8);
        let mut job = json!({ "plugin": plugin, "timeout_seconds": 30, "params": {} });
        if plugin == WRITE {
            job["params"]["steps"] = json!(1 + random.below(4));
        }
        if random.percent(50) {
            job["max_retries"] = json!(1 + random.below(3));
        }
        if random.percent(20) {
            job["priority"] = json!(random.below(200) as i64 - 100);
        }
        if random.percent(10) {
            job["scheduled_for"] = json!(Utc::now() + random.millis(0, 3_000));
        }
        if batch {
            job["targets"] = json!(["tag:chaos"]);
            job["batch"] = json!({ "concurrency": 1 + random.below(4), "canary": random.below(2) });
        } else {
            job["targets"] = json!([random.of_all(&self.targets).unwrap()]);
        }
        // The job's description also contains the key, to detect a second job with the same key.
        let key = format!("key-{:016x}", random.next());
        job["description"] = json!(key);
        let body = job.to_string();
        self.told().count(if batch {
            "batches submitted"
        } else {
            "jobs submitted"
        });
        if random.percent(70) {
            self.sent.lock().unwrap().insert(key.clone(), body.clone());
            self.submit_with_key(&key, &body).await;
        } else {
            // Not repeated without an answer: the server may have accepted it.
            self.send_job(None, &body).await;
        }
    }

    /// Repeats the submission until there is an answer or the load ends.
    async fn submit_with_key(&self, key: &str, body: &str) {
        while !self.send_job(Some(key), body).await && !self.over.is_cancelled() {
            self.told().count("repeated with the same key");
        }
    }

    /// Returns whether there was an answer.
    async fn send_job(&self, key: Option<&str>, body: &str) -> bool {
        let answer = self.send(Method::POST, "/api/jobs", key, Some(body)).await;
        let mut told = self.told();
        match answer {
            Answer::None => {
                told.count("submissions without an answer");
                return false;
            }
            Answer::Of(202, job) => {
                let id = text(&job["id"]);
                if let Some(key) = key {
                    told.keys
                        .entry(key.to_owned())
                        .or_default()
                        .push(id.clone());
                }
                told.accepted.insert(id);
            }
            Answer::Of(status, problem) => {
                told.wrong.push(format!(
                    "a submission was answered with {status}: {problem}"
                ));
            }
        }
        true
    }

    /// Repeats a submission with a key.
    async fn repeat(&self, random: &mut Random) {
        let again = {
            let sent = self.sent.lock().unwrap();
            let keys: Vec<&String> = sent.keys().collect();
            random
                .of_all(&keys)
                .map(|key| ((*key).clone(), sent[*key].clone()))
        };
        if let Some((key, body)) = again {
            self.told().count("repeated after an answer");
            self.send_job(Some(&key), &body).await;
        }
    }

    async fn cancel(&self, random: &mut Random) {
        // One of the latest jobs, which have not ended yet.
        let Some(id) = self.pick(random, 10) else {
            return;
        };
        let path = format!("/api/jobs/{id}/cancel");
        let answer = self.send(Method::POST, &path, None, None).await;
        let told_at = Utc::now();
        let mut told = self.told();
        match answer {
            Answer::Of(202, job) => {
                told.count("cancelled");
                let at_once = job["status"] == "cancelled";
                let cancelled = Cancelled { told_at, at_once };
                told.cancelled.entry(id).or_insert(cancelled);
            }
            Answer::Of(404, _) if told.deleted.contains(&id) => {}
            Answer::Of(409, _) | Answer::None => {}
            Answer::Of(status, problem) => {
                told.wrong.push(format!(
                    "{id}: a cancellation was answered with {status}: {problem}"
                ));
            }
        }
    }

    async fn delete(&self, random: &mut Random) {
        // The server remembers a key only as long as its job exists: a repetition after the
        // deletion would rightly create a second job.
        let Some(id) = self.pick(random, 200).filter(|id| !self.has_key(id)) else {
            return;
        };
        let path = format!("/api/jobs?parent={id}&limit=500");
        let Answer::Of(200, children) = self.send(Method::GET, &path, None, None).await else {
            return;
        };
        let children = children["jobs"].as_array().cloned().unwrap_or_default();
        let path = format!("/api/jobs/{id}");
        // Recorded first: regardless of the answer, the job may be deleted from now on.
        self.told().deleted.insert(id.clone());
        self.told()
            .deleted
            .extend(children.iter().map(|child| text(&child["id"])));
        match self.send(Method::DELETE, &path, None, None).await {
            Answer::Of(204, _) => self.told().count("deleted"),
            Answer::Of(404 | 409, _) | Answer::None => {}
            Answer::Of(status, problem) => {
                let wrong = format!("{id}: a deletion was answered with {status}: {problem}");
                self.told().wrong.push(wrong);
            }
        }
    }

    fn has_key(&self, id: &String) -> bool {
        self.told().keys.values().any(|ids| ids.contains(id))
    }

    /// Checks the attempts and the status of a job.
    async fn look(&self, random: &mut Random) {
        let Some(id) = self.pick(random, 60) else {
            return;
        };
        let path = format!("/api/jobs/{id}/attempts");
        if let Answer::Of(200, shown) = self.send(Method::GET, &path, None, None).await {
            let attempts = attempts(&shown);
            let running = attempts
                .iter()
                .filter(|attempt| attempt.status == "running");
            let (running, mut told) = (running.count(), self.told());
            told.count("looked at");
            if running > 1 {
                told.wrong
                    .push(format!("{id}: {running} attempts ran at once"));
            }
            if !attempts.is_sorted_by(|one, other| one.number < other.number) {
                told.wrong
                    .push(format!("{id}: its attempts are not in order: {shown}"));
            }
        }
        let path = format!("/api/jobs/{id}");
        let answer = self.send(Method::GET, &path, None, None).await;
        let mut told = self.told();
        match answer {
            Answer::Of(200, job) => {
                let status = text(&job["status"]);
                if is_final(&status) {
                    told.ended.entry(id).or_insert(status);
                }
            }
            Answer::Of(404, _) if told.deleted.contains(&id) => {}
            Answer::None => {}
            Answer::Of(status, problem) => {
                told.wrong.push(format!(
                    "{id}: was accepted, and answers {status}: {problem}"
                ));
            }
        }
    }

    /// Returns one of the latest accepted jobs; ids grow with time.
    fn pick(&self, random: &mut Random, latest: usize) -> Option<String> {
        let told = self.told();
        let latest: Vec<&String> = told.accepted.iter().rev().take(latest).collect();
        random.of_all(&latest).map(|id| (*id).clone())
    }

    /// Submits every job without an answer until it gets one, and repeats some of the others.
    pub(super) async fn settle(&self, random: &mut Random) {
        let sent = self.sent.lock().unwrap().clone();
        for (key, body) in &sent {
            let answered = self.told().keys.contains_key(key);
            if !answered || random.percent(20) {
                let sent = self.send_job(Some(key), body).await;
                if !sent {
                    let wrong = format!("{key}: a server that nobody disturbs did not answer");
                    self.told().wrong.push(wrong);
                }
            }
        }
    }

    /// Waits until the number of unfinished jobs is below the limit.
    async fn wait_for_room(&self) {
        while !self.over.is_cancelled() {
            let answer = self.send(Method::GET, "/api/jobs/stats", None, None).await;
            if let Answer::Of(200, stats) = answer {
                let of = |status: &str| stats["by_status"][status].as_u64().unwrap_or_default();
                if of("pending") + of("running") + of("retrying") < MOST_WAITING {
                    return;
                }
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    /// Waits for a server and sends a request.
    async fn send(
        &self,
        method: Method,
        path: &str,
        key: Option<&str>,
        body: Option<&str>,
    ) -> Answer {
        let mut server = self.server.clone();
        let client = tokio::select! {
            biased;
            found = server.wait_for(Option::is_some) => found.unwrap().clone(),
            () = self.over.cancelled() => None,
        };
        let Some(client) = client else {
            return Answer::None;
        };
        let mut request = client.request(method, path).timeout(PATIENCE);
        if let Some(key) = key {
            request = request.header("Idempotency-Key", key);
        }
        if let Some(body) = body {
            let json = ("Content-Type", "application/json");
            request = request.header(json.0, json.1).body(body.to_owned());
        }
        let Ok(response) = request.send().await else {
            // Delays the next request: the server may be about to end.
            tokio::time::sleep(Duration::from_millis(20)).await;
            return Answer::None;
        };
        let status = response.status().as_u16();
        match response.bytes().await {
            // 503: the database is unavailable, or the server is shutting down.
            Ok(_) if status >= 500 => {
                self.told().count("answers of 5xx");
                Answer::None
            }
            Ok(bytes) => Answer::Of(status, serde_json::from_slice(&bytes).unwrap_or_default()),
            Err(_) => Answer::None,
        }
    }
}
